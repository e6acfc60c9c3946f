//! What the page is sent: a machine now, with rates since the picture before.

use super::alerts::Told;
use super::picture::{Cgroup, FileSystem, Group, Maybe, Memory, Picture};
use serde::Serialize;
use std::collections::BTreeMap;

/// A machine now. Rates are per second, of processors in processors or as shares of all of them.
#[derive(Debug, Serialize)]
pub(super) struct Now<'a> {
    at: f64,
    memory: &'a Memory,
    cpu: Cpu,
    load1: Maybe,
    pressure: Pressure,
    disks: Vec<Disk<'a>>,
    filesystems: &'a [FileSystem],
    network: Vec<Link<'a>>,
    groups: Vec<GroupNow<'a>>,
    cgroups: Vec<CgroupNow<'a>>,
    alerts: Option<&'a serde_json::Value>,
    alerts_error: Option<&'a str>,
    optimizer: Option<Optimizer>,
}

/// Shares of all processors.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Cpu {
    pub(super) count: Option<usize>,
    pub(super) busy: Maybe,
    user: Maybe,
    system: Maybe,
    iowait: Maybe,
    steal: Maybe,
}

/// Shares of the time in which tasks waited.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Pressure {
    pub(super) memory_some: Maybe,
    pub(super) memory_full: Maybe,
    pub(super) io_some: Maybe,
    pub(super) io_full: Maybe,
    pub(super) cpu_some: Maybe,
}

#[derive(Debug, PartialEq, Serialize)]
struct Disk<'a> {
    name: &'a str,
    read: Maybe,
    written: Maybe,
    busy: Maybe,
}

#[derive(Debug, PartialEq, Serialize)]
struct Link<'a> {
    name: &'a str,
    received: Maybe,
    sent: Maybe,
}

#[derive(Debug, PartialEq, Serialize)]
struct GroupNow<'a> {
    name: &'a str,
    processes: Maybe,
    memory: Maybe,
    swap: Maybe,
    cpu: Maybe,
}

#[derive(Debug, PartialEq, Serialize)]
struct CgroupNow<'a> {
    name: &'a str,
    memory: Maybe,
    limit: Maybe,
    cpu: Maybe,
    some: Maybe,
}

/// How the optimizer stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Optimizer {
    /// Whether a person holds all actions.
    pub(super) paused: bool,
    /// Why.
    pub(super) reason: Option<String>,
    /// Another number whenever a run has begun to wait, has begun, or has ended.
    pub(super) stamp: f64,
}

/// A picture, and the one before it.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) before: Option<&'a Picture>,
    pub(super) now: &'a Picture,
}

impl<'a> Pair<'a> {
    /// What the page is sent.
    pub(super) fn event(self, told: &'a Told, optimizer: Option<Optimizer>) -> Now<'a> {
        let now = self.now;
        Now {
            at: now.at,
            memory: &now.memory,
            cpu: self.cpu(),
            load1: now.load1,
            pressure: self.pressure(),
            disks: self.disks(),
            filesystems: &now.filesystems,
            network: self.network(),
            groups: self.groups(),
            cgroups: self.cgroups(),
            alerts: told.alerts.as_ref(),
            alerts_error: told.error.as_deref(),
            optimizer,
        }
    }

    /// How much was counted a second. What went back was counted anew.
    fn rate(self, before: Maybe, now: Maybe) -> Maybe {
        let seconds = self.now.beat - self.before?.beat;
        let counted = now? - before?;
        (seconds > 0.0 && counted >= 0.0).then(|| counted / seconds)
    }

    /// The same of what counts seconds: a share of the time.
    fn share(self, before: Maybe, now: Maybe) -> Maybe {
        self.rate(before, now).map(|share| share.min(1.0))
    }

    fn row<T>(self, of: fn(&Picture) -> &BTreeMap<Box<str>, T>, name: &str) -> Option<&'a T> {
        of(self.before?).get(name)
    }

