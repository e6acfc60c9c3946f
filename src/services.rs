//! Services: which series is a service's latency, errors and throughput, and what they should be. Said once, for all who ask.

pub mod promql;
pub mod rules;
pub mod standing;

use crate::matching::Matcher;
use bytesize::ByteSize;
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// The most services that there may be.
const SERVICES_MAX: usize = 200;
/// Of a latency: what is critical is this many times the target, unless it is said otherwise.
const CRITICAL_TIMES: u32 = 10;
/// Labels that the rules set themselves.
const OWN_LABELS: [&str; 5] = ["alertname", "objective", "resource", "service", "severity"];

/// A service, its indicators and its objectives.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// Its name, the label `service`.
    pub name: String,
    /// Whose memory it takes: one of `process_groups`,
    pub process_group: Option<String>,
    /// or a control group, as the label `cgroup` of `headroom_cgroup_*` has it.
    pub cgroup: Option<String>,
    /// What it should stay below; the process group's budget if not given.
    pub memory_budget: Option<ByteSize>,
    /// How long requests take.
    pub latency: Option<Latency>,
    /// A counter of requests that failed.
    pub errors: Option<Series>,
    /// A counter of all requests; that of the latency if not given.
    pub throughput: Option<Series>,
    /// What these should be.
    pub objectives: Objectives,
    /// Labels of its alerts, besides those that they have.
    pub labels: BTreeMap<String, String>,
}

/// The series of a counter.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Series {
    /// Its name.
    pub metric: String,
    /// Which of its series count: all of these must match.
    #[serde(rename = "match")]
    pub matchers: Vec<Matcher>,
}

/// Where latencies stand: in one of `histogram`, `native_histogram` and `summary`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Latency {
    /// A histogram with buckets, without `_bucket`. The targets are to be among its bounds.
    pub histogram: Option<String>,
    /// A native histogram.
    pub native_histogram: Option<String>,
    /// A summary with the quantiles 0.5, 0.95 and 0.99. It knows no share of slow requests, so there are no burn rates.
    pub summary: Option<String>,
    /// Which series count.
    #[serde(rename = "match")]
    pub matchers: Vec<Matcher>,
    /// What the numbers are.
    pub unit: Unit,
}

/// The unit of latencies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Seconds, as Prometheus would have it.
    #[default]
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// What a service's indicators should be.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Objectives {
    /// Half of the requests take at most this.
    pub p50: Limits,
    /// 95 % of them.
    pub p95: Limits,
    /// 99 % of them.
    pub p99: Limits,
    /// The share of requests that may fail.
    pub error_rate: ErrorRate,
    /// Requests in a second.
    pub throughput: Throughput,
}

/// A latency's objective.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// What it should be.
    #[serde(with = "humantime_serde")]
    pub target: Option<Duration>,
    /// What is an alert; ten times the target if not given.
    #[serde(with = "humantime_serde")]
    pub critical: Option<Duration>,
}

/// The error rate's objective: shares from 0 to 1.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ErrorRate {
    /// What it should be, over 30 days: the error budget.
    pub target: f64,
    /// What is a warning, over five minutes.
    pub warning: f64,
    /// What is critical, over five minutes.
    pub critical: f64,
}

impl Default for ErrorRate {
    fn default() -> Self {
        Self { target: 0.001, warning: 0.05, critical: 0.10 }
    }
}

/// The throughput's objective: requests in a second.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Throughput {
    /// What it should be.
    pub target: f64,
    /// What is an alert; 0 is none. A tenth of the target if not given.
    pub critical: Option<f64>,
}

impl Default for Throughput {
    fn default() -> Self {
        Self { target: 1000.0, critical: None }
    }
}

impl Throughput {
    /// Below this it is critical; 0 is never.
    pub fn critical(&self) -> f64 {
        self.critical.unwrap_or(self.target / 10.0)
    }
}

/// One of the latencies that have an objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantile {
    /// The median.
    P50,
    /// What 95 % stay below.
    P95,
    /// What 99 % stay below.
    P99,
}

