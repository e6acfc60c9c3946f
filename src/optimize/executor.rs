//! The executor: takes runs from the journal, asks policy and guards, and hands them to workers.

mod aftermath;
mod breakers;
#[cfg(test)]
pub(super) mod engine;
mod retention;
mod standing;
mod undo;

use super::action;
use super::climb::{Climb, Ending};
use super::grafana::Annotations;
use super::guard::{Admission, admit, millis};
use super::journal::{Ended, OpenRun, Past, Waiting};
use super::metrics::Metrics;
use super::observe::Observer;
use super::pause::Pause;
use super::policy::{Condition, Decision, Policy, Target, decide};
use super::pressure::{self, Alarm};
use super::request::Origin;
use super::silence::Silences;
use super::store::{Store, StoreError};
use super::trace::Traces;
use super::{Options, guard, proactive, sockets, witness};
use crate::host::Host;
use crate::host::hand::{Audience, Hand, Writers};
use standing::Standing;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// The longest that the executor sleeps: a guard's wait may end, an aftermath may be due.
const TICK: Duration = Duration::from_millis(500);
/// The same while no run waits or acts, and no effect stands: who asks for one wakes it.
const TICK_CALM: Duration = Duration::from_secs(2);
/// Between two parts of a sweep through the journal.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);
/// How long the end waits for annotations.
const ANNOTATIONS_GRACE: Duration = Duration::from_secs(1);
/// Runs looked at in one turn.
const TURN: usize = 32;

/// Milliseconds since the epoch; a function, so that the time is an argument.
pub type Clock = fn() -> i64;

/// What a reload replaces: options, and what is made from them.
pub struct Settings {
    /// The options.
    pub options: Options,
    /// Looks at targets.
    pub observer: Observer,
    /// Names of this machine in the `instance` label.
    pub own_names: Vec<String>,
    /// Processes that are Headroom's own.
    pub own_pids: Vec<u32>,
    /// The host that actions change.
    pub host: Host,
}

/// What webhook, API, executor and workers share.
pub struct Shared {
    /// The journal.
    pub store: Store,
    /// The counters.
    pub metrics: Metrics,
    /// The time.
    pub clock: Clock,
    /// The emergency stop.
    pub pause: Pause,
    /// Traces of runs.
    pub traces: Traces,
    /// Where actions are shown.
    pub annotations: Annotations,
    /// What polling sees.
    pub pressure: pressure::Board,
    /// What was usual before.
    pub witness: witness::Board,
    /// Effects that stand until they are undone.
    pub(super) standing: Standing,
    /// What Alertmanager says of silences.
    pub(super) silences: Silences,
    /// The thread of the proactive mode.
    pub(super) proactive: OnceLock<Thread>,
    /// Writes to kernel files that are made apart, because they may block.
    pub writers: Writers,
    /// Programs that wait for a word on the sockets that are served.
    pub audience: Audience,
    /// The bell of the thread that serves them.
    pub(super) bell: sockets::Bell,
    only_after: Option<i64>,
    settings: Mutex<Arc<Settings>>,
    busy: Mutex<HashSet<String>>,
    stopping: AtomicBool,
    recovered: AtomicBool,
    wake: SyncSender<()>,
}

impl Shared {
    /// The settings of this moment.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Uses other settings for runs that begin from now on.
    pub fn replace(&self, settings: Settings) {
        self.announce(&settings);
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        self.nudge();
    }

    /// Wakes the threads that look by themselves: other settings, or the end.
    fn nudge(&self) {
        self.pressure.nudge();
        self.bell.ring();
        self.standing.nudge();
        for thread in [self.proactive.get(), self.witness.thread.get()].into_iter().flatten() {
            thread.unpark();
        }
    }

    /// Tells the executor that there is something to do.
    pub fn wake(&self) {
        // A full channel means that it has been told already.
        let _told = self.wake.try_send(());
    }

    /// Whether the process is to end.
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Whether what an interruption left behind is known. What was begun before could be taken for it.
    pub(super) fn recovered(&self) -> bool {
        self.recovered.load(Ordering::Relaxed)
    }

