//! The files of Prometheus and Alertmanager: this repository's own, with addresses, intervals and paths put in as
//! values, never as text.

use super::Options;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

const PROMETHEUS: &str = include_str!("../../prometheus/prometheus.yml");
const ALERTMANAGER: &str = include_str!("../../prometheus/alertmanager.yml");
/// The rule files, by name; a test holds this list against the directory.
pub const RULES: &[(&str, &str)] = &[
    ("thresholds.yml", include_str!("../../prometheus/rules/thresholds.yml")),
    ("machine.yml", include_str!("../../prometheus/rules/machine.yml")),
    ("headroom.yml", include_str!("../../prometheus/rules/headroom.yml")),
    ("workloads.yml", include_str!("../../prometheus/rules/workloads.yml")),
    ("devices.yml", include_str!("../../prometheus/rules/devices.yml")),
    ("capacity.yml", include_str!("../../prometheus/rules/capacity.yml")),
    ("benchmarks.yml", include_str!("../../prometheus/rules/benchmarks.yml")),
];

/// What the generated files point to.
#[derive(Clone, Debug)]
pub struct Wiring<'a> {
    /// Options of `headroom up`.
    pub options: &'a Options,
    /// The exporter.
    pub exporter: SocketAddr,
    /// Where its samples are.
    pub telemetry_path: &'a str,
    /// The optimizer.
    pub optimizer: SocketAddr,
    /// The file with the webhook's token.
    pub token_file: &'a Path,
    /// The rules of services: the name of the file, and its text.
    pub services: (&'a str, &'a str),
}

/// Where the generated files are.
#[derive(Clone, Debug)]
pub struct Generated {
    /// Prometheus's configuration.
    pub prometheus: PathBuf,
    /// Alertmanager's configuration.
    pub alertmanager: PathBuf,
    /// The rule files, with their texts.
    pub rules: Vec<(String, String)>,
}

/// A file that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct FileError {
    path: PathBuf,
    why: String,
}

/// Writes all files below `directory`.
pub fn write(directory: &Path, wiring: &Wiring<'_>) -> Result<Generated, FileError> {
    let rules = directory.join("rules");
    std::fs::create_dir_all(&rules).map_err(|e| FileError { path: rules.clone(), why: e.to_string() })?;
    let mut texts = Vec::new();
    for (name, text) in RULES.iter().chain([&wiring.services]) {
        let path = rules.join(name);
        let text = put(&path, text, |value| limit_for(value, wiring.options.for_max))?;
        texts.push((path.display().to_string(), text));
    }
    let generated = Generated {
        prometheus: directory.join("prometheus.yml"),
        alertmanager: directory.join("alertmanager.yml"),
        rules: texts,
    };
    put(&generated.prometheus, PROMETHEUS, |value| prometheus(value, wiring))?;
    put(&generated.alertmanager, ALERTMANAGER, |value| alertmanager(value, wiring))?;
    Ok(generated)
}

fn put(path: &Path, text: &str, change: impl FnOnce(&mut Value)) -> Result<String, FileError> {
    let error = |why: String| FileError { path: path.to_owned(), why };
    let mut value: Value = serde_yaml::from_str(text).map_err(|e| error(e.to_string()))?;
    change(&mut value);
    let text = serde_yaml::to_string(&value).map_err(|e| error(e.to_string()))?;
    let text = format!("# Made by `headroom up` at each start; changes here are lost.\n{text}");
    std::fs::write(path, &text).map_err(|e| error(e.to_string()))?;
    Ok(text)
}

fn prometheus(value: &mut Value, wiring: &Wiring<'_>) {
    let interval = json!(seconds(wiring.options.interval));
    set(value, "global", "scrape_interval", interval.clone());
    set(value, "global", "evaluation_interval", interval.clone());
    if wiring.options.interval < Duration::from_secs(10) {
        // A scrape may not take longer than the interval.
        set(value, "global", "scrape_timeout", interval);
    }
    let targets = |address: SocketAddr| json!([{ "targets": [reachable(address).to_string()] }]);
    for job in items(value, "scrape_configs") {
        let name = job.get("job_name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let (address, enabled) = match name.as_str() {
            "node" => (wiring.exporter, true),
            "headroom-optimizer" => (wiring.optimizer, true),
            "prometheus" => (wiring.options.prometheus.listen, true),
            "alertmanager" => (wiring.options.alertmanager.listen, wiring.options.alertmanager.enabled),
            _ => continue,
        };
        let Some(job) = job.as_object_mut() else { continue };
        // Intervals of a job would win over the global one.
        job.remove("scrape_interval");
        job.remove("scrape_timeout");
        job.insert("static_configs".into(), if enabled { targets(address) } else { json!([]) });
        if name == "node" && wiring.telemetry_path != "/metrics" {
            job.insert("metrics_path".into(), json!(wiring.telemetry_path));
        }
        if name == "headroom-optimizer" {
            // One process, one registry: the exporter's page has these counters too, and a sum must not count a byte twice.
            let drop = json!([{ "source_labels": ["__name__"], "regex": "headroom_.*", "action": "drop" }]);
            job.insert("metric_relabel_configs".into(), drop);
        }
    }
    let managers = json!([{ "static_configs": targets(wiring.options.alertmanager.listen) }]);
    set(
        value,
        "alerting",
        "alertmanagers",
        if wiring.options.alertmanager.enabled { managers } else { json!([]) },
    );
}

fn alertmanager(value: &mut Value, wiring: &Wiring<'_>) {
    let url = format!("http://{}/api/v1/alerts", reachable(wiring.optimizer));
    for receiver in items(value, "receivers") {
        if receiver.get("name").and_then(Value::as_str) != Some("headroom-optimizer") {
            continue;
        }
        for hook in items(receiver, "webhook_configs") {
            set(hook, "http_config", "authorization", json!({ "credentials_file": wiring.token_file }));
            if let Some(hook) = hook.as_object_mut() {
                hook.insert("url".into(), json!(url));
            }
        }
    }
}

/// Shortens every `for` and `keep_firing_for` of a rule file: a demonstration does not wait.
fn limit_for(value: &mut Value, longest: Option<Duration>) {
    let Some(longest) = longest else { return };
    for group in items(value, "groups") {
        if let Some(group) = group.as_object_mut() {
            group.remove("interval");
        }
        for rule in items(group, "rules") {
            for key in ["for", "keep_firing_for"] {
                let Some(held) = rule.get_mut(key) else { continue };
                let given = held.as_str().and_then(|t| humantime::parse_duration(t).ok());
                if given.is_none_or(|d| d > longest) {
                    *held = json!(seconds(longest));
                }
            }
        }
    }
}

/// Where a listener is called from its own machine: "every address" is none that an alert may name.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn seconds(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

fn items<'a>(value: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    value.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

fn set(value: &mut Value, section: &str, key: &str, to: Value) {
    let Some(map) = value.as_object_mut() else { return };
    let section = map.entry(section).or_insert_with(|| json!({}));
    if let Some(section) = section.as_object_mut() {
        section.insert(key.to_owned(), to);
    }
}
