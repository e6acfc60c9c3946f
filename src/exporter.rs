//! The exporter's pages.

pub(crate) mod ask;
mod footprint;
pub mod scrapes;
pub mod trace;

use crate::apps::probe::board::Board;
use crate::collect;
use crate::encode::compress::Coding;
use crate::serve::addresses::Addresses;
use crate::serve::query::query;
use crate::serve::{Answer, Handler, Reload, only_get, reload};
use ask::Ask;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, HeaderValue, VARY};
use hyper::{Request, StatusCode};
use scrapes::{Refusal, ScrapeThread};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use trace::Traces;

/// The most that [`Options::page_age_max`] may be: older samples would stand at a wrong time.
pub const PAGE_AGE_MAX: Duration = Duration::from_secs(1);

/// Options of the exporter.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Where to listen.
    pub listen: Addresses,
    /// Whether the sockets come from systemd instead (`LISTEN_FDS`).
    pub systemd_socket: bool,
    /// exporter-toolkit's web configuration file: TLS, users, certificates of clients.
    pub web_config_file: Option<PathBuf>,
    /// The page with the samples.
    pub telemetry_path: String,
    /// Scrapes at once; more are answered 503. Any number if it is 0.
    pub max_requests: usize,
    /// Whether what is about the exporter itself is left out, as node_exporter's flag of this name does.
    pub disable_exporter_metrics: bool,
    /// How long before a request the pass may have begun whose page it gets.
    #[serde(with = "humantime_serde")]
    pub page_age_max: Duration,
    /// Scrapes as traces: those whose `traceparent` says that they are sampled, and this share of the others. None without it.
    pub trace_ratio: Option<f64>,
    /// Whether `/` is the live page, and not just a list of addresses.
    pub live_page: bool,
    /// Which collectors run, and their options.
    pub collectors: collect::Options,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9177)).into(),
            systemd_socket: false,
            web_config_file: None,
            telemetry_path: "/metrics".into(),
            // node_exporter's number.
            max_requests: 40,
            disable_exporter_metrics: false,
            page_age_max: Duration::from_millis(10),
            trace_ratio: None,
            live_page: true,
            collectors: collect::Options::default(),
        }
    }
}

/// Whether this can be a share of scrapes; or the key that is wrong, and why.
pub fn check_ratio(ratio: Option<f64>) -> Result<(), (String, String)> {
    match ratio {
        Some(ratio) if !(0.0..=1.0).contains(&ratio) => {
            Err(("trace_ratio".into(), "a share from 0 to 1, such as 0.01".into()))
        }
        _ => Ok(()),
    }
}

/// Why a path cannot be that of the samples, if it cannot.
pub fn bad_telemetry_path(path: &str) -> Option<&'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_-.~".contains(c);
    if !path.starts_with('/') || !path.chars().all(plain) {
        return Some("a path that begins with `/`, of letters, digits, `/`, `_`, `-`, `.` and `~`");
    }
    let taken = ["/-/", "/live/", "/api/"].iter().any(|prefix| path.starts_with(prefix));
    taken.then_some("the paths below /-/, /live/ and /api/ are taken")
}

/// The exporter's pages.
pub struct Exporter {
    scrapes: ScrapeThread,
    health: Board,
    traces: Traces,
    reload: Option<Reload>,
    telemetry_path: String,
    landing: Bytes,
    /// Places for scrapes; none if any number may be.
    places: Option<Semaphore>,
    max_requests: usize,
}

impl Exporter {
    /// The pages, with samples from `scrapes` and what is known of probed components from `health`; `reload` is set where
    /// `POST /-/reload` is allowed.
    pub fn new(options: &Options, scrapes: ScrapeThread, health: Board, reload: Option<Reload>) -> Self {
        let (telemetry_path, max_requests) = (options.telemetry_path.clone(), options.max_requests);
        let landing = LANDING.replace("{telemetry_path}", &telemetry_path).into();
        let places = (max_requests > 0).then(|| Semaphore::new(max_requests.min(Semaphore::MAX_PERMITS)));
        let traces = Traces::default();
        Self { scrapes, health, traces, reload, telemetry_path, landing, places, max_requests }
    }

