//! What a climb measures: a median before, and the best median while a gain may still show.

use super::{Climb, Rung};
use crate::host::HostError;
use crate::optimize::executor::Shared;
use crate::optimize::observe::{Member, Observation};
use crate::optimize::verify::{Effect, Verdict};
use std::time::{Duration, Instant};

/// Readings of which the median counts.
const READINGS: usize = 3;
/// Time between two readings before an action.
const READING_EVERY: Duration = Duration::from_millis(30);
/// Time between two readings while an action's gain may still show.
const SETTLE_EVERY: Duration = Duration::from_millis(150);

impl Climb {
    /// The target's processes, and the median of a few readings of it and the machine.
    pub(super) fn look(&self, shared: &Shared) -> Result<(Vec<Member>, Observation), HostError> {
        let observer = &self.settings.observer;
        if let Some(alarm) = &self.alarm {
            return alarm.look(observer, &self.target, shared);
        }
        let members = observer.members(&self.target)?;
        let mut readings = Vec::with_capacity(READINGS);
        for n in 0..READINGS {
            if n > 0 {
                std::thread::sleep(READING_EVERY);
            }
            readings.push(observer.observe(&self.target, &members, (shared.clock)())?);
        }
        Ok((members, median(readings)))
    }

    /// All processes that an action on the target can touch.
    pub(super) fn touched(&self, members: &[Member]) -> Result<Vec<Member>, HostError> {
        let observer = &self.settings.observer;
        match &self.alarm {
            Some(alarm) => alarm.touched(observer, &self.target, members),
            None => observer.touched(&self.target, members),
        }
    }

    /// Reads until the gain shows, or the time for it is over. Each three readings in a row give a median; the one that
    /// shows most counts, because others soon take what has become available.
    pub(super) fn settle(&self, shared: &Shared, rung: &Rung<'_>) -> Result<Observation, HostError> {
        let deadline = Instant::now() + self.settings.options.settle;
        let judge = |seen: &Observation| rung.action.verify(rung.before, seen, 0);
        let gain = |seen: &Observation| judge(seen).bytes();
        let effect = rung.action.effect();
        if effect == Effect::HandsOver {
            return self.settings.observer.observe(&self.target, rung.members, (shared.clock)());
        }
        let mut readings: Vec<Observation> = Vec::new();
        let mut best: Option<Observation> = None;
        loop {
            // Where processes end, others may have taken their place.
            let successors = match effect {
                Effect::Ends => Some(self.settings.observer.members(&self.target)?),
                _ => None,
            };
            let members = successors.as_deref().unwrap_or(rung.members);
            readings.push(self.settings.observer.observe(&self.target, members, (shared.clock)())?);
            let last = readings.split_off(readings.len().saturating_sub(READINGS));
            readings = last;
            let seen = median(readings.clone());
            if let unknown @ Verdict::Unknown { .. } = judge(&seen) {
                // The target has gone: what its end gave back is not the action's doing.
                tracing::debug!(run = self.run.id, ?unknown, "nothing left to measure");
                return Ok(seen);
            }
            if readings.len() == READINGS && best.as_ref().is_none_or(|b| gain(&seen) >= gain(b)) {
                best = Some(seen);
            }
            let enough = best.as_ref().is_some_and(|b| gain(b) >= rung.want_bytes);
            if enough || Instant::now() >= deadline {
                return Ok(best.unwrap_or_else(|| median(readings)));
            }
            let pause = if readings.len() < READINGS { READING_EVERY } else { SETTLE_EVERY };
            std::thread::sleep(pause);
        }
    }
}

/// The reading whose reachable memory is the median.
fn median(mut readings: Vec<Observation>) -> Observation {
    readings.sort_by_key(|o| o.machine.reachable_bytes());
    let middle = readings.len() / 2;
    readings.into_iter().nth(middle).unwrap_or_default()
}
