//! Rows of the journal as entries and steps of the record.

use crate::optimize::record::{Entry, Step};
use rusqlite::Row;

fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, index: usize) -> rusqlite::Result<T> {
    let text: String = row.get(index)?;
    serde_json::from_str(&text).map_err(|e| {
        rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(e))
    })
}

fn json_or_null(row: &Row<'_>, index: usize) -> rusqlite::Result<serde_json::Value> {
    match row.get_ref(index)? {
        rusqlite::types::ValueRef::Null => Ok(serde_json::Value::Null),
        _ => json(row, index),
    }
}

/// A run with its episode; the columns are those of `Journal::entries`.
pub(super) fn entry(r: &Row<'_>) -> rusqlite::Result<Entry> {
    let starts_at: i64 = r.get(2)?;
    Ok(Entry {
        id: r.get(0)?,
        fingerprint: r.get(1)?,
        starts_at_millis: starts_at / 1_000_000,
        alertname: r.get(3)?,
        labels: json(r, 4)?,
        annotations: json(r, 5)?,
        resolved_at_millis: r.get(6)?,
        deliveries: r.get(7)?,
        state: r.get(8)?,
        result: r.get(9)?,
        reason: r.get(10)?,
        policy: r.get(11)?,
        target: r.get(12)?,
        queued_at_millis: r.get(13)?,
        ended_at_millis: r.get(14)?,
        origin: r.get(15)?,
        request: json_or_null(r, 16)?,
        freed_bytes: 0,
        steps: Vec::new(),
    })
}

/// A step; the columns are those of `Journal::entries`.
pub(super) fn step(r: &Row<'_>) -> rusqlite::Result<Step> {
    Ok(Step {
        id: r.get(0)?,
        rung: r.get(1)?,
        action: r.get(2)?,
        target: r.get(3)?,
        state: r.get(4)?,
        plan: json(r, 5)?,
        begun_at_millis: r.get(6)?,
        ended_at_millis: r.get(7)?,
        verdict: r.get(8)?,
        freed_bytes: r.get::<_, Option<i64>>(9)?.and_then(|b| u64::try_from(b).ok()),
        detail: r.get(10)?,
        before: json_or_null(r, 11)?,
        after: json_or_null(r, 12)?,
        aftermath: json_or_null(r, 13)?,
        lease_until_millis: r.get(14)?,
        harm: r.get(15)?,
    })
}
