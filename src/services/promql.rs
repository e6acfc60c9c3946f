//! The expressions of a service's indicators: over the application's own series, and over what the rules record of them.

use super::{Latency, Quantile, Series, Service, Unit};
use crate::matching::{Matcher, quoted};
use std::time::Duration;

/// A window of burn rates, as PromQL writes it.
pub type Window = &'static str;
/// The window of what is "now".
pub const NOW: Window = "5m";
/// Longer windows, shortest first; the last is that of the budget.
pub const LONGER: [Window; 7] = ["30m", "1h", "2h", "6h", "1d", "3d", BUDGET];
/// The window of the budget.
pub const BUDGET: Window = "30d";

/// The window of what an action is judged by: the minute before it, and the minute after.
const MINUTE: Window = "1m";

/// What has an error budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Objective {
    /// Requests that fail.
    Errors,
    /// Requests that are slower than a target.
    Slow(Quantile),
}

impl Objective {
    /// The label `objective`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Slow(quantile) => quantile.as_str(),
        }
    }
}

/// A number as PromQL writes it.
pub(super) fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-6 {
        return format!("{value:e}");
    }
    // Sums of decimal fractions: what a float cannot hold is not to be seen.
    let text = format!("{value:.9}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn selector(metric: &str, matchers: &[Matcher], more: &[String]) -> String {
    let named = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let plain = metric.chars().all(named) && !metric.starts_with(|c: char| c.is_ascii_digit());
    let name = (!plain).then(|| format!("__name__={}", quoted(metric)));
    let all: Vec<String> =
        name.into_iter().chain(matchers.iter().map(Matcher::promql)).chain(more.iter().cloned()).collect();
    let metric = if plain { metric } else { "" };
    if all.is_empty() { metric.to_owned() } else { format!("{metric}{{{}}}", all.join(",")) }
}

impl Series {
    fn rate(&self, window: &str) -> String {
        format!("sum(rate({}[{window}]))", selector(&self.metric, &self.matchers, &[]))
    }
}

impl Latency {
    /// A duration in the unit of the series.
    fn bound(&self, bound: Duration) -> f64 {
        let seconds = bound.as_secs_f64();
        match self.unit {
            Unit::Seconds => seconds,
            Unit::Milliseconds => seconds * 1000.0,
        }
    }

    /// The bucket whose bound this is. Its text depends on who wrote it: `1`, `1.0`.
    fn bucket(&self, bound: Duration) -> String {
        let text = number(self.bound(bound));
        let pattern = match text.split_once('.') {
            Some((whole, rest)) => format!("{whole}\\.{rest}0*"),
            None => format!("{text}(\\.0+)?"),
        };
        format!("le=~{}", quoted(&pattern))
    }

    fn native(&self, metric: &str, window: &str) -> String {
        format!("sum(rate({}[{window}]))", selector(metric, &self.matchers, &[]))
    }

    /// Requests in a second.
    fn count(&self, window: &str) -> String {
        if let Some(metric) = &self.native_histogram {
            return format!("histogram_count({})", self.native(metric, window));
        }
        let metric = self.histogram.as_ref().or(self.summary.as_ref()).map_or("", String::as_str);
        format!("sum(rate({}[{window}]))", selector(&format!("{metric}_count"), &self.matchers, &[]))
    }

    /// Requests in a second that took longer; of a summary, nobody knows.
    fn slower(&self, than: Duration, window: &str) -> Option<String> {
        if let Some(metric) = &self.native_histogram {
            let (all, bound) = (self.native(metric, window), number(self.bound(than)));
            let count = self.count(window);
            return Some(format!("({count} > 0) * (1 - histogram_fraction(-Inf, {bound}, {all}))"));
        }
        let metric = self.histogram.as_ref()?;
        let bucket = selector(&format!("{metric}_bucket"), &self.matchers, &[self.bucket(than)]);
        Some(format!("{} - sum(rate({bucket}[{window}]))", self.count(window)))
    }

