//! Actions: what one is, and the list of all.
//!
//! Adding an action is one file in `action/` and one line in [`REGISTRY`].

pub mod app_hook;
mod backoff;
pub mod cgroup_reclaim;
pub mod compact_memory;
pub mod drop_caches;
pub mod freeze;
pub mod kill;
mod kubernetes;
mod machine_wide;
mod message;
pub mod notify;
pub mod pageout;
pub mod renice;
pub mod restart;
pub mod scale;
pub mod squeeze;
pub mod swap_on_zram;
mod swapping;

use super::guard;
use super::journal::History;
use super::observe::{Member, Observation};
use super::policy::Target;
use super::verify::{Effect, Verdict, judge};
use crate::host::hand::Hand;
use crate::host::{Host, HostError};
use crate::matching::Labels;
use serde_json::Value;
use std::time::{Duration, Instant};

/// One way out of trouble.
pub trait Action: Send + Sync {
    /// The name in ladders, in the record and in metrics.
    fn name(&self) -> &'static str;

    /// What `headroom actions explain` says.
    fn explain(&self) -> Explanation;

    /// What kind of effect it has, which says how it is verified.
    fn effect(&self) -> Effect {
        Effect::GivesBack
    }

    /// The longest that [`Action::execute`] takes, by more than one small step.
    fn time_max(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// Whether the options that a ladder gives it (`with`) are good; or what is wrong with them.
    fn check(&self, with: &Value) -> Result<(), String> {
        if with.is_null() { Ok(()) } else { Err(format!("{} has no options", self.name())) }
    }

    /// What it wants to know besides the target's memory, with these options.
    fn wants(&self, _with: &Value) -> Wants {
        Wants::default()
    }

    /// Whether this machine's guards allow it at all.
    fn allowed(&self, _guards: &guard::Options) -> bool {
        true
    }

    /// How often it may be taken on this machine, whatever the target.
    fn limit(&self) -> Option<Limit> {
        None
    }

    /// What would be done, from values alone; or why this action cannot help here.
    fn plan(&self, scene: &Scene<'_>) -> Result<Plan, Refusal>;

    /// Whether this process may do it on this host, looked at before the intent is written; or what it lacks.
    fn permit(&self, _plan: &Value, _host: &Host) -> Result<(), Refusal> {
        Ok(())
    }

    /// Does it. The only effect; called once, after the intent is on the disk. Returns what is worth a note.
    /// What may be a secret (a webhook's address) is in no plan, but taken from the `target`'s configuration.
    /// Between its small steps it asks `watch` whether it may go on.
    fn execute(
        &self,
        plan: &Value,
        target: &Target,
        hand: &mut Hand,
        watch: &Watch<'_>,
    ) -> Result<String, ActError>;

    /// What the measurements before and after say.
    fn verify(&self, before: &Observation, after: &Observation, min_gain_bytes: u64) -> Verdict {
        judge(self.effect(), before, after, min_gain_bytes)
    }

    /// Whether what two plans of it with a lease have set is the same thing. Then the later one is undone first: it found
    /// what the earlier one had set, and puts that back.
    fn collides(&self, _plan: &Value, _other: &Value) -> bool {
        false
    }

    /// Whether to undo it may take long, so that nothing else may wait for it.
    fn is_slow_to_undo(&self) -> bool {
        false
    }

    /// Puts back what an interrupted [`Action::execute`] may have left behind, or what a plan with a lease has done;
    /// says what, if anything. To put back twice does no harm.
    fn undo(&self, _plan: &Value, _hand: &mut Hand) -> Result<Option<String>, ActError> {
        Ok(None)
    }
}

/// What an action wants to know besides the target's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// The facts of each process and of the group's brakes ([`super::observe::facts`]).
    pub facts: bool,
    /// By how much each process grew, over at least this time.
    pub growth: Option<Duration>,
}

/// At most so many steps in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// So many.
    pub most: u64,
    /// In this time.
    pub within: Duration,
}

/// What a person wants to know before an action stands on a ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What is done, in a sentence.
    pub what: &'static str,
    /// What it costs the workload.
    pub cost: &'static str,
    /// The capabilities that it needs beyond those of an ordinary process of the same user; none if empty.
    pub capabilities: &'static [&'static str],
    /// What else it needs: a file that may be written, a socket, a kernel version.
    pub needs: &'static str,
    /// How its effect is verified.
    pub verified: &'static str,
    /// How it is undone.
    pub undone: &'static str,
}

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The target, as configured.
    pub target: &'a Target,
    /// Its processes.
    pub members: &'a [Member],
    /// What was measured just now.
    pub before: &'a Observation,
    /// The bytes that would end the trouble.
    pub want_bytes: u64,
    /// The options of this rung; null if it has none. [`Action::check`] has found them good.
    pub with: &'a Value,
    /// The labels of the run's alert; none if it was no alert.
    pub labels: &'a Labels,
    /// What the record knows of this action.
    pub history: &'a History,
}

