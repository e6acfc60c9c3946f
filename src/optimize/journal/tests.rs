//! What the journal promises: once per episode, in any order, over any interruption.

use super::*;
use crate::optimize::alert::Status;
use crate::optimize::guard::Windows;
use crate::optimize::request::Origin;

fn alert(status: Status, fingerprint: &str, starts: i64) -> Alert {
    Alert {
        status,
        fingerprint: fingerprint.into(),
        starts_at: jiff::Timestamp::from_second(starts).unwrap(),
        ends_at: None,
        labels: [("alertname".to_owned(), "A".to_owned())].into(),
        annotations: Labels::new(),
    }
}

fn journal() -> (tempfile::TempDir, Journal) {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("j.sqlite")).unwrap();
    (dir, journal)
}

fn all() -> Filter {
    Filter { limit: 100, ..Filter::default() }
}

/// How many runs a whole sweep takes.
fn expired(j: &mut Journal, before: i64) -> usize {
    let (mut sweep, mut runs) = (Some(expiry::Sweep::begin()), 0);
    while let Some(from) = sweep {
        let part = j.expire(before, from).unwrap();
        (sweep, runs) = (part.next, runs + part.runs);
    }
    runs
}

const STEP: NewStep<'static> = NewStep { rung: 0, action: "app_hook", target: "t", plan: "{}", before: "{}" };

const ENDED: Ended<'static> = Ended { result: "no_policy", reason: "r", policy: None };

#[test]
fn an_episode_leads_to_one_run_however_often_it_is_delivered() {
    let (_dir, mut j) = journal();
    let firing = alert(Status::Firing, "a", 10);
    assert_eq!(j.notify(&[firing.clone(), firing.clone()], 1).unwrap().queued.len(), 1);
    assert_eq!(j.notify(&[firing], 2).unwrap(), Notified::default());
    let entries = j.entries(&all()).unwrap();
    assert_eq!((entries.len(), entries[0].deliveries), (1, 3));
}

#[test]
fn resolved_ends_a_run_that_has_not_acted() {
    let (_dir, mut j) = journal();
    j.notify(&[alert(Status::Firing, "a", 10)], 1).unwrap();
    let notified = j.notify(&[alert(Status::Resolved, "a", 10)], 2).unwrap();
    assert_eq!((notified.queued.len(), notified.resolved.len()), (0, 1));
    assert_eq!(j.runnable(0, (3, 100), 9).unwrap(), []);
    assert_eq!(j.entries(&all()).unwrap()[0].result.as_deref(), Some("resolved"));
}

#[test]
fn a_firing_that_arrives_after_its_end_queues_nothing() {
    let (_dir, mut j) = journal();
    j.notify(&[alert(Status::Resolved, "a", 10)], 1).unwrap();
    let late = j.notify(&[alert(Status::Firing, "a", 10), alert(Status::Firing, "a", 9)], 2).unwrap();
    assert_eq!((late.queued.len(), late.resolved.len()), (0, 2));
    assert_eq!(j.runnable(0, (3, 100), 9).unwrap(), []);
    assert_eq!(j.notify(&[alert(Status::Firing, "a", 11)], 3).unwrap().queued.len(), 1);
}

