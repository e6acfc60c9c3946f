//! k6's summaries in their three forms: of its own metrics those that say how the service did, and all that the script made.
//!
//! Source: <https://grafana.com/docs/k6/latest/results-output/end-of-test/custom-summary/>, and k6's `internal/js/summary.go`
//! and `internal/lib/summary/machinereadable`.

use super::super::better::Better;
use super::Found;
use serde_json::{Map, Value};

/// k6's own metrics. Of them, what the script waits for, what it sends, and how many users it has say nothing of the service.
const TAKEN: [&str; 6] =
    ["http_req_duration", "http_reqs", "http_req_failed", "grpc_req_duration", "ws_connecting", "ws_ping"];
const LEFT_OUT: [&str; 19] = [
    "vus",
    "vus_max",
    "iterations",
    "iteration_duration",
    "dropped_iterations",
    "checks",
    "group_duration",
    "http_req_blocked",
    "http_req_connecting",
    "http_req_tls_handshaking",
    "http_req_sending",
    "http_req_waiting",
    "http_req_receiving",
    "ws_sessions",
    "ws_msgs_sent",
    "ws_msgs_received",
    "ws_session_duration",
    "data_sent",
    "data_received",
];
/// Statistics of a trend, and what is written for them: what most requests saw, and what the slow ones did.
const STATISTICS: [(&str, &str); 4] = [("med", "p50"), ("p(90)", "p90"), ("p(95)", "p95"), ("p(99)", "p99")];

/// One metric, in whatever form it was.
struct Metric<'a> {
    name: &'a str,
    /// As k6 says it, or as its values say it.
    kind: Kind,
    is_time: bool,
    values: &'a Map<String, Value>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Trend,
    Rate,
    Counter,
    Gauge,
}

/// What is taken of a summary.
pub(super) fn read(top: &Map<String, Value>) -> Result<Vec<Found>, String> {
    let metrics = metrics(top)?;
    // The newest form has counts alone, and says how long the test took.
    let seconds = top.get("config").and_then(|config| config.get("duration")).and_then(Value::as_f64);
    // What has a brace is a part of another metric, by its tags.
    let wanted = |metric: &&Metric<'_>| !LEFT_OUT.contains(&metric.name) && !metric.name.contains('{');
    let found: Vec<Found> = metrics.iter().filter(wanted).flat_map(|metric| of(metric, seconds)).collect();
    if found.is_empty() {
        return Err("k6's summary has no metric of requests, and none that the script made".into());
    }
    Ok(found)
}

fn metrics(top: &Map<String, Value>) -> Result<Vec<Metric<'_>>, String> {
    if let Some(listed) = top.get("results").and_then(|r| r.get("metrics")).and_then(Value::as_array) {
        return listed
            .iter()
            .map(|metric| {
                let name = metric.get("name").and_then(Value::as_str).ok_or("a metric of k6 has no name")?;
                Metric::new(name, metric)
            })
            .collect();
    }
    let metrics =
        top.get("metrics").and_then(Value::as_object).ok_or("no summary of k6: it has no `metrics`")?;
    metrics.iter().map(|(name, metric)| Metric::new(name, metric)).collect()
}

impl<'a> Metric<'a> {
    fn new(name: &'a str, metric: &'a Value) -> Result<Self, String> {
        let inside = metric.get("values").unwrap_or(metric);
        let values =
            inside.as_object().ok_or_else(|| format!("{name}: no metric of k6: it has no values"))?;
        let has = |key: &str| values.contains_key(key);
        let kind = match metric.get("type").and_then(Value::as_str) {
            Some("trend") => Kind::Trend,
            Some("rate") => Kind::Rate,
            Some("counter") => Kind::Counter,
            Some("gauge") => Kind::Gauge,
            _ if has("avg") || STATISTICS.iter().any(|(key, _)| has(key)) => Kind::Trend,
            _ if has("passes") => Kind::Rate,
            _ if has("count") => Kind::Counter,
            _ => Kind::Gauge,
        };
        // The oldest form does not say what a metric contains; of k6's own it is known.
        let is_time = match metric.get("contains").and_then(Value::as_str) {
            Some(contains) => contains == "time",
            None => kind == Kind::Trend && TAKEN.contains(&name),
        };
        Ok(Self { name, kind, is_time, values })
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.values.get(key)?.as_f64()
    }
}

fn of(metric: &Metric<'_>, seconds: Option<f64>) -> Vec<Found> {
    let name = metric.name;
    let by_name = Better::by_name(name);
    let one = |name: String, value: Option<f64>, better: Option<Better>| {
        value.map(|value| Found::new(name, value, better)).into_iter().collect()
    };
    match metric.kind {
        Kind::Trend => {
            let (unit, divisor) = if metric.is_time { ("_seconds", 1000.0) } else { ("", 1.0) };
            let better = if metric.is_time { Some(Better::Lower) } else { by_name };
            let statistic = |(key, written): &(&str, &str)| {
                let value = metric.number(key)? / divisor;
                Some(Found::new(format!("{name}_{written}{unit}"), value, better))
            };
            STATISTICS.iter().filter_map(statistic).collect()
        }
        // A rate is a share of events; --summary-export calls it `value`.
        Kind::Rate => {
            one(format!("{name}_ratio"), metric.number("rate").or_else(|| metric.number("value")), by_name)
        }
        Kind::Counter => {
            let counted = || Some(metric.number("count")? / seconds.filter(|seconds| *seconds > 0.0)?);
            let better = by_name.or((name == "http_reqs").then_some(Better::Higher));
            one(format!("{name}_per_second"), metric.number("rate").or_else(counted), better)
        }
        Kind::Gauge => one(name.to_owned(), metric.number("value"), by_name),
    }
}
