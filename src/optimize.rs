//! The optimizer: the straight line from an alert to a verified outcome.

pub mod action;
pub mod alert;
pub mod api;
pub mod climb;
pub mod executor;
pub mod grafana;
pub mod guard;
pub mod harm;
pub mod journal;
pub mod metrics;
pub mod observe;
pub mod pause;
pub mod policy;
pub mod pressure;
pub mod proactive;
pub mod record;
pub mod report;
pub mod request;
pub mod silence;
mod sockets;
pub mod store;
pub mod trace;
pub mod verify;
pub mod witness;

use crate::matching::Matcher;
use api::access::Callers;
use policy::endpoint::Endpoint;
use policy::{Policy, Target};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest that a gain is waited for.
pub const SETTLE_MAX: Duration = Duration::from_mins(1);

/// Options of the optimizer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// exporter-toolkit's web configuration file: TLS, users, certificates of clients.
    pub web_config_file: Option<PathBuf>,
    /// The file with the bearer token that webhook and API want; made in the state directory if not given.
    pub token_file: Option<PathBuf>,
    /// The file with a token that opens what changes nothing: the record, and the metrics where users are asked.
    pub read_token_file: Option<PathBuf>,
    /// Who may do without a token what that one opens; nobody unless named.
    pub write: Callers,
    /// The same for what the token for reading opens.
    pub read: Callers,
    /// Decide and record, but do nothing.
    pub dry_run: bool,
    /// Values of the `instance` label, or host names in it, that mean this machine, besides its host name and loopback.
    pub instances: Vec<String>,
    /// How long ended runs are kept.
    #[serde(with = "humantime_serde")]
    pub retention: Duration,
    /// How long after an action its gain may show, at most.
    #[serde(with = "humantime_serde")]
    pub settle: Duration,
    /// How long after an action its cost is looked at.
    #[serde(with = "humantime_serde")]
    pub aftermath: Duration,
    /// Where actions are shown as annotations.
    pub grafana: Option<grafana::Options>,
    /// Where silences are looked up before each rung.
    pub alertmanager: Option<Endpoint>,
    /// Where alerts of other machines are sent on to; without it they are recorded, and nothing is done.
    pub forward: Option<api::forward::Options>,
    /// The limits that all actions share.
    pub guards: guard::Options,
    /// Stalls that lead to actions without an alert.
    pub pressure: pressure::Options,
    /// Targets whose groups are kept at a small pressure, so that their working set shows.
    pub proactive: Vec<proactive::Options>,
    /// From alerts to actions; the first that matches is taken.
    pub policies: Vec<Policy>,
    /// What may be touched.
    pub targets: Vec<Target>,
}

impl Default for Options {
    fn default() -> Self {
        let matchers = Matcher::parse(r#"headroom_action="reclaim""#).into_iter().collect();
        let policy = Policy {
            name: "give-back".into(),
            matchers,
            target_label: Some("groupname".into()),
            ladder: vec![policy::Rung::from("app_hook")],
            ..Policy::default()
        };
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9178)),
            web_config_file: None,
            token_file: None,
            read_token_file: None,
            write: Callers::default(),
            read: Callers::default(),
            dry_run: false,
            instances: Vec::new(),
            retention: Duration::from_hours(720),
            settle: Duration::from_secs(2),
            aftermath: Duration::from_mins(1),
            grafana: None,
            alertmanager: None,
            forward: None,
            guards: guard::Options::default(),
            pressure: pressure::Options::default(),
            proactive: Vec::new(),
            policies: vec![policy],
            targets: Vec::new(),
        }
    }
}

impl Options {
    /// Looks for the files of the servers that it calls in `base`, where their paths are relative.
    pub fn place_files(&mut self, base: &Path) {
        let of_targets = self.targets.iter_mut().flat_map(Target::servers);
        let files = self.alertmanager.iter_mut().chain(of_targets).flat_map(Endpoint::files);
        let files = files.chain(self.forward.iter_mut().flat_map(api::forward::Options::files));
        files.for_each(|file| *file = base.join(&*file));
    }

    /// Whether anybody can be known without a token; or the key that is wrong, and why.
    pub fn check_callers(&self) -> Result<(), (String, String)> {
        let named = [("optimizer.write", &self.write), ("optimizer.read", &self.read)];
        match named.into_iter().find(|(_, callers)| !callers.is_empty()) {
            Some((key, _)) if self.web_config_file.is_none() => {
                let why = "users and certificates are those of `optimizer.web_config_file`, which is missing";
                Err((key.to_owned(), why.to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Whether Alertmanager can be asked; or the key that is wrong, and why.
    pub fn check_alertmanager(&self) -> Result<(), (String, String)> {
        let checked = self.alertmanager.as_ref().map_or(Ok(()), Endpoint::check);
        checked.map_err(|(key, why)| (format!("optimizer.alertmanager.{key}"), why))?;
        let forward = self.forward.as_ref().map_or(Ok(()), api::forward::Options::check);
        forward.map_err(|(key, why)| (format!("optimizer.forward.{key}"), why))
    }
}
