//! What an action really gained: a pure comparison of two observations.

use super::observe::Observation;
use bytesize::ByteSize;

/// What kind of effect an action has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The target goes on and holds less. What an ending process takes along is no gain.
    GivesBack,
    /// The target's processes end, or others take their place: what they took along is the gain.
    Ends,
    /// The target is held back, without any memory that must come of it; a gain counts all the same.
    Brakes,
    /// Somebody else was asked to do something, which shows later, if at all.
    HandsOver,
}

/// What the measurement says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The machine has so many more bytes available, and the target holds as many less.
    Freed {
        /// Verified bytes.
        bytes: u64,
    },
    /// What was to be done is done, and no bytes were to come of it.
    Applied,
    /// Less than what counts; `why` says on which side.
    NoGain {
        /// What was measured.
        why: String,
    },
    /// The target vanished, or could not be read again.
    Unknown {
        /// What is missing.
        why: String,
    },
}

impl Verdict {
    /// The word in the record and in metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Freed { .. } => "freed",
            Self::Applied => "applied",
            Self::NoGain { .. } => "no_gain",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// Verified bytes.
    pub const fn bytes(&self) -> u64 {
        match self {
            Self::Freed { bytes } => *bytes,
            _ => 0,
        }
    }

    /// The same of an action that failed: what it was to do is not done, whatever a look at its target cannot see. What it
    /// gained all the same counts.
    #[must_use]
    pub fn of_failed(self, effect: Effect) -> Self {
        match effect {
            Effect::HandsOver => Self::NoGain { why: "nobody has accepted it".into() },
            Effect::Brakes if self == Self::Applied => Self::NoGain { why: "it did not take hold".into() },
            Effect::Brakes | Effect::GivesBack | Effect::Ends => self,
        }
    }
}

/// What the measurements say of an action with this kind of effect.
pub fn judge(effect: Effect, before: &Observation, after: &Observation, min_gain_bytes: u64) -> Verdict {
    match effect {
        Effect::GivesBack => verdict(before, after, min_gain_bytes),
        Effect::Ends => ended(before, after, min_gain_bytes),
        Effect::Brakes => match verdict(before, after, min_gain_bytes) {
            Verdict::NoGain { .. } => Verdict::Applied,
            other => other,
        },
        Effect::HandsOver => Verdict::Applied,
    }
}

/// The same comparison where processes were to end: what they took along is the gain.
fn ended(before: &Observation, after: &Observation, min_gain_bytes: u64) -> Verdict {
    let Some(held) = &before.target else {
        return Verdict::Unknown { why: "the target could not be measured before".into() };
    };
    let holds = after.target.as_ref().map_or(0, |t| t.bytes);
    compare(held.bytes.saturating_sub(holds), before, after, min_gain_bytes)
}

/// Compares before and after. Resident size alone can lie (pages moved into a compressed swap on the same RAM; page
/// cache that was available anyway), and available memory alone can be somebody else's doing: what counts is the
/// smaller of the two.
pub fn verdict(before: &Observation, after: &Observation, min_gain_bytes: u64) -> Verdict {
    let (Some(held), Some(holds)) = (&before.target, &after.target) else {
        return Verdict::Unknown { why: "the target could not be measured before and after".into() };
    };
    if holds.processes == 0 && held.processes > 0 {
        return Verdict::Unknown { why: "the target's processes ended".into() };
    }
    // What processes that ended meanwhile took along was not given back by the action.
    let lives = |pid: u32| holds.resident_by_pid.iter().any(|(other, _)| *other == pid);
    let ended: u64 =
        held.resident_by_pid.iter().filter(|(pid, _)| !lives(*pid)).map(|(_, bytes)| bytes).sum();
    let fell = held.bytes.saturating_sub(holds.bytes).saturating_sub(ended);
    compare(fell, before, after, min_gain_bytes)
}

