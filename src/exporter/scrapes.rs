//! The thread that makes passes for those who wait, and what happens when it hangs.

mod pages;

use crate::collect::Scraper;
use crate::collect::scraper::{Pick, PickError};
use crate::encode::Syntax;
use crate::encode::compress::Coding;
use crate::encode::name::Scheme;
use crate::exporter::footprint::Footprint;
use crate::exporter::trace::Scrape;
use crate::metric::batch::Batch;
use hyper::body::Bytes;
use pages::Pages;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Requests that may wait for a pass; more are answered 503.
const WAITING_MAX: usize = 128;
/// A pass that runs for less than this does not hang, however short the time of those who wait is.
const HANG_MIN: Duration = Duration::from_millis(300);
/// Threads that may hang in a collector each. More than one hangs only if several collectors do, or after reloads.
const LEFT_BEHIND_MAX: usize = 16;

/// What somebody waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// What the page is written in.
    pub syntax: Syntax,
    /// How its names are escaped.
    pub scheme: Scheme,
    /// Whose samples it has.
    pub pick: Pick,
    /// How it is coded.
    pub coding: Coding,
}

impl Want {
    /// Whether one pass serves both.
    fn shares_pass(&self, other: &Self) -> bool {
        (self.syntax, self.scheme, &self.pick) == (other.syntax, other.scheme, &other.pick)
    }
}

/// The samples of a pass over all collectors, and when it began.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The samples.
    pub batch: Batch,
    /// When the pass began.
    pub begun: Instant,
}

/// Somebody who waits for the samples of a pass.
#[derive(Clone)]
struct Recording {
    to: Arc<SyncSender<Arc<Recorded>>>,
    /// The families that are wanted; all of them without it.
    only: Option<&'static [&'static str]>,
}

impl Recording {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.to, &other.to)
    }
}

