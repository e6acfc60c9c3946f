//! One run on its ladder: observe, plan, write the intent, act, observe again, verify, write the outcome.

use super::action::{self, Action, Plan, Scene};
use super::executor::{Settings, Shared, end, wait};
use super::guard::{self, Admission, Guard, admit, millis};
use super::journal::{NewStep, OpenRun, Outcome, Waiting};
use super::observe::{Member, Observation};
use super::policy::{Policy, Target};
use super::record::StepState;
use super::store::StoreError;
use super::verify::{Verdict, verdict};
use crate::host::HostError;
use crate::host::hand::Hand;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Readings of which the median counts.
const READINGS: usize = 3;
/// Time between two readings before an action.
const READING_EVERY: Duration = Duration::from_millis(30);
/// Time between two readings while an action's gain may still show.
const SETTLE_EVERY: Duration = Duration::from_millis(150);
/// When refaults and pressure are read once more.
const AFTERMATH: Duration = Duration::from_mins(1);

/// A run in a worker's hands.
pub struct Climb {
    /// The run.
    pub run: OpenRun,
    /// Its policy.
    pub policy: Policy,
    /// Its target.
    pub target: Target,
    /// The settings with which it began.
    pub settings: Arc<Settings>,
}

/// How a run ends.
#[derive(Debug)]
pub struct Ending {
    /// One of [`super::metrics::RUN_RESULTS`].
    pub result: &'static str,
    /// Why, in words.
    pub reason: String,
    /// The policy, where it was found only now.
    pub policy: Option<String>,
}

impl Ending {
    /// An ending.
    pub fn new(result: &'static str, reason: impl Into<String>) -> Self {
        Self { result, reason: reason.into(), policy: None }
    }
}

/// Why a climb stops.
enum Stop {
    Ended(Ending),
    /// A guard lets it wait; nothing was done yet.
    Deferred(Guard, i64),
    /// The journal cannot be written: nothing more may be done.
    Journal,
}

impl From<StoreError> for Stop {
    fn from(_: StoreError) -> Self {
        // The store has logged and counted it.
        Self::Journal
    }
}

impl From<HostError> for Stop {
    fn from(e: HostError) -> Self {
        Self::Ended(Ending::new("failed", e.to_string()))
    }
}

/// Why a rung is not begun after all.
enum No {
    Resolved,
    Guard(Guard, i64),
}

/// What the rungs so far came to.
#[derive(Default)]
struct Tally {
    freed_bytes: u64,
    steps: usize,
    notes: Vec<String>,
}

/// A rung that may be begun: everything but the intent.
struct Rung<'a> {
    number: usize,
    action: &'static dyn Action,
    plan: &'a Plan,
    before: &'a Observation,
    members: &'a [Member],
    want_bytes: u64,
}

impl Climb {
    /// Goes up the ladder until the trouble is over, the ladder ends, or somebody says stop.
    pub fn go(&self, shared: &Shared) {
        let stop = self.climb(shared);
        let names = (self.policy.name.as_str(), self.target.name.as_str());
        let mut write = || match &stop {
            Stop::Ended(ending) => end(shared, self.run.id, ending),
            Stop::Deferred(guard, until) => {
                let waiting = wait(shared, &self.run, *guard, *until, names);
                shared.store.with(|j| j.defer(&[waiting]))
            }
            // Back in the queue as it is: what was begun stays begun.
            Stop::Journal => {
                let reason = "the journal could not be written".to_owned();
                let (policy, target) = (names.0.to_owned(), names.1.to_owned());
                let waiting = Waiting { run: self.run.id, not_before: 0, reason, policy, target };
                shared.store.with(|j| j.defer(&[waiting]))
            }
        };
        insist(shared, &mut write);
    }

    fn climb(&self, shared: &Shared) -> Stop {
        // What was freed before an interruption stays freed.
        let mut tally = Tally { freed_bytes: self.run.freed_bytes, ..Tally::default() };
        match self.ladder(shared, &mut tally) {
            Stop::Ended(ending) => Stop::Ended(tally.closing(ending)),
            other => other,
        }
    }

