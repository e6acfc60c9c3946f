//! Alerts about other machines, sent on to the optimizer there: so one receiver of Alertmanager is enough for many machines.
//!
//! Nothing is kept here for others. What cannot be sent on is not accepted, and Alertmanager repeats it; what arrives twice is
//! one episode there. What was sent on is not sent on again.

use super::Api;
use crate::client::{self, Call};
use crate::optimize::alert::Alert;
use crate::optimize::policy::endpoint::{Endpoint, encoded};
use crate::optimize::policy::{host_of, is_own};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinSet;

/// Machines that one notification may be about; Alertmanager's route of this project sends one alert each.
const HOSTS_MAX: usize = 32;
/// It must end before Alertmanager gives up waiting, which is after ten seconds at the least.
const TIMEOUT_MAX: Duration = Duration::from_secs(8);
const FORWARDED: HeaderName = HeaderName::from_static("x-headroom-forwarded");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Where the optimizers of other machines are.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Which hosts in the label `instance` may be called: names, `*.domain`, addresses, networks such as 10.0.0.0/8. The token
    /// goes there, and the label is only what somebody says.
    pub hosts: Vec<Hosts>,
    /// The port of their optimizers.
    pub port: u16,
    /// Whether they speak TLS.
    pub tls: bool,
    /// The file with the token that they want; this optimizer's own if not given.
    pub token_file: Option<PathBuf>,
    /// The certificates of those who may have signed theirs; the system's if not given.
    pub ca_file: Option<PathBuf>,
    /// How long one may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Kubernetes's API, which is asked for the address where the host is the name of a node.
    pub kubernetes: Option<Endpoint>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            port: 9178,
            tls: false,
            token_file: None,
            ca_file: None,
            timeout: Duration::from_secs(4),
            kubernetes: None,
        }
    }
}

/// Some hosts.
#[derive(Clone, Debug, PartialEq)]
pub enum Hosts {
    /// One, by its name.
    Name(String),
    /// All below a domain.
    Below(String),
    /// All of a network.
    Network(IpAddr, u8),
}

impl Hosts {
    fn parse(text: &str) -> Option<Self> {
        if let Some((address, length)) = text.split_once('/') {
            let address: IpAddr = address.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            return length
                .parse()
                .ok()
                .filter(|length| *length <= most)
                .map(|length| Self::Network(address, length));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self::Network(address, if address.is_ipv4() { 32 } else { 128 }));
        }
        match text.strip_prefix("*.") {
            Some(domain) => is_name(domain).then(|| Self::Below(format!(".{}", domain.to_ascii_lowercase()))),
            None => is_name(text).then(|| Self::Name(text.to_ascii_lowercase())),
        }
    }

    fn has(&self, host: &str) -> bool {
        match self {
            Self::Name(name) => host.eq_ignore_ascii_case(name),
            Self::Below(domain) => is_name(host) && host.to_ascii_lowercase().ends_with(domain.as_str()),
            Self::Network(network, length) => {
                host.parse().is_ok_and(|address| within(*network, *length, address))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Hosts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "{text:?}: a name, `*.domain`, an address, or a network such as 10.0.0.0/8"
            ))
        })
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        && text.bytes().any(|b| b.is_ascii_alphabetic())
}

fn within(network: IpAddr, length: u8, address: IpAddr) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let ((network, most), (address, other)) = (bits(network), bits(address));
    let rest = most - u32::from(length);
    most == other && (rest == 128 || network >> rest == address >> rest)
}

impl Options {
    /// What is wrong with the options, by key, if anything is.
    pub fn check(&self) -> Result<(), (String, String)> {
        if self.hosts.is_empty() && self.kubernetes.is_none() {
            let why = "which hosts may be called must be said, for the token goes there".to_owned();
            return Err(("hosts".into(), why));
        }
        if !(Duration::from_millis(1)..=TIMEOUT_MAX).contains(&self.timeout) {
            return Err(("timeout".into(), "from 1ms to 8s: Alertmanager waits for ten seconds".into()));
        }
        let Some(kubernetes) = &self.kubernetes else { return Ok(()) };
        kubernetes.check().map_err(|(key, why)| (format!("kubernetes.{key}"), why))
    }

