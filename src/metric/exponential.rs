//! Histograms whose bounds are powers of one base: how two become one, and what they are in buckets of another kind.

use super::Histogram;

/// Buckets in a row: that at `first + i` holds what is above `base^(first + i)` and at most `base^(first + i + 1)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// The index of the first bucket.
    pub first: i32,
    /// How many observations each bucket holds, alone.
    pub counts: Vec<u64>,
}

/// Observations in buckets whose bounds are powers of `2^(2^-scale)`, as OpenTelemetry has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exponential {
    /// The larger, the finer.
    pub scale: i32,
    /// Up to which absolute value observations count as zero.
    pub zero_threshold: f64,
    /// How many do.
    pub zero_count: u64,
    /// Those above zero.
    pub positive: Run,
    /// Those below zero, by their absolute values.
    pub negative: Run,
    /// The sum of all observations.
    pub sum: f64,
    /// The number of all observations.
    pub count: u64,
}

/// Two buckets for each power of two: bounds that stay the same whatever the scale does, and not many.
const CLASSIC_SCALE: i32 = 1;
/// At the finest scale that SDKs begin with (20), the index of the largest float is 1,074 times 2^20.
const INDEX_MAX: i32 = 1_200_000_000;

impl Run {
    /// Makes each bucket of `2^by` buckets.
    fn coarser(&mut self, by: u32) {
        let by = by.min(31);
        let Some(last) = self.last() else { return };
        let (first, start) = (self.first >> by, self.first);
        let mut counts = vec![0_u64; usize::try_from((last >> by) - first + 1).unwrap_or(0)];
        for (at, count) in (start..).zip(&self.counts) {
            let place = usize::try_from((at >> by) - first).ok().and_then(|place| counts.get_mut(place));
            if let Some(place) = place {
                *place = place.saturating_add(*count);
            }
        }
        *self = Self { first, counts };
    }

    /// The index of the last bucket; none if there are no buckets.
    fn last(&self) -> Option<i32> {
        let more = i32::try_from(self.counts.len()).ok()?.checked_sub(1).filter(|more| *more >= 0)?;
        self.first.checked_add(more)
    }

    /// Leaves out empty buckets at both ends, and keeps indices within what can be.
    pub fn trim(&mut self) {
        while self.counts.last() == Some(&0) {
            self.counts.pop();
        }
        let empty = self.counts.iter().take_while(|count| **count == 0).count();
        self.counts.drain(..empty);
        self.first = self.first.saturating_add(i32::try_from(empty).unwrap_or(i32::MAX));
        if self.counts.is_empty() {
            self.first = 0;
        }
    }

    /// What is left without the observations of `other`, bucket by bucket; none if it holds more of any.
    pub fn less(&self, other: &Self) -> Option<Self> {
        let mut out = self.clone();
        for (at, count) in (other.first..).zip(&other.counts).filter(|(_, count)| **count > 0) {
            let place = usize::try_from(i64::from(at) - i64::from(self.first)).ok()?;
            let bucket = out.counts.get_mut(place)?;
            *bucket = bucket.checked_sub(*count)?;
        }
        Some(out)
    }

    /// Whether the indices are some that an observation can have.
    fn is_sane(&self) -> bool {
        let near = |at: i32| (-INDEX_MAX..=INDEX_MAX).contains(&at);
        self.counts.is_empty() || (near(self.first) && self.last().is_some_and(near))
    }

    fn add(&mut self, other: &Self) {
        let Some(last) = other.last() else { return };
        let Some(own_last) = self.last() else {
            self.clone_from(other);
            return;
        };
        let first = self.first.min(other.first);
        let gap = |from: i32| usize::try_from(from - first).unwrap_or(0);
        let mut counts = vec![0_u64; usize::try_from(last.max(own_last) - first + 1).unwrap_or(0)];
        for run in [&*self, other] {
            for (place, count) in counts.iter_mut().skip(gap(run.first)).zip(&run.counts) {
                *place = place.saturating_add(*count);
            }
        }
        *self = Self { first, counts };
    }

    /// Sum of the counts.
    fn total(&self) -> u64 {
        self.counts.iter().fold(0, |all, count| all.saturating_add(*count))
    }
}

impl Exponential {
    /// Whether all indices are some that an observation can have, so that nothing below overflows or grows.
    pub fn is_sane(&self) -> bool {
        self.positive.is_sane() && self.negative.is_sane() && (-16..=32).contains(&self.scale)
    }

    /// Brings the scale down to at most `scale`.
    pub fn at_most(&mut self, scale: i32) {
        if let Some(by) = u32::try_from(i64::from(self.scale) - i64::from(scale)).ok().filter(|by| *by > 0) {
            self.positive.coarser(by);
            self.negative.coarser(by);
            self.scale = scale;
        }
    }

    /// Makes it coarser until neither side has more than `most` buckets.
    pub fn fit(&mut self, most: usize) {
        while self.positive.counts.len().max(self.negative.counts.len()) > most.max(2) {
            self.at_most(self.scale - 1);
        }
    }

    /// Adds the observations of another one, at the coarser scale of the two, in at most `most` buckets a side.
    pub fn add(&mut self, other: &Self, most: usize) {
        let mut other = other.clone();
        self.at_most(other.scale);
        other.at_most(self.scale);
        // Two that lie far apart would make a long row of nothing between them.
        while span(&self.positive, &other.positive).max(span(&self.negative, &other.negative)) > most.max(2) {
            self.at_most(self.scale - 1);
            other.at_most(self.scale);
        }
        self.positive.add(&other.positive);
        self.negative.add(&other.negative);
        self.zero_threshold = self.zero_threshold.max(other.zero_threshold);
        self.zero_count = self.zero_count.saturating_add(other.zero_count);
        self.sum += other.sum;
        self.count = self.count.saturating_add(other.count);
    }

