//! `headroom demo`: the whole loop in about a minute, on real servers, told as it happens.

pub(super) mod app;
mod python;
mod watch;

use super::service::{Loader, block_on, make_token, now_millis, state_dir};
use super::up::Stack;
use crate::config::Config;
use crate::host::group::Rule;
use crate::optimize::policy::{Hook, Target};
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::{Child, Command};
use watch::{Servers, Timeline, Watch};

/// The sample application's name: of its process, its group, its target.
const NAME: &str = "demo-cache";
/// Its budget. It grows to twice as much.
const BUDGET: bytesize::ByteSize = bytesize::ByteSize::mib(120);
const GROWS_TO_MIB: u64 = 240;
const GROWS_BY_MIB: u64 = 30;
/// Scrape and evaluation interval, and the longest `for` of a rule.
const INTERVAL: Duration = Duration::from_secs(1);
const FOR_MAX: Duration = Duration::from_secs(3);

/// Options of the demonstration.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// How long to wait for the end of the loop
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Keep the journal, the servers' data and their logs
    #[arg(long)]
    keep: bool,
    /// Print the final summary as JSON too
    #[arg(long)]
    json: bool,
    /// How the sample application answers the request to give memory back
    #[arg(long, value_enum, default_value_t = app::Manner::Well)]
    manner: app::Manner,
    /// Take a sample application in Python, with the package `headroom_kit` (docs/app-hook.md); it needs python3
    #[arg(long, conflicts_with = "manner")]
    python: bool,
}

/// The sample application: what starts it, and how its process is recognized.
struct Application {
    address: SocketAddr,
    /// Without `--listen ADDRESS` and what follows.
    command: Command,
    comm: Vec<String>,
    /// The end of its command line before that.
    marker: &'static str,
    token_file: Option<PathBuf>,
}

/// Shows the loop; 0 only if it closed.
pub(super) fn run(args: &Args) -> Result<u8> {
    let python = args.python.then(python::interpreter).transpose()?;
    let _logs = tracing_subscriber::fmt()
        .with_env_filter("error")
        .with_writer(io::stderr)
        .with_target(false)
        .try_init();
    let directory = std::env::temp_dir().join(format!("headroom-demo-{}", std::process::id()));
    // Not one that is there already: where everybody may write, it may be another user's.
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let shown = block_on(show(args, python.as_deref(), &directory));
    if args.keep || shown.is_err() {
        writeln!(io::stdout(), "Everything is kept in {}", directory.display())?;
    } else if let Err(e) = std::fs::remove_dir_all(&directory) {
        writeln!(io::stdout(), "Cannot remove {}: {e}", directory.display())?;
    }
    let timeline = shown?;
    timeline.summary(&mut io::stdout())?;
    if args.json {
        writeln!(io::stdout(), "{}", timeline.json())?;
    }
    Ok(u8::from(!timeline.closed()))
}

async fn show(args: &Args, python: Option<&Path>, directory: &Path) -> Result<Timeline> {
    let [exporter, optimizer, prometheus, alertmanager, application] = free_ports()?;
    let application = match python {
        Some(python) => Application::in_python(python, directory, application)?,
        None => Application::own(args, directory, application)?,
    };
    let mut config = Config { state_dir: Some(directory.to_owned()), ..Config::default() };
    config.exporter.listen = exporter.into();
    config.optimizer.listen = optimizer;
    config.up.prometheus.listen = prometheus;
    config.up.alertmanager.listen = alertmanager;
    config.up.interval = INTERVAL;
    config.up.for_max = Some(FOR_MAX);
    config.process_groups = vec![Rule {
        name: NAME.into(),
        comm: application.comm.clone(),
        // Another demonstration on this machine has another application.
        cmdline: vec![format!("{} --listen {}( |$)", application.marker, application.address)],
        memory_budget: Some(BUDGET),
        ..Rule::default()
    }];
    let hook = Hook {
        url: Some(format!("http://{}/headroom/reclaim", application.address)),
        token_file: application.token_file.clone(),
        timeout: Duration::from_secs(3),
        ..Hook::default()
    };
    config.optimizer.targets = vec![Target {
        name: NAME.into(),
        process_group: Some(NAME.into()),
        hook: Some(hook),
        ..Target::default()
    }];
    let config = config.finished()?;
    let again = config.clone();
    let loader: Loader = Box::new(move || Ok(again.clone()));
    let out = &mut io::stdout();
    writeln!(out, "Headroom's loop, on real servers. State: {}", state_dir(&config).display())?;
    let stack = Box::pin(Stack::start(config, loader)).await?;
    let (rules, alertmanager) = match (stack.prometheus, stack.alertmanager) {
        (true, true) => ("Prometheus", Some(alertmanager)),
        (true, false) => {
            stack.service.stop().await;
            bail!(
                "the demonstration needs an Alertmanager beside Prometheus (Debian, Ubuntu: apt-get install prometheus-alertmanager)"
            );
        }
        (false, has_alertmanager) => ("Headroom's monitor", has_alertmanager.then_some(alertmanager)),
    };
    write!(out, "  {rules} http://{prometheus}/  ")?;
    if let Some(address) = alertmanager {
        write!(out, "Alertmanager http://{address}/  ")?;
    }
    writeln!(out, "optimizer http://{optimizer}/")?;
    let servers = Servers { rules: prometheus, evaluator: rules, alertmanager, optimizer };
    let mut watch = Watch::new(servers, &stack.token_file()?, NAME)?;
    let told = tell(args, application, &mut watch).await;
    stack.service.stop().await;
    told
}

