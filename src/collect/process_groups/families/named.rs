//! The families whose labels hold names that are met, not known: of threads, and of functions where they wait.

use super::super::groups::{Groups, Named};
use crate::host::proc::clock_ticks_per_second;
use crate::metric::{Desc, Sink, Value, single};

const THREAD: &[&str] = &["groupname", "threadname"];
const WCHAN: Desc<'static> = Desc::gauge(
    "namedprocess_namegroup_threads_wchan",
    "Number of threads in this group waiting on each wchan",
    &["groupname", "wchan"],
);
const COUNT: Desc<'static> = Desc::gauge(
    "namedprocess_namegroup_thread_count",
    "Number of threads in this group with same threadname",
    THREAD,
);
const CPU: Desc<'static> = Desc::counter(
    "namedprocess_namegroup_thread_cpu_seconds_total",
    "Cpu user/system usage in seconds",
    &["groupname", "threadname", "mode"],
);
const IO: Desc<'static> = Desc::counter(
    "namedprocess_namegroup_thread_io_bytes_total",
    "number of bytes read/written by these threads",
    &["groupname", "threadname", "iomode"],
);
const MAJOR_FAULTS: Desc<'static> = Desc::counter(
    "namedprocess_namegroup_thread_major_page_faults_total",
    "Major page faults for these threads",
    THREAD,
);
const MINOR_FAULTS: Desc<'static> = Desc::counter(
    "namedprocess_namegroup_thread_minor_page_faults_total",
    "Minor page faults for these threads",
    THREAD,
);
const SWITCHES: Desc<'static> = Desc::counter(
    "namedprocess_namegroup_thread_context_switches_total",
    "Context switches for these threads",
    &["groupname", "threadname", "ctxswitchtype"],
);
const CUT: Desc<'static> = Desc::gauge(
    "headroom_process_group_thread_names_cut",
    "Names of threads that are left out because there are more than thread_names_max.",
    &[],
);

/// Writes where the threads of each group wait.
pub(super) fn wchans(groups: &Groups, out: &mut dyn Sink) {
    let mut open = false;
    for group in groups.iter() {
        for (wchan, &count) in &group.now.wchans {
            if !std::mem::replace(&mut open, true) {
                out.family(&WCHAN);
            }
            out.sample(&[&group.name, wchan], Value::U64(count));
        }
    }
}

/// Writes what the threads of each name did, of the names that a thread has now.
pub(super) fn threads(groups: &Groups, out: &mut dyn Sink) {
    let ticks = clock_ticks_per_second() as f64;
    let seconds = |count: Option<u64>| count.map(|count| Value::F64(count as f64 / ticks));
    let whole = |count: Option<u64>| count.map(Value::U64);
    write(groups, &COUNT, out, |t| [("", Some(Value::U64(t.count)))]);
    write(groups, &CPU, out, |t| {
        [("user", seconds(t.totals.user_ticks)), ("system", seconds(t.totals.system_ticks))]
    });
    write(groups, &IO, out, |t| {
        [("read", whole(t.totals.read_bytes)), ("write", whole(t.totals.write_bytes))]
    });
    write(groups, &MAJOR_FAULTS, out, |t| [("", whole(t.totals.major_faults))]);
    write(groups, &MINOR_FAULTS, out, |t| [("", whole(t.totals.minor_faults))]);
    write(groups, &SWITCHES, out, |t| {
        [
            ("voluntary", whole(t.totals.voluntary_switches)),
            ("nonvoluntary", whole(t.totals.nonvoluntary_switches)),
        ]
    });
    single(out, &CUT, groups.cut_threads());
}

/// Writes a family that has some samples for each name of threads; it is not opened if there are none.
fn write<const N: usize>(
    groups: &Groups,
    desc: &Desc<'_>,
    out: &mut dyn Sink,
    values: impl Fn(&Named) -> [(&'static str, Option<Value<'static>>); N],
) {
    let mut open = false;
    for group in groups.iter() {
        for (name, named) in group.threads.iter().filter(|(_, named)| named.count > 0) {
            for (label, value) in values(named) {
                let Some(value) = value else { continue };
                if !std::mem::replace(&mut open, true) {
                    out.family(desc);
                }
                let labels = [group.name.as_str(), name.as_str(), label];
                out.sample(labels.get(..desc.labels.len()).unwrap_or_default(), value);
            }
        }
    }
}
