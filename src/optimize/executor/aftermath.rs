//! What an action cost: one more look at its target, a minute later.

use super::Shared;
use crate::optimize::store::StoreError;

/// Looks once more at targets of steps whose minute is over.
pub(super) fn look(shared: &Shared) -> Result<(), StoreError> {
    let now = (shared.clock)();
    let settings = shared.settings();
    for (step, name, due) in shared.store.with(|j| j.aftermaths_due(now))? {
        // Long after the minute (the process was down) the figure would tell of something else.
        let in_time = now.saturating_sub(due) < 60_000;
        let target = settings.options.targets.iter().find(|t| t.name == name).filter(|_| in_time);
        let seen = target.and_then(|t| {
            let members = settings.observer.members(t).ok()?;
            serde_json::to_string(&settings.observer.observe(t, &members, now).ok()?).ok()
        });
        shared.store.with(|j| j.end_aftermath(step, seen.as_deref()))?;
    }
    Ok(())
}