/// An intent: what the journal keeps, and what [`Action::execute`] gets back.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The most that can come of it, in bytes, where that is known.
    pub expected_bytes: Option<u64>,
    /// All that the action needs to know.
    pub intent: Value,
    /// How long the effect is to last before it is undone, for an action that does not end by itself.
    pub lease: Option<Duration>,
}

impl Plan {
    /// A plan whose intent is `intent` as JSON.
    pub fn new(expected_bytes: Option<u64>, intent: &impl serde::Serialize) -> Result<Self, Refusal> {
        let intent =
            serde_json::to_value(intent).map_err(|e| Refusal(format!("the plan has no JSON: {e}")))?;
        Ok(Self { expected_bytes, intent, lease: None })
    }

    /// The same, undone after this time, or when the trouble is over.
    #[must_use]
    pub fn leased(self, lease: Duration) -> Self {
        Self { lease: Some(lease), ..self }
    }
}

/// What a running action asks between its small steps.
pub struct Watch<'a> {
    begun: Instant,
    time_max: Duration,
    stop: &'a dyn Fn() -> Option<String>,
}

impl<'a> Watch<'a> {
    /// A watch that begins now; `stop` says why all is to stop, if it is.
    pub fn new(time_max: Duration, stop: &'a dyn Fn() -> Option<String>) -> Self {
        Self { begun: Instant::now(), time_max, stop }
    }

    /// Why the action is to end here; `None` while it may go on.
    pub fn end(&self) -> Option<String> {
        if self.begun.elapsed() > self.time_max {
            return Some("the time was over".to_owned());
        }
        (self.stop)()
    }

    /// What is left of the time.
    pub fn left(&self) -> Duration {
        self.time_max.saturating_sub(self.begun.elapsed())
    }

    /// Sleeps for so long, or until the action is to end; says why, if it is.
    pub fn sleep(&self, duration: Duration) -> Option<String> {
        let until = Instant::now() + duration;
        loop {
            if let Some(why) = self.end() {
                return Some(why);
            }
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return None;
            }
            std::thread::sleep(rest.min(Duration::from_millis(20)));
        }
    }
}

/// Why an action cannot help: nothing is wrong, the next rung may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// What went wrong while acting.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// A kernel file could not be read.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The kernel, the application or the plan said no.
    #[error("{0}")]
    Failed(String),
}

/// The typed intent of a plan, as an action wrote it.
pub fn intent<T: serde::de::DeserializeOwned>(plan: &Value) -> Result<T, ActError> {
    serde_json::from_value(plan.clone())
        .map_err(|e| ActError::Failed(format!("the plan cannot be read: {e}")))
}

/// The typed options of a rung, with their defaults where it has none.
pub fn options<T: serde::de::DeserializeOwned + Default>(with: &Value) -> Result<T, String> {
    if with.is_null() {
        return Ok(T::default());
    }
    serde_json::from_value(with.clone()).map_err(|e| e.to_string())
}

/// All actions.
pub const REGISTRY: &[&dyn Action] = &[
    &app_hook::AppHook,
    &cgroup_reclaim::CgroupReclaim,
    &pageout::Pageout,
    &squeeze::Squeeze,
    &freeze::Freeze,
    &renice::Renice,
    &scale::Scale,
    &restart::Restart,
    &kill::Kill,
    &notify::Notify,
    &drop_caches::DropCaches,
    &compact_memory::CompactMemory,
    &swap_on_zram::SwapOnZram,
];

/// The action of a name.
pub fn find(name: &str) -> Option<&'static dyn Action> {
    REGISTRY.iter().copied().find(|a| a.name() == name)
}

/// Whether its tries on a target say whether the next one may gain something there. Of what is handed over to others
/// none does: that a message was not delivered three times is no reason to tell nobody for an hour.
pub fn is_judged(name: &str) -> bool {
    find(name).is_none_or(|a| a.effect() != Effect::HandsOver)
}

#[cfg(test)]
mod scenes;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_ends_when_told_or_when_its_time_is_over() {
        let never = || None;
        let watch = Watch::new(Duration::from_hours(1), &never);
        assert_eq!((watch.end(), watch.sleep(Duration::ZERO)), (None, None));
        let now = || Some("paused".to_owned());
        assert_eq!(
            Watch::new(Duration::from_hours(1), &now).sleep(Duration::from_hours(1)).unwrap(),
            "paused"
        );
        assert_eq!(Watch::new(Duration::ZERO, &never).end().unwrap(), "the time was over");
    }

    #[test]
    fn every_action_explains_itself_and_has_a_name_of_its_own() {
        let mut names: Vec<_> = REGISTRY.iter().map(|a| a.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), REGISTRY.len());
        for action in REGISTRY {
            let e = action.explain();
            for text in [e.what, e.cost, e.needs, e.verified, e.undone] {
                assert!(text.len() > 10 && !text.ends_with('.'), "{}: {text:?}", action.name());
            }
            assert!(e.capabilities.iter().all(|c| c.starts_with("CAP_")), "{}", action.name());
            assert_eq!(action.check(&Value::Null), Ok(()), "{}", action.name());
        }
    }
}
