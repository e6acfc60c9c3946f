//! The collector of /proc/pressure: how long tasks waited for CPU, I/O, memory and interrupts (`node_pressure_*`).

use super::{CollectError, Collector, Entry};
use crate::host::memory::{self, Pressure as Totals};
use crate::host::{Host, HostError, Kept};
use crate::metric::{Desc, Sink, single};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "pressure",
    on: true,
    make: |host, _| Ok(Box::new(Pressure { files: NAMES.map(|name| host.proc_file(name)) })),
};

const NAMES: [&str; 4] = ["pressure/cpu", "pressure/io", "pressure/memory", "pressure/irq"];

/// For each file the families of its `some` and its `full`. The whole machine has no `full` of the CPU, though the
/// kernel prints one, and interrupts have no `some`.
const FAMILIES: [(Option<Desc<'static>>, Option<Desc<'static>>); 4] = [
    (
        Some(Desc::counter(
            "node_pressure_cpu_waiting_seconds_total",
            "Total time in seconds that processes have waited for CPU time",
            &[],
        )),
        None,
    ),
    (
        Some(Desc::counter(
            "node_pressure_io_waiting_seconds_total",
            "Total time in seconds that processes have waited due to IO congestion",
            &[],
        )),
        Some(Desc::counter(
            "node_pressure_io_stalled_seconds_total",
            "Total time in seconds no process could make progress due to IO congestion",
            &[],
        )),
    ),
    (
        Some(Desc::counter(
            "node_pressure_memory_waiting_seconds_total",
            "Total time in seconds that processes have waited for memory",
            &[],
        )),
        Some(Desc::counter(
            "node_pressure_memory_stalled_seconds_total",
            "Total time in seconds no process could make progress due to memory congestion",
            &[],
        )),
    ),
    (
        None,
        Some(Desc::counter(
            "node_pressure_irq_stalled_seconds_total",
            "Total time in seconds no process could make progress due to IRQ congestion",
            &[],
        )),
    ),
];

struct Pressure {
    files: [Kept; 4],
}

impl Collector for Pressure {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let mut totals = [Totals::default(); 4];
        let mut found = false;
        for (file, totals) in self.files.iter_mut().zip(&mut totals) {
            if let Some(read) = read(file)? {
                *totals = read;
                found = true;
            }
        }
        if !found {
            return Err(CollectError::Absent("pressure (the kernel's parameter psi=1)".into()));
        }
        let seconds = |micros: u64| micros as f64 / 1e6;
        for ((some, full), totals) in FAMILIES.iter().zip(totals) {
            for (desc, micros) in [(some, totals.some_micros), (full, totals.full_micros)] {
                if let (Some(desc), Some(micros)) = (desc, micros) {
                    single(out, desc, seconds(micros));
                }
            }
        }
        Ok(())
    }
}

fn read(file: &mut Kept) -> Result<Option<Totals>, HostError> {
    match file.parse(memory::pressure) {
        // So the kernel says that it was started without pressure accounting.
        Err(HostError::Read { source, .. }) if source.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
        other => other,
    }
}
