//! What a step cost, as seen a minute later: which steps are due, and what was found.

use super::{Journal, JournalError};
use rusqlite::params;

/// A step whose minute is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its number.
    pub step: i64,
    /// Its action.
    pub action: String,
    /// Its target.
    pub target: String,
    /// Verified bytes.
    pub freed_bytes: u64,
    /// The observation before, as JSON.
    pub before: String,
    /// The observation after, as JSON, if there was one.
    pub after: Option<String>,
    /// When its minute was over, in milliseconds since the epoch.
    pub at: i64,
    /// Whether a later step of its run was begun since.
    pub followed: bool,
}

pub(super) const AFTERMATHS_DUE: &str =
    "SELECT id, action, target, coalesce(freed_bytes, 0), before, after, aftermath_due,
        EXISTS (SELECT 1 FROM step AS later WHERE later.run = step.run AND later.id > step.id) FROM step
     WHERE aftermath_due <= ?1 ORDER BY aftermath_due LIMIT 16";

impl Journal {
    /// Steps whose minute is over and whose cost has not been read yet, a few at a time.
    pub fn aftermaths_due(&self, now: i64) -> Result<Vec<Due>, JournalError> {
        let mut query = self.db.prepare_cached(AFTERMATHS_DUE)?;
        let row = |r: &rusqlite::Row<'_>| {
            Ok(Due {
                step: r.get(0)?,
                action: r.get(1)?,
                target: r.get(2)?,
                freed_bytes: u64::try_from(r.get::<_, i64>(3)?).unwrap_or_default(),
                before: r.get(4)?,
                after: r.get(5)?,
                at: r.get(6)?,
                followed: r.get(7)?,
            })
        };
        Ok(query.query_map([now], row)?.collect::<Result<_, _>>()?)
    }

    /// Writes what a step cost, `None` when nobody looked in time; and why it was harmful, which the reason of its run says
    /// too. Nobody acts on it, so nobody is to wait for a disk because of it.
    pub fn end_aftermath(
        &mut self,
        step: i64,
        aftermath: Option<&str>,
        harm: Option<&str>,
    ) -> Result<(), JournalError> {
        self.without_sync(|j| j.write_aftermath(step, aftermath, harm))
    }

    fn write_aftermath(
        &mut self,
        step: i64,
        aftermath: Option<&str>,
        harm: Option<&str>,
    ) -> Result<(), JournalError> {
        let tx = self.db.transaction()?;
        tx.execute(
            "UPDATE step SET aftermath = ?2, aftermath_due = NULL, harm = ?3 WHERE id = ?1",
            params![step, aftermath, harm],
        )?;
        // A run that goes on says it at its end.
        tx.execute(
            "UPDATE run SET reason = coalesce(reason || '; ', '') || 'harmful: ' ||
                 (SELECT action || ': ' || harm FROM step WHERE id = ?1)
             WHERE ended_at IS NOT NULL AND id = (SELECT run FROM step WHERE id = ?1 AND harm IS NOT NULL)",
            [step],
        )?;
        Ok(tx.commit()?)
    }
}
