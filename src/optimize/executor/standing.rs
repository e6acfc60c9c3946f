//! Effects that stand, as this process knows them: what it has done, and when that is undone, whatever the journal can say.
//!
//! The journal is for the next process. This one undoes what it has done in time also while the disk is full, or does not
//! answer: an effect is here before it begins, and stays until the journal says that it is gone.

use crate::optimize::action;
use crate::optimize::journal::Leased;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks at what waits for one that lies on it.
const BLOCKED_EVERY: Duration = Duration::from_millis(500);

/// All effects that stand.
#[derive(Debug, Default)]
pub(in crate::optimize) struct Standing {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// By the number of their step.
    effects: BTreeMap<i64, Effect>,
    /// Nothing more may begin: nobody would undo it.
    ending: bool,
}

#[derive(Debug)]
struct Effect {
    action: String,
    plan: Value,
    /// When it is undone; `None` is later than any clock tells.
    due: Option<Instant>,
    /// Whether it could not be undone before: then `due` is the next try.
    failed: bool,
    /// Whether somebody undoes it at this moment.
    taken: bool,
    /// What there was to say, once it is undone.
    undone: Option<String>,
    /// Whether the journal has the outcome of its step, which says that it stands.
    written: bool,
}

impl Effect {
    fn new(action: &str, plan: Value, due: Option<Instant>) -> Self {
        let action = action.to_owned();
        Self { action, plan, due, failed: false, taken: false, undone: None, written: false }
    }

    fn stands(&self) -> bool {
        self.undone.is_none()
    }

    /// Whether it is on what a later one of its kind is on: that one found what this one had set, and puts that back.
    fn lies_below(&self, later: &Self) -> bool {
        let same = later.stands() && later.action == self.action;
        same && action::find(&self.action).is_some_and(|a| a.collides(&self.plan, &later.plan))
    }
}

/// An effect that is to be undone now.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) step: i64,
    pub(super) action: String,
    pub(super) plan: Value,
}

impl Standing {
    /// An action with a lasting effect is about to begin; false if it must not, because the process ends. `within` is when
    /// the effect is undone if nobody says anything more.
    pub(in crate::optimize) fn begin(&self, step: i64, action: &str, plan: &Value, within: Duration) -> bool {
        let mut state = self.lock();
        if state.ending {
            return false;
        }
        let due = Instant::now().checked_add(within);
        state.effects.insert(step, Effect::new(action, plan.clone(), due));
        self.changed.notify_all();
        true
    }

    /// The effect of a step is undone after this time.
    pub(in crate::optimize) fn lasts(&self, step: i64, lease: Duration) {
        if let Some(effect) = self.lock().effects.get_mut(&step).filter(|e| !e.failed) {
            effect.due = Instant::now().checked_add(lease);
        }
        self.changed.notify_all();
    }

    /// The journal has the step's outcome.
    pub(in crate::optimize) fn written(&self, step: i64) {
        if let Some(effect) = self.lock().effects.get_mut(&step) {
            effect.written = true;
        }
    }

    /// The plans of an action's effects that stand.
    pub(in crate::optimize) fn plans(&self, action: &str) -> Vec<Value> {
        let state = self.lock();
        let of = state.effects.values().filter(|e| e.stands() && e.action == action);
        of.map(|e| e.plan.clone()).collect()
    }

    /// How many stand.
    pub(in crate::optimize) fn count(&self) -> usize {
        self.lock().effects.values().filter(|e| e.stands()).count()
    }

    /// These are to be undone now, by the journal: their time or their trouble is over, or an earlier process made them.
    pub(super) fn end(&self, leased: Vec<Leased>) {
        let (now, mut state) = (Instant::now(), self.lock());
        for Leased { step, action, plan } in leased {
            let made_before = || {
                let plan = serde_json::from_str(&plan).unwrap_or(Value::Null);
                Effect::new(&action, plan, Some(now))
            };
            let effect = state.effects.entry(step).or_insert_with(made_before);
            effect.written = true;
            if !effect.failed {
                effect.due = Some(now);
            }
        }
        self.changed.notify_all();
    }

    /// All are to be undone now, and no more may begin.
    pub(super) fn end_all(&self) {
        let (now, mut state) = (Instant::now(), self.lock());
        state.ending = true;
        state.effects.values_mut().for_each(|e| e.due = Some(now));
    }

    /// The next that is to be undone, the latest first, and none before a later one that lies on it. Whoever takes it says
    /// what came of it.
    pub(super) fn take(&self) -> Option<Task> {
        let (now, mut state) = (Instant::now(), self.lock());
        let due = |e: &Effect| e.stands() && !e.taken && e.due.is_some_and(|due| due <= now);
        let free = |step: i64, e: &Effect| !state.effects.range(step + 1..).any(|(_, l)| e.lies_below(l));
        let ready = state.effects.iter().filter(|(step, e)| due(e) && free(**step, e));
        let step = ready.map(|(step, _)| *step).max()?;
        let effect = state.effects.get_mut(&step)?;
        effect.taken = true;
        Some(Task { step, action: effect.action.clone(), plan: effect.plan.clone() })
    }

