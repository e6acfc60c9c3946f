//! Prometheus's text format, written straight into a reused buffer. Version 1.0.0 is 0.0.4 with names in quotes.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>.

use super::Encoder;
use super::besides::millis;
use super::heads::Head;
use super::lines::{Lines, bound};
use super::name::Scheme;
use crate::metric::{Besides, Desc, Kind, Mark, Sink, Value};

/// The content type of the format for a reader that did not ask for another.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// A sink that writes Prometheus's text format.
#[derive(Debug)]
pub struct TextEncoder {
    lines: Lines,
}

impl Default for TextEncoder {
    fn default() -> Self {
        Self { lines: Lines::new(bound) }
    }
}

impl TextEncoder {
    /// The page as written so far.
    pub fn page(&self) -> &[u8] {
        &self.lines.page
    }
}

impl Encoder for TextEncoder {
    fn clear(&mut self, scheme: Scheme) {
        self.lines.clear(scheme);
    }

    fn finish(&mut self) -> &mut Vec<u8> {
        &mut self.lines.page
    }
}

impl Sink for TextEncoder {
    fn family(&mut self, desc: &Desc<'_>) {
        self.lines.open(desc, head);
    }

    fn sample(&mut self, label_values: &[&str], value: Value<'_>) {
        self.lines.sample(label_values, value);
    }

    fn sample_with(&mut self, label_values: &[&str], value: Value<'_>, besides: &Besides<'_>) {
        // The format has no exemplars.
        let besides = Besides { exemplars: &[], ..*besides };
        self.lines.sample_with(label_values, value, &besides, millis);
    }

    fn has_family(&self, name: &str) -> bool {
        self.lines.has_family(name)
    }

    fn mark(&mut self) -> Mark {
        self.lines.mark()
    }

    fn rewind(&mut self, to: Mark) {
        self.lines.rewind(to);
    }
}

/// What stands before the samples of a family.
fn head(head: &mut Head, name: &str, desc: &Desc<'_>) {
    head.help(name, desc.help, false);
    head.remark(b"TYPE", name);
    head.end(match desc.kind {
        Kind::Counter => b"counter",
        Kind::Gauge => b"gauge",
        Kind::Histogram => b"histogram",
        Kind::Summary => b"summary",
        Kind::Untyped => b"untyped",
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Histogram;

    fn page(scheme: Scheme, write: impl FnOnce(&mut TextEncoder)) -> String {
        let mut encoder = TextEncoder::default();
        encoder.clear(scheme);
        write(&mut encoder);
        String::from_utf8(encoder.finish().clone()).unwrap()
    }

    #[test]
    fn a_family_has_help_type_and_samples() {
        let text = page(Scheme::default(), |out| {
            out.family(&Desc::counter("x_total", "What \"x\" \\ is\nabout.", &["a", "b"]));
            out.sample(&["1", "q\"\\\n"], Value::U64(u64::MAX));
            out.sample(&["", "ü"], Value::F64(0.25));
        });
        assert_eq!(
            text,
            "# HELP x_total What \"x\" \\\\ is\\nabout.\n# TYPE x_total counter\n\
             x_total{a=\"1\",b=\"q\\\"\\\\\\n\"} 18446744073709551615\nx_total{a=\"\",b=\"ü\"} 0.25\n"
        );
    }

    #[test]
    fn labels_without_a_value_are_left_out_if_the_family_is_sparse() {
        let text = page(Scheme::default(), |out| {
            out.family(&Desc::gauge("x", "X.", &["a", "b"]).sparse());
            out.sample(&["", "1"], Value::U64(1));
            out.sample(&["", ""], Value::U64(2));
            out.family(&Desc::gauge("y", "Y.", &["a"]));
            out.sample(&[""], Value::U64(3));
        });
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(samples, ["x{b=\"1\"} 1", "x 2", "y{a=\"\"} 3"]);
    }

    #[test]
    fn a_histogram_ends_with_the_infinite_bucket() {
        let text = page(Scheme::default(), |out| {
            out.family(&Desc { name: "h", help: "H.", kind: Kind::Histogram, labels: &["l"], sparse: false });
            let h = Histogram { buckets: vec![(0.5, 1), (f64::INFINITY, 3)], sum: Some(4.5), count: 3 };
            out.sample(&["v"], Value::Histogram(&h));
        });
        assert!(text.ends_with(
            "h_bucket{l=\"v\",le=\"0.5\"} 1\nh_bucket{l=\"v\",le=\"+Inf\"} 3\nh_sum{l=\"v\"} 4.5\nh_count{l=\"v\"} 3\n"
        ));
    }

    #[test]
    fn a_name_that_old_readers_do_not_know_is_escaped_or_in_quotes() {
        let write = |out: &mut TextEncoder| {
            out.family(&Desc::gauge("a.b\"", "A.", &["c d", "e"]));
            out.sample(&["1", "2"], Value::U64(3));
            assert!(out.has_family("a.b\""));
        };
        assert_eq!(
            page(Scheme::Underscores, write),
            "# HELP a_b_ A.\n# TYPE a_b_ gauge\na_b_{c_d=\"1\",e=\"2\"} 3\n"
        );
        assert_eq!(
            page(Scheme::AllowUtf8, write),
            "# HELP \"a.b\\\"\" A.\n# TYPE \"a.b\\\"\" gauge\n{\"a.b\\\"\",\"c d\"=\"1\",e=\"2\"} 3\n"
        );
        let h = Histogram { buckets: vec![], sum: Some(0.0), count: 0 };
        let text = page(Scheme::AllowUtf8, |out| {
            out.family(&Desc { name: "ü", help: "H.", kind: Kind::Histogram, labels: &[], sparse: false });
            out.sample(&[], Value::Histogram(&h));
        });
        assert!(text.ends_with("{\"ü_bucket\",le=\"+Inf\"} 0\n{\"ü_sum\"} 0\n{\"ü_count\"} 0\n"), "{text}");
    }

    #[test]
    fn two_names_that_become_one_are_one_family() {
        let mut out = TextEncoder::default();
        out.family(&Desc::gauge("a.b", "A.", &[]));
        assert!(out.has_family("a_b"));
        out.clear(Scheme::AllowUtf8);
        out.family(&Desc::gauge("a.b", "A.", &[]));
        assert!(!out.has_family("a_b"));
    }
}
