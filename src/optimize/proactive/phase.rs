//! The record of the proactive mode: one run for a phase of activity, written before its first step.
//!
//! Not one for each step: they are many and small, and each is like the others. The intent says what may be taken at most
//! and down to where; the outcome says what was. Bytes that a group lost in a phase are not counted as freed: over minutes,
//! available memory rises and falls by other programs' doing.

use super::super::climb::Ending;
use super::super::executor::{Shared, end};
use super::super::journal::{NewStep, Outcome};
use super::super::policy::Target;
use super::super::record::StepState;
use super::super::request::{Origin, Request};
use super::super::store::StoreError;
use super::Options;
use bytesize::ByteSize;
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};

/// The action's name in the record. It is none of a ladder, and guards do not count it.
pub(super) const NAME: &str = "proactive";
/// A phase in which nothing was taken for so long is over.
const QUIET: Duration = Duration::from_mins(2);
/// A phase is no longer than this.
const LONGEST: Duration = Duration::from_mins(15);

/// An open phase.
#[derive(Debug)]
pub(super) struct Phase {
    run: i64,
    step: i64,
    begun: Instant,
    last: Instant,
    steps: u64,
    taken_bytes: u64,
}

#[derive(Serialize)]
struct Intent<'a> {
    directory: &'a Path,
    setpoint_ratio: f64,
    step_ratio: f64,
    floor_bytes: u64,
    swap: bool,
}

impl Phase {
    /// Writes the intent of a phase. On the disk when this returns.
    pub(super) fn open(
        shared: &Shared,
        options: &Options,
        target: &Target,
        (directory, floor_bytes): (&Path, u64),
    ) -> Result<Self, StoreError> {
        let now = (shared.clock)();
        let settings = shared.settings();
        let (setpoint_ratio, step_ratio, swap) = (options.setpoint_ratio, options.step_ratio, options.swap);
        let intent = Intent { directory, setpoint_ratio, step_ratio, floor_bytes, swap };
        let plan = serde_json::to_string(&intent).unwrap_or_else(|_| "{}".into());
        let seen = settings.observer.lean(target, &[], now).ok();
        let before = seen.and_then(|o| serde_json::to_string(&o).ok()).unwrap_or_else(|| "{}".into());
        let (run, step) = shared.store.with(|j| {
            let run = j.request_acting(&request(target), (NAME, &target.name), now)?;
            let step = NewStep { rung: 0, action: NAME, target: &target.name, plan: &plan, before: &before };
            Ok((run, j.begin_step(run, &step, now)?))
        })?;
        tracing::info!(run, target = target.name, "a proactive phase begins");
        Ok(Self { run, step, begun: Instant::now(), last: Instant::now(), steps: 0, taken_bytes: 0 })
    }

    /// A step has taken so much.
    pub(super) fn took(&mut self, bytes: u64) {
        (self.steps, self.taken_bytes, self.last) =
            (self.steps + 1, self.taken_bytes + bytes, Instant::now());
    }

    /// Whether its time is over.
    pub(super) fn is_over(&self) -> bool {
        self.last.elapsed() > QUIET || self.begun.elapsed() > LONGEST
    }

    /// Writes the outcome.
    pub(super) fn close(self, shared: &Shared, target: &Target, why: &str) -> Result<(), (Self, StoreError)> {
        let now = (shared.clock)();
        let seen = shared.settings().observer.lean(target, &[], now).ok();
        let taken = ByteSize::b(self.taken_bytes).display().iec();
        let detail = format!("took {taken} in {} steps, until {why}", self.steps);
        let outcome = Outcome {
            state: StepState::Done,
            verdict: "applied",
            freed_bytes: 0,
            detail: Some(detail.clone()),
            after: seen.and_then(|o| serde_json::to_string(&o).ok()),
            aftermath_due: None,
            lease_until: None,
        };
        let ending = Ending::new(if self.taken_bytes > 0 { "effective" } else { "no_gain" }, detail);
        let written = shared
            .store
            .with(|j| j.end_step(self.step, &outcome, now).and_then(|()| j.resolve(self.run, now)))
            .and_then(|()| end(shared, self.run, &ending));
        written.map_err(|e| (self, e))
    }
}

/// Writes once that it would be taken from the target, were it no dry run.
pub(super) fn dry(shared: &Shared, target: &Target, bytes: u64) -> Result<(), StoreError> {
    let now = (shared.clock)();
    let run = shared.store.with(|j| {
        let run = j.request_acting(&request(target), (NAME, &target.name), now)?;
        j.resolve(run, now)?;
        Ok(run)
    })?;
    let bytes = ByteSize::b(bytes).display().iec();
    end(
        shared,
        run,
        &Ending::new("dry_run", format!("dry run: {bytes} would have been taken, and more after that")),
    )
}

fn request(target: &Target) -> Request {
    let name = format!("{NAME} {}", target.name);
    Request { origin: Origin::Pressure, name, target: target.name.clone(), ..Request::default() }
}
