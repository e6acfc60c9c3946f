//! Wishes that begin at once: nobody else takes them, and their intent makes them durable.

use super::super::{Ended, NewStep};
use super::*;
use crate::optimize::guard;
use crate::optimize::request::Origin;

fn journal(dir: &std::path::Path) -> Journal {
    Journal::open(&dir.join("journal.sqlite")).unwrap()
}

fn wish() -> Request {
    Request { origin: Origin::Pressure, name: "r".into(), target: "t".into(), bytes: 1, ..Request::default() }
}

fn step(action: &str) -> NewStep<'_> {
    NewStep { rung: 0, action, target: "t", plan: "{}", before: "{}" }
}

#[test]
fn a_run_that_begins_at_once_is_in_no_queue_and_another_wish_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = journal(dir.path());
    let acting = journal.request_acting(&wish(), ("r", "t"), 1000).unwrap();
    let queued = journal.request(&wish(), 1000).unwrap();
    let open: Vec<i64> = journal.runnable(0, (2000, 10_000), 9).unwrap().iter().map(|r| r.id).collect();
    assert_eq!(open, [queued]);
    assert!(acting < queued);
    let synchronous: i64 = journal.db.query_row("PRAGMA synchronous", [], |r| r.get(0)).unwrap();
    assert_eq!(synchronous, 2, "what follows is synced again");
    journal.begin_step(acting, &step("app_hook"), 1001).unwrap();
    let entry =
        &journal.entries(&crate::optimize::record::Filter { limit: 9, ..Default::default() }).unwrap()[1];
    assert_eq!(
        (entry.origin.as_str(), entry.policy.as_deref(), entry.steps.len()),
        ("pressure", Some("r"), 1)
    );
}

#[test]
fn after_a_start_what_pressure_asked_for_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = journal(dir.path());
    let old = journal.request(&wish(), 1000).unwrap();
    journal.end_run(old, &Ended { result: "stale", reason: "", policy: None }, 1500).unwrap();
    let open = journal.request(&wish(), 2000).unwrap();
    let hand = journal.request(&Request { origin: Origin::Hand, ..wish() }, 2000).unwrap();
    assert_eq!(journal.resolve_pressure(3000).unwrap(), 1, "those whose run is open");
    assert_eq!([open, hand].map(|run| journal.is_resolved(run).unwrap()), [true, false]);
}

#[test]
fn proactive_steps_hold_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = journal(dir.path());
    let run = journal.request_acting(&wish(), ("r", "t"), 1000).unwrap();
    journal.begin_step(run, &step("proactive"), 1001).unwrap();
    assert_eq!(
        journal.past(0, "t", &guard::windows(2000, &guard::Options::default())).unwrap(),
        super::super::Past::default()
    );
    let run = journal.request_acting(&wish(), ("r", "t"), 1002).unwrap();
    journal.begin_step(run, &step("app_hook"), 1003).unwrap();
    let past = journal.past(0, "t", &guard::windows(2000, &guard::Options::default())).unwrap();
    assert_eq!(
        (past.last_step_at, past.last_step_on_target_at, past.steps_in_window),
        (Some(1003), Some(1003), 1)
    );
}