#[test]
fn a_newer_firing_ends_the_older_episode() {
    let (_dir, mut j) = journal();
    j.notify(&[alert(Status::Firing, "a", 10)], 1).unwrap();
    j.notify(&[alert(Status::Firing, "a", 20)], 2).unwrap();
    let runs = j.runnable(0, (3, 100), 9).unwrap();
    assert_eq!(runs.iter().map(|r| r.resolved).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn a_step_without_an_outcome_is_interrupted_and_not_begun_again() {
    let (dir, mut j) = journal();
    j.notify(&[alert(Status::Firing, "a", 10)], 1).unwrap();
    j.begin_run(1, "p", "t").unwrap();
    j.begin_step(1, &STEP, 2).unwrap();
    assert!(j.begin_step(1, &STEP, 2).is_err(), "a rung can be begun only once");
    drop(j);
    let mut j = Journal::open(&dir.path().join("j.sqlite")).unwrap();
    let unfinished = [(1, "app_hook".into(), "{}".into())];
    assert_eq!(j.unfinished().unwrap(), unfinished);
    assert_eq!(j.unfinished().unwrap(), unfinished, "a second end before all is put back loses nothing");
    j.requeue().unwrap();
    assert_eq!(j.runnable(0, (7, 100), 9).unwrap(), [], "its run waits until all is put back");
    j.interrupt(1, 5).unwrap();
    assert_eq!(j.unfinished().unwrap(), []);
    let run = j.runnable(0, (7, 100), 9).unwrap().remove(0);
    assert_eq!((run.rungs_begun, run.interrupted), (vec![0], true));
    assert_eq!(j.entries(&all()).unwrap()[0].steps[0].state, "interrupted");
}

#[test]
fn guards_see_the_steps_of_other_runs_only() {
    let (_dir, mut j) = journal();
    j.notify(&[alert(Status::Firing, "a", 10), alert(Status::Firing, "b", 10)], 1).unwrap();
    j.begin_step(1, &STEP, 50).unwrap();
    let past = |j: &Journal, run, target: &str, from| {
        j.past(run, target, &Windows { rate: (from, 100), radius: (from, 100) }).unwrap()
    };
    let own = past(&j, 1, "t", 0);
    assert_eq!((own.last_step_at, own.steps_in_window), (None, 1));
    let other = past(&j, 2, "t", 0);
    assert_eq!((other.last_step_at, other.last_step_on_target_at), (Some(50), Some(50)));
    assert_eq!(past(&j, 2, "u", 51), Past { last_step_at: Some(50), ..Past::default() });
}

#[test]
fn the_record_is_filtered_and_paged_newest_first() {
    let (_dir, mut j) = journal();
    for n in 0..5 {
        j.notify(&[alert(Status::Firing, &format!("a{n}"), 10)], n).unwrap();
    }
    assert!(j.end_run(2, &ENDED, 9).unwrap());
    assert!(!j.end_run(2, &ENDED, 10).unwrap(), "a run ends once");
    let ids = |f: Filter| j.entries(&f).unwrap().iter().map(|e| e.id).collect::<Vec<_>>();
    assert_eq!(ids(Filter { limit: 2, ..all() }), [5, 4]);
    assert_eq!(ids(Filter { before: Some(4), ..all() }), [3, 2, 1]);
    assert_eq!(ids(Filter { result: Some("no_policy".into()), ..all() }), [2]);
    assert_eq!(ids(Filter { since: Some(3), ..all() }), [5, 4]);
    assert_eq!(ids(Filter { action: Some("pageout".into()), ..all() }), [0_i64; 0]);
}

#[test]
fn old_runs_are_forgotten_and_open_ones_kept() {
    let (_dir, mut j) = journal();
    j.notify(&[alert(Status::Firing, "a", 10), alert(Status::Firing, "b", 10)], 1).unwrap();
    j.end_run(1, &ENDED, 2).unwrap();
    assert_eq!(expired(&mut j, 100), 1);
    assert_eq!(j.entries(&all()).unwrap().len(), 1);
}

#[test]
fn a_journal_of_a_newer_version_is_left_alone() {
    let (dir, j) = journal();
    j.db.pragma_update(None, "user_version", 99).unwrap();
    drop(j);
    let error = Journal::open(&dir.path().join("j.sqlite")).err().unwrap();
    assert!(error.to_string().contains("version 99"));
}

#[test]
fn an_episode_that_is_still_reported_keeps_its_run() {
    let (_dir, mut j) = journal();
    j.notify(&[alert(Status::Firing, "a", 10)], 1).unwrap();
    j.end_run(1, &ENDED, 2).unwrap();
    j.notify(&[alert(Status::Firing, "a", 10)], 200).unwrap();
    assert_eq!(expired(&mut j, 100), 0);
    assert_eq!(j.notify(&[alert(Status::Firing, "a", 10)], 201).unwrap(), Notified::default());
}

#[test]
fn the_end_of_an_episode_is_what_counts() {
    let ended = |starts, ends| Alert {
        ends_at: Some(jiff::Timestamp::from_second(ends).unwrap()),
        ..alert(Status::Resolved, "a", starts)
    };
    let (_dir, mut j) = journal();
    // Alertmanager moved startsAt back, from 15 to 10, and says that it is over at 100.
    j.notify(&[alert(Status::Firing, "a", 15)], 1).unwrap();
    assert_eq!(j.notify(&[ended(10, 100)], 2).unwrap().resolved.len(), 1);
    // A firing from before that end is old news; one from after it is not.
    assert_eq!(j.notify(&[alert(Status::Firing, "a", 50)], 3).unwrap().queued.len(), 0);
    assert_eq!(j.notify(&[alert(Status::Firing, "a", 101)], 4).unwrap().queued.len(), 1);
    // An older firing that comes late leads to nothing while the newer one is there.
    assert_eq!(j.notify(&[alert(Status::Firing, "a", 100)], 5).unwrap().queued.len(), 0);
    // Times that no calendar has end nothing that comes later.
    let zero = Alert { starts_at: jiff::Timestamp::MIN, ..alert(Status::Resolved, "b", 0) };
    j.notify(&[zero], 6).unwrap();
    assert_eq!(j.notify(&[alert(Status::Firing, "b", 7)], 7).unwrap().queued.len(), 1);
}

#[test]
fn a_run_that_acts_is_seen_to_be_resolved_by_a_later_end() {
    let (_dir, mut j) = journal();
    j.notify(&[alert(Status::Firing, "a", 10)], 1).unwrap();
    assert!(j.begin_run(1, "p", "t").unwrap());
    j.notify(&[alert(Status::Resolved, "a", 12)], 2).unwrap();
    assert!(j.is_resolved(1).unwrap());
    assert!(!j.entries(&all()).unwrap()[0].state.contains("ended"), "it ends by itself");
    assert!(j.end_run(1, &ENDED, 3).unwrap());
    assert!(!j.begin_run(1, "p", "t").unwrap(), "what has ended does not act");
}

#[test]
fn a_run_that_was_told_to_wait_before_the_clock_was_set_back_goes_on() {
    let (_dir, mut j) = journal();
    j.notify(&[alert(Status::Firing, "a", 10)], 10_000).unwrap();
    assert_eq!(j.runnable(0, (9_000, 2_000), 9).unwrap().len(), 0);
    assert_eq!(j.runnable(0, (1_000, 2_000), 9).unwrap().len(), 1);
}

#[test]
fn two_processes_do_not_share_a_journal() {
    let (dir, _first) = journal();
    let second = Journal::open(&dir.path().join("j.sqlite")).map(|_| ()).unwrap_err();
    assert!(matches!(second, JournalError::Held), "{second}");
}

#[test]
fn the_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, mut j) = journal();
    j.notify(&[alert(Status::Firing, "a", 10)], 1).unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap().flatten() {
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", entry.path());
    }
}

