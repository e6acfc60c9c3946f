//! What came of an action on a target, try by try: what breaker and report are made from.

use super::{Journal, JournalError, clamp};
use crate::optimize::report::Try;
use rusqlite::params;

impl Journal {
    /// The last tries of an action on a target, newest first.
    pub fn tries(&self, action: &str, target: &str, count: usize) -> Result<Vec<Try>, JournalError> {
        let mut query = self.db.prepare_cached(
            "SELECT begun_at, ended_at, state, verdict, coalesce(freed_bytes, 0), harm FROM step
             WHERE action = ?1 AND target = ?2 ORDER BY id DESC LIMIT ?3",
        )?;
        let row = |r: &rusqlite::Row<'_>| {
            Ok(Try {
                begun_at: r.get(0)?,
                ended_at: r.get(1)?,
                state: r.get(2)?,
                verdict: r.get(3)?,
                freed_bytes: u64::try_from(r.get::<_, i64>(4)?).unwrap_or_default(),
                harm: r.get(5)?,
            })
        };
        Ok(query.query_map(params![action, target, clamp(count)], row)?.collect::<Result<_, _>>()?)
    }

    /// The actions that were tried since then, each with its target. Phases of the proactive mode are no tries.
    pub fn tried(&self, since: i64) -> Result<Vec<(String, String)>, JournalError> {
        let mut query = self.db.prepare_cached(
            "SELECT DISTINCT action, target FROM step WHERE begun_at >= ?1 AND action <> 'proactive'
             ORDER BY action, target",
        )?;
        Ok(query.query_map([since], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<Result<_, _>>()?)
    }
}
