//! The collector of systemd's units: states, restarts, tasks, timers, sockets (`node_systemd_*`).

use super::filter::{Choice, pattern};
use super::table::{Row, write};
use super::{CollectError, Collector, Entry};
use crate::host::Host;
use crate::host::dbus::{Dbus, Variant};
use crate::host::systemd::{Systemd as Manager, Unit};
use crate::metric::{Desc, Sink, Value, single};
use regex_lite::Regex;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "systemd",
    on: false,
    make: |host, options| {
        let options = options.systemd.clone();
        // A pattern is about the whole name.
        let whole = |text: &str| if text.is_empty() { String::new() } else { format!("^(?:{text})$") };
        let (include, exclude) = (whole(&options.unit_include), whole(&options.unit_exclude));
        let filter = Choice::new("systemd.unit", &include, &exclude)?;
        let version = pattern("systemd", r"[0-9]{3,}(\.[0-9]+)?")?;
        Ok(Box::new(Systemd { filter, version, sockets: sockets(host, options.private), options }))
    },
};

/// Which units are shown, and what is asked about each.
#[expect(clippy::struct_excessive_bools, reason = "one for each of node_exporter's flags")]
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Names of the units that are shown, as a regular expression of the whole name.
    pub unit_include: String,
    /// Names of units that are left out, as a regular expression of the whole name.
    pub unit_exclude: String,
    /// Whether systemd is spoken to without the bus, which wants root.
    pub private: bool,
    /// Whether the tasks of services are shown.
    pub enable_task_metrics: bool,
    /// Whether restarts of services are shown.
    pub enable_restarts_metrics: bool,
    /// Whether the start of units is shown.
    pub enable_start_time_metrics: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            unit_include: ".+".into(),
            unit_exclude: r".+\.(automount|device|mount|scope|slice)".into(),
            private: false,
            enable_task_metrics: false,
            enable_restarts_metrics: false,
            enable_start_time_metrics: false,
        }
    }
}

const STATES: [&str; 5] = ["active", "activating", "deactivating", "inactive", "failed"];
const VERSION: Desc<'static> = Desc::gauge("node_systemd_version", "Detected systemd version", &["version"]);
const VIRTUALIZATION: Desc<'static> = Desc::gauge(
    "node_systemd_virtualization_info",
    "Detected virtualization technology",
    &["virtualization_type"],
);
const RUNNING: Desc<'static> = Desc::gauge(
    "node_systemd_system_running",
    "Whether the system is operational (see 'systemctl is-system-running')",
    &[],
);
const UNITS: Desc<'static> = Desc::gauge("node_systemd_units", "Summary of systemd unit states", &["state"]);
const STATE: Desc<'static> =
    Desc::gauge("node_systemd_unit_state", "Systemd unit", &["name", "state", "type"]);
/// What is asked about units besides, in this order.
const FAMILIES: [Desc<'static>; 8] = [
    Desc::counter("node_systemd_service_restart_total", "Service unit count of Restart triggers", &["name"]),
    Desc::gauge(
        "node_systemd_unit_start_time_seconds",
        "Start time of the unit since unix epoch in seconds.",
        &["name"],
    ),
    Desc::gauge("node_systemd_unit_tasks_current", "Current number of tasks per Systemd unit", &["name"]),
    Desc::gauge("node_systemd_unit_tasks_max", "Maximum number of tasks per Systemd unit", &["name"]),
    Desc::gauge("node_systemd_timer_last_trigger_seconds", "Seconds since epoch of last trigger.", &["name"]),
    Desc::counter(
        "node_systemd_socket_accepted_connections_total",
        "Total number of accepted socket connections",
        &["name"],
    ),
    Desc::gauge("node_systemd_socket_current_connections", "Current number of socket connections", &["name"]),
    Desc::gauge(
        "node_systemd_socket_refused_connections_total",
        "Total number of refused socket connections",
        &["name"],
    ),
];

/// Where systemd may be reached, and whether a bus is there: first through the host's root, for a container.
fn sockets(host: &Host, private: bool) -> Vec<(PathBuf, bool)> {
    let both = |path: &str, bus| [(host.root_path(path), bus), (PathBuf::from(path), bus)];
    let direct = both("/run/systemd/private", false);
    if private {
        return direct.into();
    }
    both("/run/dbus/system_bus_socket", true).into_iter().chain(direct).collect()
}

