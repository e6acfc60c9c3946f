//! Memory truth on a budget: whose mappings are read in this pass, so that all of it takes a set share of a processor.

use super::Known;
use super::families::Errors;
use super::groups::{Groups, Place};
use super::reading::Reader;
use crate::host::proc::Proportional;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What is saved up at most: the share of so long a time. It bounds how long one pass reads mappings, but for the last
/// process, which may be a large one and is read whole; what that takes too much is missing the next time.
const SAVING_MAX: Duration = Duration::from_secs(2);

/// What the first pass finds saved: somebody waits for it who wants to see the exporter up, and the rest is not lost.
const SAVED_AT_START: Duration = Duration::from_millis(100);

/// What was last seen of a process's memory.
#[derive(Debug)]
pub(super) struct Sample {
    /// By class; absent where this kernel or the rights do not give it.
    pub(super) memory: Option<Box<[Proportional; 5]>>,
    at: Instant,
}

/// Reads the mappings of processes in turn, as far as the budget goes.
#[derive(Debug)]
pub(super) struct Sampler {
    /// The share of one processor's time.
    share: f64,
    /// Seconds that may be spent; less than zero after a process that took longer than there was.
    purse: f64,
    last: Option<Instant>,
    /// The process that was read last; the next one is that with the next higher id.
    turn: u32,
}

/// How complete and how fresh the samples of all groups are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Coverage {
    /// Processes that were not read yet.
    pub(super) waiting: u64,
    /// How long ago the oldest sample was taken.
    pub(super) oldest: Option<Duration>,
}

impl Sampler {
    pub(super) fn new(share: f64) -> Self {
        Self { share, purse: share * SAVED_AT_START.as_secs_f64(), last: None, turn: 0 }
    }

    /// Reads as many processes as the budget allows at `now`: first those that were never read, then in turn.
    pub(super) fn read(
        &mut self,
        now: Instant,
        known: &mut HashMap<u32, Box<Known>>,
        reader: &mut Reader,
        errors: &mut Errors,
    ) {
        let since = self.last.map_or(0.0, |last| now.saturating_duration_since(last).as_secs_f64());
        self.last = Some(now);
        self.purse = (self.purse + since * self.share).min(self.share * SAVING_MAX.as_secs_f64());
        if self.purse <= 0.0 {
            return;
        }
        let turn = self.turn;
        let grouped = known.iter().filter(|(_, k)| matches!(k.place, Place::Group(_)));
        let mut queue: Vec<(bool, bool, u32)> =
            grouped.map(|(&pid, k)| (k.sample.is_some(), pid <= turn, pid)).collect();
        queue.sort_unstable();
        let mut digits = itoa::Buffer::new();
        let mut begun = Instant::now();
        for (again, _, pid) in queue {
            if self.purse <= 0.0 {
                break;
            }
            let memory = reader.memory(digits.format(pid), errors);
            let ended = Instant::now();
            self.purse -= ended.saturating_duration_since(begun).as_secs_f64();
            begun = ended;
            if again {
                self.turn = pid;
            }
            if let Some(known) = known.get_mut(&pid) {
                known.sample = Some(Sample { memory, at: now });
            }
        }
    }
}

/// Adds all samples to their groups.
pub(super) fn sum_up(now: Instant, known: &HashMap<u32, Box<Known>>, groups: &mut Groups) -> Coverage {
    let mut coverage = Coverage::default();
    for known in known.values() {
        let Place::Group(at) = known.place else { continue };
        let Some(sample) = &known.sample else {
            groups.await_memory(at);
            coverage.waiting += 1;
            continue;
        };
        if let Some(memory) = &sample.memory {
            groups.add_memory(at, memory);
        }
        coverage.oldest = coverage.oldest.max(Some(now.saturating_duration_since(sample.at)));
    }
    coverage
}
