//! Counters, gauges, histograms and timers on the `prometheus` crate, and the page that shows them.

use prometheus::core::Collector;
use prometheus::{
    CounterVec, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What any of these may fail with: a name that is none, or one that is taken.
pub use prometheus::Error as MetricError;

/// Bounds of times in seconds; the default objectives of a service (50, 200 and 500 ms) and their tenfold are among them.
pub const SECONDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// The type of the page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Metrics of one process; clones are the same ones.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    own: Arc<Mutex<Own>>,
}

/// Families of the kit itself, which parts share.
#[derive(Debug, Default)]
struct Own {
    counters: HashMap<&'static str, IntCounterVec>,
    times: HashMap<&'static str, CounterVec>,
    histograms: HashMap<&'static str, HistogramVec>,
}

/// Labels of what the kit says of parts.
pub(crate) const PART: [&str; 2] = ["part", "kind"];

impl Default for Metrics {
    fn default() -> Self {
        Self::over(Registry::new())
    }
}

impl Metrics {
    /// Over a registry that may be there already.
    pub fn over(registry: Registry) -> Self {
        Self { registry, own: Arc::default() }
    }

    /// The registry below, for whatever this does not offer.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A count of what happened; its name ends in `_total`.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, MetricError> {
        self.kept(IntCounter::new(name, help)?)
    }

    /// Counts by label. Each label needs a known bound: no ids, no text of users.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, MetricError> {
        self.kept(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    /// A whole number that rises and falls.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, MetricError> {
        self.kept(IntGauge::new(name, help)?)
    }

    /// Whole numbers by label.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, MetricError> {
        self.kept(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// A number that rises and falls: a ratio, seconds.
    pub fn number(&self, name: &str, help: &str) -> Result<Gauge, MetricError> {
        self.kept(Gauge::new(name, help)?)
    }

    /// Numbers by label.
    pub fn numbers(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, MetricError> {
        self.kept(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// How values are distributed, by these bounds.
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Result<Histogram, MetricError> {
        self.kept(Histogram::with_opts(HistogramOpts::new(name, help).buckets(bounds.to_vec()))?)
    }

    /// Distributions by label.
    pub fn histograms(
        &self,
        (name, help): (&str, &str),
        bounds: &[f64],
        labels: &[&str],
    ) -> Result<HistogramVec, MetricError> {
        self.kept(HistogramVec::new(HistogramOpts::new(name, help).buckets(bounds.to_vec()), labels)?)
    }

    /// A distribution of times; its name ends in `_seconds`.
    pub fn timer(&self, name: &str, help: &str) -> Result<Timer, MetricError> {
        Ok(Timer { histogram: self.histogram(name, help, &SECONDS)? })
    }

    /// The page for Prometheus, in its text format.
    pub fn page(&self) -> Result<Vec<u8>, MetricError> {
        let mut page = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut page)?;
        Ok(page)
    }

    fn kept<C: Collector + Clone + 'static>(&self, collector: C) -> Result<C, MetricError> {
        self.registry.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    /// A family of the kit itself: made by the first who wants it. One whose name is taken stays unshown, and stops nobody.
    pub(crate) fn own_counters(&self, name: &'static str, help: &str, labels: &[&str]) -> IntCounterVec {
        let make = || {
            #[expect(
                clippy::expect_used,
                reason = "names and labels are constants, and each is tried by a test"
            )]
            let made = IntCounterVec::new(Opts::new(name, help), labels).expect("a name of ours");
            self.show(made)
        };
        crate::reclaim::lock(&self.own).counters.entry(name).or_insert_with(make).clone()
    }

    /// The same of time that was spent.
    pub(crate) fn own_time(&self, name: &'static str, help: &str, labels: &[&str]) -> CounterVec {
        let make = || {
            #[expect(
                clippy::expect_used,
                reason = "names and labels are constants, and each is tried by a test"
            )]
            let made = CounterVec::new(Opts::new(name, help), labels).expect("a name of ours");
            self.show(made)
        };
        crate::reclaim::lock(&self.own).times.entry(name).or_insert_with(make).clone()
    }

    /// The same of distributions of times.
    pub(crate) fn own_seconds(&self, name: &'static str, help: &str, labels: &[&str]) -> HistogramVec {
        let make = || {
            let opts = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
            #[expect(
                clippy::expect_used,
                reason = "names and labels are constants, and each is tried by a test"
            )]
            let made = HistogramVec::new(opts, labels).expect("a name of ours");
            self.show(made)
        };
        crate::reclaim::lock(&self.own).histograms.entry(name).or_insert_with(make).clone()
    }

    /// Has what is made when the page is made stand on it.
    pub(crate) fn show<C: Collector + Clone + 'static>(&self, collector: C) -> C {
        if let Err(error) = self.kept(collector.clone()) {
            tracing::error!(%error, "a family of the kit is not shown");
        }
        collector
    }
}

/// Measures how long something takes.
#[derive(Clone, Debug)]
pub struct Timer {
    histogram: Histogram,
}

impl Timer {
    /// Measures until the clock is dropped, also by a panic or an early return.
    pub fn start(&self) -> Clock {
        Clock { histogram: self.histogram.clone(), begun: Instant::now(), counts: true }
    }

    /// Measures a function.
    pub fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let _clock = self.start();
        work()
    }

    /// Measures a future from its first poll to its end.
    pub async fn time_async<T>(&self, work: impl Future<Output = T>) -> T {
        let _clock = self.start();
        work.await
    }

    /// What was measured so far.
    pub fn histogram(&self) -> &Histogram {
        &self.histogram
    }
}

/// A measurement that goes on; to drop it ends it.
#[derive(Debug)]
#[must_use = "the time ends when this is dropped"]
pub struct Clock {
    histogram: Histogram,
    begun: Instant,
    counts: bool,
}

impl Clock {
    /// Ends without a measurement.
    pub fn forget(mut self) {
        self.counts = false;
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        if self.counts {
            self.histogram.observe(self.begun.elapsed().as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_and_timed_stands_on_the_page() {
        let metrics = Metrics::default();
        let orders = metrics.counters("orders_total", "Orders.", &["state"]).unwrap();
        orders.with_label_values(&["paid"]).inc_by(3);
        metrics.gauge("queue_length", "Waiting.").unwrap().set(7);
        metrics.number("cache_hit_ratio", "Hits.").unwrap().set(0.5);
        let timer = metrics.timer("render_seconds", "Rendering.").unwrap();
        assert_eq!(timer.time(|| 5), 5);
        let panicked = std::panic::catch_unwind(|| timer.time(|| std::panic::resume_unwind(Box::new(()))));
        assert!(panicked.is_err());
        timer.start().forget();
        let page = String::from_utf8(metrics.page().unwrap()).unwrap();
        for line in [
            "orders_total{state=\"paid\"} 3\n",
            "queue_length 7\n",
            "cache_hit_ratio 0.5\n",
            "render_seconds_count 2\n",
            "render_seconds_bucket{le=\"0.2\"} 2\n",
        ] {
            assert!(page.contains(line), "{line}: {page}");
        }
    }

    #[test]
    fn a_name_that_is_taken_is_an_error_and_not_a_second_family() {
        let metrics = Metrics::default();
        metrics.counter("jobs_total", "Jobs.").unwrap();
        assert!(metrics.counter("jobs_total", "Jobs.").is_err());
        assert!(metrics.counter("no name", "Jobs.").is_err());
    }
}
