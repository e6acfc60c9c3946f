//! Where a service stands: what its indicators are, beside what they should be. Pure: numbers in, a judgement out.

use super::promql::{BUDGET, LONGER, NOW, Objective, Window};
use super::rules::{BAD_RATIO, Burn, FAST, LATENCY, REQUESTS, SLOW, reachable};
use super::{Quantile, Service};
use serde::Serialize;
use std::collections::BTreeMap;

/// How an objective is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// There is nothing to judge by.
    Unknown,
    /// The target is missed, or the budget burns slowly.
    Warning,
    /// The critical threshold is crossed, or the budget burns fast.
    Critical,
}

impl State {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What the numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// A share from 0 to 1.
    Ratio,
    /// Requests in a second.
    Rate,
    /// Bytes.
    Bytes,
}

/// Where one objective of a service stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// The service.
    pub service: String,
    /// `p50`, `p95`, `p99`, `errors`, `throughput` or `memory`.
    pub objective: &'static str,
    /// The unit of target, critical and current.
    pub unit: Unit,
    /// What it should be.
    pub target: f64,
    /// What is critical, if anything is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critical: Option<f64>,
    /// What it is, over five minutes; absent if nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<f64>,
    /// The judgement.
    pub state: State,
    /// The share of the error budget of 30 days that is left; below 0 if more than all is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_left: Option<f64>,
    /// By window: how many times as fast as it lasts 30 days the budget burns.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub burn: BTreeMap<Window, f64>,
}

/// What was measured of a service.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// By objective.
    pub current: BTreeMap<String, f64>,
    /// Shares of bad requests, by objective and window.
    pub bad: BTreeMap<(String, String), f64>,
}

/// The two queries about a service: what it is now, with the label `objective`, and shares of bad requests, with
/// `objective` and `window`. Each takes what the rules record or, where they are not loaded, the application's own series.
pub fn queries(service: &Service) -> [String; 2] {
    let said = |expr: String, label: &str, value: &str| {
        format!("label_replace({expr}, \"{label}\", \"{value}\", \"\", \"\")")
    };
    let either = |name: &str, objective: &str, raw: String| {
        format!("(sum({}) or sum({raw}))", service.recorded(name, objective))
    };
    let mut now = Vec::new();
    for quantile in Quantile::ALL {
        let name = quantile.as_str();
        let raw = service.quantile(quantile, NOW).map(|raw| either(LATENCY, name, raw));
        now.extend(raw.map(|expr| said(expr, "objective", name)));
    }
    let requests = service.requests(NOW).map(|raw| either(REQUESTS, "", raw));
    now.extend(requests.map(|expr| said(expr, "objective", "throughput")));
    now.extend(service.memory().map(|expr| said(expr, "objective", "memory")));
    let mut bad = Vec::new();
    for objective in service.budgets() {
        for window in [NOW].into_iter().chain(LONGER) {
            let name = objective.as_str();
            let Some(raw) = service.bad_ratio(objective, window) else { continue };
            let expr = either(&format!("{BAD_RATIO}{window}"), name, raw);
            bad.push(said(said(expr, "objective", name), "window", window));
        }
    }
    [now.join("\nor\n"), bad.join("\nor\n")]
}

/// The judgement on every objective of a service.
pub fn standings(service: &Service, measured: &Measured) -> Vec<Standing> {
    let mut all = Vec::new();
    for quantile in Quantile::ALL.into_iter().filter(|_| service.latency.is_some()) {
        let (target, critical) = service.objectives.latency(quantile);
        let limits = (target.as_secs_f64(), Some(critical.as_secs_f64()));
        all.push(above(service, quantile.as_str(), Unit::Seconds, limits, measured));
    }
    if service.errors.is_some() {
        let limits = &service.objectives.error_rate;
        all.push(above(service, "errors", Unit::Ratio, (limits.target, Some(limits.critical)), measured));
    }
    for standing in &mut all {
        let budgets = service.budgets();
        let objective = budgets.into_iter().find(|objective| objective.as_str() == standing.objective);
        if let Some(objective) = objective {
            burn(service, objective, measured, standing);
        }
    }
    if service.requests(NOW).is_some() {
        all.push(throughput(service, measured));
    }
    if let Some(budget) = service.memory_budget.filter(|_| service.memory().is_some()) {
        let budget = (budget.as_u64() as f64, None);
        all.push(above(service, "memory", Unit::Bytes, budget, measured));
    }
    all
}

/// What should not be above its limits.
fn above(
    service: &Service,
    objective: &'static str,
    unit: Unit,
    (target, critical): (f64, Option<f64>),
    measured: &Measured,
) -> Standing {
    let now = (objective.to_owned(), NOW.to_owned());
    let current =
        measured.current.get(objective).or_else(|| measured.bad.get(&now).filter(|_| objective == "errors"));
    let current = current.copied().filter(|value| value.is_finite());
    let state = match current {
        None => State::Unknown,
        Some(value) if critical.is_some_and(|critical| value > critical) => State::Critical,
        Some(value) if value > target => State::Warning,
        Some(_) => State::Ok,
    };
    let service = service.name.clone();
    Standing {
        service,
        objective,
        unit,
        target,
        critical,
        current,
        state,
        budget_left: None,
        burn: BTreeMap::new(),
    }
}

