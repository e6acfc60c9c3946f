//! The circuit breaker: an action that lately gained nothing on a target, or did harm there, is left out for a while.
//!
//! Its state is nothing but what the record says, so it outlives every restart.

use super::millis;
use crate::optimize::report::{Judgement, Try};
use serde::Deserialize;
use std::time::Duration;

/// When an action is left out on a target.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// After so many tries in a row without a gain; one that did harm is enough. 0 is never.
    pub tries: usize,
    /// For how long. Then one try may show that it is different now.
    #[serde(with = "humantime_serde")]
    pub pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { tries: 3, pause: Duration::from_hours(1) }
    }
}

/// Whether an action may be tried on a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It may.
    Closed,
    /// It is left out.
    Open {
        /// Until then, in milliseconds since the epoch.
        until: i64,
        /// What it came to lately.
        why: String,
    },
    /// One try may show whether it is different now: the next without a gain opens it again.
    HalfOpen,
}

impl State {
    /// The word in the report.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half_open",
        }
    }

    /// Until when it is left out.
    pub const fn until(&self) -> Option<i64> {
        match self {
            Self::Open { until, .. } => Some(*until),
            Self::Closed | Self::HalfOpen => None,
        }
    }
}

/// How many of the last tries decide, at most: those that nobody could measure are passed over.
pub const fn depth(options: &Options) -> usize {
    options.tries.saturating_mul(4).saturating_add(16)
}

/// The state at `now`, from the last tries, newest first.
pub fn state(tries: &[Try], now: i64, options: &Options) -> State {
    if options.tries == 0 {
        return State::Closed;
    }
    let measured = || tries.iter().filter(|t| t.judgement() != Judgement::Unknown);
    let Some(last) = measured().next() else { return State::Closed };
    let bad = measured().take_while(|t| t.judgement() != Judgement::Effective).count();
    let why = match &last.harm {
        Some(harm) => format!("it did harm here ({harm})"),
        None if bad >= options.tries => format!("the last {} tries gained nothing here", options.tries),
        None => return State::Closed,
    };
    let pause = millis(options.pause);
    let at = last.ended_at.unwrap_or(last.begun_at);
    let until = at.saturating_add(pause);
    // What lies far ahead was written before the clock was set back, and must not close the way until it has caught up.
    if until > now && at <= now.saturating_add(pause) { State::Open { until, why } } else { State::HalfOpen }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    /// Tries by a letter each, oldest first, a minute apart from minute 1 on: Gain, None, Harm, Unknown.
    fn tries(letters: &str) -> Vec<Try> {
        let mut all: Vec<Try> = letters
            .chars()
            .zip(1..)
            .map(|(letter, n)| Try {
                begun_at: n * MINUTE,
                ended_at: Some(n * MINUTE),
                state: "done".into(),
                verdict: Some(match letter {
                    'G' | 'H' => "freed".into(),
                    'N' => "no_gain".into(),
                    _ => "unknown".to_owned(),
                }),
                freed_bytes: 0,
                harm: (letter == 'H').then(|| "it stalled".into()),
            })
            .collect();
        all.reverse();
        all
    }

    fn after(letters: &str, minutes: i64) -> &'static str {
        let now = (i64::try_from(letters.len()).unwrap() + minutes) * MINUTE;
        state(&tries(letters), now, &Options::default()).as_str()
    }

    #[test]
    fn it_opens_after_three_tries_without_a_gain_or_one_that_did_harm() {
        for (letters, is) in [
            ("", "closed"),
            ("NN", "closed"),
            ("NNG", "closed"),
            ("NGNN", "closed"),
            ("NNN", "open"),
            ("GGNNN", "open"),
            ("H", "open"),
            ("GGGH", "open"),
            ("HG", "closed"),
            ("UUU", "closed"),
            ("NUNUN", "open"),
            ("NUN", "closed"),
            ("HNN", "open"),
        ] {
            assert_eq!(after(letters, 1), is, "{letters}");
        }
    }

    #[test]
    fn after_the_pause_one_try_decides() {
        assert_eq!((after("NNN", 59), after("NNN", 60)), ("open", "half_open"));
        assert_eq!((after("NNNN", 1), after("NNNG", 1)), ("open", "closed"));
        assert_eq!((after("H", 60), after("HN", 1)), ("half_open", "closed"));
    }

    #[test]
    fn it_says_until_when_and_why() {
        let State::Open { until, why } = state(&tries("NNN"), 4 * MINUTE, &Options::default()) else {
            panic!()
        };
        assert_eq!((until, why.as_str()), (63 * MINUTE, "the last 3 tries gained nothing here"));
        let State::Open { why, .. } = state(&tries("H"), 2 * MINUTE, &Options::default()) else { panic!() };
        assert_eq!(why, "it did harm here (it stalled)");
    }

    #[test]
    fn a_clock_set_back_and_a_breaker_without_tries_hold_nobody_up() {
        let never = Options { tries: 0, ..Options::default() };
        assert_eq!(state(&tries("HNNN"), 0, &never), State::Closed);
        let far = vec![Try { begun_at: 900 * MINUTE, ended_at: None, ..tries("H").remove(0) }];
        assert_eq!(state(&far, MINUTE, &Options::default()), State::HalfOpen);
    }
}
