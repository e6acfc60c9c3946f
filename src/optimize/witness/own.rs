//! An application's own metric: a sample of its page, or what Prometheus says to an instant query.

use crate::client::{Call, check, send_blocking};
use crate::optimize::policy::Target;
use serde::Deserialize;
use std::collections::HashSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// The time for an answer.
const ANSWER: Duration = Duration::from_secs(2);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Where an application, or Prometheus, says how the application is doing.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Watched {
    url: String,
    asks: Asks,
    /// Above this many times what it was before, the action did harm.
    pub harmful_above_ratio: f64,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
enum Asks {
    Series(String),
    Query(String),
    /// An objective of a service of the configuration, until the query for it is known.
    Service(String, String),
}

/// The same as a file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// A page with metrics, for `series`; or Prometheus's address, for `query`.
    url: String,
    /// A sample of the page: a name, or a name with its labels as the page writes them. Of several the largest counts.
    #[serde(default)]
    series: Option<String>,
    /// An instant query in PromQL; of several samples the largest counts.
    #[serde(default)]
    query: Option<String>,
    /// One of `services`, of which Prometheus is asked for
    #[serde(default)]
    service: Option<String>,
    /// this: `p50`, `p95`, `p99` or `errors`; `p95` if not given.
    #[serde(default)]
    objective: Option<String>,
    harmful_above_ratio: f64,
}

impl TryFrom<Written> for Watched {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { url, series, query, service, objective, harmful_above_ratio } = written;
        check(&url).map_err(|e| format!("watch.url: {e}"))?;
        let asks = match (series, query, service) {
            (Some(series), None, None) => Asks::Series(series),
            (None, Some(query), None) => Asks::Query(query),
            (None, None, Some(service)) => {
                Asks::Service(service, objective.clone().unwrap_or_else(|| "p95".into()))
            }
            _ => return Err("watch: either `series`, `query` or `service`, and not both".into()),
        };
        if objective.is_some() && !matches!(asks, Asks::Service(..)) {
            return Err("watch.objective: stands beside `service` alone".into());
        }
        if !(harmful_above_ratio >= 1.0 && harmful_above_ratio.is_finite()) {
            return Err("watch.harmful_above_ratio: at least 1, such as 1.5".into());
        }
        Ok(Self { url, asks, harmful_above_ratio })
    }
}

impl Watched {
    /// The service and the objective that are watched, as long as the query for them is not known.
    pub fn service(&self) -> Option<(&str, &str)> {
        match &self.asks {
            Asks::Service(service, objective) => Some((service, objective)),
            Asks::Series(_) | Asks::Query(_) => None,
        }
    }

    /// Asks this of Prometheus.
    pub fn ask(&mut self, query: String) {
        self.asks = Asks::Query(query);
    }

    fn read(&self, time: Duration) -> Result<f64, String> {
        let url = match &self.asks {
            Asks::Query(query) => {
                format!("{}/api/v1/query?query={}", self.url.trim_end_matches('/'), encode(query))
            }
            Asks::Series(_) => self.url.clone(),
            Asks::Service(service, _) => return Err(format!("nobody said what `{service}` is")),
        };
        let call = Call { deadline: time.min(ANSWER), answer_bytes_max: ANSWER_BYTES_MAX, ..Call::get(url) };
        let (status, body) = send_blocking(call).map_err(|e| e.to_string())?;
        if !status.is_success() {
            return Err(format!("answered {status}"));
        }
        let text = String::from_utf8_lossy(&body);
        let value = match &self.asks {
            Asks::Series(series) => of_page(&text, series),
            Asks::Query(_) | Asks::Service(..) => of_answer(&text),
        };
        value.ok_or_else(|| "has no such sample".to_owned())
    }
}

/// The time for the metrics of all targets; those that it does not suffice for are the first of the next round.
pub(super) const ROUND: Duration = Duration::from_secs(5);
/// With less time than this, nobody is asked.
const ASK: Duration = Duration::from_millis(50);

