//! Effects that stand until they are undone: which are due, and that they are gone.

use super::{Journal, JournalError};
use rusqlite::params;

/// A step whose effect stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// Its number.
    pub step: i64,
    /// Its action.
    pub action: String,
    /// Its plan, as JSON.
    pub plan: String,
}

// Ordered by `id` itself, SQLite would rather look at each step that there ever was than at the few that stand.
pub(super) const LEASES_DUE: &str = "SELECT step.id, action, plan FROM step
    JOIN run ON run.id = step.run JOIN episode USING (fingerprint, starts_at)
    WHERE lease_until IS NOT NULL AND (lease_until <= ?1 OR begun_at > ?1 OR resolved_at IS NOT NULL)
    ORDER BY +step.id DESC LIMIT 1000";

pub(super) const END_LEASES: &str = "UPDATE step SET lease_until = 0 WHERE lease_until IS NOT NULL";

// The window is short, and an action's steps may be many.
pub(super) const STEPS_OF: &str =
    "SELECT count(*) FROM step WHERE begun_at BETWEEN ?2 AND ?3 AND +action = ?1";

impl Journal {
    /// Effects whose time is over at `now`, or whose episode has ended, the last first; and those that begin only later
    /// than now: the clock was set back, and nobody knows when their time would come.
    pub fn leases_due(&self, now: i64) -> Result<Vec<Leased>, JournalError> {
        let mut query = self.db.prepare_cached(LEASES_DUE)?;
        let row = |r: &rusqlite::Row<'_>| Ok(Leased { step: r.get(0)?, action: r.get(1)?, plan: r.get(2)? });
        Ok(query.query_map([now], row)?.collect::<Result<_, _>>()?)
    }

    /// All effects that stand are due now: the process that watched over them has ended, or is about to.
    pub fn end_leases(&mut self) -> Result<usize, JournalError> {
        Ok(self.db.execute(END_LEASES, [])?)
    }

    /// The effect is undone; `note` says how.
    pub fn undone(&mut self, step: i64, note: &str) -> Result<(), JournalError> {
        let sql =
            "UPDATE step SET lease_until = NULL, detail = coalesce(detail || '; ', '') || ?2 WHERE id = ?1";
        self.db.execute(sql, params![step, note])?;
        Ok(())
    }

    /// How many steps of an action were begun in a window, on whatever target.
    pub fn steps_of(&self, action: &str, window: (i64, i64)) -> Result<u64, JournalError> {
        let count: i64 = self.db.query_row(STEPS_OF, params![action, window.0, window.1], |r| r.get(0))?;
        Ok(u64::try_from(count).unwrap_or_default())
    }
}
