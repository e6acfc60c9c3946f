//! What `headroom up` starts besides itself: Prometheus and Alertmanager with this project's files.

pub mod files;
pub mod supervise;

use serde::{Deserialize, Deserializer};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const PROMETHEUS_PORT: u16 = 9090;
const ALERTMANAGER_PORT: u16 = 9093;
/// More often, a scrape takes a noticeable part of the time.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Options of `headroom up`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Prometheus.
    #[serde(deserialize_with = "server::<_, PROMETHEUS_PORT>")]
    pub prometheus: Server,
    /// Alertmanager.
    #[serde(deserialize_with = "server::<_, ALERTMANAGER_PORT>")]
    pub alertmanager: Server,
    /// Time between two scrapes, and between two evaluations of the rules.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// The longest that a rule's condition must hold before it fires; `None` leaves the rules as they are.
    #[serde(with = "humantime_serde")]
    pub for_max: Option<Duration>,
}

impl Options {
    /// What is wrong with the options, by key, if anything is.
    pub fn check(&self) -> Result<(), (String, String)> {
        if self.interval < INTERVAL_MIN { Err(("interval".into(), "at least 1s".into())) } else { Ok(()) }
    }
}

/// A server that is started if its program is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Whether to start it.
    pub enabled: bool,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its program; looked for on the PATH if not given.
    pub program: Option<PathBuf>,
}

impl Server {
    fn on(port: u16) -> Self {
        Self { enabled: true, listen: SocketAddr::from(([127, 0, 0, 1], port)), program: None }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prometheus: Server::on(PROMETHEUS_PORT),
            alertmanager: Server::on(ALERTMANAGER_PORT),
            interval: Duration::from_secs(5),
            for_max: None,
        }
    }
}

/// A server as it is written: each key may be missing, and the default address depends on which server it is.
fn server<'de, D: Deserializer<'de>, const PORT: u16>(from: D) -> Result<Server, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Written {
        enabled: Option<bool>,
        listen: Option<SocketAddr>,
        program: Option<PathBuf>,
    }
    let Written { enabled, listen, program } = Written::deserialize(from)?;
    let default = Server::on(PORT);
    Ok(Server {
        enabled: enabled.unwrap_or(default.enabled),
        listen: listen.unwrap_or(default.listen),
        program,
    })
}
