//! The controller against simulated groups: it finds what they need, stays above the floor, and gives way.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a simulation")]

use super::*;
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

fn limits(floor_mib: u64) -> Limits {
    Limits { setpoint: 0.001, step: 0.01, floor_bytes: floor_mib * MIB, swap: false }
}

/// A group that needs `hot` bytes and holds more: what is taken of the rest is not missed; what is taken of the hot part
/// is read in again within a look, and waited for.
struct Group {
    hot: u64,
    now: Reading,
}

impl Group {
    fn new(hot: u64, current: u64) -> Self {
        let now = Reading {
            at: Duration::from_secs(1),
            current_bytes: current,
            stalled: Some(Duration::ZERO),
            refaulted_bytes: Some(0),
            ..Reading::default()
        };
        Self { hot, now }
    }

    /// An interval goes by; returns what was asked for.
    fn step(&mut self, control: &mut Control) -> Move {
        self.now.at += Duration::from_secs(6);
        let missing = self.hot.saturating_sub(self.now.current_bytes);
        self.now.current_bytes += missing;
        self.now.refaulted_bytes = self.now.refaulted_bytes.map(|b| b + missing);
        // A fast disk: half a GiB in a second.
        let waited = Duration::from_secs_f64(missing as f64 / (512 * MIB) as f64);
        self.now.stalled = self.now.stalled.map(|s| s + waited);
        let next = control.next(self.now);
        if let Move::Take { bytes, .. } = next {
            self.now.current_bytes -= bytes;
            control.took(bytes);
        }
        next
    }
}

#[test]
fn it_finds_what_a_group_needs_and_stays_there() {
    let (mut control, mut group) = (Control::new(limits(10)), Group::new(400 * MIB, 1000 * MIB));
    assert_eq!(control.working_set(), None);
    (0..300).for_each(|_| _ = group.step(&mut control));
    for _ in 0..500 {
        group.step(&mut control);
        let found = control.working_set().unwrap();
        assert!((395 * MIB..=405 * MIB).contains(&found), "{}", found / MIB);
    }
    // It grows, and that shows too.
    group.hot = 600 * MIB;
    (0..100).for_each(|_| _ = group.step(&mut control));
    assert!((594 * MIB..=606 * MIB).contains(&control.working_set().unwrap()));
}

#[test]
fn what_is_missed_makes_it_wait_longer_and_longer() {
    let (mut control, mut group) = (Control::new(limits(0)), Group::new(500 * MIB, 500 * MIB));
    let moves: Vec<Move> = (0..200).map(|_| group.step(&mut control)).collect();
    let takes: Vec<usize> =
        moves.iter().enumerate().filter(|(_, m)| matches!(m, Move::Take { .. })).map(|(i, _)| i).collect();
    let gaps: Vec<usize> = takes.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(gaps.is_sorted(), "{gaps:?}");
    assert!(*gaps.last().unwrap() > 30 && takes.len() < 12, "{gaps:?}");
}

#[test]
fn once_it_is_known_what_a_group_needs_little_of_that_is_taken() {
    let (mut control, mut group) = (Control::new(limits(0)), Group::new(400 * MIB, 1600 * MIB));
    let mut taken = 0;
    for _ in 0..1000 {
        if let Move::Take { bytes, .. } = group.step(&mut control) {
            taken += bytes;
        }
    }
    let refaulted = group.now.refaulted_bytes.unwrap();
    assert!(taken > 1190 * MIB && refaulted * 100 <= taken, "{taken} {refaulted}");
}

#[test]
fn without_pressure_files_and_after_a_reset_nothing_is_taken() {
    let mut control = Control::new(limits(0));
    let at = |s| Reading { at: Duration::from_secs(s), current_bytes: 1000 * MIB, ..Reading::default() };
    control.next(at(1));
    assert_eq!(control.next(at(7)), Move::Hold("its pressure is not known"));
    let known = |s, stalled| Reading { stalled: Some(Duration::from_millis(stalled)), ..at(s) };
    control.next(known(13, 500));
    assert_eq!(control.next(known(19, 0)), Move::Hold("its counters began anew"));
    assert_eq!(control.next(known(7, 0)), Move::Hold("its counters began anew"));
    assert_eq!(control.next(known(13, 0)), Move::Take { bytes: 10 * MIB, file_only: true });
}

