//! What every serving command shares: listeners, signals, reloads, and an orderly end.

mod build_info;
mod exports;
mod live;
pub(super) mod probes;
mod receivers;
mod reload;
mod state;

use super::sockets::{bind, bind_all, inherited};
use super::telemetry::Telemetry;
use super::{Common, load};
use crate::apps::Applications;
use crate::apps::probe::board::Board;
use crate::apps::probe::prober::Prober;
use crate::apps::scrape::fetch::Scraping;
use crate::apps::statsd::listener::Statsd;
use crate::client::names::Names;
use crate::collect::applications::Source;
use crate::collect::{Scraper, own};
use crate::config::Config;
use crate::export::Exports;
use crate::export::logs::Lines;
use crate::exporter::Exporter;
use crate::exporter::scrapes::ScrapeThread;
use crate::host::group::Grouping;
use crate::live::Live;
use crate::optimize::api::access::Tokens;
use crate::optimize::api::{Api, OwnPage, WRITERS_MAX};
use crate::optimize::executor::{Around, Executor, Settings};
use crate::optimize::grafana::Annotations;
use crate::optimize::metrics::Metrics;
use crate::optimize::observe::Observer;
use crate::optimize::pause::Pause;
use crate::optimize::store::Store;
use crate::serve::listener::Listener;
use crate::serve::metrics::Metrics as HttpMetrics;
use crate::serve::web::Web;
use crate::serve::{Handler, Limits, Reload};
use anyhow::{Context, Result};
use prometheus::{Gauge, IntGauge, Registry};
pub(super) use state::{make_state_dir, state_dir};
#[cfg(target_os = "linux")]
pub(super) use state::{make_token, token_path};
use state::{token_file, tokens};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Runs that act have so long to write their outcome once the process is to end.
const EXECUTOR_GRACE: Duration = Duration::from_secs(4);

/// Which parts a command runs in its process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    /// The exporter.
    pub exporter: bool,
    /// The optimizer.
    pub optimizer: bool,
}

/// A command that serves.
pub(super) trait Command: Clone + 'static {
    /// What it runs.
    const PARTS: Parts;
    /// Puts its flags over the configuration.
    fn apply(&self, config: &mut Config);
}

/// Runs a serving command until it is told to end.
pub(super) fn run<C: Command>(
    common: &Common,
    (config, lines): (Config, Option<Lines>),
    command: C,
) -> Result<u8> {
    let common = common.clone();
    let loader: Loader = Box::new(move || load(&common, &|config| command.apply(config)));
    block_on(async {
        let mut service = Service::start(config, C::PARTS, loader).await?;
        service.send_logs(lines)?;
        Box::pin(service.until_told()).await
    })
}

/// Runs a command to its end, and does not wait for threads that hang on a disk.
pub(super) fn block_on<T>(command: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = runtime()?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
}

/// The runtime of a serving command: one thread, so that the process stays light.
fn runtime() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(4).build().context("cannot start the runtime")
}

/// Reads the configuration again.
pub(super) type Loader = Box<dyn Fn() -> Result<Config>>;

/// The running parts of a process.
pub(super) struct Service {
    loader: Loader,
    config: Config,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    reloads: mpsc::Receiver<oneshot::Sender<Result<(), String>>>,
    scrapes: Option<ScrapeThread>,
    live: Option<Live>,
    /// What applications sent; none if no input is configured.
    applications: Option<Applications>,
    /// What is known of probed components, and who asks them.
    health: Board,
    prober: Prober,
    /// Who looks up the names of what is probed and fetched.
    names: Names,
    statsd: Option<Statsd>,
    scraping: Option<Scraping>,
    /// What sends the samples by itself.
    exports: Exports,
    executor: Option<Executor>,
    telemetry: Telemetry,
    tokens: Option<Arc<Mutex<Tokens>>>,
    /// The counters of this process; the pages of both listeners show them.
    registry: Registry,
    http: HttpMetrics,
    /// Whether rules were made of `services`, which a reload does not make anew.
    pub(super) has_rules: bool,
    reloaded: IntGauge,
    reloaded_at: Gauge,
}

