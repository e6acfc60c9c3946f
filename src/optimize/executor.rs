//! The executor: takes runs from the journal, asks policy and guards, and hands them to workers.

use super::action;
use super::climb::{Climb, Ending};
use super::guard::{Admission, admit, millis};
use super::journal::OpenRun;
use super::metrics::Metrics;
use super::observe::Observer;
use super::policy::{Decision, decide};
use super::store::{Store, StoreError};
use super::{Options, guard};
use crate::host::Host;
use crate::host::hand::Hand;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The longest that the executor sleeps: a guard's wait may end, an aftermath may be due.
const TICK: Duration = Duration::from_millis(500);
/// How often old runs are forgotten.
const EXPIRE_EVERY: Duration = Duration::from_hours(1);
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
    settings: Mutex<Arc<Settings>>,
    busy: Mutex<HashSet<String>>,
    stopping: AtomicBool,
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

    fn announce(&self, settings: &Settings) {
        let targets = &settings.options.targets;
        let pairs = action::REGISTRY.iter().flat_map(|a| targets.iter().map(|t| (a.name(), t.name.as_str())));
        self.metrics.zero_targets(pairs);
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The executor's thread.
pub struct Executor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
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
        clock: Clock,
        settings: Settings,
    ) -> Result<Self, ExecutorError> {
        let (wake, inbox) = sync_channel(1);
        let shared = Arc::new(Shared {
            store,
            metrics,
            clock,
            settings: Mutex::new(Arc::new(settings)),
            busy: Mutex::default(),
            stopping: AtomicBool::new(false),
            wake,
        });
        shared.announce(&shared.settings());
        let work = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("executor".into()).spawn(move || run(&work, &inbox))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What the executor shares with the webhook and the API.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Ends the thread; runs that act have until `grace` is over to write their outcome. What is cut off is
    /// `interrupted` at the next start.
    pub fn stop(mut self, grace: Duration) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.shared.wake();
        let deadline = Instant::now() + grace;
        while !self.shared.busy().is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        if let Some(thread) = self.thread.take().filter(|_| Instant::now() < deadline) {
            // A panic of the thread has been logged by the hook of the process.
            let _ended = thread.join();
        }
    }
}

