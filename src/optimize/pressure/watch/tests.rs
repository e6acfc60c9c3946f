//! Episodes: each stall leads to one run, whatever the clock and the counters do.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a simulation")]

use super::*;
use proptest::prelude::*;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn limits() -> Limits {
    Limits { stall: Some(ms(100)), window: ms(1000), available_below: None, all: false, calm: ms(3000) }
}

fn sample(at: u64, stalled: u64) -> Sample {
    Sample { at: ms(at), stalled: Some(ms(stalled)), available: None }
}

/// Polls every `step` ms from `from` to `to`; the total grows by `share` of the time. Returns the news.
fn play(
    watch: &mut Watch,
    total: &mut u64,
    (from, to, step): (u64, u64, u64),
    share: f64,
) -> Vec<(u64, News)> {
    let mut news = Vec::new();
    for at in (from..to).step_by(usize::try_from(step).unwrap()) {
        *total += (step as f64 * share) as u64;
        news.extend(watch.see(sample(at, *total)).map(|n| (at, n)));
    }
    news
}

#[test]
fn a_stall_begins_once_and_is_over_once() {
    let (mut watch, mut total) = (Watch::new(limits()), 5000);
    assert_eq!(play(&mut watch, &mut total, (0, 10_000, 20), 0.0), []);
    assert!(!watch.is_near());
    let begun = play(&mut watch, &mut total, (10_000, 14_000, 20), 1.0);
    // The total of the poll at 10,000 holds 20 ms already: a tenth of a second of stall is there with the fifth.
    assert_eq!(begun, [(10_080, News::Begun { onset: ms(9_980) })]);
    let over = play(&mut watch, &mut total, (14_000, 30_000, 20), 0.0);
    assert_eq!(over.len(), 1);
    assert_eq!(over[0].1, News::Over);
    // A window until half of it is gone, and then the calm.
    assert!((17_800..=18_100).contains(&over[0].0), "{over:?}");
}

#[test]
fn too_little_stall_is_none_and_a_pause_within_the_calm_does_not_end_it() {
    let (mut watch, mut total) = (Watch::new(limits()), 0);
    assert_eq!(play(&mut watch, &mut total, (0, 20_000, 20), 0.09), []);
    assert_eq!(play(&mut watch, &mut total, (20_000, 22_000, 20), 0.5).len(), 1);
    for round in 0..5 {
        let from = 22_000 + round * 4_000;
        assert_eq!(play(&mut watch, &mut total, (from, from + 2_500, 20), 0.0), []);
        assert_eq!(play(&mut watch, &mut total, (from + 2_500, from + 4_000, 20), 0.5), []);
    }
}

#[test]
fn fresh_evidence_is_what_stalls_after_the_mark() {
    let (mut watch, mut total) = (Watch::new(limits()), 0);
    play(&mut watch, &mut total, (0, 2_000, 20), 1.0);
    assert_eq!(watch.goes_on(), Some(true));
    watch.mark();
    assert_eq!(watch.goes_on(), None, "nothing was seen since");
    play(&mut watch, &mut total, (2_000, 2_080, 20), 0.0);
    assert_eq!(watch.goes_on(), None, "too little to tell");
    play(&mut watch, &mut total, (2_080, 2_400, 20), 0.0);
    assert_eq!(watch.goes_on(), Some(false), "the window still holds the old stall, which is no evidence");
    play(&mut watch, &mut total, (2_400, 2_800, 20), 1.0);
    assert_eq!(watch.goes_on(), Some(true));
}

