//! What a climb makes of actions that go wrong, on an executor whose host is a directory.

use crate::optimize::executor::engine::{Engine, rung};
use serde_json::json;
use std::time::Duration;

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
