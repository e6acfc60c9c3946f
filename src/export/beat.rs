//! The thread that makes passes for what is sent: when the next one is due, for whom, and how a reload changes both.

use super::destination::Filled;
use super::pass::History;
use crate::exporter::scrapes::ScrapeThread;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A pass that hangs is given up after that.
const PATIENCE: Duration = Duration::from_secs(25);
/// The longest that the first pass waits for a scrape.
const FIRST_MAX: Duration = Duration::from_mins(1);

/// For whom passes are made, and how often.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) filled: Vec<Filled>,
    pub(super) interval: Duration,
}

/// What the thread is told.
#[derive(Default)]
struct Told {
    /// Another plan.
    next: Option<Plan>,
    stops: bool,
}

/// The way to the thread.
pub(super) struct Beat {
    told: Mutex<Told>,
    changed: Condvar,
}

impl Beat {
    /// For a thread that begins with this plan.
    pub(super) fn new(plan: Plan) -> Self {
        Self { told: Mutex::new(Told { next: Some(plan), stops: false }), changed: Condvar::new() }
    }

    /// Passes are made by this plan from now on.
    pub(super) fn change(&self, plan: Plan) {
        // Destinations of a plan that was never taken up are dropped while nobody waits for the lock.
        let _former = self.told.lock().unwrap_or_else(PoisonError::into_inner).next.replace(plan);
        self.changed.notify_all();
    }

    /// No further pass is made.
    pub(super) fn stop(&self) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).stops = true;
        self.changed.notify_all();
    }

    /// Makes a pass each interval, or takes that of a scrape that falls into the last fifth of it. The first one may come at
    /// any time of the interval, so that both have one beat where they have one period.
    pub(super) fn run(&self, scrapes: &ScrapeThread, now_millis: fn() -> i64) {
        let (mut history, mut plan, mut last) = (History::default(), Plan::default(), None::<Instant>);
        loop {
            let interval = plan.interval;
            let share = if last.is_none() { interval.min(FIRST_MAX) } else { interval / 5 };
            let due = last.map_or_else(Instant::now, |last| last + interval.saturating_sub(share));
            match self.wait((!plan.filled.is_empty()).then_some(due)) {
                Told { stops: true, .. } => return,
                Told { next: Some(next), .. } => {
                    plan = next;
                    continue;
                }
                Told { next: None, .. } => {}
            }
            let begun = Instant::now();
            let share =
                last.map_or(share, |last| (last + interval).saturating_duration_since(begun).min(share));
            last = Some(match scrapes.record(share, PATIENCE) {
                Ok(recorded) => {
                    let made = recorded.begun;
                    let pass = history.next(recorded, now_millis());
                    for destination in &mut plan.filled {
                        destination.fill(&pass);
                    }
                    made
                }
                Err(e) => {
                    tracing::warn!(error = %e, "no pass for what is sent");
                    for destination in &plan.filled {
                        destination.tally.dropped("no_pass", 1);
                    }
                    begun
                }
            });
        }
    }

    /// Waits until something is told, or until then; without a time, as long as it takes.
    fn wait(&self, until: Option<Instant>) -> Told {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if told.stops || told.next.is_some() {
                return Told { next: told.next.take(), stops: told.stops };
            }
            told = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return Told::default(),
                Some(left) => {
                    let waited = self.changed.wait_timeout(told, left);
                    waited.map_or_else(|e| e.into_inner().0, |(told, _)| told)
                }
                None => self.changed.wait(told).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}
