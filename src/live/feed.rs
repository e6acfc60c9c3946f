//! The stream of events: one thread that looks at the machine for all who watch, and one task for each of them.

use super::alerts::{self, Told};
use super::now::{Optimizer, Pair};
use super::past::{self, Past};
use super::picture::{About, FAMILIES, Picture};
use crate::exporter::scrapes::ScrapeThread;
use crate::optimize::executor::Shared as Executor;
use crate::serve::Answer;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use serde::Serialize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

const NAME: &str = "live_events";
/// Between two looks while somebody watches.
const INTERVAL: Duration = Duration::from_secs(2);
/// The first look: the start belongs to others.
const FIRST: Duration = Duration::from_secs(1);
/// Between two looks at alerts, in looks at the machine.
const ALERTS_EVERY: usize = 2;
/// A pass that hangs is given up after that: in time to say so before the page takes silence for the end.
const PATIENCE: Duration = Duration::from_secs(6);
/// The least between two looks, however often pages are opened.
const LOOK_MIN: Duration = Duration::from_millis(250);
/// Pages that may be open at once; more are answered 503.
const WATCHERS_MAX: usize = 16;
/// Tells proxies to pass on what comes as it comes.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The thread cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start a thread for the live page: {0}")]
pub struct LiveError(#[from] std::io::Error);

/// What the page shows.
pub struct Sources {
    /// Who makes passes.
    pub scrapes: ScrapeThread,
    /// The optimizer of this process, if its pages are served with this one.
    pub optimizer: Option<Arc<Executor>>,
    /// Where the samples are.
    pub telemetry_path: String,
    /// Milliseconds since the epoch, now.
    pub now_millis: fn() -> i64,
    /// Becomes true when the process is to end.
    pub stopped: watch::Receiver<bool>,
}

/// The stream. When the last clone is gone, the thread ends.
#[derive(Clone)]
pub struct Live {
    shared: Arc<Shared>,
    /// Wakes the thread; one call that it has not heard yet is as good as many.
    bell: SyncSender<()>,
}

struct Shared {
    sources: Sources,
    /// The base of Prometheus's API, once somebody is there who evaluates rules.
    rules: OnceLock<String>,
    watchers: AtomicUsize,
    past: Mutex<Past>,
    about: Mutex<About>,
    /// The newest event; none while nobody watches.
    newest: watch::Sender<Option<Bytes>>,
}

/// What is told once, first.
#[derive(Serialize)]
struct Hello<'a> {
    version: &'static str,
    #[serde(flatten)]
    about: &'a About,
    interval_seconds: u64,
    telemetry_path: &'a str,
    alerts: bool,
    optimizer: bool,
}

impl Live {
    /// Starts the thread.
    pub fn start(sources: Sources) -> Result<Self, LiveError> {
        let (bell, rings) = sync_channel(1);
        let shared = Arc::new(Shared {
            sources,
            rules: OnceLock::new(),
            watchers: AtomicUsize::new(0),
            past: Mutex::default(),
            about: Mutex::default(),
            newest: watch::Sender::new(None),
        });
        let thread = Thread::new(Arc::clone(&shared));
        std::thread::Builder::new().name("live".into()).spawn(move || thread.run(&rings))?;
        Ok(Self { shared, bell })
    }

    /// Says who evaluates the rules here, by the base of its HTTP API. Only the first word counts.
    pub fn told_by(&self, base: String) {
        let _first = self.shared.rules.set(base);
    }

    /// The stream for one more page.
    pub(super) fn events(&self) -> Answer {
        let Some(place) = Place::take(&self.shared) else {
            return Answer::unavailable(NAME, format!("{WATCHERS_MAX} pages are open, and no more may be"));
        };
        let (to, stream) = mpsc::channel(1);
        tokio::spawn(send(place, to));
        // If it is full, the thread wakes anyway.
        let _heard = self.bell.try_send(());
        Answer::page(NAME, "text/event-stream", &b"retry: 2000\n\n"[..])
            .with(CACHE_CONTROL, HeaderValue::from_static("no-store"))
            .with(UNBUFFERED, HeaderValue::from_static("no"))
            .followed_by(stream)
    }
}

/// A place among those who watch.
struct Place(Arc<Shared>);

impl Place {
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let more = |watchers| (watchers < WATCHERS_MAX).then_some(watchers + 1);
        shared.watchers.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Self(Arc::clone(shared)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.watchers.fetch_sub(1, Ordering::AcqRel) == 1 {
            // The next who watches gets no old state.
            self.0.newest.send_replace(None);
        }
    }
}

/// Sends what is new to one page, until it has gone or the process ends. Who reads slowly misses what is not new any more.
async fn send(place: Place, to: mpsc::Sender<Bytes>) {
    let shared = &place.0;
    let (mut newest, mut stopped) = (shared.newest.subscribe(), shared.sources.stopped.clone());
    let mut begun = false;
    loop {
        let event = newest.borrow_and_update().clone();
        if let Some(event) = event {
            if !begun && to.send(shared.hello()).await.is_err() {
                return;
            }
            begun = true;
            if to.send(event).await.is_err() {
                return;
            }
        }
        tokio::select! {
            changed = newest.changed() => if changed.is_err() { return },
            () = to.closed() => return,
            _ = stopped.wait_for(|stop| *stop) => return,
        }
    }
}