fn compare(fell: u64, before: &Observation, after: &Observation, min_gain_bytes: u64) -> Verdict {
    let rose = after.machine.reachable_bytes().saturating_sub(before.machine.reachable_bytes());
    let bytes = fell.min(rose);
    if bytes >= min_gain_bytes.max(1) {
        return Verdict::Freed { bytes };
    }
    let cached = after.machine.swap_cached_bytes.saturating_sub(before.machine.swap_cached_bytes);
    let later = if cached >= min_gain_bytes.max(1) {
        let cached = ByteSize::b(cached).display().iec();
        format!("; {cached} more are in swap and still in memory, until the kernel needs it")
    } else {
        String::new()
    };
    let [fell, rose, counts] = [fell, rose, min_gain_bytes].map(|b| ByteSize::b(b).display().iec());
    Verdict::NoGain {
        why: format!(
            "the target holds {fell} less, the machine has {rose} more available; {counts} would count{later}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimize::observe::TargetMemory;

    const MIB: u64 = 1 << 20;

    fn observation(target_mib: Option<u64>, available_mib: u64) -> Observation {
        let mut o = Observation::default();
        o.machine.available_bytes = available_mib * MIB;
        o.target =
            target_mib.map(|m| TargetMemory { bytes: m * MIB, processes: 1, ..TargetMemory::default() });
        o
    }

    fn check(before: (Option<u64>, u64), after: (Option<u64>, u64)) -> Verdict {
        verdict(&observation(before.0, before.1), &observation(after.0, after.1), 8 * MIB)
    }

    #[test]
    fn what_both_sides_show_is_freed() {
        assert_eq!(check((Some(500), 100), (Some(200), 400)), Verdict::Freed { bytes: 300 * MIB });
        assert_eq!(check((Some(500), 100), (Some(200), 250)), Verdict::Freed { bytes: 150 * MIB });
        assert_eq!(check((Some(500), 100), (Some(400), 900)), Verdict::Freed { bytes: 100 * MIB });
    }

    #[test]
    fn what_an_ending_process_takes_along_is_not_freed() {
        let with = |sizes: &[(u32, u64)], available| {
            let mut o = observation(Some(sizes.iter().map(|(_, mib)| mib).sum()), available);
            let target = o.target.as_mut().unwrap();
            target.processes = sizes.len() as u64;
            target.resident_by_pid = sizes.iter().map(|(pid, mib)| (*pid, mib * MIB)).collect();
            o
        };
        let before = with(&[(1, 512), (2, 512)], 100);
        assert_eq!(verdict(&before, &with(&[(1, 512)], 612), 8 * MIB).as_str(), "no_gain");
        let some = verdict(&before, &with(&[(1, 500)], 612), 8 * MIB);
        assert_eq!(some, Verdict::Freed { bytes: 12 * MIB });
    }

    #[test]
    fn the_effect_says_how_to_judge() {
        let (before, gone) = (observation(Some(500), 100), observation(None, 600));
        let same = observation(Some(500), 100);
        assert_eq!(judge(Effect::Ends, &before, &gone, MIB), Verdict::Freed { bytes: 500 * MIB });
        assert_eq!(judge(Effect::Ends, &before, &same, MIB).as_str(), "no_gain");
        assert_eq!(judge(Effect::GivesBack, &before, &gone, MIB).as_str(), "unknown");
        assert_eq!(judge(Effect::Brakes, &before, &same, MIB), Verdict::Applied);
        let less = observation(Some(400), 200);
        assert_eq!(judge(Effect::Brakes, &before, &less, MIB), Verdict::Freed { bytes: 100 * MIB });
        assert_eq!(judge(Effect::HandsOver, &before, &less, MIB), Verdict::Applied);
    }

    #[test]
    fn what_failed_is_not_done_and_what_it_gained_counts() {
        let no_gain = |effect| Verdict::Applied.of_failed(effect).as_str() == "no_gain";
        assert!(no_gain(Effect::Brakes) && no_gain(Effect::HandsOver));
        let freed = Verdict::Freed { bytes: 1 };
        assert_eq!(freed.clone().of_failed(Effect::Brakes), freed);
        assert_eq!(freed.clone().of_failed(Effect::GivesBack), freed);
        let unknown = Verdict::Unknown { why: "x".into() };
        assert_eq!(unknown.clone().of_failed(Effect::Brakes), unknown);
    }

    #[test]
    fn resident_size_alone_is_no_proof() {
        assert_eq!(check((Some(500), 100), (Some(0), 101)).as_str(), "no_gain");
        assert_eq!(check((Some(500), 100), (Some(0), 50)).as_str(), "no_gain");
    }

    #[test]
    fn what_lies_on_a_processors_own_list_is_available_too() {
        let (before, mut after) = (observation(Some(500), 100), observation(Some(200), 100));
        after.machine.per_cpu_free_bytes = Some(200 * MIB);
        assert_eq!(verdict(&before, &after, 8 * MIB), Verdict::Freed { bytes: 200 * MIB });
    }

    #[test]
    fn what_is_in_swap_and_still_in_memory_is_no_gain_yet_and_named() {
        let (before, mut after) = (observation(Some(500), 100), observation(Some(200), 100));
        after.machine.swap_cached_bytes = 300 * MIB;
        let Verdict::NoGain { why } = verdict(&before, &after, 8 * MIB) else { panic!("boasts") };
        assert!(why.contains("300.0 MiB more are in swap"), "{why}");
    }

    #[test]
    fn another_processs_memory_is_not_ours_to_count() {
        assert_eq!(check((Some(500), 100), (Some(500), 900)).as_str(), "no_gain");
        assert_eq!(check((Some(500), 100), (Some(600), 900)).as_str(), "no_gain");
    }

    #[test]
    fn a_target_that_vanishes_is_not_counted_as_freed() {
        assert_eq!(check((Some(500), 100), (None, 600)).as_str(), "unknown");
        let mut after = observation(Some(0), 600);
        if let Some(target) = &mut after.target {
            target.processes = 0;
        }
        assert_eq!(verdict(&observation(Some(500), 100), &after, MIB).as_str(), "unknown");
    }
}