/// Targets whose metric could not be read when last tried: each is logged once. And where the next round begins.
#[derive(Debug, Default)]
pub(super) struct Troubles(HashSet<String>, usize);

impl Troubles {
    /// The metrics of all targets that have one, each with the time at which it was there, as many as this time suffices for.
    pub(super) fn round(
        &mut self,
        targets: &[Target],
        time: Duration,
        clock: &dyn Fn() -> i64,
    ) -> Vec<(String, i64, f64)> {
        let watched: Vec<&Target> = targets.iter().filter(|t| t.watch.is_some()).collect();
        let (begun, mut found) = (Instant::now(), Vec::new());
        let first = self.1 % watched.len().max(1);
        self.1 = 0;
        for (n, target) in watched.iter().cycle().skip(first).take(watched.len()).enumerate() {
            let left = time.saturating_sub(begun.elapsed());
            if left < ASK {
                self.1 = first + n;
                break;
            }
            let value = self.read(target, left);
            found.extend(value.map(|value| (target.name.clone(), clock(), value)));
        }
        found
    }

    /// The metric of a target that has one, within this time.
    fn read(&mut self, target: &Target, time: Duration) -> Option<f64> {
        match target.watch.as_ref()?.read(time) {
            Ok(value) => {
                self.0.remove(&target.name);
                Some(value)
            }
            Err(why) => {
                if self.0.insert(target.name.clone()) {
                    tracing::warn!(target = target.name, why, "the watched metric cannot be read");
                }
                None
            }
        }
    }
}

/// The largest sample of a page in Prometheus's text that is this series, or has this name.
fn of_page(page: &str, series: &str) -> Option<f64> {
    let lines = page.lines().filter(|l| !l.starts_with('#'));
    let values = lines.filter_map(|line| {
        let rest = line.strip_prefix(series)?;
        // The name's labels, if only the name was asked for, end with the last brace.
        let value = match rest.strip_prefix('{') {
            Some(labels) if !series.contains('{') => labels.rsplit_once('}')?.1,
            Some(_) => return None,
            None => rest,
        };
        // A longer name begins in the same way.
        if !value.starts_with(' ') {
            return None;
        }
        value.split_ascii_whitespace().next()?.parse::<f64>().ok()
    });
    largest(values)
}

/// The largest sample of Prometheus's answer: a vector, or a scalar.
fn of_answer(text: &str) -> Option<f64> {
    let answer: serde_json::Value = serde_json::from_str(text).ok()?;
    let result = answer.pointer("/data/result")?.as_array()?;
    if answer.pointer("/data/resultType")? == "scalar" {
        return largest(result.get(1)?.as_str()?.parse().ok().into_iter());
    }
    largest(result.iter().filter_map(|r| r.pointer("/value/1")?.as_str()?.parse().ok()))
}

/// The largest number; what is none, or beyond all, says nothing.
fn largest(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.filter(|v| v.is_finite()).reduce(f64::max)
}

