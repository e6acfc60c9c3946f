//! The collector of control groups: what memory each uses, may use and waits for (`headroom_cgroup_memory_*`).

use super::{CollectError, Collector, Entry};
use crate::host::Host;
use crate::host::cgroup::{GroupMemory, Hierarchies, Reader};
use crate::metric::{Desc, Sink, Value, single};
use serde::Deserialize;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "cgroup",
    on: true,
    make: |_, options| Ok(Box::new(Cgroup { options: options.cgroup.clone(), open: None })),
};

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
        write(&groups, cut as u64, out);
        Ok(())
    }
}

fn write(groups: &[(String, GroupMemory)], cut: u64, out: &mut dyn Sink) {
    amounts(groups, &CURRENT, out, |memory| memory.current_bytes);
    amounts(groups, &LIMIT, out, |memory| memory.limit_bytes);
    amounts(groups, &ANON, out, |memory| memory.anon_bytes);
    amounts(groups, &FILE, out, |memory| memory.file_bytes);
    amounts(groups, &SWAP, out, |memory| memory.swap_bytes);
    amounts(groups, &RECLAIMABLE, out, |memory| memory.reclaimable_bytes);
    if groups.iter().any(|(_, memory)| !memory.events.is_empty()) {
        out.family(&EVENTS);
        for (name, memory) in groups {
            for (event, count) in &memory.events {
                out.sample(&[name, event], Value::U64(*count));
            }
        }
    }
    let seconds = |micros: Option<u64>| micros.map(|micros| micros as f64 / 1e6);
    amounts(groups, &WAITING, out, |memory| seconds(memory.pressure?.some_micros));
    amounts(groups, &STALLED, out, |memory| seconds(memory.pressure?.full_micros));
    single(out, &CUT, cut);
}

/// Writes a family that has one sample for each group; it is not opened if no group has one.
fn amounts<V: Into<Value<'static>>>(
    groups: &[(String, GroupMemory)],
    desc: &Desc<'_>,
    out: &mut dyn Sink,
    value: impl Fn(&GroupMemory) -> Option<V>,
) {
    let mut open = false;
    for (name, memory) in groups {
        let Some(value) = value(memory) else { continue };
        if !std::mem::replace(&mut open, true) {
            out.family(desc);
        }
        out.sample(&[name], value.into());
    }
}
