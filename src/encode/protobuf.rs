//! Prometheus's protocol buffers: one `io.prometheus.client.MetricFamily` after the other, each behind its length.
//!
//! Source: <https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto>.

use super::name::{Of, Scheme};
use super::{Encoder, Families, unit};
use crate::metric::{Besides, Desc, Exemplar, Exponential, Histogram, Kind, Mark, Run, Sink, Summary, Value};

/// The kinds of fields that occur (the low bits of a key).
const VARINT: u8 = 0;
const DOUBLE: u8 = 1;
const BYTES: u8 = 2;

/// A sink that writes Prometheus's protocol buffers.
#[derive(Debug, Default)]
pub struct ProtobufEncoder {
    page: Vec<u8>,
    scheme: Scheme,
    /// Where the open family begins, and whether it has samples.
    open: Option<(usize, bool)>,
    kind: Option<Kind>,
    /// The names of the labels, each as a field of a `LabelPair`.
    labels: Vec<Vec<u8>>,
    label_count: usize,
    /// Whether labels without a value are left out.
    sparse: bool,
    families: Families,
}

impl ProtobufEncoder {
    /// Puts its length in front of the open family; one without samples says nothing.
    fn close(&mut self) {
        match self.open.take() {
            Some((start, true)) => put_length(&mut self.page, start),
            Some((start, false)) => self.page.truncate(start),
            None => {}
        }
    }
}

impl Encoder for ProtobufEncoder {
    fn clear(&mut self, scheme: Scheme) {
        self.page.clear();
        self.families.0.clear();
        self.open = None;
        self.scheme = scheme;
    }

    fn finish(&mut self) -> &mut Vec<u8> {
        self.close();
        &mut self.page
    }
}

impl Sink for ProtobufEncoder {
    fn family(&mut self, desc: &Desc<'_>) {
        self.close();
        let name = self.scheme.escape(desc.name, Of::Family);
        self.families.push(&name);
        self.open = Some((self.page.len(), false));
        self.kind = Some(desc.kind);
        self.label_count = desc.labels.len();
        self.sparse = desc.sparse;
        self.labels.resize_with(self.labels.len().max(self.label_count), Vec::new);
        for (slot, label) in self.labels.iter_mut().zip(desc.labels) {
            slot.clear();
            text(slot, 1, &self.scheme.escape(label, Of::Label));
        }
        text(&mut self.page, 1, &name);
        text(&mut self.page, 2, desc.help);
        let kind = match desc.kind {
            Kind::Counter => 0,
            Kind::Gauge => 1,
            Kind::Summary => 2,
            Kind::Untyped => 3,
            Kind::Histogram => 4,
        };
        whole(&mut self.page, 3, kind);
        let counted = name.strip_suffix("_total").filter(|_| desc.kind == Kind::Counter);
        if let Some(unit) = unit(counted.unwrap_or(&name)) {
            text(&mut self.page, 5, unit);
        }
    }

    fn sample(&mut self, label_values: &[&str], value: Value<'_>) {
        self.sample_with(label_values, value, &Besides::default());
    }

    fn sample_with(&mut self, label_values: &[&str], value: Value<'_>, besides: &Besides<'_>) {
        debug_assert_eq!(label_values.len(), self.label_count, "one value for each label of the family");
        let Some((_, has_samples)) = &mut self.open else { return };
        *has_samples = true;
        let (labels, kind, sparse) = (self.labels.iter().take(self.label_count), self.kind, self.sparse);
        nested(&mut self.page, 4, |page| {
            for (label, value) in labels.zip(label_values).filter(|(_, v)| !(sparse && v.is_empty())) {
                nested(page, 1, |page| {
                    page.extend_from_slice(label);
                    text(page, 2, value);
                });
            }
            let exemplars = besides.exemplars;
            match value {
                Value::U64(value) => number(page, kind, value as f64, exemplars),
                Value::F64(value) => number(page, kind, value, exemplars),
                Value::Histogram(value) => nested(page, 7, |page| histogram(page, value, exemplars)),
                Value::Exponential(value) => nested(page, 7, |page| exponential(page, value, exemplars)),
                Value::Summary(value) => nested(page, 4, |page| summary(page, value)),
            }
            if let Some(at) = besides.at_millis {
                whole(page, 6, at.cast_unsigned());
            }
        });
    }

