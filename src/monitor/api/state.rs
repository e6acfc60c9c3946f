//! Rules, alerts, targets and families in the form of Prometheus's API.

use super::super::alerts::{Alert, State};
use super::super::group::{Evaluated, Group};
use super::super::rules::Rule;
use super::super::{Shared, lock};
use super::answer::{Failure, Metric};
use super::parameters::Parameters;
use crate::metric::Kind;
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// The version of Prometheus whose answers these are, by which Grafana knows what it may ask.
const LIKE: &str = "2.42.0";

/// The rules; `type=alert` or `record` for some of them.
pub(super) fn rules(shared: &Shared, asked: &Parameters) -> Result<Json, Failure> {
    let kind = asked.first("type");
    if let Some(other) = kind.as_deref().filter(|kind| !["alert", "record"].contains(kind)) {
        return Err(Failure::bad("type", &format!("not supported value {other:?}")));
    }
    let wanted = |rule: &Rule| match kind.as_deref() {
        Some("alert") => rule.alert.is_some(),
        Some("record") => rule.alert.is_none(),
        _ => true,
    };
    let groups = lock(&shared.groups);
    let one = |group: &Group| {
        let rules = group.written.rules.iter().zip(&group.rules).filter(|(written, _)| wanted(written));
        json!({
            "name": group.written.name,
            "file": group.written.file,
            "interval": group.interval.as_secs_f64(),
            "limit": 0,
            "rules": rules.map(|(written, known)| rule(written, known)).collect::<Json>(),
            "evaluationTime": group.took.as_secs_f64(),
            "lastEvaluation": time(group.last),
        })
    };
    Ok(json!({ "groups": groups.iter().map(one).collect::<Json>() }))
}

fn rule(written: &Rule, known: &Evaluated) -> Json {
    let texts = |all: &BTreeMap<String, super::super::template::Template>| -> Json {
        all.iter()
            .map(|(name, template)| (name.clone(), Json::from(template.text())))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let health = match (&known.error, known.at) {
        (Some(_), _) => "err",
        (None, Some(_)) => "ok",
        (None, None) => "unknown",
    };
    let mut out = json!({
        "name": written.name,
        "query": written.text,
        "labels": texts(&written.labels),
        "health": health,
        "evaluationTime": known.took.as_secs_f64(),
        "lastEvaluation": time(known.at),
        "type": "recording",
    });
    let Some(fields) = out.as_object_mut() else { return out };
    if let Some(why) = &known.error {
        fields.insert("lastError".into(), json!(why));
    }
    if let Some(alert) = &written.alert {
        let state = known.alerts.iter().map(|alert| alert.state).max_by_key(|state| *state as u8);
        fields.insert("type".into(), json!("alerting"));
        fields.insert("state".into(), json!(state.unwrap_or(State::Inactive)));
        fields.insert("duration".into(), json!(alert.hold.as_secs_f64()));
        fields.insert("keepFiringFor".into(), json!(alert.keep_firing.as_secs_f64()));
        fields.insert("annotations".into(), texts(&alert.annotations));
        fields.insert(
            "alerts".into(),
            known.alerts.iter().filter(|alert| holds(alert)).map(one_alert).collect(),
        );
    }
    out
}

/// All alerts that hold.
pub(super) fn alerts(shared: &Shared) -> Json {
    let groups = lock(&shared.groups);
    let all = groups.iter().flat_map(Group::alerts).filter(|alert| holds(alert));
    json!({ "alerts": all.map(one_alert).collect::<Json>() })
}

fn holds(alert: &Alert) -> bool {
    alert.state != State::Inactive
}

fn one_alert(alert: &Alert) -> Json {
    let mut out = json!({
        "labels": Metric(&alert.labels),
        "annotations": alert.annotations,
        "state": alert.state,
        "activeAt": time(Some(alert.active_at)),
        "value": scientific(alert.value),
    });
    if let (Some(since), Some(fields)) = (alert.kept_since, out.as_object_mut()) {
        fields.insert("keepFiringSince".into(), json!(time(Some(since))));
    }
    out
}

/// What is looked at.
pub(super) fn targets(shared: &Shared) -> Json {
    let (interval, targets) = (format!("{}ms", shared.interval.as_millis()), lock(&shared.targets));
    let one = |target: &super::super::targets::Target| {
        json!({
            "discoveredLabels": { "__address__": target.instance, "job": target.job },
            "labels": { "instance": target.instance, "job": target.job },
            "scrapePool": target.job,
            "scrapeUrl": target.url,
            "globalUrl": target.url,
            "lastError": target.error.clone().unwrap_or_default(),
            "lastScrape": time(Some(target.at)),
            "lastScrapeDuration": target.took.as_secs_f64(),
            "health": if target.error.is_none() { "up" } else { "down" },
            "scrapeInterval": interval,
            "scrapeTimeout": interval,
        })
    };
    json!({ "activeTargets": targets.iter().map(one).collect::<Json>(), "droppedTargets": [] })
}

/// Kind and help of families; of one with `metric`.
pub(super) fn metadata(shared: &Shared, asked: &Parameters) -> Json {
    let (only, families) = (asked.first("metric"), lock(&shared.families));
    let some = families.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == *name));
    let one = |(name, (kind, help)): (&String, &(Kind, String))| {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
            Kind::Untyped => "unknown",
        };
        (name.clone(), json!([{ "type": kind, "help": help, "unit": "" }]))
    };
    some.map(one).collect::<serde_json::Map<_, _>>().into()
}

/// What answers.
pub(super) fn build() -> Json {
    json!({
        "version": LIKE,
        "revision": concat!("headroom ", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    })
}

/// A number as Prometheus writes that of an alert: always with an exponent, of two digits at least.
fn scientific(value: f64) -> String {
    if !value.is_finite() {
        return super::answer::number(value);
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

/// RFC 3339; the year 1 for what has not happened.
fn time(at: Option<i64>) -> String {
    let at = at.and_then(|at| Timestamp::from_millisecond(at).ok());
    at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_an_alert_is_written_as_prometheus_writes_it() {
        let said = [46_080_000.0, 1.0, 0.05, -2.5e-7, 1e100, f64::INFINITY].map(scientific);
        assert_eq!(said, ["4.608e+07", "1e+00", "5e-02", "-2.5e-07", "1e+100", "+Inf"]);
    }
}
