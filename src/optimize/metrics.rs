//! The optimizer's own counters.

use super::action::REGISTRY;
use super::guard::Guard;
use super::pressure;
use crate::host::hand::Writers;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// How a run can end.
pub const RUN_RESULTS: [&str; 11] = [
    "effective",
    "exhausted",
    "no_gain",
    "refused",
    "no_policy",
    "stale",
    "resolved",
    "silenced",
    "interrupted",
    "failed",
    "dry_run",
];
const ACTION_RESULTS: [&str; 8] =
    ["freed", "applied", "no_gain", "failed", "interrupted", "refused", "unknown", "dry_run"];
const ANNOTATION_RESULTS: [&str; 3] = ["sent", "failed", "dropped"];
const NOTIFICATION_RESULTS: [&str; 5] = ["accepted", "invalid", "unauthorized", "too_large", "unavailable"];

/// All counters of the optimizer.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) notifications: IntCounterVec,
    pub(super) forwarded: IntCounterVec,
    pub(super) alerts: IntCounterVec,
    pub(super) runs: IntCounterVec,
    pub(super) runs_active: IntGauge,
    pub(super) runs_waiting: IntGauge,
    pub(super) leases: IntGauge,
    writes_blocked: IntGauge,
    writes_late: IntCounter,
    pub(super) paused: IntGauge,
    hook_connections: IntGaugeVec,
    pub(super) actions: IntCounterVec,
    pub(super) action_seconds: HistogramVec,
    pub(super) freed_bytes: IntCounterVec,
    pub(super) harmful: IntCounterVec,
    pub(super) breaker_open: IntGaugeVec,
    pub(super) guard_refusals: IntCounterVec,
    pub(super) annotations: IntCounterVec,
    pub(super) journal_writable: IntGauge,
    pub(super) journal_errors: IntCounter,
    /// Those of pressure and of the proactive mode.
    pub pressure: pressure::metrics::Metrics,
}

