//! The blast radius: how many targets, and how many bytes, may be touched within a time.
//!
//! A rule that is wrong, or an alert that everything fires at once, must not reach through the whole machine.

use super::millis;
use bytesize::ByteSize;
use serde::Deserialize;
use std::time::Duration;

/// How far actions may reach within a time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The time.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// So many targets. 0 is any number.
    pub targets: u64,
    /// So many verified bytes, after which no step begins; any number if not given.
    pub bytes: Option<ByteSize>,
}

impl Default for Options {
    fn default() -> Self {
        Self { window: Duration::from_mins(10), targets: 10, bytes: None }
    }
}

/// What was reached within the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Targets besides the one that is asked about.
    pub others: u64,
    /// Verified bytes, on all of them.
    pub freed_bytes: u64,
    /// When the oldest step of those began, in milliseconds since the epoch.
    pub oldest_at: Option<i64>,
}

/// Until when one more step would reach too far; `None` if it may begin.
pub fn until(now: i64, reached: &Reached, options: &Options) -> Option<i64> {
    let too_many = options.targets > 0 && reached.others >= options.targets;
    let too_much = options.bytes.is_some_and(|b| reached.freed_bytes >= b.as_u64());
    (too_many || too_much).then(|| {
        let oldest = reached.oldest_at.unwrap_or(now).min(now);
        oldest.saturating_add(millis(options.window)).max(now.saturating_add(1000))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_where_so_many_targets_or_bytes_were_reached() {
        let o = Options { targets: 2, bytes: Some(ByteSize::mib(10)), ..Options::default() };
        let at = |others, mib: u64| {
            let reached = Reached { others, freed_bytes: mib << 20, oldest_at: Some(50_000) };
            until(100_000, &reached, &o)
        };
        assert_eq!((at(1, 9), at(0, 0)), (None, None));
        assert_eq!((at(2, 0), at(0, 10)), (Some(650_000), Some(650_000)));
        let any = Options { targets: 0, bytes: None, ..o };
        assert_eq!(until(0, &Reached { others: 99, freed_bytes: u64::MAX, oldest_at: None }, &any), None);
    }

    #[test]
    fn it_is_asked_again_later_whatever_the_clock_does() {
        let o = Options { targets: 1, ..Options::default() };
        for oldest_at in [None, Some(-9_000_000), Some(9_000_000)] {
            let until = until(1000, &Reached { others: 1, freed_bytes: 0, oldest_at }, &o).unwrap();
            assert!((2000..=601_000).contains(&until), "{until}");
        }
    }
}