fn throughput(service: &Service, measured: &Measured) -> Standing {
    let limits = &service.objectives.throughput;
    let (target, critical) = (limits.target, limits.critical());
    let mut standing = above(service, "throughput", Unit::Rate, (target, Some(critical)), measured);
    standing.state = match standing.current {
        None => State::Unknown,
        Some(value) if value < critical => State::Critical,
        Some(value) if value < target => State::Warning,
        Some(_) => State::Ok,
    };
    standing
}

/// Puts in what is left of the budget and how it burns, and judges by that too.
fn burn(service: &Service, objective: Objective, measured: &Measured, standing: &mut Standing) {
    let budget = service.budget(objective);
    for window in [NOW].into_iter().chain(LONGER) {
        let bad = measured.bad.get(&(objective.as_str().to_owned(), window.to_owned()));
        if let Some(bad) = bad.copied().filter(|bad| bad.is_finite()) {
            standing.burn.insert(window, bad / budget);
        }
    }
    standing.budget_left = standing.burn.get(BUDGET).map(|burnt| 1.0 - burnt);
    let rate = |window: Window| standing.burn.get(window).copied().unwrap_or_default();
    let burns =
        |all: &[Burn]| reachable(all, budget).any(|b| rate(b.short) > b.factor && rate(b.long) > b.factor);
    let by_burn = if burns(&FAST) {
        State::Critical
    } else if burns(&SLOW) {
        State::Warning
    } else {
        State::Ok
    };
    standing.state = standing.state.max(by_burn);
}

#[cfg(test)]
mod tests {
    use super::super::tests::services;
    use super::*;

    fn shop() -> Service {
        services(
            "- {name: shop, latency: {histogram: h}, errors: {metric: e}, cgroup: /a, memory_budget: 1MB}",
        )
        .remove(0)
    }

    fn measured(current: &[(&str, f64)], bad: &[(&str, &str, f64)]) -> Measured {
        Measured {
            current: current.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            bad: bad
                .iter()
                .map(|(name, window, value)| (((*name).to_owned(), (*window).to_owned()), *value))
                .collect(),
        }
    }

    fn state(objective: &str, measured: &Measured) -> State {
        standings(&shop(), measured).into_iter().find(|s| s.objective == objective).unwrap().state
    }

    #[test]
    fn thresholds_are_judged_in_their_direction() {
        for (objective, value, want) in [
            ("p95", 0.2, State::Ok),
            ("p95", 0.201, State::Warning),
            ("p95", 2.0, State::Warning),
            ("p95", 2.1, State::Critical),
            ("p95", f64::NAN, State::Unknown),
            ("throughput", 1000.0, State::Ok),
            ("throughput", 999.0, State::Warning),
            ("throughput", 99.0, State::Critical),
            ("memory", 1e6, State::Ok),
            ("memory", 1.1e6, State::Warning),
        ] {
            assert_eq!(state(objective, &measured(&[(objective, value)], &[])), want, "{objective} {value}");
        }
        let nothing = standings(&shop(), &Measured::default());
        assert!(nothing.iter().all(|s| s.state == State::Unknown) && nothing.len() == 6, "{nothing:?}");
    }

    #[test]
    fn a_budget_burns_only_if_both_windows_say_so() {
        let burns = |pairs: &[(&str, f64)]| {
            let bad: Vec<_> = pairs.iter().map(|(window, bad)| ("errors", *window, *bad)).collect();
            state("errors", &measured(&[], &bad))
        };
        assert_eq!(burns(&[("5m", 0.0005), ("1h", 0.02)]), State::Ok, "it is over");
        assert_eq!(burns(&[("5m", 0.02), ("1h", 0.0005)]), State::Warning, "the target is missed");
        assert_eq!(burns(&[("5m", 0.02), ("1h", 0.02)]), State::Critical);
        assert_eq!(burns(&[("5m", 0.0005), ("30m", 0.007), ("6h", 0.0061)]), State::Critical);
        assert_eq!(burns(&[("5m", 0.0005), ("30m", 0.007), ("6h", 0.006)]), State::Ok);
        assert_eq!(burns(&[("5m", 0.0005), ("6h", 0.0011), ("3d", 0.0011)]), State::Warning);
        assert_eq!(burns(&[("5m", 0.11)]), State::Critical, "above the threshold");
    }

    #[test]
    fn what_is_left_of_the_budget_may_be_less_than_nothing() {
        let of = |bad: f64| {
            let all = standings(&shop(), &measured(&[], &[("p95", "30d", bad)]));
            all.into_iter().find(|s| s.objective == "p95").unwrap().budget_left.unwrap()
        };
        assert!((of(0.01) - 0.8).abs() < 1e-9 && (of(0.1) + 1.0).abs() < 1e-9);
    }
}
