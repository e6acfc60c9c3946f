//! What the monitor counts of itself.

use super::history;
use super::notify;
use prometheus::{Counter, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use std::time::Duration;

/// The counters of the monitor.
pub(super) struct Metrics {
    seconds: Counter,
    failures: IntCounter,
    series: IntGauge,
    bytes: IntGauge,
    samples: IntCounter,
    refused: IntCounterVec,
    notifications: IntCounterVec,
}

impl Metrics {
    /// Makes and registers them.
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let vector =
            |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let metrics = Self {
            seconds: Counter::new(
                "headroom_monitor_evaluation_seconds_total",
                "Time that the evaluation of rules took.",
            )?,
            failures: IntCounter::new(
                "headroom_monitor_evaluation_failures_total",
                "Evaluations of a rule that failed; the log says which and why.",
            )?,
            series: IntGauge::new("headroom_monitor_series", "Series of which samples are kept.")?,
            bytes: IntGauge::new(
                "headroom_monitor_memory_bytes",
                "Memory that kept samples and series take.",
            )?,
            samples: IntCounter::new("headroom_monitor_samples_total", "Samples that were kept.")?,
            refused: vector(
                "headroom_monitor_samples_refused_total",
                "Samples that were not kept: not newer than the series' last one (late), of one series too many (over), or of a time that is yet to come (ahead).",
                &["reason"],
            )?,
            notifications: vector(
                "headroom_monitor_notifications_total",
                "Calls that told of alerts, by who was called and whether they were taken.",
                &["to", "result"],
            )?,
        };
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.failures.clone()))?;
        registry.register(Box::new(metrics.series.clone()))?;
        registry.register(Box::new(metrics.bytes.clone()))?;
        registry.register(Box::new(metrics.samples.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        registry.register(Box::new(metrics.notifications.clone()))?;
        Ok(metrics)
    }

    /// For who tells alerts to `to`.
    pub(super) fn notifications(&self, to: &str) -> notify::Counts {
        // There from the start, so that the first failure is an increase.
        for result in ["ok", "failed"] {
            self.notifications.with_label_values(&[to, result]);
        }
        notify::Counts(self.notifications.clone())
    }

    /// An evaluation of all groups that were due, and what is held after it.
    pub(super) fn evaluated(&self, took: Duration, failed: usize, counts: &history::Counts) {
        self.seconds.inc_by(took.as_secs_f64());
        self.failures.inc_by(failed as u64);
        self.series.set(i64::try_from(counts.series).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(counts.bytes).unwrap_or(i64::MAX));
        let to = |counter: &IntCounter, total: u64| counter.inc_by(total.saturating_sub(counter.get()));
        to(&self.samples, counts.points);
        to(&self.refused.with_label_values(&["late"]), counts.late);
        to(&self.refused.with_label_values(&["over"]), counts.over);
        to(&self.refused.with_label_values(&["ahead"]), counts.ahead);
    }

    /// A pass that ended badly.
    pub(super) fn panicked(&self) {
        self.failures.inc();
    }
}
