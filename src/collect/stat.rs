//! The collector of the counts in /proc/stat: interrupts, context switches, forks, boot time, tasks that run.

use super::{CollectError, Collector, Entry};
use crate::host::{Host, Kept, stat};
use crate::metric::{Desc, Sink, single};

/// This collector's line in the list.
pub const ENTRY: Entry =
    Entry { name: "stat", on: true, make: |host, _| Ok(Box::new(Stat { file: host.proc_file("stat") })) };

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

struct Stat {
    file: Kept,
}

impl Collector for Stat {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let stat = self.file.parse_lines(stat::stat)?.ok_or_else(|| CollectError::Absent("stat".into()))?;
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
        Ok(())
    }
}
