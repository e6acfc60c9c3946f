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
use notify::{Notifier, Telling, To};
use rules::RuleError;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use targets::{Families, Target, Targets};

/// The least memory that makes sense: a machine's series for some minutes.
const MEMORY_MIN: ByteSize = ByteSize::mib(16);
/// Points that one query may fetch, and that its answer may have, 16 bytes each.
const POINTS_MAX: usize = 2_000_000;
const ANSWER_MAX: usize = 500_000;
/// A scrape in the last part of the interval that is one of so many serves the history too.
const SHARE: i64 = 50;
/// All rules together; what takes longer fails.
const EVALUATION_MAX: Duration = Duration::from_secs(30);

/// Options of the monitor.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Whether it runs. If nothing is said, where `up` is to start Prometheus and finds none.
    pub enabled: Option<bool>,
    /// What samples may take in memory; the oldest go first.
    pub memory_max: ByteSize,
}

impl Default for Options {
    fn default() -> Self {
        Self { enabled: None, memory_max: ByteSize::mib(64) }
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
    /// Where it is kept what they were told, so that after a restart a trouble that goes on is no new one.
    pub told: PathBuf,
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
    /// The time of the last pass that was evaluated; before the first, that of the start.
    passed: AtomicI64,
}

impl Shared {
    /// Whether passes are made and evaluated.
    pub fn is_awake(&self) -> bool {
        let late = i64::try_from(self.interval.as_millis()).unwrap_or(i64::MAX).saturating_mul(5);
        let passed = self.passed.load(Ordering::Relaxed);
        (self.now_millis)().saturating_sub(passed) <= late.max(60_000)
    }
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
            for group in rules::read(file, text)? {
                for (rule, why) in
                    group.rules.iter().filter_map(|rule| Some((rule, rule.query.as_ref().err()?)))
                {
                    let (group, rule, expr) = (&group.name, &rule.name, &rule.text);
                    tracing::error!(file, group, rule, expr, error = %why, "a rule cannot be evaluated here; the others are");
                }
                groups.push(Group::new(group, parts.interval));
            }
        }
        let metrics = Metrics::new(parts.registry)?;
        let shared = Arc::new(Shared {
            history: History::new(usize::try_from(parts.options.memory_max.as_u64()).unwrap_or(usize::MAX)),
            groups: Mutex::new(groups),
            targets: Mutex::default(),
            families: Mutex::default(),
            interval: parts.interval,
            limits: Limits {
                points_max: POINTS_MAX,
                answer_max: ANSWER_MAX,
                // Of a subquery that names no step: Prometheus takes the interval of evaluations.
                interval: i64::try_from(parts.interval.as_millis()).unwrap_or(i64::MAX),
                ..Limits::default()
            },
            now_millis: parts.now_millis,
            passed: AtomicI64::new((parts.now_millis)()),
        });
        let name = parts.to.name();
        let telling = Telling { to: parts.to, interval: parts.interval, file: parts.told };
        let notifier = Notifier::start(telling, (parts.now_millis)(), metrics.notifications(name))?;
        let targets = Targets::new(parts.scrapes, parts.exporter, parts.optimizer);
        let (ends, ended) = sync_channel(0);
        let last = i64::MIN;
        let thread = Thread { shared: Arc::clone(&shared), targets, notifier, metrics, last, is_full: false };
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
    /// The time of the last pass.
    last: i64,
    /// Whether samples were refused for want of room.
    is_full: bool,
}

impl Thread {
    fn run(mut self, ended: &Receiver<()>) {
        let interval = i64::try_from(self.shared.interval.as_millis()).unwrap_or(i64::MAX).max(1);
        // A scrape that falls so near costs no pass more. Times that are not those of the beat would take much more room.
        let share = interval / SHARE;
        loop {
            let now = (self.shared.now_millis)();
            let next = (now + share).div_euclid(interval) * interval + interval;
            match ended.recv_timeout(millis(next - share - now)) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return,
            }
            // A rule that panics must not end the watch over all others. The log has the place.
            if catch_unwind(AssertUnwindSafe(|| self.pass(next, share))).is_err() {
                tracing::error!("a pass ended badly; the next one is made all the same");
                self.metrics.panicked();
            }
        }
    }

    fn pass(&mut self, beat: i64, share: i64) {
        let shared = Arc::clone(&self.shared);
        let left = beat - (shared.now_millis)();
        let time = |begun: Instant| {
            let ago = i64::try_from(begun.elapsed().as_millis()).unwrap_or(0);
            let at = (shared.now_millis)() - ago;
            if (at - beat).abs() <= share.max(20) { beat } else { at }
        };
        let targets =
            self.targets.take(&shared.history, millis(left.clamp(0, share)), &shared.families, &time);
        let at = targets.iter().map(|target| target.at).max().unwrap_or(beat);
        *lock(&shared.targets) = targets.into();
        if at < self.last {
            tracing::warn!("the clock was set back; samples of the time that is yet to come are forgotten");
            shared.history.forget_after(at);
        }
        self.last = at;
        self.evaluate(at);
        shared.passed.store(at, Ordering::Relaxed);
    }

    fn evaluate(&mut self, at: i64) {
        let begun = Instant::now();
        let external = BTreeMap::new();
        let limits = Limits { until: Some(begun + EVALUATION_MAX), ..self.shared.limits };
        let around = Around { history: &self.shared.history, limits, external: &external };
        let (mut alerts, mut failed) = (Vec::new(), 0);
        for group in lock(&self.shared.groups).iter_mut() {
            if group.is_due(at) {
                failed += group.evaluate(&around, at);
            }
            alerts.extend(group.alerts().cloned());
        }
        let counts = self.shared.history.counts();
        self.metrics.evaluated(begun.elapsed(), failed, &counts);
        if counts.over > 0 && !self.is_full {
            self.is_full = true;
            let (series, bytes) = (counts.series, counts.bytes);
            tracing::warn!(
                series,
                bytes,
                "no room for more series (monitor.memory_max); others are refused until some end"
            );
        }
        self.notifier.take(at, alerts);
    }
}

fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
