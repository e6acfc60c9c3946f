//! Samples as lines of text, as Prometheus's text format and OpenMetrics share them.

use super::Families;
use super::besides::{self, Stamp};
use super::heads::{Head, Heads, Write};
use super::name::{Of, Scheme};
use crate::metric::{Besides, Desc, Histogram, Mark, Summary, Value};

/// How the bound of a bucket and a quantile are written: they are labels, so their form decides which series it is.
pub(super) type Bound = fn(f64) -> String;

/// The page, and its families.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) page: Vec<u8>,
    bound: Bound,
    pub(super) scheme: Scheme,
    heads: Heads,
    families: Families,
}

impl Lines {
    pub(super) fn new(bound: Bound) -> Self {
        let (heads, families) = (Heads::default(), Families::default());
        Self { page: Vec::new(), bound, scheme: Scheme::default(), heads, families }
    }

    pub(super) fn clear(&mut self, scheme: Scheme) {
        self.scheme = scheme;
        self.page.clear();
        self.families.0.clear();
        self.heads.begin();
    }

    /// Opens a family: `write` makes what stands before its samples.
    pub(super) fn open(&mut self, desc: &Desc<'_>, write: Write) {
        if let Some(head) = self.heads.add(desc, self.scheme, write) {
            self.families.0.push(head.hash);
            self.page.extend_from_slice(head.text());
        }
    }

    pub(super) fn sample(&mut self, label_values: &[&str], value: Value<'_>) {
        let Some(head) = self.heads.last() else { return };
        debug_assert_eq!(label_values.len(), head.label_count, "one value for each label of the family");
        let mut line = Line { page: &mut self.page, head, label_values, bound: self.bound };
        match value {
            Value::U64(value) => line.whole("", None, value),
            Value::F64(value) => line.real("", None, value),
            Value::Histogram(value) => line.histogram(value),
            Value::Exponential(value) => line.histogram(&value.classic()),
            Value::Summary(value) => line.summary(value),
        }
    }

    /// The same with what the sample has besides.
    pub(super) fn sample_with(
        &mut self,
        label_values: &[&str],
        value: Value<'_>,
        besides: &Besides<'_>,
        stamp: Stamp,
    ) {
        let classic;
        let value = match value {
            Value::Exponential(value) => {
                classic = value.classic();
                Value::Histogram(&classic)
            }
            other => other,
        };
        let start = self.page.len();
        self.sample(label_values, value);
        if besides.at_millis.is_some() || !besides.exemplars.is_empty() {
            besides::add(&mut self.page, start, value, besides, (self.scheme, stamp));
        }
    }

    /// The family that is open.
    pub(super) fn head(&self) -> Option<&Head> {
        self.heads.last()
    }

    pub(super) fn has_family(&self, name: &str) -> bool {
        self.families.has(&self.scheme.escape(name, Of::Family))
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { position: self.page.len(), families: self.families.0.len() }
    }

    pub(super) fn rewind(&mut self, to: Mark) {
        self.page.truncate(to.position);
        self.families.0.truncate(to.families);
        self.heads.rewind(to.families);
    }
}

/// The lines of one sample.
struct Line<'a> {
    page: &'a mut Vec<u8>,
    head: &'a Head,
    label_values: &'a [&'a str],
    bound: Bound,
}

