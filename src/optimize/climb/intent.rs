//! The last look before an intent is written, and its writing: one lock, one moment, nothing in between.

use crate::optimize::action::Limit;
use crate::optimize::guard::{self, Admission, Guard, admit, millis};
use crate::optimize::journal::{Journal, JournalError, NewStep};
use crate::optimize::pause::Pause;

/// Why a rung is not begun after all.
#[derive(Debug)]
pub(super) enum No {
    Resolved,
    /// The action was taken too often lately.
    Limit(String),
    Guard(Guard, i64),
}

/// A step that would be begun.
pub(super) struct Asked<'a> {
    pub(super) run: i64,
    pub(super) step: NewStep<'a>,
    /// How often its action may be taken.
    pub(super) limit: Option<Limit>,
    /// Whether its run has acted before.
    pub(super) goes_on: bool,
    pub(super) guards: &'a guard::Options,
    pub(super) pause: &'a Pause,
}

/// Writes the intent, and returns the step's number; or why it is not begun. What is resolved, or held by a person, before
/// this leads to no action.
pub(super) fn intend(j: &mut Journal, asked: &Asked<'_>, now: i64) -> Result<Result<i64, No>, JournalError> {
    let Asked { run, step, limit, goes_on, guards, pause } = asked;
    if j.is_resolved(*run)? {
        return Ok(Err(No::Resolved));
    }
    if pause.why().is_some() {
        return Ok(Err(No::Guard(Guard::Paused, now.saturating_add(millis(guard::ASK_AGAIN)))));
    }
    if let Some(Limit { most, within }) = limit {
        let window = (now.saturating_sub(millis(*within)), now.saturating_add(millis(*within)));
        if j.steps_of(step.action, window)? >= *most {
            let within = humantime::format_duration(*within);
            return Ok(Err(No::Limit(format!("{}: {most} times in {within} is the most", step.action))));
        }
    }
    let mut past = j.past(*run, step.target, &guard::windows(now, guards))?;
    if *goes_on {
        // Cool-downs lie between runs, not between the rungs of one; the rate limit counts all.
        (past.last_step_at, past.last_step_on_target_at) = (None, None);
    }
    match admit(now, &past, 0, false, guards) {
        Admission::Admit => Ok(Ok(j.begin_step(*run, step, now)?)),
        Admission::Defer { guard, until } => Ok(Err(No::Guard(guard, until))),
    }
}

#[cfg(test)]
mod model;
