//! What applications send or offer: the store that holds all of it, within limits, until it is on a page.

mod families;
mod family;
mod held;
pub mod limits;
pub mod otlp;
mod own;
pub mod probe;
pub mod scrape;
pub mod statsd;
pub mod store;
mod taken;

use crate::collect::applications::Shown;
use crate::metric::{Desc, Sink, Value};
use limits::Limits;
use probe::board::Board;
use serde::Deserialize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use store::Store;

/// Options of what applications send. Every input is off until it is configured.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How long a series stays after its application last sent it.
    #[serde(with = "humantime_serde")]
    pub stale_after: Duration,
    /// How much may be held.
    pub limits: Limits,
    /// OpenTelemetry's protocol.
    pub otlp: otlp::Options,
    /// What is asked of components that have no metrics.
    pub probes: Vec<probe::Probe>,
    /// StatsD and DogStatsD.
    pub statsd: statsd::Options,
    /// Pages of applications that are fetched.
    pub scrape: Vec<scrape::Target>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            stale_after: Duration::from_mins(5),
            limits: Limits::default(),
            otlp: otlp::Options::default(),
            probes: Vec::new(),
            statsd: statsd::Options::default(),
            scrape: Vec::new(),
        }
    }
}

impl Options {
    /// Whether any input is configured. Without one there is neither a store nor its collector.
    pub fn any(&self) -> bool {
        self.otlp.any() || self.statsd.any() || !self.scrape.is_empty() || !self.probes.is_empty()
    }

    /// What is wrong with the options, by its key below `applications`, if anything is.
    pub fn check(&self) -> Result<(), (String, String)> {
        if self.stale_after < Duration::from_secs(1) {
            return Err(("stale_after".into(), "at least 1s".into()));
        }
        self.limits.check().map_err(|(key, why)| (format!("limits.{key}"), why))?;
        probe::check(&self.probes)?;
        self.otlp.check().map_err(|(key, why)| (format!("otlp.{key}"), why))?;
        self.statsd.check().map_err(|(key, why)| (format!("statsd.{key}"), why))?;
        scrape::check(&self.scrape, self.stale_after)
    }
}

/// The store, shared by the inputs that fill it and the collector that shows it; and what was found by asking.
#[derive(Clone, Debug)]
pub struct Applications(Arc<Shared>, Board);

#[derive(Debug)]
struct Shared {
    /// Held by whoever is the next to have the store. Without it, an input that takes the store again and again would have
    /// it back before a page that waits for it has woken up.
    next: Mutex<()>,
    store: Mutex<Store>,
}

impl Applications {
    /// An empty store.
    pub fn new(options: &Options) -> Self {
        let store = Store::new(options.limits.clone(), options.stale_after, Instant::now());
        Self(Arc::new(Shared { next: Mutex::new(()), store: Mutex::new(store) }), Board::default())
    }

    /// The same, which shows a board besides.
    #[must_use]
    pub fn with(self, board: Board) -> Self {
        Self(self.0, board)
    }

    /// Uses other limits from now on; what is held already stays.
    pub fn replace(&self, options: &Options) {
        self.lock().replace(options.limits.clone(), options.stale_after);
    }

    /// The store, for moments only: a page waits for it.
    pub fn lock(&self) -> MutexGuard<'_, Store> {
        let _next = self.0.next.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown for Applications {
    fn write(&self, out: &mut dyn Sink) {
        let now = Instant::now();
        // First, so that no application can take these names.
        self.1.write(now, out);
        self.lock().write(now, out);
    }

    fn write_with(&self, desc: &Desc<'_>, value: Value<'_>, out: &mut dyn Sink) {
        self.lock().write_with(Instant::now(), (desc, value), out);
    }
}

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Input {
    /// OpenTelemetry's protocol.
    Otlp,
    /// StatsD and DogStatsD.
    Statsd,
    /// An application's own page.
    Scrape,
}

impl Input {
    /// The value of the label `input`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Otlp => "otlp",
            Self::Statsd => "statsd",
            Self::Scrape => "scrape",
        }
    }
}
