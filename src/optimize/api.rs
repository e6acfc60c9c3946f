//! The optimizer's pages: the webhook in, the record out.

pub mod access;
pub mod by_hand;
pub mod forward;
mod report;

use super::alert::{self, Alert, Status};
use super::executor::Shared;
use super::journal::Notified;
use super::record::Filter;
use super::trace::Arrival;
use crate::collect::CollectError;
use crate::encode::text::{CONTENT_TYPE, TextEncoder};
use crate::metric::Sink;
use crate::serve::query::query;
use crate::serve::{Answer, Handler, Limits, Reload, body, only_get, reload};
use access::{RELOAD, Right, Tokens};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Entries on a page of the record, if the request does not say.
const PAGE: usize = 50;

/// How long a notification waits for the disk before it is refused, which Alertmanager repeats.
const STORE_WAIT: Duration = Duration::from_secs(6);
/// Notifications that may wait for the disk at once.
pub const WRITERS_MAX: usize = 16;

/// Writes the counters of this process.
pub type OwnPage = Box<dyn FnMut(&mut dyn Sink) -> Result<(), CollectError> + Send>;

/// The optimizer's pages.
pub struct Api {
    /// What the executor shares.
    pub shared: Arc<Shared>,
    /// Who may call the webhook and read the record. Behind a lock, because a reload may bring others.
    pub tokens: Arc<Mutex<Tokens>>,
    /// What `/metrics` shows.
    pub own: Mutex<OwnPage>,
    /// Set where `POST /-/reload` is allowed.
    pub reload: Option<Reload>,
    /// The limits of bodies.
    pub limits: Limits,
    /// Permits to write: how many notifications may wait for the disk at once.
    pub writers: Arc<Semaphore>,
}

impl Handler for Api {
    async fn handle(&self, request: Request<Incoming>) -> Answer {
        let method = request.method();
        match request.uri().path() {
            "/api/v1/alerts" => self.webhook(request).await,
            "/api/v1/actions" => self.record(&request).await,
            "/api/v1/actions/report" => self.report(&request).await,
            "/api/v1/targets" => self.targets(&request),
            "/api/v1/reclaim" => self.reclaim(request).await,
            "/api/v1/pause" => self.pause(request).await,
            "/metrics" => only_get("metrics", method).unwrap_or_else(|| self.metrics()),
            "/-/healthy" => only_get("healthy", method)
                .unwrap_or_else(|| Answer::text("healthy", StatusCode::OK, "healthy")),
            "/-/ready" => only_get("ready", method).unwrap_or_else(|| self.ready()),
            RELOAD => reload(self.reload.as_ref(), method).await,
            "/" => only_get("landing", method)
                .unwrap_or_else(|| Answer::text("landing", StatusCode::OK, LANDING)),
            _ => Answer::not_found(),
        }
    }

    fn admits(&self, request: &Request<Incoming>) -> bool {
        self.looks_itself(request)
    }
}

const LANDING: &str = "Headroom optimizer\n\n\
    POST /api/v1/alerts   Alertmanager's webhook (bearer token)\n\
    GET  /api/v1/actions  the record, newest first (bearer token); limit, before, since, alertname, target, action, result\n\
    GET  /api/v1/actions/report  what each action gained and cost here, target by target (bearer token)\n\
    GET  /api/v1/targets  what runs by hand may choose from: targets, and the actions on ladders that lead to them (bearer token)\n\
    POST /api/v1/reclaim  a run by hand (bearer token): {\"target\", \"bytes\", \"ladder\", \"dry_run\"}\n\
    PUT  /api/v1/pause    holds all actions at once (bearer token); GET says whether, DELETE ends it\n\
    GET  /metrics, /-/healthy, /-/ready";

impl Api {
    fn counted(&self, result: &str, answer: Answer) -> Answer {
        self.shared.metrics.notifications.with_label_values(&[result]).inc();
        answer
    }