impl Line<'_> {
    /// Writes `name suffix{labels,extra="bound"} `, without the value.
    fn start(&mut self, suffix: &str, extra: Option<(&str, f64)>) {
        if self.head.plain && !self.head.sparse && suffix.is_empty() && extra.is_none() {
            self.start_usual();
        } else {
            self.start_any(suffix, extra);
        }
    }

    /// The same for nearly all samples.
    fn start_usual(&mut self) {
        let Self { page, head, label_values, .. } = self;
        page.extend_from_slice(head.lead());
        let [first, others @ ..] = label_values else { return };
        escape(page, first, true);
        for (label, value) in head.more_labels().zip(others) {
            page.push(b'"');
            page.extend_from_slice(label);
            escape(page, value, true);
        }
        page.extend_from_slice(b"\"} ");
    }

    fn start_any(&mut self, suffix: &str, extra: Option<(&str, f64)>) {
        let Self { page, head, label_values, bound } = self;
        let mut open = b'{';
        if head.plain {
            page.extend_from_slice(head.name());
            page.extend_from_slice(suffix.as_bytes());
        } else {
            page.extend_from_slice(b"{\"");
            escape(page, &String::from_utf8_lossy(head.name()), true);
            page.extend_from_slice(suffix.as_bytes());
            page.push(b'"');
            open = b',';
        }
        for (label, value) in head.labels().zip(*label_values) {
            if head.sparse && value.is_empty() {
                continue;
            }
            page.push(open);
            page.extend_from_slice(label.get(1..).unwrap_or_default());
            escape(page, value, true);
            page.push(b'"');
            open = b',';
        }
        if let Some((label, at)) = extra {
            page.push(open);
            page.extend_from_slice(label.as_bytes());
            page.extend_from_slice(b"=\"");
            page.extend_from_slice(bound(at).as_bytes());
            page.push(b'"');
            open = b',';
        }
        page.extend_from_slice(if open == b',' { b"} " } else { b" " });
    }

    fn whole(&mut self, suffix: &str, extra: Option<(&str, f64)>, value: u64) {
        self.start(suffix, extra);
        self.page.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self.page.push(b'\n');
    }

    fn real(&mut self, suffix: &str, extra: Option<(&str, f64)>, value: f64) {
        self.start(suffix, extra);
        float(self.page, value);
        self.page.push(b'\n');
    }

    fn histogram(&mut self, value: &Histogram) {
        for &(bound, count) in value.buckets.iter().filter(|(bound, _)| bound.is_finite()) {
            self.whole("_bucket", Some(("le", bound)), count);
        }
        self.whole("_bucket", Some(("le", f64::INFINITY)), value.count);
        if let Some(sum) = value.sum {
            self.real("_sum", None, sum);
        }
        self.whole("_count", None, value.count);
    }

    fn summary(&mut self, value: &Summary) {
        for &(quantile, at) in &value.quantiles {
            self.real("", Some(("quantile", quantile)), at);
        }
        self.real("_sum", None, value.sum);
        self.whole("_count", None, value.count);
    }
}

/// Writes `text` with backslash, line feed and (where it stands in quotes) the double quote escaped.
pub(super) fn escape(page: &mut Vec<u8>, text: &str, quotes: bool) {
    // Nearly no text has anything to escape; one look spares the loop.
    if !has_any(text.as_bytes(), [b'\\', b'\n', b'"']) {
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

/// Whether one of these bytes, all of them ASCII, is in the text: eight bytes at a time, as every label and help is asked.
fn has_any(text: &[u8], wanted: [u8; 3]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = ONES << 7;
    let (words, rest) = text.as_chunks::<8>();
    // A byte that is equal becomes zero, and only a zero byte borrows into its highest bit while that is not set.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let seen = words.iter().fold(0, |seen, word| {
        let word = u64::from_le_bytes(*word);
        wanted.iter().fold(seen, |seen, byte| seen | zero(word ^ (ONES * u64::from(*byte))))
    });
    let [a, b, c] = wanted;
    seen != 0 || rest.iter().any(|byte| *byte == a || *byte == b || *byte == c)
}

/// Writes a float as Go's `ParseFloat` reads it.
pub(super) fn float(page: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        page.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        page.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else if let Some(whole) = whole(value) {
        page.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    } else {
        page.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    }
}

/// The value if it is whole and below 1e15, where all whole numbers are exact in both forms.
#[expect(clippy::cast_possible_truncation, reason = "what is cut off is not whole, and compared")]
#[expect(clippy::float_cmp, reason = "exactly the same")]
fn whole(value: f64) -> Option<i64> {
    // A cast instead of `fract`, which without SSE 4.1 is a call of a function.
    let whole = value as i64;
    (whole as f64 == value && whole.unsigned_abs() < 1_000_000_000_000_000).then_some(whole)
}

/// A bound to the letter as Go's client libraries write it (`strconv` with 'g'), so that a series stays the same one.
pub(crate) fn bound(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else if value != 0.0 && !(1e-4..1e6).contains(&value.abs()) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |small| ('-', small));
        format!("{digits}e{sign}{exponent:0>2}")
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_byte_is_seen_wherever_it_stands_and_no_other_is_taken_for_it() {
        for length in 0..40 {
            for other in (0..=255).filter(|byte| !matches!(byte, b'\\' | b'\n' | b'"')) {
                let mut text = vec![other; length];
                assert!(!has_any(&text, [b'\\', b'\n', b'"']), "{other} {length}");
                for at in (0..length).step_by(3) {
                    for wanted in [b'\\', b'\n', b'"'] {
                        text[at] = wanted;
                        assert!(has_any(&text, [b'\\', b'\n', b'"']), "{wanted} among {other} at {at}");
                    }
                    text[at] = other;
                }
            }
        }
    }

    #[test]
    fn bounds_are_written_as_go_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.005, "0.005"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (2.5e-7, "2.5e-07"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (-1e21, "-1e+21"),
            (1e300, "1e+300"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(bound(value), text);
        }
    }
}
