//! Who holds memory in this process, in which order they are asked for it, and what came of it.

pub(crate) mod caller;
mod keeper;
mod shown;

pub use shown::Totals;

use crate::metrics::Metrics;
use crate::part::{About, Functions, Part, PartError, Sample, Urgency};
use caller::{Away, Called, Caller};
use serde::Serialize;
use shown::Shown;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Parts at one time: what is over is refused.
pub const PARTS_MAX: usize = 1000;
/// The time for one reclaim; less than the 5 s that Headroom waits for the answer.
pub const TIMEOUT: Duration = Duration::from_secs(4);
/// The time that all parts together have to say what they hold.
const LOOK: Duration = Duration::from_secs(1);

/// Why memory was not asked for at all.
#[derive(Debug, thiserror::Error)]
pub enum ReclaimError {
    /// No part is of the kind that was asked for.
    #[error("nothing of the kind '{kind}' is registered; there are: {known}")]
    UnknownKind {
        /// What was asked for.
        kind: String,
        /// What there is.
        known: String,
    },
    /// One reclaim at a time: another one did not end.
    #[error("another reclaim did not end within {0:?}")]
    Busy(Duration),
}

/// Why a part was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Its name, kind or cost cannot be.
    #[error("a part: {0}")]
    About(String),
    /// There are as many as there may be.
    #[error("{0}: there are {PARTS_MAX} parts already")]
    TooMany(String),
}

/// How the call to a part ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It came back.
    Ok,
    /// It came back with an error, or panicked.
    Failed,
    /// It did not come back in time.
    Late,
    /// An earlier call has not come back, so it was not asked.
    Busy,
    /// The time was over before its turn.
    NoTime,
}

impl Ending {
    /// The word that stands in answers and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Late => "late",
            Self::Busy => "busy",
            Self::NoTime => "no_time",
        }
    }
}

/// What came of asking one part.
#[derive(Clone, Debug, Serialize)]
pub struct PartOutcome {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// How the call ended.
    pub outcome: Ending,
    /// What it believes to have released.
    pub released_bytes: u64,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it took.
    #[serde(skip)]
    pub took: Duration,
}

/// What came of a reclaim; as JSON it is the hook's answer.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// What the parts believe to have released.
    pub released_bytes: u64,
    /// Part by part.
    pub parts: Vec<PartOutcome>,
}

/// A part as it is now.
#[derive(Clone, Debug, Serialize)]
pub struct PartState {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// What it costs to build again.
    pub cost: f64,
    /// Absent if it is not known, or could not be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_bytes: Option<u64>,
    /// What else it measures of itself.
    #[serde(skip)]
    pub samples: Vec<Sample>,
}

/// What is wanted of a registry.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// So much.
    pub target_bytes: u64,
    /// How much it is needed.
    pub urgency: Urgency,
    /// Of this kind alone, and of the allocator, without which the kernel sees nothing of it.
    pub kind: Option<&'a str>,
    /// The time for all of it.
    pub timeout: Duration,
    /// Who asks: a label of the count of requests.
    pub origin: &'static str,
}

impl Default for Wish<'_> {
    fn default() -> Self {
        Self { target_bytes: 0, urgency: Urgency::Low, kind: None, timeout: TIMEOUT, origin: "call" }
    }
}

/// A registry of parts that hold memory; clones are the same one.
#[derive(Clone)]
pub struct Reclaim {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Reclaim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reclaim").field("parts", &self.inner.there().len()).finish_non_exhaustive()
    }
}

struct Inner {
    entries: Mutex<Vec<Entry>>,
    /// Who looks at the parts: one after the other, for each part is asked once at a time.
    looks: Mutex<()>,
    turn: Mutex<bool>,
    turned: Condvar,
    shown: Shown,
    keeper: keeper::Keeper,
}

#[derive(Clone)]
struct Entry {
    about: Arc<About>,
    part: Held,
    /// Calls that have not come back: of `reclaim`, and of those that only look.
    away: Away,
    mute: Away,
}

/// An entry with its part, which is there as long as this is.
type Chosen = (Entry, Arc<dyn Part>);

#[derive(Clone)]
enum Held {
    Strong(Arc<dyn Part>),
    Weak(Weak<dyn Part>),
}

