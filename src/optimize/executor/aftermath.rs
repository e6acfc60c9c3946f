//! What an action cost: one more look at its target, a minute later, and whether that was harm.

use super::{Settings, Shared};
use crate::optimize::action;
use crate::optimize::harm::{Evidence, Span, Spans, Totals, judge};
use crate::optimize::journal::Due;
use crate::optimize::observe::Observation;
use crate::optimize::policy::Target;
use crate::optimize::store::StoreError;
use serde::Serialize;

/// What the record keeps of a step's minute after.
#[derive(Serialize)]
struct Aftermath<'a> {
    #[serde(flatten)]
    seen: &'a Observation,
    cost: Evidence,
}

/// Looks once more at targets of steps whose minute is over.
pub(super) fn look(shared: &Shared) -> Result<(), StoreError> {
    let now = (shared.clock)();
    let settings = shared.settings();
    for due in shared.store.with(|j| j.aftermaths_due(now))? {
        // Long after the minute (the process was down) the figure would tell of something else.
        let in_time = now.saturating_sub(due.at) < 60_000;
        let target = settings.options.targets.iter().find(|t| t.name == due.target).filter(|_| in_time);
        // Lean: to sum up mappings waits for the lock of a process that stalls, and this thread decides on all runs.
        let seen = target.and_then(|t| {
            let members = settings.observer.members(t).ok()?;
            Some((t, settings.observer.lean(t, &members, now).ok()?))
        });
        let Some((target, seen)) = seen else {
            shared.store.with(|j| j.end_aftermath(due.step, None, None))?;
            continue;
        };
        let cost = evidence(shared, &due, target, &seen);
        let harm = cost.as_ref().and_then(|cost| harm(&settings, &due, cost));
        let text = match cost {
            Some(cost) => serde_json::to_string(&Aftermath { seen: &seen, cost }).ok(),
            None => serde_json::to_string(&seen).ok(),
        };
        shared.store.with(|j| j.end_aftermath(due.step, text.as_deref(), harm.as_deref()))?;
        if let Some(why) = harm {
            shared.metrics.harmful.with_label_values(&[&due.action, &due.target]).inc();
            tracing::warn!(
                step = due.step,
                action = due.action,
                target = due.target,
                why,
                "an action did harm"
            );
        }
    }
    Ok(())
}

fn harm(settings: &Settings, due: &Due, cost: &Evidence) -> Option<String> {
    let effect = action::find(&due.action)?.effect();
    judge(effect, due.freed_bytes, settings.options.guards.min_gain.as_u64(), cost)
}

/// What is known of the step's cost; none if it has no outcome that could be compared.
fn evidence(shared: &Shared, due: &Due, target: &Target, seen: &Observation) -> Option<Evidence> {
    let before: Observation = serde_json::from_str(&due.before).ok()?;
    let after: Observation = serde_json::from_str(due.after.as_ref()?).ok()?;
    let (begun, ended, now) = (before.at_millis, after.at_millis, seen.at_millis);
    let [(m0, g0), (m1, g1), (m2, g2)] = [before.totals(), after.totals(), seen.totals()];
    let [machine, group] = shared.witness.before(&due.target, begun, [Some(m0), g0]);
    let span = |then: Option<Totals>, now: Option<Totals>| Span::between(&then?, &now?);
    let asked = before.stall.filter(|s| s.span_micros > 0);
    Some(Evidence {
        asked_ratio: asked.map(|s| s.micros as f64 / s.span_micros as f64),
        followed: due.followed,
        machine: Spans { before: machine, during: span(Some(m0), Some(m1)), after: span(Some(m1), Some(m2)) },
        group: g0.map(|_| Spans { before: group, during: span(g0, g1), after: span(g1, g2) }),
        application: target
            .watch
            .as_ref()
            .map(|w| shared.witness.own(&due.target, (begun, ended, now), w.harmful_above_ratio)),
    })
}
