//! What a pass says of what the page shows: counts as they stand, and no more than a few kilobytes of them.

use crate::metric::batch::{Batch, Family};
use std::collections::BTreeMap;

const GROUP_CPU: &str = "namedprocess_namegroup_cpu_seconds_total";
const GROUP_MEMORY: &str = "namedprocess_namegroup_memory_bytes";
const GROUP_PROCESSES: &str = "namedprocess_namegroup_num_procs";
const CGROUP_MEMORY: &str = "headroom_cgroup_memory_current_bytes";
const CGROUP_LIMIT: &str = "headroom_cgroup_memory_limit_bytes";
const CGROUP_SOME: &str = "headroom_cgroup_memory_pressure_waiting_seconds_total";
const CGROUP_CPU: &str = "container_cpu_usage_seconds_total";
/// Stall totals in the order of [`Stalls`].
const STALLS: [&str; 5] = [
    "node_pressure_memory_waiting_seconds_total",
    "node_pressure_memory_stalled_seconds_total",
    "node_pressure_io_waiting_seconds_total",
    "node_pressure_io_stalled_seconds_total",
    "node_pressure_cpu_waiting_seconds_total",
];
const DISKS: [&str; 3] =
    ["node_disk_read_bytes_total", "node_disk_written_bytes_total", "node_disk_io_time_seconds_total"];
const NETWORK: [&str; 2] = ["node_network_receive_bytes_total", "node_network_transmit_bytes_total"];
/// Parts of the kernel's own memory that it does not give back when asked.
const KERNEL: [&str; 4] = [
    "node_memory_SUnreclaim_bytes",
    "node_memory_KernelStack_bytes",
    "node_memory_PageTables_bytes",
    "node_memory_Percpu_bytes",
];

/// The families that a picture is made of.
pub(super) const FAMILIES: &[&str] = &[
    "node_memory_MemTotal_bytes",
    "node_memory_MemFree_bytes",
    "node_memory_MemAvailable_bytes",
    "node_memory_AnonPages_bytes",
    "node_memory_Shmem_bytes",
    "node_memory_SwapTotal_bytes",
    "node_memory_SwapFree_bytes",
    KERNEL[0],
    KERNEL[1],
    KERNEL[2],
    KERNEL[3],
    "node_cpu_seconds_total",
    "node_load1",
    STALLS[0],
    STALLS[1],
    STALLS[2],
    STALLS[3],
    STALLS[4],
    DISKS[0],
    DISKS[1],
    DISKS[2],
    NETWORK[0],
    NETWORK[1],
    "node_filesystem_size_bytes",
    "node_filesystem_avail_bytes",
    "node_uname_info",
    "node_os_info",
    GROUP_CPU,
    GROUP_MEMORY,
    GROUP_PROCESSES,
    CGROUP_MEMORY,
    CGROUP_LIMIT,
    CGROUP_SOME,
    CGROUP_CPU,
];

/// A number that may not be known.
pub(super) type Maybe = Option<f64>;
/// Totals of pressure in seconds: memory some and full, disks some and full, processors some.
pub(super) type Stalls = [Maybe; 5];

/// A machine at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Picture {
    /// Seconds since the epoch, to be shown.
    pub(super) at: f64,
    /// Seconds of a clock that nobody sets, for rates.
    pub(super) beat: f64,
    pub(super) memory: Memory,
    /// Processor time by mode, of all processors, in seconds; empty if it is not known.
    pub(super) cpu: BTreeMap<Box<str>, f64>,
    pub(super) cpus: Option<usize>,
    pub(super) load1: Maybe,
    pub(super) stalls: Stalls,
    /// Bytes read and written, and seconds busy.
    pub(super) disks: BTreeMap<Box<str>, [Maybe; 3]>,
    /// Bytes received and sent.
    pub(super) network: BTreeMap<Box<str>, [Maybe; 2]>,
    pub(super) filesystems: Vec<FileSystem>,
    pub(super) groups: BTreeMap<Box<str>, Group>,
    pub(super) cgroups: BTreeMap<Box<str>, Cgroup>,
    pub(super) about: About,
}

