//! The page that shows the machine now: its files, the events that it reads, and the optimizer's pages at the same address.

mod alerts;
mod feed;
mod files;
mod now;
mod past;
mod picture;

pub use feed::{Live, LiveError, Sources};

use crate::exporter::Exporter;
use crate::optimize::api::Api;
use crate::serve::{Answer, Handler, only_get};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use std::sync::Arc;

/// Where the events are.
const EVENTS: &str = "/live/events";
/// The optimizer's pages that the live page calls. Its webhook and what else it serves stay at its own address.
const OPTIMIZER: [&str; 5] =
    ["/api/v1/actions", "/api/v1/actions/report", "/api/v1/targets", "/api/v1/reclaim", "/api/v1/pause"];

/// The exporter's pages, with the live page among them.
pub struct Front {
    exporter: Exporter,
    live: Live,
    /// Set where its pages are served here too.
    optimizer: Option<Arc<Api>>,
    telemetry_path: String,
    /// The page itself, whose links lead to that path.
    page: Bytes,
}

impl Front {
    /// The live page before an exporter's pages, whose samples are at `telemetry_path`.
    pub fn new(exporter: Exporter, telemetry_path: String, live: Live, optimizer: Option<Arc<Api>>) -> Self {
        let page = files::page(&telemetry_path).into();
        Self { exporter, live, optimizer, telemetry_path, page }
    }

    /// The optimizer, if it answers this path here.
    fn optimizer(&self, path: &str) -> Option<&Arc<Api>> {
        self.optimizer.as_ref().filter(|_| OPTIMIZER.contains(&path))
    }
}

impl Handler for Front {
    async fn handle(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        if path == self.telemetry_path {
            return self.exporter.handle(request).await;
        }
        if let Some(optimizer) = self.optimizer(path) {
            return optimizer.handle(request).await;
        }
        if path == EVENTS {
            return only_get("live_events", request.method()).unwrap_or_else(|| self.live.events());
        }
        match files::find(path) {
            Some(file) => only_get("live", request.method()).unwrap_or_else(|| match path {
                "/" => Answer { body: self.page.clone(), ..file.answer() },
                _ => file.answer(),
            }),
            None => self.exporter.handle(request).await,
        }
    }

    fn admits(&self, request: &Request<Incoming>) -> bool {
        self.optimizer(request.uri().path()).is_some_and(|optimizer| optimizer.admits(request))
    }
}
