//! `headroom optimizer`: its flags, the emergency stop, and the capabilities that it wants.

use super::service::{Command, Parts, state_dir};
use crate::config::Config;
use crate::optimize::Options;
use crate::optimize::action;
use crate::optimize::pause::Pause;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Flags of `headroom optimizer`; each stands over its key in the configuration file.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    /// Where to listen (optimizer.listen) [default: 127.0.0.1:9178]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The file with the bearer token of webhook and record (optimizer.token_file)
    /// [default: webhook-token in the state directory, made if missing]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// exporter-toolkit's web configuration file: TLS, users, certificates (optimizer.web_config_file)
    #[arg(long, alias = "web.config.file", value_name = "FILE")]
    web_config_file: Option<PathBuf>,
    /// Decide and record, but do nothing (optimizer.dry_run)
    #[arg(long)]
    dry_run: bool,
    /// Print the capabilities that the configured actions need, and end: one a line, or as a drop-in of systemd, or for
    /// Docker Compose
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "names")]
    print_capabilities: Option<Form>,
    #[command(subcommand)]
    stop: Option<Stop>,
}

/// A form of the list of capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// One a line
    Names,
    /// A drop-in
    Systemd,
    /// Docker Compose
    Docker,
}

/// The emergency stop: a file in the state directory, which holds whether or not the optimizer runs.
#[derive(Clone, Debug, clap::Subcommand)]
enum Stop {
    /// Hold all actions from now on, also over restarts; one that runs ends at its next step
    Pause {
        /// Why, for the record of those who wonder
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Let actions begin again
    Resume,
    /// Say whether actions are held; then the exit status is 1
    Status,
}

impl Args {
    /// Whether something is asked for beside serving.
    pub(super) fn is_aside(&self) -> bool {
        self.print_capabilities.is_some() || self.stop.is_some()
    }

    /// Does it.
    pub(super) fn aside(&self, config: &Config) -> Result<u8> {
        let mut out = io::stdout();
        if let Some(form) = self.print_capabilities {
            out.write_all(form.text(&capabilities(&config.optimizer)).as_bytes())?;
        }
        let Some(stop) = &self.stop else { return Ok(0) };
        let pause = Pause::new(&state_dir(config));
        let place = || pause.file().display().to_string();
        match stop {
            Stop::Pause { reason } => {
                pause.set(reason).with_context(place)?;
                writeln!(out, "all actions are held; `headroom optimizer resume` ends it ({})", place())?;
            }
            Stop::Resume => {
                let held = pause.clear().with_context(place)?;
                writeln!(out, "{}", if held { "actions may begin again" } else { "nothing was held" })?;
            }
            Stop::Status => match pause.why() {
                Some(why) => {
                    writeln!(out, "paused: {why}")?;
                    return Ok(1);
                }
                None => writeln!(out, "not paused")?,
            },
        }
        Ok(0)
    }
}

/// What the actions on configured ladders need.
fn capabilities(options: &Options) -> BTreeSet<&'static str> {
    let ladders = options.policies.iter().map(|p| &p.ladder);
    let ladders = ladders.chain(options.pressure.rules.iter().map(|r| &r.ladder));
    let actions = ladders.flatten().filter_map(|rung| action::find(&rung.action));
    actions.flat_map(|a| a.explain().capabilities).copied().collect()
}

impl Form {
    fn text(self, capabilities: &BTreeSet<&'static str>) -> String {
        let names = || capabilities.iter().copied();
        match self {
            Self::Names => names().flat_map(|name| [name, "\n"]).collect(),
            Self::Systemd => {
                let all = names().collect::<Vec<_>>().join(" ");
                format!("[Service]\nAmbientCapabilities={all}\nCapabilityBoundingSet={all}\n")
            }
            Self::Docker => {
                let all: Vec<&str> = names().map(|name| name.trim_start_matches("CAP_")).collect();
                format!("cap_drop: [ALL]\ncap_add: [{}]\n", all.join(", "))
            }
        }
    }
}

impl Command for Args {
    const PARTS: Parts = Parts { exporter: false, optimizer: true };

    fn apply(&self, config: &mut Config) {
        if let Some(listen) = self.listen {
            config.optimizer.listen = listen;
        }
        if let Some(file) = &self.web_config_file {
            config.optimizer.web_config_file = Some(file.clone());
        }
        if let Some(file) = &self.token_file {
            config.optimizer.token_file = Some(file.clone());
        }
        config.optimizer.dry_run |= self.dry_run;
    }
}