#[test]
fn a_stall_that_pauses_for_a_moment_is_evidence_until_something_was_done() {
    // As a group at its limit on a slow machine: some milliseconds now and then, in short windows.
    let short = Limits { stall: Some(ms(2)), window: ms(100), calm: ms(3_000), ..limits() };
    let (mut watch, mut total) = (Watch::new(short), 0);
    for episode in 0..2 {
        let at = episode * 60_000;
        play(&mut watch, &mut total, (at, at + 100, 20), 0.0);
        assert_eq!(watch.goes_on(), Some(false));
        play(&mut watch, &mut total, (at + 100, at + 200, 20), 0.5);
        play(&mut watch, &mut total, (at + 200, at + 900, 20), 0.0);
        assert_eq!(watch.goes_on(), Some(true), "episode {episode}: 700 ms ago");
        play(&mut watch, &mut total, (at + 900, at + 1_500, 20), 0.0);
        assert_eq!(watch.goes_on(), Some(false), "episode {episode}: long ago");
        play(&mut watch, &mut total, (at + 1_500, at + 1_700, 20), 0.5);
        watch.mark();
        play(&mut watch, &mut total, (at + 1_700, at + 2_000, 20), 0.0);
        assert_eq!(watch.goes_on(), Some(false), "episode {episode}: it was before the action");
        play(&mut watch, &mut total, (at + 2_000, at + 30_000, 100), 0.0);
    }
}

#[test]
fn trouble_that_comes_back_after_its_run_found_none_is_another_episode() {
    let (mut watch, mut total) = (Watch::new(limits()), 0);
    let news = play(&mut watch, &mut total, (0, 2_000, 20), 1.0);
    assert!(matches!(news[..], [(_, News::Begun { .. })]), "{news:?}");
    watch.give_up(watch.episode());
    let news = play(&mut watch, &mut total, (2_000, 4_000, 20), 1.0);
    assert!(matches!(news[..], [(_, News::Over), (_, News::Begun { .. })]), "{news:?}");
    // Of one that is over there is nothing to give up.
    play(&mut watch, &mut total, (4_000, 20_000, 20), 0.0);
    watch.give_up(watch.episode());
    let news = play(&mut watch, &mut total, (20_000, 22_000, 20), 1.0);
    assert!(matches!(news[..], [(_, News::Begun { .. })]), "{news:?}");
    // The run of an earlier one says so late: this one has a run of its own, and goes on.
    watch.give_up(watch.episode() - 1);
    assert_eq!(play(&mut watch, &mut total, (22_000, 24_000, 20), 1.0), []);
}

#[test]
fn what_was_done_stays_done_when_a_reading_fails_or_the_clock_is_set_back() {
    let blind = |at| Sample { at: ms(at), stalled: None, available: None };
    for disturbed in [false, true] {
        let (mut watch, mut total) = (Watch::new(limits()), 0);
        play(&mut watch, &mut total, (10_000, 12_000, 20), 1.0);
        watch.mark();
        if disturbed {
            watch.see(blind(12_000));
            watch.see(sample(11_990, total));
        }
        watch.see(sample(12_020, total));
        assert_eq!(watch.goes_on(), None, "disturbed: {disturbed}: nothing has stalled since");
        play(&mut watch, &mut total, (12_040, 12_400, 20), 0.0);
        assert_eq!(watch.goes_on(), Some(false), "disturbed: {disturbed}");
    }
}

#[test]
fn where_no_stalls_are_counted_what_is_available_is_the_evidence() {
    let short = Limits { stall: None, available_below: Some(0.1), ..limits() };
    let mut watch = Watch::new(short);
    let see = |watch: &mut Watch, from: u64, to: u64, available| {
        for at in (from..to).step_by(20) {
            watch.see(Sample { at: ms(at), stalled: None, available: Some(available) });
        }
    };
    see(&mut watch, 0, 1_000, 0.05);
    assert_eq!(watch.goes_on(), Some(true));
    watch.mark();
    see(&mut watch, 1_000, 1_040, 0.05);
    assert_eq!(watch.goes_on(), None, "too little to tell");
    see(&mut watch, 1_040, 1_200, 0.05);
    assert_eq!(watch.goes_on(), Some(true), "it was not enough");
    see(&mut watch, 1_200, 1_300, 0.2);
    assert_eq!(watch.goes_on(), Some(false));
}