    fn has_family(&self, name: &str) -> bool {
        self.families.has(&self.scheme.escape(name, Of::Family))
    }

    fn mark(&mut self) -> Mark {
        self.close();
        Mark { position: self.page.len(), families: self.families.0.len() }
    }

    fn rewind(&mut self, to: Mark) {
        self.open = None;
        self.page.truncate(to.position);
        self.families.0.truncate(to.families);
    }
}

/// A counter, gauge or untyped value: each is a message of one double.
fn number(page: &mut Vec<u8>, kind: Option<Kind>, value: f64, exemplars: &[Exemplar]) {
    let field = match kind {
        Some(Kind::Gauge) => 2,
        Some(Kind::Counter) => 3,
        _ => 5,
    };
    nested(page, field, |page| {
        double(page, 1, value);
        if let Some(exemplar) = exemplars.last().filter(|_| kind == Some(Kind::Counter)) {
            nested(page, 2, |page| put_exemplar(page, exemplar));
        }
    });
}

fn histogram(page: &mut Vec<u8>, value: &Histogram, exemplars: &[Exemplar]) {
    whole(page, 1, value.count);
    if let Some(sum) = value.sum {
        double(page, 2, sum);
    }
    let mut below = f64::NEG_INFINITY;
    let finite = value.buckets.iter().filter(|(bound, _)| bound.is_finite());
    for &(bound, count) in finite.chain(&[(f64::INFINITY, value.count)]) {
        let within = |e: &&Exemplar| below < e.value && e.value <= bound;
        let exemplar = exemplars.iter().rev().find(within);
        below = bound;
        // The infinite bucket is the count; readers know that. It is there only for what is in it.
        if bound.is_infinite() && exemplar.is_none() {
            continue;
        }
        nested(page, 3, |page| {
            whole(page, 1, count);
            double(page, 2, bound);
            if let Some(exemplar) = exemplar {
                nested(page, 3, |page| put_exemplar(page, exemplar));
            }
        });
    }
}

/// The scales that Prometheus's native histograms have.
const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;

/// A native histogram; and its buckets with bounds, for readers who were not told to take the others.
fn exponential(page: &mut Vec<u8>, value: &Exponential, exemplars: &[Exemplar]) {
    histogram(page, &value.classic(), exemplars);
    let mut native = value.clone();
    native.at_most(*SCHEMAS.end());
    if !SCHEMAS.contains(&native.scale) {
        return;
    }
    whole(page, 5, zigzag(native.scale.into()));
    double(page, 6, native.zero_threshold);
    whole(page, 7, native.zero_count);
    buckets(page, (9, 10), &native.negative);
    buckets(page, (12, 13), &native.positive);
    if native.negative.counts.is_empty() && native.positive.counts.is_empty() {
        // A span of nothing says that the histogram is a native one, whatever else it lacks.
        nested(page, 12, |page| {
            whole(page, 1, 0);
            whole(page, 2, 0);
        });
    }
}

/// So many empty buckets in a row are left out; fewer cost less than the span that leaves them out.
const GAP: usize = 3;