    /// Shows how many effects stand.
    pub(super) fn count_standing(&self) {
        self.metrics.leases.set(i64::try_from(self.standing.count()).unwrap_or(i64::MAX));
    }

    /// Why no action may go on, if that is so.
    pub fn held(&self) -> Option<String> {
        if self.stopping() {
            return Some("Headroom ends".to_owned());
        }
        self.pause.why().map(|why| format!("paused: {why}"))
    }

    /// A hand on a host. It knows which writes have not returned.
    pub(super) fn hand(&self, host: &Host) -> Hand {
        Hand::beside(host.clone(), self.writers.clone()).before(self.audience.clone())
    }

    fn announce(&self, settings: &Settings) {
        let targets = &settings.options.targets;
        let pairs = action::REGISTRY.iter().flat_map(|a| targets.iter().map(|t| (a.name(), t.name.as_str())));
        self.metrics.zero_targets(pairs);
        for rule in &settings.options.pressure.rules {
            self.metrics.pressure.zero_rule(&rule.name);
        }
        for group in &settings.options.proactive {
            self.metrics.pressure.zero_proactive(&group.target);
        }
    }

    /// Holds the target for a run, if these guards, asked with the number of runs that act and whether one of them is on
    /// this target, admit it. Nobody else can come in between.
    pub(super) fn claim(
        self: &Arc<Self>,
        target: &str,
        admits: impl FnOnce(usize, bool) -> Admission,
    ) -> Result<Claim, Admission> {
        let mut busy = self.busy();
        match admits(busy.len(), busy.contains(target)) {
            Admission::Admit => {
                busy.insert(target.to_owned());
                Ok(Claim { shared: Arc::clone(self), target: target.to_owned() })
            }
            defer @ Admission::Defer { .. } => Err(defer),
        }
    }

    /// How many runs act, and whether one of them does on the target.
    fn business(&self, target: &str) -> (usize, bool) {
        let busy = self.busy();
        (busy.len(), busy.contains(target))
    }

