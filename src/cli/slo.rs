//! `headroom slo`: where each service stands, asked of a Prometheus with the expressions that its rules have.

use super::over::{Over, User};
use super::{Common, load};
use crate::client::{Call, send_blocking};
use crate::config::{Config, nearest};
use crate::optimize::policy::endpoint::encoded;
use crate::services::standing::{Measured, Standing, State, Unit, queries, standings};
use crate::services::{Quantile, Service};
use anyhow::{Context, Result, anyhow, bail, ensure};
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// The exit code where an objective is critical, and that where of a service nothing is known.
const FINDING: u8 = 1;
const UNKNOWN: u8 = 2;
/// Windows of the table.
const SHOWN: [&str; 4] = ["1h", "6h", "1d", "3d"];

/// Flags of `headroom slo`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where Prometheus is [default: http:// and up.prometheus.listen]
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
    /// Only this service, as often as needed [default: all]
    #[arg(long = "service", value_name = "NAME")]
    services: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Exit with 0 also if no objective of a service is known
    #[arg(long)]
    allow_unknown: bool,
    #[command(flatten)]
    over: Over,
    #[command(flatten)]
    user: User,
    /// How long to wait for each answer
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// All that is printed.
#[derive(Debug, Serialize)]
struct Report {
    standings: Vec<Standing>,
    /// What cannot be known, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

impl Args {
    /// Asks and prints; the exit code says whether an objective is critical.
    pub(super) fn run(&self, common: &Common) -> Result<u8> {
        let config = load(common, &|_| ())?;
        ensure!(!config.services.is_empty(), "no services are configured (services)");
        let known = || config.services.iter().map(|service| service.name.as_str());
        if let Some(name) = self.services.iter().find(|name| !known().any(|known| known == *name)) {
            let near = nearest(name, known()).map_or_else(String::new, |n| format!("; did you mean `{n}`?"));
            bail!("no service has the name {name:?}{near}");
        }
        let prometheus = self.prometheus(&config)?;
        let mut report = Report { standings: Vec::new(), notes: Vec::new() };
        let wanted = |service: &&Service| self.services.is_empty() || self.services.contains(&service.name);
        for service in config.services.iter().filter(wanted) {
            report.standings.extend(standings(service, &prometheus.measure(service)?));
            report.notes.extend(prometheus.notes(service)?);
        }
        let text = if self.json { serde_json::to_string(&report)? + "\n" } else { report.text() };
        io::stdout().write_all(text.as_bytes())?;
        Ok(code(&report.standings, self.allow_unknown))
    }

    fn prometheus(&self, config: &Config) -> Result<Prometheus> {
        let url = self.prometheus.clone();
        let url = url.unwrap_or_else(|| format!("http://{}", here(config.up.prometheus.listen)));
        let url = url.trim_end_matches('/').to_owned();
        let mut call = Call {
            method: Method::POST,
            url: format!("{url}/api/v1/query"),
            trust: self.over.trust(&url)?,
            authorization: self.user.header()?,
            deadline: self.timeout,
            ..Call::get("")
        };
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        Ok(Prometheus { url, call })
    }
}

/// What the exit code says: that an objective is critical, or that of some service none is known.
fn code(standings: &[Standing], allow_unknown: bool) -> u8 {
    let is_unknown = |one: &Standing| {
        let mut of_service = standings.iter().filter(|standing| standing.service == one.service);
        of_service.all(|standing| standing.state == State::Unknown)
    };
    if standings.iter().any(|standing| standing.state == State::Critical) {
        FINDING
    } else if !allow_unknown && (standings.is_empty() || standings.iter().any(is_unknown)) {
        UNKNOWN
    } else {
        0
    }
}

/// Where to call what listens there.
fn here(mut listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        ip if !ip.is_unspecified() => {}
        ip if ip.is_ipv4() => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        _ => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
    }
    listen
}

/// The server that is asked.
struct Prometheus {
    url: String,
    call: Call,
}

/// One element of an answer: labels and value.
type Sample = (BTreeMap<String, String>, f64);

impl Prometheus {
    fn measure(&self, service: &Service) -> Result<Measured> {
        let [now, bad] = queries(service);
        let label =
            |labels: &BTreeMap<String, String>, name: &str| labels.get(name).cloned().unwrap_or_default();
        let current = self.ask(&now)?.into_iter().map(|(l, value)| (label(&l, "objective"), value)).collect();
        let bad = self.ask(&bad)?.into_iter();
        let bad = bad.map(|(l, value)| ((label(&l, "objective"), label(&l, "window")), value)).collect();
        Ok(Measured { current, bad })
    }

    /// What a histogram's buckets cannot tell about the objectives.
    fn notes(&self, service: &Service) -> Result<Vec<String>> {
        let Some((latency, query)) = service.latency.as_ref().and_then(|l| Some((l, l.bounds()?))) else {
            return Ok(Vec::new());
        };
        let bounds = self.ask(&query)?.into_iter().filter_map(|(labels, _)| labels.get("le")?.parse().ok());
        let mut bounds: Vec<f64> = bounds.map(|le| latency.seconds(le)).filter(|le| le.is_finite()).collect();
        bounds.sort_by(f64::total_cmp);
        Ok(notes(service, &bounds))
    }

