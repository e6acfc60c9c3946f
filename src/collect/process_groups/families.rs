//! The families of process groups, with process-exporter's names, labels and help texts, and ours.

mod named;

use super::groups::{Group, Groups};
use super::sampler::Coverage;
use crate::host::group::Grouping;
use crate::host::proc::{CLASSES, Proportional, clock_ticks_per_second};
use crate::metric::{Desc, Sink, Value, single};

const GROUP: &[&str] = &["groupname"];
const NUM_PROCS: Desc<'static> =
    Desc::gauge("namedprocess_namegroup_num_procs", "number of processes in this group", GROUP);
const CPU: Desc<'static> = Desc::counter(
    "namedprocess_namegroup_cpu_seconds_total",
    "Cpu user usage in seconds",
    &["groupname", "mode"],
);
const READ: Desc<'static> =
    Desc::counter("namedprocess_namegroup_read_bytes_total", "number of bytes read by this group", GROUP);
const WRITE: Desc<'static> =
    Desc::counter("namedprocess_namegroup_write_bytes_total", "number of bytes written by this group", GROUP);
const MAJOR_FAULTS: Desc<'static> =
    Desc::counter("namedprocess_namegroup_major_page_faults_total", "Major page faults", GROUP);
const MINOR_FAULTS: Desc<'static> =
    Desc::counter("namedprocess_namegroup_minor_page_faults_total", "Minor page faults", GROUP);
/// Of all threads if they are told apart, else of the main ones, as in process-exporter; see /proc/PID/status.
const SWITCHES: Desc<'static> = Desc::counter(
    "namedprocess_namegroup_context_switches_total",
    "Context switches",
    &["groupname", "ctxswitchtype"],
);
const MEMORY: Desc<'static> = Desc::gauge(
    "namedprocess_namegroup_memory_bytes",
    "number of bytes of memory in use",
    &["groupname", "memtype"],
);
const OPEN_FILES: Desc<'static> = Desc::gauge(
    "namedprocess_namegroup_open_filedesc",
    "number of open file descriptors for this group",
    GROUP,
);
const WORST_RATIO: Desc<'static> = Desc::gauge(
    "namedprocess_namegroup_worst_fd_ratio",
    "the worst (closest to 1) ratio between open fds and max fds among all procs in this group",
    GROUP,
);
const OLDEST_START: Desc<'static> = Desc::gauge(
    "namedprocess_namegroup_oldest_start_time_seconds",
    "start time in seconds since 1970/01/01 of oldest process in group",
    GROUP,
);
const THREADS: Desc<'static> = Desc::gauge("namedprocess_namegroup_num_threads", "Number of threads", GROUP);
const STATES: Desc<'static> = Desc::gauge(
    "namedprocess_namegroup_states",
    "Number of processes in states Running, Sleeping, Waiting, Zombie, or Other",
    &["groupname", "state"],
);
const STATE_NAMES: [&str; 5] = ["Running", "Sleeping", "Waiting", "Zombie", "Other"];
const BUDGET: Desc<'static> = Desc::gauge(
    "headroom_process_group_memory_budget_bytes",
    "How much memory the named process group may use by its rule, in bytes.",
    GROUP,
);
const PSS: Desc<'static> = Desc::gauge(
    "headroom_process_group_pss_bytes",
    "Memory of this group by class of mapping, shared pages in proportion to who shares them, as last looked at.",
    &["groupname", "class"],
);
const SWAP_PSS: Desc<'static> = Desc::gauge(
    "headroom_process_group_swap_pss_bytes",
    "Swap that this group uses by class of mapping, shared pages in proportion, as last looked at.",
    &["groupname", "class"],
);
const WAITING: Desc<'static> = Desc::gauge(
    "headroom_process_groups_unread_processes",
    "Processes whose mappings are still to be read for the first time; groups that have some have no PSS yet.",
    &[],
);
const OLDEST: Desc<'static> = Desc::gauge(
    "headroom_process_groups_pss_age_seconds",
    "How long ago the mappings were read that wait longest to be read again.",
    &[],
);
const CUT: Desc<'static> = Desc::gauge(
    "headroom_process_groups_cut",
    "Process groups that are left out because there are more than groups_max.",
    &[],
);

