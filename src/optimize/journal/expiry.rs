//! Retention: what is too old goes, a little at a time, so that nobody waits for it.

use super::{Journal, JournalError};
use rusqlite::{OptionalExtension, params};

/// How many rows are looked at in one transaction. A notification may wait for it.
const ROWS: i64 = 500;

/// How far a sweep has come: first through the runs, then through the episodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// The last run that was looked at; `None` once all were.
    run: Option<i64>,
    /// The last episode that was looked at.
    episode: i64,
}

/// What one part of a sweep did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Runs that are forgotten.
    pub runs: usize,
    /// Where to go on; `None` at the end.
    pub next: Option<Sweep>,
}

impl Sweep {
    /// From the oldest on.
    pub fn begin() -> Self {
        Self { run: Some(0), episode: 0 }
    }
}

impl Journal {
    /// Forgets runs that ended before `before`, and then episodes without a run: one part of a sweep. An episode that is
    /// still reported keeps its run: without it, the next repeat would lead to a second one.
    pub fn expire(&mut self, before: i64, sweep: Sweep) -> Result<Expired, JournalError> {
        let Some(from) = sweep.run else { return self.expire_episodes(before, sweep) };
        let Some(to) = self.part("id", "run", from)? else {
            return Ok(Expired { runs: 0, next: Some(Sweep { run: None, ..sweep }) });
        };
        let sql = "DELETE FROM run WHERE id > ?2 AND id <= ?3 AND ended_at < ?1 AND NOT EXISTS
                   (SELECT 1 FROM episode WHERE episode.fingerprint = run.fingerprint
                      AND episode.starts_at = run.starts_at AND last_seen_at >= ?1)";
        let runs = self.db.execute(sql, params![before, from, to])?;
        Ok(Expired { runs, next: Some(Sweep { run: Some(to), ..sweep }) })
    }

    fn expire_episodes(&mut self, before: i64, sweep: Sweep) -> Result<Expired, JournalError> {
        let Some(to) = self.part("rowid", "episode", sweep.episode)? else {
            return Ok(Expired { runs: 0, next: None });
        };
        let sql = "DELETE FROM episode WHERE rowid > ?2 AND rowid <= ?3 AND last_seen_at < ?1 AND NOT EXISTS
                   (SELECT 1 FROM run WHERE run.fingerprint = episode.fingerprint AND run.starts_at = episode.starts_at)";
        self.db.execute(sql, params![before, sweep.episode, to])?;
        Ok(Expired { runs: 0, next: Some(Sweep { episode: to, ..sweep }) })
    }

    /// The last row of the next part of a table.
    fn part(&self, key: &str, table: &str, from: i64) -> Result<Option<i64>, JournalError> {
        let sql = format!(
            "SELECT max(k) FROM (SELECT {key} AS k FROM {table} WHERE {key} > ?1 ORDER BY {key} LIMIT {ROWS})"
        );
        Ok(self.db.query_row(&sql, [from], |r| r.get(0)).optional()?.flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::Labels;
    use crate::optimize::alert::{Alert, Status};
    use crate::optimize::journal::Ended;

    fn alert(fingerprint: String) -> Alert {
        Alert {
            status: Status::Firing,
            fingerprint,
            starts_at: jiff::Timestamp::UNIX_EPOCH,
            ends_at: None,
            labels: Labels::new(),
            annotations: Labels::new(),
        }
    }

    #[test]
    fn a_sweep_comes_by_everything_in_parts_and_takes_what_is_old() {
        let dir = tempfile::tempdir().unwrap();
        let mut j = Journal::open(&dir.path().join("j.sqlite")).unwrap();
        let count = ROWS * 2 + 7;
        let alerts: Vec<Alert> = (0..count).map(|n| alert(format!("{n:x}"))).collect();
        j.notify(&alerts, 1).unwrap();
        let ended = Ended { result: "no_policy", reason: "r", policy: None };
        for run in 1..=count {
            // One that is as young as can be stands among the old.
            j.end_run(run, &ended, if run == 9 { 1000 } else { 2 }).unwrap();
        }
        let (mut sweep, mut parts, mut gone) = (Some(Sweep::begin()), 0, 0);
        while let Some(from) = sweep {
            let part = j.expire(100, from).unwrap();
            assert!(part.runs <= usize::try_from(ROWS).unwrap());
            (sweep, parts, gone) = (part.next, parts + 1, gone + part.runs);
        }
        assert_eq!(gone, usize::try_from(count - 1).unwrap());
        assert_eq!(parts, 8, "three parts with rows and one without, twice");
        let left = |table: &str| -> i64 {
            j.db.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0)).unwrap()
        };
        assert_eq!((left("run"), left("episode")), (1, 1));
    }
}
