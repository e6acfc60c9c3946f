//! OpenTelemetry's names for what this machine's kernel tells: its semantic conventions, where they have a name for it.
//!
//! What has none keeps that of Prometheus. Source: <https://opentelemetry.io/docs/specs/semconv/system/system-metrics/>,
//! version 1.44.

use super::line::{Attribute, Line, Sort};
use crate::metric::batch::Held;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The version whose names these are.
pub(super) const SCHEMA: &str = "https://opentelemetry.io/schemas/1.44.0";

/// A family and what it is called.
struct Rule {
    from: &'static str,
    to: &'static str,
    unit: &'static str,
    sort: Sort,
    /// An attribute that Prometheus has in the name.
    fixed: Option<(&'static str, &'static str)>,
    /// Labels that are called otherwise.
    labels: &'static [(&'static str, &'static str)],
}

const fn total(
    from: &'static str,
    to: &'static str,
    unit: &'static str,
    fixed: Option<(&'static str, &'static str)>,
    labels: &'static [(&'static str, &'static str)],
) -> Rule {
    Rule { from, to, unit, sort: Sort::Total, fixed, labels }
}

const fn amount(
    from: &'static str,
    to: &'static str,
    unit: &'static str,
    fixed: Option<(&'static str, &'static str)>,
    labels: &'static [(&'static str, &'static str)],
) -> Rule {
    Rule { from, to, unit, sort: Sort::Amount, fixed, labels }
}

const READ: Option<(&str, &str)> = Some(("disk.io.direction", "read"));
const WRITE: Option<(&str, &str)> = Some(("disk.io.direction", "write"));
const RECEIVE: Option<(&str, &str)> = Some(("network.io.direction", "receive"));
const TRANSMIT: Option<(&str, &str)> = Some(("network.io.direction", "transmit"));
const DISK: &[(&str, &str)] = &[("device", "system.device")];
const INTERFACE: &[(&str, &str)] = &[("device", "network.interface.name")];
const FILESYSTEM: &[(&str, &str)] = &[
    ("device", "system.device"),
    ("fstype", "system.filesystem.type"),
    ("mountpoint", "system.filesystem.mountpoint"),
];
const MEMORY: &str = "system.memory.state";

const RULES: &[Rule] = &[
    total(
        "node_cpu_seconds_total",
        "system.cpu.time",
        "s",
        None,
        &[("cpu", "cpu.logical_number"), ("mode", "cpu.mode")],
    ),
    amount("node_memory_MemTotal_bytes", "system.memory.limit", "By", None, &[]),
    amount("node_memory_MemFree_bytes", "system.memory.usage", "By", Some((MEMORY, "free")), &[]),
    amount("node_memory_Buffers_bytes", "system.memory.usage", "By", Some((MEMORY, "buffers")), &[]),
    amount("node_memory_Cached_bytes", "system.memory.usage", "By", Some((MEMORY, "cached")), &[]),
    amount("node_memory_MemAvailable_bytes", "system.memory.linux.available", "By", None, &[]),
    amount("node_memory_Shmem_bytes", "system.memory.linux.shared", "By", None, &[]),
    amount(
        "node_memory_SwapFree_bytes",
        "system.paging.usage",
        "By",
        Some(("system.paging.state", "free")),
        &[],
    ),
    total(
        "node_vmstat_pgmajfault",
        "system.paging.faults",
        "{fault}",
        Some(("system.paging.fault.type", "major")),
        &[],
    ),
    amount("node_filesystem_avail_bytes", "system.filesystem.usage", "By", Some((STATE, "free")), FILESYSTEM),
    amount("node_filesystem_size_bytes", "system.filesystem.limit", "By", None, FILESYSTEM),
    total("node_disk_read_bytes_total", "system.disk.io", "By", READ, DISK),
    total("node_disk_written_bytes_total", "system.disk.io", "By", WRITE, DISK),
    total("node_disk_reads_completed_total", "system.disk.operations", "{operation}", READ, DISK),
    total("node_disk_writes_completed_total", "system.disk.operations", "{operation}", WRITE, DISK),
    total("node_disk_reads_merged_total", "system.disk.merged", "{operation}", READ, DISK),
    total("node_disk_writes_merged_total", "system.disk.merged", "{operation}", WRITE, DISK),
    total("node_disk_read_time_seconds_total", "system.disk.operation_time", "s", READ, DISK),
    total("node_disk_write_time_seconds_total", "system.disk.operation_time", "s", WRITE, DISK),
    total("node_disk_io_time_seconds_total", "system.disk.io_time", "s", None, DISK),
    total("node_network_receive_bytes_total", "system.network.io", "By", RECEIVE, INTERFACE),
    total("node_network_transmit_bytes_total", "system.network.io", "By", TRANSMIT, INTERFACE),
    total("node_network_receive_packets_total", "system.network.packet.count", "{packet}", RECEIVE, DISK),
    total("node_network_transmit_packets_total", "system.network.packet.count", "{packet}", TRANSMIT, DISK),
    total("node_network_receive_drop_total", "system.network.packet.dropped", "{packet}", RECEIVE, INTERFACE),
    total(
        "node_network_transmit_drop_total",
        "system.network.packet.dropped",
        "{packet}",
        TRANSMIT,
        INTERFACE,
    ),
    total("node_network_receive_errs_total", "system.network.errors", "{error}", RECEIVE, INTERFACE),
    total("node_network_transmit_errs_total", "system.network.errors", "{error}", TRANSMIT, INTERFACE),
    total("node_forks_total", "system.process.created", "{process}", None, &[]),
    total("process_cpu_seconds_total", "process.cpu.time", "s", None, &[]),
    amount("process_resident_memory_bytes", "process.memory.usage", "By", None, &[]),
    amount("process_virtual_memory_bytes", "process.memory.virtual", "By", None, &[]),
    amount("process_open_fds", "process.unix.file_descriptor.count", "{file_descriptor}", None, &[]),
];
const STATE: &str = "system.filesystem.state";
/// Families that are needed for others alone, and have no name of their own.
const CONSUMED: &[&str] = &["node_memory_SwapTotal_bytes", "node_filesystem_free_bytes"];

