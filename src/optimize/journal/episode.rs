//! What a notification does to episodes and their runs, in whatever order and however often it arrives.
//!
//! Two things end an episode: a `resolved` whose `endsAt` is not before it began, and a later firing of the same alert.
//! `endsAt` counts and not `startsAt` alone, because Alertmanager moves `startsAt` back when another Prometheus
//! reports an older one.

use super::{JournalError, Notified};
use crate::optimize::alert::{Alert, Status};
use rusqlite::{OptionalExtension, Transaction, params};

/// Nanoseconds since the epoch, kept within what an `i64` holds (the years 1677 to 2262).
fn nanos(at: jiff::Timestamp) -> i64 {
    let nanos = at.as_nanosecond();
    i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}

/// Writes one alert; returns the runs that it queued, and those that it ended.
pub(super) fn write(tx: &Transaction<'_>, alert: &Alert, now: i64) -> Result<Notified, JournalError> {
    let starts_at = nanos(alert.starts_at);
    let resolved = alert.status == Status::Resolved;
    let ends_at = resolved.then(|| alert.ends_at.map_or(starts_at, nanos).max(starts_at));
    tx.prepare_cached(
        "INSERT INTO episode (fingerprint, starts_at, alertname, labels, annotations, resolved_at, ends_at,
                              first_seen_at, last_seen_at, deliveries)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, 1)
         ON CONFLICT DO UPDATE SET resolved_at = coalesce(resolved_at, excluded.resolved_at),
                                   ends_at = coalesce(excluded.ends_at, ends_at),
                                   last_seen_at = excluded.last_seen_at, deliveries = deliveries + 1",
    )?
    .execute(params![
        alert.fingerprint,
        starts_at,
        alert.labels.get("alertname").map_or("", String::as_str),
        serde_json::to_string(&alert.labels)?,
        serde_json::to_string(&alert.annotations)?,
        resolved.then(|| alert.ends_at.map_or(now, jiff::Timestamp::as_millisecond)),
        ends_at,
        now
    ])?;
    match ends_at {
        Some(ends_at) => {
            let resolved = end(tx, &alert.fingerprint, ends_at, now)?;
            Ok(Notified { resolved, ..Notified::default() })
        }
        None => fire(tx, &alert.fingerprint, starts_at, now),
    }
}

/// Ends all episodes of the alert that began by `ends_at`, and their runs, unless they have begun to act: those end by
/// themselves, before their next action.
fn end(tx: &Transaction<'_>, fingerprint: &str, ends_at: i64, now: i64) -> Result<Vec<i64>, JournalError> {
    tx.prepare_cached(
        "UPDATE episode SET resolved_at = ?3 WHERE fingerprint = ?1 AND starts_at <= ?2 AND resolved_at IS NULL",
    )?
    .execute(params![fingerprint, ends_at, now])?;
    let mut ended = tx.prepare_cached(
        "UPDATE run SET state = 'ended', result = 'resolved', ended_at = ?3,
                            reason = 'resolved before anything was done'
             WHERE fingerprint = ?1 AND starts_at <= ?2 AND ended_at IS NULL AND state <> 'acting'
               AND NOT EXISTS (SELECT 1 FROM step WHERE step.run = run.id) RETURNING id",
    )?;
    let ended = ended.query_map(params![fingerprint, ends_at, now], |r| r.get(0))?;
    Ok(ended.collect::<Result<_, _>>()?)
}

/// Queues a run for the episode, once; old news leads to a run that has ended.
fn fire(tx: &Transaction<'_>, fingerprint: &str, starts_at: i64, now: i64) -> Result<Notified, JournalError> {
    let over: Option<i64> = tx
        .prepare_cached(
            "SELECT 1 FROM episode WHERE fingerprint = ?1
               AND (starts_at = ?2 AND resolved_at IS NOT NULL OR starts_at > ?2 OR ends_at >= ?2) LIMIT 1",
        )?
        .query_row(params![fingerprint, starts_at], |r| r.get(0))
        .optional()?;
    let (state, result, reason, ended) = match over {
        Some(_) => ("ended", Some("resolved"), Some("already over when it was reported"), Some(now)),
        None => ("queued", None, None, None),
    };
    let inserted = tx
        .prepare_cached(
            "INSERT INTO run (fingerprint, starts_at, state, result, reason, queued_at, not_before, ended_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7) ON CONFLICT DO NOTHING",
        )?
        .execute(params![fingerprint, starts_at, state, result, reason, now, ended])?;
    let run = tx.last_insert_rowid();
    // A newer firing means that the older one has ended, though nobody said so.
    tx.prepare_cached(
        "UPDATE episode SET resolved_at = ?3 WHERE fingerprint = ?1 AND starts_at < ?2 AND resolved_at IS NULL",
    )?
    .execute(params![fingerprint, starts_at, now])?;
    let run = Vec::from_iter((inserted > 0).then_some(run));
    let (queued, resolved) = if over.is_none() { (run, Vec::new()) } else { (Vec::new(), run) };
    Ok(Notified { queued, resolved })
}
