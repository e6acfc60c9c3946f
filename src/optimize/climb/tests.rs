//! What a climb makes of actions that go wrong, on an executor whose host is a directory.

use crate::optimize::executor::engine::{Engine, HIGH, eventually, rung};
use crate::optimize::journal::{NewStep, Outcome};
use crate::optimize::policy::hook::Hook;
use crate::optimize::record::StepState;
use crate::optimize::request::Request;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[test]
fn a_brake_that_failed_is_no_gain_and_neither_is_its_run() {
    let engine = Engine::start(|_| {});
    // Somebody else's write to the same file has not returned.
    let hand = engine.shared().hand(&engine.shared().settings().host);
    let _under_way = hand.apart(&engine.file("memory.high")).unwrap().unwrap();
    let entry = engine.ended(engine.ask("shop", vec![rung("squeeze", json!({"lease": "1m"}))]));
    let step = &entry.steps[0];
    assert_eq!((step.state.as_str(), step.verdict.as_deref()), ("failed", Some("no_gain")), "{entry:?}");
    assert!(step.detail.as_ref().unwrap().ends_with("; it did not take hold"), "{entry:?}");
    assert_eq!(entry.result.as_deref(), Some("exhausted"), "{entry:?}");
    engine.executor.stop(Duration::from_secs(5));
}

/// Writes three tries of an action on `shop` that came to nothing.
fn failed_thrice(engine: &Engine, action: &str, plan: &Value) {
    let now = jiff::Timestamp::now().as_millisecond();
    let wish = Request { name: "before".into(), target: "shop".into(), ..Request::default() };
    let outcome = Outcome {
        state: StepState::Failed,
        verdict: "no_gain",
        freed_bytes: 0,
        detail: None,
        after: None,
        aftermath_due: None,
        lease_until: None,
    };
    let plan = plan.to_string();
    for _ in 0..3 {
        let step = NewStep { rung: 0, action, target: "shop", plan: &plan, before: "{}" };
        let written = engine.shared().store.with(|j| {
            let run = j.request_acting(&wish, ("p", "shop"), now)?;
            let step = j.begin_step(run, &step, now)?;
            j.end_step(step, &outcome, now)
        });
        written.unwrap();
    }
}

#[test]
fn a_rung_without_a_kind_is_judged_by_the_tries_of_the_first_hook_alone() {
    // Nobody listens there.
    let hook = |kind: &str| Hook {
        kind: Some(kind.into()),
        url: Some("http://127.0.0.1:9/".into()),
        ..Hook::default()
    };
    let engine = Engine::start(|o| o.targets[0].hooks = vec![hook("gc"), hook("caches")]);
    failed_thrice(&engine, "app_hook", &json!({"request": {"kind": "caches"}}));
    let run = |with: Value| engine.ended(engine.ask("shop", vec![rung("app_hook", with)]));
    let second = run(json!({"kind": "caches"}));
    assert!(second.reason.as_ref().unwrap().contains("left out"), "{second:?}");
    assert_eq!(run(Value::Null).steps.len(), 1, "the first hook was never tried");
    let gauge = engine.shared().metrics.breaker_open.with_label_values(&["app_hook", "shop"]);
    eventually("the gauge", || (gauge.get() == 1).then_some(()));
    failed_thrice(&engine, "app_hook", &json!({"request": {"kind": "gc"}}));
    let first = run(Value::Null);
    assert!(first.reason.as_ref().unwrap().contains("left out"), "{first:?}");
    engine.executor.stop(Duration::from_secs(5));
}

#[test]
fn what_could_not_be_delivered_three_times_is_not_left_out() {
    let engine = Engine::start(|_| {});
    failed_thrice(&engine, "notify", &json!({}));
    let entry = engine.ended(engine.ask("shop", vec!["notify".into()]));
    assert!(entry.reason.as_ref().unwrap().contains("no `notify` configured"), "{entry:?}");
    engine.executor.stop(Duration::from_secs(5));
}

#[test]
fn a_stop_ends_the_wait_for_a_gain_and_writes_the_outcome() {
    let engine = Engine::start(|o| o.settle = Duration::from_hours(1));
    let run = engine.ask("shop", vec![rung("squeeze", json!({"lease": "1m"}))]);
    eventually("it is held", || (engine.high() != HIGH).then_some(()));
    let (shared, begun) = (engine.shared().clone(), Instant::now());
    let file = engine.file("memory.high");
    engine.executor.stop(Duration::from_mins(1));
    assert!(begun.elapsed() < Duration::from_secs(50), "it waited for all of its grace");
    let step = shared.store.with(|j| j.history("squeeze", "shop")).unwrap();
    assert_eq!(step.last_verdict.as_deref(), Some("applied"), "run {run}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), HIGH);
}
