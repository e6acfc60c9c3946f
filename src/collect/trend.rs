//! How fast an amount of memory grows, by its last minutes: a slope that neither noise nor a step moves, and what it foretells.
//!
//! Sources: Theil, "A rank-invariant method of linear and polynomial regression analysis" (1950); Sen, "Estimates of the
//! regression coefficient based on Kendall's tau" (1968); Mann, "Nonparametric tests against trend" (1945).

use std::collections::VecDeque;
use std::time::Duration;

/// The most samples that are kept.
const SAMPLES_MAX: usize = 20;
/// With fewer nothing is said: five that rise each are the fewest by which a chance of one in seventy can be excluded.
const SAMPLES_MIN: usize = 5;
/// Samples are this far apart at least, so that frequent scrapes, or several who scrape, do not make the window short: it is
/// 200 s at least, 5 min with a scrape every 15 s.
const APART: Duration = Duration::from_secs(10);
/// What is older is of another time. A scrape every two minutes still finds five samples in it.
const AGE_MAX: Duration = Duration::from_mins(10);
/// Whoever knows some minutes knows nothing about what is further away than a day.
const FORESIGHT: Duration = Duration::from_hours(24);
/// How many standard deviations the growth must stand out from chance (one in seventy).
const SIGNIFICANT: f64 = 2.2;

/// The last minutes of one amount. Time is what the caller says: the time since some moment that stays.
#[derive(Debug, Default)]
pub(super) struct Trend {
    samples: VecDeque<(f64, f64)>,
}

impl Trend {
    /// Takes in what the amount is now. A clock that went back, or an amount that fell to less than half (what it is of began
    /// anew), begins a new window.
    pub(super) fn add(&mut self, now: Duration, amount: u64) {
        let (now, amount) = (now.as_secs_f64(), amount as f64);
        if let Some(&(before, last)) = self.samples.back() {
            if now < before || amount < last / 2.0 {
                self.samples.clear();
            } else if now - before < APART.as_secs_f64() {
                return;
            }
        }
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back((now, amount));
        while self.samples.front().is_some_and(|&(at, _)| now - at > AGE_MAX.as_secs_f64()) {
            self.samples.pop_front();
        }
    }

    /// In how many seconds the amount will have grown by `distance`; `None` if it does not grow, if that cannot be told from
    /// chance, if there are too few samples, or if it is more than a day.
    pub(super) fn seconds_until(&self, distance: u64) -> Option<f64> {
        let seconds = distance as f64 / self.slope()?;
        (seconds <= FORESIGHT.as_secs_f64()).then_some(seconds)
    }