    fn ladder(&self, shared: &Shared, tally: &mut Tally) -> Stop {
        for name in &self.policy.ladder {
            if self.run.rungs_begun.contains(name) {
                tally.notes.push(format!("{name}: begun before an interruption, not repeated"));
                continue;
            }
            match self.rung(shared, name, tally) {
                Ok(()) => {}
                Err(stop) => return stop,
            }
        }
        // The last rung's effect is judged like any other's: by what is there now.
        match self.look(shared) {
            Ok((_, before)) => Stop::Ended(tally.ending(self, self.need(&before).is_none())),
            Err(e) => e.into(),
        }
    }

    /// One rung. `Ok` means that the next one follows.
    fn rung(&self, shared: &Shared, name: &str, tally: &mut Tally) -> Result<(), Stop> {
        let number = self.run.rungs_begun.len() + tally.steps;
        if shared.stopping() {
            return Err(Stop::Deferred(Guard::Concurrency, 0));
        }
        if shared.store.with(|j| j.is_resolved(self.run.id))? {
            return Err(Stop::Ended(tally.resolved()));
        }
        let Some(action) = action::find(name) else {
            tally.notes.push(format!("{name}: no such action"));
            return Ok(());
        };
        let (members, before) = self.look(shared)?;
        let options = &self.settings.options;
        let touched = self.settings.observer.touched(&self.target, &members)?;
        let who = touched.iter().map(|m| (m.pid, m.comm.as_str(), m.kernel_thread));
        if let Some(why) = guard::protected(who, &self.settings.own_pids, &options.guards) {
            self.refuse(shared, Guard::Protected);
            return Err(Stop::Ended(Ending::new("refused", format!("protected: {why}"))));
        }
        let Some(want_bytes) = self.need(&before) else {
            return Err(Stop::Ended(tally.ending(self, true)));
        };
        let want_bytes = want_bytes.max(options.guards.min_gain.as_u64());
        let scene = Scene { target: &self.target, members: &members, before: &before, want_bytes };
        let plan = match action.plan(&scene) {
            Ok(plan) => plan,
            Err(refusal) => {
                shared.metrics.actions.with_label_values(&[name, "refused"]).inc();
                tally.notes.push(format!("{name}: {refusal}"));
                return Ok(());
            }
        };
        if plan.expected_bytes.is_some_and(|b| b < options.guards.min_gain.as_u64()) {
            self.refuse(shared, Guard::MinGain);
            tally.notes.push(format!("{name}: less to gain than {}", options.guards.min_gain));
            return Ok(());
        }
        if options.dry_run {
            self.refuse(shared, Guard::DryRun);
            shared.metrics.actions.with_label_values(&[name, "dry_run"]).inc();
            let want = bytesize::ByteSize::b(want_bytes).display().iec();
            let reason = format!("dry run: {name} would have been asked for {want}: {}", plan.intent);
            return Err(Stop::Ended(Ending::new("dry_run", reason)));
        }
        let rung = Rung { number, action, plan: &plan, before: &before, members: &members, want_bytes };
        let step = match self.intend(shared, &rung, tally.steps > 0)? {
            Ok(step) => step,
            Err(No::Resolved) => return Err(Stop::Ended(tally.resolved())),
            Err(No::Guard(guard, _)) if tally.steps > 0 => {
                self.refuse(shared, guard);
                let reason = format!("{}: the ladder ends here", guard.as_str());
                return Err(Stop::Ended(Ending::new("refused", reason)));
            }
            Err(No::Guard(guard, until)) => return Err(Stop::Deferred(guard, until)),
        };
        self.act(shared, step, &rung, tally);
        Ok(())
    }

