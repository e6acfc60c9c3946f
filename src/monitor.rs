//! What Prometheus does elsewhere, on a machine that has none: samples kept for hours, rules evaluated, queries answered, alerts
//! told.

pub mod alerts;
pub mod api;
mod chunk;
pub mod group;
pub mod history;
mod metrics;
pub mod notify;
pub mod rules;
mod targets;
pub mod template;

use crate::exporter::scrapes::ScrapeThread;
use crate::promql::Limits;
use bytesize::ByteSize;
use group::{Around, Group};
use history::History;
use metrics::Metrics;
use notify::{Notifier, To};
use rules::RuleError;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use targets::{Families, Target, Targets};

/// The least memory that makes sense: a machine's series for some minutes.
const MEMORY_MIN: ByteSize = ByteSize::mib(16);
/// Points that one query may fetch, 16 bytes each.
const POINTS_MAX: usize = 5_000_000;

/// Options of the monitor.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Whether it takes the place of a Prometheus that is not there.
    pub enabled: bool,
    /// What samples may take in memory; the oldest go first.
    pub memory_max: ByteSize,
}

impl Default for Options {
    fn default() -> Self {
        Self { enabled: true, memory_max: ByteSize::mib(64) }
    }
}

impl Options {
    /// What is wrong with the options, by key, if anything is.
    pub fn check(&self) -> Result<(), (String, String)> {
        if self.memory_max < MEMORY_MIN {
            return Err(("memory_max".into(), format!("at least {MEMORY_MIN}")));
        }
        Ok(())
    }
}

/// Why it cannot start.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// A rule cannot be used.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// There are no metrics.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
    /// There is no thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// What it is made of.
pub struct Parts<'a> {
    /// Its options.
    pub options: &'a Options,
    /// Between two passes, and two evaluations of groups that say no other.
    pub interval: Duration,
    /// Rule files: names and texts.
    pub rules: &'a [(String, String)],
    /// Who makes passes.
    pub scrapes: ScrapeThread,
    /// The addresses of exporter and optimizer, as labels have them.
    pub exporter: SocketAddr,
    /// See `exporter`.
    pub optimizer: SocketAddr,
    /// Who is told of alerts.
    pub to: To,
    /// Milliseconds since the epoch, now.
    pub now_millis: fn() -> i64,
    /// Where its own counters go.
    pub registry: &'a prometheus::Registry,
}

/// What passes, evaluations and queries share.
pub struct Shared {
    /// The samples.
    pub history: History,
    /// The rules with their alerts.
    pub groups: Mutex<Vec<Group>>,
    /// What was looked at last.
    pub targets: Mutex<Vec<Target>>,
    /// What families are.
    pub(super) families: Mutex<Families>,
    /// Between two passes.
    pub interval: Duration,
    /// What a query may take.
    pub limits: Limits,
    /// Milliseconds since the epoch, now.
    pub now_millis: fn() -> i64,
}

/// The monitor, while it runs. It ends when this is dropped.
pub struct Monitor {
    shared: Arc<Shared>,
    _ends: SyncSender<()>,
}

impl Monitor {
    /// Reads the rules and begins.
    pub fn start(parts: Parts<'_>) -> Result<Self, MonitorError> {
        let mut groups = Vec::new();
        for (file, text) in parts.rules {
            groups
                .extend(rules::read(file, text)?.into_iter().map(|group| Group::new(group, parts.interval)));
        }
        let metrics = Metrics::new(parts.registry)?;
        let shared = Arc::new(Shared {
            history: History::new(usize::try_from(parts.options.memory_max.as_u64()).unwrap_or(usize::MAX)),
            groups: Mutex::new(groups),
            targets: Mutex::default(),
            families: Mutex::default(),
            interval: parts.interval,
            limits: Limits { points_max: POINTS_MAX, ..Limits::default() },
            now_millis: parts.now_millis,
        });
        let notifier = Notifier::start(parts.to, parts.interval, metrics.notifications())?;
        let targets = Targets::new(parts.scrapes, parts.exporter, parts.optimizer);
        let (ends, ended) = sync_channel(0);
        let thread = Thread { shared: Arc::clone(&shared), targets, notifier, metrics };
        std::thread::Builder::new().name("monitor".into()).spawn(move || thread.run(&ended))?;
        Ok(Self { shared, _ends: ends })
    }

    /// What it knows.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

struct Thread {
    shared: Arc<Shared>,
    targets: Targets,
    notifier: Notifier,
    metrics: Metrics,
}

impl Thread {
    fn run(mut self, ended: &Receiver<()>) {
        let interval = i64::try_from(self.shared.interval.as_millis()).unwrap_or(i64::MAX).max(1);
        // A scrape in the last fifth of the interval costs no pass more.
        let share = interval / 5;
        loop {
            let now = (self.shared.now_millis)();
            // Times that are multiples of the interval take no room.
            let next = (now + share).div_euclid(interval) * interval + interval;
            match ended.recv_timeout(millis(next - share - now)) {
                Err(RecvTimeoutError::Timeout) => self.pass(next, share),
                _ => return,
            }
        }
    }

    fn pass(&mut self, beat: i64, share: i64) {
        let (shared, interval) = (Arc::clone(&self.shared), self.shared.interval);
        let left = beat - (shared.now_millis)();
        let near = i64::try_from(interval.as_millis() / 50).unwrap_or(0);
        let time = |begun: Instant| {
            let ago = i64::try_from(begun.elapsed().as_millis()).unwrap_or(0);
            let at = (shared.now_millis)() - ago;
            if (at - beat).abs() <= near { beat } else { at }
        };
        let mut families = std::mem::take(&mut *lock(&shared.families));
        let targets = self.targets.take(&shared.history, millis(left.clamp(0, share)), &mut families, &time);
        *lock(&shared.families) = families;
        let at = targets.iter().map(|target| target.at).max().unwrap_or(beat);
        *lock(&shared.targets) = targets.into();
        self.evaluate(at);
    }

    fn evaluate(&mut self, at: i64) {
        let begun = Instant::now();
        let external = BTreeMap::new();
        let around =
            Around { history: &self.shared.history, limits: self.shared.limits, external: &external };
        let (mut alerts, mut failed) = (Vec::new(), 0);
        {
            let mut groups = lock(&self.shared.groups);
            for group in groups.iter_mut() {
                if group.is_due(at) {
                    failed += group.evaluate(&around, at);
                }
                alerts.extend(group.alerts().cloned());
            }
        }
        self.metrics.evaluated(begun.elapsed(), failed, &self.shared.history.counts());
        self.notifier.take(at, alerts);
    }
}

fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
