//! What is put back: after an interruption, and effects whose time is over.

use super::Shared;
use crate::host::hand::Hand;
use crate::optimize::action;
use crate::optimize::guard::millis;
use crate::optimize::journal::Journal;
use crate::optimize::store::StoreError;
use std::time::{Duration, Instant};

/// Between two tries to put back what could not be.
const UNDO_EVERY: Duration = Duration::from_secs(30);
/// The longest that one turn of undoing effects goes on at the end of the process, in effects.
const TURNS_MAX: usize = 16;

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

/// Undoes effects whose time is over, or whose trouble is.
#[derive(Default)]
pub(super) struct Leases {
    failed_at: Option<Instant>,
}

impl Leases {
    pub(super) fn go_on(&mut self, shared: &Shared) -> Result<(), StoreError> {
        if self.failed_at.is_some_and(|t| t.elapsed() < UNDO_EVERY) {
            return Ok(());
        }
        self.failed_at = None;
        let due = shared.store.with(|j| j.leases_due((shared.clock)()))?;
        let mut hand = shared.hand(&shared.settings().host);
        for lease in due {
            let plan = serde_json::from_str(&lease.plan).unwrap_or(serde_json::Value::Null);
            let note = match action::find(&lease.action).map(|a| a.undo(&plan, &mut hand)) {
                Some(Ok(note)) => note.unwrap_or_else(|| "nothing was left to undo".to_owned()),
                None => "this version does not know how to undo it".to_owned(),
                Some(Err(e)) => {
                    tracing::error!(step = lease.step, action = lease.action, error = %e, "cannot undo an effect; it is tried again");
                    let until = (shared.clock)().saturating_add(millis(UNDO_EVERY));
                    shared.store.with(|j| j.undo_later(lease.step, until))?;
                    self.failed_at = Some(Instant::now());
                    continue;
                }
            };
            tracing::info!(step = lease.step, action = lease.action, note, "an effect is undone");
            shared.store.with(|j| j.undone(lease.step, &note))?;
        }
        shared.metrics.leases.set(shared.store.with(|j| j.leases_standing())?);
        Ok(())
    }
}

/// Undoes all effects that stand: nobody will watch over them. What cannot be undone now is, at the next start.
pub(super) fn all_leases(shared: &Shared) {
    let mut leases = Leases::default();
    let mut undo = || -> Result<(), StoreError> {
        shared.store.with(Journal::end_leases)?;
        for _ in 0..TURNS_MAX {
            leases.go_on(shared)?;
            if leases.failed_at.is_some() || shared.metrics.leases.get() == 0 {
                break;
            }
        }
        Ok(())
    };
    // The store has logged and counted what went wrong.
    let _logged = undo();
}
