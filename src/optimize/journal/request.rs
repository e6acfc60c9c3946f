//! Wishes for a run that are no alerts: an episode of their own each, through the same tables.

use super::{Journal, JournalError};
use crate::matching::Labels;
use crate::optimize::request::Request;
use rusqlite::params;

pub(super) const RESOLVE_PRESSURE: &str = "UPDATE episode SET resolved_at = ?1
    WHERE resolved_at IS NULL AND origin = 'pressure' AND (fingerprint, starts_at) IN
        (SELECT fingerprint, starts_at FROM run INDEXED BY run_open WHERE ended_at IS NULL)";

impl Journal {
    /// Writes a wish and queues its run; returns the run's number. On the disk when this returns.
    pub fn request(&mut self, request: &Request, now: i64) -> Result<i64, JournalError> {
        self.wish(request, None, now)
    }

    /// The same for a run that begins at once, with its policy and target. It is on the disk no later than the intent of
    /// its first step, for which one sync is then enough: without an intent, its loss would be the loss of a wish.
    pub fn request_acting(
        &mut self,
        request: &Request,
        (policy, target): (&str, &str),
        now: i64,
    ) -> Result<i64, JournalError> {
        self.without_sync(|j| j.without_checkpoint(|j| j.wish(request, Some((policy, target)), now)))
    }

    /// After a start: nobody has watched over what pressure asked for.
    pub fn resolve_pressure(&mut self, now: i64) -> Result<usize, JournalError> {
        Ok(self.db.execute(RESOLVE_PRESSURE, [now])?)
    }

    fn wish(
        &mut self,
        request: &Request,
        acting: Option<(&str, &str)>,
        now: i64,
    ) -> Result<i64, JournalError> {
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
            "INSERT INTO run (fingerprint, starts_at, state, policy, target, queued_at, not_before)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
        )?
        .execute(params![
            fingerprint,
            starts_at,
            if acting.is_some() { "acting" } else { "queued" },
            acting.map(|a| a.0),
            acting.map(|a| a.1),
            now
        ])?;
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

#[cfg(test)]
mod tests;