    fn ask(&self, query: &str) -> Result<Vec<Sample>> {
        if query.is_empty() {
            return Ok(Vec::new());
        }
        let body = format!("query={}", encoded(query)).into_bytes();
        let (status, body) = send_blocking(Call { body: Some(body), ..self.call.clone() })
            .with_context(|| format!("no Prometheus at {} (--prometheus URL)", self.url))?;
        let said = || String::from_utf8_lossy(&body).trim().chars().take(200).collect::<String>();
        let answer: Value = serde_json::from_slice(&body)
            .map_err(|_| anyhow!("{} answered {status}, and not as Prometheus does: {}", self.url, said()))?;
        if let Some(why) = answer.get("error").and_then(Value::as_str) {
            bail!("Prometheus at {} says {status}: {why}", self.url);
        }
        let result = answer.pointer("/data/result").and_then(Value::as_array);
        let result = result.with_context(|| format!("{} answered {status} without a result", self.url))?;
        Ok(result.iter().filter_map(sample).collect())
    }
}

fn sample(value: &Value) -> Option<Sample> {
    let labels = value.get("metric")?.as_object()?.iter();
    let labels =
        labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
    Some((labels, value.pointer("/value/1")?.as_str()?.parse().ok()?))
}

fn notes(service: &Service, bounds: &[f64]) -> Vec<String> {
    let Some(largest) = bounds.last() else {
        return vec![format!("{}: there is no series of its latency's buckets", service.name)];
    };
    let time =
        |seconds: f64| humantime::format_duration(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    let mut notes = Vec::new();
    for quantile in Quantile::ALL {
        let (name, (target, critical)) = (quantile.as_str(), service.objectives.latency(quantile));
        let target = target.as_secs_f64();
        if !bounds.iter().any(|bound| (bound - target).abs() < 1e-9 * target) {
            let all: Vec<String> = bounds.iter().map(|bound| time(*bound).to_string()).collect();
            notes.push(format!(
                "{}: no bucket ends at {name}'s target of {}, so its budget is not known (bounds: {})",
                service.name,
                time(target),
                all.join(", ")
            ));
        }
        if *largest <= critical.as_secs_f64() {
            notes.push(format!(
                "{}: that {name} is above {} cannot be seen, for the largest bucket ends at {}",
                service.name,
                humantime::format_duration(critical),
                time(*largest)
            ));
        }
    }
    notes
}

impl Report {
    fn text(&self) -> String {
        let head = ["SERVICE", "OBJECTIVE", "TARGET", "CRITICAL", "CURRENT", "STATE", "BUDGET LEFT"]
            .map(String::from);
        let head = head.into_iter().chain(SHOWN.map(|window| format!("BURN {window}"))).collect();
        let rows: Vec<Vec<String>> = [head].into_iter().chain(self.standings.iter().map(row)).collect();
        let width = |column: usize| {
            rows.iter().filter_map(|row: &Vec<String>| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let line = |row: &Vec<String>| {
            let cells = row
                .iter()
                .enumerate()
                .map(|(i, cell)| format!("{cell:w$}", w = width(i).unwrap_or_default()));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        rows.iter().map(line).chain(self.notes.iter().map(|note| format!("note: {note}\n"))).collect()
    }
}

fn row(standing: &Standing) -> Vec<String> {
    let shown =
        |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| with_unit(value, standing.unit));
    let left = standing.budget_left.map_or_else(|| "-".to_owned(), |left| format!("{:.1} %", left * 100.0));
    let burn = SHOWN
        .map(|window| standing.burn.get(window).map_or_else(|| "-".to_owned(), |burn| format!("{burn:.1}")));
    let about = [
        standing.service.clone(),
        standing.objective.to_owned(),
        shown(Some(standing.target)),
        shown(standing.critical),
        shown(standing.current),
        standing.state.as_str().to_owned(),
        left,
    ];
    about.into_iter().chain(burn).collect()
}

fn with_unit(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Seconds if value < 1.0 => format!("{:.1} ms", value * 1000.0),
        Unit::Seconds => format!("{value:.2} s"),
        Unit::Ratio => format!("{:.3} %", value * 100.0),
        Unit::Rate => format!("{value:.1}/s"),
        Unit::Bytes => format!("{:.1} MiB", value / f64::from(1 << 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_of_which_nothing_is_known_is_not_fine() {
        let services: Vec<Service> =
            serde_yaml::from_str("[{name: a, latency: {histogram: h}}, {name: b, latency: {histogram: h}}]")
                .unwrap();
        let of = |p95: &[Option<f64>], allow| {
            let standing = |(service, p95): (&Service, &Option<f64>)| {
                let current = p95.map(|value| ("p95".to_owned(), value)).into_iter().collect();
                standings(service, &Measured { current, ..Measured::default() })
            };
            code(&services.iter().zip(p95).flat_map(standing).collect::<Vec<_>>(), allow)
        };
        for (p95, allow, want) in [
            (&[Some(0.1), Some(0.1)], false, 0),
            (&[Some(0.1), None], false, UNKNOWN),
            (&[None, None], false, UNKNOWN),
            (&[None, None], true, 0),
            (&[None, Some(9.0)], false, FINDING),
        ] {
            assert_eq!(of(p95, allow), want, "{p95:?}");
        }
    }

    #[test]
    fn what_buckets_cannot_tell_is_told() {
        let service: Vec<Service> = serde_yaml::from_str("- {name: shop, latency: {histogram: h}}").unwrap();
        let of = |bounds: &[f64]| notes(&service[0], bounds);
        assert_eq!(of(&[0.05, 0.2, 0.5, 2.0, 10.0]), [""; 0]);
        let some = of(&[0.05, 0.25, 0.5, 2.0]);
        assert!(
            some.len() == 3 && some[0].contains("p95's target of 200ms") && some[0].contains("250ms"),
            "{some:?}"
        );
        assert!(
            some[1].contains("that p95 is above 2s") && some[2].contains("that p99 is above 5s"),
            "{some:?}"
        );
        assert_eq!(of(&[]).len(), 1);
    }
}
