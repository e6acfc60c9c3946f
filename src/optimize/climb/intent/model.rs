//! A model of the way of a run, driven by random sequences of deliveries, crashes, clock jumps, pauses and a journal that
//! cannot be written: no path acts twice for one episode, and none ends unrecorded.
//!
//! The journal, the intent and the guards are the real ones; only the worker's hands are the model's: it counts what an
//! action would have done, and may be cut off between any two calls.

use super::*;
use crate::matching::Labels;
use crate::optimize::alert::{Alert, Status};
use crate::optimize::journal::{Ended, OpenRun, Outcome, Waiting};
use crate::optimize::record::{Entry, Filter, StepState};
use crate::optimize::request::{Origin, Request};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;

/// Rungs of the model's ladder.
const RUNGS: usize = 2;
const FINGERPRINTS: [&str; 2] = ["a", "b"];

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    Fire(usize, i64),
    Resolve(usize, i64),
    Ask(Origin),
    /// The worker, or the executor if nobody works, goes on by one call.
    GoOn,
    Crash,
    Clock(i64),
    Pause(bool),
    Break(bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0..2_usize, 1..4_i64).prop_map(|(f, s)| Event::Fire(f, s)),
        2 => (0..2_usize, 1..4_i64).prop_map(|(f, s)| Event::Resolve(f, s)),
        1 => prop_oneof![Just(Origin::Pressure), Just(Origin::Hand)].prop_map(Event::Ask),
        14 => Just(Event::GoOn),
        2 => Just(Event::Crash),
        2 => prop_oneof![Just(400_i64), Just(20_000), Just(-20_000), Just(-4_000_000), Just(4_000_000)]
            .prop_map(Event::Clock),
        1 => any::<bool>().prop_map(Event::Pause),
        1 => any::<bool>().prop_map(Event::Break),
    ]
}

/// How far the worker has come with its run.
#[derive(Clone, Debug)]
enum Phase {
    /// About to look at a rung.
    At(usize),
    /// The intent of the rung is written.
    Intended(usize, i64),
    /// It has been done.
    Done(usize, i64),
    /// The run is to end, or to wait: written until it is written.
    Ending(&'static str),
    Waiting(i64),
}

/// The world: one journal, at most one worker, and what really happened.
struct World {
    dir: tempfile::TempDir,
    journal: Option<Journal>,
    guards: guard::Options,
    pause: Pause,
    now: i64,
    broken: bool,
    recovered: bool,
    worker: Option<(OpenRun, Phase)>,
    /// Each time that an action was carried out: its run and rung.
    acted: Vec<(i64, usize)>,
    /// Episodes that were taken as firing, and never known to be over before that.
    fired: BTreeSet<(String, i64)>,
}

impl World {
    fn new() -> Self {
        // Each write waits for the disk, thousands of times: memory will do where nothing loses power.
        let memory = std::path::Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let guards = guard::Options {
            cooldown: Duration::from_secs(1),
            target_cooldown: Duration::from_secs(5),
            actions_per_hour: 20,
            ..guard::Options::default()
        };
        Self {
            pause: Pause::new(dir.path()),
            dir,
            journal: None,
            guards,
            now: 10_000_000,
            broken: false,
            recovered: false,
            worker: None,
            acted: Vec::new(),
            fired: BTreeSet::new(),
        }
    }

    /// The journal, opened if need be; what could not be done is `None`, and what was half done is undone by SQLite.
    fn with<T>(&mut self, work: impl FnOnce(&mut Journal) -> Result<T, JournalError>) -> Option<T> {
        let journal = match &mut self.journal {
            Some(journal) => journal,
            none => none.insert(Journal::open(&self.dir.path().join("j.sqlite")).unwrap()),
        };
        journal.refuse_writes(self.broken);
        work(journal).ok()
    }

    fn happen(&mut self, event: &Event) {
        let now = self.now;
        match *event {
            Event::Fire(f, s) => {
                let alert = alert(Status::Firing, f, s);
                if self.with(|j| j.notify(&[alert], now)).is_some() {
                    self.fired.insert((FINGERPRINTS[f].to_owned(), s));
                }
            }
            Event::Resolve(f, s) => {
                let alert = alert(Status::Resolved, f, s);
                let _not_taken = self.with(|j| j.notify(&[alert], now));
            }
            Event::Ask(origin) => {
                let wish = Request { origin, name: "wish".into(), target: "t".into(), ..Request::default() };
                let _not_taken = self.with(|j| j.request(&wish, now));
            }
            Event::GoOn => self.go_on(),
            Event::Crash => {
                (self.worker, self.journal, self.recovered) = (None, None, false);
            }
            Event::Clock(by) => self.now += by,
            Event::Pause(true) => self.pause.set("a test").unwrap(),
            Event::Pause(false) => _ = self.pause.clear().unwrap(),
            Event::Break(broken) => self.broken = broken,
        }
        self.now += 7;
    }

