//! One run on its ladder: observe, plan, write the intent, act, observe again, verify, write the outcome.

mod deed;
mod gate;
mod intent;
mod measure;
mod rehearse;
mod tally;

use super::action::{Action, Plan, Scene, Watch};
use super::executor::{Settings, Shared, end, wait};
use super::grafana::Annotation;
use super::guard::{self, Guard, millis};
use super::journal::{NewStep, OpenRun, Outcome, Waiting};
use super::observe::{Member, Observation};
use super::policy::{self, Condition, Policy, Target};
use super::pressure::Alarm;
use super::pressure::phases::Phase;
use super::record::StepState;
use super::store::StoreError;
use super::verify::{Effect, Verdict};
use crate::host::HostError;
use intent::{Asked, No, intend};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally::Tally;

/// A wait between two rungs that is longer is spent in the queue, so that other runs can act meanwhile.
const WAIT_HERE_MAX: Duration = Duration::from_secs(1);

/// A run in a worker's hands.
pub struct Climb {
    /// The run.
    pub run: OpenRun,
    /// Its policy.
    pub policy: Policy,
    /// Its target.
    pub target: Target,
    /// What must be so before each rung.
    pub condition: Condition,
    /// Decide and record, but do nothing.
    pub dry_run: bool,
    /// What the rule saw that asked for the run, if pressure did.
    pub alarm: Option<Alarm>,
    /// The settings with which it began.
    pub settings: Arc<Settings>,
    /// When it began.
    pub begun: Instant,
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
    /// The next rung has its time, in milliseconds since the epoch.
    Later(i64),
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

/// A rung that may be begun: everything but the intent.
struct Rung<'a> {
    /// Its place in the ladder, from 0.
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
        let _run = shared.traces.resume(self.run.id);
        shared.traces.fact(self.run.id, "headroom.policy", self.policy.name.clone());
        shared.traces.fact(self.run.id, "headroom.target", self.target.name.clone());
        let stop = self.climb(shared);
        let names = (self.policy.name.as_str(), self.target.name.as_str());
        let mut write = || match &stop {
            Stop::Ended(ending) => end(shared, self.run.id, ending),
            Stop::Deferred(guard, until) => {
                let waiting = wait(shared, &self.run, *guard, *until, names);
                shared.store.with(|j| j.defer(&[waiting]))
            }
            Stop::Later(until) => {
                shared.traces.waits(self.run.id, "the next rung's time");
                shared.store.with(|j| j.defer(&[self.waiting(*until, "the next rung's time")]))
            }
            // Back in the queue as it is: what was begun stays begun.
            Stop::Journal => {
                shared.store.with(|j| j.defer(&[self.waiting(0, "the journal could not be written")]))
            }
        };
        insist(shared, &mut write);
        if let (Stop::Ended(Ending { result: "stale", .. }), Some(alarm)) = (&stop, &self.alarm) {
            alarm.found_nothing();
        }
    }

    fn waiting(&self, not_before: i64, reason: &str) -> Waiting {
        let (policy, target) = (self.policy.name.clone(), self.target.name.clone());
        Waiting { run: self.run.id, not_before, reason: reason.to_owned(), policy, target }
    }

    fn climb(&self, shared: &Shared) -> Stop {
        // What was freed before an interruption stays freed.
        let mut tally = Tally { freed_bytes: self.run.freed_bytes, ..Tally::default() };
        let stop = self.ladder(shared, &mut tally);
        shared.traces.fact(self.run.id, "headroom.freed_bytes", signed(tally.freed_bytes));
        match stop {
            Stop::Ended(ending) => Stop::Ended(tally.closing(ending)),
            other => other,
        }
    }

    fn ladder(&self, shared: &Shared, tally: &mut Tally) -> Stop {
        for (number, rung) in self.policy.ladder.iter().enumerate() {
            if self.run.rungs_begun.contains(&number) {
                let why = if self.run.interrupted { "an interruption, not repeated" } else { "the wait" };
                tally.notes.push(format!("{}: begun before {why}", rung.action));
                continue;
            }
            let steps = tally.steps;
            if let Err(stop) = self.rung(shared, number, rung, tally) {
                return stop;
            }
            let more = number + 1 < self.policy.ladder.len();
            if tally.steps > steps
                && more
                && let Err(stop) = self.pause(shared, rung)
            {
                return stop;
            }
        }
        // The last rung's effect is judged like any other's: by what is there now.
        match self.look(shared) {
            Ok((_, before)) => Stop::Ended(tally.ending(self, self.need(&before, tally).is_none())),
            Err(e) => e.into(),
        }
    }

    /// The time between a rung and the next.
    fn pause(&self, shared: &Shared, rung: &policy::Rung) -> Result<(), Stop> {
        let wait = rung.wait.unwrap_or(self.policy.wait);
        if wait > WAIT_HERE_MAX {
            return Err(Stop::Later((shared.clock)().saturating_add(millis(wait))));
        }
        // Why it was cut short, the next rung finds out.
        let _cut_short = Watch::new(WAIT_HERE_MAX * 2, &|| shared.held()).sleep(wait);
        Ok(())
    }

    /// One rung. `Ok` means that the next one follows.
    fn rung(
        &self,
        shared: &Shared,
        number: usize,
        rung: &policy::Rung,
        tally: &mut Tally,
    ) -> Result<(), Stop> {
        let name = rung.action.as_str();
        let span = shared.traces.span("rung");
        span.fact("headroom.action", name.to_owned());
        Self::not_held(shared)?;
        if shared.store.with(|j| j.is_resolved(self.run.id))? {
            return Err(Stop::Ended(tally.resolved()));
        }
        self.not_silenced(shared, tally)?;
        let Some(action) = self.admitted(shared, rung, tally)? else { return Ok(()) };
        let options = &self.settings.options;
        let observe = shared.traces.span("observe");
        let (members, mut before) = self.look_for(shared, action, &rung.with, tally)?;
        if let Some(target) = &mut before.target {
            target.facts.audience = shared.audience.counts();
        }
        drop(observe);
        // Cut short, the look may have shown too little.
        Self::not_held(shared)?;
        self.touchable(shared, &members)?;
        let Some(want_bytes) = self.need(&before, tally) else {
            return Err(Stop::Ended(tally.ending(self, true)));
        };
        let want_bytes = want_bytes.max(options.guards.min_gain.as_u64());
        span.fact("headroom.want_bytes", signed(want_bytes));
        self.ends(Phase::Look);
        let look = shared.traces.span("plan");
        let mut history = shared.store.with(|j| j.history(name, &self.target.name))?;
        history.standing = shared.standing.plans(name);
        let scene = Scene {
            target: &self.target,
            members: &members,
            before: &before,
            want_bytes,
            with: &rung.with,
            labels: if self.run.request.is_none() { &self.run.labels } else { const { &BTreeMap::new() } },
            history: &history,
        };
        let planned = action.plan(&scene);
        let plan = match planned.and_then(|p| action.permit(&p.intent, &self.settings.host).map(|()| p)) {
            Ok(plan) => plan,
            Err(refusal) => {
                shared.metrics.actions.with_label_values(&[name, "refused"]).inc();
                look.fact("headroom.refusal", refusal.to_string());
                tally.notes.push(format!("{name}: {refusal}"));
                return Ok(());
            }
        };
        drop(look);
        self.ends(Phase::Plan);
        if plan.expected_bytes.is_some_and(|b| b < options.guards.min_gain.as_u64()) {
            self.refuse(shared, Guard::MinGain);
            tally.notes.push(format!("{name}: less to gain than {}", options.guards.min_gain));
            return Ok(());
        }
        if self.dry_run {
            self.refuse(shared, Guard::DryRun);
            shared.metrics.actions.with_label_values(&[name, "dry_run"]).inc();
            let want = bytesize::ByteSize::b(want_bytes).display().iec();
            let reason = format!("dry run: {name} would have been asked for {want}: {}", plan.intent);
            return Err(Stop::Ended(Ending::new("dry_run", reason)));
        }
        let rung = Rung { number, action, plan: &plan, before: &before, members: &members, want_bytes };
        if let Some(step) = self.begin(shared, &rung, tally)? {
            self.act(shared, step, &rung, tally);
        }
        Ok(())
    }

    /// Whether no silence is set for the run's alert.
    fn not_silenced(&self, shared: &Shared, tally: &Tally) -> Result<(), Stop> {
        let alertmanager = self.settings.options.alertmanager.as_ref();
        if self.run.request.is_some() {
            return Ok(());
        }
        match shared.silences.of(alertmanager, &self.run.labels) {
            Some(silence) => Err(Stop::Ended(tally.silenced(&silence))),
            None => Ok(()),
        }
    }

    /// Whether nobody holds all actions, and the process is not about to end.
    fn not_held(shared: &Shared) -> Result<(), Stop> {
        if shared.stopping() {
            return Err(Stop::Deferred(Guard::Concurrency, 0));
        }
        match shared.held() {
            Some(_) => {
                let until = (shared.clock)().saturating_add(millis(guard::ASK_AGAIN));
                Err(Stop::Deferred(Guard::Paused, until))
            }
            None => Ok(()),
        }
    }

    /// The number of the step, once its intent is written; `None` if the next rung is to follow.
    fn begin(&self, shared: &Shared, rung: &Rung<'_>, tally: &mut Tally) -> Result<Option<i64>, Stop> {
        let intent = shared.traces.span("intent");
        let intended = self.intend(shared, rung, tally.steps > 0)?;
        drop(intent);
        match intended {
            Ok(step) => {
                self.ends(Phase::Intend);
                Ok(Some(step))
            }
            // Held by a person: it goes on from here when that ends.
            Err(No::Guard(guard @ Guard::Paused, until)) => Err(Stop::Deferred(guard, until)),
            Err(No::Resolved) => Err(Stop::Ended(tally.resolved())),
            Err(No::Limit(why)) => {
                self.refuse(shared, Guard::ActionLimit);
                tally.notes.push(why);
                Ok(None)
            }
            Err(No::Guard(guard, _)) if tally.steps > 0 => {
                self.refuse(shared, guard);
                let reason = format!("{}: the ladder ends here", guard.as_str());
                Err(Stop::Ended(Ending::new("refused", reason)))
            }
            Err(No::Guard(guard, until)) => Err(Stop::Deferred(guard, until)),
        }
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
        let asked = Asked {
            run: self.run.id,
            step,
            limit: rung.action.limit(),
            goes_on: acted || !self.run.rungs_begun.is_empty(),
            guards: &self.settings.options.guards,
            pause: &shared.pause,
        };
        Ok(shared.store.with(|j| intend(j, &asked, now))?)
    }

    /// Carries out what was intended, measures, and writes the outcome.
    fn act(&self, shared: &Shared, step: i64, rung: &Rung<'_>, tally: &mut Tally) {
        let name = rung.action.name();
        // Whoever takes the words may stall, too: where that is what it is about, they come after the deed.
        let say = || {
            tracing::info!(
                run = self.run.id, step, action = name, target = self.target.name, want_bytes = rung.want_bytes,
                plan = %rung.plan.intent, "action begins"
            );
        };
        if self.alarm.is_none() {
            say();
        }
        let (begun, begun_at) = (Instant::now(), (shared.clock)());
        let act = shared.traces.span("act");
        let done = self.carry_out(shared, step, rung);
        drop(act);
        if self.alarm.is_some() {
            say();
        }
        let acted_at = (shared.clock)();
        shared.pressure.acted_on(&self.target.name);
        if let Some(alarm) = &self.alarm {
            alarm.acted();
            alarm.has_acted(tally.steps == 0, self.run.id, shared);
        }
        let settle = shared.traces.span("settle");
        let after = self.settle(shared, rung);
        drop(settle);
        let verify = shared.traces.span("verify");
        let min_gain = self.settings.options.guards.min_gain.as_u64();
        let verdict = match &after {
            Ok(after) => rung.action.verify(rung.before, after, min_gain),
            Err(e) => Verdict::Unknown { why: e.to_string() },
        };
        let verdict = if done.is_err() { verdict.of_failed(rung.action.effect()) } else { verdict };
        let (state, detail) = match &done {
            Ok(note) => (StepState::Done, note.clone()),
            Err(e) => (StepState::Failed, e.to_string()),
        };
        let detail = match &verdict {
            Verdict::Freed { .. } | Verdict::Applied => detail,
            Verdict::NoGain { why } | Verdict::Unknown { why } => format!("{detail}; {why}"),
        };
        // An action that failed may have gained all the same, and then it counts as what it gained.
        let result = if done.is_err() && verdict.bytes() == 0 { "failed" } else { verdict.as_str() };
        let freed_bytes = verdict.bytes();
        verify.fact("headroom.action", name);
        verify.fact("headroom.result", result);
        verify.fact("headroom.freed_bytes", signed(freed_bytes));
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
        tally.braked |= verdict == Verdict::Applied && rung.action.effect() == Effect::Brakes;
        tally.notes.push(format!("{name}: {result}"));
        let now = (shared.clock)();
        shared.annotations.add(|| self.annotation((begun_at, now), (name, result, freed_bytes)));
        let outcome = Outcome {
            state,
            verdict: verdict.as_str(),
            freed_bytes,
            detail: Some(detail),
            after: after.ok().as_ref().and_then(json),
            aftermath_due: Some(now.saturating_add(millis(self.settings.options.aftermath))),
            // What failed half way may stand as well; to undo what is not there does no harm.
            lease_until: rung.plan.lease.map(|l| acted_at.saturating_add(millis(l))),
        };
        if insist(shared, &mut || shared.store.with(|j| j.end_step(step, &outcome, now))) {
            shared.standing.written(step);
        }
    }

    /// What Grafana shows of an action.
    fn annotation(
        &self,
        (time, time_end): (i64, i64),
        (action, result, freed): (&str, &str, u64),
    ) -> Annotation {
        let (run, target) = (self.run.id, &self.target.name);
        let freed = bytesize::ByteSize::b(freed).display().iec();
        let text =
            format!("{action} on {target}: {result}, {freed} freed (run {run}, policy {})", self.policy.name);
        let tags = ["headroom", action, target, result].map(str::to_owned).to_vec();
        Annotation { time, time_end, tags, text }
    }

    /// A phase of the reaction to a stall has ended.
    fn ends(&self, phase: Phase) {
        if let Some(alarm) = &self.alarm {
            alarm.ends(phase);
        }
    }

    /// The bytes that would end the trouble, as measured; `None` if there is none.
    fn need(&self, seen: &Observation, tally: &Tally) -> Option<u64> {
        self.condition.need(seen, &self.target, tally.freed_bytes)
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

/// Writes until it is written or the process ends: an outcome must not be lost because the disk was full for a while.
/// True once it is.
fn insist(shared: &Shared, write: &mut dyn FnMut() -> Result<(), StoreError>) -> bool {
    while write().is_err() {
        if shared.stopping() {
            return false;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    true
}

/// A number of bytes as OpenTelemetry takes it.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn json(observation: &Observation) -> Option<String> {
    serde_json::to_string(observation).ok()
}

#[cfg(test)]
mod tests;
