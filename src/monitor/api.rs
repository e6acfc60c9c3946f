//! Prometheus's HTTP API over what the monitor knows, as far as Grafana and people use it.
//!
//! Source: <https://prometheus.io/docs/prometheus/latest/querying/api/>.

mod answer;
mod parameters;
mod state;

use super::Shared;
use crate::promql::{Query, Value, Window};
use crate::serve::{Answer, Handler, Limits, body, only_get};
use answer::{Failure, failed, succeeded};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, StatusCode};
use parameters::Parameters;
use serde_json::json;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, oneshot};

/// Queries at once; more wait. One whose client has gone away keeps its place until it ends.
const QUERIES_MAX: usize = 2;
/// Pages that take a form, for what is too long for an address.
const POSTED: [&str; 5] = ["query", "query_range", "series", "labels", "query_exemplars"];
/// How long one may take, unless it asks for less (`timeout`).
const TIMEOUT: Duration = Duration::from_secs(30);
/// The stack of a query's thread: as deep as the deepest expression that is read.
const STACK_BYTES: usize = 8 << 20;
/// Points of a series over a time: Prometheus's own number.
const STEPS_MAX: i64 = 11_000;

/// The pages.
pub struct Api {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    limits: Limits,
}

/// What a path asks for.
type Ask = fn(&Shared, &Parameters) -> Result<Vec<u8>, Failure>;

impl Api {
    /// Pages over what a monitor knows.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, places: Arc::new(Semaphore::new(QUERIES_MAX)), limits: Limits::default() }
    }
}

impl Handler for Api {
    async fn handle(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        match path.as_str() {
            "/" => return only_get("landing", request.method()).unwrap_or_else(landing),
            "/-/healthy" | "/-/ready" => {
                let ready = || {
                    if self.shared.is_awake() {
                        return Answer::text("ready", StatusCode::OK, "Headroom's monitor is ready");
                    }
                    Answer::unavailable("ready", "no pass was made and evaluated for some time; see the log")
                };
                return only_get("ready", request.method()).unwrap_or_else(ready);
            }
            _ => {}
        }
        let Some((name, ask, label)) = path.strip_prefix("/api/v1/").and_then(page) else {
            return Answer::not_found();
        };
        let parameters = match self.parameters(name, request).await {
            Ok(parameters) => parameters.with_label(label),
            Err(answer) => return answer,
        };
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return Answer::unavailable(name, "shutting down");
        };
        // On a thread of its own: a query may work for long, and nobody else waits for it.
        let (reply, answer) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let work = move || {
            let _place = place;
            let result = catch_unwind(AssertUnwindSafe(|| ask(&shared, &parameters)));
            // Who asked may have gone.
            let _gone = reply.send(result.unwrap_or_else(|_| Err(Failure::internal())));
        };
        let thread = std::thread::Builder::new().name("query".into()).stack_size(STACK_BYTES).spawn(work);
        if let Err(e) = thread {
            return Answer::unavailable(name, format!("no thread for the query: {e}"));
        }
        match answer.await {
            Ok(Ok(body)) => Answer::page(name, "application/json", body),
            Ok(Err(failure)) => failed(name, &failure),
            Err(_) => Answer::unavailable(name, "the query ended badly; see the log"),
        }
    }
}

impl Api {
    async fn parameters(&self, name: &'static str, request: Request<Incoming>) -> Result<Parameters, Answer> {
        let asked = request.uri().query().unwrap_or_default().to_owned();
        match *request.method() {
            Method::GET | Method::HEAD => Ok(Parameters::new(asked)),
            Method::POST if POSTED.contains(&name) => {
                let kind = request
                    .headers()
                    .get(CONTENT_TYPE)
                    .and_then(|kind| kind.to_str().ok())
                    .unwrap_or_default();
                if !kind.starts_with("application/x-www-form-urlencoded") {
                    let why = "a POST here is a form: application/x-www-form-urlencoded";
                    return Err(failed(name, &Failure::bad("content-type", why)));
                }
                let body = body(name, request, self.limits).await?;
                Ok(Parameters::new(format!("{}&{asked}", String::from_utf8_lossy(&body))))
            }
            _ => Err(Answer::wrong_method(name, if POSTED.contains(&name) { "GET, POST" } else { "GET" })),
        }
    }
}

