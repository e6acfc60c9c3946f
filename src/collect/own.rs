//! The collector of Headroom itself: its process, and the counters that its parts keep in a registry.

mod process;

use super::applications::Source;
use super::{CollectError, Collector};
use crate::host::Host;
use crate::metric::{Desc, Histogram, Kind, Sink, Summary, Value};
use process::Process;
use prometheus::Registry;
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

/// Makes the collector of this process and of the families that are registered in `registry`.
pub fn collector(registry: Registry) -> Box<dyn Collector> {
    collector_with(registry, Source::default())
}

/// The same, with what applications say of their processes under the same names.
pub fn collector_with(registry: Registry, applications: Source) -> Box<dyn Collector> {
    Box::new(Own { process: Some(Process::new()), registry, applications })
}

/// The same without what is about the exporter itself: its process, and the requests that it answers.
pub fn collector_of_others(registry: Registry) -> Box<dyn Collector> {
    Box::new(Own { process: None, registry, applications: Source::default() })
}

/// Whether a family of numbers is one that this process shares with applications.
pub fn is_shared(name: &str, kind: Kind) -> bool {
    process::ALL.iter().any(|desc| desc.name == name)
        && matches!(kind, Kind::Counter | Kind::Gauge | Kind::Untyped)
}

/// What the families about the exporter's own requests begin with: the counterpart of `promhttp_`.
const OF_REQUESTS: &str = "headroom_http_";

struct Own {
    process: Option<Process>,
    registry: Registry,
    applications: Source,
}

impl Collector for Own {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let process = self.process.as_mut().map(Process::read).transpose()?;
        let families = self.registry.gather();
        if let Some(process) = &process {
            process.write(&self.applications, out);
        }
        for family in &families {
            if process.is_some() || !family.name().starts_with(OF_REQUESTS) {
                write(family, out);
            }
        }
        Ok(())
    }
}

fn write(family: &MetricFamily, out: &mut dyn Sink) {
    let kind = match family.get_field_type() {
        MetricType::COUNTER => Kind::Counter,
        MetricType::GAUGE => Kind::Gauge,
        MetricType::HISTOGRAM => Kind::Histogram,
        MetricType::SUMMARY => Kind::Summary,
        // The crate makes none of these.
        MetricType::UNTYPED => return,
    };
    // Collectors of one name may have different constant labels; a label that a sample lacks is
    // to Prometheus the same as an empty one.
    let mut labels: Vec<&str> =
        family.get_metric().iter().flat_map(|m| m.get_label().iter().map(LabelPair::name)).collect();
    labels.sort_unstable();
    labels.dedup();
    out.family(&Desc { name: family.name(), help: family.help(), kind, labels: &labels, sparse: false });
    let mut values: Vec<&str> = Vec::with_capacity(labels.len());
    for metric in family.get_metric() {
        values.clear();
        values.extend(labels.iter().map(|&label| label_value(metric, label)));
        sample(metric, kind, &values, out);
    }
}

fn label_value<'a>(metric: &'a Metric, label: &str) -> &'a str {
    metric.get_label().iter().find(|l| l.name() == label).map_or("", |l| l.value())
}