    async fn webhook(&self, request: Request<Incoming>) -> Answer {
        const NAME: &str = "alerts";
        if request.method() != Method::POST {
            return Answer::wrong_method(NAME, "POST");
        }
        if let Some(refusal) = self.refusal(NAME, &request, Right::Write) {
            let wrong_form = refusal.status == StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return self.counted(if wrong_form { "invalid" } else { "unauthorized" }, refusal);
        }
        let arrival = self.shared.traces.arrival(request.headers());
        let headers = request.headers().clone();
        let body = match body(NAME, request, self.limits).await {
            Ok(body) => body,
            Err(answer) if answer.status == StatusCode::PAYLOAD_TOO_LARGE => {
                return self.counted("too_large", answer);
            }
            Err(answer) => return self.counted("invalid", answer),
        };
        let alerts = match alert::parse(&body) {
            Ok(alerts) => alerts,
            Err(e) => {
                tracing::warn!(error = %e, "a notification was refused");
                return self.counted("invalid", Answer::text(NAME, StatusCode::BAD_REQUEST, e.to_string()));
            }
        };
        let others = self.of_others(&alerts, &headers);
        let all = alerts.len();
        let is_own = |place: &usize| !others.values().flatten().any(|other| other == place);
        let own: Vec<Alert> =
            alerts.into_iter().zip(0..).filter(|(_, n)| is_own(n)).map(|(alert, _)| alert).collect();
        let mut taken = Taken { alerts: 0, queued: 0, forwarded: all - own.len() };
        if !own.is_empty() || all == 0 {
            match self.store(own, arrival).await {
                Ok(stored) => taken = Taken { forwarded: taken.forwarded, ..stored },
                Err(why) => return self.counted("unavailable", Answer::unavailable(NAME, why)),
            }
        }
        match self.send_on(&body, &others, &headers).await {
            Ok(()) => self.counted("accepted", Answer::json(NAME, &taken)),
            Err(why) => self.counted("unavailable", Answer::unavailable(NAME, why)),
        }
    }

    /// Writes the episodes, off the runtime's thread: a sync of the disk may take its time.
    async fn store(&self, alerts: Vec<Alert>, arrival: Arrival) -> Result<Taken, String> {
        let Ok(permit) = Arc::clone(&self.writers).try_acquire_owned() else {
            return Err("too many notifications wait for the disk; please send it again".into());
        };
        let shared = Arc::clone(&self.shared);
        let written = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let Notified { queued, resolved } = shared.store.with(|j| {
                let notified = j.notify(&alerts, (shared.clock)())?;
                // Before the executor can see them.
                for &run in &notified.queued {
                    shared.traces.queued(run, &arrival, &[("headroom.origin", "alert")]);
                }
                Ok(notified)
            })?;
            if !resolved.is_empty() {
                shared.metrics.runs.with_label_values(&["resolved"]).inc_by(resolved.len() as u64);
                tracing::info!(runs = resolved.len(), "runs ended: resolved before anything was done");
            }
            for &run in &resolved {
                shared.traces.ended(run, "resolved", "resolved before anything was done");
            }
            for alert in &alerts {
                let status = if alert.status == Status::Firing { "firing" } else { "resolved" };
                shared.metrics.alerts.with_label_values(&[status]).inc();
            }
            shared.wake();
            Ok::<_, super::store::StoreError>(Taken {
                alerts: alerts.len(),
                queued: queued.len(),
                forwarded: 0,
            })
        });
        match tokio::time::timeout(STORE_WAIT, written).await {
            Ok(Ok(Ok(taken))) => Ok(taken),
            Ok(Ok(Err(e))) => Err(format!("not stored, please send it again: {e}")),
            Ok(Err(e)) => Err(format!("not stored, please send it again: {e}")),
            // It may be stored all the same, later; then the next delivery is a repeat.
            Err(_) => Err("the disk does not answer; please send it again".into()),
        }
    }

    async fn record(&self, request: &Request<Incoming>) -> Answer {
        const NAME: &str = "actions";
        if let Some(refusal) = only_get(NAME, request.method()) {
            return refusal;
        }
        if let Some(refusal) = self.refusal(NAME, request, Right::Read) {
            return refusal;
        }
        let filter = match filter(request.uri().query()) {
            Ok(filter) => filter,
            Err(why) => return Answer::text(NAME, StatusCode::BAD_REQUEST, why),
        };
        let shared = Arc::clone(&self.shared);
        let read = tokio::task::spawn_blocking(move || {
            let entries = shared.store.with(|j| j.entries(&filter))?;
            let full = entries.len() >= filter.limit;
            let next_before = entries.last().filter(|_| full).map(|e| e.id);
            Ok::<_, super::store::StoreError>(Answer::json(NAME, &Page { entries, next_before }))
        });
        match read.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(e)) => Answer::unavailable(NAME, e.to_string()),
            Err(e) => Answer::unavailable(NAME, e.to_string()),
        }
    }

    fn metrics(&self) -> Answer {
        // Looks whether the journal hangs, which its gauge then says.
        let _now = self.shared.store.is_writable();
        let mut encoder = TextEncoder::default();
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(e) = own(&mut encoder) {
            return Answer::text("metrics", StatusCode::INTERNAL_SERVER_ERROR, e.to_string());
        }
        Answer::page("metrics", CONTENT_TYPE, encoder.page().to_vec())
    }

    fn ready(&self) -> Answer {
        if self.shared.store.is_writable() {
            return Answer::text("ready", StatusCode::OK, "ready");
        }
        Answer::unavailable("ready", "the journal cannot be written; see the log")
    }
}