    /// One call of the executor or the worker, in the order in which they make them.
    fn go_on(&mut self) {
        let now = self.now;
        if !self.recovered {
            self.recovered = self.recover().is_some();
            return;
        }
        let Some((run, phase)) = self.worker.take() else {
            self.worker = self.take().map(|run| (run, Phase::At(0)));
            return;
        };
        let id = run.id;
        let next = match phase.clone() {
            Phase::At(rung) if rung >= RUNGS => Some(Phase::Ending("exhausted")),
            Phase::At(rung) if run.rungs_begun.contains(&rung) => Some(Phase::At(rung + 1)),
            Phase::At(rung) => Some(self.intend(&run, rung)),
            Phase::Intended(rung, step) => {
                self.acted.push((id, rung));
                Some(Phase::Done(rung, step))
            }
            Phase::Done(rung, step) => self.with(|j| j.end_step(step, &outcome(), now)).map(|()| {
                // A long wait is spent in the queue.
                if rung + 1 < RUNGS { Phase::Waiting(now + 900) } else { Phase::At(rung + 1) }
            }),
            Phase::Ending(result) => {
                let ended = Ended { result, reason: "by the model", policy: None };
                match self.with(|j| j.end_run(id, &ended, now)) {
                    Some(_) => return,
                    None => None,
                }
            }
            Phase::Waiting(until) => match self.with(|j| j.defer(&[waiting(id, until)])) {
                Some(()) => return,
                None => None,
            },
        };
        // What could not be written is tried again.
        self.worker = Some((run, next.unwrap_or(phase)));
    }

    fn recover(&mut self) -> Option<()> {
        let now = self.now;
        self.with(Journal::requeue)?;
        self.with(Journal::end_leases)?;
        self.with(|j| j.resolve_pressure(now))?;
        let unfinished = self.with(|j| j.unfinished())?;
        unfinished.iter().try_for_each(|(step, ..)| self.with(|j| j.interrupt(*step, now)))
    }

    fn take(&mut self) -> Option<OpenRun> {
        let (now, horizon) = (self.now, self.guards.horizon_millis());
        let run = self.with(|j| j.runnable(0, (now, horizon), 1))?.into_iter().next()?;
        if run.resolved {
            let ended = Ended { result: "resolved", reason: "by the model", policy: None };
            self.with(|j| j.end_run(run.id, &ended, now))?;
            return None;
        }
        let windows = guard::windows(now, &self.guards);
        let past = self.with(|j| j.past(run.id, "t", &windows))?;
        match admit(now, &past, 0, false, &self.guards) {
            Admission::Admit => self.with(|j| j.begin_run(run.id, "p", "t"))?.then_some(run),
            Admission::Defer { until, .. } => {
                self.with(|j| j.defer(&[waiting(run.id, until)]))?;
                None
            }
        }
    }

    fn intend(&mut self, run: &OpenRun, rung: usize) -> Phase {
        let (now, pause, guards) = (self.now, self.pause.clone(), self.guards.clone());
        let step = NewStep { rung, action: "app_hook", target: "t", plan: "{}", before: "{}" };
        let acted = self.acted.iter().any(|(id, _)| *id == run.id);
        let goes_on = acted || !run.rungs_begun.is_empty();
        let asked = Asked { run: run.id, step, limit: None, goes_on, guards: &guards, pause: &pause };
        match self.with(|j| intend(j, &asked, now)) {
            Some(Ok(step)) => {
                assert!(pause.why().is_none(), "an intent while all is held");
                let resolved = self.with(|j| j.is_resolved(run.id)).unwrap();
                assert!(!resolved, "an intent for what is over");
                Phase::Intended(rung, step)
            }
            Some(Err(No::Resolved)) => Phase::Ending("resolved"),
            Some(Err(No::Guard(Guard::Paused, until))) => Phase::Waiting(until),
            Some(Err(No::Guard(..) | No::Limit(_))) if acted => Phase::Ending("refused"),
            Some(Err(No::Guard(_, until))) => Phase::Waiting(until),
            Some(Err(No::Limit(_))) => Phase::At(rung + 1),
            // Nothing more may be done: back into the queue.
            None => Phase::Waiting(0),
        }
    }