/// A page.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its bytes.
    pub body: Bytes,
    /// How they are coded.
    pub coding: Coding,
}

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such collector.
    #[error(transparent)]
    Pick(#[from] PickError),
    /// Not now.
    #[error("{0}")]
    Later(&'static str),
}

/// The scrape thread could not be started, or has ended.
#[derive(Debug, thiserror::Error)]
#[error("the scrape thread is not there: {0}")]
pub struct ThreadError(String);

struct Waiter {
    want: Want,
    /// Its trace, if it is sampled.
    trace: Option<Scrape>,
    reply: oneshot::Sender<Result<Page, Refusal>>,
}

/// A pass over the host.
struct Pass {
    want: Want,
    begun: Instant,
    /// Whose it is: a scraper's number.
    scraper: u64,
}

/// What the thread and those who wait share; it is locked for moments only, so that nobody waits for a pass that hangs.
struct Inbox {
    scraper: Scraper,
    /// Counts the scrapers, so that nobody gets a page of an old one after a reload.
    number: u64,
    /// How long before a request the pass may have begun whose page it gets.
    age_max: Duration,
    waiting: VecDeque<Waiter>,
    /// The pass that runs, and whom it serves.
    running: Option<Pass>,
    served: Vec<Waiter>,
    /// The pages of the last pass by the coding that was wanted, for as long as they are young enough for somebody.
    last: Option<(Pass, Vec<(Coding, Page)>)>,
    /// Who waits for the samples of the next pass over all collectors.
    recorders: Vec<Recording>,
    /// What the last pass over all collectors was made for: one that nobody asked for may serve the next who wants the same.
    usual: Want,
    /// Tells the thread that its place was taken.
    left: Arc<AtomicBool>,
    /// Wakes the thread; one call that it has not heard yet is as good as many.
    bell: SyncSender<()>,
    left_behind: usize,
}

/// Who wants to know of a pass besides those who wait for its page.
struct Besides {
    recorders: Vec<Recording>,
    trace: Option<Scrape>,
}

/// How a request is served.
enum Place {
    /// There is a page for it.
    Page(Page),
    /// It waits for one.
    Waits(oneshot::Receiver<Result<Page, Refusal>>),
}

/// The way to the scrape thread.
#[derive(Clone)]
pub struct ScrapeThread {
    inbox: Arc<Mutex<Inbox>>,
}

impl ScrapeThread {
    /// Starts the thread with its first scraper. A request gets no page of a pass that began more than `age_max` before it.
    pub fn start(scraper: Scraper, age_max: Duration) -> Result<Self, ThreadError> {
        let (bell, rings) = sync_channel(1);
        let left = Arc::<AtomicBool>::default();
        let inbox = Arc::new(Mutex::new(Inbox {
            scraper,
            number: 0,
            age_max,
            waiting: VecDeque::new(),
            running: None,
            served: Vec::new(),
            last: None,
            recorders: Vec::new(),
            usual: Want::default(),
            left: Arc::clone(&left),
            bell,
            left_behind: 0,
        }));
        spawn(&inbox, rings, left).map_err(|e| ThreadError(e.to_string()))?;
        Ok(Self { inbox })
    }

    /// Uses another scraper from now on.
    pub fn replace(&self, scraper: Scraper, age_max: Duration) -> Result<(), ThreadError> {
        let (old, is_there) = lock(&self.inbox, |inbox| {
            inbox.number += 1;
            inbox.age_max = age_max;
            (std::mem::replace(&mut inbox.scraper, scraper), inbox.ring())
        });
        // Its files are closed while nobody waits for the inbox.
        drop(old);
        if is_there { Ok(()) } else { Err(ThreadError("it has ended".into())) }
    }

    /// The page of a pass that begins now, shared with all who want the same before it begins; or of one that began so
    /// shortly before that it may be shared too. If the pass hangs, it is left behind in time for another one without the
    /// collector that holds it up.
    pub async fn page(&self, want: Want, patience: Duration) -> Result<Page, Refusal> {
        self.page_for(want, patience, None).await
    }

    /// The same; the pass is part of this trace if it is made for it.
    pub async fn page_for(
        &self,
        want: Want,
        patience: Duration,
        trace: Option<Scrape>,
    ) -> Result<Page, Refusal> {
        let now = Instant::now();
        let deadline = now + patience;
        let mut page = match self.enqueue(want, trace, now)? {
            Place::Page(page) => return Ok(page),
            Place::Waits(page) => page,
        };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Refusal::Later("the scrape hangs; see the log and node_scrape_collector_*"));
            }
            // What is left after a pass that hangs is for the next one, which may hang in another collector.
            let share = (left * 2 / 3).max(HANG_MIN).min(left);
            match tokio::time::timeout(share, &mut page).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(_)) => return Err(Refusal::Later("the scrape thread has ended")),
                Err(_) => self.leave_behind(),
            }
        }
    }

    /// The samples of the first pass over all collectors that somebody has made within `share`; of one made for this if
    /// there is none, or if it hangs. It blocks; nobody who wants a page waits for it.
    pub fn record(&self, share: Duration, patience: Duration) -> Result<Recorded, Refusal> {
        self.record_wanted(None, share, patience)
    }

    /// The samples of these families, of a pass made for this; perhaps those of others too.
    pub fn record_only(
        &self,
        families: &'static [&'static str],
        patience: Duration,
    ) -> Result<Recorded, Refusal> {
        self.record_wanted(Some(families), Duration::ZERO, patience)
    }

    fn record_wanted(
        &self,
        only: Option<&'static [&'static str]>,
        share: Duration,
        patience: Duration,
    ) -> Result<Recorded, Refusal> {
        let (to, samples) = sync_channel(1);
        let to = Recording { to: Arc::new(to), only };
        let result = self.record_to(&to, &samples, share, patience);
        lock(&self.inbox, |inbox| inbox.recorders.retain(|other| !other.is(&to)));
        result.map(Arc::unwrap_or_clone)
    }

    fn record_to(
        &self,
        to: &Recording,
        samples: &Receiver<Arc<Recorded>>,
        share: Duration,
        patience: Duration,
    ) -> Result<Arc<Recorded>, Refusal> {
        lock(&self.inbox, |inbox| inbox.recorders.push(to.clone()));
        if let Ok(recorded) = samples.recv_timeout(share) {
            return Ok(recorded);
        }
        let deadline = Instant::now() + patience;
        loop {
            // Who is not waiting any more (`reply` is gone) is not served: it is kept until the pass is over.
            let (reply, _page) = oneshot::channel();
            let waits = lock(&self.inbox, |inbox| {
                if !inbox.recorders.iter().any(|other| other.is(to)) {
                    inbox.recorders.push(to.clone());
                }
                inbox.waiting.push_back(Waiter { want: inbox.usual.clone(), trace: None, reply });
                inbox.ring()
            });
            if !waits {
                return Err(Refusal::Later("the scrape thread has ended"));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match samples.recv_timeout((left * 2 / 3).max(HANG_MIN)) {
                Ok(recorded) => return Ok(recorded),
                Err(_) if left.is_zero() => return Err(Refusal::Later("the pass hangs")),
                Err(_) => self.leave_behind(),
            }
        }
    }

    fn enqueue(&self, want: Want, trace: Option<Scrape>, now: Instant) -> Result<Place, Refusal> {
        let (place, bell) = lock(&self.inbox, |inbox| {
            inbox.scraper.check(&want.pick)?;
            if let Some(page) = inbox.young_page(&want, now) {
                return Ok((Place::Page(page), None));
            }
            // Who has gone (a scrape time-out) must not take the place of one who waits.
            inbox.waiting.retain(|waiter| !waiter.reply.is_closed());
            inbox.served.retain(|waiter| !waiter.reply.is_closed());
            let joins = inbox.running.as_ref().is_some_and(|pass| inbox.may_join(pass, &want, now));
            let ahead = if joins { inbox.served.len() } else { inbox.waiting.len() };
            if ahead >= WAITING_MAX {
                return Err(Refusal::Later("too many scrapes are waiting for one that hangs"));
            }
            let (reply, page) = oneshot::channel();
            let waiter = Waiter { want, trace, reply };
            if joins {
                inbox.served.push(waiter);
                return Ok((Place::Waits(page), None));
            }
            inbox.waiting.push_back(waiter);
            Ok((Place::Waits(page), Some(inbox.bell.clone())))
        })?;
        // The thread wants the inbox as soon as it is woken, so it is given back first. If another thread has taken its
        // place in the meantime, that one was woken when it did.
        if bell.is_none_or(|bell| ring(&bell)) || lock(&self.inbox, |inbox| inbox.ring()) {
            Ok(place)
        } else {
            Err(Refusal::Later("the scrape thread has ended"))
        }
    }

    /// Puts another thread in the place of one whose pass hangs; it serves first whom that pass was to serve.
    fn leave_behind(&self) {
        lock(&self.inbox, |inbox| {
            let hangs = inbox.running.as_ref().is_some_and(|pass| pass.begun.elapsed() >= HANG_MIN);
            if !hangs || inbox.left_behind >= LEFT_BEHIND_MAX {
                return;
            }
            let (bell, rings) = sync_channel(1);
            let left = Arc::<AtomicBool>::default();
            if let Err(e) = spawn(&self.inbox, rings, Arc::clone(&left)) {
                tracing::error!(error = %e, "a scrape hangs, and no other thread can be started");
                return;
            }
            std::mem::replace(&mut inbox.left, left).store(true, Ordering::Release);
            inbox.left_behind += 1;
            inbox.bell = bell;
            inbox.running = None;
            for waiter in inbox.served.drain(..).rev() {
                inbox.waiting.push_front(waiter);
            }
            inbox.ring();
        });
    }
}