/// What became of a notification.
#[derive(Debug, Serialize)]
struct Taken {
    alerts: usize,
    queued: usize,
    /// Alerts of other machines that were sent on.
    forwarded: usize,
}

/// The tokens of this moment.
fn lock_tokens(tokens: &Mutex<Tokens>) -> std::sync::MutexGuard<'_, Tokens> {
    tokens.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Serialize)]
struct Page {
    entries: Vec<super::record::Entry>,
    /// The `before` of the next page; null on the last one.
    next_before: Option<i64>,
}

pub(crate) fn filter(text: Option<&str>) -> Result<Filter, String> {
    const KEYS: [&str; 7] = ["limit", "before", "since", "alertname", "target", "action", "result"];
    for pair in text.unwrap_or_default().split('&').filter(|p| !p.is_empty()) {
        let key = pair.split('=').next().unwrap_or_default();
        if !KEYS.contains(&key) {
            return Err(format!("{key:?} is not a parameter; there are {}", KEYS.join(", ")));
        }
    }
    let one = |key: &'static str| query(text, key).next();
    let number = |key: &'static str| -> Result<Option<i64>, String> {
        let Some(value) = one(key) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| format!("{key}: {value:?} is not a whole number"))
    };
    let limit = number("limit")?.map_or(Some(PAGE), |n| usize::try_from(n).ok());
    let limit = limit
        .filter(|n| (1..=super::journal::PAGE_MAX).contains(n))
        .ok_or_else(|| format!("limit: from 1 to {}", super::journal::PAGE_MAX))?;
    let actions: Vec<&str> = super::action::REGISTRY.iter().map(|a| a.name()).collect();
    let results = [&super::metrics::RUN_RESULTS[..], &["queued", "waiting", "acting"]].concat();
    for (key, known) in [("action", actions), ("result", results)] {
        if let Some(value) = one(key).filter(|v| !known.contains(&v.as_str())) {
            return Err(format!("{key}: {value:?} is none; there are {}", known.join(", ")));
        }
    }
    Ok(Filter {
        limit,
        before: number("before")?,
        since: number("since")?,
        alertname: one("alertname"),
        target: one("target"),
        action: one("action"),
        result: one("result"),
    })
}