/// The same points under OpenTelemetry's names, and those that it has and Prometheus leaves to arithmetic. Points of one
/// metric stand together.
pub(super) fn convert(lines: Vec<Line<'_>>) -> Vec<Line<'_>> {
    let derived = derive(&lines);
    let mut known: BTreeMap<&str, Vec<Line<'_>>> = BTreeMap::new();
    let mut out = Vec::with_capacity(lines.len() + derived.len());
    for line in lines {
        let rule = RULES.iter().find(|rule| rule.from == line.name && line.origin.is_none());
        match rule {
            Some(rule) => known.entry(rule.to).or_default().push(rename(rule, line)),
            None if CONSUMED.contains(&line.name) => {}
            None => out.push(line),
        }
    }
    for line in derived {
        known.entry(line.name).or_default().push(line);
    }
    out.extend(known.into_values().flatten());
    out
}

fn rename<'a>(rule: &Rule, line: Line<'a>) -> Line<'a> {
    let attributes = line.attributes.into_iter().map(|(name, value)| {
        let name = rule.labels.iter().find(|(from, _)| *from == name).map_or(name, |(_, to)| to);
        (name, named(name, value))
    });
    let fixed = rule.fixed.map(|(name, value)| (name, Attribute::Text(value.into())));
    let attributes = attributes.chain(fixed).collect();
    Line { name: rule.to, help: line.help, unit: rule.unit, sort: rule.sort, attributes, ..line }
}

/// Values that the conventions have other words for.
fn named<'a>(name: &str, value: Attribute<'a>) -> Attribute<'a> {
    let Attribute::Text(text) = &value else { return value };
    match (name, &**text) {
        ("cpu.logical_number", number) => number.parse().map_or(value, Attribute::Whole),
        ("cpu.mode", "irq") => Attribute::Text("interrupt".into()),
        _ => value,
    }
}

/// What is used: of memory, swap and file systems the kernel tells the whole and what is free. What vanished ends here too.
fn derive<'a>(lines: &[Line<'a>]) -> Vec<Line<'a>> {
    [false, true].into_iter().flat_map(|gone| derived(lines, gone)).collect()
}

fn derived<'a>(lines: &[Line<'a>], gone: bool) -> Vec<Line<'a>> {
    let here = |name: &'static str| {
        lines.iter().filter(move |l| l.name == name && l.origin.is_none() && l.gone == gone)
    };
    let first = |name: &'static str| here(name).next();
    let mut out = Vec::new();
    let (memory, swap) = ("node_memory_MemTotal_bytes", "node_memory_SwapTotal_bytes");
    let rest =
        ["node_memory_MemFree_bytes", "node_memory_Buffers_bytes", "node_memory_Cached_bytes"].map(first);
    if let (Some(whole), [Some(free), Some(buffers), Some(cached)]) = (first(memory), rest) {
        out.extend(less("system.memory.usage", (MEMORY, "used"), whole, &[free, buffers, cached]));
    }
    if let Some((whole, free)) = first(swap).zip(first("node_memory_SwapFree_bytes")) {
        out.extend(less("system.paging.usage", ("system.paging.state", "used"), whole, &[free]));
    }
    for free in here("node_filesystem_free_bytes") {
        let same = |name| here(name).find(|line| line.attributes == free.attributes);
        let parts = [("node_filesystem_size_bytes", "used"), ("node_filesystem_avail_bytes", "reserved")];
        for (name, state) in parts {
            let Some(other) = same(name) else { continue };
            let (whole, part) = if state == "used" { (other, free) } else { (free, other) };
            let made = less("system.filesystem.usage", (STATE, state), whole, &[part]);
            out.extend(made.map(of_filesystem));
        }
    }
    out
}

