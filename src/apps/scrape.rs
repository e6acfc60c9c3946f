//! Pages of applications that are fetched and shown among ours, so that one target per machine is enough.

pub mod fetch;
mod md5;
pub mod metrics;
pub mod page;
pub mod relabel;

use crate::client;
use bytesize::ByteSize;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use relabel::{Relabelling, Rule};
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

/// The most targets.
const TARGETS_MAX: usize = 100;

/// A page that is fetched.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Target {
    /// The label `job` of its samples.
    pub job: String,
    /// `http://host:port/path`, or `https://`.
    pub url: String,
    /// The label `instance`; host and port of the address if not given.
    pub instance: Option<String>,
    /// A socket (AF_UNIX) that is called in place of host and port.
    pub unix: Option<PathBuf>,
    /// The time between two fetches.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// The time for one fetch.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Headers of the request.
    pub headers: BTreeMap<String, String>,
    /// A token to show; read at each fetch.
    pub token_file: Option<PathBuf>,
    /// Authorities that are trusted over TLS; the system's if not given.
    pub ca_file: Option<PathBuf>,
    /// A certificate to show,
    pub cert_file: Option<PathBuf>,
    /// and its key.
    pub key_file: Option<PathBuf>,
    /// Whether the times that samples have are shown with them.
    pub honor_timestamps: bool,
    /// Whether `job` and `instance` of a sample count, where it has them; they become `exported_job` and so on otherwise.
    pub honor_labels: bool,
    /// What becomes of its series, as Prometheus's metric_relabel_configs.
    pub metric_relabel: Vec<Rule>,
    /// A page with more samples, after relabelling, is not taken at all. 0 is any number.
    pub sample_limit: usize,
    /// The longest page.
    pub body_max: ByteSize,
}

impl Default for Target {
    fn default() -> Self {
        Self {
            job: String::new(),
            url: String::new(),
            instance: None,
            unix: None,
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(10),
            headers: BTreeMap::new(),
            token_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            honor_timestamps: true,
            honor_labels: false,
            metric_relabel: Vec::new(),
            sample_limit: 10_000,
            body_max: ByteSize::mib(8),
        }
    }
}

impl Target {
    /// The label `instance`.
    pub fn instance(&self) -> String {
        let host = || {
            let uri: hyper::Uri = self.url.parse().ok()?;
            let (host, port) = (uri.host()?, uri.port_u16());
            let port = port.unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
            Some(format!("{host}:{port}"))
        };
        self.instance.clone().unwrap_or_else(|| host().unwrap_or_default())
    }

    /// The files that it names; relative ones are below the configuration's.
    pub fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let files = [
            &mut self.unix,
            &mut self.token_file,
            &mut self.ca_file,
            &mut self.cert_file,
            &mut self.key_file,
        ];
        files.into_iter().flatten()
    }

    fn is_secure(&self) -> bool {
        self.url.starts_with("https:")
    }

    fn headers(&self) -> Result<HeaderMap, String> {
        let mut out = HeaderMap::new();
        for (name, value) in &self.headers {
            let header =
                HeaderName::try_from(name).map_err(|_| format!("`{name}` is no name of a header"))?;
            let value = HeaderValue::try_from(value).map_err(|_| format!("the value of `{name}` is none"))?;
            out.insert(header, value);
        }
        Ok(out)
    }

    fn check(&self, stale_after: Duration) -> Result<(), (&'static str, String)> {
        if self.job.is_empty() {
            return Err(("job", "a name for what is there".into()));
        }
        client::check(&self.url).map_err(|e| ("url", e.to_string()))?;
        if self.interval < Duration::from_secs(1) {
            return Err(("interval", "at least 1s".into()));
        }
        if self.timeout.is_zero() || self.timeout > self.interval {
            return Err(("timeout", "more than nothing, and no more than `interval`".into()));
        }
        // Two pages can come so far from each other, and what is between them must not be stale.
        if self.interval + self.timeout > stale_after {
            let most = humantime::format_duration(stale_after);
            return Err(("interval", format!("with `timeout` at most `stale_after` ({most})")));
        }
        self.headers().map_err(|why| ("headers", why))?;
        if self.body_max > ByteSize::mib(64) {
            return Err(("body_max", "at most 64MiB".into()));
        }
        Relabelling::new(&self.metric_relabel).map(|_| ()).map_err(|why| ("metric_relabel", why))
    }
}

/// What is wrong with targets, by key, if anything is.
pub fn check(targets: &[Target], stale_after: Duration) -> Result<(), (String, String)> {
    if targets.len() > TARGETS_MAX {
        return Err(("scrape".into(), format!("at most {TARGETS_MAX} targets")));
    }
    let mut known = HashSet::new();
    for (at, target) in targets.iter().enumerate() {
        target.check(stale_after).map_err(|(key, why)| (format!("scrape[{at}].{key}"), why))?;
        if !known.insert((&target.job, target.instance())) {
            let why = "the job and the instance of another target; their series would be one";
            return Err((format!("scrape[{at}].instance"), why.into()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE: Duration = Duration::from_mins(5);

    #[test]
    fn mistakes_are_told_by_their_key() {
        let read = |text: &str| -> Vec<Target> { serde_yaml::from_str(text).unwrap() };
        for (text, key) in [
            ("[{url: 'http://h/'}]", "scrape[0].job"),
            ("[{job: a, url: h}]", "scrape[0].url"),
            ("[{job: a, url: 'http://u:p@h/'}]", "scrape[0].url"),
            ("[{job: a, url: 'http://h/', interval: 0s}]", "scrape[0].interval"),
            ("[{job: a, url: 'http://h/', interval: 5s}]", "scrape[0].timeout"),
            ("[{job: a, url: 'http://h/', interval: 5m}]", "scrape[0].interval"),
            (
                "[{job: a, url: 'http://h/', metric_relabel: [{target_label: x-y}]}]",
                "scrape[0].metric_relabel",
            ),
            ("[{job: a, url: 'http://h/', headers: {'a b': c}}]", "scrape[0].headers"),
            ("[{job: a, url: 'http://h/', body_max: 1GiB}]", "scrape[0].body_max"),
            (
                "[{job: a, url: 'http://h/', metric_relabel: [{action: keep, regex: '('}]}]",
                "scrape[0].metric_relabel",
            ),
            ("[{job: a, url: 'http://h/'}, {job: a, url: 'http://h:80/x'}]", "scrape[1].instance"),
        ] {
            assert_eq!(check(&read(text), STALE).unwrap_err().0, key, "{text}");
        }
        let good = read("[{job: a, url: 'https://h/m'}, {job: a, url: 'http://h/', instance: x}]");
        assert!(check(&good, STALE).is_ok());
        assert_eq!((good[0].instance(), good[1].instance()), ("h:443".into(), "x".into()));
    }
}
