//! The journal's tables, and how a file of an earlier version gets them.

use super::JournalError;
use rusqlite::Connection;

/// What brings a file from each version to the next; an empty file has version 0. Only ever added to.
pub(super) const STEPS: [&str; 3] = [
    "
CREATE TABLE episode (
    fingerprint TEXT NOT NULL, starts_at INTEGER NOT NULL, alertname TEXT NOT NULL,
    labels TEXT NOT NULL, annotations TEXT NOT NULL, resolved_at INTEGER, ends_at INTEGER,
    first_seen_at INTEGER NOT NULL, last_seen_at INTEGER NOT NULL, deliveries INTEGER NOT NULL,
    PRIMARY KEY (fingerprint, starts_at)
) STRICT;
CREATE TABLE run (
    id INTEGER PRIMARY KEY AUTOINCREMENT, fingerprint TEXT NOT NULL, starts_at INTEGER NOT NULL,
    state TEXT NOT NULL, result TEXT, reason TEXT, policy TEXT, target TEXT,
    queued_at INTEGER NOT NULL, not_before INTEGER NOT NULL, ended_at INTEGER,
    UNIQUE (fingerprint, starts_at)
) STRICT;
CREATE INDEX run_open ON run (id) WHERE ended_at IS NULL;
CREATE TABLE step (
    id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    rung INTEGER NOT NULL, action TEXT NOT NULL, target TEXT NOT NULL, state TEXT NOT NULL,
    plan TEXT NOT NULL, begun_at INTEGER NOT NULL, ended_at INTEGER, verdict TEXT, freed_bytes INTEGER,
    detail TEXT, before TEXT NOT NULL, after TEXT, aftermath TEXT, aftermath_due INTEGER,
    UNIQUE (run, rung)
) STRICT;
CREATE INDEX step_begun ON step (begun_at);
CREATE INDEX step_target ON step (target, begun_at);
CREATE INDEX step_open ON step (id) WHERE state = 'begun';
CREATE INDEX step_due ON step (aftermath_due) WHERE aftermath_due IS NOT NULL;
",
    // `origin` says who asked: an alert, the kernel's pressure or a person; of the last two, `request` says for what.
    // `lease_until` stands while an effect is to be undone at that time; `harm` says why a step was harmful.
    "
ALTER TABLE episode ADD COLUMN origin TEXT NOT NULL DEFAULT 'alert';
ALTER TABLE episode ADD COLUMN request TEXT;
ALTER TABLE step ADD COLUMN lease_until INTEGER;
ALTER TABLE step ADD COLUMN harm TEXT;
CREATE INDEX step_lease ON step (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX step_judged ON step (action, target, id);
",
    // `kind` is that of a hook, and empty for all else. Each index answers a question that is asked while others wait for
    // the lock, from a few of its rows, however long the record is.
    "
ALTER TABLE step ADD COLUMN kind TEXT NOT NULL DEFAULT '';
UPDATE step SET kind = coalesce(CAST(json_extract(plan, '$.request.kind') AS TEXT), '')
    WHERE action = 'app_hook' AND json_valid(plan);
CREATE INDEX step_tried ON step (action, target, kind);
CREATE INDEX step_action ON step (action);
CREATE INDEX step_last ON step (coalesce(ended_at, begun_at)) WHERE action <> 'proactive';
CREATE INDEX step_last_on ON step (target, coalesce(ended_at, begun_at)) WHERE action <> 'proactive';
DROP INDEX step_target;
CREATE INDEX run_state ON run (state) WHERE ended_at IS NULL;
",
];

/// The version of the tables; a file of a newer version is refused.
pub(super) const VERSION: usize = STEPS.len();

/// Brings the file to the version of this program, all or nothing.
pub(super) fn bring_up(db: &mut Connection) -> Result<(), JournalError> {
    let found: i64 = db.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    let steps = usize::try_from(found).ok().and_then(|have| STEPS.get(have..));
    let Some(steps) = steps else { return Err(JournalError::Newer { found }) };
    if steps.is_empty() {
        return Ok(());
    }
    let tx = db.transaction()?;
    for step in steps {
        tx.execute_batch(step)?;
    }
    tx.pragma_update(None, "user_version", super::clamp(VERSION))?;
    Ok(tx.commit()?)
}
