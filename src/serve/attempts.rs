//! How often somebody may be wrong: a bucket for each source address, and one for all of them together.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Sources that are remembered; beyond that, the one that comes back first is forgotten.
const SOURCES_MAX: usize = 1024;
/// One source: so many wrong ones at once, and one more after each of these times.
const SOURCE: Rate = Rate { burst: 10, interval: Duration::from_secs(2) };
/// All sources: many of them together get no more than this of a processor's time.
const WHOLE: Rate = Rate { burst: 100, interval: Duration::from_millis(500) };

/// So many at once, and one more after each interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) burst: u32,
    pub(super) interval: Duration,
}

/// A bucket; it holds the moment at which it will be full again, none while it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket(Option<Instant>);

impl Bucket {
    /// How long until the bucket has something, if it has nothing.
    pub(super) fn empty(self, rate: Rate, now: Instant) -> Option<Duration> {
        if rate.burst == 0 {
            return Some(rate.interval);
        }
        let most = rate.interval * (rate.burst - 1);
        let wait = self.0?.checked_duration_since(now)?.checked_sub(most)?;
        (!wait.is_zero()).then_some(wait)
    }

    /// Takes one out.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) {
        let full = self.0.map_or(now, |full| full.max(now));
        self.0 = Some(full + rate.interval);
    }
}

/// Where a request comes from, as far as it is bounded: an IPv4 address, or the /64 that a machine has for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source(u64);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(u32::from(v4).into()),
            // No global unicast address begins with 32 zero bits, so the two kinds do not meet.
            IpAddr::V6(v6) => Self(u64::try_from(u128::from(v6) >> 64).unwrap_or(u64::MAX)),
        }
    }
}

/// The wrong ones so far.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    sources: HashMap<Source, Bucket>,
    whole: Bucket,
}

impl Attempts {
    /// How long this source has to wait, if it was wrong too often.
    pub(super) fn limited(&self, source: Source, now: Instant) -> Option<Duration> {
        self.sources.get(&source).and_then(|bucket| bucket.empty(SOURCE, now))
    }

    /// How long anybody has to wait whose credentials are not known to be good.
    pub(super) fn all_limited(&self, now: Instant) -> Option<Duration> {
        self.whole.empty(WHOLE, now)
    }

    /// Notes that this source was wrong.
    pub(super) fn wrong(&mut self, source: Source, now: Instant) {
        self.whole.take(WHOLE, now);
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            self.forget(now);
        }
        self.sources.entry(source).or_default().take(SOURCE, now);
    }

    fn forget(&mut self, now: Instant) {
        self.sources.retain(|_, bucket| bucket.0.is_some_and(|full| full > now));
        if self.sources.len() >= SOURCES_MAX {
            let first = self.sources.iter().min_by_key(|(_, bucket)| bucket.0).map(|(source, _)| *source);
            first.map(|source| self.sources.remove(&source));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn after_ten_wrong_ones_there_is_one_every_two_seconds() {
        let (mut attempts, now, one) = (Attempts::default(), Instant::now(), source("127.0.0.1"));
        for n in 0..10 {
            assert_eq!(attempts.limited(one, now), None, "{n}");
            attempts.wrong(one, now);
        }
        assert_eq!(attempts.limited(one, now), Some(Duration::from_secs(2)));
        assert_eq!(attempts.limited(source("127.0.0.2"), now), None, "another source waits as well");
        let later = now + Duration::from_secs(2);
        assert_eq!(attempts.limited(one, later), None);
        attempts.wrong(one, later);
        assert_eq!(attempts.limited(one, later), Some(Duration::from_secs(2)));
        assert_eq!(attempts.limited(one, later + Duration::from_mins(1)), None);
    }

    #[test]
    fn many_sources_are_limited_together_and_remembered_within_a_bound() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for n in 0..5000_u32 {
            assert_eq!(attempts.all_limited(now).is_some(), n >= 100, "{n}");
            attempts.wrong(IpAddr::from(n.to_be_bytes()).into(), now);
        }
        assert_eq!(attempts.sources.len(), SOURCES_MAX);
        attempts.wrong(source("10.0.0.1"), now + Duration::from_secs(10));
        assert_eq!(attempts.sources.len(), 1, "those who may try again are forgotten");
    }

    #[test]
    fn a_machine_is_one_source_with_all_addresses_of_its_network() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:10.0.0.1"), source("10.0.0.1"));
    }

    #[test]
    fn a_bucket_for_none_is_always_empty() {
        let rate = Rate { burst: 0, interval: Duration::from_secs(1) };
        assert_eq!(Bucket::default().empty(rate, Instant::now()), Some(Duration::from_secs(1)));
    }
}