    /// The quantile, in seconds.
    fn quantile(&self, quantile: Quantile, window: &str) -> String {
        let share = quantile.share();
        let text = if let Some(metric) = &self.summary {
            let label = format!("quantile=~{}", quoted(&share.replace('.', "\\.")));
            format!("max({})", selector(metric, &self.matchers, &[label]))
        } else if let Some(metric) = &self.native_histogram {
            format!("histogram_quantile({share}, {})", self.native(metric, window))
        } else {
            let metric = format!("{}_bucket", self.histogram.as_deref().unwrap_or_default());
            let series = selector(&metric, &self.matchers, &[]);
            format!("histogram_quantile({share}, sum by (le) (rate({series}[{window}])))")
        };
        match self.unit {
            Unit::Seconds => text,
            Unit::Milliseconds => format!("{text} / 1000"),
        }
    }

    /// The bounds of the buckets, as the label `le`; of histograms with buckets alone.
    pub fn bounds(&self) -> Option<String> {
        let metric = format!("{}_bucket", self.histogram.as_ref()?);
        Some(format!("count by (le) ({})", selector(&metric, &self.matchers, &[])))
    }

    /// The value of the label `le` in seconds.
    pub fn seconds(&self, le: f64) -> f64 {
        match self.unit {
            Unit::Seconds => le,
            Unit::Milliseconds => le / 1000.0,
        }
    }
}

impl Service {
    /// What has an error budget here.
    pub fn budgets(&self) -> Vec<Objective> {
        let errors = self.errors.is_some().then_some(Objective::Errors);
        let known = self.latency.as_ref().is_some_and(|latency| latency.summary.is_none());
        let slow = Quantile::ALL.into_iter().filter(|_| known).map(Objective::Slow);
        errors.into_iter().chain(slow).collect()
    }

    /// The share of requests that may be bad.
    pub fn budget(&self, objective: Objective) -> f64 {
        match objective {
            Objective::Errors => self.objectives.error_rate.target,
            Objective::Slow(quantile) => quantile.budget(),
        }
    }

    /// Requests in a second, if anything counts them.
    pub fn requests(&self, window: &str) -> Option<String> {
        let own = self.throughput.as_ref().map(|series| series.rate(window));
        own.or_else(|| self.latency.as_ref().map(|latency| latency.count(window)))
    }

    /// All requests in a second that this objective is about.
    pub fn events(&self, objective: Objective, window: &str) -> Option<String> {
        match objective {
            Objective::Errors => self.requests(window),
            Objective::Slow(_) => self.latency.as_ref().map(|latency| latency.count(window)),
        }
    }

    /// Those of them that are bad. A counter of failures often has no series before the first.
    pub fn bad(&self, objective: Objective, window: &str) -> Option<String> {
        match objective {
            Objective::Errors => {
                let (errors, all) = (self.errors.as_ref()?.rate(window), self.requests(window)?);
                Some(format!("{errors} or 0 * {all}"))
            }
            Objective::Slow(quantile) => {
                let (target, _) = self.objectives.latency(quantile);
                self.latency.as_ref()?.slower(target, window)
            }
        }
    }

    /// The share of bad requests over a window; absent without requests.
    pub fn bad_ratio(&self, objective: Objective, window: &str) -> Option<String> {
        let (bad, all) = (self.bad(objective, window)?, self.events(objective, window)?);
        Some(format!("({bad}) / ({all} > 0)"))
    }

    /// A latency's quantile over a window, in seconds.
    pub fn quantile(&self, quantile: Quantile, window: &str) -> Option<String> {
        self.latency.as_ref().map(|latency| latency.quantile(quantile, window))
    }

    /// What grows when the service is worse off: a latency (`p50`, `p95`, `p99`) or the share of requests that fail (`errors`),
    /// in the last minute. Or why there is no such thing.
    pub fn watched(&self, objective: &str) -> Result<String, String> {
        let found = match Quantile::ALL.into_iter().find(|quantile| quantile.as_str() == objective) {
            Some(quantile) => self.quantile(quantile, MINUTE),
            None if objective == Objective::Errors.as_str() => self.bad_ratio(Objective::Errors, MINUTE),
            None => return Err(format!("`{objective}` is none of p50, p95, p99 and errors")),
        };
        found.ok_or_else(|| format!("the service `{}` says nothing about that", self.name))
    }