/// The name of a page, who makes it, and the label that stands in its path.
fn page(path: &str) -> Option<(&'static str, Ask, Option<&str>)> {
    let label = path.strip_prefix("label/").and_then(|rest| rest.strip_suffix("/values"));
    if let Some(label) = label {
        return Some(("label_values", values, Some(label)));
    }
    let (name, ask): (&'static str, Ask) = match path {
        "query" => ("query", instant),
        "query_range" => ("query_range", range),
        "series" => ("series", series),
        "labels" => ("labels", labels),
        "rules" => ("rules", |shared, asked| succeeded(&state::rules(shared, asked)?)),
        "alerts" => ("alerts", |shared, _| succeeded(&state::alerts(shared))),
        "targets" => ("targets", |shared, _| succeeded(&state::targets(shared))),
        "metadata" => ("metadata", |shared, asked| succeeded(&state::metadata(shared, asked))),
        "status/buildinfo" => ("buildinfo", |_, _| succeeded(&state::build())),
        // Examples of what was counted are not kept.
        "query_exemplars" => ("query_exemplars", |_, _| succeeded(&json!([]))),
        _ => return None,
    };
    Some((name, ask, None))
}

/// What a query may take.
fn limits(shared: &Shared, asked: &Parameters) -> Result<crate::promql::Limits, Failure> {
    let wanted = asked.duration("timeout")?.and_then(|millis| u64::try_from(millis).ok());
    let timeout = wanted.map_or(TIMEOUT, Duration::from_millis).min(TIMEOUT);
    Ok(crate::promql::Limits { until: Some(Instant::now() + timeout), ..shared.limits })
}

fn instant(shared: &Shared, asked: &Parameters) -> Result<Vec<u8>, Failure> {
    let query = Query::parse(&asked.needed("query")?).map_err(|e| Failure::bad("query", &e.to_string()))?;
    let at = asked.time("time")?.unwrap_or_else(shared.now_millis);
    let value = query.instant(&shared.history, at, limits(shared, asked)?).map_err(Failure::from)?;
    succeeded(&answer::Value { value: &value, at })
}

fn range(shared: &Shared, asked: &Parameters) -> Result<Vec<u8>, Failure> {
    let query = Query::parse(&asked.needed("query")?).map_err(|e| Failure::bad("query", &e.to_string()))?;
    let end = |name| asked.time(name)?.ok_or_else(|| Failure::bad(name, "it is missing"));
    let window = Window { from: end("start")?, to: end("end")? };
    let step = asked.duration("step")?.ok_or_else(|| Failure::bad("step", "it is missing"))?;
    if window.to < window.from {
        return Err(Failure::bad("end", "end timestamp must not be before start time"));
    }
    if step <= 0 {
        return Err(Failure::bad("step", "zero or negative query resolution step widths are not accepted"));
    }
    if (window.to - window.from) / step > STEPS_MAX {
        let why = "exceeded maximum resolution of 11,000 points per timeseries; use a larger step";
        return Err(Failure::bad("step", why));
    }
    let limits = crate::promql::Limits { steps_max: STEPS_MAX + 1, ..limits(shared, asked)? };
    let all = query.range(&shared.history, window, step, limits).map_err(Failure::from)?;
    succeeded(&answer::Value { value: &Value::Matrix(all), at: window.to })
}

fn series(shared: &Shared, asked: &Parameters) -> Result<Vec<u8>, Failure> {
    let all = asked.matching(shared)?;
    let all = all.ok_or_else(|| Failure::bad("match[]", "no match[] parameter provided"))?;
    succeeded(&all.iter().map(answer::Metric).collect::<Vec<_>>())
}

fn labels(shared: &Shared, asked: &Parameters) -> Result<Vec<u8>, Failure> {
    let all = asked.matching_or_all(shared)?;
    let names: BTreeSet<&str> = all.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
    succeeded(&names)
}

fn values(shared: &Shared, asked: &Parameters) -> Result<Vec<u8>, Failure> {
    let label = asked.label();
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if label.is_empty() || !label.chars().all(good) || label.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Failure::bad("name", &format!("invalid label name: {label:?}")));
    }
    let all = asked.matching_or_all(shared)?;
    let values: BTreeSet<&str> =
        all.iter().map(|labels| labels.get(label)).filter(|value| !value.is_empty()).collect();
    succeeded(&values)
}

fn landing() -> Answer {
    Answer::text(
        "landing",
        StatusCode::OK,
        "Headroom's monitor: samples, rules and alerts of this machine, by Prometheus's HTTP API below /api/v1/",
    )
}
