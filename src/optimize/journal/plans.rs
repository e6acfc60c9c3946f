//! How SQLite means to answer what is asked while others wait for the lock: from an index, whatever the record's length.

use super::{
    Journal, NewStep, OPEN_COUNTS, REQUEUE, RUNNABLE, aftermath, history, lease, past, request, tries,
};
use crate::optimize::request::Request;

/// Indices of what is open or stands alone: all of them may be looked at.
const FEW: [&str; 3] = ["run_open", "run_state", "step_lease"];

#[test]
fn nothing_that_is_asked_on_the_way_to_an_action_looks_at_the_whole_record() {
    let dir = tempfile::tempdir().unwrap();
    let j = Journal::open(&dir.path().join("j.sqlite")).unwrap();
    for sql in [
        RUNNABLE,
        OPEN_COUNTS,
        REQUEUE,
        aftermath::AFTERMATHS_DUE,
        history::LAST,
        history::ON_TARGET,
        lease::LEASES_DUE,
        lease::END_LEASES,
        lease::STEPS_OF,
        past::LAST_STEP,
        past::LAST_STEP_ON,
        past::WITHIN,
        past::REACHED,
        request::RESOLVE_PRESSURE,
        tries::TRIES,
        tries::TRIED,
        tries::NEXT_TRIED[0],
        tries::NEXT_TRIED[1],
        tries::NEXT_TRIED[2],
    ] {
        let mut query = j.db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        for n in 1..=query.parameter_count() {
            query.raw_bind_parameter(n, 0).unwrap();
        }
        let mut rows = query.raw_query();
        while let Some(row) = rows.next().unwrap() {
            let line: String = row.get(3).unwrap();
            let few = FEW.iter().any(|index| line.contains(&format!("INDEX {index}")));
            assert!(!line.starts_with("SCAN") || few, "{line}: {sql}");
        }
    }
}

#[test]
fn a_run_alone_is_found_behind_any_number_of_older_ones() {
    let dir = tempfile::tempdir().unwrap();
    let mut j = Journal::open(&dir.path().join("j.sqlite")).unwrap();
    let wish = Request { name: "x".into(), target: "t".into(), ..Request::default() };
    for _ in 0..40 {
        j.request(&wish, 5).unwrap();
    }
    let ids = |j: &Journal, after| {
        j.runnable(after, (7, 100), 32).unwrap().iter().map(|r| r.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&j, 39), [40], "it stands behind more than one turn takes");
    assert_eq!(ids(&j, 0).len(), 32);
}

#[test]
fn tries_are_told_apart_by_the_kind_of_their_hook_and_each_is_named_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut j = Journal::open(&dir.path().join("j.sqlite")).unwrap();
    let wish = Request { name: "x".into(), target: "t".into(), ..Request::default() };
    let mut tried = |action, plan| {
        let run = j.request(&wish, 5).unwrap();
        j.begin_step(run, &NewStep { rung: 0, action, target: "t", plan, before: "{}" }, 9).unwrap();
    };
    for _ in 0..3 {
        tried("app_hook", r#"{"request": {"kind": "gc"}}"#);
        tried("proactive", "{}");
        tried("scale", r#"{"request": {"kind": "no hook's"}}"#);
    }
    tried("app_hook", r#"{"request": {"bytes": 1}}"#);
    let count = |action, kind| j.tries(action, "t", kind, 9).unwrap().len();
    assert_eq!((count("app_hook", Some("gc")), count("app_hook", None)), (3, 1));
    assert_eq!((count("app_hook", Some("x")), count("scale", None)), (0, 3));
    let all: Vec<_> =
        std::iter::successors(j.next_tried(None).unwrap(), |last| j.next_tried(Some(last)).unwrap())
            .collect();
    let names: Vec<_> = all.iter().map(|(a, _, k)| (a.as_str(), k.as_deref())).collect();
    assert_eq!(names, [("app_hook", None), ("app_hook", Some("gc")), ("scale", None)]);
    assert_eq!(j.tried(0).unwrap(), all);
}