    /// The files that it names.
    pub fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let own = [&mut self.token_file, &mut self.ca_file].into_iter().flatten();
        own.chain(self.kubernetes.iter_mut().flat_map(Endpoint::files))
    }

    /// Whether the host of an alert may be called.
    fn admits(&self, host: &str) -> bool {
        self.hosts.iter().any(|hosts| hosts.has(host)) || (self.kubernetes.is_some() && is_name(host))
    }

    fn endpoint(&self, host: &str) -> Endpoint {
        let scheme = if self.tls { "https" } else { "http" };
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        Endpoint {
            url: format!("{scheme}://{host}:{}", self.port),
            token_file: self.token_file.clone(),
            ca_file: self.ca_file.clone(),
            timeout: self.timeout,
            ..Endpoint::default()
        }
    }
}

impl Api {
    /// The alerts of a notification that are for others: by host, their places in it. None of one that was sent on.
    pub(super) fn of_others(&self, alerts: &[Alert], headers: &HeaderMap) -> BTreeMap<String, Vec<usize>> {
        let settings = self.shared.settings();
        let mut out: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let Some(options) = settings.options.forward.as_ref().filter(|_| !headers.contains_key(&FORWARDED))
        else {
            return out;
        };
        for (place, alert) in alerts.iter().enumerate() {
            let Some(instance) = alert.labels.get("instance") else { continue };
            let host = host_of(instance).trim_start_matches('[').trim_end_matches(']');
            if !is_own(instance, &settings.own_names) && options.admits(host) {
                out.entry(host.to_ascii_lowercase()).or_default().push(place);
            }
        }
        out
    }

    /// Sends each its own; what is wrong where it did not arrive.
    pub(super) async fn send_on(
        &self,
        body: &[u8],
        others: &BTreeMap<String, Vec<usize>>,
        headers: &HeaderMap,
    ) -> Result<(), String> {
        let settings = self.shared.settings();
        let Some(options) = settings.options.forward.clone() else { return Ok(()) };
        if others.len() > HOSTS_MAX {
            return Err(format!(
                "alerts of {} machines in one notification; at most {HOSTS_MAX}",
                others.len()
            ));
        }
        let own_token = super::lock_tokens(&self.tokens).write.header();
        let mut calls = JoinSet::new();
        for (host, places) in others {
            let (body, host, options) = (part(body, places)?, host.clone(), options.clone());
            let mut more = HeaderMap::new();
            more.insert(FORWARDED, HeaderValue::from_static("1"));
            more.extend(headers.get(&TRACEPARENT).map(|trace| (TRACEPARENT, trace.clone())));
            let own_token = own_token.clone();
            calls.spawn(async move {
                let sent = call(&options, &host, own_token, more, body).await;
                sent.map_err(|why| format!("{host}: {why}"))
            });
        }
        let mut failed = Vec::new();
        while let Some(result) = calls.join_next().await {
            let why = result.unwrap_or_else(|e| Err(e.to_string())).err();
            self.shared
                .metrics
                .forwarded
                .with_label_values(&[if why.is_none() { "ok" } else { "failed" }])
                .inc();
            failed.extend(why);
        }
        if failed.is_empty() {
            return Ok(());
        }
        failed.sort_unstable();
        let why = failed.join("; ");
        tracing::warn!(error = why, "alerts of other machines could not be sent on");
        Err(format!("not sent on, please send it again: {why}"))
    }
}

/// The notification with some of its alerts.
fn part(body: &[u8], places: &[usize]) -> Result<Vec<u8>, String> {
    let mut whole: Value = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    if let Some(alerts) = whole.pointer_mut("/alerts").and_then(Value::as_array_mut) {
        let mut place = 0..;
        alerts.retain(|_| place.next().is_some_and(|place| places.contains(&place)));
    }
    serde_json::to_vec(&whole).map_err(|e| e.to_string())
}

