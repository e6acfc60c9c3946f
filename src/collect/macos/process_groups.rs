//! The collector of processes: what sysinfo tells of each group, under process-exporter's names (`namedprocess_*`).
//!
//! Time is not told by mode, so it stands under a name of ours.

use super::failed;
use crate::collect::{CollectError, Collector, Entry, Made, OptionError, process_groups as linux};
use crate::host::Host;
use crate::host::group::{Grouping, Users};
use crate::host::proc::Identity;
use crate::metric::{Desc, Sink, Value, single};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

/// This collector's line in the list.
pub(super) const ENTRY: Entry = Entry { name: linux::ENTRY.name, on: true, make: Processes::make };

const GROUP: &[&str] = &["groupname"];
const COUNT: Desc<'static> =
    Desc::gauge("namedprocess_namegroup_num_procs", "number of processes in this group", GROUP);
const MEMORY: Desc<'static> = Desc::gauge(
    "namedprocess_namegroup_memory_bytes",
    "number of bytes of memory in use",
    &["groupname", "memtype"],
);
const OLDEST: Desc<'static> = Desc::gauge(
    "namedprocess_namegroup_oldest_start_time_seconds",
    "start time in seconds since 1970/01/01 of oldest process in group",
    GROUP,
);
const READ: Desc<'static> =
    Desc::counter("namedprocess_namegroup_read_bytes_total", "number of bytes read by this group", GROUP);
const WRITTEN: Desc<'static> =
    Desc::counter("namedprocess_namegroup_write_bytes_total", "number of bytes written by this group", GROUP);
const CPU: Desc<'static> = Desc::counter(
    "headroom_process_group_cpu_seconds_total",
    "Time that the processes of the group ran, in the system and out of it.",
    GROUP,
);
const BUDGET: Desc<'static> = Desc::gauge(
    "headroom_process_group_memory_budget_bytes",
    "How much memory the group may use, as configured.",
    GROUP,
);
const CUT: Desc<'static> = Desc::gauge(
    "headroom_process_groups_cut",
    "Process groups that are left out because there are more than groups_max.",
    &[],
);

struct Processes {
    system: Option<System>,
    grouping: Grouping,
    users: Users,
    groups: Groups,
}

/// What is read of a process.
#[derive(Clone, Debug, Default)]
struct Reading {
    start_seconds: u64,
    resident_bytes: u64,
    virtual_bytes: u64,
    counts: Counts,
}

/// What only grows while a process lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    cpu_millis: u64,
    read_bytes: u64,
    written_bytes: u64,
}

/// The groups, whose totals outlive their processes.
#[derive(Debug, Default)]
struct Groups {
    max: usize,
    all: BTreeMap<String, Group>,
    /// By process: when it started, and its counts when it was last read.
    known: HashMap<u32, (u64, Counts)>,
    cut: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Group {
    totals: Counts,
    processes: u64,
    resident_bytes: u64,
    virtual_bytes: u64,
    oldest_seconds: Option<u64>,
}

impl Processes {
    fn make(host: &Host, options: &crate::collect::Options) -> Made {
        let options = &options.process_groups;
        let grouping = Grouping::new(&options.rules)
            .map_err(|e| OptionError { key: "processes.rules".into(), why: e.to_string() })?;
        // A machine without the file knows its users by number.
        let users = Users::load(host).unwrap_or_default();
        let groups = Groups { max: options.groups_max, ..Groups::default() };
        Ok(Box::new(Self { system: None, grouping, users, groups }))
    }
}

impl Collector for Processes {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let system = match &mut self.system {
            Some(system) => system,
            None => self.system.insert(System::new().map_err(failed)?),
        };
        let what = ProcessRefreshKind::nothing()
            .with_cpu()
            .with_memory()
            .with_disk_usage()
            .with_user(UpdateKind::OnlyIfNotSet)
            .with_cmd(UpdateKind::OnlyIfNotSet)
            .with_exe(UpdateKind::OnlyIfNotSet);
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
        let (grouping, users) = (&self.grouping, &self.users);
        self.groups.pass(system.processes().values().filter(|p| p.thread_kind().is_none()).map(|process| {
            let identity = identity(process);
            let group = grouping.group_of(&identity, users).map(std::borrow::Cow::into_owned);
            (identity.pid, group, reading(process))
        }));
        self.groups.write(out);
        if grouping.budgets().next().is_some() {
            out.family(&BUDGET);
            grouping.budgets().for_each(|(name, bytes)| out.sample(&[name], Value::U64(bytes)));
        }
        Ok(())
    }
}

