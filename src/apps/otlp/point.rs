//! One point of each kind, from its bytes into the store.

use super::Names;
use super::attributes::{Label, attribute, label};
use super::naming;
use super::request::messages;
use super::wire::{Fields, Malformed, Wire, fixed64s, varints, zigzag32};
use crate::apps::Input;
use crate::apps::family::{EXEMPLAR_LETTERS_MAX, EXEMPLARS_MAX};
use crate::apps::held::{BUCKETS_MAX, EXPONENTIAL_BUCKETS_MAX, Mode};
use crate::apps::limits::Refusal;
use crate::apps::store::{About, Labels, Point, Sender, Store};
use crate::metric::{Exemplar, Exponential, Histogram, Run, Summary, Value};
use std::collections::VecDeque;
use std::fmt::Write;

/// Of the scales of exponential histograms those that Prometheus has: what is finer becomes coarser, and what is coarser
/// cannot be shown.
const SCALE_MAX: i32 = 8;
const SCALE_MIN: i32 = -4;
/// The bit of the flags that says that there is no value.
const NO_VALUE: u64 = 1;
/// The most buckets of a side that are looked at.
const BUCKETS_READ_MAX: usize = 16_384;
/// Exemplars whose time is so far from ours have none: Prometheus would refuse them.
const EXEMPLAR_NANOS_MAX: u64 = 600_000_000_000;

/// What kind of points a metric has, and what each does to the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Series {
    /// A count that only grows.
    Sum(Mode),
    /// What goes up and down.
    Gauge(Mode),
    Histogram(Mode),
    Exponential(Mode),
    Summary,
}

impl Series {
    /// By the number of the field that has the points, and what stands beside them.
    pub(super) fn read(number: u32, data: &[u8]) -> Result<Self, Refusal> {
        let (mut temporality, mut is_monotonic) = (0, false);
        for (number, wire) in Fields(data).flatten() {
            match (number, wire) {
                (2, Wire::Varint(value)) => temporality = value,
                (3, Wire::Varint(value)) => is_monotonic = value != 0,
                _ => {}
            }
        }
        let mode = || match temporality {
            1 => Ok(Mode::Add),
            2 => Ok(Mode::Set),
            _ => Err(Refusal::Temporality),
        };
        Ok(match number {
            5 => Self::Gauge(Mode::Set),
            7 if is_monotonic => Self::Sum(mode()?),
            7 => Self::Gauge(mode()?),
            9 => Self::Histogram(mode()?),
            10 => Self::Exponential(mode()?),
            _ => Self::Summary,
        })
    }
}

/// What all points of a metric share.
pub(super) struct Frame<'f> {
    pub(super) sender: &'f Sender,
    pub(super) about: About<'f>,
    pub(super) names: Names,
    /// The labels of the scope.
    pub(super) scope: &'f Labels<'f>,
    pub(super) series: Series,
}

/// What points of all kinds have.
#[derive(Default)]
struct Read<'a> {
    attributes: Vec<Label<'a>>,
    exemplars: Vec<Exemplar>,
    start_nanos: u64,
    at_nanos: u64,
    flags: u64,
}

/// The numbers of the fields that all points have, which differ from kind to kind.
struct Numbers {
    attributes: u32,
    exemplars: u32,
    flags: u32,
}