impl Service {
    /// Binds, starts threads, begins to serve.
    pub(super) async fn start(config: Config, parts: Parts, loader: Loader) -> Result<Self> {
        let registry = Registry::new();
        let (reloaded, reloaded_at) = reload::gauges(&registry)?;
        let http = HttpMetrics::new(&registry)?;
        let (stop, stopped) = watch::channel(false);
        let (ask, reloads) = mpsc::channel(1);
        let reload = config.reload_endpoint.then_some(ask);
        let mut service = Self {
            loader,
            config,
            stop,
            tasks: Vec::new(),
            reloads,
            scrapes: None,
            live: None,
            applications: None,
            health: Board::default(),
            prober: Prober::default(),
            names: Names::default(),
            statsd: None,
            scraping: None,
            exports: Exports::default(),
            executor: None,
            telemetry: Telemetry::default(),
            tokens: None,
            registry,
            http,
            has_rules: false,
            reloaded,
            reloaded_at,
        };
        // All sockets and files first: a port that is taken should stop the start before anything has begun.
        let listener = |sockets, name, web| {
            let (limits, metrics) = (Limits::default(), service.http.clone());
            Listener { sockets, name, limits, metrics, web, http2_plain: false }
        };
        let (config, mut exporter, mut optimizer) = (&service.config, None, None);
        if parts.exporter {
            let web = web(config.exporter.web_config_file.as_deref())?;
            let sockets = if config.exporter.systemd_socket {
                inherited()?
            } else {
                bind_all(&config.exporter.listen, "exporter.listen").await?
            };
            exporter = Some(listener(sockets, "exporter", web));
        }
        if parts.optimizer {
            let web = web(config.optimizer.web_config_file.as_deref())?;
            let socket = bind(config.optimizer.listen, "optimizer.listen").await?;
            service.http.show_refusals("optimizer");
            optimizer = Some(listener(vec![socket], "optimizer", web));
        }
        let mut api = None;
        if let Some(listener) = optimizer {
            let pages = Arc::new(service.start_optimizer(reload.clone(), !parts.exporter)?);
            service.spawn(listener, &stopped, Arc::clone(&pages))?;
            api = Some(pages);
        }
        if let Some(listener) = exporter {
            let receivers = service.bind_receivers(&service.http).await?;
            let handler = service.start_exporter(reload)?;
            if service.config.exporter.live_page {
                let handler = service.with_live_page(handler, api)?;
                service.spawn(listener, &stopped, Arc::new(handler))?;
            } else {
                service.spawn(listener, &stopped, Arc::new(handler))?;
            }
            service.start_receivers(receivers)?;
            let exports = service.prepare_exports(&service.config)?;
            service.send_exports(exports)?;
        }
        Ok(service)
    }

    fn spawn(
        &mut self,
        listener: Listener,
        stopped: &watch::Receiver<bool>,
        handler: Arc<impl Handler>,
    ) -> Result<()> {
        let scheme = listener.web.as_ref().map_or("http", Web::scheme);
        for socket in &listener.sockets {
            let address = socket.local_addr().context("the socket has no address")?;
            tracing::info!(listener = listener.name, url = %format!("{scheme}://{address}/"), "listening");
        }
        self.tasks.push(tokio::spawn(listener.run(handler, stopped.clone())?));
        Ok(())
    }

    fn start_exporter(&mut self, reload: Option<Reload>) -> Result<Exporter> {
        let options = &self.config.applications;
        self.applications = options.any().then(|| Applications::new(options).with(self.health.clone()));
        let probes = probes::ready(&self.config)?;
        self.probe(probes);
        let scrapes = {
            let age_max = self.config.exporter.page_age_max;
            ScrapeThread::start(self.scraper(&self.config)?, age_max)?
        };
        self.scrapes = Some(scrapes.clone());
        build_info::node_exporter(&self.registry)?;
        let traces = self.telemetry.scrapes(&self.config, &self.registry)?;
        Ok(Exporter::new(&self.config.exporter, scrapes, self.health.clone(), reload).traced(traces))
    }

    fn scraper(&self, config: &Config) -> Result<Scraper> {
        let mut options = config.exporter.collectors.clone();
        if let Some(applications) = &self.applications {
            options.enabled.push("applications".into());
            options.applications = Source::new(Arc::new(applications.clone()));
        }
        let shown = options.applications.clone();
        let mut scraper = Scraper::new(config.host(), &options).context("exporter.collectors")?;
        if config.exporter.disable_exporter_metrics {
            scraper = scraper.without_own_costs();
            scraper.add("own", own::collector_of_others(self.registry.clone()));
        } else {
            scraper.add("own", own::collector_with(self.registry.clone(), shown));
        }
        Ok(scraper)
    }

