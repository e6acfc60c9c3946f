//! What came of an action on a target, try by try: what breaker and report are made from.

use super::{Journal, JournalError, clamp};
use crate::optimize::report::Try;
use rusqlite::params;

impl Journal {
    /// The last tries of an action on a target, newest first; of hooks only those of a `kind`, if it is given.
    pub fn tries(
        &self,
        action: &str,
        target: &str,
        kind: Option<&str>,
        count: usize,
    ) -> Result<Vec<Try>, JournalError> {
        let mut query = self.db.prepare_cached(
            "SELECT begun_at, ended_at, state, verdict, coalesce(freed_bytes, 0), harm FROM step
             WHERE action = ?1 AND target = ?2 AND (?4 IS NULL OR json_extract(plan, '$.request.kind') = ?4)
             ORDER BY id DESC LIMIT ?3",
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
        Ok(query.query_map(params![action, target, clamp(count), kind], row)?.collect::<Result<_, _>>()?)
    }

    /// The actions that were tried since then, each with its target, and hooks with their kind. Phases of the proactive mode are no tries.
    pub fn tried(&self, since: i64) -> Result<Vec<(String, String, Option<String>)>, JournalError> {
        let mut query = self.db.prepare_cached(
            "SELECT DISTINCT action, target, json_extract(plan, '$.request.kind') AS kind FROM step WHERE begun_at >= ?1 AND action <> 'proactive'
             ORDER BY action, target, kind",
        )?;
        Ok(query.query_map([since], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?.collect::<Result<_, _>>()?)
    }
}