#[test]
fn swap_is_used_only_where_it_is_allowed_and_has_room() {
    let take = |swap, swap_free| {
        let mut control = Control::new(Limits { swap, ..limits(0) });
        let reading = |s| Reading {
            at: Duration::from_secs(s),
            current_bytes: 1000 * MIB,
            stalled: Some(Duration::ZERO),
            swap_free,
            ..Reading::default()
        };
        control.next(reading(1));
        matches!(control.next(reading(7)), Move::Take { file_only: false, .. })
    };
    assert!(take(true, Some(0.9)));
    assert!(!take(false, Some(0.9)) && !take(true, Some(0.1)) && !take(true, None));
}

#[test]
fn a_group_that_gives_nothing_is_asked_less_and_less() {
    let mut control = Control::new(limits(0));
    let mut asked = 0;
    for s in 0..200_u64 {
        let reading = Reading {
            at: Duration::from_secs(s * 6 + 1),
            current_bytes: 1000 * MIB,
            stalled: Some(Duration::ZERO),
            ..Reading::default()
        };
        if let Move::Take { .. } = control.next(reading) {
            asked += 1;
            control.took(0);
        }
    }
    assert!((3..20).contains(&asked), "{asked}");
    assert_eq!(control.working_set(), None, "what cannot be taken is not known to be needed");
}

proptest! {
    /// Never below the floor or the promise, never more than a hundredth, never while it stalls; whatever is read.
    #[test]
    fn no_step_is_too_large(
        floor in 0_u64..2000,
        readings in proptest::collection::vec(
            (0_u64..20_000, 0_u64..2000, 0_u64..2000, 0_u64..20, 0_u64..50, proptest::bool::weighted(0.9)), 2..200
        )
    ) {
        let mut control = Control::new(limits(floor));
        let (mut at, mut stalled, mut refaulted, mut before) = (0, 0, 0, None);
        for (passed, current, protected, waited, missed, known) in readings {
            at += passed;
            stalled += waited.min(passed);
            refaulted += missed * MIB;
            let reading = Reading {
                at: Duration::from_millis(at),
                current_bytes: current * MIB,
                protected_bytes: protected * MIB,
                stalled: known.then(|| Duration::from_millis(stalled)),
                refaulted_bytes: Some(refaulted),
                ..Reading::default()
            };
            if let Move::Take { bytes, file_only } = control.next(reading) {
                prop_assert!(file_only && bytes <= current * MIB / 100 + 1);
                prop_assert!(current * MIB - bytes >= floor.max(protected) * MIB);
                let (then, was): (u64, u64) = before.unwrap();
                prop_assert!(((stalled - was) as f64) < 0.001 * (at - then) as f64);
                control.took(bytes);
            }
            before = known.then_some((at, stalled));
        }
    }

    /// A storm of refaults leads to a back-off at once, and the next step is not before another look.
    #[test]
    fn a_storm_is_given_way_to(hot in 100_u64..900, storm in 50_u64..500) {
        let (mut control, mut group) = (Control::new(limits(10)), Group::new(hot * MIB, 1000 * MIB));
        (0..20).for_each(|_| _ = group.step(&mut control));
        group.now.refaulted_bytes = group.now.refaulted_bytes.map(|b| b + storm * MIB);
        prop_assert!(matches!(group.step(&mut control), Move::BackOff(_)));
        let after = group.step(&mut control);
        prop_assert!(!matches!(after, Move::Take { .. }), "{after:?}");
        prop_assert!(control.working_set().is_some());
    }

    #[test]
    fn it_converges_whatever_the_group_needs(hot in 64_u64..2000, more in 0_u64..2000) {
        let (mut control, mut group) = (Control::new(limits(16)), Group::new(hot * MIB, (hot + more) * MIB));
        (0..700).for_each(|_| _ = group.step(&mut control));
        let found = control.working_set().unwrap() as f64 / (hot * MIB) as f64;
        prop_assert!((0.97..=1.03).contains(&found), "{found}");
    }
}