    /// Writes the intent, under one lock with the last look at the alert and the guards: what is resolved before this
    /// leads to no action.
    fn intend(&self, shared: &Shared, rung: &Rung<'_>, acted: bool) -> Result<Result<i64, No>, Stop> {
        let now = (shared.clock)();
        let (plan, before) = (rung.plan.intent.to_string(), json(rung.before));
        let step = NewStep {
            rung: rung.number,
            action: rung.action.name(),
            target: &self.target.name,
            plan: &plan,
            before: before.as_deref().unwrap_or("{}"),
        };
        Ok(shared.store.with(|j| {
            if j.is_resolved(self.run.id)? {
                return Ok(Err(No::Resolved));
            }
            let mut past = j.past(self.run.id, &self.target.name, guard::window(now))?;
            if acted || !self.run.rungs_begun.is_empty() {
                // Cool-downs lie between runs, not between the rungs of one; the rate limit counts all.
                (past.last_step_at, past.last_step_on_target_at) = (None, None);
            }
            match admit(now, &past, 0, false, &self.settings.options.guards) {
                Admission::Admit => Ok(Ok(j.begin_step(self.run.id, &step, now)?)),
                Admission::Defer { guard, until } => Ok(Err(No::Guard(guard, until))),
            }
        })?)
    }

    /// Carries out what was intended, measures, and writes the outcome.
    fn act(&self, shared: &Shared, step: i64, rung: &Rung<'_>, tally: &mut Tally) {
        let name = rung.action.name();
        tracing::info!(
            run = self.run.id, step, action = name, target = self.target.name, want_bytes = rung.want_bytes,
            plan = %rung.plan.intent, "action begins"
        );
        let begun = Instant::now();
        let mut hand = Hand::new(self.settings.host.clone());
        let done = rung.action.execute(&rung.plan.intent, &mut hand);
        let after = self.settle(shared, rung);
        let min_gain = self.settings.options.guards.min_gain.as_u64();
        let verdict = match &after {
            Ok(after) => verdict(rung.before, after, min_gain),
            Err(e) => Verdict::Unknown { why: e.to_string() },
        };
        let (state, detail) = match &done {
            Ok(note) => (StepState::Done, note.clone()),
            Err(e) => (StepState::Failed, e.to_string()),
        };
        let detail = match &verdict {
            Verdict::Freed { .. } => detail,
            Verdict::NoGain { why } | Verdict::Unknown { why } => format!("{detail}; {why}"),
        };
        // An action that failed may have gained all the same, and then it counts as what it gained.
        let result = if done.is_err() && verdict.bytes() == 0 { "failed" } else { verdict.as_str() };
        let freed_bytes = verdict.bytes();
        shared.metrics.actions.with_label_values(&[name, result]).inc();
        shared.metrics.action_seconds.with_label_values(&[name]).observe(begun.elapsed().as_secs_f64());
        let freed = shared.metrics.freed_bytes.with_label_values(&[name, &self.target.name]);
        freed.inc_by(freed_bytes);
        tracing::info!(
            run = self.run.id,
            step,
            action = name,
            target = self.target.name,
            result,
            freed_bytes,
            detail,
            seconds = begun.elapsed().as_secs_f64(),
            "action ended"
        );
        tally.steps += 1;
        tally.freed_bytes += freed_bytes;
        tally.notes.push(format!("{name}: {result}"));
        let now = (shared.clock)();
        let outcome = Outcome {
            state,
            verdict: verdict.as_str(),
            freed_bytes,
            detail: Some(detail),
            after: after.ok().as_ref().and_then(json),
            aftermath_due: Some(now.saturating_add(millis(AFTERMATH))),
        };
        insist(shared, &mut || shared.store.with(|j| j.end_step(step, &outcome, now)));
    }

