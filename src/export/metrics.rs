//! What became of what was to be sent, as metrics.

use super::sender::Tally;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

/// Why points were not sent.
pub(super) const DROPPED: [&str; 6] = ["queue_full", "refused", "partial", "damaged", "removed", "no_pass"];
/// Why a request is sent again.
pub(super) const FAILED: [&str; 3] = ["unreachable", "busy", "error"];

/// The counters of all destinations.
#[derive(Clone, Debug)]
pub struct Metrics {
    sent: IntCounterVec,
    dropped: IntCounterVec,
    failed: IntCounterVec,
    bytes: IntGaugeVec,
    records: IntGaugeVec,
    success: GaugeVec,
}

/// Those of one destination.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    metrics: Metrics,
    to: String,
    sent: IntCounter,
}

impl Metrics {
    /// Makes them and puts them into `registry`.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let made = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(made.clone()))?;
            prometheus::Result::Ok(made)
        };
        let gauges = |name: &str, help: &str| {
            let made = IntGaugeVec::new(Opts::new(name, help), &["to"])?;
            registry.register(Box::new(made.clone()))?;
            prometheus::Result::Ok(made)
        };
        let success = GaugeVec::new(
            Opts::new(
                "headroom_export_last_success_timestamp_seconds",
                "When the destination last took a request; absent before the first.",
            ),
            &["to"],
        )?;
        registry.register(Box::new(success.clone()))?;
        Ok(Self {
            sent: counters(
                "headroom_export_points_sent_total",
                "Points that the destination took.",
                &["to"],
            )?,
            dropped: counters(
                "headroom_export_points_dropped_total",
                "Points that will not be sent: the queue was full, the destination refused the request (refused) or some of its points (partial), the queue's file was damaged, or a reload took the destination away (removed); and passes that could not be made (no_pass).",
                &["to", "reason"],
            )?,
            failed: counters(
                "headroom_export_requests_failed_total",
                "Requests that are sent again, by why they failed: nobody answered (unreachable), too much for the destination (busy), another error of its own (error).",
                &["to", "reason"],
            )?,
            bytes: gauges("headroom_export_queue_bytes", "What waits to be sent, in bytes.")?,
            records: gauges("headroom_export_queue_records", "Requests that wait to be sent.")?,
            success,
        })
    }

    /// Shows all metrics of a destination.
    pub fn show(&self, to: &str) {
        let counts = self.of(to);
        counts.held((0, 0));
        counts.succeeded(0);
    }

    /// The counters of a destination, with their zeros.
    pub(super) fn of(&self, to: &str) -> Counts {
        for reason in DROPPED {
            self.dropped.with_label_values(&[to, reason]);
        }
        for reason in FAILED {
            self.failed.with_label_values(&[to, reason]);
        }
        Counts { metrics: self.clone(), to: to.to_owned(), sent: self.sent.with_label_values(&[to]) }
    }
}

impl Tally for Counts {
    fn taken(&self, points: u64, now_millis: i64) {
        self.sent.inc_by(points);
        self.succeeded(now_millis);
    }

    fn dropped(&self, reason: &'static str, points: u64) {
        self.metrics.dropped.with_label_values(&[self.to.as_str(), reason]).inc_by(points);
    }

    fn failed(&self, reason: &'static str) {
        self.metrics.failed.with_label_values(&[self.to.as_str(), reason]).inc();
    }

    fn held(&self, (bytes, records): (u64, usize)) {
        let to = [self.to.as_str()];
        self.metrics.bytes.with_label_values(&to).set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.metrics.records.with_label_values(&to).set(i64::try_from(records).unwrap_or(i64::MAX));
    }
}

impl Counts {
    fn succeeded(&self, now_millis: i64) {
        self.metrics.success.with_label_values(&[self.to.as_str()]).set(now_millis as f64 / 1000.0);
    }
}