    /// The growth in a second, if there is any: the smaller of the slopes of the whole window and of its newer half, each the
    /// median over all pairs of samples. A single step lies in more than half of the pairs of one of them at most.
    fn slope(&self) -> Option<f64> {
        let count = self.samples.len();
        if count < SAMPLES_MIN {
            return None;
        }
        let (whole, rising) = median_slope(self.samples.iter())?;
        let n = count as f64;
        let deviation = (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
        let (newer, _) = median_slope(self.samples.range(count / 2..))?;
        let slope = whole.min(newer);
        (slope > 0.0 && (rising - 1.0) / deviation > SIGNIFICANT).then_some(slope)
    }
}

/// The median of the slopes between all pairs of samples, and how many more of them rise than fall.
fn median_slope<'a>(samples: impl Iterator<Item = &'a (f64, f64)> + Clone) -> Option<(f64, f64)> {
    let mut slopes = Vec::with_capacity(SAMPLES_MAX * (SAMPLES_MAX - 1) / 2);
    let mut rising = 0.0;
    let mut later = samples;
    while let Some(&(from, low)) = later.next() {
        for &(to, high) in later.clone() {
            let slope = (high - low) / (to - from);
            slopes.push(slope);
            if slope != 0.0 {
                rising += slope.signum();
            }
        }
    }
    // Of an even number the lower one: rather too late than an alarm for nothing.
    let middle = slopes.len().checked_sub(1)? / 2;
    Some((*slopes.select_nth_unstable_by(middle, f64::total_cmp).1, rising))
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "amounts of tests are small and not negative"
    )]
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    /// A trend of amounts that were read every `every` seconds.
    fn trend(every: f64, amounts: impl IntoIterator<Item = u64>) -> Trend {
        let mut trend = Trend::default();
        for (i, amount) in amounts.into_iter().enumerate() {
            trend.add(Duration::from_secs_f64(1e6 + every * i as f64), amount);
        }
        trend
    }

    /// A cheap row of numbers from 0 to 1 without a pattern.
    fn noise(seed: u64) -> impl Iterator<Item = f64> {
        let mut state = seed | 1;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64
        })
    }

    #[test]
    fn steady_growth_is_foretold_exactly() {
        let steady = trend(15.0, (0..20).map(|i| 100 * MIB + i * 15 * MIB));
        let seconds = steady.seconds_until(600 * MIB).unwrap();
        assert!((seconds - 600.0).abs() < 1e-6, "{seconds}");
        assert_eq!(steady.seconds_until(0), Some(0.0));
    }

    #[test]
    fn what_does_not_grow_or_is_too_far_away_or_too_little_known_is_absent() {
        assert_eq!(trend(15.0, [5 * MIB; 20]).seconds_until(MIB), None, "level");
        assert_eq!(trend(15.0, (0..20).map(|i| 100 * MIB - i * MIB)).seconds_until(MIB), None, "falling");
        assert_eq!(trend(15.0, [1, 2, 3, 4]).seconds_until(1), None, "four samples");
        assert!(trend(15.0, [1, 2, 3, 4, 5]).seconds_until(1).is_some(), "five samples");
        let slow = trend(15.0, (0..20).map(|i| 100 * MIB + i * 15));
        assert!(slow.seconds_until(86_399).is_some() && slow.seconds_until(86_401 * 2).is_none(), "a day");
        assert_eq!(Trend::default().seconds_until(1), None);
    }

    #[test]
    fn a_scrape_every_second_has_the_same_window_as_one_every_ten_and_one_every_two_minutes_has_enough() {
        let often = trend(1.0, (0..400).map(|i| 100 * MIB + i * MIB));
        assert_eq!(often.samples.len(), SAMPLES_MAX);
        assert!((often.seconds_until(60 * MIB).unwrap() - 60.0).abs() < 1e-6);
        let seldom = trend(120.0, (0..20).map(|i| 100 * MIB + i * 120 * MIB));
        assert_eq!(seldom.samples.len(), 6);
        assert!((seldom.seconds_until(60 * MIB).unwrap() - 60.0).abs() < 1e-6);
        assert_eq!(trend(700.0, (0..9).map(|i| i * MIB)).seconds_until(MIB), None, "each is of another time");
    }

    #[test]
    fn one_step_at_any_place_is_no_trend() {
        for count in SAMPLES_MIN..=SAMPLES_MAX {
            for at in 0..=count {
                let amounts = (0..count).map(|i| if i < at { 100 * MIB } else { 180 * MIB });
                assert_eq!(trend(15.0, amounts).seconds_until(GIB), None, "of {count} at {at}");
            }
        }
    }

    const GIB: u64 = 1 << 30;

    #[test]
    fn growth_that_ended_is_forgotten_before_the_window_is_over() {
        let amounts = (0..20_u64).map(|i| 100 * MIB + i.min(10) * 15 * MIB);
        assert_eq!(trend(15.0, amounts).seconds_until(GIB), None);
    }

    #[test]
    fn noise_without_growth_is_hardly_ever_taken_for_growth() {
        let mut taken = 0;
        for seed in 1..2001 {
            let amounts = noise(seed * 7919).take(20).map(|x| 100 * MIB + (x * 8.0 * MIB as f64) as u64);
            taken += u32::from(trend(15.0, amounts).seconds_until(GIB).is_some());
        }
        // One in seventy passes the test of significance; some of those the newer half turns down.
        assert!((1..2000 / 30).contains(&taken), "{taken} of 2000");
    }

    proptest! {
        #[test]
        fn growth_in_noise_is_found_within_a_third(
            seed in 1_u64.., mib_a_second in 0.05_f64..50.0, every in 10.0_f64..40.0, relative in 0.0_f64..1.0,
        ) {
            // The noise is as large as what a scrape adds, three times over.
            let step = mib_a_second * every * MIB as f64;
            let amounts: Vec<u64> = noise(seed).take(20).enumerate()
                .map(|(i, x)| (1e10 + step * (i as f64 + (x - 0.5) * 3.0 * relative)) as u64).collect();
            let distance = (mib_a_second * 300.0 * MIB as f64) as u64;
            let seconds = trend(every, amounts).seconds_until(distance);
            // Where the noise hides the newer half's growth, it may be absent or late, and is never early.
            if relative < 0.3 {
                prop_assert!(seconds.is_some_and(|s| (220.0..450.0).contains(&s)), "{seconds:?}");
            }
            prop_assert!(seconds.is_none_or(|s| s > 180.0), "{seconds:?}");
        }

        #[test]
        fn whatever_comes_the_answer_is_absent_or_from_now_to_a_day(
            samples in proptest::collection::vec((0_u64..5000, any::<u64>()), 0..60), distance: u64,
        ) {
            let mut trend = Trend::default();
            for (at, amount) in samples {
                // The clock jumps to and fro.
                trend.add(Duration::from_secs(at), amount);
                prop_assert!(trend.samples.len() <= SAMPLES_MAX);
                if let Some(seconds) = trend.seconds_until(distance) {
                    prop_assert!((0.0..=86_400.0).contains(&seconds), "{seconds}");
                }
            }
        }

        #[test]
        fn after_a_new_beginning_growth_is_found_as_soon_as_there_are_samples(
            old in 1_000_u64..100_000, before in 5_usize..40,
        ) {
            let grown = (0..before).map(|_| old * MIB);
            let anew = (0..SAMPLES_MIN as u64).map(|i| MIB + i * MIB);
            let seconds = trend(10.0, grown.chain(anew)).seconds_until(10 * MIB);
            prop_assert!((seconds.unwrap() - 100.0).abs() < 1e-6);
        }

        #[test]
        fn a_clock_that_jumps_begins_a_new_window(jump in 1_u64..1_000_000, back: bool) {
            let mut trend = Trend::default();
            let start = 2_000_000;
            for i in 0..20 {
                trend.add(Duration::from_secs(start + i * 15), (100 + i) * MIB);
            }
            let last = start + 19 * 15;
            let now = if back { last - jump } else { last + 600 + jump };
            trend.add(Duration::from_secs(now), 200 * MIB);
            prop_assert_eq!(trend.samples.len(), 1);
            prop_assert_eq!(trend.seconds_until(MIB), None);
        }
    }
}