struct Systemd {
    filter: Choice,
    version: Option<Regex>,
    sockets: Vec<(PathBuf, bool)>,
    options: Options,
}

impl Collector for Systemd {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let mut manager = self.connect()?;
        let failed = |e: io::Error| CollectError::Failed(format!("cannot ask systemd: {e}"));
        let version = manager.of_manager("Version").map_err(failed)?.and_then(text).unwrap_or_default();
        let number = self.version.as_ref().and_then(|form| form.find(&version)?.as_str().parse::<f64>().ok());
        let virtualization = manager.of_manager("Virtualization").map_err(failed)?.and_then(text);
        let state = manager.of_manager("SystemState").map_err(failed)?.and_then(text);
        let all = manager.units().map_err(failed)?;
        let mut counts: BTreeMap<&str, u64> = STATES.map(|state| (state, 0)).into();
        for unit in &all {
            *counts.entry(&unit.active_state).or_default() += 1;
        }
        let (mut states, mut rows) = (Vec::new(), Vec::new());
        for unit in all.iter().filter(|unit| unit.load_state == "loaded" && self.filter.shows(&unit.name)) {
            let kind = service_type(&mut manager, unit).map_err(failed)?;
            states.extend(STATES.map(|state| Row {
                labels: vec![unit.name.clone(), state.to_owned(), kind.clone()],
                values: vec![Some(Value::U64(u64::from(state == unit.active_state)))],
            }));
            let values = self.values(&mut manager, unit).map_err(failed)?;
            rows.push(Row { labels: vec![unit.name.clone()], values });
        }
        if let Some(number) = number {
            out.family(&VERSION);
            out.sample(&[&version], Value::F64(number));
        }
        let virtualization = virtualization.unwrap_or_else(|| "unknown".into());
        out.family(&VIRTUALIZATION);
        out.sample(&[if virtualization.is_empty() { "none" } else { &virtualization }], Value::U64(1));
        out.family(&UNITS);
        for (state, count) in &counts {
            out.sample(&[state], Value::U64(*count));
        }
        write(&[STATE], &states, out);
        write(&FAMILIES, &rows, out);
        if let Some(state) = state {
            single(out, &RUNNING, u64::from(state == "running"));
        }
        Ok(())
    }
}

impl Systemd {
    fn connect(&self) -> Result<Manager, CollectError> {
        let mut refused = None;
        for (path, bus) in &self.sockets {
            match Dbus::connect(path, *bus) {
                Ok(dbus) => return Ok(Manager(dbus)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => refused = refused.or(Some(format!("cannot connect to {}: {e}", path.display()))),
            }
        }
        Err(match refused {
            Some(why) => CollectError::Failed(why),
            None => CollectError::Absent("systemd".into()),
        })
    }

    /// The values of [`FAMILIES`] that the unit has.
    fn values(&self, manager: &mut Manager, unit: &Unit) -> io::Result<Vec<Option<Value<'static>>>> {
        let Options { enable_task_metrics, enable_restarts_metrics, enable_start_time_metrics, .. } =
            self.options;
        let mut ask = |wanted: bool, kind: &str, property: &str| {
            let value = if wanted { manager.of_unit(unit, kind, property)? } else { None };
            io::Result::Ok(value.as_ref().and_then(number))
        };
        let kind = extension(unit);
        let (service, timer, socket) = (kind == "service", kind == "timer", kind == "socket");
        let active = unit.active_state == "active";
        let start = ask(enable_start_time_metrics && active, "Unit", "ActiveEnterTimestamp")?;
        // A unit that does not run has no start; node_exporter shows 0, which its users' rules know.
        let start = start.or((enable_start_time_metrics && !active).then_some(0));
        // Without accounting of tasks, the number is the greatest there is.
        let limited = |tasks: Option<u64>| tasks.filter(|tasks| *tasks != u64::MAX);
        let seconds = |micros: u64| Value::F64(micros as f64 / 1e6);
        Ok(vec![
            ask(enable_restarts_metrics && service, "Service", "NRestarts")?.map(Value::U64),
            start.map(seconds),
            limited(ask(enable_task_metrics && service, "Service", "TasksCurrent")?).map(Value::U64),
            limited(ask(enable_task_metrics && service, "Service", "TasksMax")?).map(Value::U64),
            ask(timer, "Timer", "LastTriggerUSec")?.map(seconds),
            ask(socket, "Socket", "NAccepted")?.map(Value::U64),
            ask(socket, "Socket", "NConnections")?.map(Value::U64),
            ask(socket, "Socket", "NRefused")?.map(Value::U64),
        ])
    }
}

