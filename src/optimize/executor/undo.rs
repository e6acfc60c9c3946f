//! What is put back: after an interruption, and effects whose time is over.

use super::Shared;
use super::standing::Task;
use crate::host::hand::Hand;
use crate::optimize::action::{self, Action};
use crate::optimize::journal::Journal;
use crate::optimize::store::StoreError;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two tries to put back what could not be.
const UNDO_EVERY: Duration = Duration::from_secs(30);
/// The longest that the thread that undoes effects sleeps. Whoever makes one wakes it.
const IDLE: Duration = Duration::from_hours(1);

/// How long the end waits for what is being undone at that moment.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// Puts right what an interruption left behind, before anything else is done. A step is marked only after that: an end
/// in the middle finds it again, and to put back twice does no harm. What cannot be put back now is tried again.
#[derive(Default)]
pub(super) struct Recovery {
    /// Unfinished steps with action and plan, once they were read.
    steps: Option<Vec<(i64, String, String)>>,
    tried_at: Option<Instant>,
}

impl Recovery {
    pub(super) fn go_on(&mut self, shared: &Shared) -> Result<(), StoreError> {
        let steps = if let Some(steps) = &mut self.steps {
            steps
        } else {
            let steps = shared.store.with(|j| {
                j.requeue()?;
                // Nobody watched over what stands since the last end: it is undone now.
                j.end_leases()?;
                // Whether it stalls is seen anew; what was begun for it before is not gone on with.
                j.resolve_pressure((shared.clock)())?;
                j.unfinished()
            })?;
            self.steps.insert(steps)
        };
        if steps.is_empty() || self.tried_at.is_some_and(|t| t.elapsed() < UNDO_EVERY) {
            return Ok(());
        }
        self.tried_at = Some(Instant::now());
        let mut hand = shared.hand(&shared.settings().host);
        let mut left = Vec::new();
        for (step, name, plan) in steps.drain(..) {
            if put_back(&mut hand, step, &name, &plan) {
                shared.store.with(|j| j.interrupt(step, (shared.clock)()))?;
                shared.metrics.actions.with_label_values(&[&name, "interrupted"]).inc();
            } else {
                left.push((step, name, plan));
            }
        }
        *steps = left;
        Ok(())
    }
}

/// Whether nothing of an interrupted action is left behind.
fn put_back(hand: &mut Hand, step: i64, name: &str, plan: &str) -> bool {
    let plan = serde_json::from_str(plan).unwrap_or(serde_json::Value::Null);
    match action::find(name).map(|a| a.undo(&plan, hand)) {
        Some(Ok(Some(note))) => {
            tracing::warn!(step, action = name, note, "put back what an interrupted action left");
        }
        Some(Err(e)) => {
            tracing::error!(step, action = name, error = %e, "cannot put back what an interrupted action left; it is tried again");
            return false;
        }
        Some(Ok(None)) | None => {
            tracing::warn!(step, action = name, "an action was interrupted; it is not repeated");
        }
    }
    true
}

/// Starts the thread that undoes effects when their time is over. It never waits for the journal: a brake must not
/// outlive its lease because a disk is full, or does not answer.
pub(super) fn start(shared: &Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    std::thread::Builder::new().name("undo".into()).spawn(move || {
        while !shared.stopping() {
            while let Some(task) = shared.standing.take() {
                let slow = action::find(&task.action).is_some_and(Action::is_slow_to_undo);
                let apart = Arc::clone(&shared);
                let late = task.clone();
                let spawn = || {
                    std::thread::Builder::new().name("undo-slow".into()).spawn(move || undo(&apart, &late))
                };
                if !slow || spawn().is_err() {
                    undo(&shared, &task);
                }
            }
            shared.count_standing();
            shared.standing.wait(IDLE, || shared.stopping());
        }
    })
}

/// Undoes an effect, or says when that is tried again.
fn undo(shared: &Shared, task: &Task) {
    let mut hand = shared.hand(&shared.settings().host);
    let (step, action) = (task.step, task.action.as_str());
    let note = match action::find(action).map(|a| a.undo(&task.plan, &mut hand)) {
        Some(Ok(note)) => note.unwrap_or_else(|| "nothing was left to undo".to_owned()),
        None => "this version does not know how to undo it".to_owned(),
        Some(Err(e)) => {
            tracing::error!(step, action, error = %e, "cannot undo an effect; it is tried again");
            return shared.standing.later(step, UNDO_EVERY);
        }
    };
    tracing::info!(step, action, note, "an effect is undone");
    shared.standing.undone(step, note);
    shared.count_standing();
}

/// What the journal says of effects, and what is to be said to it: those whose trouble is over, those of an earlier
/// process, those that a clock set back would let stand for a year; and which are undone.
pub(super) fn look(shared: &Shared) -> Result<(), StoreError> {
    let due = shared.store.with(|j| j.leases_due((shared.clock)()))?;
    if !due.is_empty() {
        shared.standing.end(due);
    }
    for (step, note) in shared.standing.to_mark() {
        shared.store.with(|j| j.undone(step, &note))?;
        shared.standing.marked(step);
    }
    shared.count_standing();
    Ok(())
}

/// Undoes all effects that stand, those of actions that are under way as well: nobody will watch over them. What cannot
/// be undone now is, at the next start.
pub(super) fn all_leases(shared: &Shared) {
    // The store has logged and counted what went wrong. Whatever that was, what this process has done it undoes.
    let _logged = shared.store.with(Journal::end_leases).and_then(|_| look(shared));
    shared.standing.end_all();
    while let Some(task) = shared.standing.take() {
        undo(shared, &task);
    }
    // What the thread has under way.
    let begun = Instant::now();
    while shared.standing.is_undoing() && begun.elapsed() < UNDER_WAY {
        std::thread::sleep(Duration::from_millis(5));
    }
    let _logged = look(shared);
}

#[cfg(test)]
mod tests;