    /// The target's processes, and the median of a few readings of it and the machine.
    fn look(&self, shared: &Shared) -> Result<(Vec<Member>, Observation), HostError> {
        let observer = &self.settings.observer;
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

    /// Reads until the gain shows, or the time for it is over. Each three readings in a row give a median; the one that
    /// shows most counts, because others soon take what has become available.
    fn settle(&self, shared: &Shared, rung: &Rung<'_>) -> Result<Observation, HostError> {
        let deadline = Instant::now() + self.settings.options.settle;
        let gain = |seen: &Observation| verdict(rung.before, seen, 0).bytes();
        let mut readings: Vec<Observation> = Vec::new();
        let mut best: Option<Observation> = None;
        loop {
            readings.push(self.settings.observer.observe(&self.target, rung.members, (shared.clock)())?);
            let last = readings.split_off(readings.len().saturating_sub(READINGS));
            readings = last;
            let seen = median(readings.clone());
            if let unknown @ Verdict::Unknown { .. } = verdict(rung.before, &seen, 0) {
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

    /// The bytes that would end the trouble, as measured; `None` if there is none.
    fn need(&self, seen: &Observation) -> Option<u64> {
        if let Some(ratio) = self.policy.available_below_ratio {
            let total = seen.machine.total_bytes as f64;
            let short = total.mul_add(ratio, -(seen.machine.available_bytes as f64));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "positive, and below the machine's memory"
            )]
            return (short > 0.0).then_some(short as u64);
        }
        let budget = self.target.memory_budget?.as_u64();
        seen.target.as_ref()?.bytes.checked_sub(budget).filter(|&over| over > 0)
    }

    fn refuse(&self, shared: &Shared, guard: Guard) {
        shared.metrics.guard_refusals.with_label_values(&[guard.as_str()]).inc();
        tracing::info!(
            run = self.run.id,
            target = self.target.name,
            guard = guard.as_str(),
            "a guard says no"
        );
    }
}

impl Tally {
    /// A run that freed memory was effective, whatever ended it.
    fn closing(&self, ending: Ending) -> Ending {
        if self.freed_bytes == 0 || ending.result == "effective" {
            return ending;
        }
        let freed = bytesize::ByteSize::b(self.freed_bytes).display().iec();
        Ending::new("effective", self.words(&format!("{freed} freed, then: {}", ending.reason)))
    }

    fn resolved(&self) -> Ending {
        let result = if self.freed_bytes > 0 {
            "effective"
        } else if self.steps > 0 {
            "no_gain"
        } else {
            "resolved"
        };
        Ending::new(result, self.words("the alert is resolved"))
    }

    fn ending(&self, climb: &Climb, over: bool) -> Ending {
        let interrupted = !climb.run.rungs_begun.is_empty();
        let (result, why) = match (self.freed_bytes > 0, self.steps > 0, over) {
            (true, _, true) => ("effective", "the trouble is over"),
            (true, _, false) => ("effective", "the ladder's end; not all that was wanted"),
            (false, true, _) if self.notes.iter().any(|n| n.ends_with(": failed")) => {
                ("failed", "the ladder's end")
            }
            (false, true, _) => ("no_gain", "the ladder's end"),
            (false, false, _) if interrupted => ("interrupted", "nothing more to do"),
            (false, false, true) => ("stale", "the condition is gone, as measured here"),
            (false, false, false) => ("refused", "no action of the ladder can help"),
        };
        Ending::new(result, self.words(why))
    }

    fn words(&self, why: &str) -> String {
        if self.notes.is_empty() { why.to_owned() } else { format!("{why} ({})", self.notes.join("; ")) }
    }
}

/// Writes until it is written or the process ends: an outcome must not be lost because the disk was full for a while.
fn insist(shared: &Shared, write: &mut dyn FnMut() -> Result<(), StoreError>) {
    while write().is_err() && !shared.stopping() {
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// The reading whose reachable memory is the median.
fn median(mut readings: Vec<Observation>) -> Observation {
    readings.sort_by_key(|o| o.machine.reachable_bytes());
    let middle = readings.len() / 2;
    readings.into_iter().nth(middle).unwrap_or_default()
}

fn json(observation: &Observation) -> Option<String> {
    serde_json::to_string(observation).ok()
}