#[test]
fn available_memory_counts_beside_the_stall_or_with_it() {
    let with = |all| Watch::new(Limits { available_below: Some(0.1), all, ..limits() });
    let low = |at, stalled| Sample { available: Some(0.05), ..sample(at, stalled) };
    assert!(with(false).see(low(0, 0)).is_some());
    let mut both = with(true);
    assert_eq!(both.see(low(0, 0)), None);
    assert_eq!(both.see(Sample { available: Some(0.5), ..sample(200, 150) }), None);
    assert!(both.see(low(220, 160)).is_some());
    let mut unknown = with(true);
    assert_eq!(unknown.see(sample(0, 0)), None);
    assert_eq!(unknown.see(sample(500, 400)), None, "what is not known is no evidence");
}

#[test]
fn a_total_that_cannot_be_read_is_no_evidence_and_trouble_then_ends() {
    let (mut watch, mut total) = (Watch::new(limits()), 0);
    play(&mut watch, &mut total, (0, 2_000, 20), 1.0);
    let blind = |at| Sample { at: ms(at), stalled: None, available: None };
    let news: Vec<_> = (2_000..8_000).step_by(20).filter_map(|at| watch.see(blind(at))).collect();
    assert_eq!(news, [News::Over]);
    assert_eq!(watch.goes_on(), Some(false));
}

#[test]
fn a_process_that_was_stopped_for_long_does_not_act_on_the_past() {
    let mut watch = Watch::new(limits());
    assert_eq!(watch.see(sample(0, 0)), None);
    assert_eq!(watch.see(sample(3_600_000, 600_000)), None);
    // Slow polls within a window are good evidence.
    let mut watch = Watch::new(limits());
    assert_eq!(watch.see(sample(0, 0)), None);
    assert_eq!(watch.see(sample(250, 120)), Some(News::Begun { onset: ms(130) }));
}

proptest! {
    /// Whatever clock and counters do: begun and over alternate, and trouble is never over before its calm.
    #[test]
    fn there_is_one_run_for_one_episode(
        steps in proptest::collection::vec((0_u64..3_000, 0_u64..400, 0_u8..100, 0_u64..10_000), 1..300)
    ) {
        let mut watch = Watch::new(limits());
        let (mut at, mut total, mut open, mut begun_at) = (10_000_u64, 1_000_u64, false, 0);
        for (passed, grown, event, amount) in steps {
            match event {
                0 => { at = at.saturating_sub(amount); begun_at = begun_at.min(at); }
                1 => at += amount * 100,
                2 => total = amount,
                _ => { at += passed; total += grown; }
            }
            let stalled = (event != 3).then(|| ms(total));
            match watch.see(Sample { at: ms(at), stalled, available: None }) {
                Some(News::Begun { onset }) => {
                    prop_assert!(!open && onset <= ms(at));
                    (open, begun_at) = (true, at);
                }
                Some(News::Over) => {
                    prop_assert!(open && at >= begun_at + 3_000);
                    open = false;
                }
                None => {}
            }
        }
    }

    /// A run begins only on a stall that is really there: as much as the rule says, in no more than two windows.
    #[test]
    fn no_run_begins_without_a_stall(polls in proptest::collection::vec((1_u64..400, 0_u64..30), 1..300)) {
        let mut watch = Watch::new(limits());
        let (mut at, mut total, mut history) = (0, 0, vec![(0, 0)]);
        for (passed, grown) in polls {
            at += passed;
            total += grown.min(passed);
            history.push((at, total));
            if let Some(News::Begun { .. }) = watch.see(sample(at, total)) {
                let before = history.iter().rev().find(|(t, _)| *t + 2_000 <= at).unwrap_or(&(0, 0)).1;
                prop_assert!(total - before >= 100, "{} at {at}", total - before);
            }
        }
    }
}
