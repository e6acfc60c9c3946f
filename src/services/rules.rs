//! Rules of services: what is recorded of their indicators, and the alerts on objectives, budgets and thresholds.

use super::promql::{BUDGET, LONGER, NOW, Objective, Window, number};
use super::{Quantile, Service};
use serde::Serialize;
use std::collections::BTreeMap;

/// The name of the file.
pub const FILE: &str = "services.yml";
/// The first line of the file, by which it is known again.
pub const HEAD: &str =
    "# Made by `headroom rules generate` from `services` of the configuration; changes here are lost.\n";

/// The share of bad requests, without its window.
pub const BAD_RATIO: &str = "service:slo_bad:ratio_rate";
/// A latency's quantile.
pub const LATENCY: &str = "service:slo_latency:seconds5m";
/// Requests in a second.
pub const REQUESTS: &str = "service:slo_requests:rate5m";
const BAD: &str = "service:slo_bad:rate5m";
const EVENTS: &str = "service:slo_events:rate5m";
/// Windows from this one on are looked at every two minutes: they hardly change, and cost most.
const LONG: [Window; 3] = ["1d", "3d", BUDGET];
const LONG_INTERVAL: &str = "2m";

/// Two windows in which a budget burns so many times as fast as it lasts 30 days, from the workbook on site reliability,
/// chapter 5: of the longer one 2 %, 5 %, 10 % and 10 % of the budget are gone then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burn {
    /// It is over soon after the trouble is.
    pub short: Window,
    /// It is not moved by little.
    pub long: Window,
    /// Times as fast.
    pub factor: f64,
}

/// For these somebody is woken.
pub const FAST: [Burn; 2] =
    [Burn { short: NOW, long: "1h", factor: 14.4 }, Burn { short: "30m", long: "6h", factor: 6.0 }];
/// These can wait for the morning.
pub const SLOW: [Burn; 2] =
    [Burn { short: "2h", long: "1d", factor: 3.0 }, Burn { short: "6h", long: "3d", factor: 1.0 }];

#[derive(Debug, Serialize)]
struct File {
    groups: Vec<Group>,
}

