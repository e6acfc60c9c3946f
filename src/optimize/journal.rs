//! The durable record: episodes, runs and steps in SQLite, written before anything happens.
//!
//! WAL with `synchronous=FULL`: when a call returns, its transaction is on the disk.
//! Source: <https://www.sqlite.org/pragma.html#pragma_synchronous>.

mod aftermath;
mod episode;
pub mod expiry;
mod history;
mod lease;
mod past;
mod request;
mod room;
mod rows;
mod schema;
mod tries;

use super::alert::Alert;
use super::record::{Entry, Filter, StepState};
use super::request::Request;
use crate::matching::Labels;
pub use aftermath::Due;
pub use history::History;
pub use lease::Leased;
pub use past::Past;
use rows::{entry, step};
use rusqlite::{Connection, params};
use std::path::Path;
use std::time::Duration;
pub use tries::Tried;

/// How long another process may hold the file before it counts as held: a restart overlaps for a moment.
const BUSY: Duration = Duration::from_millis(500);
/// So many pages of the log are carried over into the file at once: SQLite's own number.
const CHECKPOINT_PAGES: u32 = 1000;
/// The newest entries that one page of the record holds at most.
pub const PAGE_MAX: usize = 500;

/// What the journal could not do.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// SQLite's answer: the disk is full, the directory cannot be written, the file is damaged.
    #[error("the journal: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file cannot be made or opened.
    #[error("the journal cannot be opened: {source}")]
    Make {
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("another process uses the journal: two optimizers cannot share a state directory")]
    Held,
    /// The file was written by a newer Headroom.
    #[error(
        "the journal has version {found}, this Headroom knows {}: use the newer one, or move the file away",
        schema::VERSION
    )]
    Newer {
        /// The file's version.
        found: i64,
    },
    /// A value could not be written as, or read from, JSON.
    #[error("the journal holds what is no JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// A run that has not ended, as the executor takes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpenRun {
    /// Its number.
    pub id: i64,
    /// The alert's labels.
    pub labels: Labels,
    /// Whether the episode has been reported as resolved.
    pub resolved: bool,
    /// The reason for which it waits, as last recorded.
    pub reason: Option<String>,
    /// What was asked for, where it was no alert.
    pub request: Option<Request>,
    /// Rungs of the ladder that were begun, by their place in it, in their order.
    pub rungs_begun: Vec<usize>,
    /// What they verifiably freed.
    pub freed_bytes: u64,
    /// Whether one of them was cut off.
    pub interrupted: bool,
}

/// A finished step, ready to be written.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// How the step ended.
    pub state: StepState,
    /// The verdict's name.
    pub verdict: &'a str,
    /// Verified bytes.
    pub freed_bytes: u64,
    /// What the action said, or the error.
    pub detail: Option<String>,
    /// The observation after, as JSON.
    pub after: Option<String>,
    /// When to look once more, in milliseconds since the epoch.
    pub aftermath_due: Option<i64>,
    /// When to undo what was done, for an effect that does not end by itself.
    pub lease_until: Option<i64>,
}

/// A run that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Which.
    pub run: i64,
    /// Until when at least, in milliseconds since the epoch.
    pub not_before: i64,
    /// For what.
    pub reason: String,
    /// The policy that was found for it.
    pub policy: String,
    /// The target that was found for it.
    pub target: String,
}

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// The result's name.
    pub result: &'a str,
    /// Why.
    pub reason: &'a str,
    /// The policy, where it was found only now.
    pub policy: Option<&'a str>,
}

const RUNNABLE: &str = "SELECT run.id, labels, resolved_at IS NOT NULL, run.reason, request
    FROM run INDEXED BY run_state JOIN episode USING (fingerprint, starts_at)
    WHERE ended_at IS NULL AND state IN ('queued', 'waiting') AND run.id > ?4
      AND (not_before <= ?1 OR not_before > ?2 OR resolved_at IS NOT NULL)
    ORDER BY not_before, run.id LIMIT ?3";
const OPEN_COUNTS: &str =
    "SELECT count(*) FILTER (WHERE state <> 'acting'), count(*) FILTER (WHERE state = 'acting')
    FROM run INDEXED BY run_state WHERE ended_at IS NULL";
