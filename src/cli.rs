//! The command line: what can be typed, and the exit code of each outcome.

#[cfg(target_os = "linux")]
mod actions;
mod benchmark;
mod check;
#[cfg(target_os = "linux")]
mod demo;
mod exporter;
mod flags;
mod foreign;
#[cfg(target_os = "linux")]
mod optimizer;
mod over;
#[cfg(target_os = "linux")]
mod reclaim;
#[cfg(target_os = "linux")]
mod remote;
#[cfg(target_os = "linux")]
mod rules;
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "`up` uses the rest"))]
mod service;
mod slo;
mod sockets;
mod telemetry;
#[cfg(target_os = "linux")]
mod up;

use self::service::Command as _;
use crate::config::{Config, LogFormat};
use crate::export::logs::Lines;
use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The job could not be done.
const FAILED: u8 = 2;

/// Keeps machines out of memory trouble, and proves it.
#[derive(Debug, Parser)]
#[command(name = "headroom", version, max_term_width = 100, propagate_version = true)]
#[command(after_help = "Exit status: 0 fine, 1 a finding, 2 the job could not be done.")]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Options of every command")]
struct Common {
    /// The configuration file; all its keys have defaults [default: none] [env: HEADROOM_CONFIG]
    #[arg(long, global = true, value_name = "FILE", env = "HEADROOM_CONFIG", hide_env = true)]
    config: Option<PathBuf>,
    /// Where the journal, tokens and data are kept (state_dir)
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The form of log lines, text or json (log.format)
    #[arg(
        long = "log-format",
        alias = "log.format",
        global = true,
        value_name = "FORMAT",
        hide_possible_values = true
    )]
    log_format: Option<LogFormat>,
    /// error, warn, info, debug, trace, or a filter by module (log.level)
    #[arg(long = "log-level", alias = "log.level", global = true, value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve this machine's metrics for Prometheus
    #[command(after_help = flags::help())]
    Exporter(Box<exporter::Args>),
    #[cfg(target_os = "linux")]
    /// Take Alertmanager's webhooks, free memory, verify and record it
    Optimizer(optimizer::Args),
    #[cfg(target_os = "linux")]
    /// Have the optimizer free memory of a target now; where none runs, do it
    #[command(after_help = reclaim::HELP)]
    Reclaim(reclaim::Args),
    #[cfg(target_os = "linux")]
    /// Show what actions there are, what they cost and need
    #[command(subcommand)]
    Actions(actions::Actions),
    #[cfg(target_os = "linux")]
    /// Show the alerts that come with Headroom, and write their rules with your thresholds
    #[command(subcommand)]
    Rules(rules::Rules),
    /// Show where each service stands beside its objectives, by what a Prometheus knows
    Slo(slo::Args),
    /// Keep the results of load tests and benchmarks, hold them against a baseline, show them as metrics
    #[command(subcommand)]
    Benchmark(benchmark::Benchmark),
    #[cfg(target_os = "linux")]
    /// Run exporter and optimizer, and Prometheus and Alertmanager where they are installed
    Up,
    #[cfg(target_os = "linux")]
    /// Show the whole loop in about a minute, on real servers
    Demo(demo::Args),
    /// Check a configuration, or whether a server is ready
    #[command(subcommand)]
    Check(check::Check),
    /// Print a shell's completion script
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages of all commands into a directory
    #[command(hide = true)]
    Man {
        /// The directory; it is made if it is missing
        directory: PathBuf,
    },
    #[cfg(target_os = "linux")]
    /// The sample application of `headroom demo`
    #[command(hide = true)]
    DemoApp(demo::app::Args),
}

/// Runs the command that `arguments` ask for.
pub fn run(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.into_iter().collect();
    // On a thread that ends: all commands and their flags take more memory than the exporter does later, and what was freed
    // of it is what the next thread begins with. Not so the configuration, much of which stays.
    let understood = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || understand(&arguments));
        thread.ok().and_then(|thread| thread.join().ok())
    });
    let (cli, foreign) = match understood.unwrap_or_else(|| understand(&arguments)) {
        Ok(understood) => understood,
        Err(code) => return ExitCode::from(code),
    };
    match dispatch(cli, foreign) {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            let _printed = writeln!(io::stderr(), "headroom: {e:#}");
            ExitCode::from(FAILED)
        }
    }
}

/// What the arguments ask for; if they ask for nothing that can be done, they were answered, and this is the exit code.
fn understand(arguments: &[std::ffi::OsString]) -> Result<(Cli, foreign::Foreign), u8> {
    let arguments = exporter::process::with_two_dashes(arguments.to_vec(), Cli::command);
    let (arguments, foreign) = foreign::split(arguments, &Cli::command()).map_err(|why| {
        let _printed = writeln!(io::stderr(), "headroom: {why}");
        FAILED
    })?;
    let cli = Cli::try_parse_from(arguments).map_err(|e| {
        // Nothing is left to tell the user if the terminal itself is gone.
        let _printed = e.print();
        u8::try_from(e.exit_code()).unwrap_or(FAILED)
    })?;
    Ok((cli, foreign))
}

