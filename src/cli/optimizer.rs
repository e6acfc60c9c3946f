//! `headroom optimizer`: its flags, the emergency stop, and the capabilities that it wants.

use super::remote;
use super::service::{Command, Parts, state_dir};
use crate::config::Config;
use crate::optimize::Options;
use crate::optimize::action::{self, Action};
use crate::optimize::api::by_hand::Held;
use crate::optimize::pause::Pause;
use crate::optimize::policy::Target;
use crate::optimize::policy::hook::PressureSocket;
use anyhow::{Context, Result};
use hyper::Method;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

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
    /// The file with a token that opens what changes nothing (optimizer.read_token_file)
    #[arg(long, value_name = "FILE")]
    read_token_file: Option<PathBuf>,
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
        #[command(flatten)]
        api: remote::Args,
    },
    /// Let actions begin again
    Resume {
        #[command(flatten)]
        api: remote::Args,
    },
    /// Say whether actions are held; then the exit status is 1
    Status {
        #[command(flatten)]
        api: remote::Args,
    },
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
            out.write_all(form.text(&Needs::of(&config.optimizer)).as_bytes())?;
        }
        let Some(stop) = &self.stop else { return Ok(0) };
        let (Stop::Pause { api, .. } | Stop::Resume { api } | Stop::Status { api }) = stop;
        if api.elsewhere() {
            return stop.by_page(&api.optimizer(config)?, &mut out);
        }
        let pause = Pause::new(&state_dir(config));
        let place = || pause.file().display().to_string();
        match stop {
            Stop::Pause { reason, .. } => {
                pause.set(reason).with_context(place)?;
                writeln!(out, "all actions are held; `headroom optimizer resume` ends it ({})", place())?;
            }
            Stop::Resume { .. } => {
                let held = pause.clear().with_context(place)?;
                writeln!(out, "{}", if held { "actions may begin again" } else { "nothing was held" })?;
            }
            Stop::Status { .. } => match pause.why() {
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

impl Stop {
    /// The same through the API of an optimizer that may be on another machine.
    fn by_page(&self, optimizer: &remote::Optimizer, out: &mut impl Write) -> Result<u8> {
        const PAGE: &str = "pause";
        let (method, body) = match self {
            Self::Pause { reason, .. } => {
                (Method::PUT, Some(serde_json::to_vec(&serde_json::json!({ "reason": reason }))?))
            }
            Self::Resume { .. } => (Method::DELETE, None),
            Self::Status { .. } => (Method::GET, None),
        };
        let held: Held = serde_json::from_slice(&optimizer.call(method, PAGE, body)?)?;
        match &held.reason {
            Some(reason) => writeln!(out, "paused: {reason}")?,
            None => writeln!(out, "not paused")?,
        }
        Ok(u8::from(held.paused && matches!(self, Self::Status { .. })))
    }
}

/// The action that asks applications by their hooks.
const APP_HOOK: &str = "app_hook";

/// What the configuration asks of the system.
#[derive(Default)]
struct Needs {
    capabilities: BTreeSet<&'static str>,
    /// The actions of all ladders, with what they want besides capabilities.
    actions: BTreeMap<&'static str, &'static dyn Action>,
    /// What hooks of targets want of the unit, as lines of a drop-in.
    lines: BTreeSet<String>,
}

impl Needs {
    fn of(options: &Options) -> Self {
        let ladders = options.policies.iter().map(|p| &p.ladder);
        let ladders = ladders.chain(options.pressure.rules.iter().map(|r| &r.ladder));
        let actions = ladders.flatten().filter_map(|rung| action::find(&rung.action));
        let actions: BTreeMap<_, _> = actions.map(|a| (a.name(), a)).collect();
        let capabilities = actions.values().flat_map(|a| a.explain().capabilities).copied().collect();
        let mut needs = Self { capabilities, actions, lines: BTreeSet::new() };
        let sockets = options.targets.iter().flat_map(Target::pressure_sockets);
        sockets.for_each(|socket| needs.socket(&socket));
        // Sockets are served whatever the ladders have; a signal is sent by a rung alone.
        if needs.actions.contains_key(APP_HOOK) {
            let signals = options.targets.iter().flat_map(Target::all_hooks).any(|h| h.signal.is_some());
            needs.capabilities.extend(signals.then_some("CAP_KILL"));
        }
        needs
    }

    /// What it takes to make a socket, and to give it away.
    fn socket(&mut self, socket: &PressureSocket) {
        let directory = socket.path.parent().unwrap_or_else(|| Path::new("/"));
        match directory.strip_prefix("/run") {
            Ok(below) if !below.as_os_str().is_empty() => {
                self.lines.insert(format!("RuntimeDirectory={}", below.display()));
                self.lines.insert("RuntimeDirectoryMode=0755".to_owned());
            }
            _ => _ = self.lines.insert(format!("ReadWritePaths={}", directory.display())),
        }
        let Some(owner) = &socket.owner else { return };
        self.lines.insert("SystemCallFilter=@chown".to_owned());
        // A group that Headroom's user is in may be given without it.
        self.capabilities.extend((!owner.starts_with(':')).then_some("CAP_CHOWN"));
    }
}

/// What the unit forbids and an action wants, as lines of a drop-in: where it writes, and which calls it makes.
fn allowances(action: &str) -> &'static [&'static str] {
    match action {
        "drop_caches" | "compact_memory" => &["ProtectKernelTunables=no"],
        // Newer than the sets of systemd.
        "kill" => &["SystemCallFilter=process_mrelease"],
        "swap_on_zram" => &["PrivateDevices=no", "ProtectKernelTunables=no", "SystemCallFilter=@swap"],
        _ => &[],
    }
}

impl Form {
    fn text(self, needs: &Needs) -> String {
        let names = || needs.capabilities.iter().copied();
        match self {
            Self::Names => names().flat_map(|name| [name, "\n"]).collect(),
            Self::Systemd => drop_in(needs, &names().collect::<Vec<_>>().join(" ")),
            Self::Docker => {
                let all: Vec<&str> = names().map(|name| name.trim_start_matches("CAP_")).collect();
                format!("cap_drop: [ALL]\ncap_add: [{}]\n", all.join(", "))
            }
        }
    }
}

/// A drop-in for headroom-optimizer.service. An empty list first: without it systemd would add to the unit's.
fn drop_in(needs: &Needs, capabilities: &str) -> String {
    let comments =
        needs.actions.iter().map(|(name, action)| format!("# {name} needs {}\n", action.explain().needs));
    let mut text: String = comments.collect();
    text += "[Service]\n";
    for key in ["AmbientCapabilities=", "CapabilityBoundingSet="] {
        text.extend([key, "\n"]);
        if !capabilities.is_empty() {
            text.extend([key, capabilities, "\n"]);
        }
    }
    let mut allowances: BTreeSet<_> =
        needs.actions.keys().flat_map(|name| allowances(name)).copied().collect();
    allowances.extend(needs.lines.iter().map(String::as_str));
    allowances.into_iter().fold(text, |text, line| text + line + "\n")
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
        if let Some(file) = &self.read_token_file {
            config.optimizer.read_token_file = Some(file.clone());
        }
        config.optimizer.dry_run |= self.dry_run;
    }
}