    fn start_optimizer(&mut self, reload: Option<Reload>, alone: bool) -> Result<Api> {
        let state = state_dir(&self.config);
        if let Err(e) = make_state_dir(&state) {
            tracing::error!(state_dir = %state.display(), error = %e, "cannot make the state directory; no action begins");
        }
        let tokens = Arc::new(Mutex::new(tokens(&self.config)?));
        let metrics = Metrics::new(&self.registry)?;
        let store = Store::new(state.join("journal.sqlite"), metrics.clone());
        if let Some(e) =
            store.with(super::super::optimize::journal::Journal::probe).err().filter(|e| e.held_elsewhere)
        {
            return Err(e.into());
        }
        let traces = self.telemetry.runs(&self.config, &self.registry)?;
        let (clock, pause) = (now_millis, Pause::new(&state));
        let annotations = Annotations::start(self.config.optimizer.grafana.as_ref(), &metrics)?;
        let around = Around { clock, pause, alone, traces, annotations, only_after: None };
        let executor = Executor::start(store, metrics, around, settings(&self.config)?)?;
        let shared = Arc::clone(executor.shared());
        if self.config.optimizer.targets.is_empty() {
            tracing::warn!(
                "no targets are configured (optimizer.targets): alerts are recorded, and nothing is done"
            );
        }
        self.executor = Some(executor);
        self.tokens = Some(Arc::clone(&tokens));
        let host = self.config.host();
        let mut own = own::collector(self.registry.clone());
        let own: OwnPage = Box::new(move |out| own.collect(&host, out));
        let writers = Arc::new(Semaphore::new(WRITERS_MAX));
        Ok(Api { shared, tokens, own: Mutex::new(own), reload, limits: Limits::default(), writers })
    }

    /// The address of the optimizer's token file.
    pub(super) fn token_file(&self) -> Result<PathBuf> {
        token_file(&self.config)
    }

    /// The configuration in use.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// A receiver that becomes true when the process is to end.
    pub(super) fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// The thread that makes passes, where the exporter runs.
    pub(super) fn scrapes(&self) -> Option<&ScrapeThread> {
        self.scrapes.as_ref()
    }

    /// The counters of this process.
    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Serves more pages.
    pub(super) async fn serve(
        &mut self,
        address: SocketAddr,
        key: &'static str,
        handler: impl Handler,
    ) -> Result<()> {
        let sockets = vec![bind(address, key).await?];
        let (limits, metrics) = (Limits::default(), self.http.clone());
        let listener = Listener { sockets, name: "monitor", limits, metrics, web: None, http2_plain: false };
        self.spawn(listener, &self.stop.subscribe(), Arc::new(handler))
    }

    /// Takes a task along, so that the end waits for it.
    pub(super) fn adopt(&mut self, task: JoinHandle<()>) {
        self.tasks.push(task);
    }

