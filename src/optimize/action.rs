//! Actions: what one is, and the list of all.
//!
//! Adding an action is one file in `action/` and one line in [`REGISTRY`].

pub mod app_hook;
pub mod cgroup_reclaim;
pub mod pageout;
mod swapping;

use super::observe::{Member, Observation};
use super::policy::Target;
use crate::host::HostError;
use crate::host::hand::Hand;
use serde_json::Value;

/// One way to free memory.
pub trait Action: Send + Sync {
    /// The name in ladders, in the record and in metrics.
    fn name(&self) -> &'static str;

    /// What would be done, from values alone; or why this action cannot help here.
    fn plan(&self, scene: &Scene<'_>) -> Result<Plan, Refusal>;

    /// Does it. The only effect; called once, after the intent is on the disk. Returns what is worth a note.
    fn execute(&self, plan: &Value, hand: &mut Hand) -> Result<String, ActError>;

    /// Puts back what an interrupted [`Action::execute`] may have left behind; says what, if anything.
    fn undo(&self, _plan: &Value, _hand: &mut Hand) -> Result<Option<String>, ActError> {
        Ok(None)
    }
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
}

/// An intent: what the journal keeps, and what [`Action::execute`] gets back.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The most that can come of it, in bytes, where that is known.
    pub expected_bytes: Option<u64>,
    /// All that the action needs to know.
    pub intent: Value,
}

impl Plan {
    /// A plan whose intent is `intent` as JSON.
    pub fn new(expected_bytes: Option<u64>, intent: &impl serde::Serialize) -> Result<Self, Refusal> {
        let intent =
            serde_json::to_value(intent).map_err(|e| Refusal(format!("the plan has no JSON: {e}")))?;
        Ok(Self { expected_bytes, intent })
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

/// All actions.
pub const REGISTRY: &[&dyn Action] = &[&app_hook::AppHook, &cgroup_reclaim::CgroupReclaim, &pageout::Pageout];

/// The action of a name.
pub fn find(name: &str) -> Option<&'static dyn Action> {
    REGISTRY.iter().copied().find(|a| a.name() == name)
}
