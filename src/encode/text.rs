//! Prometheus's text format 0.0.4, written straight into a reused buffer.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>.

use crate::metric::{Desc, Histogram, Kind, Mark, Sink, Summary, Value};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// The content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A sink that writes Prometheus's text format.
#[derive(Debug, Default)]
pub struct TextEncoder {
    page: Vec<u8>,
    /// The open family: its name, its label names (each as `name="`), ready to be copied.
    name: Vec<u8>,
    labels: Vec<Vec<u8>>,
    label_count: usize,
    /// Whether labels without a value are left out.
    sparse: bool,
    /// Hashes of the names of all families of the pass, in their order.
    families: Vec<u64>,
}

impl TextEncoder {
    /// Starts a new page; the buffers of the last one are kept.
    pub fn clear(&mut self) {
        self.page.clear();
        self.families.clear();
        self.name.clear();
    }

    /// The page as written so far.
    pub fn page(&self) -> &[u8] {
        &self.page
    }

    /// Writes `name suffix{labels,extra="bound"} `, without the value.
    fn start(&mut self, suffix: &[u8], label_values: &[&str], extra: Option<(&str, f64)>) {
        self.page.extend_from_slice(&self.name);
        self.page.extend_from_slice(suffix);
        let mut open = b'{';
        for (label, value) in self.labels.iter().take(self.label_count).zip(label_values) {
            if self.sparse && value.is_empty() {
                continue;
            }
            self.page.push(open);
            self.page.extend_from_slice(label);
            escape(&mut self.page, value, true);
            self.page.push(b'"');
            open = b',';
        }
        if let Some((label, bound)) = extra {
            self.page.push(open);
            self.page.extend_from_slice(label.as_bytes());
            self.page.extend_from_slice(b"=\"");
            float(&mut self.page, bound);
            self.page.push(b'"');
            open = b',';
        }
        self.page.extend_from_slice(if open == b',' { b"} " } else { b" " });
    }

    fn whole(&mut self, suffix: &[u8], label_values: &[&str], extra: Option<(&str, f64)>, value: u64) {
        self.start(suffix, label_values, extra);
        self.page.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self.page.push(b'\n');
    }

    fn real(&mut self, suffix: &[u8], label_values: &[&str], extra: Option<(&str, f64)>, value: f64) {
        self.start(suffix, label_values, extra);
        float(&mut self.page, value);
        self.page.push(b'\n');
    }

    fn histogram(&mut self, label_values: &[&str], value: &Histogram) {
        for &(bound, count) in value.buckets.iter().filter(|(bound, _)| bound.is_finite()) {
            self.whole(b"_bucket", label_values, Some(("le", bound)), count);
        }
        self.whole(b"_bucket", label_values, Some(("le", f64::INFINITY)), value.count);
        self.real(b"_sum", label_values, None, value.sum);
        self.whole(b"_count", label_values, None, value.count);
    }

    fn summary(&mut self, label_values: &[&str], value: &Summary) {
        for &(quantile, at) in &value.quantiles {
            self.real(b"", label_values, Some(("quantile", quantile)), at);
        }
        self.real(b"_sum", label_values, None, value.sum);
        self.whole(b"_count", label_values, None, value.count);
    }
}

impl Sink for TextEncoder {
    fn family(&mut self, desc: &Desc<'_>) {
        self.families.push(hash(desc.name));
        self.name.clear();
        self.name.extend_from_slice(desc.name.as_bytes());
        self.label_count = desc.labels.len();
        self.sparse = desc.sparse;
        self.labels.resize_with(self.labels.len().max(self.label_count), Vec::new);
        for (slot, label) in self.labels.iter_mut().zip(desc.labels) {
            slot.clear();
            slot.extend_from_slice(label.as_bytes());
            slot.extend_from_slice(b"=\"");
        }
        self.page.extend_from_slice(b"# HELP ");
        self.page.extend_from_slice(&self.name);
        self.page.push(b' ');
        escape(&mut self.page, desc.help, false);
        self.page.extend_from_slice(b"\n# TYPE ");
        self.page.extend_from_slice(&self.name);
        self.page.extend_from_slice(match desc.kind {
            Kind::Counter => b" counter\n",
            Kind::Gauge => b" gauge\n",
            Kind::Histogram => b" histogram\n",
            Kind::Summary => b" summary\n",
            Kind::Untyped => b" untyped\n",
        });
    }