impl Inbox {
    /// Wakes the thread; false if there is none any more.
    fn ring(&self) -> bool {
        ring(&self.bell)
    }

    /// Whether a request at `now` may get a page of this pass.
    fn may_join(&self, pass: &Pass, want: &Want, now: Instant) -> bool {
        pass.scraper == self.number
            && pass.want.shares_pass(want)
            && now.saturating_duration_since(pass.begun) <= self.age_max
    }

    /// The page of the last pass in the coding that is wanted, if it is young enough for a request at `now`.
    fn young_page(&self, want: &Want, now: Instant) -> Option<Page> {
        let (pass, pages) = self.last.as_ref()?;
        let page = pages.iter().find(|(coding, _)| *coding == want.coding);
        page.filter(|_| self.may_join(pass, want, now)).map(|(_, page)| page.clone())
    }

    /// Begins a pass for the first who waits and all who want the same.
    fn begin(&mut self) -> Option<(Scraper, Want, Besides)> {
        // Who has gone in the meantime is not worth a pass.
        self.waiting.retain(|waiter| !waiter.reply.is_closed());
        let want = self.waiting.front()?.want.clone();
        let all = std::mem::take(&mut self.waiting);
        let (served, waiting): (Vec<_>, Vec<_>) = all.into_iter().partition(|w| w.want.shares_pass(&want));
        (self.served, self.waiting) = (served, waiting.into());
        self.running = Some(Pass { want: want.clone(), begun: Instant::now(), scraper: self.number });
        self.last = None;
        let all = want.pick == Pick::All;
        if all {
            self.usual.clone_from(&want);
        }
        let recorders = if all { std::mem::take(&mut self.recorders) } else { Vec::new() };
        let trace = self.served.iter().find_map(|waiter| waiter.trace.clone());
        Some((self.scraper.clone(), want, Besides { recorders, trace }))
    }

