//! Histograms whose bounds are powers of one base: how two become one, and what they are in buckets of another kind.

use super::{Histogram, sum_of};

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
    /// The sum of all observations, if it is known.
    pub sum: Option<f64>,
    /// The number of all observations.
    pub count: u64,
}

/// Two buckets for each power of two: bounds that stay the same whatever the scale does, and not many.
const CLASSIC_SCALE: i32 = 1;
/// Powers of two that floats have, above zero and below: a little more than from 2^-1074 to 2^1024.
const POWERS_MAX: f64 = 1100.0;
/// Indices are no larger at any scale, so that differences of two are numbers as well.
const INDEX_MAX: f64 = 1_160_000_000.0;
/// The scales that make sense: the coarsest that Prometheus has, and finer ones than any float needs.
const SCALES: std::ops::RangeInclusive<i32> = -4..=32;

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

    /// Whether the indices are some that an observation can have at this scale.
    fn is_sane(&self, scale: i32) -> bool {
        let most = (POWERS_MAX * f64::from(scale).exp2()).min(INDEX_MAX);
        let near = |at: i32| f64::from(at).abs() <= most;
        self.counts.is_empty() || (near(self.first) && self.last().is_some_and(near))
    }

    /// The last bucket that holds something and begins below this value.
    fn last_below(&self, scale: i32, value: f64) -> Option<i32> {
        let held = (self.first..).zip(&self.counts).filter(|(_, count)| **count > 0);
        held.map(|(at, _)| at).take_while(|at| bound(scale, *at) < value).last()
    }

    /// Takes out all buckets before `end`, and returns what they held.
    fn take_before(&mut self, end: i32) -> u64 {
        let many = usize::try_from(i64::from(end) - i64::from(self.first)).unwrap_or(0);
        let taken = self.counts.drain(..many.min(self.counts.len()));
        let total = taken.fold(0, |all: u64, count| all.saturating_add(count));
        self.first = self.first.max(end);
        self.trim();
        total
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
        SCALES.contains(&self.scale) && self.positive.is_sane(self.scale) && self.negative.is_sane(self.scale)
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

    /// Counts as zero what lies up to the threshold of zero. A bucket in which that lies goes as a whole, and the threshold
    /// up to its end, as OpenTelemetry's rules for histograms with different thresholds say.
    pub fn fold(&mut self) {
        let below = |run: &Run| run.last_below(self.scale, self.zero_threshold);
        let Some(last) = below(&self.positive).max(below(&self.negative)) else { return };
        let end = last.saturating_add(1);
        self.zero_threshold = self.zero_threshold.max(bound(self.scale, end)).min(f64::MAX);
        let folded = self.positive.take_before(end).saturating_add(self.negative.take_before(end));
        self.zero_count = self.zero_count.saturating_add(folded);
    }

    /// Adds the observations of another one, at the coarser scale of the two, in at most `most` buckets a side.
    pub fn add(&mut self, other: &Self, most: usize) {
        let mut other = other.clone();
        // What is zero to one of them is zero to both, and needs no buckets.
        let threshold = self.zero_threshold.max(other.zero_threshold);
        for one in [&mut *self, &mut other] {
            one.zero_threshold = threshold;
            one.fold();
        }
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
        self.sum = sum_of(self.sum, other.sum);
        self.count = self.count.saturating_add(other.count);
        self.fold();
    }

    /// The same in buckets with bounds, for formats that have no others.
    pub fn classic(&self) -> Histogram {
        let mut coarse = self.clone();
        // Then all buckets end above the threshold, and zero stands between both sides.
        coarse.fold();
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
        buckets.reverse();
        buckets.dedup_by(|a, b| a.0.total_cmp(&b.0).is_eq());
        buckets.reverse();
        let count = self.count.max(below);
        Histogram { buckets, sum: self.sum, count }
    }

    /// The larger bound, by its absolute value, of the bucket in which a value lies if there are bounds.
    pub fn classic_bound(value: f64) -> f64 {
        let step = f64::from(CLASSIC_SCALE).exp2();
        ((value.abs().log2() * step).ceil() / step).exp2().copysign(value)
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
        (all.zero_count, all.count, all.sum) = (5, 15, Some(1.5));
        let classic = all.classic();
        assert_eq!(classic.buckets, [(-2.0, 4), (-1.0, 7), (0.0, 12), (2.0, 13), (4.0, 13), (8.0, 15)]);
        assert_eq!((classic.count, classic.sum), (15, Some(1.5)));
    }

    #[test]
    fn what_is_within_the_threshold_is_zero_in_every_form() {
        // Buckets (1, 2], (2, 4] and (4, 8]; the threshold lies in the second.
        let mut all = Exponential { zero_threshold: 3.0, ..of(0, 0, &[1, 2, 4]) };
        all.negative = Run { first: -1, counts: vec![8] };
        (all.zero_count, all.count) = (16, 31);
        assert_eq!(all.classic().buckets, [(4.0, 27), (8.0, 31)]);
        let mut folded = all.clone();
        folded.fold();
        assert_eq!((folded.zero_threshold, folded.zero_count), (4.0, 27));
        assert_eq!((folded.positive, folded.negative), (Run { first: 2, counts: vec![4] }, Run::default()));
        // One that says nothing of a threshold, and one whose threshold lies between two buckets.
        let mut sum = of(0, -3, &[1, 1, 1, 1]);
        sum.add(&Exponential { zero_threshold: 0.5, ..of(0, 0, &[1]) }, 160);
        assert_eq!((sum.zero_threshold, sum.zero_count, sum.held()), (0.5, 2, 5));
        assert_eq!(sum.positive, Run { first: -1, counts: vec![1, 2] });
    }

    #[test]
    fn values_of_one_bucket_have_one_bound() {
        for (value, bound) in [(2.0_f64, 2.0_f64), (1.5, 2.0), (1.0, 1.0), (-1.5, -2.0), (0.0, 0.0)] {
            assert_eq!(Exponential::classic_bound(value).to_bits(), bound.to_bits(), "{value}");
        }
        assert!((1.4..1.5).contains(&Exponential::classic_bound(1.1)));
    }

    #[test]
    fn indices_are_bounded_by_what_a_float_can_be_at_the_scale() {
        for (scale, first, sane) in [
            (0, 1023, true),
            (0, -1074, true),
            (0, 1200, false),
            (-4, 68, true),
            (-4, 70, false),
            (8, 262_143, true),
            (8, 300_000, false),
            (20, 1_073_741_823, true),
            (20, -1_126_170_625, true),
            (20, i32::MAX, false),
            (32, i32::MIN, false),
            (-5, 0, false),
            (33, 0, false),
        ] {
            assert_eq!(of(scale, first, &[1]).is_sane(), sane, "{first} at {scale}");
        }
    }

    /// Observations as SDKs may send them: a scale, a first power of two, counts, and a threshold.
    type Choice = (i32, f64, Vec<u64>, Vec<u64>, f64);

    fn choice() -> impl Strategy<Value = Choice> {
        let counts = || proptest::collection::vec(0..9_u64, 0..60);
        let threshold = prop_oneof![Just(0.0), (-1080.0..1023.0_f64).prop_map(f64::exp2)];
        (-4..=8_i32, -1074.0..1000.0_f64, counts(), counts(), threshold)
    }

    fn chosen((scale, power, positive, negative, zero_threshold): Choice) -> Exponential {
        #[expect(clippy::cast_possible_truncation, reason = "at most 1,074 times 2^8")]
        let first = (power * f64::from(scale).exp2()).floor() as i32;
        let run = |counts| Run { first, counts };
        let (positive, negative) = (run(positive), run(negative));
        let count = positive.total() + negative.total();
        Exponential { scale, zero_threshold, positive, negative, count, ..Exponential::default() }
    }

    proptest! {
        #[test]
        fn what_is_sane_stays_so_and_can_be_shown(a in choice(), others in proptest::collection::vec(choice(), 0..4)) {
            let mut sum = chosen(a);
            prop_assume!(sum.is_sane());
            for other in others {
                let other = chosen(other);
                prop_assume!(other.is_sane());
                let want = sum.held() + other.held();
                sum.add(&other, 320);
                prop_assert!(sum.is_sane(), "{sum:?}");
                prop_assert_eq!((sum.held(), sum.count), (want, want));
            }
            let classic = sum.classic();
            prop_assert!(classic.buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{sum:?} {classic:?}");
            prop_assert!(classic.buckets.last().is_none_or(|last| last.1 == sum.count), "{classic:?}");
        }

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