    /// Whether a run acts on the target.
    pub(super) fn is_busy(&self, target: &str) -> bool {
        self.busy().contains(target)
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an executor works with, besides its settings.
pub struct Around {
    /// The time.
    pub clock: Clock,
    /// The emergency stop.
    pub pause: Pause,
    /// Whether this process has no children that would inherit what is arranged for it.
    pub alone: bool,
    /// Traces of runs.
    pub traces: Traces,
    /// Where actions are shown.
    pub annotations: Annotations,
    /// Only runs with a greater number are this executor's; all without it.
    pub only_after: Option<i64>,
}

/// The executor's thread.
pub struct Executor {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// The thread could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the executor's thread: {0}")]
pub struct ExecutorError(#[from] std::io::Error);

impl Executor {
    /// Starts the thread. The first thing that it does is to put right what an interruption left behind.
    pub fn start(
        store: Store,
        metrics: Metrics,
        around: Around,
        settings: Settings,
    ) -> Result<Self, ExecutorError> {
        let Around { clock, pause, alone, traces, annotations, only_after } = around;
        let (wake, inbox) = sync_channel(1);
        let shared = Arc::new(Shared {
            store,
            metrics,
            clock,
            pause,
            traces,
            annotations,
            only_after,
            pressure: pressure::Board::default(),
            witness: witness::Board::default(),
            standing: Standing::default(),
            silences: Silences::default(),
            proactive: OnceLock::new(),
            writers: Writers::default(),
            audience: Audience::default(),
            bell: sockets::Bell::default(),
            settings: Mutex::new(Arc::new(settings)),
            busy: Mutex::default(),
            stopping: AtomicBool::new(false),
            recovered: AtomicBool::new(false),
            wake,
        });
        shared.announce(&shared.settings());
        let work = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("executor".into()).spawn(move || run(&work, &inbox))?;
        pressure::start(&shared, alone)?;
        let (undo, proactive) = (undo::start(&shared)?, proactive::start(&shared)?);
        let threads = vec![thread, undo, proactive, witness::start(&shared)?, sockets::start(&shared)?];
        Ok(Self { shared, threads })
    }

    /// What the executor shares with the webhook and the API.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Ends the thread; runs that act have until `grace` is over to write their outcome. What is cut off is
    /// `interrupted` at the next start.
    pub fn stop(self, grace: Duration) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.shared.wake();
        self.shared.nudge();
        let deadline = Instant::now() + grace;
        while !self.shared.busy().is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        undo::all_leases(&self.shared);
        self.shared.annotations.stop(deadline.min(Instant::now() + ANNOTATIONS_GRACE));
        // A thread that waits for a disk that does not answer cannot be waited for.
        while self.threads.iter().any(|t| !t.is_finished()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// When the executor's next turn is, if nobody wakes it.
enum Next {
    AtOnce,
    Within(Duration),
}

fn run(shared: &Arc<Shared>, inbox: &Receiver<()>) {
    let mut recovery = undo::Recovery::default();
    let mut breakers = breakers::Breakers::default();
    let mut retention = retention::Retention::default();
    while !shared.stopping() {
        let mut turn = || -> Result<Next, StoreError> {
            recovery.go_on(shared)?;
            shared.recovered.store(true, Ordering::Relaxed);
            retention.go_on(shared)?;
            aftermath::look(shared)?;
            undo::look(shared)?;
            breakers.go_on(shared)?;
            shared.metrics.writes(&shared.writers);
            shared.metrics.paused.set(i64::from(shared.pause.why().is_some()));
            let more = decide_all(shared)?;
            let (waiting, active) = shared.store.with(|j| j.open_counts())?;
            shared.metrics.runs_waiting.set(waiting);
            shared.metrics.runs_active.set(active);
            let calm = waiting == 0 && active == 0 && shared.metrics.leases.get() == 0;
            Ok(if more { Next::AtOnce } else { Next::Within(if calm { TICK_CALM } else { TICK }) })
        };
        // The store has logged and counted the error; the next turn tries again.
        let Next::Within(tick) = turn().unwrap_or(Next::Within(TICK)) else { continue };
        match inbox.recv_timeout(if retention.is_busy() { SWEEP_PAUSE } else { tick }) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Decides on the runs whose turn it is; true if there may be more that need not wait.
fn decide_all(shared: &Arc<Shared>) -> Result<bool, StoreError> {
    let horizon = shared.settings().options.guards.horizon_millis();
    let after = shared.only_after.unwrap_or(0);
    let open = shared.store.with(|j| j.runnable(after, ((shared.clock)(), horizon), TURN))?;
    let mut waiting = Vec::new();
    for run in &open {
        waiting.extend(consider(shared, run)?);
    }
    if !waiting.is_empty() {
        shared.store.with(|j| j.defer(&waiting))?;
    }
    Ok(open.len() == TURN)
}

/// Decides on one run: ends it, gives it to a worker, or says for what it waits.
fn consider(shared: &Arc<Shared>, run: &OpenRun) -> Result<Option<Waiting>, StoreError> {
    let now = (shared.clock)();
    let finish = |ending: &Ending| end(shared, run.id, ending).map(|()| None);
    if run.resolved {
        let result = match (run.freed_bytes, run.rungs_begun.is_empty()) {
            (0, true) => "resolved",
            (0, false) => "interrupted",
            _ => "effective",
        };
        return finish(&Ending::new(result, "the alert is resolved"));
    }
    let settings = shared.settings();
    let options = &settings.options;
    let errand = match errand(options, &settings.own_names, run) {
        Ok(errand) => errand,
        Err(ending) => return finish(&ending),
    };
    let (policy, target) = (&errand.policy, &errand.target);
    if shared.pause.why().is_some() {
        let until = now.saturating_add(millis(guard::ASK_AGAIN));
        return Ok(Some(wait(shared, run, guard::Guard::Paused, until, (&policy.name, &target.name))));
    }
    // Most runs that wait do so for others: that needs no look into the record.
    let (active, busy) = shared.business(&target.name);
    if let Admission::Defer { guard, until } = admit(now, &Past::default(), active, busy, &options.guards) {
        return Ok(Some(wait(shared, run, guard, until, (&policy.name, &target.name))));
    }
    let past = shared.store.with(|j| j.past(run.id, &target.name, &guard::windows(now, &options.guards)))?;
    let admits = |active, busy| admit(now, &past, active, busy, &options.guards);
    let claim = match shared.claim(&target.name, admits) {
        Ok(claim) => claim,
        Err(Admission::Defer { guard, until }) => {
            return Ok(Some(wait(shared, run, guard, until, (&policy.name, &target.name))));
        }
        Err(Admission::Admit) => return Ok(None),
    };
    let dry_run = options.dry_run || run.request.as_ref().is_some_and(|r| r.dry_run);
    let pressed = run.request.as_ref().filter(|r| r.origin == Origin::Pressure);
    let climb = Climb {
        run: run.clone(),
        policy: policy.clone(),
        target: target.clone(),
        condition: errand.condition,
        dry_run,
        alarm: pressed.map(|r| Alarm::later(shared, &r.name)),
        settings: Arc::clone(&settings),
        begun: Instant::now(),
    };
    if !shared.store.with(|j| j.begin_run(run.id, &policy.name, &target.name))? {
        return Ok(None);
    }
    let spawned = std::thread::Builder::new().name("run".into()).spawn(move || climb.go(&claim.shared));
    if let Err(e) = spawned {
        return finish(&Ending::new("failed", format!("cannot start a thread for the run: {e}")));
    }
    Ok(None)
}

/// What a run is to do.
struct Errand {
    policy: Policy,
    target: Target,
    condition: Condition,
}

/// Policy, target and condition of a run, or how it ends without them.
fn errand(options: &Options, own_names: &[String], run: &OpenRun) -> Result<Errand, Ending> {
    if let Some(request) = &run.request {
        let (policy, target, condition) = request
            .decide(&options.policies, &options.targets)
            .map_err(|reason| Ending::new("no_policy", reason))?;
        return Ok(Errand { policy, target, condition });
    }
    match decide(&options.policies, &options.targets, own_names, &run.labels) {
        Decision::Act { policy, target } => {
            Ok(Errand { policy: policy.clone(), target: target.clone(), condition: policy.condition() })
        }
        Decision::Nothing { policy, reason } => {
            Err(Ending { policy: policy.map(str::to_owned), ..Ending::new("no_policy", reason) })
        }
        Decision::OtherHost { instance } => {
            let reason = format!(
                "the alert is about {instance:?}, which is not this machine; see optimizer.instances"
            );
            Err(Ending::new("refused", reason))
        }
    }
}

/// Holds a target while a run acts on it, and lets it go even if the run's thread should panic.
pub(super) struct Claim {
    shared: Arc<Shared>,
    target: String,
}

impl Claim {
    pub(super) fn target(&self) -> &str {
        &self.target
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shared.busy().remove(&self.target);
        self.shared.wake();
    }
}

/// The run waits. The guard is counted, and logged, once for each run that it holds up.
pub(super) fn wait(
    shared: &Shared,
    run: &OpenRun,
    guard: guard::Guard,
    until: i64,
    (policy, target): (&str, &str),
) -> Waiting {
    let reason = format!("{}: waits for this guard", guard.as_str());
    if run.reason.as_deref() != Some(&reason) {
        shared.metrics.guard_refusals.with_label_values(&[guard.as_str()]).inc();
        tracing::info!(run = run.id, guard = guard.as_str(), "a guard lets the run wait");
        shared.traces.waits(run.id, &reason);
    }
    Waiting { run: run.id, not_before: until, reason, policy: policy.to_owned(), target: target.to_owned() }
}

/// Ends a run: record, counter, log. A run that has ended meanwhile is left as it is.
pub(super) fn end(shared: &Shared, run: i64, ending: &Ending) -> Result<(), StoreError> {
    let Ending { result, reason, policy } = ending;
    let ended = Ended { result, reason, policy: policy.as_deref() };
    if shared.store.with(|j| j.end_run(run, &ended, (shared.clock)()))? {
        shared.metrics.runs.with_label_values(&[result]).inc();
        tracing::info!(run, result, reason, "run ended");
    }
    shared.traces.ended(run, result, reason);
    Ok(())
}