impl Held {
    fn get(&self) -> Option<Arc<dyn Part>> {
        match self {
            Self::Strong(part) => Some(Arc::clone(part)),
            Self::Weak(part) => part.upgrade(),
        }
    }

    /// Whether it is still there. Nothing is held for that, so nothing can be dropped by it.
    fn is_there(&self) -> bool {
        match self {
            Self::Strong(_) => true,
            Self::Weak(part) => part.strong_count() > 0,
        }
    }
}

impl Reclaim {
    /// An empty one, whose numbers are among these metrics.
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            inner: Arc::new_cyclic(|inner| Inner {
                entries: Mutex::default(),
                looks: Mutex::default(),
                turn: Mutex::new(false),
                turned: Condvar::new(),
                shown: Shown::new(metrics, inner.clone()),
                keeper: keeper::Keeper::default(),
            }),
        }
    }

    /// Registers a part, which is kept for as long as this registry is.
    pub fn add(&self, about: About, part: Arc<dyn Part>) -> Result<(), RegisterError> {
        self.keep(about, Held::Strong(part))
    }

    /// Registers a part without keeping it: with its last owner it is gone from here, too.
    pub fn add_weak(&self, about: About, part: &Arc<dyn Part>) -> Result<(), RegisterError> {
        self.keep(about, Held::Weak(Arc::downgrade(part)))
    }

    /// Registers two functions: one says what is held, the other gives back.
    pub fn register(
        &self,
        about: About,
        held_bytes: impl Fn() -> u64 + Send + Sync + 'static,
        give_back: impl Fn(u64, Urgency) -> Result<u64, PartError> + Send + Sync + 'static,
    ) -> Result<(), RegisterError> {
        self.add(about, Arc::new(Functions { held_bytes, give_back }))
    }

    fn keep(&self, about: About, part: Held) -> Result<(), RegisterError> {
        about.check().map_err(RegisterError::About)?;
        let tended = part.get().and_then(|part| part.tended_every());
        {
            let mut entries = lock(&self.inner.entries);
            entries.retain(|entry| entry.part.is_there());
            if entries.len() >= PARTS_MAX {
                return Err(RegisterError::TooMany(about.name));
            }
            let entry = Entry { about: Arc::new(about), part, away: Away::default(), mute: Away::default() };
            entries.push(entry);
        }
        if let Some(every) = tended {
            self.inner.keeper.want(every, &self.inner);
        }
        Ok(())
    }

    /// Asks one part after the other, the cheapest first, until so much is released; at `high` all of them.
    pub fn reclaim(&self, wish: &Wish<'_>) -> Result<Outcome, ReclaimError> {
        let deadline = Instant::now() + wish.timeout;
        let chosen = self.choose(wish.kind)?;
        self.inner.shown.requests.with_label_values(&[wish.origin]).inc();
        let _turn = Turn::take(&self.inner, wish.timeout).ok_or(ReclaimError::Busy(wish.timeout))?;
        Ok(self.ask(&chosen, wish, deadline))
    }

    fn choose(&self, kind: Option<&str>) -> Result<Vec<Chosen>, ReclaimError> {
        let mut there = self.inner.there();
        let Some(kind) = kind else { return Ok(there) };
        if !there.iter().any(|(entry, _)| entry.about.kind == kind) {
            let mut known: Vec<&str> = there.iter().map(|(entry, _)| entry.about.kind.as_str()).collect();
            known.sort_unstable();
            known.dedup();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            return Err(ReclaimError::UnknownKind { kind: kind.into(), known });
        }
        there.retain(|(entry, _)| [kind, "trim"].contains(&entry.about.kind.as_str()));
        Ok(there)
    }

    fn ask(&self, chosen: &[Chosen], wish: &Wish<'_>, deadline: Instant) -> Outcome {
        let (mut by_holders, mut by_finishers) = (0_u64, 0_u64);
        let mut caller = Caller::default();
        let mut parts = Vec::new();
        for (number, (entry, part)) in chosen.iter().enumerate() {
            let finishes = entry.about.finishes;
            if !finishes && wish.urgency == Urgency::Low && by_holders >= wish.target_bytes {
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // Who hangs costs half of the time, and the others have the rest.
            let limit = if number + 1 == chosen.len() { left } else { left / 2 };
            let target = wish.target_bytes.saturating_sub(by_holders);
            let outcome = ask_one(&mut caller, entry, part, Asked { target, urgency: wish.urgency, limit });
            let sum = if finishes { &mut by_finishers } else { &mut by_holders };
            *sum = sum.saturating_add(outcome.released_bytes);
            self.inner.shown.note(&outcome);
            parts.push(outcome);
        }
        // What holders let go and what the process then lost may be the same bytes: they are not counted twice.
        Outcome { released_bytes: by_holders.max(by_finishers), parts }
    }

    /// All parts as they are now, in the order in which they are asked. One that does not answer is without its number.
    pub fn state(&self) -> Vec<PartState> {
        self.inner.state()
    }

    /// What all parts hold that say so.
    pub fn held_bytes(&self) -> u64 {
        self.state().iter().filter_map(|part| part.held_bytes).fold(0, u64::saturating_add)
    }

    /// What a part gave back so far, by its own count, and how often it was asked.
    pub fn totals(&self, name: &str, kind: &str) -> Totals {
        self.inner.shown.totals(name, kind)
    }
}

