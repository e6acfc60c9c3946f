//! What the record knows of an action: when it was last done, and what came of it.

use super::{Journal, JournalError};
use rusqlite::{OptionalExtension, params};

/// The past of one action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// When its last step began, on any target, in milliseconds since the epoch.
    pub last_at: Option<i64>,
    /// What the measurement said then; absent while it is under way.
    pub last_verdict: Option<String>,
    /// When its last steps on this target began, newest first, and what the measurement said.
    pub on_target: Vec<(i64, Option<String>)>,
    /// The plans of its effects that stand, on whatever target. Whoever undoes them knows; the record says when they began.
    pub standing: Vec<serde_json::Value>,
}

/// Steps on a target that are of use.
const STEPS_MAX: i64 = 16;

pub(super) const LAST: &str = "SELECT begun_at, verdict FROM step WHERE action = ?1 ORDER BY id DESC LIMIT 1";
pub(super) const ON_TARGET: &str = "SELECT begun_at, CASE state WHEN 'failed' THEN 'failed' ELSE verdict END
    FROM step WHERE action = ?1 AND target = ?2 ORDER BY id DESC LIMIT ?3";

impl Journal {
    /// The past of an action, as the one about to act on `target` wants to know it.
    pub fn history(&self, action: &str, target: &str) -> Result<History, JournalError> {
        let mut last = self.db.prepare_cached(LAST)?;
        let last = last.query_row([action], |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
        let (last_at, last_verdict) = last.unwrap_or_default();
        let mut on_target = self.db.prepare_cached(ON_TARGET)?;
        let on_target = on_target
            .query_map(params![action, target, STEPS_MAX], |r| Ok((r.get(0)?, r.get(1)?)))?
            .collect::<Result<_, _>>()?;
        Ok(History { last_at, last_verdict, on_target, ..History::default() })
    }
}