impl Quantile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::P50, Self::P95, Self::P99];

    /// Its name, the label `objective`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
        }
    }

    /// The share of requests below it, as PromQL writes it.
    pub fn share(self) -> &'static str {
        match self {
            Self::P50 => "0.5",
            Self::P95 => "0.95",
            Self::P99 => "0.99",
        }
    }

    /// The share of requests that may be slower than the target.
    pub fn budget(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P95 => 0.05,
            Self::P99 => 0.01,
        }
    }

    fn target(self) -> Duration {
        Duration::from_millis(match self {
            Self::P50 => 50,
            Self::P95 => 200,
            Self::P99 => 500,
        })
    }
}

impl Objectives {
    /// Target and critical threshold of a latency.
    pub fn latency(&self, quantile: Quantile) -> (Duration, Duration) {
        let limits = match quantile {
            Quantile::P50 => &self.p50,
            Quantile::P95 => &self.p95,
            Quantile::P99 => &self.p99,
        };
        let target = limits.target.unwrap_or(quantile.target());
        (target, limits.critical.unwrap_or(target * CRITICAL_TIMES))
    }
}

/// A wrong key, and why it is wrong.
type Wrong = (String, String);

/// What is wrong with the services, by key, if anything is; `groups` are the names of process groups.
pub fn check(services: &[Service], groups: &[&str]) -> Result<(), Wrong> {
    if services.len() > SERVICES_MAX {
        return Err(("services".into(), format!("at most {SERVICES_MAX}")));
    }
    let mut names = HashSet::new();
    for (i, service) in services.iter().enumerate() {
        service.check(groups).map_err(|(key, why)| (format!("services[{i}].{key}"), why))?;
        if !names.insert(&service.name) {
            let why = format!("{:?} is the name of another service", service.name);
            return Err((format!("services[{i}].name"), why));
        }
    }
    Ok(())
}

impl Service {
    fn check(&self, groups: &[&str]) -> Result<(), Wrong> {
        let bad = |key: &str, why: &str| Err((key.to_owned(), why.to_owned()));
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.chars().all(plain) {
            return bad("name", "letters, digits, `_`, `.` and `-`, at most 64");
        }
        if self.process_group.as_deref().is_some_and(|group| !groups.contains(&group)) {
            return bad("process_group", "none of `process_groups` has this name");
        }
        if self.process_group.is_some() && self.cgroup.is_some() {
            return bad("cgroup", "this, or `process_group`");
        }
        if self.latency.is_none() && self.errors.is_none() && self.throughput.is_none() {
            return bad("latency", "give at least one of `latency`, `errors` and `throughput`");
        }
        if let Some(latency) = &self.latency {
            let ways = [&latency.histogram, &latency.native_histogram, &latency.summary];
            match ways.map(|way| way.as_deref().map(str::is_empty)) {
                [Some(false), None, None] | [None, Some(false), None] | [None, None, Some(false)] => {}
                _ => {
                    return bad(
                        "latency.histogram",
                        "give one of `histogram`, `native_histogram` and `summary`",
                    );
                }
            }
        }
        for (key, series) in [("errors.metric", &self.errors), ("throughput.metric", &self.throughput)] {
            if series.as_ref().is_some_and(|series| series.metric.is_empty()) {
                return bad(key, "the name of a counter");
            }
        }
        if self.errors.is_some() && self.throughput.is_none() && self.latency.is_none() {
            return bad(
                "throughput",
                "without it, or `latency`, it is not known how many requests there are",
            );
        }
        self.objectives.check().map_err(|(key, why)| (format!("objectives.{key}"), why))?;
        let named = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let wrong = |name: &&String| {
            OWN_LABELS.contains(&name.as_str())
                || !name.chars().all(named)
                || name.is_empty()
                || name.starts_with(|c: char| c.is_ascii_digit())
        };
        match self.labels.keys().find(wrong) {
            Some(name) => {
                bad("labels", &format!("`{name}` is no name of a label, or one that the rules set"))
            }
            None => Ok(()),
        }
    }
}