/// Who a process is. Arguments that the rights do not suffice for are as if there was nothing but its name.
fn identity(process: &sysinfo::Process) -> Identity {
    let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    let comm = text(process.name());
    let mut cmdline: Vec<String> = process.cmd().iter().map(|word| text(word)).collect();
    if cmdline.is_empty() {
        cmdline.push(comm.clone());
    }
    Identity {
        pid: process.pid().as_u32(),
        exe: process.exe().map(|path| text(path.as_os_str())),
        uid: process.effective_user_id().or(process.user_id()).map(|id| **id),
        parent: process.parent().map_or(0, sysinfo::Pid::as_u32),
        comm,
        cmdline,
        ..Identity::default()
    }
}

fn reading(process: &sysinfo::Process) -> Reading {
    let disk = process.disk_usage();
    Reading {
        start_seconds: process.start_time(),
        resident_bytes: process.memory(),
        virtual_bytes: process.virtual_memory(),
        counts: Counts {
            cpu_millis: process.accumulated_cpu_time(),
            read_bytes: disk.total_read_bytes,
            written_bytes: disk.total_written_bytes,
        },
    }
}

impl Counts {
    /// Adds what `now` is more than `before`; a count that went back says nothing.
    fn grow(&mut self, now: Self, before: Self) {
        self.cpu_millis += now.cpu_millis.saturating_sub(before.cpu_millis);
        self.read_bytes += now.read_bytes.saturating_sub(before.read_bytes);
        self.written_bytes += now.written_bytes.saturating_sub(before.written_bytes);
    }
}

impl Groups {
    /// Takes in all processes that there are: id, group, and what was read.
    fn pass(&mut self, processes: impl Iterator<Item = (u32, Option<String>, Reading)>) {
        for group in self.all.values_mut() {
            *group = Group { totals: group.totals, ..Group::default() };
        }
        self.cut.clear();
        let mut known = HashMap::with_capacity(self.known.len());
        for (pid, name, reading) in processes {
            let Some(name) = name else { continue };
            if self.all.len() >= self.max && !self.all.contains_key(&name) {
                self.cut.insert(name);
                continue;
            }
            let before = self.known.get(&pid).filter(|(start, _)| *start == reading.start_seconds);
            let before = before.map(|(_, counts)| *counts).unwrap_or_default();
            known.insert(pid, (reading.start_seconds, reading.counts));
            let group = self.all.entry(name).or_default();
            group.totals.grow(reading.counts, before);
            group.processes += 1;
            group.resident_bytes += reading.resident_bytes;
            group.virtual_bytes += reading.virtual_bytes;
            let oldest = group.oldest_seconds.unwrap_or(reading.start_seconds);
            group.oldest_seconds = Some(oldest.min(reading.start_seconds));
        }
        self.known = known;
    }

    fn write(&self, out: &mut dyn Sink) {
        let whole = |count: u64| Some(Value::U64(count));
        self.family(out, &COUNT, |group| whole(group.processes));
        self.family(out, &CPU, |group| Some(Value::F64(group.totals.cpu_millis as f64 / 1e3)));
        self.family(out, &READ, |group| whole(group.totals.read_bytes));
        self.family(out, &WRITTEN, |group| whole(group.totals.written_bytes));
        self.family(out, &OLDEST, |group| group.oldest_seconds.map(Value::U64));
        out.family(&MEMORY);
        for (name, group) in &self.all {
            out.sample(&[name, "resident"], Value::U64(group.resident_bytes));
            out.sample(&[name, "virtual"], Value::U64(group.virtual_bytes));
        }
        single(out, &CUT, self.cut.len() as u64);
    }