/// Memory, in bytes.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub(super) struct Memory {
    pub(super) total: Maybe,
    pub(super) available: Maybe,
    pub(super) free: Maybe,
    pub(super) anonymous: Maybe,
    pub(super) shared: Maybe,
    /// What of the kernel's own cannot be given back.
    pub(super) kernel: Maybe,
    pub(super) swap_total: Maybe,
    pub(super) swap_free: Maybe,
}

/// A mounted file system, in bytes.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub(super) struct FileSystem {
    pub(super) mount: Box<str>,
    #[serde(rename = "type")]
    pub(super) kind: Box<str>,
    pub(super) size: f64,
    pub(super) available: Maybe,
}

/// A process group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Group {
    pub(super) processes: Maybe,
    /// Its share of the memory (PSS) where that is measured, else what is resident.
    pub(super) memory: Maybe,
    pub(super) swap: Maybe,
    /// Processor time, in seconds.
    pub(super) cpu: Maybe,
}

/// A control group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cgroup {
    pub(super) memory: Maybe,
    pub(super) limit: Maybe,
    /// Time in which some task waited for memory, in seconds.
    pub(super) some: Maybe,
    /// Processor time, in seconds.
    pub(super) cpu: Maybe,
}

/// Who the machine is.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub(super) struct About {
    pub(super) host: Option<Box<str>>,
    pub(super) os: Option<Box<str>>,
    pub(super) kernel: Option<Box<str>>,
}

impl Picture {
    /// The picture of a pass that was made at this time, in seconds since the epoch and of a clock that nobody sets.
    pub(super) fn of(batch: &Batch, at: f64, beat: f64) -> Self {
        let one = |name: &str| one(batch, name);
        let kernel: Vec<f64> = KERNEL.iter().filter_map(|name| one(name)).collect();
        let memory = Memory {
            total: one("node_memory_MemTotal_bytes"),
            available: one("node_memory_MemAvailable_bytes"),
            free: one("node_memory_MemFree_bytes"),
            anonymous: one("node_memory_AnonPages_bytes"),
            shared: one("node_memory_Shmem_bytes"),
            kernel: (!kernel.is_empty()).then(|| kernel.iter().sum()),
            swap_total: one("node_memory_SwapTotal_bytes"),
            swap_free: one("node_memory_SwapFree_bytes"),
        };
        Self {
            at,
            beat,
            memory,
            cpu: sums(batch, "node_cpu_seconds_total", "mode"),
            cpus: Some(sums(batch, "node_cpu_seconds_total", "cpu").len()).filter(|cpus| *cpus > 0),
            load1: one("node_load1"),
            stalls: STALLS.map(one),
            disks: columns(batch, &DISKS, "device"),
            network: columns(batch, &NETWORK, "device"),
            filesystems: filesystems(batch),
            groups: groups(batch),
            cgroups: cgroups(batch),
            about: About {
                host: text(batch, "node_uname_info", "nodename"),
                os: text(batch, "node_os_info", "pretty_name"),
                kernel: text(batch, "node_uname_info", "release"),
            },
        }
    }
}

