//! What `headroom up` starts besides itself: Prometheus and Alertmanager with this project's files.

pub mod files;
pub mod supervise;

use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Options of `headroom up`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Prometheus.
    pub prometheus: Server,
    /// Alertmanager.
    pub alertmanager: Server,
    /// Time between two scrapes, and between two evaluations of the rules.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// The longest that a rule's condition must hold before it fires; `None` leaves the rules as they are.
    #[serde(with = "humantime_serde")]
    pub for_max: Option<Duration>,
}

/// A server that is started if its program is there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Whether to start it.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its program; looked for on the PATH if not given.
    #[serde(default)]
    pub program: Option<PathBuf>,
}

fn yes() -> bool {
    true
}

impl Default for Options {
    fn default() -> Self {
        let server =
            |port| Server { enabled: true, listen: SocketAddr::from(([127, 0, 0, 1], port)), program: None };
        Self {
            prometheus: server(9090),
            alertmanager: server(9093),
            interval: Duration::from_secs(5),
            for_max: None,
        }
    }
}