impl Shared {
    /// What a page is told first.
    fn hello(&self) -> Bytes {
        let about = lock(&self.about).clone();
        let hello = Hello {
            version: env!("CARGO_PKG_VERSION"),
            about: &about,
            interval_seconds: INTERVAL.as_secs(),
            telemetry_path: &self.sources.telemetry_path,
            alerts: self.rules.get().is_some(),
            optimizer: self.sources.optimizer.is_some(),
        };
        let mut text = event("about", &hello);
        text.push_str(&event("history", &*lock(&self.past)));
        text.into()
    }

    fn optimizer(&self) -> Option<Optimizer> {
        let shared = self.sources.optimizer.as_ref()?;
        let reason = shared.pause.why();
        Some(Optimizer { paused: reason.is_some(), reason, stamp: shared.metrics.stamp() })
    }
}

/// An event in the form of the stream: <https://html.spec.whatwg.org/multipage/server-sent-events.html>. JSON has no newline.
fn event(name: &str, value: &impl Serialize) -> String {
    match serde_json::to_string(value) {
        Ok(json) => format!("event: {name}\ndata: {json}\n\n"),
        Err(e) => {
            tracing::error!(event = name, error = %e, "an event of the live page has no JSON");
            String::new()
        }
    }
}

struct Thread {
    shared: Arc<Shared>,
    before: Option<Picture>,
    /// The last one that is among the past.
    kept: Option<Picture>,
    told: Told,
    looks: usize,
    begun: Instant,
    looked: Instant,
    next_point: Instant,
}

impl Thread {
    fn new(shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        let (looked, next_point) = (now, now + FIRST);
        let (before, kept, told) = (None, None, Told::default());
        Self { shared, before, kept, told, looks: 0, begun: now, looked, next_point }
    }

    fn run(mut self, rings: &Receiver<()>) {
        loop {
            let now = Instant::now();
            let watched = self.is_watched();
            let point = self.next_point.saturating_duration_since(now);
            let look = INTERVAL.saturating_sub(now.saturating_duration_since(self.looked));
            // Nobody has seen anything yet: they are not kept waiting.
            let first = watched && self.shared.newest.borrow().is_none();
            let wait = if first {
                LOOK_MIN.saturating_sub(now.saturating_duration_since(self.looked))
            } else if watched {
                look.min(point)
            } else {
                point
            };
            match rings.recv_timeout(wait) {
                Ok(()) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            // What goes wrong here must cost the page one look, and nobody else anything. The log has the place.
            if catch_unwind(AssertUnwindSafe(|| self.look())).is_err() {
                tracing::error!("a look for the live page ended badly; the next one is made all the same");
                self.publish(event("trouble", &"a look at the machine ended badly; see the log"));
            }
        }
    }

    fn is_watched(&self) -> bool {
        self.shared.watchers.load(Ordering::Acquire) > 0
    }

    fn look(&mut self) {
        self.looked = Instant::now();
        let is_point = self.looked >= self.next_point;
        if is_point {
            self.next_point = self.looked + past::STEP;
        }
        let sources = &self.shared.sources;
        let recorded = match sources.scrapes.record_only(FAMILIES, PATIENCE) {
            Ok(recorded) => recorded,
            Err(e) => return self.publish(event("trouble", &e.to_string())),
        };
        let ago = recorded.begun.elapsed().as_secs_f64();
        let at = (sources.now_millis)() as f64 / 1000.0 - ago;
        let beat = recorded.begun.saturating_duration_since(self.begun).as_secs_f64();
        let now = Picture::of(&recorded.batch, at, beat);
        lock(&self.shared.about).clone_from(&now.about);
        if is_point {
            lock(&self.shared.past).take(Pair { before: self.kept.as_ref(), now: &now });
            self.kept = Some(now.clone());
        }
        if self.is_watched() {
            self.ask_for_alerts();
            let pair = Pair { before: self.before.as_ref().or(self.kept.as_ref()), now: &now };
            let text = event("now", &pair.event(&self.told, self.shared.optimizer()));
            self.publish(text);
            self.before = Some(now);
        } else {
            self.before = None;
            self.looks = 0;
        }
    }

    fn ask_for_alerts(&mut self) {
        if let Some(base) = self.shared.rules.get()
            && self.looks.is_multiple_of(ALERTS_EVERY)
        {
            self.told = alerts::ask(base);
        }
        self.looks += 1;
    }

    /// For those who watch; if the last of them has just gone, the next one is to get nothing that is old by then.
    fn publish(&self, text: String) {
        self.shared.newest.send_if_modified(|newest| {
            let watched = self.is_watched();
            if watched {
                *newest = Some(text.into());
            }
            watched
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
