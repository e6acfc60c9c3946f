//! The buffers of a stream: how many there may be, who waits for one, and what is given back.

use crate::part::{Part, PartError, Sample, Urgency};
use crate::reclaim::lock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// After so long with fewer buffers there may be twice as many again.
const RECOVERY: Duration = Duration::from_mins(1);

/// Buffers of one size, within a bound.
#[derive(Debug)]
pub(super) struct Buffers {
    pub(super) piece_bytes: usize,
    pieces_max: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Memory that is there and not used.
    spare: Vec<Vec<u8>>,
    /// Buffers in use.
    used: usize,
    /// Pieces that were begun and are not over, of all runs.
    begun: usize,
    /// What may be begun at one time now, and since when it is less than it could be.
    limit: usize,
    limited_at: Option<Instant>,
    runs: usize,
}

impl Buffers {
    pub(super) fn new(piece_bytes: usize, pieces_max: usize) -> Self {
        let limit = pieces_max.max(1);
        let state = State { spare: Vec::new(), used: 0, begun: 0, limit, limited_at: None, runs: 0 };
        Self { piece_bytes, pieces_max: limit, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Begins to work through an input.
    pub(super) fn run(self: &Arc<Self>) -> Run {
        lock(&self.state).runs += 1;
        Run { of: Arc::clone(self), begun: AtomicUsize::new(0), ended: AtomicBool::new(false) }
    }
}

/// One input that is worked through.
pub(super) struct Run {
    of: Arc<Buffers>,
    /// Pieces that were begun and are not over.
    begun: AtomicUsize,
    ended: AtomicBool,
}

impl Run {
    /// A buffer for the next piece, once there may be one; none if all is over.
    pub(super) fn take(&self) -> Option<Buffer> {
        let wait = |state: &mut State| state.begun >= state.limit && !self.ended.load(Ordering::SeqCst);
        let state = lock(&self.of.state);
        let mut state = self.of.changed.wait_while(state, wait).unwrap_or_else(PoisonError::into_inner);
        if self.ended.load(Ordering::SeqCst) {
            return None;
        }
        state.begun += 1;
        state.used += 1;
        self.begun.fetch_add(1, Ordering::SeqCst);
        let bytes = state.spare.pop();
        drop(state);
        let bytes = bytes.unwrap_or_else(|| Vec::with_capacity(self.of.piece_bytes));
        Some(Buffer { bytes, of: Arc::clone(&self.of) })
    }

    /// A piece is over: what came of it was taken.
    pub(super) fn over(&self) {
        lock(&self.of.state).begun -= 1;
        self.begun.fetch_sub(1, Ordering::SeqCst);
        self.of.changed.notify_all();
    }

    /// Has nobody wait any more.
    pub(super) fn end(&self) {
        // Under the lock: who is about to wait would miss it.
        let _state = lock(&self.of.state);
        self.ended.store(true, Ordering::SeqCst);
        self.of.changed.notify_all();
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let mut state = lock(&self.of.state);
        state.begun -= self.begun.load(Ordering::SeqCst);
        state.runs -= 1;
        if state.runs == 0 {
            // Between inputs nothing is held.
            state.spare.clear();
        }
        drop(state);
        self.of.changed.notify_all();
    }
}

/// A buffer in use; dropped, it is spare again, or gone if there are too many.
pub(super) struct Buffer {
    pub(super) bytes: Vec<u8>,
    of: Arc<Buffers>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let mut state = lock(&self.of.state);
        state.used -= 1;
        if state.runs > 0 && state.used + state.spare.len() < state.limit {
            state.spare.push(bytes);
        }
    }
}

impl Part for Buffers {
    fn held_bytes(&self) -> Option<u64> {
        let state = lock(&self.state);
        Some((state.used + state.spare.len()) as u64 * self.piece_bytes as u64)
    }

    fn samples(&self) -> Vec<Sample> {
        let state = lock(&self.state);
        let (idle, used) = (state.spare.len() as u64, state.used as u64);
        drop(state);
        vec![
            Sample { name: "stream_idle_buffers", help: "Buffers that wait for a piece.", value: idle },
            Sample { name: "stream_used_buffers", help: "Buffers in use.", value: used },
        ]
    }

    /// Drops spare buffers now; those in use go when they are done with, for from now on there are half as many, or one.
    fn reclaim(&self, _target_bytes: u64, urgency: Urgency) -> Result<u64, PartError> {
        let mut state = lock(&self.state);
        if state.runs == 0 {
            return Ok(0);
        }
        state.limit = if urgency == Urgency::High { 1 } else { (state.limit / 2).max(1) };
        state.limited_at = Some(Instant::now());
        let spare = std::mem::take(&mut state.spare);
        drop(state);
        Ok(spare.len() as u64 * self.piece_bytes as u64)
    }

    fn tended_every(&self) -> Option<Duration> {
        Some(RECOVERY)
    }

    fn tend(&self, now: Instant) {
        let mut state = lock(&self.state);
        if state.limited_at.is_some_and(|at| now.saturating_duration_since(at) >= RECOVERY) {
            state.limit = (state.limit * 2).min(self.pieces_max);
            state.limited_at = (state.limit < self.pieces_max).then_some(now);
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_less_memory_it_goes_on_with_fewer_buffers_and_later_with_more_again() {
        let buffers = Arc::new(Buffers::new(100, 8));
        let run = buffers.run();
        let mut used: Vec<Buffer> = (0..8).filter_map(|_| run.take()).collect();
        used.truncate(2);
        assert_eq!(buffers.held_bytes(), Some(800));
        assert_eq!(buffers.reclaim(1, Urgency::Low).unwrap(), 600);
        assert_eq!((buffers.held_bytes(), lock(&buffers.state).limit), (Some(200), 4));
        assert_eq!(buffers.reclaim(1, Urgency::High).unwrap(), 0);
        // One is in use beside it: this one is not kept.
        used.pop();
        assert_eq!(buffers.held_bytes(), Some(100));
        let begun = Instant::now();
        for (minutes, limit) in [(0, 1), (1, 2), (1, 2), (2, 4), (3, 8), (9, 8)] {
            buffers.tend(begun + RECOVERY * minutes + Duration::from_secs(1));
            assert_eq!(lock(&buffers.state).limit, limit, "{minutes}");
        }
        drop((used, run));
        assert_eq!(buffers.held_bytes(), Some(0));
    }

    #[test]
    fn who_waits_for_a_buffer_is_let_go_at_the_end() {
        let buffers = Arc::new(Buffers::new(100, 1));
        let run = buffers.run();
        let _only = run.take().unwrap();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| run.take().is_none());
            run.end();
            assert!(waits.join().unwrap());
        });
    }
}