    /// Shares of all processor time that has passed.
    pub(super) fn cpu(self) -> Cpu {
        let count = self.now.cpus;
        let passed = |mode: &str| {
            let before = self.before?.cpu.get(mode)?;
            Some((self.now.cpu.get(mode)? - before).max(0.0))
        };
        let all: f64 = self.now.cpu.keys().filter_map(|mode| passed(mode)).sum();
        if all <= 0.0 {
            return Cpu { count, ..Cpu::default() };
        }
        // `guest` is part of `user` and is no mode of this family.
        let share = |modes: &[&str]| {
            let parts: Vec<f64> = modes.iter().filter_map(|mode| passed(mode)).collect();
            (!parts.is_empty()).then(|| parts.iter().sum::<f64>() / all)
        };
        Cpu {
            count,
            busy: share(&["idle", "iowait"]).map(|idle| (1.0 - idle).clamp(0.0, 1.0)),
            user: share(&["user", "nice"]),
            system: share(&["system", "irq", "softirq"]),
            iowait: share(&["iowait"]),
            steal: share(&["steal"]),
        }
    }

    /// Shares of the time in which tasks waited.
    pub(super) fn pressure(self) -> Pressure {
        let before = self.before.map(|picture| picture.stalls).unwrap_or_default();
        let mut shares = self.now.stalls;
        for (share, before) in shares.iter_mut().zip(before) {
            *share = self.share(before, *share);
        }
        let [memory_some, memory_full, io_some, io_full, cpu_some] = shares;
        Pressure { memory_some, memory_full, io_some, io_full, cpu_some }
    }

    /// Bytes read and written by all disks, received and sent by all links, each a second.
    pub(super) fn totals(self) -> [Maybe; 4] {
        let sum = |all: Vec<Maybe>| {
            let known: Vec<f64> = all.into_iter().flatten().collect();
            (!known.is_empty()).then(|| known.iter().sum())
        };
        // What a whole disk counts, its partitions do not count again here, and a device mapper's disk would twice.
        let disks: Vec<_> = self.disks().into_iter().filter(|disk| !disk.name.starts_with("dm-")).collect();
        let links: Vec<_> = self.network().into_iter().filter(|link| link.name != "lo").collect();
        [
            sum(disks.iter().map(|disk| disk.read).collect()),
            sum(disks.iter().map(|disk| disk.written).collect()),
            sum(links.iter().map(|link| link.received).collect()),
            sum(links.iter().map(|link| link.sent).collect()),
        ]
    }

    fn disks(self) -> Vec<Disk<'a>> {
        let disk = |(name, row): (&'a str, &[Maybe; 3])| {
            let [read, written, busy] = *row;
            let before = self.row(|picture| &picture.disks, name);
            let [a, b, c] = before.copied().unwrap_or_default();
            Disk { name, read: self.rate(a, read), written: self.rate(b, written), busy: self.share(c, busy) }
        };
        named(&self.now.disks).map(disk).collect()
    }

    fn network(self) -> Vec<Link<'a>> {
        let link = |(name, row): (&'a str, &[Maybe; 2])| {
            let [received, sent] = *row;
            let before = self.row(|picture| &picture.network, name);
            let [a, b] = before.copied().unwrap_or_default();
            Link { name, received: self.rate(a, received), sent: self.rate(b, sent) }
        };
        named(&self.now.network).map(link).collect()
    }

    /// The processors that a group has used.
    fn group_cpu(self, name: &str, now: &Group) -> Maybe {
        self.rate(self.row(|picture| &picture.groups, name).and_then(|group| group.cpu), now.cpu)
    }

    /// The processors that a control group has used.
    fn cgroup_cpu(self, name: &str, now: &Cgroup) -> Maybe {
        self.rate(self.row(|picture| &picture.cgroups, name).and_then(|group| group.cpu), now.cpu)
    }

    fn groups(self) -> Vec<GroupNow<'a>> {
        let group = |(name, group): (&'a str, &Group)| GroupNow {
            name,
            processes: group.processes,
            memory: group.memory,
            swap: group.swap,
            cpu: self.group_cpu(name, group),
        };
        named(&self.now.groups).map(group).collect()
    }

    fn cgroups(self) -> Vec<CgroupNow<'a>> {
        let group = |(name, group): (&'a str, &Cgroup)| CgroupNow {
            name,
            memory: group.memory,
            limit: group.limit,
            cpu: self.cgroup_cpu(name, group),
            some: self.share(self.row(|picture| &picture.cgroups, name).and_then(|g| g.some), group.some),
        };
        named(&self.now.cgroups).map(group).collect()
    }
}

fn named<T>(all: &BTreeMap<Box<str>, T>) -> impl Iterator<Item = (&str, &T)> {
    all.iter().map(|(name, value)| (&**name, value))
}

#[cfg(test)]
mod tests;
