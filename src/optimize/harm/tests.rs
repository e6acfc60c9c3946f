//! Each rule by which an action counts as harmful, on both sides of its bound.

use super::*;

const MIB: u64 = 1 << 20;

/// A minute with so much stalled time, so much read in again, and so many major faults a second.
fn minute(some_ratio: f64, refaulted_mib: u64, faults: u64) -> Span {
    Span {
        seconds: 60.0,
        some_ratio: Some(some_ratio),
        full_ratio: None,
        refaulted_bytes: Some(refaulted_mib * MIB),
        major_faults: Some(faults * 60),
    }
}

fn machine(before: impl Into<Option<Span>>, after: impl Into<Option<Span>>) -> Evidence {
    let (before, after) = (before.into(), after.into());
    Evidence { machine: Spans { before, during: None, after }, ..Evidence::default() }
}

fn of(effect: Effect, seen: &Evidence) -> Option<String> {
    judge(effect, 400 * MIB, 8 * MIB, seen)
}

fn gives_back(seen: &Evidence) -> Option<String> {
    of(Effect::GivesBack, seen)
}

#[test]
fn more_than_a_quarter_of_what_was_freed_read_in_again_is_harm() {
    let read = |before, after| gives_back(&machine(minute(0.0, before, 0), minute(0.0, after, 0)));
    assert_eq!(read(0, 100), None);
    assert!(read(0, 101).unwrap().contains("101.0 MiB again"), "{:?}", read(0, 101));
    assert_eq!(read(500, 600), None, "what was usual before is nobody's doing");
    assert!(read(500, 601).is_some());
    let nothing_freed =
        |mib| judge(Effect::GivesBack, 0, 8 * MIB, &machine(minute(0.0, 0, 0), minute(0.0, mib, 0)));
    assert_eq!((nothing_freed(8), nothing_freed(9).is_some()), (None, true));
}

#[test]
fn what_the_targets_own_group_reads_counts_before_what_the_machine_does() {
    let mut seen = machine(minute(0.0, 0, 0), minute(0.0, 900, 0));
    seen.group =
        Some(Spans { before: Some(minute(0.0, 0, 0)), during: None, after: Some(minute(0.0, 50, 0)) });
    assert_eq!(gives_back(&seen), None, "others read");
    seen.group =
        Some(Spans { before: Some(minute(0.0, 0, 0)), during: None, after: Some(minute(0.0, 150, 0)) });
    assert!(gives_back(&seen).unwrap().starts_with("the target read in"));
    // Of a group without a past the machine's is taken.
    seen.group = Some(Spans { before: None, during: None, after: Some(minute(0.0, 50, 0)) });
    assert!(gives_back(&seen).unwrap().starts_with("the machine read in"));
}

#[test]
fn stalls_are_harm_where_they_doubled_and_are_more_than_a_tenth() {
    let stalls = |before, after| gives_back(&machine(minute(before, 0, 0), minute(after, 0, 0)));
    assert_eq!((stalls(0.0, 0.10), stalls(0.06, 0.12)), (None, None));
    assert!(stalls(0.0, 0.11).unwrap().contains("stalled for 11 %"));
    assert!(stalls(0.05, 0.11).is_some());
    let mut seen = machine(minute(0.0, 0, 0), minute(0.0, 0, 0));
    seen.machine.during = Some(Span { seconds: 3.0, some_ratio: Some(0.5), ..Span::default() });
    assert!(gives_back(&seen).is_some(), "what it does while it runs counts too");
}

#[test]
fn trouble_that_was_there_and_goes_on_is_no_actions_harm() {
    let mut seen = machine(minute(0.0, 0, 0), minute(0.35, 0, 0));
    seen.machine.during = Some(Span { seconds: 3.0, some_ratio: Some(0.6), ..Span::default() });
    assert!(gives_back(&seen).is_some(), "by an alert, in a calm minute");
    // A rule saw a fifth of the time stalled, and asked for it.
    seen.asked_ratio = Some(0.2);
    assert_eq!(gives_back(&seen), None);
    seen.machine.after = Some(minute(0.45, 0, 0));
    assert!(gives_back(&seen).unwrap().contains("45 % of the time, 20 % before"));
    // Then a later rung held the group back.
    seen.followed = true;
    assert_eq!(gives_back(&seen), None);
}