/// The samples of a family: the values of these labels, and the number.
fn rows<'a, const N: usize>(
    batch: &'a Batch,
    name: &str,
    labels: [&str; N],
) -> impl Iterator<Item = ([&'a str; N], f64)> {
    let place = |family: &Family, label: &str| family.labels.iter().position(|name| **name == *label);
    let family = batch.family(name);
    let places = family.map(|family| labels.map(|label| place(family, label)));
    let samples = family.map_or(&[][..], |family| &family.samples);
    samples.iter().filter_map(move |sample| {
        let value = |place: Option<usize>| place.and_then(|n| sample.values.get(n)).map_or("", |v| v);
        Some((places?.map(value), sample.value.number()?))
    })
}

fn one(batch: &Batch, name: &str) -> Maybe {
    rows(batch, name, []).map(|([], value)| value).next()
}

fn text(batch: &Batch, name: &str, label: &str) -> Option<Box<str>> {
    let ([text], _) = rows(batch, name, [label]).next()?;
    (!text.is_empty()).then(|| text.into())
}

/// The samples of a family, added up by a label.
fn sums(batch: &Batch, name: &str, label: &str) -> BTreeMap<Box<str>, f64> {
    let mut sums = BTreeMap::new();
    for ([key], value) in rows(batch, name, [label]) {
        *sums.entry(key.into()).or_default() += value;
    }
    sums
}

fn columns<const N: usize>(batch: &Batch, names: &[&str; N], label: &str) -> BTreeMap<Box<str>, [Maybe; N]> {
    let mut all: BTreeMap<Box<str>, [Maybe; N]> = BTreeMap::new();
    for (n, name) in names.iter().enumerate() {
        for ([key], value) in rows(batch, name, [label]) {
            let row = all.entry(key.into()).or_insert([None; N]);
            if let Some(place) = row.get_mut(n) {
                *place = Some(value);
            }
        }
    }
    all
}

fn filesystems(batch: &Batch) -> Vec<FileSystem> {
    let labels = ["mountpoint", "fstype"];
    let available: BTreeMap<_, f64> = rows(batch, "node_filesystem_avail_bytes", labels).collect();
    let sizes = rows(batch, "node_filesystem_size_bytes", labels).filter(|(_, size)| *size > 0.0);
    let all = sizes.map(|(key, size)| {
        let [mount, kind] = key.map(Into::into);
        FileSystem { mount, kind, size, available: available.get(&key).copied() }
    });
    all.collect()
}

fn groups(batch: &Batch) -> BTreeMap<Box<str>, Group> {
    let mut all: BTreeMap<Box<str>, Group> = BTreeMap::new();
    for ([name], processes) in rows(batch, GROUP_PROCESSES, ["groupname"]) {
        all.entry(name.into()).or_default().processes = Some(processes);
    }
    let (mut shares, mut resident) = (BTreeMap::new(), BTreeMap::new());
    for ([name, kind], value) in rows(batch, GROUP_MEMORY, ["groupname", "memtype"]) {
        match kind {
            "proportionalResident" => drop(shares.insert(name, value)),
            "resident" => drop(resident.insert(name, value)),
            "swapped" => all.entry(name.into()).or_default().swap = Some(value),
            _ => {}
        }
    }
    for (name, value) in resident {
        all.entry(name.into()).or_default().memory = shares.get(name).copied().or(Some(value));
    }
    for (name, value) in sums(batch, GROUP_CPU, "groupname") {
        all.entry(name).or_default().cpu = Some(value);
    }
    all
}

fn cgroups(batch: &Batch) -> BTreeMap<Box<str>, Cgroup> {
    let mut all: BTreeMap<Box<str>, Cgroup> = BTreeMap::new();
    for ([name], value) in rows(batch, CGROUP_MEMORY, ["cgroup"]) {
        all.entry(name.into()).or_default().memory = Some(value);
    }
    for ([name], value) in rows(batch, CGROUP_LIMIT, ["cgroup"]) {
        all.entry(name.into()).or_default().limit = Some(value);
    }
    for ([name], value) in rows(batch, CGROUP_SOME, ["cgroup"]) {
        all.entry(name.into()).or_default().some = Some(value);
    }
    // Another collector's, which may look at other groups.
    for (name, value) in sums(batch, CGROUP_CPU, "id") {
        if let Some(group) = all.get_mut(&name) {
            group.cpu = Some(value);
        }
    }
    all
}

#[cfg(test)]
pub(in crate::live) mod tests;
