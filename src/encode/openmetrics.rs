//! OpenMetrics 1.0: what its text has otherwise than Prometheus's: short names of counters, units, an end.
//!
//! Source: <https://prometheus.io/docs/specs/om/open_metrics_spec/>.

use super::besides::seconds;
use super::heads::Head;
use super::lines::{Lines, bound};
use super::name::{Of, Scheme};
use super::{Encoder, Families, unit};
use crate::metric::{Besides, Desc, Kind, Mark, Sink, Value};

/// A sink that writes OpenMetrics. There are no `_created` samples: a sample does not say when its count began.
#[derive(Debug)]
pub struct OpenMetricsEncoder {
    lines: Lines,
    /// What the families are called here: counters without their suffix.
    names: Families,
}

impl Default for OpenMetricsEncoder {
    fn default() -> Self {
        Self { lines: Lines::new(canonical), names: Families::default() }
    }
}

impl Encoder for OpenMetricsEncoder {
    fn clear(&mut self, scheme: Scheme) {
        self.lines.clear(scheme);
        self.names.0.clear();
    }

    fn finish(&mut self) -> &mut Vec<u8> {
        self.lines.page.extend_from_slice(b"# EOF\n");
        &mut self.lines.page
    }
}

impl Sink for OpenMetricsEncoder {
    fn family(&mut self, desc: &Desc<'_>) {
        self.lines.open(desc, head);
        let name = self.lines.scheme.escape(desc.name, Of::Family);
        self.names.push(short(&name, desc.kind));
    }

    fn sample(&mut self, label_values: &[&str], value: Value<'_>) {
        self.lines.sample(label_values, value);
    }

    fn sample_with(&mut self, label_values: &[&str], value: Value<'_>, besides: &Besides<'_>) {
        let exemplars = if self.lines.head().is_some_and(has_exemplars) { besides.exemplars } else { &[] };
        self.lines.sample_with(label_values, value, &Besides { exemplars, ..*besides }, seconds);
    }

    fn has_family(&self, name: &str) -> bool {
        self.lines.has_family(name) || self.names.has(&self.lines.scheme.escape(name, Of::Family))
    }

    fn is_taken(&self, name: &str, kind: Kind) -> bool {
        let here = self.lines.scheme.escape(name, Of::Family);
        self.has_family(name) || self.names.has(short(&here, kind))
    }

    fn mark(&mut self) -> Mark {
        self.lines.mark()
    }

    fn rewind(&mut self, to: Mark) {
        self.lines.rewind(to);
        self.names.0.truncate(to.families);
    }
}

/// What a family of this name is called here. A counter without the suffix of counters may not be called one.
fn short(name: &str, kind: Kind) -> &str {
    name.strip_suffix("_total").filter(|_| kind == Kind::Counter).unwrap_or(name)
}

/// What stands before the samples of a family.
fn head(head: &mut Head, name: &str, desc: &Desc<'_>) {
    // The family of a counter is called without the suffix of its samples; a counter without that suffix may not
    // be called one.
    let total = name.strip_suffix("_total").filter(|_| desc.kind == Kind::Counter);
    let name = total.unwrap_or(name);
    head.help(name, desc.help, true);
    head.remark(b"TYPE", name);
    head.end(match desc.kind {
        Kind::Counter if total.is_some() => b"counter",
        Kind::Gauge => b"gauge",
        Kind::Histogram => b"histogram",
        Kind::Summary => b"summary",
        Kind::Counter | Kind::Untyped => b"unknown",
    });
    if let Some(unit) = unit(name) {
        head.remark(b"UNIT", name);
        head.end(unit.as_bytes());
    }
}

/// Whether samples of a family may have exemplars: only counters and buckets may.
fn has_exemplars(head: &Head) -> bool {
    match head.kind {
        Kind::Counter => head.name().ends_with(b"_total"),
        Kind::Histogram => true,
        Kind::Gauge | Kind::Summary | Kind::Untyped => false,
    }
}