#[test]
fn a_journal_of_the_first_version_is_brought_up_with_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j.sqlite");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(schema::STEPS[0]).unwrap();
    old.execute_batch(
        "INSERT INTO episode VALUES ('a', 10000000000, 'A', '{}', '{}', NULL, NULL, 1, 1, 1);
         INSERT INTO run (fingerprint, starts_at, state, queued_at, not_before) VALUES ('a', 10000000000, 'acting', 1, 1);
         INSERT INTO step (run, rung, action, target, state, plan, begun_at, before)
             VALUES (1, 0, 'app_hook', 't', 'begun', '{}', 2, '{}');
         PRAGMA user_version = 1",
    )
    .unwrap();
    drop(old);
    let mut j = Journal::open(&path).unwrap();
    assert_eq!(j.unfinished().unwrap().len(), 1);
    assert_eq!(j.notify(&[alert(Status::Firing, "a", 10)], 3).unwrap(), Notified::default());
    let entry = j.entries(&all()).unwrap().remove(0);
    assert_eq!((entry.origin.as_str(), entry.request), ("alert", serde_json::Value::Null));
    assert_eq!((entry.steps[0].lease_until_millis, entry.steps[0].harm.as_deref()), (None, None));
}

#[test]
fn each_wish_of_a_person_is_a_run_of_its_own() {
    let (_dir, mut j) = journal();
    let wish = Request {
        origin: Origin::Hand,
        name: "by hand".into(),
        target: "t".into(),
        bytes: 5,
        ..Request::default()
    };
    assert_eq!(
        [j.request(&wish, 7).unwrap(), j.request(&wish, 7).unwrap(), j.request(&wish, 3).unwrap()],
        [1, 2, 3]
    );
    let run = j.runnable(0, (7, 100), 9).unwrap().remove(0);
    assert_eq!(run.request, Some(wish));
    assert!(!run.resolved);
    j.resolve(1, 9).unwrap();
    assert!(j.is_resolved(1).unwrap() && !j.is_resolved(2).unwrap());
    let entry = j.entries(&all()).unwrap().remove(0);
    assert_eq!((entry.origin.as_str(), &entry.request["bytes"]), ("hand", &serde_json::json!(5)));
}

