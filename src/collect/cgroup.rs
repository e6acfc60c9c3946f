//! The collector of control groups: what memory each uses, may use and waits for (`headroom_cgroup_memory_*`).

mod watch;

use super::{CollectError, Collector, Entry};
use crate::host::cgroup::{GroupMemory, Hierarchies, Reader};
use crate::host::{Host, Kept, memory};
use crate::metric::{Desc, Sink, Value, single};
use serde::Deserialize;
use std::time::{Duration, Instant};
use watch::{Outlook, Watch};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "cgroup",
    on: true,
    make: |host, options| {
        let begun = Instant::now();
        Ok(collector(host, options.cgroup.clone(), Box::new(move || begun.elapsed())))
    },
};

/// Tells the time since some moment that stays.
pub type Clock = Box<dyn Fn() -> Duration + Send>;

/// Makes the collector with a clock of its own for what it says about the last minutes.
pub fn collector(host: &Host, options: Options, clock: Clock) -> Box<dyn Collector> {
    let meminfo = host.proc_file("meminfo");
    Box::new(Cgroup { options, open: None, meminfo, clock, watch: Watch::default() })
}

const CGROUP: &[&str] = &["cgroup"];
const CURRENT: Desc<'static> = Desc::gauge(
    "headroom_cgroup_memory_current_bytes",
    "Memory charged to the control group and all below it, in bytes.",
    CGROUP,
);
const LIMIT: Desc<'static> = Desc::gauge(
    "headroom_cgroup_memory_limit_bytes",
    "The control group's own hard limit of memory, in bytes; absent where it has none.",
    CGROUP,
);
const HIGH: Desc<'static> = Desc::gauge(
    "headroom_cgroup_memory_high_bytes",
    "What the control group may use before its tasks are held back (memory.high), in bytes; absent where it is unlimited.",
    CGROUP,
);
const AVAILABLE: Desc<'static> = Desc::gauge(
    "headroom_cgroup_memory_available_bytes",
    "What the control group can still take before the nearest limit (memory.max or memory.high, its own or that of a group \
     above it) or the machine's MemAvailable is used up, in bytes. What the kernel can take back at once \
     (headroom_cgroup_memory_reclaimable_bytes) counts as available.",
    CGROUP,
);
const TIME_TO_LIMIT: Desc<'static> = Desc::gauge(
    "headroom_cgroup_memory_time_to_limit_seconds",
    "Seconds until the first limit of the control group or of a group above it is reached if memory that cannot be \
     reclaimed goes on growing as in the last 5 to 10 minutes; absent if it does not grow, if there are less than five \
     samples, and beyond a day.",
    CGROUP,
);
const WORKING_SET: Desc<'static> = Desc::gauge(
    "headroom_cgroup_memory_working_set_bytes",
    "What the control group needs, estimated, in bytes: its usage less inactive_file; of inactive_file, the share that \
     reclaim lately took and the group needed again (workingset_activate to pgsteal, cgroup v2) counts as needed.",
    CGROUP,
);
const REFAULTS: Desc<'static> = Desc::counter(
    "headroom_cgroup_memory_refaults_total",
    "Pages of the control group that were reclaimed and needed again soon (workingset_refault_*), by kind: anon or file.",
    &["cgroup", "kind"],
);
const ACTIVATIONS: Desc<'static> = Desc::counter(
    "headroom_cgroup_memory_activations_total",
    "Refaults of pages that belong to the working set (workingset_activate_*), by kind: anon or file; cgroup v2 only.",
    &["cgroup", "kind"],
);
const SCANNED: Desc<'static> = Desc::counter(
    "headroom_cgroup_memory_scanned_pages_total",
    "Pages of the control group that reclaim looked at (pgscan); cgroup v2 only.",
    CGROUP,
);
const RECLAIMED: Desc<'static> = Desc::counter(
    "headroom_cgroup_memory_reclaimed_pages_total",
    "Pages of the control group that reclaim took (pgsteal); cgroup v2 only.",
    CGROUP,
);
const ANON: Desc<'static> = Desc::gauge(
    "headroom_cgroup_memory_anon_bytes",
    "Anonymous memory of the control group, in bytes.",
    CGROUP,
);
const FILE: Desc<'static> = Desc::gauge(
    "headroom_cgroup_memory_file_bytes",
    "Page cache of the control group, tmpfs and shared memory included, in bytes.",
    CGROUP,
);
const SWAP: Desc<'static> = Desc::gauge(
    "headroom_cgroup_memory_swap_bytes",
    "Memory of the control group that was swapped out, in bytes.",
    CGROUP,
);
const RECLAIMABLE: Desc<'static> = Desc::gauge(
    "headroom_cgroup_memory_reclaimable_bytes",
    "Memory of the control group that the kernel can take at once and without swap, in bytes: \
     active and inactive file pages that are neither dirty nor being written, and on cgroup v2 reclaimable slab.",
    CGROUP,
);
const EVENTS: Desc<'static> = Desc::counter(
    "headroom_cgroup_memory_events_total",
    "How often the control group reached a bound of its memory, by the event's name in memory.events \
     (cgroup v1: max and oom_kill).",
    &["cgroup", "event"],
);
const WAITING: Desc<'static> = Desc::counter(
    "headroom_cgroup_memory_pressure_waiting_seconds_total",
    "Time in which at least one task of the control group waited for memory, in seconds.",
    CGROUP,
);
const STALLED: Desc<'static> = Desc::counter(
    "headroom_cgroup_memory_pressure_stalled_seconds_total",
    "Time in which all tasks of the control group that could run waited for memory, in seconds.",
    CGROUP,
);
const CUT: Desc<'static> = Desc::gauge(
    "headroom_cgroups_cut",
    "Control groups that are left out because there are more than groups_max.",
    &[],
);