    /// The same, with traces of scrapes.
    #[must_use]
    pub fn traced(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }
}

impl Handler for Exporter {
    async fn handle(&self, request: Request<Incoming>) -> Answer {
        let method = request.method();
        match request.uri().path() {
            path if path == self.telemetry_path => match only_get("metrics", method) {
                Some(refusal) => refusal,
                None => self.metrics(&request).await,
            },
            "/" => only_get("landing", method)
                .unwrap_or_else(|| Answer::page("landing", HTML, self.landing.clone())),
            "/-/healthy" => only_get("healthy", method)
                .unwrap_or_else(|| Answer::text("healthy", StatusCode::OK, "healthy")),
            "/-/ready" => {
                only_get("ready", method).unwrap_or_else(|| Answer::text("ready", StatusCode::OK, "ready"))
            }
            "/-/health" => only_get("health", method).unwrap_or_else(|| self.health(&request)),
            "/-/reload" => reload(self.reload.as_ref(), method).await,
            _ => Answer::not_found(),
        }
    }
}

impl Exporter {
    /// How all probed components are: JSON for who asks for it, else text; 503 if one of them does not serve.
    fn health(&self, request: &Request<Incoming>) -> Answer {
        const NAME: &str = "health";
        let Some(health) = self.health.health(Instant::now()) else {
            let why = "no components are probed (applications.probes)";
            return Answer::text(NAME, StatusCode::NOT_FOUND, why);
        };
        let accepts = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let asks = query(request.uri().query(), "format").any(|format| format == "json");
        let mut answer = if asks || accepts.contains("json") {
            Answer::json(NAME, &health)
        } else {
            Answer::page(NAME, "text/plain; charset=utf-8", health.text())
        };
        if !health.serves() {
            answer.status = StatusCode::SERVICE_UNAVAILABLE;
        }
        answer.with(CACHE_CONTROL, HeaderValue::from_static("no-store"))
    }

    async fn metrics(&self, request: &Request<Incoming>) -> Answer {
        const NAME: &str = "metrics";
        let place = self.places.as_ref().map(Semaphore::try_acquire);
        if let Some(Err(_)) = place {
            // The words of Prometheus's own client library.
            let most = self.max_requests;
            let why = format!("Limit of concurrent requests reached ({most}), try again later.");
            return Answer::unavailable(NAME, why);
        }
        let bad = |why| Answer::text(NAME, StatusCode::BAD_REQUEST, why);
        let ask = match Ask::read(request.headers(), request.uri().query()) {
            Ok(ask) => ask,
            Err(why) => return bad(why.to_owned()),
        };
        let (content_type, patience) = (ask.format.content_type(), ask.patience);
        let scrape = self.traces.scrape(request.headers());
        let page = self.scrapes.page_for(ask.want(), patience, scrape.clone()).await;
        if let Some(scrape) = scrape {
            scrape.ends(page.as_ref().map(|page| page.body.len()));
        }
        match page {
            Ok(page) => {
                let vary = HeaderValue::from_static("Accept, Accept-Encoding");
                let answer = Answer::page(NAME, content_type, page.body).with(VARY, vary);
                if page.coding == Coding::Identity {
                    return answer;
                }
                answer.with(CONTENT_ENCODING, HeaderValue::from_static(page.coding.as_str()))
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
    "<li><a href=\"{telemetry_path}\">{telemetry_path}</a>: the samples; <code>?collect[]=NAME</code> and <code>?exclude[]=NAME</code> pick collectors</li>",
    "<li><a href=\"/-/health\">/-/health</a>: how probed components are</li>",
    "<li><a href=\"/-/healthy\">/-/healthy</a>: the process answers</li>",
    "<li><a href=\"/-/ready\">/-/ready</a>: it serves scrapes</li></ul></body></html>\n"
);