fn sample(metric: &Metric, kind: Kind, labels: &[&str], out: &mut dyn Sink) {
    match kind {
        Kind::Counter => out.sample(labels, Value::F64(metric.get_counter().get_value())),
        Kind::Gauge | Kind::Untyped => out.sample(labels, Value::F64(metric.get_gauge().get_value())),
        Kind::Histogram => {
            let from = metric.get_histogram();
            let buckets = from.get_bucket().iter().filter(|b| b.upper_bound().is_finite());
            let buckets = buckets.map(|b| (b.upper_bound(), b.cumulative_count())).collect();
            let value =
                Histogram { buckets, sum: Some(from.get_sample_sum()), count: from.get_sample_count() };
            out.sample(labels, Value::Histogram(&value));
        }
        Kind::Summary => {
            let from = metric.get_summary();
            let quantiles = from.get_quantile().iter().map(|q| (q.quantile(), q.value())).collect();
            let value = Summary { quantiles, sum: from.sample_sum(), count: from.sample_count() };
            out.sample(labels, Value::Summary(&value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::text::TextEncoder;
    use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts};

    fn page(registry: Registry) -> String {
        let mut out = TextEncoder::default();
        collector(registry).collect(&Host::default(), &mut out).unwrap();
        String::from_utf8(out.page().to_vec()).unwrap()
    }

    #[test]
    fn counters_gauges_and_histograms_of_a_registry_are_on_the_page() {
        let registry = Registry::new();
        let runs = IntCounterVec::new(Opts::new("own_runs_total", "Runs."), &["why", "action"]).unwrap();
        let depth = IntGauge::new("own_depth", "Depth.").unwrap();
        let opts = HistogramOpts::new("own_wait_seconds", "Waits.").buckets(vec![0.5, 1.0]);
        let waits = HistogramVec::new(opts, &["path"]).unwrap();
        registry.register(Box::new(runs.clone())).unwrap();
        registry.register(Box::new(depth.clone())).unwrap();
        registry.register(Box::new(waits.clone())).unwrap();
        runs.with_label_values(&["a\"b", "reclaim"]).inc_by(3);
        depth.set(-4);
        waits.with_label_values(&["/"]).observe(0.75);
        waits.with_label_values(&["/"]).observe(7.0);
        let page = page(registry);
        for line in [
            "# TYPE own_runs_total counter",
            "own_runs_total{action=\"reclaim\",why=\"a\\\"b\"} 3",
            "# HELP own_depth Depth.",
            "own_depth -4",
            "own_wait_seconds_bucket{path=\"/\",le=\"0.5\"} 0",
            "own_wait_seconds_bucket{path=\"/\",le=\"1\"} 1",
            "own_wait_seconds_bucket{path=\"/\",le=\"+Inf\"} 2",
            "own_wait_seconds_sum{path=\"/\"} 7.75",
            "own_wait_seconds_count{path=\"/\"} 2",
        ] {
            assert!(page.lines().any(|l| l == line), "{line} is not in\n{page}");
        }
    }

    #[test]
    fn what_is_about_the_exporter_itself_can_be_left_out() {
        let registry = Registry::new();
        for name in ["headroom_http_requests_total", "headroom_build_info"] {
            registry.register(Box::new(IntGauge::new(name, "X.").unwrap())).unwrap();
        }
        let mut out = TextEncoder::default();
        collector_of_others(registry).collect(&Host::default(), &mut out).unwrap();
        let page = String::from_utf8(out.page().to_vec()).unwrap();
        assert_eq!(
            page.lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>(),
            ["headroom_build_info 0"]
        );
    }

    #[test]
    fn labels_that_only_some_samples_have_are_empty_on_the_others() {
        let registry = Registry::new();
        for (label, value) in [("b", "1"), ("a", "2")] {
            let gauge = IntGauge::with_opts(Opts::new("own_x", "X.").const_label(label, value)).unwrap();
            // The registry itself refuses this; two registries that are merged would not.
            _ = registry.register(Box::new(gauge));
        }
        let mut families = registry.gather();
        let mut other = prometheus::proto::Metric::from_label(vec![]);
        let mut gauge = prometheus::proto::Gauge::default();
        gauge.set_value(9.0);
        other.set_gauge(gauge);
        families[0].mut_metric().push(other);
        let mut out = TextEncoder::default();
        write(&families[0], &mut out);
        let page = String::from_utf8(out.page().to_vec()).unwrap();
        assert!(page.contains("own_x{b=\"1\"} 0\nown_x{b=\"\"} 9\n"), "{page}");
    }

    #[test]
    fn the_own_process_is_on_the_page() {
        let page = page(Registry::new());
        for name in [
            "process_cpu_seconds_total",
            "process_open_fds",
            "process_max_fds",
            "process_virtual_memory_bytes",
            "process_virtual_memory_max_bytes",
            "process_resident_memory_bytes",
            "process_start_time_seconds",
        ] {
            let value = page.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')).unwrap();
            assert!(value.parse::<f64>().unwrap() >= 0.0, "{name} {value}");
        }
    }
}
