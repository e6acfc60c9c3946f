//! When old runs are forgotten: once an hour, a part in each turn.

use super::Shared;
use crate::optimize::guard::millis;
use crate::optimize::journal::expiry::Sweep;
use crate::optimize::store::StoreError;
use std::time::{Duration, Instant};

/// How often old runs are forgotten.
const EXPIRE_EVERY: Duration = Duration::from_hours(1);

/// Forgets what is too old, in parts, between other work.
#[derive(Default)]
pub(super) struct Retention {
    sweep: Option<Sweep>,
    done_at: Option<Instant>,
}

impl Retention {
    pub(super) fn go_on(&mut self, shared: &Shared) -> Result<(), StoreError> {
        let Some(sweep) = self.sweep else {
            if self.done_at.is_none_or(|t| t.elapsed() > EXPIRE_EVERY) {
                self.sweep = Some(Sweep::begin());
            }
            return Ok(());
        };
        let before = (shared.clock)().saturating_sub(millis(shared.settings().options.retention));
        self.sweep = shared.store.with(|j| j.expire(before, sweep))?.next;
        self.done_at = Some(Instant::now());
        Ok(())
    }

    pub(super) fn is_busy(&self) -> bool {
        self.sweep.is_some()
    }
}