const REQUEUE: &str =
    "UPDATE run INDEXED BY run_state SET state = 'queued' WHERE ended_at IS NULL AND state = 'acting'
    AND NOT EXISTS (SELECT 1 FROM step WHERE step.run = run.id AND step.state = 'begun')";

/// The open journal.
pub struct Journal {
    db: Connection,
}

/// What a notification changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notified {
    /// Runs that it queued.
    pub queued: Vec<i64>,
    /// Runs that ended because their alert is resolved.
    pub resolved: Vec<i64>,
}

impl Journal {
    /// Opens the journal, or makes a new one. It is this process's alone until it is closed.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        make_private(path).map_err(|source| JournalError::Make { source })?;
        let db = Connection::open(path)?;
        db.busy_timeout(BUSY)?;
        // Two optimizers on one journal would know nothing of each other's actions.
        db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        db.pragma_update(None, "journal_mode", "WAL").map_err(held)?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "foreign_keys", true)?;
        let mut journal = Self { db };
        schema::bring_up(&mut journal.db)?;
        // Without it each write is only slower.
        if let Err(e) = room::make(path) {
            tracing::debug!(error = %e, "the journal's log has no room made ahead");
        }
        Ok(journal)
    }

    /// A journal in memory, of which nothing stays.
    pub fn scratch() -> Result<Self, JournalError> {
        let mut journal = Self { db: Connection::open_in_memory()? };
        schema::bring_up(&mut journal.db)?;
        Ok(journal)
    }

    /// Writes a notification: each episode once, a run for each that fires, ends for those resolved.
    pub fn notify(&mut self, alerts: &[Alert], now: i64) -> Result<Notified, JournalError> {
        let tx = self.db.transaction()?;
        let mut notified = Notified::default();
        for alert in alerts {
            let Notified { queued, resolved } = episode::write(&tx, alert, now)?;
            notified.queued.extend(queued);
            notified.resolved.extend(resolved);
        }
        tx.commit()?;
        Ok(notified)
    }

    /// Whether the journal can be written now. An empty transaction would prove nothing: this one leaves
    /// a page in the log.
    pub fn probe(&mut self) -> Result<(), JournalError> {
        let tx = self.db.transaction()?;
        tx.pragma_update(None, "user_version", clamp(schema::VERSION))?;
        tx.commit()?;
        Ok(())
    }

    /// The oldest runs with a number above `after` that may go on now. A run that waits for longer than `horizon` was told to before the clock was
    /// set back.
    pub fn runnable(
        &self,
        after: i64,
        (now, horizon): (i64, i64),
        count: usize,
    ) -> Result<Vec<OpenRun>, JournalError> {
        let mut query = self.db.prepare_cached(RUNNABLE)?;
        let row = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?));
        let rows = query.query_map(params![now, now.saturating_add(horizon), clamp(count), after], row)?;
        let rows = rows.collect::<Result<Vec<(i64, String, bool, Option<String>, Option<String>)>, _>>()?;
        let mut steps = self.db.prepare_cached(
            "SELECT rung, coalesce(freed_bytes, 0), state = 'interrupted' FROM step WHERE run = ?1 ORDER BY rung",
        )?;
        rows.into_iter()
            .map(|(id, labels, resolved, reason, request)| {
                let begun = steps.query_map([id], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
                let begun = begun.collect::<Result<Vec<(i64, i64, bool)>, _>>()?;
                let freed_bytes = begun.iter().filter_map(|b| u64::try_from(b.1).ok()).sum();
                let interrupted = begun.iter().any(|b| b.2);
                let rungs_begun = begun.into_iter().filter_map(|b| usize::try_from(b.0).ok()).collect();
                let labels = serde_json::from_str(&labels)?;
                let request = request.map(|r| serde_json::from_str(&r)).transpose()?;
                Ok(OpenRun { id, labels, resolved, reason, request, rungs_begun, freed_bytes, interrupted })
            })
            .collect()
    }

    /// Whether the run's episode is resolved.
    pub fn is_resolved(&self, run: i64) -> Result<bool, JournalError> {
        let mut query = self.db.prepare_cached(
            "SELECT resolved_at IS NOT NULL FROM run JOIN episode USING (fingerprint, starts_at) WHERE run.id = ?1",
        )?;
        Ok(query.query_row([run], |r| r.get(0))?)
    }

    /// These runs wait. One transaction: many may wait at once, and again and again.
    pub fn defer(&mut self, waiting: &[Waiting]) -> Result<(), JournalError> {
        let sql = "UPDATE run SET state = 'waiting', not_before = ?2, reason = ?3, policy = ?4, target = ?5
                   WHERE id = ?1 AND ended_at IS NULL";
        self.without_sync(|j| {
            let tx = j.db.transaction()?;
            for w in waiting {
                tx.prepare_cached(sql)?.execute(params![
                    w.run,
                    w.not_before,
                    w.reason,
                    w.policy,
                    w.target
                ])?;
            }
            Ok(tx.commit()?)
        })
    }

    /// The run is in the hands of a worker; false if it has ended meanwhile. It is on the disk no later than the intent of its
    /// first step.
    pub fn begin_run(&mut self, run: i64, policy: &str, target: &str) -> Result<bool, JournalError> {
        let sql = "UPDATE run SET state = 'acting', reason = NULL, policy = ?2, target = ?3
                   WHERE id = ?1 AND ended_at IS NULL";
        self.without_sync(|j| {
            j.without_checkpoint(
                |j| Ok(j.db.prepare_cached(sql)?.execute(params![run, policy, target])? == 1),
            )
        })
    }

    /// A write that may be lost with the power, and with nothing else: the machine that comes up again finds what was before it,
    /// which is as true. It stands in the log before whatever is synced later, and is on the disk with that.
    fn without_sync<T>(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        self.db.pragma_update(None, "synchronous", "NORMAL")?;
        let written = write(self);
        // An error closes the journal, and the next use opens it as it should be.
        self.db.pragma_update(None, "synchronous", "FULL")?;
        written
    }

    /// The run has ended; false if it had before.
    pub fn end_run(&mut self, run: i64, ended: &Ended<'_>, now: i64) -> Result<bool, JournalError> {
        let sql = "UPDATE run SET state = 'ended', result = ?2, policy = coalesce(?4, policy), ended_at = ?5,
                       reason = ?3 || coalesce((SELECT '; harmful: ' || group_concat(action || ': ' || harm, '; ')
                                                FROM step WHERE run = ?1 AND harm IS NOT NULL), '')
                   WHERE id = ?1 AND ended_at IS NULL";
        Ok(self.db.execute(sql, params![run, ended.result, ended.reason, ended.policy, now])? == 1)
    }

    /// Writes the intent of a step; only after this returns may its action begin.
    pub fn begin_step(&mut self, run: i64, step: &NewStep<'_>, now: i64) -> Result<i64, JournalError> {
        let sql = "INSERT INTO step (run, rung, action, target, state, plan, begun_at, before, kind)
                   VALUES (?1, ?2, ?3, ?4, 'begun', ?5, ?6, ?7, CASE WHEN ?3 = 'app_hook' AND json_valid(?5)
                           THEN coalesce(CAST(json_extract(?5, '$.request.kind') AS TEXT), '') ELSE '' END)";
        self.without_checkpoint(|j| {
            let values =
                params![run, clamp(step.rung), step.action, step.target, step.plan, now, step.before];
            j.db.prepare_cached(sql)?.execute(values)?;
            Ok(j.db.last_insert_rowid())
        })
    }

    /// A write that an action waits for. When the log is long enough, SQLite carries it over into the file at the end of a
    /// write, with two more syncs; that is left to the next write, such as the outcome's.
    fn without_checkpoint<T>(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        self.db.pragma_update(None, "wal_autocheckpoint", 0)?;
        let written = write(self);
        // An error closes the journal, and the next use opens it as it should be.
        self.db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        written
    }

    /// Writes the outcome of a step.
    pub fn end_step(&mut self, step: i64, outcome: &Outcome<'_>, now: i64) -> Result<(), JournalError> {
        self.db.execute(
            "UPDATE step SET state = ?2, verdict = ?3, freed_bytes = ?4, detail = ?5, after = ?6, aftermath_due = ?7,
             lease_until = ?8, ended_at = ?9 WHERE id = ?1",
            params![
                step,
                outcome.state.as_str(),
                outcome.verdict,
                i64::try_from(outcome.freed_bytes).unwrap_or(i64::MAX),
                outcome.detail,
                outcome.after,
                outcome.aftermath_due,
                outcome.lease_until,
                now
            ],
        )?;
        Ok(())
    }

    /// After a start: steps that were begun and have no outcome, with their action and plan.
    pub fn unfinished(&self) -> Result<Vec<(i64, String, String)>, JournalError> {
        let mut query =
            self.db.prepare("SELECT id, action, plan FROM step WHERE state = 'begun' ORDER BY id")?;
        let rows = query.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// After a start: runs that were in a worker's hands may go on, but for those with an unfinished step.
    pub fn requeue(&mut self) -> Result<(), JournalError> {
        self.db.execute(REQUEUE, [])?;
        Ok(())
    }

    /// Makes an unfinished step `interrupted`; its run may go on.
    pub fn interrupt(&mut self, step: i64, now: i64) -> Result<(), JournalError> {
        let tx = self.db.transaction()?;
        tx.execute(
            "UPDATE step SET state = 'interrupted', verdict = 'unknown', ended_at = ?2 WHERE id = ?1",
            [step, now],
        )?;
        tx.execute(
            "UPDATE run SET state = 'queued' WHERE state = 'acting' AND id = (SELECT run FROM step WHERE id = ?1)",
            [step],
        )?;
        Ok(tx.commit()?)
    }

    /// Runs that have not ended: those that wait for their turn or a guard, and those in a worker's hands.
    pub fn open_counts(&self) -> Result<(i64, i64), JournalError> {
        Ok(self.db.query_row(OPEN_COUNTS, [], |r| Ok((r.get(0)?, r.get(1)?)))?)
    }

    /// A page of the record, newest first.
    pub fn entries(&self, filter: &Filter) -> Result<Vec<Entry>, JournalError> {
        let mut query = self.db.prepare_cached(
            "SELECT run.id, run.fingerprint, run.starts_at, alertname, labels, annotations, resolved_at, deliveries,
                    state, result, run.reason, policy, target, queued_at, ended_at, origin, request
             FROM run JOIN episode USING (fingerprint, starts_at)
             WHERE (?1 IS NULL OR run.id < ?1) AND (?2 IS NULL OR alertname = ?2) AND (?3 IS NULL OR target = ?3)
               AND (?4 IS NULL OR coalesce(result, state) = ?4) AND (?5 IS NULL OR queued_at >= ?5)
               AND (?6 IS NULL OR EXISTS (SELECT 1 FROM step WHERE step.run = run.id AND step.action = ?6))
             ORDER BY run.id DESC LIMIT ?7",
        )?;
        let f = filter;
        let rows = query.query_map(
            params![
                f.before,
                f.alertname,
                f.target,
                f.result,
                f.since,
                f.action,
                clamp(f.limit.min(PAGE_MAX))
            ],
            entry,
        )?;
        let mut entries = rows.collect::<Result<Vec<_>, _>>()?;
        let mut steps = self.db.prepare_cached(
            "SELECT id, rung, action, target, state, plan, begun_at, ended_at, verdict, freed_bytes, detail, before, after,
                    aftermath, lease_until, harm FROM step WHERE run = ?1 ORDER BY rung",
        )?;
        for entry in &mut entries {
            entry.steps = steps.query_map([entry.id], step)?.collect::<Result<_, _>>()?;
            entry.freed_bytes = entry.steps.iter().filter_map(|s| s.freed_bytes).sum();
        }
        Ok(entries)
    }
}

#[cfg(test)]
impl Journal {
    /// Makes each write fail from now on, as on a disk that is full or read-only; or no more.
    pub(super) fn refuse_writes(&self, refused: bool) {
        self.db.pragma_update(None, "query_only", refused).unwrap();
    }
}

/// The intent of a step.
#[derive(Clone, Copy, Debug)]
pub struct NewStep<'a> {
    /// Its place in the ladder, from 0.
    pub rung: usize,
    /// The action's name.
    pub action: &'a str,
    /// The target's name.
    pub target: &'a str,
    /// The plan, as JSON.
    pub plan: &'a str,
    /// The observation before, as JSON.
    pub before: &'a str,
}

fn clamp(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Makes the file, if it is not there, readable by its owner alone: labels and addresses are nobody else's business.
fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let open = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    open.map(drop)
}

/// Names the one error of SQLite that a person can put right at once.
fn held(e: rusqlite::Error) -> JournalError {
    match e.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => JournalError::Held,
        _ => JournalError::Sqlite(e),
    }
}

#[cfg(test)]
mod plans;

#[cfg(test)]
mod tests;