/// The same line, with its labels as attributes of a file system.
fn of_filesystem(line: Line<'_>) -> Line<'_> {
    let named =
        |key| FILESYSTEM.iter().find(|(from, _)| *from == key).map_or(key, |(_, attribute)| *attribute);
    let attributes = line.attributes.into_iter().map(|(key, value)| (named(key), value)).collect();
    Line { attributes, ..line }
}

/// What is left of the whole; nothing if the parts are more, since they were not read at one moment.
fn less<'a>(
    name: &'static str,
    (key, state): (&'static str, &'static str),
    whole: &Line<'a>,
    parts: &[&Line<'a>],
) -> Option<Line<'a>> {
    let mut left = whole.value.number()?;
    for part in parts {
        left -= part.value.number()?;
    }
    let mut line = Line { name, unit: "By", sort: Sort::Amount, exemplars: &[], ..whole.clone() };
    line.value = Cow::Owned(Held::F64(left));
    line.attributes.push((key, Attribute::Text(state.into())));
    (left >= 0.0).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::super::line::lines;
    use super::super::pass::{History, Pass};
    use super::*;
    use crate::exporter::scrapes::Recorded;
    use crate::metric::batch::Recorder;
    use crate::metric::{Desc, Sink, Value};
    use std::time::Instant;

    fn shown(pass: &Pass, value: impl Fn(&Line<'_>) -> String) -> Vec<String> {
        let of = |(key, value): &(&str, Attribute<'_>)| match value {
            Attribute::Text(text) => format!("{key}={text}"),
            Attribute::Whole(number) => format!("{key}={number}"),
        };
        let show = |line: &Line<'_>| {
            let attributes: Vec<String> = line.attributes.iter().map(of).collect();
            format!("{} {:?} {} {}", line.name, line.sort, attributes.join(","), value(line))
        };
        convert(lines(pass)).iter().map(show).collect()
    }

    #[test]
    fn the_kernel_s_numbers_have_the_conventions_names_and_sums() {
        let mut out = Recorder::default();
        for (name, value) in
            [("MemTotal", 100), ("MemFree", 20), ("Buffers", 5), ("Cached", 15), ("Active", 7)]
        {
            out.family(&Desc::gauge(&format!("node_memory_{name}_bytes"), "M.", &[]));
            out.sample(&[], Value::U64(value));
        }
        out.family(&Desc::counter("node_cpu_seconds_total", "C.", &["cpu", "mode"]));
        out.sample(&["0", "user"], Value::F64(1.5));
        out.sample(&["1", "irq"], Value::F64(2.5));
        let labels = &["device", "fstype", "mountpoint"];
        for (name, value) in [("size", 1000), ("free", 300), ("avail", 250)] {
            out.family(&Desc::gauge(&format!("node_filesystem_{name}_bytes"), "F.", labels));
            out.sample(&["/dev/a", "ext4", "/"], Value::U64(value));
        }
        let mut history = History::default();
        let mut next = |batch| history.next(Recorded { batch, begun: Instant::now() }, 1000);
        let pass = next(out.finish());
        let shown = shown(&pass, |line| {
            assert!(!line.gone);
            line.value.number().unwrap().to_string()
        });
        let disk = "system.device=/dev/a,system.filesystem.type=ext4,system.filesystem.mountpoint=/";
        assert_eq!(
            shown,
            [
                "node_memory_Active_bytes Gauge  7",
                "system.cpu.time Total cpu.logical_number=0,cpu.mode=user 1.5",
                "system.cpu.time Total cpu.logical_number=1,cpu.mode=interrupt 2.5",
                &format!("system.filesystem.limit Amount {disk} 1000"),
                &format!("system.filesystem.usage Amount {disk},system.filesystem.state=free 250"),
                &format!("system.filesystem.usage Amount {disk},system.filesystem.state=used 700"),
                &format!("system.filesystem.usage Amount {disk},system.filesystem.state=reserved 50"),
                "system.memory.limit Amount  100",
                "system.memory.usage Amount system.memory.state=free 20",
                "system.memory.usage Amount system.memory.state=buffers 5",
                "system.memory.usage Amount system.memory.state=cached 15",
                "system.memory.usage Amount system.memory.state=used 60",
            ]
        );
        // What is worked out ends with what it was worked out of.
        let ends = |line: &Line<'_>| (if line.gone { "gone" } else { "there" }).to_owned();
        let gone = super::tests::shown(&next(Recorder::default().finish()), ends);
        let expected = shown.iter().map(|line| format!("{} gone", line.rsplit_once(' ').unwrap().0));
        assert_eq!(gone, expected.collect::<Vec<_>>());
    }
}
