//! The configuration: one YAML file, every key with a default, every mistake with its place.

mod files;
mod message;
mod name_mapping;
mod near;
pub(crate) mod process_names;
mod statsd_mapping;
mod watched;

use crate::host::group::{Grouping, Rule};
use crate::host::{Arrivals, Host};
use crate::{apps, client, collect, export, exporter, monitor, optimize, otlp, services, stack};
use message::text_error;
pub(crate) use near::nearest;
use near::unknown;
use optimize::policy::Rung;
use process_names::process_names;
use serde::Deserialize;
use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The largest configuration file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How the process logs.
    pub log: Log,
    /// Where the journal, tokens and the data of supervised servers are kept.
    pub state_dir: Option<PathBuf>,
    /// Whether `POST /-/reload` is allowed.
    pub reload_endpoint: bool,
    /// Where the host's trees are mounted.
    pub paths: Paths,
    /// Which processes are one thing, and how much memory it may hold.
    pub process_groups: Vec<Rule>,
    /// What applications send.
    pub applications: apps::Options,
    /// What services should be like.
    pub services: Vec<services::Service>,
    /// The exporter.
    pub exporter: exporter::Options,
    /// The optimizer.
    pub optimizer: optimize::Options,
    /// Where telemetry goes by OTLP.
    pub otlp: otlp::Options,
    /// What is sent by itself.
    pub export: export::Options,
    /// What `headroom up` starts besides.
    pub up: stack::Options,
    /// What takes Prometheus's place in `headroom up` where there is none.
    pub monitor: monitor::Options,
}

/// How the process logs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`; or a filter by module, as `RUST_LOG` takes it.
    pub level: String,
    /// Text for people or JSON for machines.
    pub format: LogFormat,
    /// The same lines by OTLP.
    pub otlp: export::logs::Options,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text, otlp: export::logs::Options::default() }
    }
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    #[value(alias = "logfmt")]
    Text,
    /// A JSON object a line.
    Json,
}

