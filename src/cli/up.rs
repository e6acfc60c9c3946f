//! `headroom up`: everything on one machine, and where it is.

use super::service::{Loader, Parts, Service, block_on, now_millis, state_dir};
use super::{Common, load};
use crate::config::Config;
use crate::export::logs::Lines;
use crate::monitor::api::Api;
use crate::monitor::notify::To;
use crate::monitor::{self, Monitor};
use crate::services;
use crate::stack::files::{self, Generated, Wiring};
use crate::stack::supervise::{Program, find};
use crate::stack::{Options, Server};
use anyhow::{Context, Result, anyhow, ensure};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const PROMETHEUS_KEY: &str = "up.prometheus.listen";
const PROMETHEUS: [&str; 1] = ["prometheus"];
/// Debian's name, then upstream's.
const ALERTMANAGER: [&str; 2] = ["prometheus-alertmanager", "alertmanager"];

/// Runs until told to end.
pub(super) fn run(common: &Common, (config, lines): (Config, Option<Lines>)) -> Result<u8> {
    let common = common.clone();
    let loader: Loader = Box::new(move || load(&common, &|_| ()));
    block_on(async {
        let mut stack = Box::pin(Stack::start(config, loader)).await?;
        stack.service.send_logs(lines)?;
        stack.print(&mut io::stdout())?;
        Box::pin(stack.service.until_told()).await
    })
}

/// The running stack.
pub(super) struct Stack {
    /// Exporter and optimizer.
    pub service: Service,
    /// Whether Prometheus was started.
    pub prometheus: bool,
    /// Whether Alertmanager was started.
    pub alertmanager: bool,
    /// What takes Prometheus's place, if that was not started.
    pub monitor: Option<Monitor>,
    token_file: PathBuf,
    state: PathBuf,
}

impl Stack {
    /// Starts exporter and optimizer, then the servers whose programs are there.
    pub(super) async fn start(config: Config, loader: Loader) -> Result<Self> {
        for (file, key) in [
            (&config.exporter.web_config_file, "exporter.web_config_file"),
            (&config.optimizer.web_config_file, "optimizer.web_config_file"),
        ] {
            // The servers that are started with it would need the passwords, of which only the hashes are known.
            ensure!(
                file.is_none(),
                "{key} is for `headroom exporter` and `headroom optimizer`, not for `up`"
            );
        }
        ensure!(
            !config.exporter.systemd_socket,
            "exporter.systemd_socket is for `headroom exporter`, not for `up`"
        );
        let state = state_dir(&config);
        // As in `service`: journal, token and logs are nobody else's.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&state)
            .with_context(|| format!("cannot make {} (state_dir)", state.display()))?;
        let prometheus = program(&config.up.prometheus, &PROMETHEUS);
        let alertmanager = program(&config.up.alertmanager, &ALERTMANAGER);
        // What cannot be started must not be an address that Prometheus calls in vain; the configuration stays as it is.
        let mut options = config.up.clone();
        options.prometheus.enabled = prometheus.is_some();
        options.alertmanager.enabled = alertmanager.is_some();
        for (server, key) in
            [(&options.prometheus, PROMETHEUS_KEY), (&options.alertmanager, "up.alertmanager.listen")]
        {
            if server.enabled {
                free(server.listen, key)?;
            }
        }
        let mut service = Service::start(config, Parts { exporter: true, optimizer: true }, loader).await?;
        service.has_rules = true;
        let token_file = absolute(&service.token_file()?)?;
        let config = service.config();
        let rules = services::rules::text(&config.services).map_err(|why| anyhow!(why))?;
        let wiring = Wiring {
            options: &options,
            exporter: config.exporter.listen.first(),
            telemetry_path: &config.exporter.telemetry_path,
            optimizer: config.optimizer.listen,
            token_file: &token_file,
            services: (services::rules::FILE, &rules),
        };
        let generated = files::write(&absolute(&state)?.join("etc"), &wiring)?;
        let programs = [
            alertmanager.as_ref().map(|path| alertmanager_program(path, &state, &options, &generated)),
            prometheus.as_ref().map(|path| prometheus_program(path, &state, &options, &generated)),
        ];
        for program in programs.into_iter().flatten() {
            let task = tokio::spawn(program.keep(service.stopped()));
            service.adopt(task);
        }
        let (prometheus, alertmanager) = (prometheus.is_some(), alertmanager.is_some());
        let mut monitor = None;
        // Where Prometheus was switched off by hand, another one may watch this machine: two would act on one trouble twice.
        let wanted = service.config().monitor.enabled.unwrap_or(service.config().up.prometheus.enabled);
        if !prometheus && wanted {
            let to = if alertmanager {
                To::Alertmanager { address: options.alertmanager.listen }
            } else {
                To::Optimizer { address: service.config().optimizer.listen, token_file: token_file.clone() }
            };
            let alone =
                Alone { options: &options, generated: &generated, to, told: state.join("monitor-told.json") };
            match alone.watch(&mut service).await {
                Ok(started) => monitor = Some(started),
                // Exporter and optimizer are worth having without it.
                Err(e) if service.config().monitor.enabled.is_none() => {
                    tracing::error!(error = %format!("{e:#}"), "nobody evaluates rules here (monitor.enabled: false silences this)");
                }
                Err(e) => return Err(e),
            }
        }
        if prometheus || monitor.is_some() {
            service.alerts_at(options.prometheus.listen);
        }
        Ok(Self { service, prometheus, alertmanager, monitor, token_file, state })
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let config = self.service.config();
        let name = sysinfo::System::long_os_version().unwrap_or_else(|_| "this system".into());
        let kernel = sysinfo::System::kernel_version().unwrap_or_default();
        writeln!(out, "Headroom {} on {name}, kernel {kernel}", env!("CARGO_PKG_VERSION"))?;
        let exporter = &config.exporter;
        if exporter.live_page {
            writeln!(out, "  live page     http://{}/", exporter.listen.first())?;
        }
        writeln!(out, "  exporter      http://{}{}", exporter.listen.first(), exporter.telemetry_path)?;
        writeln!(out, "  optimizer     http://{}/", config.optimizer.listen)?;
        let server = |started: bool, server: &Server, package: &str| {
            if started {
                format!("http://{}/", server.listen)
            } else if server.enabled {
                format!("not running: no program on the PATH (Debian, Ubuntu: apt-get install {package})")
            } else {
                "not running: off in the configuration".into()
            }
        };
        writeln!(out, "  Prometheus    {}", server(self.prometheus, &config.up.prometheus, "prometheus"))?;
        if self.monitor.is_some() {
            let listen = config.up.prometheus.listen;
            writeln!(
                out,
                "  monitor       http://{listen}/ (evaluates the rules and answers queries in its place)"
            )?;
        }
        writeln!(
            out,
            "  Alertmanager  {}",
            server(self.alertmanager, &config.up.alertmanager, "prometheus-alertmanager")
        )?;
        writeln!(out, "  state         {}", self.state.display())?;
        writeln!(out, "  token         {} (for webhook and record)", self.token_file.display())?;
        writeln!(out, "Ctrl-C ends all of it.")?;
        out.flush()
    }
}