#[test]
fn a_brake_may_stall_its_target() {
    let quiet = machine(minute(0.0, 0, 0), minute(0.0, 0, 0));
    let held = Spans { before: Some(minute(0.0, 0, 0)), during: None, after: Some(minute(0.9, 0, 0)) };
    let braked = Evidence { group: Some(held), ..quiet };
    assert_eq!(of(Effect::Brakes, &braked), None);
    assert!(of(Effect::GivesBack, &braked).is_some());
    // The machine's stalls are its target's as well.
    assert_eq!(of(Effect::Brakes, &machine(minute(0.0, 0, 0), minute(0.9, 0, 0))), None);
    assert!(of(Effect::Ends, &machine(minute(0.0, 0, 0), minute(0.9, 0, 0))).is_some());
}

#[test]
fn what_others_read_after_the_end_of_processes_is_their_gain() {
    let seen = machine(minute(0.0, 0, 0), minute(0.0, 900, 0));
    assert_eq!(of(Effect::Ends, &seen), None);
    assert!(of(Effect::GivesBack, &seen).is_some());
    let worst = machine(minute(0.0, 0, 0), minute(0.9, 900, 900));
    assert_eq!(of(Effect::HandsOver, &worst), None, "nothing was done here");
}

#[test]
fn faults_that_wait_for_a_disk_are_harm_where_they_are_many_and_four_times_as_many() {
    let faults = |before, after| gives_back(&machine(minute(0.0, 0, before), minute(0.0, 0, after)));
    assert_eq!((faults(0, 100), faults(50, 200)), (None, None));
    assert!(faults(0, 101).is_some() && faults(50, 201).is_some());
}

#[test]
fn an_applications_own_metric_is_harm_above_its_ratio() {
    let own = |before, during, after| Evidence {
        application: Some(Own { before, during, after, harmful_above_ratio: 1.5 }),
        ..Evidence::default()
    };
    let judged = |b, d, a| gives_back(&own(b, d, a)).is_some();
    assert!(!judged(Some(0.2), None, Some(0.3)) && judged(Some(0.2), None, Some(0.31)));
    assert!(judged(Some(0.2), Some(0.4), Some(0.2)), "the worst counts");
    assert!(!judged(Some(0.0), None, Some(9.0)), "a ratio to nothing is none");
    assert!(!judged(None, None, Some(9.0)) && !judged(Some(1.0), None, None));
}

#[test]
fn without_a_before_nothing_is_judged() {
    assert_eq!(gives_back(&machine(None::<Span>, minute(1.0, 9000, 9000))), None);
    assert_eq!(gives_back(&Evidence::default()), None);
}

#[test]
fn a_span_has_rates_and_leaves_out_what_fell() {
    let totals = |at_millis, some, refaults| Totals {
        at_millis,
        some_micros: Some(some),
        refaults: Some(refaults),
        ..Totals::default()
    };
    let span = |a, b| Span::between(&a, &b);
    let two = span(totals(0, 0, 10), totals(2000, 500_000, 20)).unwrap();
    assert_eq!(
        (two.seconds, two.some_ratio, two.refaulted_bytes),
        (2.0, Some(0.25), Some(10 * rustix::param::page_size() as u64))
    );
    assert_eq!((two.full_ratio, two.major_faults), (None, None));
    assert_eq!(span(totals(0, 0, 0), totals(999, 0, 0)), None, "too short");
    assert_eq!(span(totals(5000, 0, 0), totals(1000, 0, 0)), None, "the clock was set back");
    let fell = span(totals(0, 0, 10), totals(2000, 0, 9)).unwrap();
    assert_eq!((fell.refaulted_bytes, fell.some_ratio), (None, Some(0.0)));
}

#[test]
fn refaults_that_are_counted_in_one_are_absent() {
    assert_eq!(Totals::new(0, None, [None, Some(5)]).refaults, None);
    assert_eq!(Totals::new(0, None, [Some(3), Some(5)]).refaults, Some(8));
}