// process-exporter calls these three counters without `_total`. Untyped, they keep their names and
// values, and `promtool check metrics` has nothing to say.
const SCRAPE_ERRORS: Desc<'static> = Desc::untyped(
    "namedprocess_scrape_errors",
    "general scrape errors: no proc metrics collected during a cycle",
    &[],
);
const PROCESS_ERRORS: Desc<'static> = Desc::untyped(
    "namedprocess_scrape_procread_errors",
    "incremented each time a proc's metrics collection fails",
    &[],
);
const PARTIAL_ERRORS: Desc<'static> = Desc::untyped(
    "namedprocess_scrape_partial_errors",
    "incremented each time a tracked proc's metrics collection fails partially, e.g. unreadable I/O stats",
    &[],
);

/// How often something could not be read, since the start.
#[derive(Debug, Default)]
pub(super) struct Errors {
    /// No process could be read.
    pub(super) scrape: u64,
    /// A process could not be read.
    pub(super) process: u64,
    /// A file of a process could not be read.
    pub(super) partial: u64,
}

impl Errors {
    pub(super) fn write(&self, out: &mut dyn Sink) {
        single(out, &SCRAPE_ERRORS, self.scrape);
        single(out, &PROCESS_ERRORS, self.process);
        single(out, &PARTIAL_ERRORS, self.partial);
    }
}

/// What is to be written.
pub(super) struct View<'a> {
    pub(super) groups: &'a Groups,
    pub(super) grouping: &'a Grouping,
    pub(super) boot_seconds: Option<u64>,
    pub(super) open_files: bool,
    pub(super) threads: bool,
    /// Set if memory is read in proportion to who shares it.
    pub(super) coverage: Option<Coverage>,
}

impl View<'_> {
    /// Writes all groups, family by family.
    pub(super) fn write(&self, out: &mut dyn Sink) {
        write_counters(self.groups, out);
        write_gauges(self.groups, self.coverage, out);
        named::wchans(self.groups, out);
        if self.threads {
            named::threads(self.groups, out);
        }
        if self.open_files {
            plain(self.groups, &OPEN_FILES, out, |g| held(g, g.now.open_files));
            plain(self.groups, &WORST_RATIO, out, |g| g.now.worst_ratio);
        }
        let ticks = clock_ticks_per_second();
        plain(self.groups, &OLDEST_START, out, |g| {
            let start = g.now.oldest_ticks?.checked_div(ticks)?;
            Some(self.boot_seconds?.saturating_add(start))
        });
        let mut budgets = self.grouping.budgets().peekable();
        if budgets.peek().is_some() {
            out.family(&BUDGET);
            budgets.for_each(|(name, bytes)| out.sample(&[name], Value::U64(bytes)));
        }
        single(out, &CUT, self.groups.cut());
        if let Some(coverage) = self.coverage {
            write_classes(self.groups, out);
            single(out, &WAITING, coverage.waiting);
            if let Some(oldest) = coverage.oldest {
                single(out, &OLDEST, oldest.as_secs_f64());
            }
        }
    }
}