/// Where the host's trees are mounted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Paths {
    /// The proc file system.
    pub procfs: PathBuf,
    /// The sys file system.
    pub sysfs: PathBuf,
    /// The root of the host's file systems.
    pub rootfs: PathBuf,
    /// udev's database of devices.
    pub udev_data: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        let Host { procfs, sysfs, rootfs, udev_data, .. } = Host::default();
        Self { procfs, sysfs, rootfs, udev_data }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Something in the file is wrong.
    Text {
        /// The file.
        path: PathBuf,
        /// Line and column, from 1, where they are known.
        place: Option<(u64, u64)>,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// A value is of the right type and cannot be used.
    Value {
        /// The file, if the value came from one.
        path: Option<PathBuf>,
        /// The key.
        key: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { path, place: Some((line, column)), why } => {
                write!(f, "{}:{line}:{column}: {why}", path.display())
            }
            Self::Read { path, why } | Self::Text { path, place: None, why } => {
                write!(f, "{}: {why}", path.display())
            }
            Self::Value { path: Some(path), key, why } => write!(f, "{}: {key}: {why}", path.display()),
            Self::Value { path: None, key, why } => write!(f, "{key}: {why}"),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// The configuration in a file; all defaults without one.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else {
            return Self::default().finished();
        };
        Self::parse(&read_text(path)?, path)
    }

    /// The configuration in a text; `path` is for messages, and the base of relative paths in it.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        // A file with nothing but comments holds no document; that is the default configuration.
        let empty = text.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#'));
        let mut config = if empty {
            Self::default()
        } else {
            serde_yaml::from_str::<Self>(text).map_err(|e| text_error(&e, path))?
        };
        config.finish(Some(path))?;
        Ok(config)
    }

    /// A configuration that was made by a program, checked as one from a file would be.
    pub fn finished(mut self) -> Result<Self, ConfigError> {
        self.finish(None)?;
        Ok(self)
    }

    /// What crosses modules: fills in what one option takes from another, and checks it.
    fn finish(&mut self, path: Option<&Path>) -> Result<(), ConfigError> {
        let base = path.and_then(Path::parent);
        self.place_files(base);
        if let Some(file) = &self.applications.statsd.mapping_file {
            self.applications.statsd.mapping = Arc::new(statsd_mapping::mapping(file)?);
        }
        self.group_processes()?;
        for target in &mut self.optimizer.targets {
            let group = self.process_groups.iter().find(|g| Some(&g.name) == target.process_group.as_ref());
            if target.memory_budget.is_none() {
                target.memory_budget = group.map(|g| bytesize::ByteSize::b(g.memory_budget_bytes()));
            }
        }
        for service in self.services.iter_mut().filter(|service| service.memory_budget.is_none()) {
            let group = self.process_groups.iter().find(|g| Some(&g.name) == service.process_group.as_ref());
            service.memory_budget = group.map(|g| bytesize::ByteSize::b(g.memory_budget_bytes()));
        }
        let asked = watched::ask(&mut self.optimizer.targets, &self.services).and_then(|()| self.check());
        asked.map_err(|(key, why)| ConfigError::Value { path: path.map(Path::to_owned), key, why })
    }

    /// Gives the exporter the rules by which it groups processes: those of `process_groups`, which the optimizer has
    /// too, and behind them those of process-exporter's file, if there is one.
    pub fn group_processes(&mut self) -> Result<(), ConfigError> {
        let options = &mut self.exporter.collectors.process_groups;
        options.rules.clone_from(&self.process_groups);
        if let Some(file) = &options.config_file {
            options.rules.extend(process_names(file)?);
        }
        let named = match name_mapping::rules(&options.procnames, &options.namemapping) {
            Ok(rules) if !rules.is_empty() && options.config_file.is_some() => {
                Err(("config_file", "cannot stand beside procnames or namemapping".into()))
            }
            named => named,
        };
        options.rules.extend(named.map_err(|(key, why)| ConfigError::Value {
            path: None,
            key: format!("exporter.collectors.process_groups.{key}"),
            why,
        })?);
        Ok(())
    }

    fn check(&self) -> Result<(), (String, String)> {
        let error = |key: String, why: String| Err((key, why));
        if let Err(e) = Grouping::new(&self.process_groups) {
            return error("process_groups".into(), e.to_string());
        }
        let known: Vec<&str> = collect::REGISTRY.iter().map(|e| e.name).collect();
        let collectors = &self.exporter.collectors;
        for (key, names) in [("enabled", &collectors.enabled), ("disabled", &collectors.disabled)] {
            if let Some(name) = names.iter().find(|n| !known.contains(&n.as_str())) {
                return error(format!("exporter.collectors.{key}"), unknown(name, &known));
            }
        }
        if self.exporter.page_age_max > exporter::PAGE_AGE_MAX {
            let why = format!("at most {}", humantime::format_duration(exporter::PAGE_AGE_MAX));
            return error("exporter.page_age_max".into(), why);
        }
        let levels = ["error", "warn", "info", "debug", "trace", "off"];
        let bare = self.log.level.chars().all(char::is_alphanumeric);
        if bare && !levels.contains(&self.log.level.to_lowercase().as_str()) {
            return error("log.level".into(), unknown(&self.log.level, &levels));
        }
        if let Some(why) = exporter::bad_telemetry_path(&self.exporter.telemetry_path) {
            return error("exporter.telemetry_path".into(), why.into());
        }
        if let Some(why) = self.otlp.bad_endpoint() {
            return error("otlp.endpoint".into(), why);
        }
        let under =
            |section: &'static str| move |(key, why): (String, String)| (format!("{section}.{key}"), why);
        self.up.check().map_err(under("up"))?;
        self.applications.check().map_err(under("applications"))?;
        self.export.check().map_err(under("export"))?;
        self.monitor.check().map_err(under("monitor"))?;
        self.log.otlp.check().map_err(under("log.otlp"))?;
        exporter::check_ratio(self.exporter.trace_ratio).map_err(under("exporter"))?;
        if let Some(Err(e)) = self.optimizer.grafana.as_ref().map(|g| client::check(&g.url)) {
            return error("optimizer.grafana.url".into(), e.to_string());
        }
        self.optimizer.check_alertmanager()?;
        self.optimizer.check_callers()?;
        self.check_targets()?;
        let groups: Vec<&str> = self.process_groups.iter().map(|g| g.name.as_str()).collect();
        services::check(&self.services, &groups)?;
        let targets: Vec<&str> = self.optimizer.targets.iter().map(|t| t.name.as_str()).collect();
        for (i, policy) in self.optimizer.policies.iter().enumerate() {
            let key = |field: &str| format!("optimizer.policies[{i}].{field}");
            if policy.matchers.is_empty() {
                return error(
                    key("match"),
                    "at least one matcher: a policy for every alert would be a mistake".into(),
                );
            }
            check_ladder(&policy.ladder).map_err(|(place, why)| (key("ladder") + &place, why))?;
            if policy.target.is_some() == policy.target_label.is_some() {
                return error(key("target"), "either `target` or `target_label`, and not both".into());
            }
            if let Some(name) = policy.target.as_deref().filter(|n| !targets.contains(n)) {
                return error(key("target"), unknown(name, &targets));
            }
            let (available, busy) = (policy.available_below_ratio, policy.cpu_busy_above_ratio);
            for (field, ratio) in [("available_below_ratio", available), ("cpu_busy_above_ratio", busy)] {
                if ratio.is_some_and(|r| !(0.0..=1.0).contains(&r)) {
                    return error(key(field), "a share from 0 to 1, such as 0.15".into());
                }
            }
            if available.is_some() && busy.is_some() {
                let why = "one condition a policy: this, or `available_below_ratio`";
                return error(key("cpu_busy_above_ratio"), why.into());
            }
        }
        self.optimizer.pressure.check(&self.optimizer.targets)?;
        for (i, rule) in self.optimizer.pressure.rules.iter().enumerate() {
            let key = |place| format!("optimizer.pressure.rules[{i}].ladder{place}");
            check_ladder(&rule.ladder).map_err(|(place, why)| (key(place), why))?;
        }
        optimize::proactive::check(&self.optimizer.proactive, &self.optimizer.targets)?;
        if self.optimizer.settle > optimize::SETTLE_MAX {
            return error("optimizer.settle".into(), "at most 1m: other runs wait meanwhile".into());
        }
        if self.optimizer.retention.as_secs() < 24 * 3600 {
            return error(
                "optimizer.retention".into(),
                "at least 1d: Alertmanager repeats an episode for hours".into(),
            );
        }
        Ok(())
    }

    fn check_targets(&self) -> Result<(), (String, String)> {
        let groups: Vec<&str> = self.process_groups.iter().map(|g| g.name.as_str()).collect();
        let mut names = HashSet::new();
        for (i, target) in self.optimizer.targets.iter().enumerate() {
            let key = |field: &str| format!("optimizer.targets[{i}].{field}");
            if target.name.is_empty() || !names.insert(&target.name) {
                return Err((
                    key("name"),
                    format!("{:?} is empty, or the name of another target", target.name),
                ));
            }
            match (&target.process_group, &target.cgroup) {
                (None, None) => {
                    return Err((key("process_group"), "give `process_group`, `cgroup` or both".into()));
                }
                (Some(name), _) if !groups.contains(&name.as_str()) => {
                    return Err((key("process_group"), unknown(name, &groups)));
                }
                _ => {}
            }
            if let Some(why) = target.cgroup.as_deref().and_then(bad_cgroup) {
                return Err((key("cgroup"), why.into()));
            }
            target.check_hooks().map_err(|(at, why)| (key(&at), why))?;
            target.check_outside().map_err(|(at, why)| (key(&at), why))?;
        }
        optimize::policy::hook::check_sockets(&self.optimizer.targets)
    }

    /// The host, as the paths say.
    pub fn host(&self) -> Host {
        let Paths { procfs, sysfs, rootfs, udev_data } = self.paths.clone();
        let here = procfs == Path::new("/proc") && sysfs == Path::new("/sys");
        let arrivals = if here { Arrivals::of_this_machine() } else { Arrivals::default() };
        Host { procfs, sysfs, rootfs, udev_data, arrivals, ..Host::default() }
    }
}

