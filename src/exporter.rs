//! The exporter's pages, and the thread that makes one pass for all who wait.

use crate::collect::{self, Scraper};
use crate::encode::text::{CONTENT_TYPE, TextEncoder};
use crate::serve::{Answer, Handler, Reload, only_get, reload};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, StatusCode};
use serde::Deserialize;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Requests that may wait for a pass; more are answered 503.
const WAITING_MAX: usize = 128;
/// The longest a request waits for its page.
const PAGE_WAIT: Duration = Duration::from_secs(25);

/// Options of the exporter.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Which collectors run, and their options.
    pub collectors: collect::Options,
}

impl Default for Options {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9177)), collectors: collect::Options::default() }
    }
}

/// What the thread finds when it looks: who waits for a page, and the scraper to use from now on.
#[derive(Default)]
struct Inbox {
    waiting: Vec<oneshot::Sender<Bytes>>,
    next: Option<Box<Scraper>>,
}

/// The way to the scrape thread. No call waits for a pass that hangs: the inbox is locked for moments only.
#[derive(Clone)]
pub struct ScrapeThread {
    inbox: Arc<Mutex<Inbox>>,
    /// Wakes the thread; one call that it has not heard yet is as good as many.
    bell: SyncSender<()>,
}

/// The scrape thread could not be started, or has ended.
#[derive(Debug, thiserror::Error)]
#[error("the scrape thread is not there: {0}")]
pub struct ThreadError(String);

impl ScrapeThread {
    /// Starts the thread with its first scraper.
    pub fn start(scraper: Scraper) -> Result<Self, ThreadError> {
        let (bell, rings) = sync_channel(1);
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        let theirs = Arc::clone(&inbox);
        std::thread::Builder::new()
            .name("scrape".into())
            .spawn(move || scrape_loop(scraper, &theirs, &rings))
            .map_err(|e| ThreadError(e.to_string()))?;
        Ok(Self { inbox, bell })
    }

    /// Uses another scraper from the next pass on.
    pub fn replace(&self, scraper: Scraper) -> Result<(), ThreadError> {
        lock(&self.inbox, |inbox| inbox.next = Some(Box::new(scraper)));
        if self.ring() { Ok(()) } else { Err(ThreadError("it has ended".into())) }
    }

    /// The page of a pass that begins now, shared with all who ask before it begins.
    pub async fn page(&self) -> Result<Bytes, Answer> {
        let (reply, page) = oneshot::channel();
        let taken = lock(&self.inbox, |inbox| {
            // Who has gone (a scrape time-out) must not take the place of one who waits.
            inbox.waiting.retain(|reply| !reply.is_closed());
            let room = inbox.waiting.len() < WAITING_MAX;
            if room {
                inbox.waiting.push(reply);
            }
            room
        });
        if !taken {
            return Err(Answer::unavailable("metrics", "too many scrapes are waiting for one that hangs"));
        }
        if !self.ring() {
            return Err(Answer::unavailable("metrics", "the scrape thread has ended"));
        }
        match tokio::time::timeout(PAGE_WAIT, page).await {
            Ok(Ok(page)) => Ok(page),
            Ok(Err(_)) => Err(Answer::unavailable("metrics", "the scrape thread has ended")),
            Err(_) => Err(Answer::unavailable(
                "metrics",
                "the scrape hangs; see the log and node_scrape_collector_*",
            )),
        }
    }

    /// Wakes the thread; false if there is none any more.
    fn ring(&self) -> bool {
        !matches!(self.bell.try_send(()), Err(TrySendError::Disconnected(())))
    }
}

/// What `with` does while nobody else looks into the inbox.
fn lock<T>(inbox: &Mutex<Inbox>, with: impl FnOnce(&mut Inbox) -> T) -> T {
    with(&mut inbox.lock().unwrap_or_else(PoisonError::into_inner))
}

fn scrape_loop(mut scraper: Scraper, inbox: &Mutex<Inbox>, rings: &Receiver<()>) {
    let mut encoder = TextEncoder::default();
    while let Ok(()) = rings.recv() {
        let Inbox { mut waiting, next } = lock(inbox, std::mem::take);
        if let Some(next) = next {
            scraper = *next;
        }
        // Who has gone in the meantime is not worth a pass.
        waiting.retain(|reply| !reply.is_closed());
        if waiting.is_empty() {
            continue;
        }
        encoder.clear();
        scraper.scrape(&mut encoder);
        let page = Bytes::copy_from_slice(encoder.page());
        for reply in waiting {
            // An error only says that the client did not wait; the pass is done anyway.
            let _gone = reply.send(page.clone());
        }
    }
}