    /// The same in buckets with bounds, for formats that have no others.
    pub fn classic(&self) -> Histogram {
        let mut coarse = self.clone();
        coarse.at_most(CLASSIC_SCALE);
        coarse.positive.trim();
        coarse.negative.trim();
        let mut buckets = Vec::with_capacity(coarse.positive.counts.len() + coarse.negative.counts.len() + 2);
        let mut below = 0_u64;
        let negative = (coarse.negative.first..).zip(&coarse.negative.counts).collect::<Vec<_>>();
        for (at, count) in negative.into_iter().rev() {
            below = below.saturating_add(*count);
            // Without the sum, what is too small for a float would be minus zero.
            buckets.push((-bound(coarse.scale, at) + 0.0, below));
        }
        if coarse.zero_count > 0 || !coarse.negative.counts.is_empty() {
            below = below.saturating_add(coarse.zero_count);
            buckets.push((coarse.zero_threshold.max(0.0), below));
        }
        for (at, count) in (coarse.positive.first..).zip(&coarse.positive.counts) {
            below = below.saturating_add(*count);
            buckets.push((bound(coarse.scale, at.saturating_add(1)), below));
        }
        // At the ends of what a float holds several bounds are one; so may the zero's be and its neighbour's.
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets.reverse();
        buckets.dedup_by(|a, b| a.0.total_cmp(&b.0).is_eq());
        buckets.reverse();
        let count = self.count.max(below);
        Histogram { buckets, sum: self.sum, count }
    }

    /// How many observations the buckets hold.
    pub fn held(&self) -> u64 {
        self.positive.total().saturating_add(self.negative.total()).saturating_add(self.zero_count)
    }
}

/// The upper bound of the bucket before `index`.
fn bound(scale: i32, index: i32) -> f64 {
    (f64::from(index) * f64::from(-scale).exp2()).exp2()
}

/// How many buckets two runs have together, and those between them.
fn span(a: &Run, b: &Run) -> usize {
    match (a.last(), b.last()) {
        (Some(x), Some(y)) => {
            usize::try_from(i64::from(x.max(y)) - i64::from(a.first.min(b.first)) + 1).unwrap_or(usize::MAX)
        }
        _ => a.counts.len().max(b.counts.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(scale: i32, first: i32, counts: &[u64]) -> Exponential {
        let positive = Run { first, counts: counts.to_vec() };
        Exponential { scale, count: positive.total(), positive, ..Exponential::default() }
    }

    #[test]
    fn a_coarser_scale_has_the_same_observations_in_wider_buckets() {
        // At scale 0 the bucket 0 holds (1, 2], and -1 holds (0.5, 1].
        let mut fine = of(1, -2, &[1, 2, 3, 4]);
        fine.at_most(0);
        assert_eq!(fine.positive, Run { first: -1, counts: vec![3, 7] });
        fine.at_most(5);
        assert_eq!(fine.scale, 0, "nothing becomes finer");
        fine.at_most(-1);
        assert_eq!(fine.positive, Run { first: -1, counts: vec![3, 7] });
    }

    #[test]
    fn what_is_taken_away_was_there() {
        let run = |first, counts: &[u64]| Run { first, counts: counts.to_vec() };
        let all = run(-1, &[1, 2, 3]);
        assert_eq!(all.less(&run(0, &[2, 1])), Some(run(-1, &[1, 0, 2])));
        assert_eq!(all.less(&run(-5, &[0, 0])), Some(all.clone()));
        for more in [run(0, &[3]), run(-2, &[1]), run(2, &[1])] {
            assert_eq!(all.less(&more), None, "{more:?}");
        }
    }

    #[test]
    fn two_become_one_at_the_coarser_scale() {
        let mut sum = of(0, 0, &[1, 1]);
        sum.add(&of(1, 4, &[5]), 160);
        assert_eq!((sum.scale, sum.count), (0, 7));
        assert_eq!(sum.positive, Run { first: 0, counts: vec![1, 1, 5] });
        sum.add(&of(0, 100_000, &[1]), 160);
        assert!(sum.positive.counts.len() <= 160 && sum.held() == 8, "{sum:?}");
    }

    #[test]
    fn in_buckets_with_bounds_zeros_and_negatives_stand_where_they_belong() {
        let mut all = of(0, 0, &[1, 0, 2]);
        all.negative = Run { first: 0, counts: vec![3, 4] };
        (all.zero_count, all.count, all.sum) = (5, 15, 1.5);
        let classic = all.classic();
        assert_eq!(classic.buckets, [(-2.0, 4), (-1.0, 7), (0.0, 12), (2.0, 13), (4.0, 13), (8.0, 15)]);
        assert_eq!((classic.count, classic.sum), (15, 1.5));
    }

    proptest! {
        #[test]
        fn nothing_gets_lost(
            a in (-4..8_i32, -2000..2000_i32, proptest::collection::vec(0..9_u64, 0..50)),
            b in (-4..8_i32, -2000..2000_i32, proptest::collection::vec(0..9_u64, 0..50)),
        ) {
            let (mut sum, other) = (of(a.0, a.1, &a.2), of(b.0, b.1, &b.2));
            let want = sum.held() + other.held();
            sum.add(&other, 160);
            prop_assert!(sum.positive.counts.len() <= 160);
            prop_assert_eq!((sum.held(), sum.count), (want, want));
            let classic = sum.classic();
            prop_assert_eq!(classic.count, want);
            prop_assert!(classic.buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{:?}", classic);
            prop_assert!(classic.buckets.last().is_none_or(|last| last.1 == want));
        }
    }
}