fn run(shared: &Arc<Shared>, inbox: &Receiver<()>) {
    let mut recovered = false;
    let mut expired_at: Option<Instant> = None;
    while !shared.stopping() {
        let turn = || -> Result<(), StoreError> {
            if !recovered {
                recover(shared)?;
                recovered = true;
            }
            if expired_at.is_none_or(|t| t.elapsed() > EXPIRE_EVERY) {
                let keep = millis(shared.settings().options.retention);
                shared.store.with(|j| j.expire((shared.clock)().saturating_sub(keep)))?;
                expired_at = Some(Instant::now());
            }
            aftermaths(shared)?;
            for open in shared.store.with(|j| j.runnable((shared.clock)(), TURN))? {
                consider(shared, &open)?;
            }
            let (waiting, active) = shared.store.with(|j| j.open_counts())?;
            shared.metrics.runs_waiting.set(waiting);
            shared.metrics.runs_active.set(active);
            Ok(())
        };
        // The store has logged and counted the error; the next turn tries again.
        let mut turn = turn;
        let _unwritable = turn();
        match inbox.recv_timeout(TICK) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Puts right what an interruption left behind, before anything else is done. Only then are the steps marked: an end
/// in the middle of this must find them again, and to put back twice does no harm.
fn recover(shared: &Shared) -> Result<(), StoreError> {
    let mut hand = Hand::new(shared.settings().host.clone());
    let unfinished = shared.store.with(|j| j.unfinished())?;
    for (step, name, plan) in &unfinished {
        let plan = serde_json::from_str(plan).unwrap_or(serde_json::Value::Null);
        match action::find(name).map(|a| a.undo(&plan, &mut hand)) {
            Some(Ok(Some(note))) => {
                tracing::warn!(step, action = name, note, "put back what an interrupted action left");
            }
            Some(Err(e)) => {
                tracing::error!(step, action = name, error = %e, "cannot put back what an interrupted action left");
            }
            Some(Ok(None)) | None => {
                tracing::warn!(step, action = name, "an action was interrupted; it is not repeated");
            }
        }
    }
    shared.store.with(|j| j.interrupt_unfinished((shared.clock)()))?;
    for (_, name, _) in &unfinished {
        shared.metrics.actions.with_label_values(&[name, "interrupted"]).inc();
    }
    Ok(())
}

/// Decides on one run: ends it, lets it wait, or gives it to a worker.
fn consider(shared: &Arc<Shared>, run: &OpenRun) -> Result<(), StoreError> {
    let now = (shared.clock)();
    if run.resolved {
        let ending = if run.rungs_begun.is_empty() { "resolved" } else { "interrupted" };
        return end(shared, run.id, &Ending::new(ending, "the alert is resolved"));
    }
    let settings = shared.settings();
    let options = &settings.options;
    let (policy, target) = match decide(&options.policies, &options.targets, &settings.own_names, &run.labels)
    {
        Decision::Act { policy, target } => (policy, target),
        Decision::Nothing { policy, reason } => {
            shared.store.with(|j| j.name_run(run.id, policy, None))?;
            return end(shared, run.id, &Ending::new("no_policy", reason));
        }
        Decision::OtherHost { instance } => {
            let reason = format!(
                "the alert is about {instance:?}, which is not this machine; see optimizer.instances"
            );
            return end(shared, run.id, &Ending::new("refused", reason));
        }
    };
    shared.store.with(|j| j.name_run(run.id, Some(&policy.name), Some(&target.name)))?;
    let past = shared
        .store
        .with(|j| j.past(run.id, &target.name, now.saturating_sub(millis(guard::RATE_WINDOW))))?;
    let (active, busy) = {
        let set = shared.busy();
        (set.len(), set.contains(&target.name))
    };
    if let Admission::Defer { guard, until } = admit(now, &past, active, busy, &options.guards) {
        return defer(shared, run, guard, until);
    }
    let climb = Climb {
        run: run.clone(),
        policy: policy.clone(),
        target: target.clone(),
        settings: Arc::clone(&settings),
    };
    shared.store.with(|j| j.begin_run(run.id, &policy.name, &target.name))?;
    shared.busy().insert(target.name.clone());
    let work = Arc::clone(shared);
    let name = target.name.clone();
    let spawned = std::thread::Builder::new().name("run".into()).spawn(move || {
        let _busy = Busy { shared: &work, target: &climb.target.name };
        climb.go(&work);
    });
    if let Err(e) = spawned {
        shared.busy().remove(&name);
        return end(
            shared,
            run.id,
            &Ending::new("failed", format!("cannot start a thread for the run: {e}")),
        );
    }
    Ok(())
}

/// Holds a target while a run acts on it, and lets it go even if the run's thread should panic.
struct Busy<'a> {
    shared: &'a Shared,
    target: &'a str,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.shared.busy().remove(self.target);
        self.shared.wake();
    }
}

/// The run waits. The guard is counted, and logged, once for each run that it holds up.
pub(super) fn defer(
    shared: &Shared,
    run: &OpenRun,
    guard: guard::Guard,
    until: i64,
) -> Result<(), StoreError> {
    let reason = format!("{}: waits for this guard", guard.as_str());
    if run.reason.as_deref() != Some(&reason) {
        shared.metrics.guard_refusals.with_label_values(&[guard.as_str()]).inc();
        tracing::info!(run = run.id, guard = guard.as_str(), "a guard lets the run wait");
    }
    shared.store.with(|j| j.defer(run.id, until, &reason))
}

/// Ends a run: record, counter, log.
pub(super) fn end(shared: &Shared, run: i64, ending: &Ending) -> Result<(), StoreError> {
    shared.store.with(|j| j.end_run(run, ending.result, Some(&ending.reason), (shared.clock)()))?;
    shared.metrics.runs.with_label_values(&[ending.result]).inc();
    tracing::info!(run, result = ending.result, reason = ending.reason, "run ended");
    Ok(())
}

/// Looks once more at targets of steps whose minute is over.
fn aftermaths(shared: &Shared) -> Result<(), StoreError> {
    let now = (shared.clock)();
    let settings = shared.settings();
    for (step, name, due) in shared.store.with(|j| j.aftermaths_due(now))? {
        // Long after the minute (the process was down) the figure would tell of something else.
        let in_time = now.saturating_sub(due) < 60_000;
        let target = settings.options.targets.iter().find(|t| t.name == name).filter(|_| in_time);
        let seen = target.and_then(|t| {
            let members = settings.observer.members(t).ok()?;
            serde_json::to_string(&settings.observer.observe(t, &members, now).ok()?).ok()
        });
        shared.store.with(|j| j.end_aftermath(step, seen.as_deref()))?;
    }
    Ok(())
}