/// The spans of buckets that hold something, and what each bucket has more than the one before.
fn buckets(page: &mut Vec<u8>, (span, delta): (u8, u8), run: &Run) {
    let mut deltas = Vec::new();
    let (mut before, mut next) = (0_i64, 0_i64);
    let mut at = 0_usize;
    while let Some(rest) = run.counts.get(at..).filter(|rest| !rest.is_empty()) {
        let empty = rest.iter().take_while(|count| **count == 0).count();
        let rest = rest.get(empty..).unwrap_or_default();
        if rest.is_empty() {
            break;
        }
        let zeros = vec![0; GAP];
        let length = rest.windows(GAP).position(|window| window == zeros).unwrap_or(rest.len());
        // Prometheus names a bucket by its upper bound, OpenTelemetry by its lower.
        let start = i64::from(run.first) + i64::try_from(at + empty).unwrap_or(0) + 1;
        nested(page, span, |page| {
            whole(page, 1, zigzag(start - next));
            whole(page, 2, length as u64);
        });
        for count in rest.iter().take(length) {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            varint(&mut deltas, zigzag(count.wrapping_sub(before)));
            before = count;
        }
        next = start + i64::try_from(length).unwrap_or(0);
        at += empty + length;
    }
    if !deltas.is_empty() {
        key(page, delta, BYTES);
        varint(page, deltas.len() as u64);
        page.extend_from_slice(&deltas);
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn put_exemplar(page: &mut Vec<u8>, exemplar: &Exemplar) {
    for (name, value) in &exemplar.labels {
        nested(page, 1, |page| {
            text(page, 1, name);
            text(page, 2, value);
        });
    }
    double(page, 2, exemplar.value);
    if let Some(at) = exemplar.at_millis {
        nested(page, 3, |page| {
            whole(page, 1, at.div_euclid(1000).cast_unsigned());
            whole(page, 2, (at.rem_euclid(1000) * 1_000_000).cast_unsigned());
        });
    }
}

fn summary(page: &mut Vec<u8>, value: &Summary) {
    whole(page, 1, value.count);
    double(page, 2, value.sum);
    for &(quantile, at) in &value.quantiles {
        nested(page, 3, |page| {
            double(page, 1, quantile);
            double(page, 2, at);
        });
    }
}

fn varint(page: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        page.push(0x80 | low_bits(value));
        value >>= 7;
    }
    page.push(low_bits(value));
}

fn low_bits(value: u64) -> u8 {
    (value & 0x7f) as u8
}

/// All fields here have numbers below 16, so that their keys are one byte.
fn key(page: &mut Vec<u8>, field: u8, wire: u8) {
    page.push(field << 3 | wire);
}

fn whole(page: &mut Vec<u8>, field: u8, value: u64) {
    key(page, field, VARINT);
    varint(page, value);
}

fn double(page: &mut Vec<u8>, field: u8, value: f64) {
    key(page, field, DOUBLE);
    page.extend_from_slice(&value.to_le_bytes());
}

fn text(page: &mut Vec<u8>, field: u8, value: &str) {
    key(page, field, BYTES);
    varint(page, value.len() as u64);
    page.extend_from_slice(value.as_bytes());
}

fn nested(page: &mut Vec<u8>, field: u8, write: impl FnOnce(&mut Vec<u8>)) {
    key(page, field, BYTES);
    let start = page.len();
    write(page);
    put_length(page, start);
}

/// Puts the length of what follows `start` in front of it. What moves is short, but for families of many samples.
fn put_length(page: &mut Vec<u8>, start: usize) {
    let end = page.len();
    varint(page, (end - start) as u64);
    let width = page.len() - end;
    if let Some(message) = page.get_mut(start..) {
        message.rotate_right(width);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(write: impl FnOnce(&mut ProtobufEncoder)) -> Vec<u8> {
        let mut encoder = ProtobufEncoder::default();
        write(&mut encoder);
        encoder.finish().clone()
    }

    #[test]
    fn a_family_is_a_message_behind_its_length() {
        let bytes = page(|out| {
            out.family(&Desc::counter("x_total", "X.", &["a"]));
            out.sample(&["1"], Value::U64(2));
        });
        let mut expected = vec![36, 0x0a, 7];
        expected.extend_from_slice(b"x_total");
        expected.extend_from_slice(&[0x12, 2, b'X', b'.', 0x18, 0]);
        expected.extend_from_slice(&[0x22, 19, 0x0a, 6, 0x0a, 1, b'a', 0x12, 1, b'1', 0x1a, 9, 0x09]);
        expected.extend_from_slice(&2f64.to_le_bytes());
        assert_eq!(bytes, expected);
    }

    #[test]
    fn lengths_beyond_a_byte_are_right() {
        let help = "h".repeat(300);
        let bytes = page(|out| {
            out.family(&Desc::gauge("x", &help, &[]));
            out.sample(&[], Value::F64(1.0));
        });
        let length = usize::from(bytes[0] & 0x7f) | usize::from(bytes[1]) << 7;
        assert_eq!(length, bytes.len() - 2);
        assert_eq!(&bytes[2..5], [0x0a, 1, b'x']);
    }

    #[test]
    fn a_family_without_samples_is_left_out() {
        let bytes = page(|out| {
            out.family(&Desc::gauge("x", "X.", &[]));
            out.family(&Desc::gauge("y", "Y.", &[]));
        });
        assert!(bytes.is_empty(), "{bytes:?}");
    }

    /// The fields of a message with bytes inside, by number; a varint is shown as its bytes.
    fn field(message: &[u8], wanted: u8) -> Vec<Vec<u8>> {
        let (mut rest, mut found) = (message, Vec::new());
        while let [key, behind @ ..] = rest {
            let length = match key & 7 {
                BYTES => {
                    1 + usize::from(behind[0] & 0x7f)
                        + if behind[0] > 0x7f { usize::from(behind[1]) * 128 + 1 } else { 0 }
                }
                DOUBLE => 8,
                _ => behind.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1,
            };
            let start = if key & 7 == BYTES { 1 + usize::from(behind[0] > 0x7f) } else { 0 };
            if key >> 3 == wanted {
                found.push(behind[start..length].to_vec());
            }
            rest = &behind[length..];
        }
        found
    }

    #[test]
    fn an_exponential_histogram_is_a_native_one_and_has_buckets_with_bounds_too() {
        let positive = Run { first: -1, counts: vec![2, 1, 0, 0, 0, 4] };
        let value =
            Exponential { count: 8, zero_count: 1, sum: Some(9.0), positive, ..Exponential::default() };
        let bytes = page(|out| {
            out.family(&Desc { name: "h", help: "H.", kind: Kind::Histogram, labels: &[], sparse: false });
            let exemplars = [Exemplar { value: 30.0, at_millis: Some(1500), ..Exemplar::default() }];
            out.sample_with(
                &[],
                Value::Exponential(&value),
                &Besides { exemplars: &exemplars, at_millis: Some(5) },
            );
        });
        let family = &bytes[2..];
        let metric = field(family, 4).concat();
        assert_eq!(field(&metric, 6), [[5]]);
        let histogram = field(&metric, 7).concat();
        assert_eq!(field(&histogram, 5), [[0]], "the schema");
        assert_eq!(field(&histogram, 7), [[1]], "the zeros");
        // Buckets 0 and 1, a gap of three, bucket 5: Prometheus names them by their upper bounds.
        assert_eq!(field(&histogram, 12), [[0x08, 0, 0x10, 2], [0x08, 6, 0x10, 1]]);
        assert_eq!(field(&histogram, 13), [[4, 1, 6]], "2, 1, 4 as differences");
        let buckets = field(&histogram, 3);
        assert_eq!(buckets.len(), 7, "zero, and up to 32 in powers of two");
        let exemplar = field(&buckets[6], 3).concat();
        assert_eq!(field(&exemplar, 3), [[0x08, 1, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01]]);
        let empty = page(|out| {
            out.family(&Desc { name: "h", help: "H.", kind: Kind::Histogram, labels: &[], sparse: false });
            out.sample(&[], Value::Exponential(&Exponential::default()));
        });
        let histogram = field(&field(&empty[1..], 4).concat(), 7).concat();
        assert_eq!(field(&histogram, 12), [[0x08, 0, 0x10, 0]], "an empty one is a native one as well");
    }
}