/// The exporter's pages.
pub struct Exporter {
    /// Where pages come from.
    pub scrapes: ScrapeThread,
    /// Set where `POST /-/reload` is allowed.
    pub reload: Option<Reload>,
}

impl Handler for Exporter {
    async fn handle(&self, request: Request<Incoming>) -> Answer {
        let method = request.method();
        match request.uri().path() {
            "/metrics" => match only_get("metrics", method) {
                Some(refusal) => refusal,
                None => match self.scrapes.page().await {
                    Ok(page) => Answer::page("metrics", CONTENT_TYPE, page),
                    Err(answer) => answer,
                },
            },
            "/" => only_get("landing", method).unwrap_or_else(|| Answer::page("landing", HTML, LANDING)),
            "/-/healthy" => only_get("healthy", method)
                .unwrap_or_else(|| Answer::text("healthy", StatusCode::OK, "healthy")),
            "/-/ready" => {
                only_get("ready", method).unwrap_or_else(|| Answer::text("ready", StatusCode::OK, "ready"))
            }
            "/-/reload" => reload(self.reload.as_ref(), method).await,
            _ => Answer::not_found(),
        }
    }
}

const HTML: &str = "text/html; charset=utf-8";
const LANDING: &str = concat!(
    "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Headroom exporter</title>",
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><style>",
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem}",
    "</style></head><body><h1>Headroom exporter</h1><p>Version ",
    env!("CARGO_PKG_VERSION"),
    ". Metrics of this machine, its process groups and its control groups, for Prometheus.</p><ul>",
    "<li><a href=\"/metrics\">/metrics</a>: the samples, in Prometheus's text format</li>",
    "<li><a href=\"/-/healthy\">/-/healthy</a>: the process answers</li>",
    "<li><a href=\"/-/ready\">/-/ready</a>: it serves scrapes</li></ul></body></html>\n"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::{CollectError, Collector};
    use crate::host::Host;
    use crate::metric::Sink;
    use std::sync::mpsc::{Sender, channel};

    /// Says that it was called, then hangs until it is told to go on.
    struct Hangs(Sender<()>, Receiver<()>);

    impl Collector for Hangs {
        fn collect(&mut self, _: &Host, _: &mut dyn Sink) -> Result<(), CollectError> {
            self.0.send(()).unwrap();
            self.1.recv().map_err(|e| CollectError::Failed(e.to_string()))
        }
    }

    fn scraper() -> Scraper {
        let options = collect::Options { disable_defaults: true, ..Default::default() };
        Scraper::new(Host::default(), &options).unwrap()
    }

    #[test]
    fn a_scrape_that_hangs_holds_up_neither_a_reload_nor_those_who_come_after_others_that_gave_up() {
        let (called, calls) = channel();
        let (go_on, told) = channel();
        let mut hanging = scraper();
        hanging.add("hangs", Box::new(Hangs(called, told)));
        let thread = ScrapeThread::start(hanging).unwrap();
        let (done, end) = channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let pages = runtime.block_on(async {
                let first = tokio::spawn({
                    let thread = thread.clone();
                    async move { thread.page().await }
                });
                tokio::task::yield_now().await;
                calls.recv().unwrap();
                for _ in 0..2 * WAITING_MAX {
                    let impatient = tokio::time::timeout(Duration::ZERO, thread.page()).await;
                    assert!(impatient.is_err(), "{impatient:?}");
                    thread.replace(scraper()).unwrap();
                }
                go_on.send(()).unwrap();
                (first.await.unwrap(), thread.page().await)
            });
            done.send(pages).unwrap();
        });
        let (first, next) = end.recv_timeout(Duration::from_secs(20)).expect("nothing waits for the pass");
        assert!(first.unwrap().windows(5).any(|w| w == b"hangs"));
        assert!(!next.unwrap().windows(5).any(|w| w == b"hangs"), "the next pass is the new scraper's");
    }
}