#[test]
fn an_effect_is_due_when_its_time_or_its_trouble_is_over_or_nobody_watches_over_it() {
    let (_dir, mut j) = journal();
    j.notify(&[alert(Status::Firing, "a", 10), alert(Status::Firing, "b", 10)], 1).unwrap();
    let lease = |until| Outcome {
        state: StepState::Done,
        verdict: "applied",
        freed_bytes: 0,
        detail: Some("held".into()),
        after: None,
        aftermath_due: None,
        lease_until: until,
    };
    for run in [1, 2] {
        let step = j.begin_step(run, &STEP, 2).unwrap();
        j.end_step(step, &lease(Some(100)), 3).unwrap();
    }
    let due = |j: &Journal, now| j.leases_due(now).unwrap().iter().map(|l| l.step).collect::<Vec<_>>();
    assert_eq!((due(&j, 99), due(&j, 100)), (vec![], vec![2, 1]), "the later first");
    // The clock was set back to before they began: an effect of a minute is not to stand for a year.
    assert_eq!((due(&j, 2), due(&j, 1)), (vec![], vec![2, 1]));
    j.notify(&[alert(Status::Resolved, "b", 10)], 50).unwrap();
    assert_eq!(due(&j, 51), [2]);
    j.undone(2, "put back").unwrap();
    assert_eq!(due(&j, 51), [0_i64; 0]);
    assert_eq!(j.entries(&all()).unwrap()[0].steps[0].detail.as_deref(), Some("held; put back"));
    j.end_leases().unwrap();
    assert_eq!(due(&j, 51), [1]);
}

#[test]
fn the_record_tells_when_an_action_was_last_done_and_what_came_of_it() {
    let (_dir, mut j) = journal();
    j.notify(&[alert(Status::Firing, "a", 10), alert(Status::Firing, "b", 10)], 1).unwrap();
    assert_eq!(j.history("app_hook", "t").unwrap(), History::default());
    let step = j.begin_step(1, &STEP, 2).unwrap();
    let history = |last_at, verdict: Option<&str>, here: Option<&str>| History {
        last_at: Some(last_at),
        last_verdict: verdict.map(str::to_owned),
        on_target: vec![(2, here.map(str::to_owned))],
        ..History::default()
    };
    assert_eq!(j.history("app_hook", "t").unwrap(), history(2, None, None));
    let outcome = Outcome {
        state: StepState::Done,
        verdict: "no_gain",
        freed_bytes: 0,
        detail: None,
        after: None,
        aftermath_due: None,
        lease_until: None,
    };
    j.end_step(step, &outcome, 3).unwrap();
    assert_eq!(j.history("app_hook", "t").unwrap(), history(2, Some("no_gain"), Some("no_gain")));
    j.begin_step(2, &NewStep { target: "u", ..STEP }, 7).unwrap();
    assert_eq!(
        j.history("app_hook", "t").unwrap(),
        history(7, None, Some("no_gain")),
        "the last, on any target"
    );
    assert_eq!(j.history("pageout", "t").unwrap(), History::default());
    let failed = j.begin_step(2, &NewStep { rung: 1, ..STEP }, 8).unwrap();
    j.end_step(failed, &Outcome { state: StepState::Failed, verdict: "applied", ..outcome }, 9).unwrap();
    let both = [(8, Some("failed".to_owned())), (2, Some("no_gain".to_owned()))];
    assert_eq!(j.history("app_hook", "t").unwrap().on_target, both, "newest first");
}
