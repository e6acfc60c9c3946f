//! The thread that makes passes for those who wait, and what happens when it hangs.

use crate::collect::Scraper;
use crate::collect::scraper::{Pick, PickError};
use crate::encode::compress::{Coding, Compressor};
use crate::encode::name::Scheme;
use crate::encode::{Encoder, Syntax};
use hyper::body::Bytes;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
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
    reply: oneshot::Sender<Result<Page, Refusal>>,
}

/// What the thread and those who wait share; it is locked for moments only, so that nobody waits for a pass that hangs.
struct Inbox {
    scraper: Scraper,
    waiting: VecDeque<Waiter>,
    /// The pass that runs, and whom it serves.
    begun: Option<Instant>,
    served: Vec<Waiter>,
    /// Tells the thread that its place was taken.
    left: Arc<AtomicBool>,
    /// Wakes the thread; one call that it has not heard yet is as good as many.
    bell: SyncSender<()>,
    left_behind: usize,
}

/// The way to the scrape thread.
#[derive(Clone)]
pub struct ScrapeThread {
    inbox: Arc<Mutex<Inbox>>,
}

impl ScrapeThread {
    /// Starts the thread with its first scraper.
    pub fn start(scraper: Scraper) -> Result<Self, ThreadError> {
        let (bell, rings) = sync_channel(1);
        let left = Arc::<AtomicBool>::default();
        let inbox = Arc::new(Mutex::new(Inbox {
            scraper,
            waiting: VecDeque::new(),
            begun: None,
            served: Vec::new(),
            left: Arc::clone(&left),
            bell,
            left_behind: 0,
        }));
        spawn(&inbox, rings, left).map_err(|e| ThreadError(e.to_string()))?;
        Ok(Self { inbox })
    }

    /// Uses another scraper from the next pass on.
    pub fn replace(&self, scraper: Scraper) -> Result<(), ThreadError> {
        let (old, is_there) =
            lock(&self.inbox, |inbox| (std::mem::replace(&mut inbox.scraper, scraper), inbox.ring()));
        // Its files are closed while nobody waits for the inbox.
        drop(old);
        if is_there { Ok(()) } else { Err(ThreadError("it has ended".into())) }
    }

    /// The page of a pass that begins now, shared with all who want the same before it begins. If the pass hangs, it is
    /// left behind in time for another one without the collector that holds it up.
    pub async fn page(&self, want: Want, patience: Duration) -> Result<Page, Refusal> {
        let deadline = Instant::now() + patience;
        let mut page = self.enqueue(want)?;
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

    fn enqueue(&self, want: Want) -> Result<oneshot::Receiver<Result<Page, Refusal>>, Refusal> {
        let (reply, page) = oneshot::channel();
        let bell = lock(&self.inbox, |inbox| {
            // Who has gone (a scrape time-out) must not take the place of one who waits.
            inbox.waiting.retain(|waiter| !waiter.reply.is_closed());
            if inbox.waiting.len() >= WAITING_MAX {
                return Err(Refusal::Later("too many scrapes are waiting for one that hangs"));
            }
            inbox.scraper.check(&want.pick)?;
            inbox.waiting.push_back(Waiter { want, reply });
            Ok(inbox.bell.clone())
        })?;
        // The thread wants the inbox as soon as it is woken, so it is given back first. If another thread has taken its
        // place in the meantime, that one was woken when it did.
        if ring(&bell) || lock(&self.inbox, |inbox| inbox.ring()) {
            Ok(page)
        } else {
            Err(Refusal::Later("the scrape thread has ended"))
        }
    }

    /// Puts another thread in the place of one whose pass hangs; it serves first whom that pass was to serve.
    fn leave_behind(&self) {
        lock(&self.inbox, |inbox| {
            let hangs = inbox.begun.is_some_and(|begun| begun.elapsed() >= HANG_MIN);
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
            inbox.begun = None;
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

    /// Begins a pass for the first who waits and all who want the same.
    fn begin(&mut self) -> Option<(Want, Scraper)> {
        // Who has gone in the meantime is not worth a pass.
        self.waiting.retain(|waiter| !waiter.reply.is_closed());
        let want = self.waiting.front()?.want.clone();
        let all = std::mem::take(&mut self.waiting);
        let (served, waiting): (Vec<_>, Vec<_>) = all.into_iter().partition(|w| w.want.shares_pass(&want));
        (self.served, self.waiting) = (served, waiting.into());
        self.begun = Some(Instant::now());
        Some((want, self.scraper.clone()))
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
    while let Ok(()) = rings.recv() {
        while let Some((want, scraper)) = lock(inbox, Inbox::begin) {
            let page = pages.make(&scraper, &want, left);
            let served = lock(inbox, |inbox| {
                if left.load(Ordering::Acquire) {
                    inbox.left_behind -= 1;
                    return None;
                }
                inbox.begun = None;
                Some(std::mem::take(&mut inbox.served))
            });
            // Another thread has this one's place, and serves whom it was to serve.
            let Some(served) = served else { return };
            page.serve(served);
        }
    }
}

/// The encoders and their buffers, kept from pass to pass.
#[derive(Default)]
struct Pages {
    encoders: Vec<(Syntax, Box<dyn Encoder>)>,
    compressor: Compressor,
}

/// A page as it was written.
struct Written<'a> {
    page: &'a [u8],
    compressor: &'a mut Compressor,
}

impl Pages {
    fn make(&mut self, scraper: &Scraper, want: &Want, left: &AtomicBool) -> Written<'_> {
        let known = self.encoders.iter().position(|(syntax, _)| *syntax == want.syntax);
        let at = known.unwrap_or(self.encoders.len());
        if known.is_none() {
            self.encoders.push((want.syntax, want.syntax.encoder()));
        }
        let page = self.encoders.get_mut(at).map_or(&[][..], |(_, encoder)| {
            encoder.clear(want.scheme);
            scraper.scrape_picked(&want.pick, left, &mut **encoder);
            encoder.finish()
        });
        Written { page, compressor: &mut self.compressor }
    }
}

impl Written<'_> {
    /// Answers all, each in the coding that it wants; each coding is made once.
    fn serve(self, waiters: Vec<Waiter>) {
        let mut made: Vec<(Coding, Page)> = Vec::new();
        for Waiter { want, reply } in waiters {
            let known = made.iter().find(|(coding, _)| *coding == want.coding).map(|(_, page)| page.clone());
            let page = known.unwrap_or_else(|| {
                let page = code(self.compressor, want.coding, self.page);
                made.push((want.coding, page.clone()));
                page
            });
            // An error only says that the client did not wait; the pass is done anyway.
            let _gone = reply.send(Ok(page));
        }
    }
}

fn code(compressor: &mut Compressor, coding: Coding, page: &[u8]) -> Page {
    match compressor.compress(coding, page) {
        Ok(body) => Page { body: body.into(), coding },
        Err(e) => {
            tracing::error!(error = %e, coding = coding.as_str(), "cannot compress; the page goes as it is");
            Page { body: Bytes::copy_from_slice(page), coding: Coding::Identity }
        }
    }
}

#[cfg(test)]
mod tests;
