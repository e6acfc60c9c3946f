//! How often to look: slowly while there is room, fast when trouble is near. Pure; time is an argument.

use crate::host::stall::Room;
use std::time::Duration;

/// How long nothing must be near before it is looked at slowly again.
const HOLD: Duration = Duration::from_secs(5);
/// Below this share of the machine's memory available, trouble is near, whatever the trend.
const NEAR_SHARE: f64 = 0.05;
/// To be far again takes so much more than to come near.
const LEAVE: f64 = 1.25;
/// Rates are taken over at least this time: between two fast polls the kernel's figures jump.
const RATE_SPAN: Duration = Duration::from_millis(200);
/// Below this share of free memory the kernel takes from caches, as it should: a machine that is up for long is always there.
const TAKEN_SHARE: f64 = 0.02;
/// Caches may fill the machine as they like, but when they are about to have done so it is looked closely for what follows.
const FREE_LEFT: Duration = Duration::from_secs(3);
/// A slower fall than this, in bytes a second, is no trend.
const FALL_MIN: f64 = (1 << 20) as f64;

/// How fast the room in one place falls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trend {
    last: Option<(Duration, u64)>,
    fall: f64,
}

impl Trend {
    /// Takes a reading; says in which time nothing will be left, if it goes on like this.
    pub fn see(&mut self, at: Duration, room: Room) -> Option<Duration> {
        self.see_bytes(at, room.available_bytes)
    }

    /// Takes a reading of what nobody uses; says in which time the kernel must begin to take from caches, for which tasks may
    /// wait. Where it does so already, that is no news: then stalls alone are a sign.
    pub fn see_free(&mut self, at: Duration, room: Room) -> Option<Duration> {
        let free = room.free_bytes?;
        let left = self.see_bytes(at, free)?;
        (free as f64 >= room.total_bytes as f64 * TAKEN_SHARE).then_some(left)
    }

    fn see_bytes(&mut self, at: Duration, available: u64) -> Option<Duration> {
        match self.last {
            Some((then, was)) if at >= then && at.saturating_sub(then) >= RATE_SPAN => {
                let rate = (was as f64 - available as f64) / at.saturating_sub(then).as_secs_f64();
                // The newest rate counts most; one jump alone does not.
                self.fall = f64::midpoint(self.fall, rate);
                self.last = Some((at, available));
            }
            Some((then, _)) if at >= then => {}
            _ => (self.last, self.fall) = (Some((at, available)), 0.0),
        }
        if self.fall < FALL_MIN {
            return None;
        }
        Duration::try_from_secs_f64(available as f64 / self.fall).ok()
    }
}

/// Slow or fast, with hysteresis.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    slow: Duration,
    fast: Duration,
    /// Trouble is near if nothing will be left within this time.
    exhaustion: Duration,
    /// Since when nothing is near, while it is looked at fast.
    hurry: Option<Duration>,
}

/// What is near at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signs {
    /// A rule sees stalls, or its episode goes on.
    pub stalls: bool,
    /// The share of the machine's memory that is available, and the highest that a rule calls trouble.
    pub available: Option<(f64, f64)>,
    /// The shortest time until nothing is left, of all places.
    pub left: Option<Duration>,
    /// The time until no memory is free, and caches must give way.
    pub free_left: Option<Duration>,
}

impl Pace {
    /// A pace that begins slow.
    pub fn new(slow: Duration, fast: Duration, exhaustion: Duration) -> Self {
        Self { slow, fast: fast.min(slow), exhaustion, hurry: None }
    }

    /// Whether it is looked at fast.
    pub fn is_fast(&self) -> bool {
        self.hurry.is_some()
    }

    /// Takes the signs of this moment; says when to look next.
    pub fn next(&mut self, at: Duration, signs: &Signs) -> Duration {
        let near = self.near(signs, if self.is_fast() { LEAVE } else { 1.0 });
        self.hurry = match self.hurry {
            _ if near => Some(at),
            // A clock that was set back begins to count anew.
            Some(last) if at < last => Some(at),
            Some(last) if at.saturating_sub(last) < HOLD => Some(last),
            _ => None,
        };
        if self.is_fast() { self.fast } else { self.slow }
    }

