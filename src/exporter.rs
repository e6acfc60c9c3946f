//! The exporter's pages.

pub(crate) mod ask;
mod footprint;
pub mod scrapes;

use crate::collect;
use crate::encode::compress::Coding;
use crate::serve::{Answer, Handler, Reload, only_get, reload};
use ask::Ask;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, HeaderValue};
use hyper::{Request, StatusCode};
use scrapes::{Refusal, ScrapeThread};
use serde::Deserialize;
use std::net::SocketAddr;
use std::time::Duration;

/// The most that [`Options::page_age_max`] may be: older samples would stand at a wrong time.
pub const PAGE_AGE_MAX: Duration = Duration::from_secs(1);

/// Options of the exporter.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How long before a request the pass may have begun whose page it gets.
    #[serde(with = "humantime_serde")]
    pub page_age_max: Duration,
    /// Which collectors run, and their options.
    pub collectors: collect::Options,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9177)),
            page_age_max: Duration::from_millis(5),
            collectors: collect::Options::default(),
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
                None => self.metrics(&request).await,
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

impl Exporter {
    async fn metrics(&self, request: &Request<Incoming>) -> Answer {
        const NAME: &str = "metrics";
        let bad = |why| Answer::text(NAME, StatusCode::BAD_REQUEST, why);
        let ask = match Ask::read(request.headers(), request.uri().query()) {
            Ok(ask) => ask,
            Err(why) => return bad(why.to_owned()),
        };
        let (content_type, patience) = (ask.format.content_type(), ask.patience);
        match self.scrapes.page(ask.want(), patience).await {
            Ok(page) => {
                let mut answer = Answer::page(NAME, content_type, page.body);
                if page.coding != Coding::Identity {
                    let coding = HeaderValue::from_static(page.coding.as_str());
                    answer.header = Some((CONTENT_ENCODING, coding));
                }
                answer
            }
            Err(Refusal::Pick(e)) => {
                // node_exporter's words.
                bad(format!("Couldn't create filtered metrics handler: couldn't create collector: {e}"))
            }
            Err(Refusal::Later(why)) => Answer::unavailable(NAME, why),
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
    "<li><a href=\"/metrics\">/metrics</a>: the samples; <code>?collect[]=NAME</code> and <code>?exclude[]=NAME</code> pick collectors</li>",
    "<li><a href=\"/-/healthy\">/-/healthy</a>: the process answers</li>",
    "<li><a href=\"/-/ready\">/-/ready</a>: it serves scrapes</li></ul></body></html>\n"
);
