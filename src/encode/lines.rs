//! Samples as lines of text, as Prometheus's text format and OpenMetrics share them.

use super::Families;
use super::name::{Of, Scheme, is_legacy};
use crate::metric::{Besides, Desc, Exemplar, Histogram, Mark, Summary, Value};

/// How the bound of a bucket and a quantile are written: they are labels, so their form decides which series it is.
pub(super) type Bound = fn(f64) -> String;

/// The page, and the open family ready to be copied.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) page: Vec<u8>,
    bound: Bound,
    scheme: Scheme,
    name: String,
    /// Whether the name needs no quotes anywhere.
    plain: bool,
    /// The names of the labels, each as `name="`.
    labels: Vec<Vec<u8>>,
    label_count: usize,
    /// Whether labels without a value are left out.
    sparse: bool,
    families: Families,
    /// What stands behind each value of the sample: its time, where it has one.
    stamp: Vec<u8>,
}

impl Lines {
    pub(super) fn new(bound: Bound) -> Self {
        Self {
            page: Vec::new(),
            bound,
            scheme: Scheme::default(),
            name: String::new(),
            plain: true,
            labels: Vec::new(),
            label_count: 0,
            sparse: false,
            families: Families::default(),
            stamp: Vec::new(),
        }
    }

    pub(super) fn clear(&mut self, scheme: Scheme) {
        self.scheme = scheme;
        self.page.clear();
        self.families.0.clear();
        self.name.clear();
    }

    /// Makes `desc` the open family.
    pub(super) fn open(&mut self, desc: &Desc<'_>) {
        self.plain = is_legacy(desc.name, Of::Family);
        self.name.clear();
        if self.plain {
            self.name.push_str(desc.name);
        } else {
            self.name.push_str(&self.scheme.escape(desc.name, Of::Family));
            self.plain = is_legacy(&self.name, Of::Family);
        }
        self.families.push(&self.name);
        self.label_count = desc.labels.len();
        self.sparse = desc.sparse;
        self.labels.resize_with(self.labels.len().max(self.label_count), Vec::new);
        for (slot, label) in self.labels.iter_mut().zip(desc.labels) {
            slot.clear();
            if is_legacy(label, Of::Label) {
                slot.extend_from_slice(label.as_bytes());
            } else {
                push_name(slot, &self.scheme.escape(label, Of::Label), Of::Label);
            }
            slot.extend_from_slice(b"=\"");
        }
    }

    /// The name of the open family, as it is written.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Writes `# WORD name `, with the open family's name up to `length`.
    pub(super) fn remark(&mut self, word: &[u8], length: usize) {
        self.page.extend_from_slice(b"# ");
        self.page.extend_from_slice(word);
        self.page.push(b' ');
        let name = self.name.get(..length).unwrap_or(&self.name);
        if self.plain && length > 0 {
            self.page.extend_from_slice(name.as_bytes());
        } else {
            push_name(&mut self.page, name, Of::Family);
        }
        self.page.push(b' ');
    }

    pub(super) fn sample(&mut self, label_values: &[&str], value: Value<'_>, exemplars: &[Exemplar]) {
        debug_assert_eq!(label_values.len(), self.label_count, "one value for each label of the family");
        match value {
            Value::U64(value) => self.whole("", label_values, None, value),
            Value::F64(value) => self.real("", label_values, None, value),
            Value::Histogram(value) => return self.histogram(label_values, value, exemplars),
            Value::Exponential(value) => return self.histogram(label_values, &value.classic(), exemplars),
            Value::Summary(value) => return self.summary(label_values, value),
        }
        if let Some(exemplar) = exemplars.last() {
            self.exemplar(exemplar);
        }
    }

    /// The same with what the sample has besides; `stamp` writes a time as the format has it.
    pub(super) fn sample_with(
        &mut self,
        label_values: &[&str],
        value: Value<'_>,
        besides: &Besides<'_>,
        stamp: fn(&mut Vec<u8>, i64),
    ) {
        if let Some(at) = besides.at_millis {
            self.stamp.push(b' ');
            stamp(&mut self.stamp, at);
        }
        self.sample(label_values, value, besides.exemplars);
        self.stamp.clear();
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
    }

