//! Probes: what is asked of components that have no metrics, and how often.

pub mod ask;
pub mod board;
mod command;
pub mod judge;
pub mod page;
pub mod prober;
pub mod status;

use crate::client;
use regex_lite::Regex;
use serde::Deserialize;
use status::Expected;
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

/// The most probes that there may be.
const PROBES_MAX: usize = 200;
/// The longest name of a component, in bytes.
const NAME_BYTES_MAX: usize = 100;
/// The shortest time between two tries.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// The most outcomes in a row that may be wanted.
const ROW_MAX: u32 = 100;

/// A component that is asked how it is: one of `http`, `tcp` and `command`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Probe {
    /// Its name, the label `component`.
    pub component: String,
    /// An address that answers as it should.
    pub http: Option<Http>,
    /// Host and port that take connections.
    pub tcp: Option<String>,
    /// A program and its arguments, without a shell, that end with 0.
    pub command: Vec<String>,
    /// Where Headroom is root: as whom the program runs, by name or number; `nobody` if not given.
    pub user: Option<String>,
    /// The time from the begin of one try to that of the next.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// How long a try may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// What succeeds and takes longer is slow: the component is degraded.
    #[serde(with = "humantime_serde")]
    pub slow: Duration,
    /// So many failures in a row make it unhealthy, so many slow successes degraded.
    pub failures: u32,
    /// So many successes in a row make it healthy.
    pub successes: u32,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            component: String::new(),
            http: None,
            tcp: None,
            command: Vec::new(),
            user: None,
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(5),
            slow: Duration::from_secs(1),
            failures: 3,
            successes: 1,
        }
    }
}

/// A request, and the answer that it should have. Redirects are answers, and not followed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// The address.
    pub url: String,
    /// The method.
    pub method: String,
    /// The status codes that are good: `200`, `2xx`, `200-204`.
    pub status: Vec<Expected>,
    /// A regular expression that is to be found in the answer.
    pub body: Option<String>,
    /// A file with more headers, a `name: value` a line.
    pub headers_file: Option<PathBuf>,
    /// Over https: whom to trust, in PEM form; the system's authorities if not given.
    pub ca_file: Option<PathBuf>,
    /// A certificate to show, and
    pub cert_file: Option<PathBuf>,
    /// its key.
    pub key_file: Option<PathBuf>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            url: String::new(),
            method: "GET".into(),
            status: vec![Expected::ALL_GOOD],
            body: None,
            headers_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
        }
    }
}

/// A wrong key, and why it is wrong.
type Wrong = (String, String);

impl Probe {
    /// The files that it names.
    pub fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let http = self.http.iter_mut();
        http.flat_map(|h| [&mut h.headers_file, &mut h.ca_file, &mut h.cert_file, &mut h.key_file]).flatten()
    }

    fn check(&self) -> Result<(), Wrong> {
        let bad = |key: &str, why: &str| Err((key.to_owned(), why.to_owned()));
        if self.component.is_empty() || self.component.len() > NAME_BYTES_MAX {
            return bad("component", "a name of at most 100 bytes");
        }
        let ways = [self.http.is_some(), self.tcp.is_some(), !self.command.is_empty()];
        if ways.iter().filter(|way| **way).count() != 1 {
            return bad("http", "give one of `http`, `tcp` and `command`");
        }
        if let Some(http) = &self.http {
            http.check().map_err(|(key, why)| (format!("http.{key}"), why))?;
        }
        if self.tcp.as_deref().is_some_and(|to| !is_host_and_port(to)) {
            return bad("tcp", "host and port, such as 127.0.0.1:5672");
        }
        if self.command.first().is_some_and(String::is_empty) {
            return bad("command", "a program, and its arguments");
        }
        if self.user.is_some() && self.command.is_empty() {
            return bad("user", "this is for a `command`");
        }
        if self.interval < INTERVAL_MIN {
            return bad("interval", "at least 100ms");
        }
        if self.timeout.is_zero() || self.timeout > self.interval {
            return bad("timeout", "more than nothing, and at most `interval`");
        }
        for (key, row) in [("failures", self.failures), ("successes", self.successes)] {
            if !(1..=ROW_MAX).contains(&row) {
                return bad(key, "from 1 to 100");
            }
        }
        Ok(())
    }
}

impl Http {
    fn check(&self) -> Result<(), Wrong> {
        client::check(&self.url).map_err(|e| ("url".to_owned(), e.to_string()))?;
        if hyper::Method::from_bytes(self.method.as_bytes()).is_err() {
            return Err(("method".into(), format!("{:?} is no method such as GET", self.method)));
        }
        if self.status.is_empty() {
            return Err(("status".into(), "at least one, such as 2xx".into()));
        }
        if let Some(Err(e)) = self.body.as_deref().map(Regex::new) {
            return Err(("body".into(), e.to_string()));
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err(("cert_file".into(), "a certificate and its key go together".into()));
        }
        Ok(())
    }
}

/// What is wrong with the probes, by its key below `applications`, if anything is.
pub(super) fn check(probes: &[Probe]) -> Result<(), Wrong> {
    if probes.len() > PROBES_MAX {
        return Err(("probes".into(), format!("at most {PROBES_MAX}")));
    }
    let mut names = HashSet::new();
    for (i, probe) in probes.iter().enumerate() {
        probe.check().map_err(|(key, why)| (format!("probes[{i}].{key}"), why))?;
        if !names.insert(&probe.component) {
            let why = format!("{:?} is the name of another component", probe.component);
            return Err((format!("probes[{i}].component"), why));
        }
    }
    Ok(())
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_is_told_by_its_key() {
        let of = |text: &str| {
            let probes: Vec<Probe> = serde_yaml::from_str(text).unwrap();
            check(&probes).map_err(|(key, _)| key)
        };
        let good = "- {component: a, http: {url: 'https://a/b', status: [200, 3xx, 401-403], body: 'o(k)+'}}\n\
                    - {component: b, tcp: 'db.internal:5432', interval: 1s, timeout: 1s}\n\
                    - {component: c, command: [/bin/true], user: nobody}\n";
        assert_eq!(of(good), Ok(()));
        for (text, key) in [
            ("- {tcp: 'a:1'}", "probes[0].component"),
            ("- {component: a}", "probes[0].http"),
            ("- {component: a, tcp: 'a:1', command: [x]}", "probes[0].http"),
            ("- {component: a, tcp: 'a'}", "probes[0].tcp"),
            ("- {component: a, tcp: 'a:70000'}", "probes[0].tcp"),
            ("- {component: a, http: {url: 'ftp://a'}}", "probes[0].http.url"),
            ("- {component: a, http: {url: 'http://u:p@a'}}", "probes[0].http.url"),
            ("- {component: a, http: {url: 'http://a', method: 'G T'}}", "probes[0].http.method"),
            ("- {component: a, http: {url: 'http://a', status: []}}", "probes[0].http.status"),
            ("- {component: a, http: {url: 'http://a', body: '('}}", "probes[0].http.body"),
            ("- {component: a, http: {url: 'http://a', key_file: k}}", "probes[0].http.cert_file"),
            ("- {component: a, tcp: 'a:1', user: x}", "probes[0].user"),
            ("- {component: a, tcp: 'a:1', interval: 1s}", "probes[0].timeout"),
            ("- {component: a, tcp: 'a:1', failures: 0}", "probes[0].failures"),
            ("- {component: a, tcp: 'a:1'}\n- {component: a, tcp: 'a:2'}", "probes[1].component"),
        ] {
            assert_eq!(of(text), Err(key.to_owned()), "{text}");
        }
    }
}
