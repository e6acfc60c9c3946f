//! The exporter's pages, and the thread that makes one pass for all who wait.

use crate::collect::{self, Scraper};
use crate::encode::text::{CONTENT_TYPE, TextEncoder};
use crate::serve::{Answer, Handler, Reload, only_get, reload};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, StatusCode};
use serde::Deserialize;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
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

enum Job {
    Page(oneshot::Sender<Bytes>),
    Replace(Box<Scraper>),
}

/// The way to the scrape thread.
#[derive(Clone)]
pub struct ScrapeThread {
    jobs: SyncSender<Job>,
}

/// The scrape thread could not be started, or has ended.
#[derive(Debug, thiserror::Error)]
#[error("the scrape thread is not there: {0}")]
pub struct ThreadError(String);

impl ScrapeThread {
    /// Starts the thread with its first scraper.
    pub fn start(scraper: Scraper) -> Result<Self, ThreadError> {
        let (jobs, inbox) = sync_channel(WAITING_MAX);
        std::thread::Builder::new()
            .name("scrape".into())
            .spawn(move || scrape_loop(scraper, &inbox))
            .map_err(|e| ThreadError(e.to_string()))?;
        Ok(Self { jobs })
    }

    /// Uses another scraper from the next pass on.
    pub fn replace(&self, scraper: Scraper) -> Result<(), ThreadError> {
        self.jobs.send(Job::Replace(Box::new(scraper))).map_err(|e| ThreadError(e.to_string()))
    }

    /// The page of a pass that begins now, shared with all who ask before it begins.
    pub async fn page(&self) -> Result<Bytes, Answer> {
        let (reply, page) = oneshot::channel();
        self.jobs.try_send(Job::Page(reply)).map_err(|e| match e {
            TrySendError::Full(_) => {
                Answer::unavailable("metrics", "too many scrapes are waiting for one that hangs")
            }
            TrySendError::Disconnected(_) => Answer::unavailable("metrics", "the scrape thread has ended"),
        })?;
        match tokio::time::timeout(PAGE_WAIT, page).await {
            Ok(Ok(page)) => Ok(page),
            Ok(Err(_)) => Err(Answer::unavailable("metrics", "the scrape thread has ended")),
            Err(_) => Err(Answer::unavailable(
                "metrics",
                "the scrape hangs; see the log and node_scrape_collector_*",
            )),
        }
    }
}

fn scrape_loop(mut scraper: Scraper, inbox: &Receiver<Job>) {
    let mut encoder = TextEncoder::default();
    let mut waiting = Vec::new();
    while let Ok(first) = inbox.recv() {
        for job in std::iter::once(first).chain(inbox.try_iter()) {
            match job {
                Job::Page(reply) => waiting.push(reply),
                Job::Replace(next) => scraper = *next,
            }
        }
        // Who has gone in the meantime (a scrape time-out) is not worth a pass.
        waiting.retain(|reply| !reply.is_closed());
        if waiting.is_empty() {
            continue;
        }
        encoder.clear();
        scraper.scrape(&mut encoder);
        let page = Bytes::copy_from_slice(encoder.page());
        for reply in waiting.drain(..) {
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
