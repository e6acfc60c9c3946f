//! Effects are undone in time, whatever becomes of the journal, and one that cannot be keeps no other waiting.

use super::super::engine::{Engine, HIGH, eventually, rung};
use crate::optimize::journal::Journal;
use crate::optimize::policy::Target;
use serde_json::json;
use std::time::Duration;

/// A run that squeezes `shop` for so long, once that has taken hold.
fn squeezed(engine: &Engine, lease: &str) -> i64 {
    let run = engine.ask("shop", vec![rung("squeeze", json!({"lease": lease}))]);
    eventually("it is held", || (engine.high() != HIGH).then_some(()));
    run
}

fn as_before(engine: &Engine) {
    eventually("it is as before", || (engine.high() == HIGH).then_some(()));
}

#[test]
fn a_brake_does_not_outlive_its_lease_while_the_journal_cannot_be_written() {
    let engine = Engine::start(|_| {});
    let run = squeezed(&engine, "2s");
    let entry = engine.ended(run);
    assert_eq!(entry.steps[0].verdict.as_deref(), Some("applied"));
    engine.refuse_writes(true);
    as_before(&engine);
    assert!(engine.shared().store.with(Journal::probe).is_err(), "the journal was there all the time");
    assert_eq!(engine.shared().metrics.leases.get(), 0);
    engine.refuse_writes(false);
    let undone = eventually("the record says so", || {
        engine.entry(run).filter(|e| e.steps[0].lease_until_millis.is_none())
    });
    assert!(undone.steps[0].detail.as_ref().unwrap().ends_with("is 600000000 as before"), "{undone:?}");
    engine.executor.stop(Duration::from_secs(5));
}

#[test]
fn an_outcome_that_cannot_be_written_undoes_its_effect_in_time_and_says_so_later() {
    let engine = Engine::start(|o| o.settle = Duration::from_secs(1));
    let run = squeezed(&engine, "1500ms");
    // Between the deed and its outcome.
    engine.refuse_writes(true);
    as_before(&engine);
    engine.refuse_writes(false);
    let entry = engine.ended(run);
    let undone = eventually("the record says so", || {
        engine.entry(run).filter(|e| e.steps[0].lease_until_millis.is_none())
    });
    assert!(undone.steps[0].detail.as_ref().unwrap().ends_with("as before"), "{entry:?} {undone:?}");
    engine.executor.stop(Duration::from_secs(5));
}

#[test]
fn at_the_end_all_is_undone_without_a_journal_and_in_the_middle_of_a_step() {
    for settle in [50, 60_000] {
        let engine = Engine::start(|o| o.settle = Duration::from_millis(settle));
        let run = squeezed(&engine, "1m");
        if settle < 1000 {
            engine.ended(run);
        }
        engine.refuse_writes(true);
        let (file, dir) = (engine.file("memory.high"), engine.dir);
        engine.executor.stop(Duration::from_millis(500));
        assert_eq!(std::fs::read_to_string(file).unwrap(), HIGH, "settle {settle} ms");
        drop(dir);
    }
}

#[test]
fn what_cannot_be_undone_keeps_nothing_else_waiting() {
    let engine = Engine::start(|_| {});
    let shared = engine.shared();
    // A directory in place of its file: reading it is an error, whoever reads.
    let stuck = engine.dir.path().join("stuck");
    std::fs::create_dir_all(stuck.join("memory.high")).unwrap();
    let plan = json!({"directory": stuck, "high_bytes": 1, "before_bytes": null});
    assert!(shared.standing.begin(1000, "squeeze", &plan, Duration::ZERO));
    eventually("it was tried", || shared.standing.plans("squeeze").first().map(|_| ()));
    squeezed(&engine, "100ms");
    as_before(&engine);
    assert_eq!(shared.standing.count(), 1, "what is stuck still stands");
    // Nor at the end, where the later one is stuck.
    let engine_file = engine.file("memory.high");
    squeezed(&engine, "1m");
    engine.executor.stop(Duration::from_secs(5));
    assert_eq!(std::fs::read_to_string(engine_file).unwrap(), HIGH);
}

#[test]
fn a_group_with_two_names_is_not_squeezed_twice() {
    let alias = Target { name: "alias".into(), cgroup: Some("/shop/".into()), ..Target::default() };
    let engine = Engine::start(|o| o.targets.push(alias));
    let first = squeezed(&engine, "1m");
    engine.ended(first);
    let high = engine.high();
    let second = engine.ended(engine.ask("alias", vec![rung("squeeze", json!({"lease": "2s"}))]));
    assert!(second.reason.as_ref().unwrap().contains("held already"), "{second:?}");
    assert_eq!((second.steps.len(), engine.high()), (0, high));
    let file = engine.file("memory.high");
    engine.executor.stop(Duration::from_secs(5));
    assert_eq!(std::fs::read_to_string(file).unwrap(), HIGH);
}