async fn tell(args: &Args, application: Application, watch: &mut Watch) -> Result<Timeline> {
    let out = &mut io::stdout();
    watch.servers_ready(Duration::from_secs(30)).await?;
    writeln!(
        out,
        "  the servers are ready; scrapes and rules every {} s, `for` at most {} s",
        INTERVAL.as_secs(),
        FOR_MAX.as_secs()
    )?;
    let mut child = application.start()?;
    let pid = child.id().unwrap_or_default();
    writeln!(
        out,
        "  {NAME} (process {pid}) starts: budget {BUDGET}, grows by {GROWS_BY_MIB} MiB/s to {GROWS_TO_MIB} MiB\n"
    )?;
    let mut timeline = Timeline::new(now_millis(), BUDGET.as_u64(), watch.has_alertmanager());
    let deadline = now_millis() + i64::try_from(args.timeout.as_millis()).unwrap_or(i64::MAX);
    while !timeline.complete() && !timeline.failed() && now_millis() < deadline {
        tokio::time::sleep(Duration::from_millis(150)).await;
        for event in watch.look(&mut timeline, now_millis()).await {
            writeln!(out, "{event}")?;
        }
        out.flush()?;
        if let Some(status) = child.try_wait()? {
            bail!("{NAME} ended by itself: {status}");
        }
    }
    child.kill().await.context("cannot end the sample application")?;
    if !timeline.complete() && !timeline.failed() {
        writeln!(out, "\nGave up after {} (--timeout).", humantime::format_duration(args.timeout))?;
    }
    Ok(timeline)
}

impl Application {
    /// This program, under a name of its own, so that it is a process group of its own.
    fn own(args: &Args, directory: &Path, address: SocketAddr) -> Result<Self> {
        let link = directory.join(NAME);
        let own = std::env::current_exe().context("cannot find this program's file")?;
        std::os::unix::fs::symlink(own, &link).with_context(|| format!("cannot make {}", link.display()))?;
        let manner = clap::ValueEnum::to_possible_value(&args.manner);
        let manner = manner.map(|v| v.get_name().to_owned()).unwrap_or_default();
        let mut command = Command::new(&link);
        command.args(["demo-app", "--manner", &manner]);
        Ok(Self { address, command, comm: vec![NAME.into()], marker: "", token_file: None })
    }

    /// The one in Python, which wants a token.
    fn in_python(python: &Path, directory: &Path, address: SocketAddr) -> Result<Self> {
        let script = python::write(&directory.join("python"))?;
        let token_file = directory.join("hook-token");
        make_token(&token_file).context("cannot make a token for the hook")?;
        let mut command = Command::new(python);
        // The package lies beside the script, whatever else says where packages are.
        command.arg("-B").arg(&script).env("PYTHONPATH", directory.join("python"));
        Ok(Self { address, command, comm: Vec::new(), marker: python::SCRIPT, token_file: Some(token_file) })
    }

    fn start(mut self) -> Result<Child> {
        crate::sys::end_with_parent(self.command.as_std_mut());
        let token_file =
            self.token_file.iter().flat_map(|file| [OsStr::new("--token-file"), file.as_os_str()]);
        self.command
            .args(["--listen", &self.address.to_string()])
            .args(["--grow", &GROWS_BY_MIB.to_string(), "--most", &GROWS_TO_MIB.to_string()])
            .args(token_file)
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .process_group(0)
            .spawn()
            .context("cannot start the sample application")
    }
}

/// Five addresses on loopback that nobody listens on. Not from the range out of which the kernel takes the ports of
/// outgoing connections (`ip_local_port_range`): one of those could have them before they are used.
fn free_ports() -> Result<[SocketAddr; 5]> {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    let begin = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or_default();
    let ports = (0..COUNT).map(|n| FIRST + (begin.wrapping_mul(5) % COUNT + n) % COUNT);
    let addresses = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    // All are held until all are known, so that none comes twice.
    let held: Vec<TcpListener> = addresses.filter_map(|a| TcpListener::bind(a).ok()).take(5).collect();
    let found: Vec<SocketAddr> = held.iter().filter_map(|socket| socket.local_addr().ok()).collect();
    found.try_into().map_err(|_| anyhow::anyhow!("no five free ports on loopback from {FIRST} on"))
}

impl Stack {
    fn token_file(&self) -> Result<PathBuf> {
        self.service.token_file()
    }
}