/// A text as the value of a query.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // A String takes everything.
            let _written = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_found_by_its_name_or_by_all_of_it() {
        let page = "# TYPE p95 gauge\np95{path=\"/a b\"} 0.5\np95{path=\"/c\"} 2e-1 1700000000\np95_total 9\nbare 3\n\
                    nan NaN\n";
        assert_eq!(of_page(page, "p95"), Some(0.5));
        assert_eq!(of_page(page, "p95{path=\"/c\"}"), Some(0.2));
        assert_eq!(of_page(page, "bare"), Some(3.0));
        for none in ["p9", "nan", "p95{path=\"/d\"}", "# TYPE p95", ""] {
            assert_eq!(of_page(page, none), None, "{none}");
        }
    }

    #[test]
    fn an_answer_of_prometheus_has_a_vector_or_a_scalar() {
        let of = |kind, result: &str| {
            of_answer(&format!(
                "{{\"status\":\"success\",\"data\":{{\"resultType\":\"{kind}\",\"result\":{result}}}}}"
            ))
        };
        let vector = "[{\"metric\":{},\"value\":[1,\"0.2\"]},{\"metric\":{},\"value\":[1,\"0.7\"]}]";
        assert_eq!(of("vector", vector), Some(0.7));
        assert_eq!(of("scalar", "[1,\"4\"]"), Some(4.0));
        assert_eq!(of("vector", "[]"), None);
        assert_eq!(of("vector", "[{\"value\":[1,\"NaN\"]}]"), None);
        assert_eq!(of_answer("<html>"), None);
    }

    #[test]
    fn one_that_does_not_answer_takes_no_more_than_a_round_and_the_others_come_first_in_the_next() {
        use std::io::{Read, Write};
        use std::net::TcpListener;
        let target = |name: &str, listener: &TcpListener| Target {
            name: name.into(),
            watch: Some(Watched {
                url: format!("http://{}/", listener.local_addr().unwrap()),
                asks: Asks::Series("p95".into()),
                harmful_above_ratio: 2.0,
            }),
            ..Target::default()
        };
        let [silent, good, large] = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let targets = [target("silent", &silent), target("large", &large), target("good", &good)];
        let serve = |listener: TcpListener, body: String| {
            std::thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    let _asked = stream.read(&mut [0; 4096]);
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                    let _gone = stream.write_all((head + &body).as_bytes());
                }
            });
        };
        serve(good, "p95 0.5\n".into());
        serve(large, "p95 1\n".repeat(ANSWER_BYTES_MAX));
        let mut troubles = Troubles::default();
        let mut round = |millis| troubles.round(&targets, Duration::from_millis(millis), &|| 7);
        // All of it is gone with the first.
        assert_eq!(round(200), []);
        // Long enough for two on a busy machine, and cut by nothing but the length of the one's answer.
        let found = round(1500);
        assert_eq!(found.iter().map(|f| (f.0.as_str(), f.1, f.2)).collect::<Vec<_>>(), [("good", 7, 0.5)]);
    }

    #[test]
    fn a_query_is_encoded_whole() {
        assert_eq!(encode("a{b=\"c d\"}[5m] + 1"), "a%7Bb%3D%22c%20d%22%7D%5B5m%5D%20%2B%201");
    }

    #[test]
    fn what_is_watched_is_checked() {
        let said = |rest: &str| {
            let text = format!("{{\"url\": \"http://a/metrics\", {rest}}}");
            serde_json::from_str::<Watched>(&text).map_or_else(|e| e.to_string(), |_| "good".into())
        };
        assert_eq!(said("\"series\": \"x\", \"harmful_above_ratio\": 1.5"), "good");
        assert_eq!(said("\"query\": \"x\", \"harmful_above_ratio\": 1"), "good");
        assert_eq!(said("\"service\": \"x\", \"objective\": \"p99\", \"harmful_above_ratio\": 1"), "good");
        for (rest, word) in [
            ("\"series\": \"x\", \"query\": \"y\", \"harmful_above_ratio\": 1.5", "not both"),
            ("\"harmful_above_ratio\": 1.5", "either"),
            ("\"service\": \"x\", \"query\": \"y\", \"harmful_above_ratio\": 1.5", "not both"),
            ("\"query\": \"y\", \"objective\": \"p95\", \"harmful_above_ratio\": 1.5", "watch.objective"),
            ("\"query\": \"x\", \"harmful_above_ratio\": 0.9", "at least 1"),
            ("\"series\": \"x\"", "harmful_above_ratio"),
        ] {
            assert!(said(rest).contains(word), "{rest}: {}", said(rest));
        }
        let other = "{\"url\": \"ftp://a\", \"series\": \"x\", \"harmful_above_ratio\": 2}";
        assert!(serde_json::from_str::<Watched>(other).unwrap_err().to_string().contains("watch.url"));
    }
}
