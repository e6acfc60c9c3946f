//! What came of an action on a target, try by try: what breaker and report are made from.

use super::{Journal, JournalError, clamp};
use crate::optimize::report::Try;
use rusqlite::{OptionalExtension, params};

pub(super) const TRIES: &str =
    "SELECT begun_at, ended_at, state, verdict, coalesce(freed_bytes, 0), harm FROM step
    WHERE action = ?1 AND target = ?2 AND kind = ?4 ORDER BY id DESC LIMIT ?3";
pub(super) const TRIED: &str = "SELECT DISTINCT action, target, kind FROM step INDEXED BY step_begun
    WHERE begun_at >= ?1 AND action <> 'proactive' ORDER BY action, target, kind";
// From one to the next: the next kind, else the next target, else the next action. What was tried a thousand times costs no
// more than what was tried once, which a comparison of all three at a time would not give.
pub(super) const NEXT_TRIED: [&str; 3] = [
    "SELECT action, target, kind FROM step INDEXED BY step_tried
     WHERE action = ?1 AND target = ?2 AND kind > ?3 ORDER BY kind LIMIT 1",
    "SELECT action, target, kind FROM step INDEXED BY step_tried
     WHERE action = ?1 AND target > ?2 AND ?3 = ?3 ORDER BY target, kind LIMIT 1",
    "SELECT action, target, kind FROM step INDEXED BY step_tried
     WHERE action > ?1 AND ?2 = ?2 AND ?3 = ?3 ORDER BY action, target, kind LIMIT 1",
];

impl Journal {
    /// The last tries of an action on a target, newest first; of hooks only those of this kind, or of the one that has none.
    pub fn tries(
        &self,
        action: &str,
        target: &str,
        kind: Option<&str>,
        count: usize,
    ) -> Result<Vec<Try>, JournalError> {
        let mut query = self.db.prepare_cached(TRIES)?;
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
        let kind = kind.unwrap_or_default();
        Ok(query.query_map(params![action, target, clamp(count), kind], row)?.collect::<Result<_, _>>()?)
    }

    /// The actions that were tried since then, each with its target, and hooks with their kind. Phases of the proactive mode
    /// are no tries.
    pub fn tried(&self, since: i64) -> Result<Vec<Tried>, JournalError> {
        let mut query = self.db.prepare_cached(TRIED)?;
        Ok(query.query_map([since], tried)?.collect::<Result<_, _>>()?)
    }

    /// The next of all that were ever tried, in the order of action, target and kind; the first without `after`.
    pub fn next_tried(&self, after: Option<&Tried>) -> Result<Option<Tried>, JournalError> {
        let mut last = after.cloned().unwrap_or_default();
        loop {
            let mut next = None;
            for sql in NEXT_TRIED {
                let (action, target, kind) = &last;
                let kind = kind.as_deref().unwrap_or_default();
                next = self
                    .db
                    .prepare_cached(sql)?
                    .query_row(params![action, target, kind], tried)
                    .optional()?;
                if next.is_some() {
                    break;
                }
            }
            match next {
                Some(next) if next.0 == "proactive" => last = next,
                next => return Ok(next),
            }
        }
    }
}

/// An action, its target, and the kind of a hook.
pub type Tried = (String, String, Option<String>);

fn tried(r: &rusqlite::Row<'_>) -> rusqlite::Result<Tried> {
    Ok((r.get(0)?, r.get(1)?, Some(r.get(2)?).filter(|kind: &String| !kind.is_empty())))
}