    /// It is undone; `note` says how.
    pub(super) fn undone(&self, step: i64, note: String) {
        if let Some(effect) = self.lock().effects.get_mut(&step) {
            (effect.taken, effect.undone) = (false, Some(note));
        }
        // What lay below it may be undone now.
        self.changed.notify_all();
    }

    /// It could not be undone, and is tried again after this time. Others are not kept waiting by it.
    pub(super) fn later(&self, step: i64, time: Duration) {
        if let Some(effect) = self.lock().effects.get_mut(&step) {
            (effect.taken, effect.failed, effect.due) = (false, true, Instant::now().checked_add(time));
        }
    }

    /// Whether one is being undone at this moment.
    pub(super) fn is_undoing(&self) -> bool {
        self.lock().effects.values().any(|e| e.taken)
    }

    /// Those that are undone, for the journal to say so.
    pub(super) fn to_mark(&self) -> Vec<(i64, String)> {
        let state = self.lock();
        let done = state.effects.iter().filter(|(_, e)| e.written);
        done.filter_map(|(step, e)| Some((*step, e.undone.clone()?))).collect()
    }

    /// The journal says so.
    pub(super) fn marked(&self, step: i64) {
        self.lock().effects.remove(&step);
    }

    /// Waits until something is due, or has changed. Without effects that is as long as nothing changes.
    pub(super) fn wait(&self, longest: Duration, over: impl Fn() -> bool) {
        let state = self.lock();
        if over() {
            return;
        }
        let due = state.effects.values().filter(|e| e.stands() && !e.taken).filter_map(|e| e.due).min();
        let left = due.map_or(longest, |at| at.saturating_duration_since(Instant::now()));
        // What is due already waits for one that lies on it.
        let left = if left.is_zero() { BLOCKED_EVERY } else { left };
        drop(self.changed.wait_timeout(state, left.min(longest)).unwrap_or_else(PoisonError::into_inner));
    }

    /// Wakes who waits: the end of the process.
    pub(super) fn nudge(&self) {
        let _state = self.lock();
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plan(directory: &str) -> Value {
        json!({"directory": directory, "high_bytes": 1, "before_bytes": null})
    }

    fn steps(standing: &Standing) -> Vec<i64> {
        let steps = std::iter::from_fn(|| standing.take().map(|t| t.step));
        let steps: Vec<_> = steps.collect();
        for step in &steps {
            standing.later(*step, Duration::ZERO);
        }
        steps
    }

    #[test]
    fn of_two_on_one_thing_the_later_is_undone_first() {
        let standing = Standing::default();
        let begin = |step, action, plan| assert!(standing.begin(step, action, &plan, Duration::ZERO));
        begin(1, "squeeze", plan("/a"));
        begin(2, "freeze", plan("/a"));
        begin(3, "squeeze", plan("/a"));
        begin(4, "squeeze", plan("/b"));
        assert_eq!(steps(&standing), [4, 3, 2], "the first waits for the third");
        standing.undone(3, "gone".into());
        assert_eq!(steps(&standing), [4, 2, 1]);
        assert_eq!(standing.plans("squeeze"), [plan("/a"), plan("/b")]);
    }

    #[test]
    fn an_effect_is_here_until_the_journal_says_that_it_is_gone() {
        let standing = Standing::default();
        let leased = || vec![Leased { step: 5, action: "squeeze".into(), plan: plan("/a").to_string() }];
        standing.end(leased());
        assert_eq!(standing.take().map(|t| t.plan), Some(plan("/a")));
        assert!(standing.take().is_none(), "one at a time");
        standing.undone(5, "put back".into());
        // The journal has not heard of it yet.
        standing.end(leased());
        assert!(standing.take().is_none());
        assert_eq!((standing.to_mark(), standing.count()), (vec![(5, "put back".into())], 0));
        standing.marked(5);
        assert_eq!(standing.to_mark(), []);
        // One whose outcome is not in the journal yet is not marked there: the outcome would say that it stands.
        assert!(standing.begin(6, "squeeze", &plan("/a"), Duration::ZERO));
        standing.undone(6, "put back".into());
        assert_eq!(standing.to_mark(), []);
        standing.written(6);
        assert_eq!(standing.to_mark().len(), 1);
    }

    #[test]
    fn what_failed_is_tried_again_in_its_time_and_not_as_soon_as_the_journal_names_it() {
        let standing = Standing::default();
        let leased = || vec![Leased { step: 5, action: "squeeze".into(), plan: plan("/a").to_string() }];
        standing.end(leased());
        standing.take();
        standing.later(5, Duration::from_hours(1));
        standing.end(leased());
        assert!(standing.take().is_none());
        standing.end_all();
        assert!(standing.take().is_some(), "at the end all is tried");
        assert!(!standing.begin(6, "squeeze", &plan("/b"), Duration::ZERO), "nobody would undo it");
    }
}
