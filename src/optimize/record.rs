//! The record as people and dashboards read it: entries, their steps, and how to ask for them.

use crate::matching::Labels;
use serde::Serialize;

/// How far a step has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// The intent is written; the action may be under way.
    Begun,
    /// The outcome is written.
    Done,
    /// The action could not be carried out.
    Failed,
    /// The process ended between intent and outcome.
    Interrupted,
}

impl StepState {
    /// The word in the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// One run: an episode, what was decided, what was done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// The run's number; greater is newer.
    pub id: i64,
    /// The alert's fingerprint.
    pub fingerprint: String,
    /// When the episode began.
    pub starts_at_millis: i64,
    /// The alert's name.
    pub alertname: String,
    /// Its labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
    /// When it ended.
    pub resolved_at_millis: Option<i64>,
    /// How often it was delivered.
    pub deliveries: i64,
    /// `queued`, `waiting`, `acting` or `ended`.
    pub state: String,
    /// How it ended.
    pub result: Option<String>,
    /// Why it waits, or why it ended so.
    pub reason: Option<String>,
    /// The policy that was found for it.
    pub policy: Option<String>,
    /// The target that was found for it.
    pub target: Option<String>,
    /// When it was queued.
    pub queued_at_millis: i64,
    /// When it ended.
    pub ended_at_millis: Option<i64>,
    /// Who asked: `alert`, `pressure` or `hand`.
    pub origin: String,
    /// What was asked for, where it was no alert.
    pub request: serde_json::Value,
    /// Verified bytes of all steps.
    pub freed_bytes: u64,
    /// What was done, in order.
    pub steps: Vec<Step>,
}

/// One rung that was begun.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Its number.
    pub id: i64,
    /// Its place in the ladder, from 0.
    pub rung: i64,
    /// The action.
    pub action: String,
    /// The target.
    pub target: String,
    /// `begun`, `done`, `failed` or `interrupted`.
    pub state: String,
    /// What was intended.
    pub plan: serde_json::Value,
    /// When the intent was written.
    pub begun_at_millis: i64,
    /// When the outcome was written.
    pub ended_at_millis: Option<i64>,
    /// What the measurement says: `freed`, `applied`, `no_gain` or `unknown`.
    pub verdict: Option<String>,
    /// Verified bytes.
    pub freed_bytes: Option<u64>,
    /// What the action said (an application's own count, for example), or the error.
    pub detail: Option<String>,
    /// Target and machine before.
    pub before: serde_json::Value,
    /// Target and machine after.
    pub after: serde_json::Value,
    /// Pressure and refaults in the minute after.
    pub aftermath: serde_json::Value,
    /// When its effect will be undone; absent once it is, and for what ends by itself.
    pub lease_until_millis: Option<i64>,
    /// Why it was harmful, if it was.
    pub harm: Option<String>,
}

/// Which entries to return.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// At most so many.
    pub limit: usize,
    /// Only entries older than this number: the next page.
    pub before: Option<i64>,
    /// Only this alert.
    pub alertname: Option<String>,
    /// Only this target.
    pub target: Option<String>,
    /// Only runs with a step of this action.
    pub action: Option<String>,
    /// Only this result, or this state of a run that has not ended.
    pub result: Option<String>,
    /// Only runs queued at or after this time, in milliseconds since the epoch.
    pub since: Option<i64>,
}