/// The type of a service or a mount; empty for other units.
fn service_type(manager: &mut Manager, unit: &Unit) -> io::Result<String> {
    let kind = match extension(unit) {
        "service" => "Service",
        "mount" => "Mount",
        _ => return Ok(String::new()),
    };
    Ok(manager.of_unit(unit, kind, "Type")?.and_then(text).unwrap_or_default())
}

/// What kind of unit it is.
fn extension(unit: &Unit) -> &str {
    unit.name.rsplit('.').next().unwrap_or_default()
}

fn text(variant: Variant) -> Option<String> {
    match variant {
        Variant::Text(text) => Some(text),
        Variant::Number(_) => None,
    }
}

fn number(variant: &Variant) -> Option<u64> {
    match *variant {
        Variant::Number(number) => Some(number),
        Variant::Text(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::text::TextEncoder;
    use crate::host::dbus::tests::{Body, serve};

    fn units() -> Body {
        let unit = |body: Body, name: &str, active: &str| {
            let body = body.align().text(name).text("A unit").text("loaded").text(active).text("x").text("");
            body.text(&format!("/u/{}", name.replace('.', "_"))).u32(0).text("").text("/")
        };
        let mut all = Body::default().u32(0).align();
        for (name, active) in [("a.service", "active"), ("b.timer", "failed"), ("c.mount", "active")] {
            all = unit(all, name, active);
        }
        let bytes = u32::try_from(all.0.len() - 8).unwrap();
        all.0[..4].copy_from_slice(&bytes.to_le_bytes());
        all
    }

    #[test]
    fn units_have_states_and_what_their_kind_tells() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("run/systemd")).unwrap();
        serve(&dir.path().join("run/systemd/private"), |call| match call {
            call if call.contains("ListUnits") => Some(units()),
            call if call.contains("Version") => Some(Body::default().variant_text("252.5-2ubuntu3")),
            call if call.contains("SystemState") => Some(Body::default().variant_text("running")),
            call if call.contains("Virtualization") => Some(Body::default().variant_text("")),
            call if call.contains("/u/a_service") && call.contains("Type") => {
                Some(Body::default().variant_text("notify"))
            }
            call if call.contains("LastTriggerUSec") => Some(Body::default().variant_u64(1_500_000)),
            call if call.contains("TasksCurrent") => Some(Body::default().variant_u64(9)),
            call if call.contains("TasksMax") => Some(Body::default().variant_u64(u64::MAX)),
            _ => None,
        });
        let host = Host { rootfs: dir.path().into(), ..Host::default() };
        let systemd = Options { enable_task_metrics: true, private: true, ..Options::default() };
        let options = super::super::Options { systemd, ..Default::default() };
        let mut out = TextEncoder::default();
        (ENTRY.make)(&host, &options).unwrap().collect(&host, &mut out).unwrap();
        let page = String::from_utf8(out.page().to_vec()).unwrap();
        for line in [
            "node_systemd_version{version=\"252.5-2ubuntu3\"} 252.5",
            "node_systemd_virtualization_info{virtualization_type=\"none\"} 1",
            "node_systemd_system_running 1",
            "node_systemd_units{state=\"active\"} 2",
            "node_systemd_units{state=\"inactive\"} 0",
            "node_systemd_unit_state{name=\"a.service\",state=\"active\",type=\"notify\"} 1",
            "node_systemd_unit_state{name=\"b.timer\",state=\"active\",type=\"\"} 0",
            "node_systemd_timer_last_trigger_seconds{name=\"b.timer\"} 1.5",
            "node_systemd_unit_tasks_current{name=\"a.service\"} 9",
        ] {
            assert!(page.lines().any(|have| have == line), "{line} is not in {page}");
        }
        assert!(!page.contains("c.mount") && !page.contains("tasks_max"), "{page}");
    }
}
