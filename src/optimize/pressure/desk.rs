//! Between a decision and its run: the journal's lines, the guards, and the hand-over to the thread that carries out.

use super::super::climb::{Climb, Ending};
use super::super::executor::{Claim, Shared, end};
use super::super::guard::{self, admit};
use super::super::journal::OpenRun;
use super::super::store::StoreError;
use super::alarm::Alarm;
use super::board::Seat;
use super::phases::{Marks, Phase};
use super::watch::News;
use crate::host::resident;
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// After this time what could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// What a run, and what the desk, may need of their stacks is touched ahead, so that it is there, and locked, when it is needed.
const RUN_STACK_BYTES: usize = 96 << 10;
const DESK_STACK_BYTES: usize = 48 << 10;

/// What the poll thread says.
pub(super) struct Word {
    pub(super) seat: Arc<Seat>,
    pub(super) news: News,
    pub(super) onset: Instant,
    /// When a poll saw it.
    pub(super) seen: Instant,
}

/// A run that may begin.
struct Job {
    climb: Climb,
    claim: Claim,
}

/// Starts the desk, and the thread that carries out. They end when nobody can ask any more.
pub(super) fn start(shared: &Arc<Shared>, inbox: Receiver<Word>) -> std::io::Result<()> {
    // No room between them: a job is taken by a thread that waits for it, and none waits behind another's whole ladder.
    let (jobs, work) = sync_channel::<Box<Job>>(0);
    let runner = Arc::clone(shared);
    Builder::new().name("pressure-run".into()).spawn(move || {
        ready::<RUN_STACK_BYTES>();
        while let Ok(job) = work.recv() {
            carry_out(&runner, &job);
            let _said = resident::hurry();
        }
    })?;
    let shared = Arc::clone(shared);
    Builder::new().name("desk".into()).spawn(move || {
        ready::<DESK_STACK_BYTES>();
        Desk { shared, jobs, runs: HashMap::new(), late: Vec::new() }.run(&inbox);
    })?;
    Ok(())
}

/// What a thread has ready before it is needed: its stack, and its turn.
fn ready<const STACK_BYTES: usize>() {
    black_box([1_u8; STACK_BYTES]);
    // The poll thread has said what is not allowed.
    let _said = resident::hurry();
}

fn carry_out(shared: &Shared, job: &Job) {
    if let Some(alarm) = &job.climb.alarm {
        alarm.ends(Phase::HandOver);
    }
    job.climb.go(shared);
    tracing::debug!(run = job.climb.run.id, target = job.claim.target(), "the run leaves the thread");
}

struct Desk {
    shared: Arc<Shared>,
    jobs: SyncSender<Box<Job>>,
    /// The run of each rule whose trouble goes on.
    runs: HashMap<String, i64>,
    /// What could not be written yet.
    late: Vec<Word>,
}

impl Desk {
    fn run(mut self, inbox: &Receiver<Word>) {
        loop {
            let word = if self.late.is_empty() {
                inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                inbox.recv_timeout(RETRY)
            };
            match word {
                Ok(word) => self.late.push(word),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            for word in std::mem::take(&mut self.late) {
                // The store has logged and counted it.
                if self.write(&word).is_err() {
                    self.late.push(word);
                }
            }
            // Trouble that was over before it could be written leads to nothing.
            let over: Vec<_> =
                self.late.iter().filter(|w| w.news == News::Over).map(|w| Arc::clone(&w.seat)).collect();
            self.late.retain(|w| {
                w.news == News::Over && self.runs.contains_key(&w.seat.rule.name)
                    || !over.iter().any(|seat| Arc::ptr_eq(seat, &w.seat))
            });
        }
    }

    fn write(&mut self, word: &Word) -> Result<(), StoreError> {
        let rule = &word.seat.rule;
        let now = (self.shared.clock)();
        if word.news == News::Over {
            if let Some(&run) = self.runs.get(&rule.name) {
                self.shared.store.with(|j| j.resolve(run, now))?;
                self.runs.remove(&rule.name);
                tracing::info!(rule = rule.name, run, "the stall is over");
                self.shared.wake();
            }
            return Ok(());
        }
        let run = self.begin(word)?;
        self.shared.metrics.pressure.stalls.with_label_values(&[&rule.name]).inc();
        tracing::info!(rule = rule.name, run, target = rule.target, "a stall begins");
        self.runs.insert(rule.name.clone(), run);
        Ok(())
    }

    /// Writes the wish. If guards allow, its run begins here and now; if not, it waits in the queue as any other.
    fn begin(&self, word: &Word) -> Result<i64, StoreError> {
        let Word { seat, onset, seen, .. } = word;
        let marks = Arc::new(Marks::new(*onset));
        marks.end(Phase::See, *seen);
        marks.end(Phase::Tell, Instant::now());
        let (shared, request) = (&self.shared, seat.rule.request());
        let settings = shared.settings();
        let options = &settings.options;
        let queued = || {
            let run = shared.store.with(|j| j.request(&request, (shared.clock)()))?;
            let facts = [("headroom.origin", "pressure"), ("headroom.rule", seat.rule.name.as_str())];
            shared.traces.queued(run, &shared.traces.seen(onset.elapsed()), &facts);
            shared.wake();
            Ok(run)
        };
        // Why it leads nowhere, the executor writes.
        let Ok((policy, target, condition)) = request.decide(&options.policies, &options.targets) else {
            return queued();
        };
        if shared.pause.why().is_some() {
            return queued();
        }
        let now = (shared.clock)();
        let past = shared.store.with(|j| j.past(0, &target.name, &guard::windows(now, &options.guards)))?;
        let admits = |active, busy| admit(now, &past, active, busy, &options.guards);
        let Ok(claim) = shared.claim(&target.name, admits) else { return queued() };
        let names = (policy.name.as_str(), target.name.as_str());
        let id = shared.store.with(|j| j.request_acting(&request, names, now))?;
        let facts = [("headroom.origin", "pressure"), ("headroom.rule", seat.rule.name.as_str())];
        shared.traces.queued(id, &shared.traces.seen(onset.elapsed()), &facts);
        let run = OpenRun { id, request: Some(request), ..OpenRun::default() };
        let alarm = Some(Alarm::begun(Arc::clone(seat), Arc::clone(&marks)));
        let dry_run = options.dry_run;
        let begun = Instant::now();
        marks.end(Phase::Admit, begun);
        let settings = Arc::clone(&settings);
        let climb = Climb { run, policy, target, condition, dry_run, alarm, settings, begun };
        self.hand_over(Box::new(Job { climb, claim }));
        Ok(id)
    }

    /// To the thread that waits for it; while that is busy with another target, to a new one.
    fn hand_over(&self, job: Box<Job>) {
        let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) = self.jobs.try_send(job) else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        let id = job.climb.run.id;
        if let Err(e) = Builder::new().name("run".into()).spawn(move || carry_out(&shared, &job)) {
            let ending = Ending::new("failed", format!("cannot start a thread for the run: {e}"));
            // What could not be written is put right at the next start.
            let _logged = end(&self.shared, id, &ending);
        }
    }
}