#[derive(Debug, Serialize)]
struct Group {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<&'static str>,
    rules: Vec<Rule>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Rule {
    Record { record: String, expr: String, labels: BTreeMap<String, String> },
    Alert(Box<Alert>),
}

#[derive(Debug, Serialize)]
struct Alert {
    #[serde(rename = "alert")]
    name: &'static str,
    expr: String,
    r#for: &'static str,
    keep_firing_for: &'static str,
    labels: BTreeMap<String, String>,
    annotations: Annotations,
}

#[derive(Debug, Serialize)]
struct Annotations {
    summary: String,
    description: String,
    runbook_url: String,
}

/// The rules as Prometheus reads them; the same services give the same text.
pub fn text(services: &[Service]) -> Result<String, String> {
    let groups = services.iter().flat_map(groups).collect();
    let yaml = serde_yaml::to_string(&File { groups }).map_err(|e| e.to_string())?;
    Ok(format!("{HEAD}{yaml}"))
}

fn groups(service: &Service) -> [Group; 2] {
    let name = format!("headroom-service-{}", service.name);
    let mut short = indicators(service);
    short.extend(thresholds(service));
    let (mut long, windows) = (Vec::new(), [NOW].into_iter().chain(LONGER));
    for window in windows {
        let into = if LONG.contains(&window) { &mut long } else { &mut short };
        into.extend(service.budgets().into_iter().filter_map(|objective| ratio(service, objective, window)));
    }
    long.extend(service.budgets().into_iter().map(|objective| left(service, objective)));
    short.extend(alerts(service));
    let long = Group { name: format!("{name}-long"), interval: Some(LONG_INTERVAL), rules: long };
    [Group { name, interval: None, rules: short }, long]
}

fn record(service: &Service, name: impl Into<String>, objective: &str, expr: String) -> Rule {
    let mut labels = BTreeMap::from([("service".to_owned(), service.name.clone())]);
    if !objective.is_empty() {
        labels.insert("objective".into(), objective.into());
    }
    Rule::Record { record: name.into(), expr, labels }
}

/// What is taken from the application's own series.
fn indicators(service: &Service) -> Vec<Rule> {
    let mut rules = Vec::new();
    rules.extend(service.requests(NOW).map(|expr| record(service, REQUESTS, "", expr)));
    for quantile in Quantile::ALL {
        let expr = service.quantile(quantile, NOW);
        rules.extend(expr.map(|expr| record(service, LATENCY, quantile.as_str(), expr)));
    }
    for objective in service.budgets() {
        let name = objective.as_str();
        rules.extend(service.events(objective, NOW).map(|expr| record(service, EVENTS, name, expr)));
        rules.extend(service.bad(objective, NOW).map(|expr| record(service, BAD, name, expr)));
    }
    rules.extend(service.memory().map(|expr| record(service, "service:slo_memory:bytes", "", expr)));
    rules
}

/// What the indicators should be, for whoever draws or compares them.
fn thresholds(service: &Service) -> Vec<Rule> {
    let objectives = &service.objectives;
    let mut rules = Vec::new();
    let mut say = |name: &str, objective: &str, value: f64| {
        rules.push(record(service, name, objective, format!("vector({})", number(value))));
    };
    for quantile in Quantile::ALL.into_iter().filter(|_| service.latency.is_some()) {
        let (target, critical) = objectives.latency(quantile);
        say("service:slo_latency_target:seconds", quantile.as_str(), target.as_secs_f64());
        say("service:slo_latency_critical:seconds", quantile.as_str(), critical.as_secs_f64());
    }
    if service.errors.is_some() {
        say("service:slo_error_rate_warning:ratio", "", objectives.error_rate.warning);
        say("service:slo_error_rate_critical:ratio", "", objectives.error_rate.critical);
    }
    say("service:slo_throughput_target:rate", "", objectives.throughput.target);
    say("service:slo_throughput_critical:rate", "", objectives.throughput.critical());
    for objective in service.budgets() {
        say("service:slo_budget:ratio", objective.as_str(), service.budget(objective));
    }
    if let Some(budget) = service.memory_budget.filter(|_| service.memory().is_some()) {
        // Exact as a float up to 8 PiB.
        say("service:slo_memory_budget:bytes", "", budget.as_u64() as f64);
    }
    rules
}

/// The share of bad requests in a window: longer ones from what was recorded, weighted by requests.
fn ratio(service: &Service, objective: Objective, window: Window) -> Option<Rule> {
    let name = objective.as_str();
    let (bad, events) = (service.recorded(BAD, name), service.recorded(EVENTS, name));
    service.events(objective, window)?;
    let expr = if window == NOW {
        format!("{bad} / ({events} > 0)")
    } else {
        format!("sum_over_time({bad}[{window}]) / (sum_over_time({events}[{window}]) > 0)")
    };
    Some(record(service, format!("{BAD_RATIO}{window}"), name, expr))
}

fn left(service: &Service, objective: Objective) -> Rule {
    let bad = service.recorded(&format!("{BAD_RATIO}{BUDGET}"), objective.as_str());
    let budget = number(service.budget(objective));
    record(service, "service:slo_budget_left:ratio", objective.as_str(), format!("1 - {bad} / {budget}"))
}

/// When it is an alert: how bad, for how long, and how long it stays one.
#[derive(Clone, Copy)]
struct When {
    severity: &'static str,
    held: &'static str,
    kept: &'static str,
}

const CRITICAL: When = When { severity: "critical", held: "5m", kept: "5m" };
const WARNING: When = When { severity: "warning", ..CRITICAL };
const BURNS_FAST: When = When { severity: "critical", held: "2m", kept: "5m" };
const BURNS_SLOWLY: When = When { severity: "warning", held: "15m", kept: "30m" };

/// What it says: to whom, and about which objective.
struct Said {
    objective: &'static str,
    summary: String,
    description: String,
}

fn alert(service: &Service, name: &'static str, when: When, expr: String, said: Said) -> Rule {
    let mut labels = service.labels.clone();
    for (label, value) in [
        ("severity", when.severity),
        ("resource", "service"),
        ("service", service.name.as_str()),
        ("objective", said.objective),
    ] {
        labels.insert(label.into(), value.into());
    }
    let Said { summary, description, .. } = said;
    let runbook_url = format!("{}/blob/main/docs/runbooks/{name}.md", env!("CARGO_PKG_REPOSITORY"));
    let annotations = Annotations { summary, description, runbook_url };
    let (r#for, keep_firing_for) = (when.held, when.kept);
    Rule::Alert(Box::new(Alert { name, expr, r#for, keep_firing_for, labels, annotations }))
}

fn alerts(service: &Service) -> Vec<Rule> {
    let mut rules = Vec::new();
    for objective in service.budgets() {
        rules.extend(burns(service, objective));
    }
    for quantile in Quantile::ALL.into_iter().filter(|_| service.latency.is_some()) {
        rules.push(latency_high(service, quantile));
    }
    if service.errors.is_some() {
        rules.extend(error_rates(service));
    }
    if service.requests(NOW).is_some() && service.objectives.throughput.critical() > 0.0 {
        rules.push(throughput_low(service));
    }
    rules
}

/// Of these, what can happen: no more than all requests can be bad.
pub fn reachable(burns: &[Burn], budget: f64) -> impl Iterator<Item = Burn> {
    burns.iter().copied().filter(move |burn| burn.factor * budget < 1.0)
}

fn burns(service: &Service, objective: Objective) -> Vec<Rule> {
    let budget = service.budget(objective);
    let (fast, slowly, what) = match objective {
        Objective::Errors => {
            ("ServiceErrorBudgetBurnsFast", "ServiceErrorBudgetBurnsSlowly", "fail".to_owned())
        }
        Objective::Slow(quantile) => {
            let (target, _) = service.objectives.latency(quantile);
            let what = format!("take longer than {}", humantime::format_duration(target));
            ("ServiceLatencyBudgetBurnsFast", "ServiceLatencyBudgetBurnsSlowly", what)
        }
    };
    let one = |(name, when, burns): (&'static str, When, &[Burn])| {
        let pairs: Vec<String> =
            reachable(burns, budget).map(|burn| both(service, objective, burn, budget)).collect();
        let summary = format!("The {} budget of {} burns", objective.as_str(), service.name);
        let description = format!(
            "{{{{ $value | humanizePercentage }}}} of the requests to {} {what}; {}% may, over 30 days.",
            service.name,
            number(budget * 100.0),
        );
        let said = Said { objective: objective.as_str(), summary, description };
        (!pairs.is_empty()).then(|| alert(service, name, when, pairs.join("or\n"), said))
    };
    [(fast, BURNS_FAST, &FAST[..]), (slowly, BURNS_SLOWLY, &SLOW[..])].into_iter().filter_map(one).collect()
}

fn both(service: &Service, objective: Objective, burn: Burn, budget: f64) -> String {
    let above = |window: Window| {
        let bad = service.recorded(&format!("{BAD_RATIO}{window}"), objective.as_str());
        format!("{bad} > {} * {}", number(burn.factor), number(budget))
    };
    format!("(\n  {}\n  and {}\n)\n", above(burn.long), above(burn.short))
}

fn latency_high(service: &Service, quantile: Quantile) -> Rule {
    let (_, critical) = service.objectives.latency(quantile);
    let expr =
        format!("{} > {}", service.recorded(LATENCY, quantile.as_str()), number(critical.as_secs_f64()));
    let said = Said {
        objective: quantile.as_str(),
        summary: format!("{} is slow ({})", service.name, quantile.as_str()),
        description: format!(
            "The {} of {} is {{{{ $value | humanizeDuration }}}}; above {} it is critical.",
            quantile.as_str(),
            service.name,
            humantime::format_duration(critical)
        ),
    };
    alert(service, "ServiceLatencyHigh", CRITICAL, expr, said)
}

fn error_rates(service: &Service) -> [Rule; 2] {
    let rate = service.recorded(&format!("{BAD_RATIO}{NOW}"), Objective::Errors.as_str());
    let limits = &service.objectives.error_rate;
    [("ServiceErrorRateHigh", WARNING, limits.warning), ("ServiceErrorRateCritical", CRITICAL, limits.critical)].map(
        |(name, when, limit)| {
            let said = Said {
                objective: "errors",
                summary: format!("Requests to {} fail", service.name),
                description: format!(
                    "{{{{ $value | humanizePercentage }}}} of the requests to {} failed in the last five minutes.",
                    service.name
                ),
            };
            alert(service, name, when, format!("{rate} > {}", number(limit)), said)
        },
    )
}

/// Too few, or none since less than an hour: a service that is gone counts nothing any more.
fn throughput_low(service: &Service) -> Rule {
    let (rate, least) = (service.recorded(REQUESTS, ""), number(service.objectives.throughput.critical()));
    let expr = format!("{rate} < {least}\nor\n(0 * max_over_time({rate}[1h]) unless {rate})\n");
    let said = Said {
        objective: "throughput",
        summary: format!("{} has few requests", service.name),
        description: format!(
            "{} takes {{{{ $value | humanize }}}} requests a second; below {least} it is critical.",
            service.name
        ),
    };
    alert(service, "ServiceThroughputLow", When { held: "10m", ..CRITICAL }, expr, said)
}

#[cfg(test)]
mod tests {
    use super::super::tests::services;
    use super::*;

    #[test]
    fn only_what_can_burn_is_an_alert() {
        let factors = |burns: &[Burn], budget| {
            reachable(burns, budget).map(|b| b.factor.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(factors(&FAST, 0.001), ["14.4", "6"]);
        assert_eq!(factors(&FAST, 0.05), ["14.4", "6"]);
        assert_eq!(factors(&FAST, 0.5), [""; 0]);
        assert_eq!(factors(&SLOW, 0.5), ["1"]);
    }

    #[test]
    fn a_service_has_rules_for_what_it_has() {
        let names = |yaml: &str| {
            let text = text(&services(yaml)).unwrap();
            let value: serde_json::Value = serde_yaml::from_str(&text).unwrap();
            let groups = value["groups"].as_array().unwrap();
            let rules = groups.iter().flat_map(|g| g["rules"].as_array().unwrap());
            rules.filter_map(|r| Some(r["alert"].as_str()?.to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(
            names("- {name: a, throughput: {metric: t}, objectives: {throughput: {critical: 0}}}"),
            [""; 0]
        );
        assert_eq!(names("- {name: a, throughput: {metric: t}}"), ["ServiceThroughputLow"]);
        let summary = names("- {name: a, latency: {summary: s}}");
        assert_eq!(
            summary,
            ["ServiceLatencyHigh", "ServiceLatencyHigh", "ServiceLatencyHigh", "ServiceThroughputLow"]
        );
        let whole = names("- {name: a, latency: {histogram: h}, errors: {metric: e}}");
        let burning = whole.iter().filter(|name| name.contains("Burns")).count();
        assert_eq!((whole.len(), burning), (13, 7), "{whole:?}");
    }
}