    fn sample(&mut self, label_values: &[&str], value: Value<'_>) {
        debug_assert_eq!(label_values.len(), self.label_count, "one value for each label of the family");
        match value {
            Value::U64(value) => self.whole(b"", label_values, None, value),
            Value::F64(value) => self.real(b"", label_values, None, value),
            Value::Histogram(value) => self.histogram(label_values, value),
            Value::Summary(value) => self.summary(label_values, value),
        }
    }

    fn has_family(&self, name: &str) -> bool {
        self.families.contains(&hash(name))
    }

    fn mark(&self) -> Mark {
        Mark { position: self.page.len(), families: self.families.len() }
    }

    fn rewind(&mut self, to: Mark) {
        self.page.truncate(to.position);
        self.families.truncate(to.families);
    }
}

fn hash(name: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(name)
}

/// Writes `text` with backslash, line feed and (in label values) the double quote escaped.
fn escape(page: &mut Vec<u8>, text: &str, quotes: bool) {
    // Nearly no text has anything to escape; one look spares the loop.
    if !text.bytes().any(|b| b == b'\\' || b == b'\n' || b == b'"') {
        page.extend_from_slice(text.as_bytes());
        return;
    }
    for byte in text.bytes() {
        match byte {
            b'\\' => page.extend_from_slice(b"\\\\"),
            b'\n' => page.extend_from_slice(b"\\n"),
            b'"' if quotes => page.extend_from_slice(b"\\\""),
            other => page.push(other),
        }
    }
}

/// Writes a float as Go's `ParseFloat` reads it.
fn float(page: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        page.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        page.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else if value.fract() == 0.0 && value.abs() < 1e15 {
        #[expect(clippy::cast_possible_truncation, reason = "whole and below 1e15: exact in i64")]
        page.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else {
        page.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(write: impl FnOnce(&mut TextEncoder)) -> String {
        let mut encoder = TextEncoder::default();
        write(&mut encoder);
        String::from_utf8(encoder.page().to_vec()).unwrap()
    }

    #[test]
    fn a_family_has_help_type_and_samples() {
        let text = page(|out| {
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
        let text = page(|out| {
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
    fn floats_are_written_as_prometheus_reads_them() {
        for (value, text) in [
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (3.0, "3"),
            (-0.5, "-0.5"),
            (1e300, "1e300"),
        ] {
            let mut bytes = Vec::new();
            float(&mut bytes, value);
            let got = String::from_utf8(bytes).unwrap();
            assert!(got == text || got.parse::<f64>().ok() == text.parse().ok(), "{got} is not {text}");
        }
    }

    #[test]
    fn a_histogram_ends_with_the_infinite_bucket() {
        let text = page(|out| {
            out.family(&Desc { name: "h", help: "H.", kind: Kind::Histogram, labels: &["l"], sparse: false });
            let h = Histogram { buckets: vec![(0.5, 1), (f64::INFINITY, 3)], sum: 4.5, count: 3 };
            out.sample(&["v"], Value::Histogram(&h));
        });
        assert!(text.ends_with(
            "h_bucket{l=\"v\",le=\"0.5\"} 1\nh_bucket{l=\"v\",le=\"+Inf\"} 3\nh_sum{l=\"v\"} 4.5\nh_count{l=\"v\"} 3\n"
        ));
    }

    #[test]
    fn a_rewound_sink_remembers_nothing_of_what_came_after_the_mark() {
        let mut out = TextEncoder::default();
        out.family(&Desc::gauge("a", "A.", &[]));
        out.sample(&[], Value::U64(1));
        let (mark, before) = (out.mark(), out.page().to_vec());
        out.family(&Desc::gauge("b", "B.", &[]));
        out.sample(&[], Value::U64(2));
        assert!(out.has_family("b"));
        out.rewind(mark);
        assert_eq!(out.page(), before);
        assert!(out.has_family("a") && !out.has_family("b"));
    }
}
