//! What guards ask of the past: when steps were last begun, how many, and how far they reached.

use super::{Journal, JournalError};
use crate::optimize::guard::Windows;
use crate::optimize::guard::radius::Reached;
use rusqlite::{OptionalExtension, params};

/// What guards ask of the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// When the last step of any other run ended (or began, if it has not), in milliseconds since the epoch.
    pub last_step_at: Option<i64>,
    /// The same, of another run on the same target.
    pub last_step_on_target_at: Option<i64>,
    /// Steps begun within the rate limit's window.
    pub steps_in_window: u64,
    /// When the oldest of those began.
    pub oldest_in_window_at: Option<i64>,
    /// What was reached within the blast radius's window.
    pub reached: Reached,
}

// Each of the two looks at the end of an index, and passes over the run's own few steps. (All times are below the last
// number that there is; without a bound SQLite calls the same a scan.)
pub(super) const LAST_STEP: &str = "SELECT coalesce(ended_at, begun_at) AS at FROM step
    WHERE action <> 'proactive' AND coalesce(ended_at, begun_at) <= 9223372036854775807 AND +run <> ?1
    ORDER BY coalesce(ended_at, begun_at) DESC LIMIT 1";
pub(super) const LAST_STEP_ON: &str = "SELECT coalesce(ended_at, begun_at) AS at FROM step
    WHERE action <> 'proactive' AND target = ?2 AND +run <> ?1
    ORDER BY coalesce(ended_at, begun_at) DESC LIMIT 1";
// Steps after the window's end were made before the clock was set back.
pub(super) const WITHIN: &str = "SELECT count(*), min(begun_at) FROM step INDEXED BY step_begun
    WHERE begun_at BETWEEN ?1 AND ?2 AND action <> 'proactive'";
pub(super) const REACHED: &str = "SELECT count(DISTINCT target) FILTER (WHERE target <> ?1),
        coalesce(sum(freed_bytes), 0), min(begun_at)
    FROM step INDEXED BY step_begun WHERE begun_at BETWEEN ?2 AND ?3 AND action <> 'proactive'";

impl Journal {
    /// What guards want to know of the steps before. Proactive ones are none of theirs: they must not keep anybody from
    /// acting in need.
    pub fn past(&self, run: i64, target: &str, windows: &Windows) -> Result<Past, JournalError> {
        let mut last = self.db.prepare_cached(LAST_STEP)?;
        let mut on_target = self.db.prepare_cached(LAST_STEP_ON)?;
        let mut within = self.db.prepare_cached(WITHIN)?;
        let (steps, oldest): (i64, Option<i64>) =
            within.query_row([windows.rate.0, windows.rate.1], |r| Ok((r.get(0)?, r.get(1)?)))?;
        Ok(Past {
            last_step_at: last.query_row([run], |r| r.get(0)).optional()?,
            last_step_on_target_at: on_target.query_row(params![run, target], |r| r.get(0)).optional()?,
            steps_in_window: u64::try_from(steps).unwrap_or_default(),
            oldest_in_window_at: oldest,
            reached: self.reached(target, windows.radius)?,
        })
    }

    fn reached(&self, target: &str, window: (i64, i64)) -> Result<Reached, JournalError> {
        let mut query = self.db.prepare_cached(REACHED)?;
        let row = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, r.get(1)?, r.get(2)?));
        let (others, freed, oldest_at): (i64, i64, _) =
            query.query_row(params![target, window.0, window.1], row)?;
        let count = |n| u64::try_from(n).unwrap_or_default();
        Ok(Reached { others: count(others), freed_bytes: count(freed), oldest_at })
    }
}
