//! What the journal promises: once per episode, in any order, over any interruption.

use super::*;

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

const STEP: NewStep<'static> = NewStep { rung: 0, action: "app_hook", target: "t", plan: "{}", before: "{}" };

#[test]
fn an_episode_leads_to_one_run_however_often_it_is_delivered() {
    let (_dir, mut j) = journal();
    let firing = alert(Status::Firing, "a", 10);
    assert_eq!(j.notify(&[firing.clone(), firing.clone()], 1).unwrap().queued, 1);
    assert_eq!(j.notify(&[firing], 2).unwrap(), Notified::default());
    let entries = j.entries(&all()).unwrap();
    assert_eq!((entries.len(), entries[0].deliveries), (1, 3));
}

#[test]
fn resolved_ends_a_run_that_has_not_acted() {
    let (_dir, mut j) = journal();
    j.notify(&[alert(Status::Firing, "a", 10)], 1).unwrap();
    let notified = j.notify(&[alert(Status::Resolved, "a", 10)], 2).unwrap();
    assert_eq!(notified, Notified { queued: 0, resolved: 1 });
    assert_eq!(j.runnable(3, 9).unwrap(), []);
    assert_eq!(j.entries(&all()).unwrap()[0].result.as_deref(), Some("resolved"));
}

#[test]
fn a_firing_that_arrives_after_its_end_queues_nothing() {
    let (_dir, mut j) = journal();
    j.notify(&[alert(Status::Resolved, "a", 10)], 1).unwrap();
    assert_eq!(
        j.notify(&[alert(Status::Firing, "a", 10), alert(Status::Firing, "a", 9)], 2).unwrap(),
        Notified { queued: 0, resolved: 2 }
    );
    assert_eq!(j.runnable(3, 9).unwrap(), []);
    assert_eq!(j.notify(&[alert(Status::Firing, "a", 11)], 3).unwrap().queued, 1);
}

#[test]
fn a_newer_firing_ends_the_older_episode() {
    let (_dir, mut j) = journal();
    j.notify(&[alert(Status::Firing, "a", 10)], 1).unwrap();
    j.notify(&[alert(Status::Firing, "a", 20)], 2).unwrap();
    let runs = j.runnable(3, 9).unwrap();
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
    j.interrupt_unfinished(5).unwrap();
    assert_eq!(j.unfinished().unwrap(), []);
    let run = j.runnable(7, 9).unwrap().remove(0);
    assert_eq!(run.rungs_begun, ["app_hook"]);
    assert_eq!(j.entries(&all()).unwrap()[0].steps[0].state, "interrupted");
}

#[test]
fn guards_see_the_steps_of_other_runs_only() {
    let (_dir, mut j) = journal();
    j.notify(&[alert(Status::Firing, "a", 10), alert(Status::Firing, "b", 10)], 1).unwrap();
    j.begin_step(1, &STEP, 50).unwrap();
    let own = j.past(1, "t", 0).unwrap();
    assert_eq!((own.last_step_at, own.steps_in_window), (None, 1));
    let other = j.past(2, "t", 0).unwrap();
    assert_eq!((other.last_step_at, other.last_step_on_target_at), (Some(50), Some(50)));
    assert_eq!(j.past(2, "u", 51).unwrap(), Past { last_step_at: Some(50), ..Past::default() });
}

#[test]
fn the_record_is_filtered_and_paged_newest_first() {
    let (_dir, mut j) = journal();
    for n in 0..5 {
        j.notify(&[alert(Status::Firing, &format!("a{n}"), 10)], n).unwrap();
    }
    j.end_run(2, "no_policy", None, 9).unwrap();
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
    j.end_run(1, "stale", None, 2).unwrap();
    assert_eq!(j.expire(100).unwrap(), 1);
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
