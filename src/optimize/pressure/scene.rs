//! What is done ahead, so that a run need not: its way gone once, its memory locked, and the targets' processes looked up
//! while trouble is near.
//!
//! A thread of its own, because a process that stalls may keep a reader of its files waiting.

use super::super::climb::Climb;
use super::super::executor::Shared;
use super::super::journal::OpenRun;
use super::super::observe::Member;
use super::alarm::Alarm;
use super::board::Seat;
use crate::host::footprint::{self, OwnCode};
use crate::host::hand::Hand;
use crate::host::{HostError, resident};
use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Time between two looks while it is polled fast.
const EVERY: Duration = Duration::from_secs(1);
/// By this much the optimizer is killed later than others, as the unit says too.
const OOM_SCORE: i32 = -500;
/// What was looked up longer ago is looked up again.
const AGE_MAX: Duration = Duration::from_secs(3);

/// A target's processes at one moment.
#[derive(Debug)]
pub(super) struct Prepared {
    at: Instant,
    /// Its own.
    pub(super) members: Vec<Member>,
    /// All that an action on it can touch.
    pub(super) touched: Vec<Member>,
}

#[cfg(test)]
impl Prepared {
    /// What was looked up just now.
    pub(super) fn of(members: Vec<Member>, touched: Vec<Member>) -> Self {
        Self { at: Instant::now(), members, touched }
    }
}

impl Seat {
    /// What was looked up a moment ago, if it was.
    pub(super) fn recent(&self) -> Option<Arc<Prepared>> {
        let prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        prepared.filter(|p| p.at.elapsed() < AGE_MAX)
    }

    fn prepare(&self, shared: &Shared) -> Result<(), HostError> {
        let settings = shared.settings();
        let Some(target) = settings.options.targets.iter().find(|t| t.name == self.rule.target) else {
            return Ok(());
        };
        let at = Instant::now();
        let members = settings.observer.members(target)?;
        let touched = settings.observer.touched(target, &members)?;
        let prepared = Some(Arc::new(Prepared { at, members, touched }));
        *self.prepared.lock().unwrap_or_else(PoisonError::into_inner) = prepared;
        Ok(())
    }
}

/// The thread: makes the process ready; then it looks while it is polled fast, and sleeps otherwise.
pub(super) fn run(shared: &Shared, alone: bool) {
    // On a thread of its own, whose stack goes with it: a run needs much of it, and this one little.
    std::thread::scope(|scope| {
        let ready = std::thread::Builder::new().name("rehearsal".into());
        if let Err(e) = ready.spawn_scoped(scope, || get_ready(shared, alone)) {
            tracing::error!(error = %e, "nothing is made ready for a stall");
        }
    });
    while !shared.stopping() {
        if !shared.pressure.is_fast() {
            std::thread::park();
            continue;
        }
        for seat in shared.pressure.seats() {
            // Then the run looks by itself, and says what is wrong.
            if let Err(e) = seat.prepare(shared) {
                tracing::debug!(rule = seat.rule.name, error = %e, "the target's processes cannot be looked up ahead");
            }
        }
        std::thread::park_timeout(EVERY);
    }
}

/// Sees to it that this process can act while memory is short: what a run needs of it is in memory and stays there, and no
/// more. What the kernel does not allow is said once.
fn get_ready(shared: &Shared, alone: bool) {
    // What the start has mapped and a run does not need would be locked as well, and so would what lies around that.
    let code = OwnCode::find();
    let parts = 0..code.parts();
    if let Err(e) = parts.clone().try_for_each(|part| code.let_go_by_page(part)) {
        tracing::debug!(error = %e, "the program's own code stays as it is");
    }
    rehearse(shared);
    if let Err(e) = parts.clone().try_for_each(|part| code.settle(part)) {
        tracing::debug!(error = %e, "the program's own code stays in many parts");
    }
    footprint::return_freed_memory();
    match resident::lock() {
        Ok(()) => shared.metrics.pressure.locked.set(1),
        Err(e) => {
            tracing::warn!(error = %e, "the optimizer's memory is not locked: it may wait for a disk when it is needed most");
        }
    }
    // Children would inherit it, and they are to be killed before their parent.
    if alone && let Err(e) = resident::spare(&mut Hand::new(shared.settings().host.clone()), OOM_SCORE) {
        tracing::info!(error = %e, "oom_score_adj stays as it is; OOMScoreAdjust= in the unit sets it");
    }
}

/// Each rule's run once ahead, up to its action. On a machine that stalls, each page of the program that is not in memory costs
/// a read from a disk that others keep busy, and the first run needs hundreds. What was touched once is locked (`resident`).
fn rehearse(shared: &Shared) {
    let (begun, mut intents, mut ways) = (Instant::now(), 0, HashSet::new());
    for seat in shared.pressure.seats() {
        let request = seat.rule.request();
        let settings = shared.settings();
        let options = &settings.options;
        let Ok((policy, target, condition)) = request.decide(&options.policies, &options.targets) else {
            continue;
        };
        // The same actions on the same kind of target go the same way.
        let actions: Vec<_> = policy.ladder.iter().map(|rung| rung.action.clone()).collect();
        if !ways.insert((actions, target.process_group.is_some())) {
            continue;
        }
        let run = OpenRun { request: Some(request), ..OpenRun::default() };
        let alarm = Some(Alarm::later(shared, &seat.rule.name));
        let (settings, begun) = (Arc::clone(&settings), Instant::now());
        let climb = Climb { run, policy, target, condition, dry_run: true, alarm, settings, begun };
        match climb.rehearse(shared) {
            Ok(more) => intents += more,
            // The run itself meets it, and says it then.
            Err(e) => tracing::debug!(rule = seat.rule.name, error = %e, "a rehearsal was cut short"),
        }
    }
    shared.metrics.pressure.rehearsed.set(i64::try_from(intents).unwrap_or(i64::MAX));
    tracing::debug!(intents, seconds = begun.elapsed().as_secs_f64(), "all rules are rehearsed");
}