    /// Whom the pass that has just been made serves; if there is nobody more, it is over.
    fn next_served(&mut self, pages: &[(Coding, Page)]) -> Vec<Waiter> {
        let served = std::mem::take(&mut self.served);
        if served.is_empty() {
            let kept = self.running.take().filter(|pass| pass.begun.elapsed() <= self.age_max);
            self.last = kept.map(|pass| (pass, pages.to_vec()));
        }
        served
    }

    /// How long the pages of the last pass may still be of use.
    fn use_left(&self) -> Option<Duration> {
        let (pass, _) = self.last.as_ref()?;
        Some(self.age_max.saturating_sub(pass.begun.elapsed()))
    }
}

/// Wakes the thread that hears this bell; false if there is none any more.
fn ring(bell: &SyncSender<()>) -> bool {
    !matches!(bell.try_send(()), Err(TrySendError::Disconnected(())))
}

/// What `with` does while nobody else looks into the inbox.
fn lock<T>(inbox: &Mutex<Inbox>, with: impl FnOnce(&mut Inbox) -> T) -> T {
    with(&mut inbox.lock().unwrap_or_else(PoisonError::into_inner))
}

fn spawn(inbox: &Arc<Mutex<Inbox>>, rings: Receiver<()>, left: Arc<AtomicBool>) -> std::io::Result<()> {
    let inbox = Arc::clone(inbox);
    std::thread::Builder::new().name("scrape".into()).spawn(move || scrape_loop(&inbox, &rings, &left))?;
    Ok(())
}

fn scrape_loop(inbox: &Mutex<Inbox>, rings: &Receiver<()>, left: &AtomicBool) {
    let mut pages = Pages::default();
    let mut footprint = Footprint::new();
    while rung(inbox, rings) {
        while let Some((scraper, want, besides)) = lock(inbox, Inbox::begin) {
            let mut written = pages.make(&scraper, &want, left, &besides);
            let mut made = Vec::new();
            loop {
                let served = lock(inbox, |inbox| {
                    if left.load(Ordering::Acquire) {
                        inbox.left_behind -= 1;
                        return None;
                    }
                    Some(inbox.next_served(&made))
                });
                // Another thread has this one's place, and serves whom it was to serve.
                let Some(served) = served else { return };
                if served.is_empty() {
                    break;
                }
                // Meanwhile others may have joined.
                written.serve(served, &mut made);
            }
            footprint.after_pass(lock(inbox, |inbox| inbox.number));
        }
    }
}

/// Waits for the bell, and forgets the last pages when they are of no more use; false if nobody can ring any more.
fn rung(inbox: &Mutex<Inbox>, rings: &Receiver<()>) -> bool {
    if let Some(left) = lock(inbox, |inbox| inbox.use_left()) {
        match rings.recv_timeout(left) {
            Ok(()) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let last = lock(inbox, |inbox| inbox.last.take());
        drop(last);
    }
    rings.recv().is_ok()
}

#[cfg(test)]
mod tests;