/// Whether the rungs are actions with good options.
fn check_ladder(ladder: &[Rung]) -> Result<(), (String, String)> {
    let actions: Vec<&str> = optimize::action::REGISTRY.iter().map(|a| a.name()).collect();
    for (i, rung) in ladder.iter().enumerate() {
        let Some(action) = optimize::action::find(&rung.action) else {
            return Err((format!("[{i}]"), unknown(&rung.action, &actions)));
        };
        action.check(&rung.with).map_err(|why| (format!("[{i}].with"), why))?;
    }
    Ok(())
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    let read = |why: String| ConfigError::Read { path: path.to_owned(), why };
    let length = std::fs::metadata(path).map_err(|e| read(e.to_string()))?.len();
    if length > FILE_BYTES_MAX {
        return Err(read(format!("longer than {FILE_BYTES_MAX} bytes, which no configuration is")));
    }
    std::fs::read_to_string(path).map_err(|e| read(e.to_string()))
}

fn bad_cgroup(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("a path from the root of the hierarchy, such as /system.slice/cache.service");
    }
    path.split('/').any(|part| part == "..").then_some("a path without `..`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("/etc/h.yaml")).map_err(|e| e.to_string())
    }

    #[test]
    fn no_file_is_the_default() {
        assert_eq!(parse("# nothing\n").unwrap(), Config::load(None).unwrap());
    }

    #[test]
    fn a_mistake_has_file_line_column_and_the_nearest_name() {
        for (text, want) in [
            ("log:\n  levle: info\n", "/etc/h.yaml:2:3: unknown key `levle`; did you mean `level`?"),
            (
                "exporter:\n  listen_address: x\n",
                "/etc/h.yaml:2:3: unknown key `listen_address`; did you mean `listen`?",
            ),
            ("zzzzzzzz: 1\n", "/etc/h.yaml:1:1: unknown key `zzzzzzzz`; known here: log, state_dir"),
            ("exporter:\n  listen: here\n", "/etc/h.yaml:2:11: "),
            (
                "optimizer:\n  guards:\n    cooldown: soon\n",
                "/etc/h.yaml:3:5: invalid value: string \"soon\", expected a duration such as 30s",
            ),
            (
                "optimizer:\n  guards:\n    min_gain: some\n",
                "/etc/h.yaml:3:5: invalid value: string \"some\", expected a size such as 400MiB",
            ),
            ("optimizer:\n  dry_run: perhaps\n", "/etc/h.yaml:2:12: expected true or false"),
            ("log: [\n", "/etc/h.yaml:"),
            ("log: {level: inof}\n", "/etc/h.yaml: log.level: unknown name `inof`; did you mean `info`?"),
            ("up: {interval: 0s}\n", "/etc/h.yaml: up.interval: at least 1s"),
            ("log:\n  level: a\nlog:\n  level: b\n", "/etc/h.yaml:3:1: duplicate"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(want), "{text:?} gave {error:?}, not {want:?}");
        }
    }

    #[test]
    fn what_crosses_modules_is_checked() {
        let groups = "process_groups:\n  - {name: cache, comm: [cached], memory_budget: 300MiB}\n";
        let with = |rest: &str| parse(&format!("{groups}optimizer:\n{rest}"));
        let good = with("  targets:\n    - {name: cache, process_group: cache}\n").unwrap();
        assert_eq!(good.optimizer.targets[0].memory_budget.unwrap().as_u64(), 300 << 20);
        assert_eq!(good.exporter.collectors.process_groups.rules.len(), 1);
        let by_pressure = |rung: &str| {
            let rule = "    rules: [{name: r, target: a, stall: 100ms, ladder: [app_hook, ";
            format!("  targets: [{{name: a, cgroup: /a}}]\n  pressure:\n{rule}{rung}]}}]\n")
        };
        for (text, want) in [
            ("  targets:\n    - {name: a, process_group: cahce}\n", "did you mean `cache`?"),
            ("  targets:\n    - {name: a}\n", "optimizer.targets[0].process_group"),
            ("  targets:\n    - {name: a, cgroup: a/../b}\n", "optimizer.targets[0].cgroup"),
            (
                "  targets:\n    - {name: a, cgroup: /a, hook: {url: 'https://x'}}\n",
                "optimizer.targets[0].hook.url",
            ),
            (
                "  targets:\n    - {name: a, cgroup: /a, hook: {url: 'http://u:p@x/'}}\n",
                "optimizer.targets[0].hook.url: `http://…@x` is not an address that can be called: it holds a user",
            ),
            (
                "  policies:\n    - {name: p, match: ['a=b'], target: x, ladder: []}\n",
                "optimizer.policies[0].target",
            ),
            (
                "  policies:\n    - {name: p, match: ['a=b'], target_label: x, ladder: [page_out]}\n",
                "did you mean `pageout`?",
            ),
            ("  policies:\n    - {name: p, target_label: x}\n", "optimizer.policies[0].match"),
            (&by_pressure("page_out"), "did you mean `pageout`?"),
            (
                &by_pressure("{action: squeeze, with: {lease: 10h}}"),
                "optimizer.pressure.rules[0].ladder[1].with: `lease` is above 0",
            ),
            (
                &by_pressure("{action: kill, with: {min_growth: 0B}}"),
                "optimizer.pressure.rules[0].ladder[1].with",
            ),
            (
                &by_pressure("{action: cgroup_reclaim, with: {deadline: 1h}}"),
                "optimizer.pressure.rules[0].ladder[1].with: `deadline`",
            ),
            ("  retention: 1h\n", "optimizer.retention"),
            ("  settle: 61s\n", "optimizer.settle"),
        ] {
            let error = with(text).unwrap_err();
            assert!(error.contains(want), "{text:?} gave {error:?}, not {want:?}");
        }
        assert!(
            parse("exporter: {collectors: {disabled: [cpuu]}}").unwrap_err().contains("did you mean `cpu`?")
        );
    }

    #[test]
    fn every_key_of_a_server_has_its_own_default() {
        let text = "up: {prometheus: {enabled: false}, alertmanager: {program: /opt/am}}";
        let (up, whole) = (parse(text).unwrap().up, Config::default().up);
        assert_eq!(up.prometheus, stack::Server { enabled: false, ..whole.prometheus });
        assert_eq!(up.alertmanager, stack::Server { program: Some("/opt/am".into()), ..whole.alertmanager });
        assert_eq!((up.prometheus.listen.port(), up.alertmanager.listen.port()), (9090, 9093));
        let error = parse("up:\n  prometheus:\n    lisen: 127.0.0.1:1\n").unwrap_err();
        assert!(error.starts_with("/etc/h.yaml:3:5: unknown key `lisen`; did you mean `listen`?"), "{error}");
    }

    #[test]
    fn a_token_file_is_looked_for_beside_the_configuration() {
        let config = parse("optimizer: {token_file: token}").unwrap();
        assert_eq!(config.optimizer.token_file.as_deref(), Some(Path::new("/etc/token")));
    }
}
