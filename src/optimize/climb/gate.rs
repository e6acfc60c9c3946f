//! What a rung must pass before anything is planned: the action is known, allowed and not left out, and nobody is among
//! the processes who may not be touched.

use super::{Climb, Ending, Stop, Tally};
use crate::optimize::action::{self, Action, app_hook};
use crate::optimize::executor::Shared;
use crate::optimize::guard::{Guard, boundary, breaker, protected};
use crate::optimize::observe::Member;
use crate::optimize::policy::Rung;
use serde_json::Value;

impl Climb {
    /// The action of a rung; `None`, with a note, if the next rung is to follow.
    pub(super) fn admitted(
        &self,
        shared: &Shared,
        rung: &Rung,
        tally: &mut Tally,
    ) -> Result<Option<&'static dyn Action>, Stop> {
        let name = rung.action.as_str();
        let Some(action) = action::find(name) else {
            tally.notes.push(format!("{name}: no such action"));
            return Ok(None);
        };
        let guards = &self.settings.options.guards;
        if !action.allowed(guards) {
            self.refuse(shared, Guard::NotAllowed);
            tally.notes.push(format!("{name}: the guards do not allow it here"));
            return Ok(None);
        }
        if !action::is_judged(name) {
            return Ok(Some(action));
        }
        // Hooks of one target differ by their kind: one that gains nothing says nothing of the others. A rung that names
        // none means the first hook, whatever kind that has.
        let asked = rung.with.get("kind").and_then(Value::as_str);
        let hook = self.target.hook_of(asked).filter(|_| name == app_hook::NAME);
        let kind = hook.and_then(|h| h.kind.as_deref());
        let depth = breaker::depth(&guards.breaker);
        let tries = shared.store.with(|j| j.tries(name, &self.target.name, kind, depth))?;
        if let breaker::State::Open { why, .. } = breaker::state(&tries, (shared.clock)(), &guards.breaker) {
            self.refuse(shared, Guard::Breaker);
            tally.notes.push(format!("{name}: left out: {why}"));
            return Ok(None);
        }
        Ok(Some(action))
    }

    /// Ends the run if an action on the target would touch what it must not.
    pub(super) fn touchable(&self, shared: &Shared, members: &[Member]) -> Result<(), Stop> {
        let touched = self.touched(members)?;
        let refused = |guard, why: String| {
            self.refuse(shared, guard);
            Err(Stop::Ended(Ending::new("refused", format!("{}: {why}", guard.as_str()))))
        };
        let who = touched.iter().map(|m| (m.pid, m.comm.as_str(), m.kernel_thread));
        if let Some(why) = protected(who, &self.settings.own_pids, &self.settings.options.guards) {
            return refused(Guard::Protected, why);
        }
        // Whoever names a control group has drawn the boundary.
        let by_name = self.target.process_group.is_some() && !self.target.across_containers;
        match boundary::crossed(&touched).filter(|_| by_name) {
            Some(why) => refused(Guard::Boundary, why),
            None => Ok(()),
        }
    }
}
