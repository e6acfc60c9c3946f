//! What the StatsD receiver counts of itself.

use super::line::Wrong;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// The counters.
#[derive(Clone, Debug)]
pub struct Metrics {
    packets: IntCounterVec,
    lost: IntCounterVec,
    pub(super) lines: IntCounter,
    pub(super) mapped: IntCounter,
    pub(super) unmapped: IntCounter,
    pub(super) dropped: IntCounter,
    refused: IntCounterVec,
    pub(super) rules: IntGauge,
    pub(super) held_bytes: IntGauge,
}

impl Metrics {
    /// Makes the counters and puts them into `registry`.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        let lines = IntCounter::new("headroom_statsd_lines_total", "Lines of StatsD that came.")?;
        registry.register(Box::new(lines.clone()))?;
        let samples = counters(
            "headroom_statsd_samples_total",
            "Samples in lines of StatsD by what the mapping file says of them: mapped, unmapped or dropped.",
            &["result"],
        )?;
        let packets = counters(
            "headroom_statsd_packets_total",
            "Datagrams of StatsD that came, by transport.",
            &["transport"],
        )?;
        let lost = counters(
            "headroom_statsd_packets_lost_total",
            "Datagrams of StatsD that the kernel dropped because they came faster than they were read, by transport.",
            &["transport"],
        )?;
        let refused = counters(
            "headroom_statsd_refused_total",
            "Lines, samples and tags of StatsD that were not taken, by reason.",
            &["reason"],
        )?;
        let with = |result: &str| samples.with_label_values(&[result]);
        Ok(Self {
            packets,
            lost,
            lines,
            mapped: with("mapped"),
            unmapped: with("unmapped"),
            dropped: with("dropped"),
            refused,
            rules: gauge("headroom_statsd_mappings", "Mappings of StatsD's names in use.")?,
            held_bytes: gauge(
                "headroom_statsd_held_bytes",
                "What quantiles, sets and times to live of StatsD's series take.",
            )?,
        })
    }

    /// The counter of a transport's datagrams.
    pub fn packets(&self, transport: &str) -> IntCounter {
        self.packets.with_label_values(&[transport])
    }

    /// The counter of those that the kernel dropped.
    pub fn lost(&self, transport: &str) -> IntCounter {
        self.lost.with_label_values(&[transport])
    }

    #[cfg(test)]
    pub(super) fn refused(&self) -> IntCounterVec {
        self.refused.clone()
    }

    pub(super) fn refuse(&self, wrong: Wrong) {
        self.refused.with_label_values(&[wrong.as_str()]).inc();
    }
}