/// A bound that shows that it is a float.
fn canonical(value: f64) -> String {
    let mut text = bound(value);
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        text.push_str(".0");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Histogram, Summary};

    fn page(scheme: Scheme, write: impl FnOnce(&mut OpenMetricsEncoder)) -> String {
        let mut encoder = OpenMetricsEncoder::default();
        encoder.clear(scheme);
        write(&mut encoder);
        String::from_utf8(encoder.finish().clone()).unwrap()
    }

    #[test]
    fn a_counter_has_a_short_name_a_unit_and_samples_with_the_suffix() {
        let text = page(Scheme::default(), |out| {
            out.family(&Desc::counter("x_seconds_total", "What \"x\" is.", &["a"]));
            out.sample(&["1"], Value::F64(0.25));
        });
        assert_eq!(
            text,
            "# HELP x_seconds What \\\"x\\\" is.\n# TYPE x_seconds counter\n# UNIT x_seconds seconds\n\
             x_seconds_total{a=\"1\"} 0.25\n# EOF\n"
        );
    }

    #[test]
    fn what_is_no_counter_by_its_name_is_unknown() {
        let text = page(Scheme::default(), |out| {
            out.family(&Desc::counter("x", "X.", &[]));
            out.family(&Desc::untyped("y_total", "Y.", &[]));
            out.family(&Desc::gauge("bytes", "Z.", &[]));
        });
        assert_eq!(
            text,
            "# HELP x X.\n# TYPE x unknown\n# HELP y_total Y.\n# TYPE y_total unknown\n\
             # HELP bytes Z.\n# TYPE bytes gauge\n# EOF\n"
        );
    }

    #[test]
    fn a_counter_has_its_short_name_and_the_long_one() {
        let mut out = OpenMetricsEncoder::default();
        for scheme in [Scheme::AllowUtf8, Scheme::Underscores] {
            out.clear(scheme);
            out.family(&Desc::gauge("g", "G.", &[]));
            let mark = out.mark();
            out.family(&Desc::counter("a.b_total", "A.", &[]));
            assert!(out.is_taken("a.b", Kind::Gauge) && out.is_taken("a.b_total", Kind::Untyped));
            assert!(out.is_taken("g_total", Kind::Counter) && out.is_taken("g", Kind::Counter));
            // Samples of these are called otherwise.
            assert!(!out.is_taken("g_total", Kind::Gauge) && !out.is_taken("a", Kind::Counter));
            out.rewind(mark);
            assert!(!out.is_taken("a.b", Kind::Gauge) && !out.is_taken("a.b_total", Kind::Counter));
        }
    }

    #[test]
    fn names_are_as_taken_where_the_samples_are_recorded_besides() {
        use crate::metric::batch::{Recorder, Tee};
        let (mut page, mut recorder) = (OpenMetricsEncoder::default(), Recorder::default());
        let mut out = Tee::new(&mut page, &mut recorder);
        out.family(&Desc::gauge("g", "G.", &[]));
        assert!(out.is_taken("g_total", Kind::Counter), "its samples would stand in another family called g");
        assert!(!out.is_taken("g_total", Kind::Gauge));
    }

    #[test]
    fn bounds_and_quantiles_are_floats() {
        let text = page(Scheme::default(), |out| {
            out.family(&Desc { name: "h", help: "H.", kind: Kind::Histogram, labels: &[], sparse: false });
            let h = Histogram { buckets: vec![(1.0, 1), (2.5, 2), (1e6, 3)], sum: Some(4.5), count: 3 };
            out.sample(&[], Value::Histogram(&h));
            out.family(&Desc { name: "s", help: "S.", kind: Kind::Summary, labels: &[], sparse: false });
            out.sample(&[], Value::Summary(&Summary { quantiles: vec![(1.0, 7.0)], sum: 8.0, count: 2 }));
        });
        for line in [
            "h_bucket{le=\"1.0\"} 1",
            "h_bucket{le=\"2.5\"} 2",
            "h_bucket{le=\"1e+06\"} 3",
            "h_bucket{le=\"+Inf\"} 3",
            "s{quantile=\"1.0\"} 7",
            "s_count 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_name_of_a_counter_in_quotes_is_shortened_too() {
        let write = |out: &mut OpenMetricsEncoder| {
            out.family(&Desc::counter("a.b_total", "A.", &[]));
            out.sample(&[], Value::U64(1));
        };
        let text = page(Scheme::AllowUtf8, write);
        assert_eq!(text, "# HELP \"a.b\" A.\n# TYPE \"a.b\" counter\n{\"a.b_total\"} 1\n# EOF\n");
        assert!(page(Scheme::Values, write).contains("\nU__a_2e_b__total 1\n"));
    }
    #[test]
    fn counters_and_buckets_have_exemplars_and_samples_may_have_a_time() {
        use crate::metric::Exemplar;
        let exemplar =
            |value, at_millis| Exemplar { labels: vec![("id".into(), "a\"".into())], value, at_millis };
        let exemplars = [exemplar(0.5, Some(1_700_000_000_007)), exemplar(7.0, None)];
        let besides = Besides { at_millis: Some(-1500), exemplars: &exemplars };
        let text = page(Scheme::default(), |out| {
            out.family(&Desc::counter("a_total", "A.", &["l"]));
            out.sample_with(&["1"], Value::U64(1), &besides);
            out.family(&Desc::gauge("g", "G.", &[]));
            out.sample_with(&[], Value::U64(2), &besides);
            out.family(&Desc { name: "h", help: "H.", kind: Kind::Histogram, labels: &[], sparse: false });
            let h = Histogram { buckets: vec![(1.0, 1), (2.0, 2)], sum: Some(4.5), count: 3 };
            out.sample_with(&[], Value::Histogram(&h), &Besides { at_millis: None, ..besides });
        });
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "a_total{l=\"1\"} 1 -1.500 # {id=\"a\\\"\"} 7",
                "g 2 -1.500",
                "h_bucket{le=\"1.0\"} 1 # {id=\"a\\\"\"} 0.5 1700000000.007",
                "h_bucket{le=\"2.0\"} 2",
                "h_bucket{le=\"+Inf\"} 3 # {id=\"a\\\"\"} 7",
                "h_sum 4.5",
                "h_count 3",
            ]
        );
    }
}
