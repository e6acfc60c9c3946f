//! The judge of a component: what a row of outcomes means. Pure: outcomes and times in, a state out.

use super::Probe;
use std::time::{Duration, Instant};

/// How a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It answers as it should, in time.
    Healthy,
    /// It answers as it should, slowly.
    Degraded,
    /// It does not answer as it should.
    Unhealthy,
    /// Not enough was found out yet, or too long ago.
    Unknown,
}

impl State {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Healthy, Self::Degraded, Self::Unhealthy, Self::Unknown];

    /// The value of the label `state`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it serves, be it slowly.
    pub fn serves(self) -> bool {
        matches!(self, Self::Healthy | Self::Degraded)
    }
}

/// What one try showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Fast,
    Slow,
    Failed,
}

/// Rows of outcomes, and the state that they made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judge {
    state: State,
    /// How many of the last outcomes in a row were failures; were slow or failures; were no failures; were fast.
    failed: u32,
    not_fast: u32,
    succeeded: u32,
    fast: u32,
    last: Option<Instant>,
    failures: u32,
    successes: u32,
    /// An outcome that is older says nothing of now.
    age_max: Duration,
}

impl Judge {
    /// A judge who knows nothing yet.
    pub(super) fn new(probe: &Probe) -> Self {
        Self {
            state: State::Unknown,
            failed: 0,
            not_fast: 0,
            succeeded: 0,
            fast: 0,
            last: None,
            failures: probe.failures,
            successes: probe.successes,
            age_max: (probe.interval * 2 + probe.timeout).max(Duration::from_secs(2)),
        }
    }

    /// Takes an outcome.
    pub(super) fn take(&mut self, outcome: Outcome, now: Instant) {
        if self.is_stale(now) {
            // What was before the gap does not belong to the row.
            (self.failed, self.not_fast, self.succeeded, self.fast) = (0, 0, 0, 0);
            self.state = State::Unknown;
        }
        let count = |row: &mut u32, goes_on: bool| *row = if goes_on { row.saturating_add(1) } else { 0 };
        count(&mut self.failed, outcome == Outcome::Failed);
        count(&mut self.not_fast, outcome != Outcome::Fast);
        count(&mut self.succeeded, outcome != Outcome::Failed);
        count(&mut self.fast, outcome == Outcome::Fast);
        self.last = Some(now);
        let up = !self.state.serves() && self.succeeded >= self.successes;
        self.state = if self.failed >= self.failures {
            State::Unhealthy
        } else if self.fast >= self.successes {
            State::Healthy
        } else if up || (self.state == State::Healthy && self.not_fast >= self.failures && self.succeeded > 0)
        {
            State::Degraded
        } else {
            self.state
        };
    }

    /// The state now.
    pub(super) fn state(&self, now: Instant) -> State {
        if self.is_stale(now) { State::Unknown } else { self.state }
    }

    fn is_stale(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| now.saturating_duration_since(last) > self.age_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The states after each of the outcomes: `f` fast, `s` slow, `x` failed, a second apart; `_` is a gap of a minute.
    fn states(outcomes: &str, failures: u32, successes: u32) -> String {
        let second = Duration::from_secs(1);
        let probe = Probe { failures, successes, interval: second, timeout: second, ..Probe::default() };
        let (mut judge, mut now) = (Judge::new(&probe), Instant::now());
        assert_eq!(judge.state(now), State::Unknown);
        let mut out = String::new();
        for outcome in outcomes.chars() {
            now += second;
            match outcome {
                'f' => judge.take(Outcome::Fast, now),
                's' => judge.take(Outcome::Slow, now),
                'x' => judge.take(Outcome::Failed, now),
                _ => now += second * 60,
            }
            out.push(match judge.state(now) {
                State::Healthy => 'H',
                State::Degraded => 'D',
                State::Unhealthy => 'U',
                State::Unknown => '?',
            });
        }
        out
    }

    #[test]
    fn a_state_is_left_for_a_worse_one_after_a_row_of_failures() {
        assert_eq!(states("fxxfxxxx", 3, 1), "HHHHHHUU");
        assert_eq!(states("xxx", 3, 1), "??U", "before a row is full, nothing is known");
        assert_eq!(states("xf", 1, 1), "UH");
    }

    #[test]
    fn it_is_left_for_a_better_one_after_a_row_of_successes() {
        assert_eq!(states("xffxff", 1, 2), "UUHUUH");
        assert_eq!(states("ff", 3, 2), "?H");
    }

    #[test]
    fn a_row_of_slow_successes_is_degraded() {
        assert_eq!(states("fsssf", 3, 1), "HHHDH");
        assert_eq!(states("s", 3, 1), "D", "it serves, slowly");
        assert_eq!(states("fssxxx", 3, 1), "HHHHHU", "a failure alone degrades nothing");
        assert_eq!(states("fxxs", 3, 1), "HHHD");
        assert_eq!(states("xxxsf", 3, 1), "??UDH");
        assert_eq!(states("fsssff", 3, 2), "?DDDDH");
    }

    #[test]
    fn what_is_too_old_is_unknown_and_ends_the_row() {
        assert_eq!(states("f_", 3, 1), "H?");
        assert_eq!(states("xx_xf", 3, 1), "????H");
    }
}