    fn family(&self, out: &mut dyn Sink, desc: &Desc<'_>, value: impl Fn(&Group) -> Option<Value<'static>>) {
        out.family(desc);
        for (name, group) in &self.all {
            if let Some(value) = value(group) {
                out.sample(&[name], value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{page, value};
    use super::*;
    use crate::encode::text::TextEncoder;

    fn process(group: &str, start_seconds: u64, cpu_millis: u64) -> (Option<String>, Reading) {
        let counts = Counts { cpu_millis, read_bytes: 10, written_bytes: 1 };
        let reading = Reading { start_seconds, resident_bytes: 4, virtual_bytes: 8, counts };
        (Some(group.to_owned()), reading)
    }

    fn text(groups: &Groups) -> String {
        let mut out = TextEncoder::default();
        groups.write(&mut out);
        String::from_utf8(out.page().to_vec()).unwrap()
    }

    #[test]
    fn totals_outlive_processes_and_an_id_given_again_is_another_process() {
        let mut groups = Groups { max: 1, ..Groups::default() };
        let mut pass = |all: Vec<(u32, (Option<String>, Reading))>| {
            groups.pass(all.into_iter().map(|(pid, (group, reading))| (pid, group, reading)));
            text(&groups)
        };
        let cpu = |page: &str| value(page, "headroom_process_group_cpu_seconds_total{groupname=\"a\"}");
        let first =
            pass(vec![(1, process("a", 7, 1500)), (2, process("a", 5, 500)), (3, process("b", 5, 9))]);
        assert_eq!(cpu(&first), 2.0);
        for (series, want) in [
            ("namedprocess_namegroup_num_procs{groupname=\"a\"}", 2.0),
            ("namedprocess_namegroup_read_bytes_total{groupname=\"a\"}", 20.0),
            ("namedprocess_namegroup_write_bytes_total{groupname=\"a\"}", 2.0),
            ("namedprocess_namegroup_oldest_start_time_seconds{groupname=\"a\"}", 5.0),
            ("namedprocess_namegroup_memory_bytes{groupname=\"a\",memtype=\"virtual\"}", 16.0),
            ("namedprocess_namegroup_memory_bytes{groupname=\"a\",memtype=\"resident\"}", 8.0),
            ("headroom_process_groups_cut", 1.0),
        ] {
            assert_eq!(value(&first, series), want, "{series}");
        }
        assert_eq!(cpu(&pass(vec![(1, process("a", 7, 1750))])), 2.25);
        assert_eq!(cpu(&pass(vec![(1, process("a", 9, 250))])), 2.5);
        let gone = pass(Vec::new());
        assert_eq!(cpu(&gone), 2.5);
        assert_eq!(value(&gone, "namedprocess_namegroup_num_procs{groupname=\"a\"}"), 0.0);
        assert!(!gone.contains("oldest_start_time_seconds{"), "{gone}");
    }

    #[test]
    fn this_process_is_read_as_the_kernel_shows_it() {
        let mut system = System::new().unwrap();
        let own = sysinfo::Pid::from_u32(std::process::id());
        system.refresh_processes_specifics(
            ProcessesToUpdate::Some(&[own]),
            true,
            ProcessRefreshKind::everything(),
        );
        let process = system.process(own).unwrap();
        let (found, read) = (identity(process), reading(process));
        let kernel = crate::host::proc::identity(&Host::default(), std::process::id()).unwrap().unwrap();
        assert_eq!((found.pid, found.parent, &found.comm), (kernel.pid, kernel.parent, &kernel.comm));
        assert_eq!((found.uid, &found.cmdline, &found.exe), (kernel.uid, &kernel.cmdline, &kernel.exe));
        let stat = crate::host::proc::stat_of(&Host::default(), kernel.pid).unwrap().unwrap();
        let ratio = read.resident_bytes as f64 / stat.resident_bytes as f64;
        assert!((0.5..2.0).contains(&ratio), "{} and {} bytes", read.resident_bytes, stat.resident_bytes);
        let boot = crate::host::proc::boot_seconds(&Host::default()).unwrap().unwrap();
        let ticks = crate::host::proc::clock_ticks_per_second();
        assert!(read.start_seconds.abs_diff(boot + stat.start_ticks / ticks) <= 1);
    }

    #[test]
    fn what_this_process_did_is_counted_as_the_kernel_does() {
        // Where there is a disk below, this is written to it.
        let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        std::io::Write::write_all(&mut file, &vec![1; 1 << 20]).unwrap();
        file.sync_all().unwrap();
        let kernel = || {
            let io = std::fs::read_to_string("/proc/self/io").unwrap();
            let field = |name: &str| -> u64 {
                io.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
            };
            let stat = crate::host::proc::stat_of(&Host::default(), std::process::id()).unwrap().unwrap();
            let millis =
                (stat.user_ticks + stat.system_ticks) * 1000 / crate::host::proc::clock_ticks_per_second();
            (millis, field("read_bytes:"), field("write_bytes:"))
        };
        let before = kernel();
        let mut system = System::new().unwrap();
        let own = sysinfo::Pid::from_u32(std::process::id());
        system.refresh_processes_specifics(
            ProcessesToUpdate::Some(&[own]),
            true,
            ProcessRefreshKind::everything(),
        );
        let found = reading(system.process(own).unwrap()).counts;
        let after = kernel();
        assert!(
            (before.0..=after.0 + 20).contains(&found.cpu_millis),
            "{found:?}, not {before:?} to {after:?}"
        );
        assert!((before.1..=after.1).contains(&found.read_bytes), "{found:?}, not {before:?} to {after:?}");
        assert!(
            (before.2..=after.2).contains(&found.written_bytes),
            "{found:?}, not {before:?} to {after:?}"
        );
    }

    #[test]
    fn all_processes_of_this_machine_are_in_groups() {
        let page = page(&ENTRY);
        let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
        assert!(
            value(&page, &format!("namedprocess_namegroup_num_procs{{groupname=\"{}\"}}", comm.trim()))
                >= 1.0
        );
    }
}