    /// What its memory is, in bytes; of several machines, that with most.
    pub fn memory(&self) -> Option<String> {
        if let Some(group) = &self.process_group {
            let group = quoted(group);
            return Some(format!(
                "max(namedprocess_namegroup_memory_bytes{{groupname={group},memtype=\"resident\"}})"
            ));
        }
        let cgroup = quoted(self.cgroup.as_ref()?);
        Some(format!("max(headroom_cgroup_memory_current_bytes{{cgroup={cgroup}}})"))
    }

    /// The labels of a recorded series.
    pub(super) fn recorded(&self, name: &str, objective: &str) -> String {
        let service = quoted(&self.name);
        if objective.is_empty() {
            format!("{name}{{service={service}}}")
        } else {
            format!("{name}{{service={service},objective=\"{objective}\"}}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::services;
    use super::*;

    #[test]
    fn a_number_that_is_not_nothing_is_never_written_as_nothing() {
        for (value, want) in [
            (0.0, "0"),
            (1e-11, "1e-11"),
            (-2.5e-7, "-2.5e-7"),
            (1e-6, "0.000001"),
            (0.1 + 0.2, "0.3"),
            (1000.0, "1000"),
        ] {
            assert_eq!(number(value), want);
        }
    }

    #[test]
    fn expressions_select_what_was_said() {
        let all = services(
            "- name: shop\n  latency: {histogram: http_seconds, match: ['job=\"shop\"']}\n  errors: {metric: http_total, match: ['code=~\"5..\"']}\n\
             - {name: old, latency: {summary: rpc_ms, unit: milliseconds}}\n\
             - {name: new, latency: {native_histogram: http.seconds}, throughput: {metric: all_total}}\n",
        );
        let [shop, old, new] = all.as_slice() else { panic!() };
        let p95 = Objective::Slow(Quantile::P95);
        assert_eq!(
            shop.bad(p95, "5m").unwrap(),
            "sum(rate(http_seconds_count{job=\"shop\"}[5m])) - \
             sum(rate(http_seconds_bucket{job=\"shop\",le=~\"0\\\\.20*\"}[5m]))"
        );
        assert_eq!(
            shop.bad_ratio(Objective::Errors, "1h").unwrap(),
            "(sum(rate(http_total{code=~\"5..\"}[1h])) or 0 * sum(rate(http_seconds_count{job=\"shop\"}[1h]))) / \
             (sum(rate(http_seconds_count{job=\"shop\"}[1h])) > 0)"
        );
        assert_eq!(old.budgets(), []);
        assert_eq!(old.quantile(Quantile::P99, "5m").unwrap(), "max(rpc_ms{quantile=~\"0\\\\.99\"}) / 1000");
        assert_eq!(new.requests("5m").unwrap(), "sum(rate(all_total[5m]))");
        assert_eq!(
            new.quantile(Quantile::P50, "5m").unwrap(),
            "histogram_quantile(0.5, sum(rate({__name__=\"http.seconds\"}[5m])))"
        );
    }

    #[test]
    fn what_is_watched_grows_when_a_service_is_worse_off() {
        let all = services(
            "- {name: shop, latency: {histogram: h}, errors: {metric: e}}\n- {name: jobs, throughput: {metric: j}}\n",
        );
        let [shop, jobs] = all.as_slice() else { panic!() };
        let p99 = "histogram_quantile(0.99, sum by (le) (rate(h_bucket[1m])))";
        assert_eq!(shop.watched("p99").as_deref(), Ok(p99));
        assert!(shop.watched("errors").unwrap().starts_with("(sum(rate(e[1m])) or 0 *"));
        assert!(shop.watched("throughput").unwrap_err().contains("none of p50"));
        assert!(jobs.watched("p95").unwrap_err().contains("`jobs`"));
    }

    #[test]
    fn numbers_have_no_tail_and_buckets_are_found_however_they_are_written() {
        assert_eq!([0.001, 14.4 * 0.001, 100.0, 0.05 * 6.0].map(number), ["0.001", "0.0144", "100", "0.3"]);
        let latency = Latency::default();
        assert_eq!(latency.bucket(Duration::from_secs(1)), "le=~\"1(\\\\.0+)?\"");
        let millis = Latency { unit: Unit::Milliseconds, ..Latency::default() };
        assert_eq!(millis.bucket(Duration::from_millis(200)), "le=~\"200(\\\\.0+)?\"");
    }
}
