//! The value that is held of one series: how the next one replaces it or adds to it, and what it takes.

use super::limits::Refusal;
use crate::metric::{Exponential, Histogram, Kind, Summary, Value, sum_of};

/// The most buckets of a histogram, and quantiles of a summary.
pub(super) const BUCKETS_MAX: usize = 512;
/// The most buckets of each side of an exponential histogram; one that has more becomes coarser.
pub(super) const EXPONENTIAL_BUCKETS_MAX: usize = 320;

/// What a value does to the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It takes its place.
    #[default]
    Set,
    /// It is added to it.
    Add,
}

/// A value that is held; boxes keep the common case small.
#[derive(Debug)]
pub(super) enum Held {
    Number(f64),
    Histogram(Box<Histogram>),
    Exponential(Box<Exponential>),
    Summary(Box<Summary>),
}

impl Held {
    pub(super) fn new(value: Value<'_>) -> Self {
        match value {
            Value::U64(value) => Self::Number(value as f64),
            Value::F64(value) => Self::Number(value),
            Value::Histogram(value) => Self::Histogram(Box::new(value.clone())),
            Value::Exponential(value) => {
                let mut value = Box::new(value.clone());
                value.fold();
                Self::Exponential(value)
            }
            Value::Summary(value) => Self::Summary(Box::new(value.clone())),
        }
    }

    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Self::Number(value) => Value::F64(*value),
            Self::Histogram(value) => Value::Histogram(value),
            Self::Exponential(value) => Value::Exponential(value),
            Self::Summary(value) => Value::Summary(value),
        }
    }

    /// Whether a value can be taken without any more room than there is.
    pub(super) fn fits(&self, next: Value<'_>, mode: Mode) -> bool {
        match (self, next) {
            (Self::Number(_), Value::F64(_) | Value::U64(_)) => true,
            (Self::Histogram(held), Value::Histogram(next)) => match mode {
                Mode::Add => same_bounds(held, next),
                Mode::Set => held.buckets.len() == next.buckets.len(),
            },
            _ => false,
        }
    }

    /// Puts the next value in its place, or adds it.
    pub(super) fn take(&mut self, next: Value<'_>, mode: Mode) {
        match (&mut *self, next, mode) {
            (Self::Number(held), Value::F64(next), Mode::Add) => *held += next,
            (Self::Number(held), Value::U64(next), Mode::Add) => *held += next as f64,
            (Self::Number(held), Value::F64(next), Mode::Set) => *held = next,
            (Self::Histogram(held), Value::Histogram(next), Mode::Add) if same_bounds(held, next) => {
                for ((_, held), (_, next)) in held.buckets.iter_mut().zip(&next.buckets) {
                    *held = held.saturating_add(*next);
                }
                held.sum = sum_of(held.sum, next.sum);
                held.count = held.count.saturating_add(next.count);
            }
            (Self::Histogram(held), Value::Histogram(next), Mode::Set) => {
                held.buckets.clone_from(&next.buckets);
                (held.sum, held.count) = (next.sum, next.count);
            }
            (Self::Exponential(held), Value::Exponential(next), Mode::Add) => {
                held.add(next, EXPONENTIAL_BUCKETS_MAX);
            }
            // Other bounds, or another kind of histogram: what was counted before cannot be carried on.
            (_, next, _) => *self = Self::new(next),
        }
    }

    /// The upper bound of the bucket in which a value lies, by which readers know it; all values are in one if there are none.
    pub(super) fn bucket(&self, value: f64) -> f64 {
        match self {
            Self::Histogram(held) => {
                let at = held.buckets.partition_point(|(bound, _)| *bound < value);
                held.buckets.get(at).map_or(f64::INFINITY, |(bound, _)| *bound)
            }
            Self::Exponential(_) => Exponential::classic_bound(value),
            Self::Number(_) | Self::Summary(_) => f64::INFINITY,
        }
    }

    /// How many series Prometheus makes of it, at most.
    pub(super) fn series(&self) -> usize {
        match self {
            Self::Number(_) => 1,
            Self::Histogram(value) => value.buckets.len() + 3,
            Self::Exponential(value) => value.positive.counts.len() + value.negative.counts.len() + 4,
            Self::Summary(value) => value.quantiles.len() + 2,
        }
    }

    /// The bytes that it takes beyond its own.
    pub(super) fn bytes(&self) -> usize {
        const BOX: usize = 32;
        match self {
            Self::Number(_) => 0,
            Self::Histogram(value) => BOX + size_of::<Histogram>() + 16 * value.buckets.capacity(),
            Self::Exponential(value) => {
                let buckets = value.positive.counts.capacity() + value.negative.counts.capacity();
                2 * BOX + size_of::<Exponential>() + 8 * buckets
            }
            Self::Summary(value) => BOX + size_of::<Summary>() + 16 * value.quantiles.capacity(),
        }
    }

    /// Gives back what it does not need, so that its size is that of what it holds.
    pub(super) fn shrink(&mut self) {
        match self {
            Self::Number(_) => {}
            Self::Histogram(value) => value.buckets.shrink_to_fit(),
            Self::Exponential(value) => {
                value.positive.counts.shrink_to_fit();
                value.negative.counts.shrink_to_fit();
            }
            Self::Summary(value) => value.quantiles.shrink_to_fit(),
        }
    }
}

fn same_bounds(a: &Histogram, b: &Histogram) -> bool {
    a.buckets.iter().map(|(bound, _)| bound.to_bits()).eq(b.buckets.iter().map(|(bound, _)| bound.to_bits()))
}

/// Whether a value can be one of a family of this kind, and make sense in it.
pub(super) fn check(kind: Kind, value: Value<'_>, mode: Mode) -> Result<(), Refusal> {
    match (kind, value) {
        (Kind::Counter, Value::F64(value)) if !value.is_finite() || value < 0.0 => Err(Refusal::Number),
        // One infinity, or no number, would stay in the sum for ever.
        (_, Value::F64(value)) if mode == Mode::Add && !value.is_finite() => Err(Refusal::Number),
        (Kind::Counter | Kind::Gauge | Kind::Untyped, Value::F64(_) | Value::U64(_)) => Ok(()),
        (Kind::Histogram, Value::Histogram(value)) => {
            let ascend = value.buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1);
            let last = value.buckets.last().is_none_or(|(bound, count)| {
                !bound.is_nan()
                    && if bound.is_finite() { *count <= value.count } else { *count == value.count }
            });
            if value.buckets.len() > BUCKETS_MAX || !ascend || !last {
                return Err(Refusal::Buckets);
            }
            Ok(())
        }
        (Kind::Histogram, Value::Exponential(value)) => {
            let most = value.positive.counts.len().max(value.negative.counts.len());
            let threshold = value.zero_threshold;
            let is_zero_good = threshold >= 0.0 && threshold.is_finite();
            if most > EXPONENTIAL_BUCKETS_MAX
                || !value.is_sane()
                || !is_zero_good
                || value.held() != value.count
            {
                return Err(Refusal::Buckets);
            }
            Ok(())
        }
        (Kind::Summary, Value::Summary(value)) => {
            let ascend = value.quantiles.is_sorted_by(|a, b| a.0 < b.0);
            let within = value.quantiles.iter().all(|(quantile, _)| (0.0..=1.0).contains(quantile));
            if value.quantiles.len() > BUCKETS_MAX || !ascend || !within {
                return Err(Refusal::Buckets);
            }
            Ok(())
        }
        _ => Err(Refusal::Kind),
    }
}