/// Which control groups are read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How far below the root groups are looked for; the root's depth is 0.
    pub depth_max: usize,
    /// How many groups are read; those nearer to the root come first, and the rest is counted in
    /// `headroom_cgroups_cut`.
    pub groups_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { depth_max: 4, groups_max: 500 }
    }
}

struct Cgroup {
    options: Options,
    open: Option<(Reader, Hierarchies)>,
    meminfo: Kept,
    clock: Clock,
    watch: Watch,
}

impl Collector for Cgroup {
    fn collect(&mut self, host: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        if self.open.is_none() {
            let found = Hierarchies::detect(host)?;
            if !found.is_empty() {
                self.open = Some((Reader::new(&found), found));
            }
        }
        let Some((reader, hierarchies)) = &mut self.open else {
            return Err(CollectError::Absent("a control group hierarchy with memory or pressure".into()));
        };
        let (names, cut) = hierarchies.groups(self.options.depth_max, self.options.groups_max)?;
        let mut groups = Vec::with_capacity(names.len());
        for name in names {
            // A group that was removed since the list was made is not there.
            if let Some(memory) = reader.read(&name)? {
                groups.push((name, memory));
            }
        }
        let available = self.meminfo.read()?.and_then(|text| memory::meminfo_bytes(text, "MemAvailable"));
        let outlooks = self.watch.look((self.clock)(), available, &groups);
        let all: Vec<Row<'_>> =
            groups.iter().zip(outlooks).map(|((name, m), o)| (name.as_str(), m, o)).collect();
        write(&all, cut as u64, out);
        Ok(())
    }
}

/// A group with what its files say and what is to be expected of it.
type Row<'a> = (&'a str, &'a GroupMemory, Outlook);

fn write(groups: &[Row<'_>], cut: u64, out: &mut dyn Sink) {
    amounts(groups, &CURRENT, out, |memory, _| memory.current_bytes);
    amounts(groups, &LIMIT, out, |memory, _| memory.limit_bytes);
    amounts(groups, &HIGH, out, |memory, _| memory.high_bytes);
    amounts(groups, &AVAILABLE, out, |_, outlook| outlook.available_bytes);
    amounts(groups, &TIME_TO_LIMIT, out, |_, outlook| outlook.time_to_limit_seconds);
    amounts(groups, &WORKING_SET, out, |_, outlook| outlook.working_set_bytes);
    amounts(groups, &ANON, out, |memory, _| memory.anon_bytes);
    amounts(groups, &FILE, out, |memory, _| memory.file_bytes);
    amounts(groups, &SWAP, out, |memory, _| memory.swap_bytes);
    amounts(groups, &RECLAIMABLE, out, |memory, _| memory.reclaimable_bytes);
    amounts(groups, &SCANNED, out, |memory, _| memory.scanned_pages);
    amounts(groups, &RECLAIMED, out, |memory, _| memory.reclaimed_pages);
    kinds(groups, &REFAULTS, out, |memory| [("anon", memory.refault_anon), ("file", memory.refault_file)]);
    kinds(groups, &ACTIVATIONS, out, |memory| {
        [("anon", memory.activate_anon), ("file", memory.activate_file)]
    });
    if groups.iter().any(|(_, memory, _)| !memory.events.is_empty()) {
        out.family(&EVENTS);
        for (name, memory, _) in groups {
            for (event, count) in &memory.events {
                out.sample(&[name, event], Value::U64(*count));
            }
        }
    }
    let seconds = |micros: Option<u64>| micros.map(|micros| micros as f64 / 1e6);
    amounts(groups, &WAITING, out, |memory, _| seconds(memory.pressure?.some_micros));
    amounts(groups, &STALLED, out, |memory, _| seconds(memory.pressure?.full_micros));
    single(out, &CUT, cut);
}

/// Writes a family that has one sample for each group; it is not opened if no group has one.
fn amounts<V: Into<Value<'static>>>(
    groups: &[Row<'_>],
    desc: &Desc<'_>,
    out: &mut dyn Sink,
    value: impl Fn(&GroupMemory, &Outlook) -> Option<V>,
) {
    let mut open = false;
    for (name, memory, outlook) in groups {
        let Some(value) = value(memory, outlook) else { continue };
        if !std::mem::replace(&mut open, true) {
            out.family(desc);
        }
        out.sample(&[name], value.into());
    }
}

/// The same with one sample for each kind of pages.
fn kinds(
    groups: &[Row<'_>],
    desc: &Desc<'_>,
    out: &mut dyn Sink,
    counts: impl Fn(&GroupMemory) -> [(&'static str, Option<u64>); 2],
) {
    let mut open = false;
    for (name, memory, _) in groups {
        for (kind, count) in counts(memory).into_iter().filter_map(|(kind, count)| Some((kind, count?))) {
            if !std::mem::replace(&mut open, true) {
                out.family(desc);
            }
            out.sample(&[name, kind], Value::U64(count));
        }
    }
}