impl Inner {
    /// Entries whose part is still there, in the order in which they are asked.
    fn there(&self) -> Vec<Chosen> {
        let mut entries = lock(&self.entries);
        entries.retain(|entry| entry.part.is_there());
        let mut there: Vec<_> =
            entries.iter().filter_map(|entry| Some((entry.clone(), entry.part.get()?))).collect();
        drop(entries);
        there.sort_by(|(a, _), (b, _)| {
            (a.about.finishes, a.about.cost)
                .partial_cmp(&(b.about.finishes, b.about.cost))
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        there
    }

    fn state(&self) -> Vec<PartState> {
        let _alone = lock(&self.looks);
        let deadline = Instant::now() + LOOK;
        let mut caller = Caller::default();
        let look = |(entry, part): Chosen| {
            let limit = deadline.saturating_duration_since(Instant::now()) / 2;
            let (held_bytes, samples) =
                match caller.call(&entry.mute, limit, move || (part.held_bytes(), part.samples())) {
                    Called::Back(Ok(said)) => said,
                    Called::Back(Err(_)) | Called::Late | Called::Busy => (None, Vec::new()),
                };
            let About { name, kind, cost, .. } = &*entry.about;
            PartState { name: name.clone(), kind: kind.clone(), cost: *cost, held_bytes, samples }
        };
        self.there().into_iter().map(look).collect()
    }
}

/// What one part is asked for.
#[derive(Clone, Copy)]
struct Asked {
    target: u64,
    urgency: Urgency,
    limit: Duration,
}

fn ask_one(caller: &mut Caller, entry: &Entry, part: &Arc<dyn Part>, asked: Asked) -> PartOutcome {
    let Asked { target, urgency, limit } = asked;
    let begun = Instant::now();
    let (outcome, released_bytes, error) = if limit.is_zero() {
        (Ending::NoTime, 0, Some("the time was over".to_owned()))
    } else {
        let part = Arc::clone(part);
        match caller.call(&entry.away, limit, move || part.reclaim(target, urgency)) {
            Called::Back(Ok(Ok(released))) => (Ending::Ok, released, None),
            Called::Back(Ok(Err(error))) => (Ending::Failed, 0, Some(error.to_string())),
            Called::Back(Err(panic)) => (Ending::Failed, 0, Some(panic)),
            Called::Late => (Ending::Late, 0, Some(format!("not back within {limit:.3?}"))),
            Called::Busy => (Ending::Busy, 0, Some("an earlier call has not come back".into())),
        }
    };
    let About { name, kind, .. } = &*entry.about;
    if let Some(error) = &error {
        tracing::warn!(part = name, kind, error, "a part could not give memory back");
    }
    let took = begun.elapsed();
    PartOutcome { name: name.clone(), kind: kind.clone(), outcome, released_bytes, error, took }
}

/// The right to be the one reclaim that goes on.
struct Turn<'a>(&'a Inner);

impl<'a> Turn<'a> {
    fn take(inner: &'a Inner, timeout: Duration) -> Option<Self> {
        let (mut taken, waited) = inner
            .turned
            .wait_timeout_while(lock(&inner.turn), timeout, |taken| *taken)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() && *taken {
            return None;
        }
        *taken = true;
        Some(Self(inner))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *lock(&self.0.turn) = false;
        self.0.turned.notify_one();
    }
}

/// A lock that outlives a panic of whoever had it: what it guards is whole after each line.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