impl Objectives {
    fn check(&self) -> Result<(), Wrong> {
        let bad = |key: String, why: &str| Err((key, why.to_owned()));
        for quantile in Quantile::ALL {
            let (target, critical) = self.latency(quantile);
            if target.is_zero() || critical < target {
                return bad(
                    format!("{}.critical", quantile.as_str()),
                    "at least `target`, which is more than 0s",
                );
            }
        }
        let ErrorRate { target, warning, critical } = self.error_rate;
        if !(target > 0.0 && target <= warning && warning <= critical && critical <= 1.0) {
            return bad("error_rate".into(), "0 < `target` <= `warning` <= `critical` <= 1");
        }
        let (target, critical) = (self.throughput.target, self.throughput.critical());
        if !(target.is_finite() && critical >= 0.0 && critical <= target) {
            return bad("throughput.critical".into(), "from 0 to `target`");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Services as YAML says.
    pub(super) fn services(text: &str) -> Vec<Service> {
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn without_a_word_the_objectives_are_those_of_the_manual() {
        let objectives = Objectives::default();
        let millis = |q| {
            let (target, critical) = objectives.latency(q);
            (target.as_millis(), critical.as_millis())
        };
        assert_eq!(Quantile::ALL.map(millis), [(50, 500), (200, 2000), (500, 5000)]);
        assert_eq!(objectives.error_rate, ErrorRate { target: 0.001, warning: 0.05, critical: 0.1 });
        assert_eq!((objectives.throughput.target, objectives.throughput.critical()), (1000.0, 100.0));
        let some = &services("- {name: a, objectives: {p95: {target: 300ms}, throughput: {target: 50}}}")[0]
            .objectives;
        assert_eq!(some.latency(Quantile::P95), (Duration::from_millis(300), Duration::from_secs(3)));
        assert_eq!(some.latency(Quantile::P50).0, Duration::from_millis(50));
        assert_eq!((some.throughput.target, some.throughput.critical()), (50.0, 5.0));
    }

    #[test]
    fn what_cannot_be_a_service_is_told_by_its_key() {
        let of = |text: &str| check(&services(text), &["shop"]).map_err(|(key, _)| key);
        let good = "- {name: shop, process_group: shop, latency: {histogram: h, match: ['job=\"a\"']}, errors: {metric: e}}";
        assert_eq!(of(good), Ok(()));
        for (text, key) in [
            ("- {name: '', throughput: {metric: t}}", "services[0].name"),
            ("- {name: 'a b', throughput: {metric: t}}", "services[0].name"),
            ("- {name: a}", "services[0].latency"),
            ("- {name: a, process_group: b, throughput: {metric: t}}", "services[0].process_group"),
            ("- {name: a, process_group: shop, cgroup: /a, throughput: {metric: t}}", "services[0].cgroup"),
            ("- {name: a, latency: {}}", "services[0].latency.histogram"),
            ("- {name: a, latency: {histogram: h, summary: s}}", "services[0].latency.histogram"),
            ("- {name: a, latency: {histogram: ''}}", "services[0].latency.histogram"),
            ("- {name: a, errors: {metric: e}}", "services[0].throughput"),
            ("- {name: a, throughput: {}}", "services[0].throughput.metric"),
            (
                "- {name: a, latency: {histogram: h}, objectives: {p95: {target: 2s, critical: 1s}}}",
                "services[0].objectives.p95.critical",
            ),
            (
                "- {name: a, latency: {histogram: h}, objectives: {error_rate: {target: 0.5}}}",
                "services[0].objectives.error_rate",
            ),
            (
                "- {name: a, latency: {histogram: h}, objectives: {throughput: {target: 1, critical: 2}}}",
                "services[0].objectives.throughput.critical",
            ),
            ("- {name: a, latency: {histogram: h}, labels: {severity: x}}", "services[0].labels"),
            (
                "- {name: a, latency: {histogram: h}}\n- {name: a, latency: {histogram: h}}",
                "services[1].name",
            ),
        ] {
            assert_eq!(of(text), Err(key.to_owned()), "{text}");
        }
    }
}
