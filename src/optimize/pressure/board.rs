//! Where the poll thread leaves what it saw, and runs find it: one seat a rule.

use super::super::observe::Stall;
use super::Rule;
use super::scene::Prepared;
use super::watch::{News, Sample, Watch};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// What was seen longer ago says nothing about now: the poll thread hangs, or is gone.
const EVIDENCE_AGE_MAX: Duration = Duration::from_secs(2);

/// A rule's seat.
#[derive(Debug)]
pub(super) struct Seat {
    /// The rule.
    pub(super) rule: Rule,
    /// When the watch's clock began.
    epoch: Instant,
    watch: Mutex<Watch>,
    /// The target's processes, looked up ahead.
    pub(super) prepared: Mutex<Option<Arc<Prepared>>>,
}

impl Seat {
    /// The seat of a rule whose watch has a clock that began at `epoch`.
    pub(super) fn new(rule: Rule, epoch: Instant) -> Self {
        let watch = Mutex::new(Watch::new(rule.limits()));
        Self { rule, epoch, watch, prepared: Mutex::new(None) }
    }

    /// Takes a sample; what it changed, and whether trouble is near.
    pub(super) fn see(&self, sample: Sample) -> (Option<News>, bool) {
        let mut watch = self.watch();
        let news = watch.see(sample);
        (news, watch.is_near())
    }

    /// An action has ended: what stalls from now on is evidence.
    pub(super) fn mark(&self) {
        self.watch().mark();
    }

    /// The number of the episode that goes on, or was the last.
    pub(super) fn episode(&self) -> u64 {
        self.watch().episode()
    }

    /// The run of this episode has found nothing to do.
    pub(super) fn give_up(&self, episode: u64) {
        self.watch().give_up(episode);
    }

    /// What is known of the trouble at this moment; `None` while there is too little to tell.
    pub(super) fn evidence(&self) -> Option<Stall> {
        let watch = self.watch();
        let (stalled, span) = watch.stalled();
        let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        let stall = |still| Stall { micros: micros(stalled), span_micros: micros(span), still };
        let fresh =
            watch.last_at().is_some_and(|at| self.epoch.elapsed().saturating_sub(at) < EVIDENCE_AGE_MAX);
        if fresh { watch.goes_on().map(stall) } else { Some(stall(false)) }
    }

    fn watch(&self) -> std::sync::MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All seats, and the poll thread's pace.
#[derive(Debug, Default)]
pub struct Board {
    seats: Mutex<Vec<Arc<Seat>>>,
    fast: AtomicBool,
    pub(super) poller: OnceLock<Thread>,
}

impl Board {
    /// The seat of the rule with this name.
    pub(super) fn seat(&self, rule: &str) -> Option<Arc<Seat>> {
        self.lock().iter().find(|s| s.rule.name == rule).map(Arc::clone)
    }

    pub(super) fn seats(&self) -> Vec<Arc<Seat>> {
        self.lock().clone()
    }

    /// An action on the target has ended, whoever asked for it. What stalled before it is no evidence for any rule that would
    /// act on the same target next.
    pub fn acted_on(&self, target: &str) {
        self.lock().iter().filter(|seat| seat.rule.target == target).for_each(|seat| seat.mark());
    }

    pub(super) fn replace(&self, seats: Vec<Arc<Seat>>) {
        *self.lock() = seats;
    }

    pub(super) fn set_fast(&self, fast: bool) -> bool {
        self.fast.swap(fast, Ordering::Relaxed) != fast
    }

    pub(super) fn is_fast(&self) -> bool {
        self.fast.load(Ordering::Relaxed)
    }

    /// Wakes the poll thread: other rules, or the end.
    pub fn nudge(&self) {
        if let Some(thread) = self.poller.get() {
            thread.unpark();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
