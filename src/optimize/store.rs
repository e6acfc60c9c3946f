//! The journal behind its lock: opened when it can be, dropped when it fails, tried again.

use super::journal::{Journal, JournalError};
use super::metrics::Metrics;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a journal that could not be opened is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// The journal, shared by webhook, executor and API. The lock is held for one transaction, never during an action.
pub struct Store {
    path: PathBuf,
    metrics: Metrics,
    state: Mutex<State>,
}

struct State {
    journal: Option<Journal>,
    not_before: Option<Instant>,
    error: String,
}

/// The journal cannot be used now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(String);

impl Store {
    /// A store for the journal at `path`; it is opened at its first use.
    pub fn new(path: PathBuf, metrics: Metrics) -> Self {
        let state = State { journal: None, not_before: None, error: String::new() };
        Self { path, metrics, state: Mutex::new(state) }
    }

    /// Whether the journal could be written when last tried.
    pub fn is_writable(&self) -> bool {
        self.metrics.journal_writable.get() == 1
    }

    /// Uses the journal. After an error it is closed, so that the next use opens it anew: SQLite keeps a connection
    /// to a directory that was read-only as read-only for ever.
    pub fn with<T>(
        &self,
        work: impl FnOnce(&mut Journal) -> Result<T, JournalError>,
    ) -> Result<T, StoreError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.journal.is_none() {
            if state.not_before.is_some_and(|t| Instant::now() < t) {
                return Err(StoreError(state.error.clone()));
            }
            match Journal::open(&self.path).and_then(|mut j| j.probe().map(|()| j)) {
                Ok(journal) => state.journal = Some(journal),
                Err(e) => return Err(self.failed(&mut state, &e)),
            }
            if !state.error.is_empty() {
                tracing::info!(path = %self.path.display(), "the journal can be written again");
                state.error.clear();
            }
        }
        let Some(journal) = state.journal.as_mut() else { return Err(StoreError(state.error.clone())) };
        match work(journal) {
            Ok(value) => {
                self.metrics.journal_writable.set(1);
                Ok(value)
            }
            Err(e) => Err(self.failed(&mut state, &e)),
        }
    }

    fn failed(&self, state: &mut State, e: &JournalError) -> StoreError {
        let error = format!("{e} ({})", self.path.display());
        self.metrics.journal_writable.set(0);
        self.metrics.journal_errors.inc();
        if state.error != error {
            tracing::error!(%error, "no action begins while the journal cannot be used");
        }
        state.error.clone_from(&error);
        state.journal = None;
        state.not_before = Some(Instant::now() + RETRY);
        StoreError(error)
    }
}
