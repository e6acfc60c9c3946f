//! Where the time between a stall and its action goes: one mark for the end of each phase, set on the way and read at its end.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The phases of a reaction, in their order. Each ends where the next begins; the first begins with the stall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Until a poll sees as much as the rule calls trouble.
    See,
    /// Until the desk has the word.
    Tell,
    /// Guards, and the lines of episode and run.
    Admit,
    /// Until the run's thread has it.
    HandOver,
    /// The target and the machine before, and who would be touched.
    Look,
    /// The plan, and whether it is permitted.
    Plan,
    /// The last look at the guards, and the synced intent.
    Intend,
}

/// All of them, with their words in metrics.
pub const PHASES: [(Phase, &str); 7] = [
    (Phase::See, "see"),
    (Phase::Tell, "tell"),
    (Phase::Admit, "admit"),
    (Phase::HandOver, "hand_over"),
    (Phase::Look, "look"),
    (Phase::Plan, "plan"),
    (Phase::Intend, "intend"),
];

/// The marks of one reaction. Of each phase the first end counts: a later rung is none of the reaction's.
#[derive(Debug)]
pub(super) struct Marks {
    onset: Instant,
    ends: [OnceLock<Instant>; PHASES.len()],
}

impl Marks {
    /// Of a stall that began then.
    pub(super) fn new(onset: Instant) -> Self {
        Self { onset, ends: Default::default() }
    }

    /// The phase has ended.
    pub(super) fn end(&self, phase: Phase, at: Instant) {
        if let Some((end, _)) = self.ends.iter().zip(PHASES).find(|(_, (p, _))| *p == phase) {
            // An earlier end stays.
            let _first = end.set(at);
        }
    }

    /// How long each phase took that has ended; what came between is in the next.
    pub(super) fn took(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let mut begun = self.onset;
        self.ends.iter().zip(PHASES).filter_map(move |(end, (_, name))| {
            let end = *end.get()?;
            let took = end.saturating_duration_since(begun);
            begun = end;
            Some((name, took))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_add_up_and_the_first_end_counts() {
        let onset = Instant::now();
        let at = |millis| onset + Duration::from_millis(millis);
        let marks = Marks::new(onset);
        for (phase, millis) in [(Phase::See, 5), (Phase::Tell, 6), (Phase::Look, 20), (Phase::Intend, 50)] {
            marks.end(phase, at(millis));
        }
        marks.end(Phase::Look, at(4000));
        let took: Vec<_> = marks.took().map(|(name, took)| (name, took.as_millis())).collect();
        assert_eq!(took, [("see", 5), ("tell", 1), ("look", 14), ("intend", 30)]);
    }

    #[test]
    fn the_table_has_each_phase_in_its_place() {
        for (place, (phase, _)) in PHASES.iter().enumerate() {
            assert_eq!(*phase as usize, place, "{phase:?}");
        }
    }
}