/// What the monitor is made of besides the service.
struct Alone<'a> {
    options: &'a Options,
    generated: &'a Generated,
    to: To,
    told: PathBuf,
}

impl Alone<'_> {
    /// Starts the monitor, and its pages where Prometheus's would be.
    async fn watch(self, service: &mut Service) -> Result<Monitor> {
        let listen = self.options.prometheus.listen;
        free(listen, PROMETHEUS_KEY)?;
        let config = service.config();
        let monitor = Monitor::start(monitor::Parts {
            options: &config.monitor,
            interval: self.options.interval,
            rules: &self.generated.rules,
            scrapes: service.scrapes().context("there is no exporter")?.clone(),
            exporter: config.exporter.listen.first(),
            optimizer: config.optimizer.listen,
            to: self.to,
            told: self.told,
            now_millis,
            registry: service.registry(),
        })?;
        service.serve(listen, PROMETHEUS_KEY, Api::new(Arc::clone(monitor.shared()))).await?;
        Ok(monitor)
    }
}

/// A port that somebody else has would make the child end again and again, and its address show a stranger.
fn free(address: SocketAddr, key: &str) -> Result<()> {
    TcpListener::bind(address).map(drop).with_context(|| {
        format!("cannot listen on {address} ({key}; `enabled: false` beside it goes without)")
    })
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} has no absolute form", path.display()))
}

fn program(server: &Server, names: &[&str]) -> Option<PathBuf> {
    if !server.enabled {
        return None;
    }
    server.program.clone().or_else(|| find(names, &std::env::var_os("PATH").unwrap_or_default()))
}

fn prometheus_program(path: &Path, state: &Path, options: &Options, generated: &Generated) -> Program {
    Program {
        name: "prometheus",
        path: path.to_owned(),
        arguments: vec![
            format!("--config.file={}", generated.prometheus.display()),
            format!("--storage.tsdb.path={}", state.join("prometheus").display()),
            format!("--web.listen-address={}", options.prometheus.listen),
        ],
        log: state.join("prometheus.log"),
    }
}

fn alertmanager_program(path: &Path, state: &Path, options: &Options, generated: &Generated) -> Program {
    Program {
        name: "alertmanager",
        path: path.to_owned(),
        arguments: vec![
            format!("--config.file={}", generated.alertmanager.display()),
            format!("--storage.path={}", state.join("alertmanager").display()),
            format!("--web.listen-address={}", options.alertmanager.listen),
            // Alone, it needs no port for a cluster.
            "--cluster.listen-address=".to_owned(),
        ],
        log: state.join("alertmanager.log"),
    }
}
