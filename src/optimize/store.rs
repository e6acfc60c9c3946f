//! The journal behind its lock: opened when it can be, dropped when it fails, tried again.

use super::journal::{Journal, JournalError};
use super::metrics::Metrics;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a journal that could not be opened is left alone.
const RETRY: Duration = Duration::from_secs(1);
/// A transaction that takes longer has met a disk that does not answer.
const HANGS_MILLIS: u64 = 5000;

/// The journal, shared by webhook, executor and API. The lock is held for one transaction, never during an action.
pub struct Store {
    path: PathBuf,
    metrics: Metrics,
    state: Mutex<State>,
    /// Since when the lock is held, in milliseconds after `born`, plus one; 0 while it is free.
    held_since: AtomicU64,
    born: Instant,
}

struct State {
    journal: Option<Journal>,
    not_before: Option<Instant>,
    error: String,
}

/// The journal cannot be used now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct StoreError {
    why: String,
    /// Whether another process has the journal open.
    pub held_elsewhere: bool,
}

impl Store {
    /// A store for the journal at `path`; it is opened at its first use.
    pub fn new(path: PathBuf, metrics: Metrics) -> Self {
        let state = State { journal: None, not_before: None, error: String::new() };
        Self { path, metrics, state: Mutex::new(state), held_since: AtomicU64::new(0), born: Instant::now() }
    }

    /// Whether the journal could be written when last tried, and is not stuck on a disk that does not answer.
    pub fn is_writable(&self) -> bool {
        let since = self.held_since.load(Ordering::Relaxed);
        if since > 0 && self.millis().saturating_sub(since) > HANGS_MILLIS {
            self.metrics.journal_writable.set(0);
        }
        self.metrics.journal_writable.get() == 1
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Uses the journal. After an error it is closed, so that the next use opens it anew: SQLite keeps a connection
    /// to a directory that was read-only as read-only for ever.
    pub fn with<T>(
        &self,
        work: impl FnOnce(&mut Journal) -> Result<T, JournalError>,
    ) -> Result<T, StoreError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.held_since.store(self.millis(), Ordering::Relaxed);
        let result = self.with_state(&mut state, work);
        self.held_since.store(0, Ordering::Relaxed);
        result
    }

    fn with_state<T>(
        &self,
        state: &mut State,
        work: impl FnOnce(&mut Journal) -> Result<T, JournalError>,
    ) -> Result<T, StoreError> {
        if state.journal.is_none() {
            if state.not_before.is_some_and(|t| Instant::now() < t) {
                return Err(StoreError { why: state.error.clone(), held_elsewhere: false });
            }
            match Journal::open(&self.path).and_then(|mut j| j.probe().map(|()| j)) {
                Ok(journal) => state.journal = Some(journal),
                Err(e) => return Err(self.failed(state, &e)),
            }
            if !state.error.is_empty() {
                tracing::info!(path = %self.path.display(), "the journal can be written again");
                state.error.clear();
            }
        }
        let Some(journal) = state.journal.as_mut() else {
            return Err(StoreError { why: state.error.clone(), held_elsewhere: false });
        };
        match work(journal) {
            Ok(value) => {
                self.metrics.journal_writable.set(1);
                Ok(value)
            }
            Err(e) => Err(self.failed(state, &e)),
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
        StoreError { why: error, held_elsewhere: matches!(e, JournalError::Held) }
    }
}