    /// Writes `name suffix{labels,extra="bound"} `, without the value.
    fn start(&mut self, suffix: &str, label_values: &[&str], extra: Option<(&str, f64)>) {
        let mut open = b'{';
        if self.plain {
            self.page.extend_from_slice(self.name.as_bytes());
            self.page.extend_from_slice(suffix.as_bytes());
        } else {
            self.page.extend_from_slice(b"{\"");
            escape(&mut self.page, &self.name, true);
            self.page.extend_from_slice(suffix.as_bytes());
            self.page.push(b'"');
            open = b',';
        }
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
            self.page.extend_from_slice((self.bound)(bound).as_bytes());
            self.page.push(b'"');
            open = b',';
        }
        self.page.extend_from_slice(if open == b',' { b"} " } else { b" " });
    }

    fn whole(&mut self, suffix: &str, label_values: &[&str], extra: Option<(&str, f64)>, value: u64) {
        self.start(suffix, label_values, extra);
        self.page.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self.page.extend_from_slice(&self.stamp);
        self.page.push(b'\n');
    }

    fn real(&mut self, suffix: &str, label_values: &[&str], extra: Option<(&str, f64)>, value: f64) {
        self.start(suffix, label_values, extra);
        float(&mut self.page, value);
        self.page.extend_from_slice(&self.stamp);
        self.page.push(b'\n');
    }

    fn histogram(&mut self, label_values: &[&str], value: &Histogram, exemplars: &[Exemplar]) {
        let mut below = f64::NEG_INFINITY;
        let finite = value.buckets.iter().filter(|(bound, _)| bound.is_finite());
        for &(bound, count) in finite.chain(&[(f64::INFINITY, value.count)]) {
            self.whole("_bucket", label_values, Some(("le", bound)), count);
            let within = |e: &&Exemplar| below < e.value && e.value <= bound;
            if let Some(exemplar) = exemplars.iter().rev().find(within) {
                self.exemplar(exemplar);
            }
            below = bound;
        }
        self.real("_sum", label_values, None, value.sum);
        self.whole("_count", label_values, None, value.count);
    }

    /// Writes an exemplar behind the sample that was written last.
    fn exemplar(&mut self, exemplar: &Exemplar) {
        self.page.pop();
        self.page.extend_from_slice(b" # ");
        let mut open = b'{';
        for (name, value) in &exemplar.labels {
            self.page.push(open);
            push_name(&mut self.page, &self.scheme.escape(name, Of::Label), Of::Label);
            self.page.extend_from_slice(b"=\"");
            escape(&mut self.page, value, true);
            self.page.push(b'"');
            open = b',';
        }
        self.page.extend_from_slice(if open == b',' { b"} " } else { b"{} " });
        float(&mut self.page, exemplar.value);
        if let Some(at) = exemplar.at_millis {
            self.page.push(b' ');
            seconds(&mut self.page, at);
        }
        self.page.push(b'\n');
    }

    fn summary(&mut self, label_values: &[&str], value: &Summary) {
        for &(quantile, at) in &value.quantiles {
            self.real("", label_values, Some(("quantile", quantile)), at);
        }
        self.real("_sum", label_values, None, value.sum);
        self.whole("_count", label_values, None, value.count);
    }
}

/// Writes a name, in quotes if it needs them.
fn push_name(page: &mut Vec<u8>, name: &str, of: Of) {
    if is_legacy(name, of) {
        page.extend_from_slice(name.as_bytes());
    } else {
        page.push(b'"');
        escape(page, name, true);
        page.push(b'"');
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

/// Writes a time in seconds, as OpenMetrics has it.
pub(super) fn seconds(page: &mut Vec<u8>, millis: i64) {
    let (whole, rest) = (millis.unsigned_abs() / 1000, millis.unsigned_abs() % 1000);
    if millis < 0 {
        page.push(b'-');
    }
    page.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    page.extend_from_slice(format!(".{rest:03}").as_bytes());
}

/// Writes a time in milliseconds, as Prometheus's text has it.
pub(super) fn millis(page: &mut Vec<u8>, millis: i64) {
    page.extend_from_slice(itoa::Buffer::new().format(millis).as_bytes());
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

/// A bound to the letter as Go's client libraries write it (`strconv` with 'g'), so that a series stays the same one.
pub(super) fn bound(value: f64) -> String {
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
