//! The deed itself: the one place where an action is let loose, with a word beforehand to whoever undoes what stands.

use super::{Climb, Rung};
use crate::optimize::action::{ActError, Watch};
use crate::optimize::executor::Shared;

impl Climb {
    /// Does what was intended. An effect that stands is known to whoever undoes it before it begins.
    pub(super) fn carry_out(&self, shared: &Shared, step: i64, rung: &Rung<'_>) -> Result<String, ActError> {
        let (action, plan, lease) = (rung.action, &rung.plan.intent, rung.plan.lease);
        if let Some(lease) = lease {
            // Twice its time, for the case that nobody comes back from it.
            let within = lease.saturating_add(action.time_max() * 2);
            if !shared.standing.begin(step, action.name(), plan, within) {
                return Err(ActError::Failed("Headroom ends".to_owned()));
            }
        }
        let mut hand = shared.hand(&self.settings.host);
        let held = || shared.held();
        let done = action.execute(plan, &self.target, &mut hand, &Watch::new(action.time_max(), &held));
        if let Some(lease) = lease {
            shared.standing.lasts(step, lease);
        }
        done
    }
}