    fn near(&self, signs: &Signs, wider: f64) -> bool {
        let short =
            signs.available.is_some_and(|(share, rule)| share < (rule * LEAVE).max(NEAR_SHARE) * wider);
        let falls = signs.left.is_some_and(|left| left < self.exhaustion.mul_f64(wider));
        let caches = signs.free_left.is_some_and(|left| left < FREE_LEFT.mul_f64(wider));
        signs.stalls || short || falls || caches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pace() -> Pace {
        Pace::new(Duration::from_millis(250), Duration::from_millis(20), Duration::from_secs(30))
    }

    fn room(mib: u64) -> Room {
        Room { available_bytes: mib << 20, total_bytes: 1 << 30, free_bytes: Some(mib << 20) }
    }

    fn seconds(s: f64) -> Duration {
        Duration::from_secs_f64(s)
    }

    #[test]
    fn each_sign_makes_it_fast_and_calm_makes_it_slow_again_later() {
        let near = [
            Signs { stalls: true, ..Signs::default() },
            Signs { available: Some((0.04, 0.0)), ..Signs::default() },
            Signs { available: Some((0.12, 0.1)), ..Signs::default() },
            Signs { left: Some(seconds(29.0)), ..Signs::default() },
            Signs { free_left: Some(seconds(2.9)), ..Signs::default() },
        ];
        let far = Signs {
            available: Some((0.9, 0.1)),
            left: Some(seconds(600.0)),
            free_left: Some(seconds(30.0)),
            stalls: false,
        };
        for signs in near {
            let mut pace = pace();
            assert_eq!(pace.next(seconds(1.0), &far).as_millis(), 250);
            assert_eq!(pace.next(seconds(2.0), &signs).as_millis(), 20);
            assert_eq!(pace.next(seconds(6.9), &far).as_millis(), 20, "not yet");
            assert_eq!(pace.next(seconds(7.1), &far).as_millis(), 250);
        }
    }

    #[test]
    fn what_hovers_at_the_bound_stays_fast() {
        let mut pace = pace();
        let at = |share| Signs { available: Some((share, 0.1)), ..Signs::default() };
        assert_eq!(pace.next(seconds(1.0), &at(0.13)).as_millis(), 250);
        pace.next(seconds(2.0), &at(0.12));
        for n in 3..60 {
            assert_eq!(pace.next(seconds(f64::from(n)), &at(0.13)).as_millis(), 20);
        }
        assert_eq!(pace.next(seconds(70.0), &at(0.17)).as_millis(), 250);
    }

    #[test]
    fn a_fall_is_seen_before_it_ends_and_noise_is_no_fall() {
        let mut trend = Trend::default();
        let mut left = None;
        for n in 0..10_u32 {
            left = trend.see(seconds(f64::from(n) * 0.25), room(1000 - u64::from(n) * 15));
        }
        let left = left.unwrap().as_secs_f64();
        assert!((12.0..18.0).contains(&left), "60 MiB/s of 865 MiB: {left}");
        let mut trend = Trend::default();
        for n in 0..100_u32 {
            let seen = trend.see(seconds(f64::from(n) * 0.02), room(1000 + u64::from(n % 2) * 50));
            assert!(seen.is_none_or(|l| l > seconds(5.0)), "{seen:?}");
        }
        assert_eq!(Trend::default().see(seconds(1.0), room(0)), None);
    }

    #[test]
    fn caches_that_fill_the_machine_are_news_once() {
        let (mut trend, mut seen) = (Trend::default(), Vec::new());
        // 250 MiB/s into caches, of 1 GiB; then the kernel keeps some MiB free, more or less.
        for n in 0..40_u32 {
            let mib = if n < 15 { 1000 - u64::from(n) * 62 } else { 8 + u64::from(n % 2) * 8 };
            let left = trend.see_free(seconds(f64::from(n) * 0.25), room(mib));
            seen.push(left.is_some_and(|left| left < FREE_LEFT));
        }
        assert!(!seen[0] && seen[6..15].iter().all(|near| *near), "{seen:?}");
        assert!(seen[17..].iter().all(|near| !near), "{seen:?}");
    }

    proptest! {
        /// Whatever the clock does, it is never slow while trouble is near, and never fast for more than the hold without.
        #[test]
        fn near_is_fast_and_far_is_slow_in_the_end(times in proptest::collection::vec((0.0_f64..1e6, any::<bool>()), 1..100)) {
            let mut pace = pace();
            for (at, stalls) in times {
                let wait = pace.next(seconds(at), &Signs { stalls, ..Signs::default() });
                prop_assert!(!stalls || wait.as_millis() == 20);
                pace.next(seconds(at), &Signs::default());
                prop_assert_eq!(pace.next(seconds(at + 5.01), &Signs::default()).as_millis(), 250);
            }
        }

        #[test]
        fn no_reading_panics(readings in proptest::collection::vec((0_u64..1 << 40, any::<u64>()), 1..50)) {
            let mut trend = Trend::default();
            for (at, available_bytes) in readings {
                trend.see(Duration::from_micros(at), Room { available_bytes, total_bytes: 1, free_bytes: None });
            }
        }
    }
}