    /// Serves until SIGTERM or SIGINT; SIGHUP reloads.
    pub(super) async fn until_told(mut self) -> Result<u8> {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                // What failed is in the log and in the metric; nobody waits for an answer.
                _ = hangup.recv() => { let _logged = self.reload(); }
                Some(reply) = self.reloads.recv() => {
                    // Who asked may have gone; the reload is done all the same.
                    let _gone = reply.send(self.reload());
                }
            }
        }
        tracing::info!("stopping");
        self.stop().await;
        Ok(0)
    }

    /// Ends listeners and children, then the executor.
    pub(super) async fn stop(mut self) {
        // Without receivers there is nobody left to tell.
        let _told = self.stop.send(true);
        let (executor, exports) = (self.executor.take(), self.exports);
        let ended = tokio::task::spawn_blocking(move || {
            if let Some(executor) = executor {
                executor.stop(EXECUTOR_GRACE);
            }
            exports.stop(exports::GRACE);
            self.telemetry.stop();
        });
        for task in self.tasks {
            if let Err(e) = task.await {
                tracing::error!(error = %e, "a task ended badly");
            }
        }
        // A disk that does not answer holds its thread for ever; the process ends without it.
        match tokio::time::timeout(EXECUTOR_GRACE, ended).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::error!(error = %e, "the executor ended badly"),
            Err(_) => tracing::error!("the executor did not end in time"),
        }
    }

    /// Reads the configuration again. All of the new one is built before any of it is used.
    fn reload(&mut self) -> Result<(), String> {
        match self.try_reload() {
            Ok(()) => {
                self.reloaded.set(1);
                self.reloaded_at.set(seconds_now());
                tracing::info!("the configuration was read again and is in use");
                Ok(())
            }
            Err(e) => {
                self.reloaded.set(0);
                let why = format!("{e:#}");
                tracing::error!(error = %why, "the new configuration is not used; the old one stays");
                Err(why)
            }
        }
    }

    fn try_reload(&mut self) -> Result<()> {
        let mut next = (self.loader)()?;
        let state_dir_changed = next.state_dir != self.config.state_dir;
        // Journal and token stay where Alertmanager and the last start know them.
        next.state_dir.clone_from(&self.config.state_dir);
        let probes = probes::ready(&next)?;
        if self.scrapes.is_some() && self.applications.is_none() && next.applications.any() {
            let fresh = Applications::new(&next.applications);
            self.applications = Some(fresh.with(self.health.clone()));
        }
        let scraper = match &self.scrapes {
            Some(_) => Some(self.scraper(&next)?),
            None => None,
        };
        let exports = self.scrapes.is_some().then(|| self.prepare_exports(&next)).transpose()?;
        let settings = match &self.executor {
            Some(_) => Some((settings(&next)?, tokens(&next)?)),
            None => None,
        };
        let rules_changed = self.has_rules && self.config.services != next.services;
        let besides = state_dir_changed.then_some("state_dir").into_iter();
        let besides = besides.chain(rules_changed.then_some("services (their rules)"));
        for key in reload::only_at_start(&self.config, &next).chain(besides) {
            tracing::warn!(key, "this key is used from the next start on, not by a reload");
        }
        if let (Some(thread), Some(scraper)) = (&self.scrapes, scraper) {
            thread.replace(scraper, next.exporter.page_age_max)?;
        }
        if let Some(applications) = &self.applications {
            applications.replace(&next.applications);
        }
        if let Some(scraping) = &mut self.scraping {
            scraping.replace(&next.applications.scrape);
        }
        if let Some(statsd) = &self.statsd {
            statsd.replace(&next.applications.statsd, next.applications.stale_after);
        }
        if let (Some(executor), Some((settings, tokens))) = (&self.executor, settings) {
            executor.shared().replace(settings);
            if let Some(slot) = &self.tokens {
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = tokens;
            }
        }
        self.config = next;
        if let Some(exports) = exports {
            self.send_exports(exports)?;
            self.probe(probes);
        }
        Ok(())
    }
}

/// A web configuration, if there is one, with its warnings in the log.
fn web(file: Option<&Path>) -> Result<Option<Web>> {
    let Some(web) = file.map(Web::load).transpose().context("web_config_file")? else { return Ok(None) };
    for warning in web.warnings() {
        tracing::warn!(path = %web.path().display(), "{warning}");
    }
    Ok(Some(web))
}

/// What runs are decided by.
pub(super) fn settings(config: &Config) -> Result<Settings> {
    let host = config.host();
    let grouping = Grouping::new(&config.process_groups).context("process_groups")?;
    let hostname = crate::host::read_once(&host.procfs.join("sys/kernel/hostname")).ok().flatten();
    let loopback = ["localhost", "127.0.0.1", "::1", "[::1]"].map(String::from);
    let own_names =
        loopback
            .into_iter()
            .chain(hostname.map(|h| h.trim().to_owned()))
            // The addresses that Prometheus may have been told to scrape are this machine's.
            .chain(config.exporter.listen.iter().map(|address| {
                SocketAddr::new(address.ip(), 0).to_string().trim_end_matches(":0").to_owned()
            }))
            .chain(config.optimizer.instances.iter().cloned())
            .collect();
    // In the host's numbers, which are not ours in a container with a pid namespace of its own.
    let own_pid =
        std::fs::read_link(host.procfs.join("self")).ok().and_then(|link| link.to_str()?.parse().ok());
    let own_pids = crate::host::proc::ancestry(&host, own_pid.unwrap_or_else(std::process::id));
    let observer = Observer::new(host.clone(), grouping);
    Ok(Settings { options: config.optimizer.clone(), observer, own_names, own_pids, host })
}

/// The wall clock, in milliseconds since the epoch.
pub(super) fn now_millis() -> i64 {
    i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX)
}

fn seconds_now() -> f64 {
    since_epoch().as_secs_f64()
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