impl Frame<'_> {
    /// Puts a point into the store; each that is refused is counted there.
    pub(super) fn put(&self, store: &mut Store, bytes: &[u8]) -> Result<(), Refusal> {
        let numbers = match self.series {
            Series::Sum(_) | Series::Gauge(_) => Numbers { attributes: 7, exemplars: 5, flags: 8 },
            Series::Histogram(_) => Numbers { attributes: 9, exemplars: 8, flags: 10 },
            Series::Exponential(_) => Numbers { attributes: 1, exemplars: 11, flags: 10 },
            Series::Summary => Numbers { attributes: 7, exemplars: 0, flags: 8 },
        };
        let read = match self.read(&numbers, bytes, store.labels_max()) {
            Ok(read) => read,
            Err(refusal) => {
                store.refuse(Input::Otlp, refusal, 1);
                return Err(refusal);
            }
        };
        if read.flags & NO_VALUE != 0 {
            return store.remove(self.sender, &self.about, &self.labels(&read));
        }
        let mut put = |value: Value<'_>, mode| {
            let Read { start_nanos, at_nanos, exemplars, .. } = &read;
            let (start_nanos, at_nanos) = (*start_nanos, *at_nanos);
            let labels = self.labels(&read);
            let point = Point { mode, start_nanos, at_nanos, exemplars, ..Point::new(&labels, value) };
            store.put(self.sender, &self.about, &point)
        };
        let result = match self.series {
            Series::Sum(mode) | Series::Gauge(mode) => {
                number(bytes, (4, 6)).map(|value| put(Value::F64(value), mode))
            }
            Series::Histogram(mode) => {
                histogram(bytes, mode).map(|value| put(Value::Histogram(&value), mode))
            }
            Series::Exponential(mode) => {
                exponential(bytes, mode).map(|value| put(Value::Exponential(&value), mode))
            }
            Series::Summary => summary(bytes).map(|value| put(Value::Summary(&value), Mode::Set)),
        };
        result.unwrap_or_else(|refusal| {
            store.refuse(Input::Otlp, refusal, 1);
            Err(refusal)
        })
    }

    fn labels<'a>(&'a self, read: &'a Read<'_>) -> Vec<(&'a str, &'a str)> {
        let mut labels = Vec::with_capacity(self.scope.len() + read.attributes.len());
        labels.extend_from_slice(self.scope);
        labels.extend(read.attributes.iter().map(|(name, value)| (name.as_ref(), value.as_ref())));
        labels
    }

    /// What is no value; attributes without one are none, and of the others there are at most `most`.
    fn read<'a>(&self, numbers: &Numbers, bytes: &'a [u8], most: usize) -> Result<Read<'a>, Refusal> {
        let mut out = Read::default();
        // Of exemplars the last ones would be held: no more of them are read.
        let mut exemplars: VecDeque<&[u8]> = VecDeque::new();
        for (number, wire) in Fields(bytes).flatten() {
            match wire {
                Wire::Bytes(bytes) if number == numbers.attributes => {
                    let label = label(self.names, bytes);
                    if !label.1.is_empty() {
                        out.attributes.push(label);
                    }
                    if out.attributes.len() > most {
                        return Err(Refusal::Labels);
                    }
                }
                Wire::Bytes(bytes) if number == numbers.exemplars => {
                    if exemplars.len() == EXEMPLARS_MAX {
                        exemplars.pop_front();
                    }
                    exemplars.push_back(bytes);
                }
                Wire::Varint(flags) if number == numbers.flags => out.flags = flags,
                Wire::Fixed64(nanos) if number == 2 => out.start_nanos = nanos,
                Wire::Fixed64(nanos) if number == 3 => out.at_nanos = nanos,
                _ => {}
            }
        }
        out.exemplars = exemplars.into_iter().filter_map(|bytes| self.exemplar(bytes)).collect();
        Ok(out)
    }

    fn exemplar(&self, bytes: &[u8]) -> Option<Exemplar> {
        let value = number(bytes, (3, 6)).ok()?;
        let mut out = Exemplar { value, ..Exemplar::default() };
        let (mut span, mut trace) = (&[][..], &[][..]);
        for (number, wire) in Fields(bytes).flatten() {
            match (number, wire) {
                (2, Wire::Fixed64(nanos)) => {
                    let near = nanos.abs_diff(self.sender.wall_nanos) <= EXEMPLAR_NANOS_MAX;
                    out.at_millis = i64::try_from(nanos / 1_000_000).ok().filter(|_| near && nanos > 0);
                }
                (4, Wire::Bytes(id)) => span = id,
                (5, Wire::Bytes(id)) => trace = id,
                _ => {}
            }
        }
        let ids = [("trace_id", trace), ("span_id", span)].into_iter().filter(|(_, id)| !id.is_empty());
        out.labels.extend(ids.map(|(name, id)| (name.to_owned(), hex(id))));
        let letters = |name: &str, value: &str| name.chars().count() + value.chars().count();
        let mut used: usize = out.labels.iter().map(|(name, value)| letters(name, value)).sum();
        for attribute_bytes in messages(bytes, 7) {
            let (key, value) = attribute(attribute_bytes);
            // Labels of exemplars are underscored in every case: not all formats have quotes for them.
            let name = naming::label(Names::Underscores, key);
            let more = letters(&name, &value);
            if !name.is_empty() && used + more <= EXEMPLAR_LETTERS_MAX {
                used += more;
                out.labels.push((name.into_owned(), value.into_owned()));
            }
        }
        Some(out)
    }
}

fn hex(id: &[u8]) -> String {
    // Writing to a String cannot fail.
    id.iter().take(32).fold(String::new(), |mut all, byte| {
        _ = write!(all, "{byte:02x}");
        all
    })
}

/// The value of a number: a double or a whole one, whichever is there.
fn number(bytes: &[u8], (double, whole): (u32, u32)) -> Result<f64, Refusal> {
    let mut value = None;
    for (number, wire) in Fields(bytes).flatten() {
        if let Wire::Fixed64(bits) = wire {
            if number == double {
                value = Some(f64::from_bits(bits));
            } else if number == whole {
                value = Some(bits.cast_signed() as f64);
            }
        }
    }
    value.ok_or(Refusal::Malformed)
}

