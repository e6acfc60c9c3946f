//! The collector of the counts in /proc/stat: interrupts, context switches, forks, boot time, tasks that run.

use super::{CollectError, Collector, Entry};
use crate::host::{Host, stat};
use crate::metric::{Desc, Sink, Value, single};
use serde::Deserialize;

/// This collector's line in the list.
pub const ENTRY: Entry =
    Entry { name: "stat", on: true, make: |_, options| Ok(Box::new(Stat { softirq: options.stat.softirq })) };

/// What is shown besides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Whether soft interrupts are shown by kind, summed over all processors.
    pub softirq: bool,
}

const INTERRUPTS: Desc<'static> =
    Desc::counter("node_intr_total", "Total number of interrupts serviced.", &[]);
const SWITCHES: Desc<'static> =
    Desc::counter("node_context_switches_total", "Total number of context switches.", &[]);
const FORKS: Desc<'static> = Desc::counter("node_forks_total", "Total number of forks.", &[]);
const BOOT: Desc<'static> = Desc::gauge("node_boot_time_seconds", "Node boot time, in unixtime.", &[]);
const RUNNING: Desc<'static> =
    Desc::gauge("node_procs_running", "Number of processes in runnable state.", &[]);
const BLOCKED: Desc<'static> =
    Desc::gauge("node_procs_blocked", "Number of processes blocked waiting for I/O to complete.", &[]);
const SOFTIRQS: Desc<'static> = Desc::counter("node_softirqs_total", "Number of softirq calls.", &["vector"]);
/// The kinds of soft interrupts, in the kernel's order.
const VECTORS: [&str; 10] =
    ["hi", "timer", "net_tx", "net_rx", "block", "block_iopoll", "tasklet", "sched", "hrtimer", "rcu"];

struct Stat {
    softirq: bool,
}

impl Collector for Stat {
    fn collect(&mut self, host: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let stat = host.stat(stat::stat)?.ok_or_else(|| CollectError::Absent("stat".into()))?;
        for (desc, value) in [
            (&INTERRUPTS, stat.interrupts),
            (&SWITCHES, stat.context_switches),
            (&FORKS, stat.forks),
            (&BOOT, stat.boot_time_seconds),
            (&RUNNING, stat.running),
            (&BLOCKED, stat.blocked),
        ] {
            if let Some(value) = value {
                single(out, desc, value);
            }
        }
        if let Some(counts) = stat.softirqs.filter(|_| self.softirq) {
            out.family(&SOFTIRQS);
            for (vector, count) in VECTORS.iter().zip(counts) {
                out.sample(&[vector], Value::U64(count));
            }
        }
        Ok(())
    }
}