fn dispatch(cli: Cli, foreign: foreign::Foreign) -> anyhow::Result<u8> {
    match cli.command {
        Command::Exporter(mut args) => {
            args.foreign = foreign;
            let prepared = prepare(&cli.common, |config| args.apply(config))?;
            if !args.foreign.unknown.is_empty() {
                let flags = args.foreign.unknown.join(" ");
                tracing::warn!(flags, "these flags of node_exporter are not supported and have no effect");
            }
            let foreign = args.foreign.clone();
            service::run(&cli.common, prepared, *args).map_err(|e| foreign.explain(e))
        }
        #[cfg(target_os = "linux")]
        Command::Optimizer(args) if args.is_aside() => args.aside(&load(&cli.common, &|_| ())?),
        #[cfg(target_os = "linux")]
        Command::Optimizer(args) => {
            service::run(&cli.common, prepare(&cli.common, |config| args.apply(config))?, args)
        }
        #[cfg(target_os = "linux")]
        Command::Reclaim(args) => args.run(&load(&cli.common, &|_| ())?),
        #[cfg(target_os = "linux")]
        Command::Actions(what) => what.run(&cli.common),
        #[cfg(target_os = "linux")]
        Command::Rules(what) => what.run(&cli.common),
        Command::Slo(args) => args.run(&cli.common),
        Command::Benchmark(what) => what.run(&cli.common),
        #[cfg(target_os = "linux")]
        Command::Up => up::run(&cli.common, prepare(&cli.common, |_| ())?),
        #[cfg(target_os = "linux")]
        Command::Demo(args) => {
            if cli.common.config.is_some() || cli.common.state_dir.is_some() {
                let notice =
                    "the demonstration has a configuration and a directory of its own; yours are not used";
                writeln!(io::stderr(), "headroom: {notice}")?;
            }
            demo::run(&args)
        }
        Command::Check(check) => check.run(&cli.common),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut flags::completed(Cli::command()), "headroom", &mut script);
            io::stdout().write_all(&script)?;
            Ok(0)
        }
        Command::Man { directory } => man(&directory),
        #[cfg(target_os = "linux")]
        Command::DemoApp(args) => demo::app::run(&args),
    }
}

/// Writes the manual pages, a file for each command: what `--help` says, in the form that man(1) reads.
fn man(directory: &Path) -> anyhow::Result<u8> {
    let written = std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), directory));
    written.with_context(|| format!("cannot write manual pages into {}", directory.display()))?;
    Ok(0)
}

/// Loads the configuration, puts the flags over it, and begins to log.
fn prepare(common: &Common, flags: impl Fn(&mut Config)) -> anyhow::Result<(Config, Option<Lines>)> {
    let config = load(common, &flags)?;
    let lines = log(&config)?;
    Ok((config, lines))
}

/// The configuration file with the flags over it: what a start uses, and every reload.
fn load(common: &Common, flags: &dyn Fn(&mut Config)) -> anyhow::Result<Config> {
    let mut config = Config::load(common.config.as_deref())?;
    if let Some(dir) = &common.state_dir {
        config.state_dir = Some(dir.clone());
    }
    if let Some(format) = common.log_format {
        config.log.format = format;
    }
    if let Some(level) = &common.log_level {
        config.log.level.clone_from(level);
    }
    let groups = config.exporter.collectors.process_groups.clone();
    flags(&mut config);
    if config.exporter.collectors.process_groups != groups {
        config.group_processes()?;
    }
    Ok(config)
}

/// Begins to log; what is logged is kept where it is to be sent, too.
fn log(config: &Config) -> anyhow::Result<Option<Lines>> {
    let filter = EnvFilter::try_new(&config.log.level)
        .map_err(|e| anyhow::anyhow!("log.level: {:?} is no level and no filter: {e}", config.log.level))?;
    let sends = config.log.otlp.is_on(&config.otlp, &|name: &str| std::env::var(name).ok());
    let (tap, lines) = sends.then(|| crate::export::logs::tap(service::now_millis)).unzip();
    let layers = tracing_subscriber::registry().with(filter).with(tap);
    let shown = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(false);
    let begun = match config.log.format {
        LogFormat::Text => layers.with(shown.with_ansi(io::stderr().is_terminal())).try_init(),
        LogFormat::Json => layers.with(shown.json().flatten_event(true)).try_init(),
    };
    begun.map_err(|e| anyhow::anyhow!("cannot begin to log: {e}"))?;
    Ok(lines)
}