fn write_classes(groups: &Groups, out: &mut dyn Sink) {
    type Part = fn(&Proportional) -> u64;
    let kinds: [(&Desc<'_>, Part); 2] = [(&PSS, |p| p.resident_bytes), (&SWAP_PSS, |p| p.swapped_bytes)];
    for (desc, part) in kinds {
        split(groups, desc, out, |g| {
            let mut sums = memory(g).into_iter().flatten();
            CLASSES.map(|(_, name)| (name, sums.next().map(|sum| Value::U64(part(&sum)))))
        });
    }
}

/// The memory of a group by class, if that of all members is known.
fn memory(group: &Group) -> Option<[Proportional; 5]> {
    let sums = group.now.memory.or_else(|| (group.now.processes == 0).then(Default::default));
    sums.filter(|_| group.now.unread == 0)
}

/// The same over all classes, in memory and in swap.
fn proportional(group: &Group) -> Option<(u64, u64)> {
    let mut all = Proportional::default();
    memory(group)?.into_iter().for_each(|class| all.add(class));
    Some((all.resident_bytes, all.swapped_bytes))
}

/// A sum over the members: of no members it is zero, of members that could not be read it is absent.
fn held(group: &Group, sum: Option<u64>) -> Option<u64> {
    sum.or_else(|| (group.now.processes == 0).then_some(0))
}

fn write_counters(groups: &Groups, out: &mut dyn Sink) {
    let ticks = clock_ticks_per_second() as f64;
    let seconds = |count: Option<u64>| count.map(|count| Value::F64(count as f64 / ticks));
    split(groups, &CPU, out, |g| {
        [("user", seconds(g.totals.user_ticks)), ("system", seconds(g.totals.system_ticks))]
    });
    plain(groups, &READ, out, |g| g.totals.read_bytes);
    plain(groups, &WRITE, out, |g| g.totals.write_bytes);
    plain(groups, &MAJOR_FAULTS, out, |g| g.totals.major_faults);
    plain(groups, &MINOR_FAULTS, out, |g| g.totals.minor_faults);
    split(groups, &SWITCHES, out, |g| {
        [
            ("voluntary", g.totals.voluntary_switches.map(Value::U64)),
            ("nonvoluntary", g.totals.nonvoluntary_switches.map(Value::U64)),
        ]
    });
}

fn write_gauges(groups: &Groups, sampled: Option<Coverage>, out: &mut dyn Sink) {
    plain(groups, &NUM_PROCS, out, |g| Some(g.now.processes));
    split(groups, &MEMORY, out, |g| {
        [
            ("resident", Some(Value::U64(g.now.resident_bytes))),
            ("virtual", Some(Value::U64(g.now.virtual_bytes))),
            ("swapped", held(g, g.now.swapped_bytes).map(Value::U64)),
            (
                "proportionalResident",
                sampled.and_then(|_| proportional(g)).map(|(memory, _)| Value::U64(memory)),
            ),
            ("proportionalSwapped", sampled.and_then(|_| proportional(g)).map(|(_, swap)| Value::U64(swap))),
        ]
    });
    plain(groups, &THREADS, out, |g| Some(g.now.threads));
    split(groups, &STATES, out, |g| {
        let mut states = g.now.states.into_iter();
        STATE_NAMES.map(|name| (name, states.next().map(Value::U64)))
    });
}

/// Writes a family that has one sample for each group; it is not opened if no group has one.
fn plain<V: Into<Value<'static>>>(
    groups: &Groups,
    desc: &Desc<'_>,
    out: &mut dyn Sink,
    value: impl Fn(&Group) -> Option<V>,
) {
    let mut open = false;
    for group in groups.iter() {
        let Some(value) = value(group) else { continue };
        if !std::mem::replace(&mut open, true) {
            out.family(desc);
        }
        out.sample(&[&group.name], value.into());
    }
}

/// Writes a family that has some samples for each group, told apart by a second label.
fn split<const N: usize>(
    groups: &Groups,
    desc: &Desc<'_>,
    out: &mut dyn Sink,
    values: impl Fn(&Group) -> [(&'static str, Option<Value<'static>>); N],
) {
    let mut open = false;
    for group in groups.iter() {
        for (label, value) in values(group) {
            let Some(value) = value else { continue };
            if !std::mem::replace(&mut open, true) {
                out.family(desc);
            }
            out.sample(&[&group.name, label], value);
        }
    }
}
