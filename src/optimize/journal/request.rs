//! Wishes for a run that are no alerts: an episode of their own each, through the same tables.

use super::{Journal, JournalError};
use crate::matching::Labels;
use crate::optimize::request::Request;
use rusqlite::params;

impl Journal {
    /// Writes a wish and queues its run; returns the run's number. On the disk when this returns.
    pub fn request(&mut self, request: &Request, now: i64) -> Result<i64, JournalError> {
        let fingerprint = format!("{}/{}", request.origin.as_str(), request.name);
        let labels: Labels = [("alertname", &request.name), ("target", &request.target)]
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .into();
        let tx = self.db.transaction()?;
        // Two wishes within a millisecond, or a clock that was set back: the first number that is free.
        let last: Option<i64> = tx
            .prepare_cached("SELECT max(starts_at) FROM episode WHERE fingerprint = ?1")?
            .query_row([&fingerprint], |r| r.get(0))?;
        let starts_at = now.saturating_mul(1_000_000).max(last.unwrap_or(i64::MIN).saturating_add(1));
        tx.prepare_cached(
            "INSERT INTO episode (fingerprint, starts_at, alertname, labels, annotations, first_seen_at, last_seen_at,
                                  deliveries, origin, request)
             VALUES (?1, ?2, ?3, ?4, '{}', ?5, ?5, 1, ?6, ?7)",
        )?
        .execute(params![
            fingerprint,
            starts_at,
            request.name,
            serde_json::to_string(&labels)?,
            now,
            request.origin.as_str(),
            serde_json::to_string(request)?
        ])?;
        tx.prepare_cached(
            "INSERT INTO run (fingerprint, starts_at, state, queued_at, not_before) VALUES (?1, ?2, 'queued', ?3, ?3)",
        )?
        .execute(params![fingerprint, starts_at, now])?;
        let run = tx.last_insert_rowid();
        tx.commit()?;
        Ok(run)
    }

    /// The trouble that a run was asked for is over: it ends before its next action, and its effects are undone.
    pub fn resolve(&mut self, run: i64, now: i64) -> Result<(), JournalError> {
        let sql = "UPDATE episode SET resolved_at = ?2, last_seen_at = ?2
                   WHERE resolved_at IS NULL AND (fingerprint, starts_at) = (SELECT fingerprint, starts_at FROM run WHERE id = ?1)";
        self.db.execute(sql, [run, now])?;
        Ok(())
    }
}