fn histogram(bytes: &[u8], mode: Mode) -> Result<Histogram, Refusal> {
    let (mut count, mut sum) = (0, None);
    let (mut counts, mut bounds): (Vec<u64>, Vec<f64>) = (Vec::new(), Vec::new());
    for (number, wire) in Fields(bytes).flatten() {
        match (number, wire) {
            (4, Wire::Fixed64(value)) => count = value,
            (5, Wire::Fixed64(bits)) => sum = known(bits, mode),
            (6, Wire::Fixed64(value)) => counts.push(value),
            (7, Wire::Fixed64(bits)) => bounds.push(f64::from_bits(bits)),
            (6 | 7, Wire::Bytes(bytes)) if bytes.len() > 8 * (BUCKETS_MAX + 1) => {
                return Err(Refusal::Buckets);
            }
            (6, Wire::Bytes(bytes)) => counts.extend(whole(fixed64s(bytes))?),
            (7, Wire::Bytes(bytes)) => bounds.extend(whole(fixed64s(bytes))?.map(f64::from_bits)),
            _ => {}
        }
        if counts.len().max(bounds.len()) > BUCKETS_MAX {
            return Err(Refusal::Buckets);
        }
    }
    // Only what is above the last bound, or nothing, may be left out.
    if !(counts.is_empty() && bounds.is_empty()) && counts.len() != bounds.len() + 1 {
        return Err(Refusal::Buckets);
    }
    let mut below = 0_u64;
    let buckets: Vec<(f64, u64)> = bounds
        .into_iter()
        .zip(&counts)
        .map(|(bound, count)| {
            below = below.saturating_add(*count);
            (bound, below)
        })
        .collect();
    if !counts.is_empty() && counts.iter().fold(0_u64, |all, count| all.saturating_add(*count)) != count {
        return Err(Refusal::Buckets);
    }
    Ok(Histogram { buckets, sum, count })
}

/// The sum of a histogram. In one that is added, a sum that is no number says nothing of all that were before.
fn known(bits: u64, mode: Mode) -> Option<f64> {
    Some(f64::from_bits(bits)).filter(|sum| mode == Mode::Set || sum.is_finite())
}

fn whole<T>(read: Result<T, Malformed>) -> Result<T, Refusal> {
    read.map_err(|Malformed| Refusal::Malformed)
}

fn exponential(bytes: &[u8], mode: Mode) -> Result<Exponential, Refusal> {
    let mut out = Exponential::default();
    for (number, wire) in Fields(bytes).flatten() {
        match (number, wire) {
            (4, Wire::Fixed64(value)) => out.count = value,
            (5, Wire::Fixed64(bits)) => out.sum = known(bits, mode),
            (6, Wire::Varint(value)) => out.scale = zigzag32(value),
            (7, Wire::Fixed64(value)) => out.zero_count = value,
            (8, Wire::Bytes(bytes)) => out.positive = run(bytes)?,
            (9, Wire::Bytes(bytes)) => out.negative = run(bytes)?,
            (14, Wire::Fixed64(bits)) => out.zero_threshold = f64::from_bits(bits),
            _ => {}
        }
    }
    if !out.is_sane() || out.scale < SCALE_MIN {
        return Err(Refusal::Buckets);
    }
    out.at_most(SCALE_MAX);
    out.fit(EXPONENTIAL_BUCKETS_MAX);
    if out.scale < SCALE_MIN { Err(Refusal::Buckets) } else { Ok(out) }
}

fn run(bytes: &[u8]) -> Result<Run, Refusal> {
    let mut out = Run::default();
    for (number, wire) in Fields(bytes).flatten() {
        match (number, wire) {
            (1, Wire::Varint(value)) => out.first = zigzag32(value),
            (2, Wire::Varint(count)) => out.counts.push(count),
            (2, Wire::Bytes(bytes)) => {
                for count in varints(bytes).take(BUCKETS_READ_MAX + 1) {
                    out.counts.push(whole(count)?);
                }
            }
            _ => {}
        }
        if out.counts.len() > BUCKETS_READ_MAX {
            return Err(Refusal::Buckets);
        }
    }
    out.trim();
    Ok(out)
}

fn summary(bytes: &[u8]) -> Result<Summary, Refusal> {
    let mut out = Summary::default();
    for (number, wire) in Fields(bytes).flatten() {
        match (number, wire) {
            (4, Wire::Fixed64(value)) => out.count = value,
            (5, Wire::Fixed64(bits)) => out.sum = f64::from_bits(bits),
            (6, Wire::Bytes(bytes)) => {
                let (mut quantile, mut value) = (0.0, 0.0);
                for (number, wire) in Fields(bytes).flatten() {
                    match (number, wire) {
                        (1, Wire::Fixed64(bits)) => quantile = f64::from_bits(bits),
                        (2, Wire::Fixed64(bits)) => value = f64::from_bits(bits),
                        _ => {}
                    }
                }
                out.quantiles.push((quantile, value));
            }
            _ => {}
        }
        if out.quantiles.len() > BUCKETS_MAX {
            return Err(Refusal::Buckets);
        }
    }
    out.quantiles.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(out)
}