async fn call(
    options: &Options,
    host: &str,
    own_token: Option<HeaderValue>,
    headers: HeaderMap,
    body: Vec<u8>,
) -> Result<(), String> {
    let whole = async {
        let host = match &options.kubernetes {
            Some(api) if is_name(host) && !options.hosts.iter().any(|hosts| hosts.has(host)) => {
                address_of_node(api.clone(), host).await?
            }
            _ => host.to_owned(),
        };
        let mut call = ready(options.endpoint(&host), "/api/v1/alerts".to_owned()).await?;
        if options.token_file.is_none() {
            call.authorization = own_token;
        }
        (call.method, call.body) = (Method::POST, Some(body));
        call.headers.extend(headers);
        let (status, answer) = client::send(call).await.map_err(|e| e.to_string())?;
        if status.is_success() {
            return Ok(());
        }
        let answer: String = String::from_utf8_lossy(&answer).chars().take(200).collect();
        Err(format!("{status}: {}", answer.trim_end()))
    };
    // Two calls share the time of one.
    let timeout = options.timeout;
    tokio::time::timeout(timeout, whole)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {timeout:?}")))
}

/// A call with its token and certificates, which are files.
async fn ready(endpoint: Endpoint, path: String) -> Result<Call, String> {
    let read = tokio::task::spawn_blocking(move || endpoint.call(&path));
    read.await.map_err(|e| e.to_string())?
}

/// The address within the cluster of the node of this name.
async fn address_of_node(api: Endpoint, name: &str) -> Result<String, String> {
    let call = ready(api, format!("/api/v1/nodes/{}", encoded(name))).await?;
    let (status, answer) = client::send(call).await.map_err(|e| e.to_string())?;
    if status == StatusCode::NOT_FOUND {
        return Err("the cluster has no such node".into());
    }
    if !status.is_success() {
        return Err(format!("Kubernetes answered {status}"));
    }
    let node: Value = serde_json::from_slice(&answer).map_err(|e| e.to_string())?;
    let addresses = node.pointer("/status/addresses").and_then(Value::as_array);
    let text = |address: &Value, key: &str| address.get(key).and_then(Value::as_str).map(str::to_owned);
    let internal = addresses.into_iter().flatten().find(|a| text(a, "type").as_deref() == Some("InternalIP"));
    let address =
        internal.and_then(|address| text(address, "address")).filter(|a| a.parse::<IpAddr>().is_ok());
    address.ok_or_else(|| "the node has no InternalIP".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_that_are_named_are_called() {
        let has = |hosts: &str, host: &str| Hosts::parse(hosts).unwrap().has(host);
        for (hosts, host, is) in [
            ("web1", "WEB1", true),
            ("web1", "web1.example.org", false),
            ("*.example.org", "web1.Example.org", true),
            ("*.example.org", "example.org", false),
            ("*.example.org", "evil/.example.org", false),
            ("10.1.0.0/16", "10.1.2.3", true),
            ("10.1.0.0/16", "10.2.2.3", false),
            ("0.0.0.0/0", "fd00::1", false),
            ("fd00::/8", "fd00::1", true),
            ("::/0", "fd00::1", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
        ] {
            assert_eq!(has(hosts, host), is, "{hosts} {host}");
        }
        for bad in ["", "10.0.0.0/33", "*.", "a b", "http://x", "10.0.0/8"] {
            assert_eq!(Hosts::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_host_gets_its_own_alerts_with_all_that_was_said_of_them() {
        let whole = br#"{"version":"4","more":1,"alerts":[{"n":0},{"n":1},{"n":2}]}"#;
        let part: Value = serde_json::from_slice(&part(whole, &[0, 2]).unwrap()).unwrap();
        assert_eq!(part, serde_json::json!({"version": "4", "more": 1, "alerts": [{"n": 0}, {"n": 2}]}));
        let options = Options::default();
        assert_eq!(options.endpoint("fd00::1").url, "http://[fd00::1]:9178");
        assert_eq!(Options { tls: true, ..options }.endpoint("web1").url, "https://web1:9178");
    }

    #[test]
    fn without_a_word_on_hosts_nothing_is_sent() {
        assert_eq!(Options::default().check().unwrap_err().0, "hosts");
        let hosts = vec![Hosts::parse("web1").unwrap()];
        let slow = Options { hosts: hosts.clone(), timeout: Duration::from_secs(9), ..Options::default() };
        assert_eq!(slow.check().unwrap_err().0, "timeout");
        assert_eq!(Options { hosts, ..Options::default() }.check(), Ok(()));
    }
}