impl Metrics {
    /// Makes the counters, puts them into `registry`, and gives each known combination of labels its zero: a counter
    /// that appears with its first event has no increase that Prometheus could see.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntCounterVec> {
            let vec = IntCounterVec::new(Opts::new(format!("headroom_optimizer_{name}"), help), labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok(vec)
        };
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::new(format!("headroom_optimizer_{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let buckets = vec![0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
        let opts = HistogramOpts::new(
            "headroom_optimizer_action_duration_seconds",
            "Time from an action's intent to its verdict.",
        );
        let action_seconds = HistogramVec::new(opts.buckets(buckets), &["action"])?;
        registry.register(Box::new(action_seconds.clone()))?;
        let breaker_open = IntGaugeVec::new(
            Opts::new(
                "headroom_optimizer_breaker_open",
                "Whether an action is left out on a target, because it lately gained nothing or did harm there.",
            ),
            &["action", "target"],
        )?;
        registry.register(Box::new(breaker_open.clone()))?;
        let journal_errors = IntCounter::new(
            "headroom_optimizer_journal_errors_total",
            "Reads and writes of the journal that failed.",
        )?;
        registry.register(Box::new(journal_errors.clone()))?;
        let writes_late = IntCounter::new(
            "headroom_optimizer_kernel_writes_late_total",
            "Writes to kernel files that did not return in time; the run went on without them.",
        )?;
        registry.register(Box::new(writes_late.clone()))?;
        let metrics = Self {
            writes_late,
            writes_blocked: gauge(
                "kernel_writes_blocked",
                "Writes to kernel files that were late and have not returned yet.",
            )?,
            notifications: counter(
                "notifications_total",
                "Webhook calls by what became of them.",
                &["result"],
            )?,
            forwarded: counter(
                "forwarded_total",
                "Calls that sent alerts on to the optimizer of the machine that they are about, by result: ok or failed.",
                &["result"],
            )?,
            alerts: counter(
                "alerts_total",
                "Alerts in accepted notifications, repeats included.",
                &["status"],
            )?,
            runs: counter("runs_total", "Ended runs by result.", &["result"])?,
            runs_active: gauge("runs_active", "Runs that act now.")?,
            runs_waiting: gauge("runs_waiting", "Runs that wait for their turn or for a guard.")?,
            leases: gauge("effects_standing", "Effects of actions that stand until they are undone.")?,
            paused: gauge("paused", "Whether a person holds all actions.")?,
            hook_connections: hook_connections(registry)?,
            actions: counter(
                "actions_total",
                "Actions by what the measurement said.",
                &["action", "result"],
            )?,
            action_seconds,
            breaker_open,
            freed_bytes: counter(
                "freed_bytes_total",
                "Verified bytes that actions gave back to the machine.",
                &["action", "target"],
            )?,
            harmful: counter(
                "harmful_actions_total",
                "Actions that did harm, as seen in the minute after; they are in actions_total by their gain.",
                &["action", "target"],
            )?,
            guard_refusals: counter(
                "guard_refusals_total",
                "Times that a guard said no, by guard.",
                &["guard"],
            )?,
            annotations: counter(
                "annotations_total",
                "Annotations for Grafana by what became of them: sent, failed or dropped (the queue was full).",
                &["result"],
            )?,
            journal_writable: gauge(
                "journal_writable",
                "Whether the journal could be written when last tried.",
            )?,
            journal_errors,
            pressure: pressure::metrics::Metrics::new(registry)?,
        };
        metrics.zero();
        Ok(metrics)
    }

    fn zero(&self) {
        for result in NOTIFICATION_RESULTS {
            self.notifications.with_label_values(&[result]);
        }
        for status in ["firing", "resolved"] {
            self.alerts.with_label_values(&[status]);
        }
        for result in RUN_RESULTS {
            self.runs.with_label_values(&[result]);
        }
        for guard in Guard::ALL {
            self.guard_refusals.with_label_values(&[guard.as_str()]);
        }
        for action in REGISTRY {
            self.action_seconds.with_label_values(&[action.name()]);
            for result in ACTION_RESULTS {
                self.actions.with_label_values(&[action.name(), result]);
            }
        }
    }

    /// A number that grows whenever a run has begun to wait, has begun, or has ended.
    pub fn stamp(&self) -> f64 {
        let sum = |counter: &IntCounterVec| -> f64 {
            let families = counter.collect();
            let all = families.iter().flat_map(MetricFamily::get_metric);
            all.map(|metric| metric.get_counter().get_value()).sum()
        };
        // From waiting to acting it is one more, and from acting to an end two.
        let (active, waiting) = (self.runs_active.get() as f64, self.runs_waiting.get() as f64);
        4.0 * (sum(&self.runs) + sum(&self.actions)) + 2.0 * active + waiting
    }

    /// How many programs are connected to the sockets of a target's hooks; none if it has no such hook any more.
    pub fn connections(&self, target: &str, connections: Option<usize>) {
        match connections.map(|n| i64::try_from(n).unwrap_or(i64::MAX)) {
            Some(n) => self.hook_connections.with_label_values(&[target]).set(n),
            // It may never have been there.
            None => _ = self.hook_connections.remove_label_values(&[target]),
        }
    }

    /// Shows what may become of annotations, where there are any.
    pub fn show_annotations(&self) {
        for result in ANNOTATION_RESULTS {
            self.annotations.with_label_values(&[result]);
        }
    }

    /// What became of writes that may block.
    pub(super) fn writes(&self, writers: &Writers) {
        self.writes_blocked.set(i64::try_from(writers.blocked()).unwrap_or(i64::MAX));
        self.writes_late.inc_by(writers.late().saturating_sub(self.writes_late.get()));
    }

    /// Gives each target's counters their zero.
    pub fn zero_targets<'a>(&self, targets: impl Iterator<Item = (&'a str, &'a str)>) {
        for (action, target) in targets {
            self.freed_bytes.with_label_values(&[action, target]);
            self.harmful.with_label_values(&[action, target]);
            self.breaker_open.with_label_values(&[action, target]);
        }
    }
}

fn hook_connections(registry: &Registry) -> prometheus::Result<IntGaugeVec> {
    let help = "Programs that are connected to the target's sockets for systemd's memory pressure protocol.";
    let vec = IntGaugeVec::new(Opts::new("headroom_optimizer_hook_connections", help), &["target"])?;
    registry.register(Box::new(vec.clone()))?;
    Ok(vec)
}