    /// All trouble ends, all that is broken is mended, and time goes by.
    fn settle(&mut self) {
        let end = [Event::Break(false), Event::Pause(false), Event::Crash];
        for event in &end {
            self.happen(event);
        }
        for _ in 0..3000 {
            self.happen(&Event::GoOn);
            let open = self.with(|j| j.open_counts()).unwrap();
            if self.recovered && self.worker.is_none() && open == (0, 0) {
                return;
            }
            self.now += 60_000;
        }
        panic!("a run does not end: {:#?}", self.entries());
    }

    fn entries(&mut self) -> Vec<Entry> {
        let all = Filter { limit: 500, ..Filter::default() };
        self.with(|j| j.entries(&all)).unwrap()
    }

    fn check(&mut self) {
        let entries = self.entries();
        let mut once = BTreeSet::new();
        for (run, rung) in self.acted.clone() {
            let entry = entries.iter().find(|e| e.id == run).expect("who acted is in the record");
            // That each episode has one run is looked at below.
            assert!(once.insert((run, rung)), "acted twice: {entry:#?}");
            let step = entry.steps.iter().find(|s| s.rung == i64::try_from(rung).unwrap());
            let step = step.expect("what was done is in the record");
            assert!(["done", "interrupted"].contains(&step.state.as_str()), "{step:#?}");
        }
        for (fingerprint, starts) in &self.fired {
            let runs = entries
                .iter()
                .filter(|e| e.fingerprint == *fingerprint && e.starts_at_millis == starts * 1000)
                .count();
            assert_eq!(runs, 1, "{fingerprint} {starts}: {entries:#?}");
        }
        for entry in &entries {
            assert_eq!(entry.state, "ended", "{entry:#?}");
            assert!(entry.result.is_some() && entry.ended_at_millis.is_some(), "{entry:#?}");
            let begun: BTreeSet<i64> = entry.steps.iter().map(|s| s.rung).collect();
            assert_eq!(begun.len(), entry.steps.len(), "a rung stands twice: {entry:#?}");
        }
    }
}

fn alert(status: Status, fingerprint: usize, starts: i64) -> Alert {
    Alert {
        status,
        fingerprint: FINGERPRINTS[fingerprint].into(),
        starts_at: jiff::Timestamp::from_second(starts).unwrap(),
        ends_at: None,
        labels: Labels::new(),
        annotations: Labels::new(),
    }
}

fn waiting(run: i64, not_before: i64) -> Waiting {
    Waiting { run, not_before, reason: "by the model".into(), policy: "p".into(), target: "t".into() }
}

fn outcome() -> Outcome<'static> {
    Outcome {
        state: StepState::Done,
        verdict: "no_gain",
        freed_bytes: 0,
        detail: None,
        after: None,
        aftermath_due: None,
        lease_until: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_path_acts_twice_for_one_episode_and_none_ends_unrecorded(
        events in proptest::collection::vec(event(), 1..80),
    ) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
        }
        world.settle();
        world.check();
    }
}

/// The model does reach what it is about: without these, nothing of the above would be shown.
#[test]
fn the_model_acts_is_cut_off_and_goes_on() {
    let mut world = World::new();
    world.happen(&Event::Fire(0, 1));
    // Recovery, the run is taken, the intent of the first rung, and the end of all before it is done.
    for _ in 0..3 {
        world.happen(&Event::GoOn);
    }
    assert!(matches!(world.worker, Some((_, Phase::Intended(0, _)))), "{:?}", world.worker);
    world.happen(&Event::GoOn);
    assert_eq!(world.acted, [(1, 0)]);
    world.happen(&Event::Break(true));
    world.happen(&Event::GoOn);
    assert!(matches!(world.worker, Some((_, Phase::Done(0, _)))), "its outcome waits for the disk");
    world.happen(&Event::Crash);
    world.settle();
    world.check();
    assert_eq!(world.acted, [(1, 0), (1, 1)], "the first is not repeated, the second follows");
    assert_eq!(world.entries()[0].steps[0].state, "interrupted");
}
