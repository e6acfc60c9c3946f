//! cAdvisor's families: name, help and kind of each, and which number of a group it shows.

use super::group::{Group, Labels};
use crate::host::container::{Device, Interface, Usage};
use crate::metric::{Desc, Kind, Sink, Value};

/// A family that has one sample for each group.
struct Single {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    value: fn(&Usage) -> Option<Value<'static>>,
}

const fn counter(
    name: &'static str,
    help: &'static str,
    value: fn(&Usage) -> Option<Value<'static>>,
) -> Single {
    Single { name, help, kind: Kind::Counter, value }
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    value: fn(&Usage) -> Option<Value<'static>>,
) -> Single {
    Single { name, help, kind: Kind::Gauge, value }
}

/// A whole number.
fn whole(value: Option<u64>) -> Option<Value<'static>> {
    value.map(Value::U64)
}

/// Seconds.
fn seconds(value: Option<f64>) -> Option<Value<'static>> {
    value.map(Value::F64)
}

/// Microseconds as seconds.
fn micros(value: Option<u64>) -> Option<Value<'static>> {
    value.map(|micros| Value::F64(micros as f64 / 1e6))
}

/// A value that matters only where a quota is set.
fn with_quota(usage: &Usage, value: Option<Value<'static>>) -> Option<Value<'static>> {
    usage.cpu.quota_micros.and(value)
}

/// All of them, in cAdvisor's words. Where it says 0 for "no limit", so does this; what was not read is absent.
const SINGLES: &[Single] = &[
    gauge("container_start_time_seconds", "Start time of the container since unix epoch in seconds.", |u| {
        whole(u.start_seconds)
    }),
    gauge("container_spec_cpu_period", "CPU period of the container.", |u| whole(u.cpu.period_micros)),
    gauge("container_spec_cpu_quota", "CPU quota of the container.", |u| whole(u.cpu.quota_micros)),
    gauge("container_spec_cpu_shares", "CPU share of the container.", |u| whole(u.cpu.shares)),
    gauge("container_spec_memory_limit_bytes", "Memory limit for the container.", |u| {
        whole(u.memory.limit_bytes)
    }),
    gauge("container_spec_memory_swap_limit_bytes", "Memory swap limit for the container.", |u| {
        whole(u.memory.swap_limit_bytes)
    }),
    gauge(
        "container_spec_memory_reservation_limit_bytes",
        "Memory reservation limit for the container.",
        |u| whole(u.memory.reservation_bytes),
    ),
    counter("container_cpu_user_seconds_total", "Cumulative user cpu time consumed in seconds.", |u| {
        seconds(u.cpu.user_seconds)
    }),
    counter("container_cpu_system_seconds_total", "Cumulative system cpu time consumed in seconds.", |u| {
        seconds(u.cpu.system_seconds)
    }),
    counter("container_cpu_cfs_periods_total", "Number of elapsed enforcement period intervals.", |u| {
        with_quota(u, whole(u.cpu.periods))
    }),
    counter("container_cpu_cfs_throttled_periods_total", "Number of throttled period intervals.", |u| {
        with_quota(u, whole(u.cpu.throttled_periods))
    }),
    counter(
        "container_cpu_cfs_throttled_seconds_total",
        "Total time duration the container has been throttled.",
        |u| with_quota(u, seconds(u.cpu.throttled_seconds)),
    ),
    counter("container_cpu_cfs_burst_periods_total", "Number of periods when burst occurs.", |u| {
        with_quota(u, whole(u.cpu.burst_periods))
    }),
    counter(
        "container_cpu_cfs_burst_seconds_total",
        "Total time duration the container has been bursted.",
        |u| with_quota(u, seconds(u.cpu.burst_seconds)),
    ),
    gauge("container_memory_cache", "Number of bytes of page cache memory.", |u| whole(u.memory.cache_bytes)),
    gauge("container_memory_rss", "Size of RSS in bytes.", |u| whole(u.memory.rss_bytes)),
    gauge("container_memory_kernel_usage", "Size of kernel memory allocated in bytes.", |u| {
        whole(u.memory.kernel_bytes)
    }),
    gauge("container_memory_mapped_file", "Size of memory mapped files in bytes.", |u| {
        whole(u.memory.mapped_file_bytes)
    }),
    gauge("container_memory_swap", "Container swap usage in bytes.", |u| whole(u.memory.swap_bytes)),
    counter("container_memory_failcnt", "Number of memory usage hits limits", |u| whole(u.memory.limit_hits)),
    gauge(
        "container_memory_usage_bytes",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        |u| whole(u.memory.usage_bytes),
    ),
    gauge("container_memory_max_usage_bytes", "Maximum memory usage recorded in bytes", |u| {
        whole(u.memory.peak_bytes)
    }),
    gauge("container_memory_working_set_bytes", "Current working set in bytes.", |u| {
        whole(u.memory.working_set_bytes())
    }),
    gauge("container_memory_total_active_file_bytes", "Current total active file in bytes.", |u| {
        whole(u.memory.active_file_bytes)
    }),
    gauge("container_memory_total_inactive_file_bytes", "Current total inactive file in bytes.", |u| {
        whole(u.memory.inactive_file_bytes)
    }),
    gauge(
        "container_memory_file_dirty_bytes",
        "Number of bytes of file cache that has been modified but not yet written back to disk.",
        |u| whole(u.memory.dirty_bytes),
    ),
    gauge(
        "container_memory_file_writeback_bytes",
        "Number of bytes of file cache that is currently being written back to disk.",
        |u| whole(u.memory.writeback_bytes),
    ),
    counter(
        "container_memory_events_high_total",
        "Cumulative count of memory.high throttle events for the container",
        |u| whole(u.memory.high_events),
    ),
    counter(
        "container_memory_events_max_total",
        "Cumulative count of memory.max limit hit events for the container",
        // v1 counts the same in memory.failcnt, which is container_memory_failcnt.
        |u| whole(u.memory.high_events.and(u.memory.limit_hits)),
    ),
    counter(
        "container_memory_pgscan_total",
        "Cumulative number of pages scanned by the page reclaim algorithm.",
        |u| whole(u.memory.scanned_pages),
    ),
    counter(
        "container_memory_pgsteal_total",
        "Cumulative number of pages reclaimed by the page reclaim algorithm.",
        |u| whole(u.memory.reclaimed_pages),
    ),
    counter(
        "container_memory_workingset_refault_file_total",
        "Cumulative number of refaults of previously evicted file pages.",
        |u| whole(u.memory.refault_file),
    ),
    counter(
        "container_memory_workingset_refault_anon_total",
        "Cumulative number of refaults of previously evicted anonymous pages.",
        |u| whole(u.memory.refault_anon),
    ),
    counter("container_oom_events_total", "Count of out of memory events observed for the container", |u| {
        whole(u.memory.oom_kills)
    }),
    gauge("container_processes", "Number of processes running inside the container.", |u| whole(u.processes)),
    gauge("container_file_descriptors", "Number of open file descriptors for the container.", |u| {
        whole(u.open_files)
    }),
    gauge("container_threads", "Number of threads running inside the container", |u| whole(u.threads)),
    gauge(
        "container_threads_max",
        "Maximum number of threads allowed inside the container, infinity if value is zero",
        |u| whole(u.threads_max),
    ),
    counter(
        "container_pressure_cpu_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to CPU congestion.",
        |u| micros(u.cpu_pressure.full_micros),
    ),
    counter(
        "container_pressure_cpu_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to CPU congestion.",
        |u| micros(u.cpu_pressure.some_micros),
    ),
    counter(
        "container_pressure_memory_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to memory congestion.",
        |u| micros(u.memory_pressure.full_micros),
    ),
    counter(
        "container_pressure_memory_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to memory congestion.",
        |u| micros(u.memory_pressure.some_micros),
    ),
    counter(
        "container_pressure_io_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to IO congestion.",
        |u| micros(u.io_pressure.full_micros),
    ),
    counter(
        "container_pressure_io_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to IO congestion.",
        |u| micros(u.io_pressure.some_micros),
    ),
];

/// A family that has one sample for each device of a group.
type PerDevice = (&'static str, &'static str, fn(&Device) -> Option<u64>);

const DEVICES: [PerDevice; 4] = [
    ("container_fs_reads_bytes_total", "Cumulative count of bytes read", |d| d.read_bytes),
    ("container_fs_reads_total", "Cumulative count of reads completed", |d| d.reads),
    ("container_fs_writes_bytes_total", "Cumulative count of bytes written", |d| d.written_bytes),
    ("container_fs_writes_total", "Cumulative count of writes completed", |d| d.writes),
];

/// A family that has one sample for each device of a container's network.
type PerInterface = (&'static str, &'static str, fn(&Interface) -> u64);

const INTERFACES: [PerInterface; 8] = [
    ("container_network_receive_bytes_total", "Cumulative count of bytes received", |i| i.received[0]),
    ("container_network_receive_packets_total", "Cumulative count of packets received", |i| i.received[1]),
    (
        "container_network_receive_packets_dropped_total",
        "Cumulative count of packets dropped while receiving",
        |i| i.received[3],
    ),
    (
        "container_network_receive_errors_total",
        "Cumulative count of errors encountered while receiving",
        |i| i.received[2],
    ),
    ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", |i| i.sent[0]),
    ("container_network_transmit_packets_total", "Cumulative count of packets transmitted", |i| i.sent[1]),
    (
        "container_network_transmit_packets_dropped_total",
        "Cumulative count of packets dropped while transmitting",
        |i| i.sent[3],
    ),
    (
        "container_network_transmit_errors_total",
        "Cumulative count of errors encountered while transmitting",
        |i| i.sent[2],
    ),
];

/// How many samples a group will have.
pub(super) fn count(usage: &Usage) -> usize {
    let singles = SINGLES.iter().filter(|family| (family.value)(usage).is_some()).count();
    let devices = DEVICES.iter().flat_map(|(_, _, value)| usage.devices.iter().filter_map(value)).count();
    let failures = failures(usage).iter().flatten().count();
    // The moment of the pass stands at every group.
    let interfaces = INTERFACES.len() * usage.interfaces.len();
    1 + singles + devices + failures + interfaces + usize::from(usage.cpu.usage_seconds.is_some())
}

/// Writes all families; one that no group has a sample for is not opened.
pub(super) fn write(groups: &[Group], labels: &Labels, now_seconds: u64, out: &mut dyn Sink) {
    let (name, help) = ("container_last_seen", "Last time a container was seen by the exporter");
    let seen = Family { name, help, kind: Kind::Gauge, extra: &[] };
    seen.write(groups, labels, out, |_, sample| sample(&[], Value::U64(now_seconds)));
    for Single { name, help, kind, value } in SINGLES {
        let family = Family { name, help, kind: *kind, extra: &[] };
        family.write(groups, labels, out, |group, sample| {
            if let Some(value) = value(&group.usage) {
                sample(&[], value);
            }
        });
    }
    let (name, help) = ("container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.");
    let usage = Family { name, help, kind: Kind::Counter, extra: &["cpu"] };
    usage.write(groups, labels, out, |group, sample| {
        if let Some(seconds) = group.usage.cpu.usage_seconds {
            sample(&["total"], Value::F64(seconds));
        }
    });
    let (name, help) = ("container_memory_failures_total", "Cumulative count of memory allocation failures.");
    let failed = Family { name, help, kind: Kind::Counter, extra: &["failure_type", "scope"] };
    failed.write(groups, labels, out, |group, sample| {
        for (kind, scope, count) in failures(&group.usage).into_iter().flatten() {
            sample(&[kind, scope], Value::U64(count));
        }
    });
    for (name, help, value) in DEVICES {
        let family = Family { name, help, kind: Kind::Counter, extra: &["device"] };
        family.write(groups, labels, out, |group, sample| {
            for (device, name) in group.usage.devices.iter().zip(&group.device_names) {
                if let Some(value) = value(device) {
                    sample(&[name], Value::U64(value));
                }
            }
        });
    }
    for (name, help, value) in INTERFACES {
        let family = Family { name, help, kind: Kind::Counter, extra: &["interface"] };
        family.write(groups, labels, out, |group, sample| {
            for interface in &group.usage.interfaces {
                sample(&[&interface.name], Value::U64(value(interface)));
            }
        });
    }
}

/// Page faults by type and scope. v2 has one number for both scopes, and cAdvisor shows it under both.
fn failures(usage: &Usage) -> [Option<(&'static str, &'static str, u64)>; 4] {
    let memory = &usage.memory;
    let hierarchy = memory.hierarchy_faults.or(memory.faults);
    let major_hierarchy = memory.hierarchy_major_faults.or(memory.major_faults);
    [
        memory.faults.map(|n| ("pgfault", "container", n)),
        memory.major_faults.map(|n| ("pgmajfault", "container", n)),
        hierarchy.map(|n| ("pgfault", "hierarchy", n)),
        major_hierarchy.map(|n| ("pgmajfault", "hierarchy", n)),
    ]
}

struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    /// The labels that follow those of every family.
    extra: &'static [&'static str],
}

impl Family {
    fn write(
        &self,
        groups: &[Group],
        labels: &Labels,
        out: &mut dyn Sink,
        each: impl Fn(&Group, &mut dyn FnMut(&[&str], Value<'_>)),
    ) {
        let mut open = false;
        for group in groups {
            each(group, &mut |extra, value| {
                if !std::mem::replace(&mut open, true) {
                    let names = labels.names(self.extra);
                    out.family(&Desc {
                        name: self.name,
                        help: self.help,
                        kind: self.kind,
                        labels: &names,
                        sparse: false,
                    });
                }
                labels.with_values(group, extra, |values| out.sample(values, value));
            });
        }
    }
}
