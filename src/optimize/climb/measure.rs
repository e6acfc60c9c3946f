//! What a climb measures: a median before, and the best median while a gain may still show.

use super::tally::Tally;
use super::{Climb, Rung};
use crate::host::HostError;
use crate::optimize::action::{self, Action, Watch};
use crate::optimize::executor::Shared;
use crate::optimize::observe::{Member, Observation, busy_ratio};
use crate::optimize::policy::{self, Condition};
use crate::optimize::verify::{Effect, Verdict};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Readings of which the median counts.
const READINGS: usize = 3;
/// Time between two readings before an action. The median is there against what comes and goes: another program's start, a
/// buffer that is taken and given back. It leaves out one reading of three, whatever lies between them, and what lasts longer
/// than all of them is the state before the action. Longer pauses would leave out longer blips, and each action would wait for
/// them. What the kernel counts late it counts late by up to a second (its processors' own lists, which are therefore read
/// besides, `Machine::reachable_bytes`), so no pause that an action could wait for would help there. And a blip in the machine's
/// figure alone makes no gain: of its rise and the target's own fall the smaller one counts (`verify`), and each figure after an
/// action is one of many (`gain`).
const READING_EVERY: Duration = Duration::from_millis(10);
/// Time between the first readings after an action.
const FIRST_EVERY: Duration = Duration::from_millis(30);
/// Time between two readings while an action's gain may still show.
const SETTLE_EVERY: Duration = Duration::from_millis(150);
/// Over which time the processors' busy share is measured.
const CPU_SPAN: Duration = Duration::from_secs(1);
/// Below this part of all memory there is no time for a long look,
const SCARCE_PART: u64 = 33;
/// and growth shows well enough in this one.
const SPAN_SCARCE: Duration = Duration::from_millis(200);

impl Climb {
    /// The target's processes, and the median of a few readings of it and the machine.
    pub(super) fn look(&self, shared: &Shared) -> Result<(Vec<Member>, Observation), HostError> {
        let observer = &self.settings.observer;
        if let Some(alarm) = &self.alarm {
            return alarm.look(observer, &self.target, shared);
        }
        let members = observer.members(&self.target)?;
        let mut readings = Vec::with_capacity(READINGS);
        let mut sums = None;
        for n in 0..READINGS {
            if n > 0 {
                std::thread::sleep(READING_EVERY);
            }
            let now = (shared.clock)();
            // To sum up mappings takes long where there are many, and no verdict is about them: once is enough.
            let reading = if n == 1 {
                let whole = observer.observe(&self.target, &members, now)?;
                sums = whole.target.as_ref().map(|t| (t.pss_bytes, t.swap_bytes));
                whole
            } else {
                observer.lean(&self.target, &members, now)?
            };
            readings.push(reading);
        }
        let mut seen = median(readings);
        if let (Some(target), Some(sums)) = (&mut seen.target, sums) {
            (target.pss_bytes, target.swap_bytes) = sums;
        }
        if matches!(self.condition, Condition::CpuBusyAbove(_)) {
            let then = observer.cpu_ticks()?;
            std::thread::sleep(CPU_SPAN);
            seen.machine.cpu_busy_ratio = busy_ratio(then, observer.cpu_ticks()?);
        }
        Ok((members, seen))
    }

    /// The same, with what an action wants to know besides. Where one of the ladder is about growth, each look is noted, so
    /// that it need not be waited for when its turn comes.
    pub(super) fn look_for(
        &self,
        shared: &Shared,
        action: &dyn Action,
        with: &Value,
        tally: &mut Tally,
    ) -> Result<(Vec<Member>, Observation), HostError> {
        let observer = &self.settings.observer;
        let (members, mut seen) = self.look(shared)?;
        let wants = action.wants(with);
        let of = |rung: &policy::Rung| action::find(&rung.action).and_then(|a| a.wants(&rung.with).growth);
        let noted = self.policy.ladder.iter().any(|rung| of(rung).is_some());
        if !wants.facts && !noted {
            return Ok((members, seen));
        }
        let (mut members, mut facts) = observer.facts(&self.target)?;
        let mut now = self.begun.elapsed();
        if let Some(span) = wants.growth {
            let scarce = seen.machine.available_bytes < seen.machine.total_bytes / SCARCE_PART;
            let span = if scarce { span.min(SPAN_SCARCE) } else { span };
            let age = tally.trend.age(now);
            if age.is_none_or(|age| age < span) {
                tally.trend.note(now, &facts);
                // Why it was cut short, the intent finds out.
                let rest = span.saturating_sub(age.unwrap_or_default());
                let _cut_short = Watch::new(rest * 2, &|| shared.held()).sleep(rest);
                (_, seen) = self.look(shared)?;
                (members, facts) = observer.facts(&self.target)?;
                now = self.begun.elapsed();
            }
            tally.trend.grow(now, span, &mut facts);
        }
        tally.trend.note(now, &facts);
        if let Some(target) = &mut seen.target {
            target.facts = facts;
        }
        Ok((members, seen))
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
        if rung.action.effect() == Effect::HandsOver {
            return self.settings.observer.observe(&self.target, rung.members, (shared.clock)());
        }
        let (mut seen, successors) = self.gain(shared, rung)?;
        let members = successors.as_deref().unwrap_or(rung.members);
        // Mappings are summed up once at the end: that takes long, and a lock of the target's.
        if let Some(target) = &mut seen.target
            && let Ok(last) = self.settings.observer.observe(&self.target, members, (shared.clock)())
            && let Some(last) = last.target
        {
            (target.pss_bytes, target.swap_bytes) = (last.pss_bytes, last.swap_bytes);
        }
        Ok(seen)
    }

    /// What was seen, and who is in the target's place where its processes end.
    fn gain(
        &self,
        shared: &Shared,
        rung: &Rung<'_>,
    ) -> Result<(Observation, Option<Vec<Member>>), HostError> {
        let deadline = Instant::now() + self.settings.options.settle;
        let judge = |seen: &Observation| rung.action.verify(rung.before, seen, 0);
        let gain = |seen: &Observation| judge(seen).bytes();
        let effect = rung.action.effect();
        let observer = &self.settings.observer;
        let mut readings: Vec<Observation> = Vec::new();
        let mut best: Option<Observation> = None;
        loop {
            // Where processes end, others may have taken their place.
            let successors = match effect {
                Effect::Ends => Some(self.settings.observer.members(&self.target)?),
                _ => None,
            };
            let members = successors.as_deref().unwrap_or(rung.members);
            let now = (shared.clock)();
            readings.push(observer.lean(&self.target, members, now)?);
            let last = readings.split_off(readings.len().saturating_sub(READINGS));
            readings = last;
            let seen = median(readings.clone());
            if let unknown @ Verdict::Unknown { .. } = judge(&seen) {
                // The target has gone: what its end gave back is not the action's doing.
                tracing::debug!(run = self.run.id, ?unknown, "nothing left to measure");
                return Ok((seen, successors));
            }
            if readings.len() == READINGS && best.as_ref().is_none_or(|b| gain(&seen) >= gain(b)) {
                best = Some(seen);
            }
            let enough = best.as_ref().is_some_and(|b| gain(b) >= rung.want_bytes);
            // Whoever ends the process waits for the outcome, and then undoes what stands.
            if enough || Instant::now() >= deadline || shared.stopping() {
                return Ok((best.unwrap_or_else(|| median(readings)), successors));
            }
            let pause = if readings.len() < READINGS { FIRST_EVERY } else { SETTLE_EVERY };
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
