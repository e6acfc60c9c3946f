//! The targets' processes, looked up ahead while trouble is near: on the hot path nobody searches /proc.
//!
//! A thread of its own, because a process that stalls may keep a reader of its files waiting.

use super::super::executor::Shared;
use super::super::observe::Member;
use super::board::Seat;
use crate::host::HostError;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Time between two looks while it is polled fast.
const EVERY: Duration = Duration::from_secs(1);
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

/// The thread: looks while it is polled fast, and sleeps otherwise.
pub(super) fn run(shared: &Shared) {
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
