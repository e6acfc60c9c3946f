//! What each collector cost since it was made: CPU time, time, calls of the kernel, bytes read.

use crate::host::counted::{self, Cost};
use crate::metric::{Desc, Sink, Value};
use std::time::{Duration, Instant};

const COLLECTOR: &[&str] = &["collector"];
const CPU: Desc<'static> = Desc::counter(
    "headroom_collector_cpu_seconds_total",
    "CPU time that the collector took to read, parse and write its samples, its helping threads included, in seconds.",
    COLLECTOR,
);
const DURATION: Desc<'static> = Desc::counter(
    "headroom_collector_duration_seconds_total",
    "Time for which the collector ran, in seconds.",
    COLLECTOR,
);
const READ: Desc<'static> = Desc::counter(
    "headroom_collector_read_bytes_total",
    "Bytes that the collector read from files and sockets.",
    COLLECTOR,
);
const CALLS: Desc<'static> = Desc::counter(
    "headroom_collector_syscalls_total",
    "Calls of the kernel that the collector made to read files, directories and sockets and to ask about them; not those \
     for memory, locks and clocks.",
    COLLECTOR,
);

/// What a collector cost since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Total {
    cpu: Duration,
    duration: Duration,
    reading: Cost,
}

impl Total {
    /// Adds one run.
    pub(super) fn add(&mut self, run: &Run) {
        self.cpu += run.cpu;
        self.duration += run.duration;
        self.reading = self.reading.plus(run.reading);
    }
}

/// What one run of a collector cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// How long it took.
    pub duration: Duration,
    cpu: Duration,
    reading: Cost,
}

/// Measures runs that follow each other on one thread: the end of one is the beginning of the next.
pub(super) struct Meter {
    cpu: Duration,
    reading: Cost,
    begun: Instant,
}

impl Meter {
    pub(super) fn start() -> Self {
        Self { cpu: counted::cpu_time(), reading: counted::spent(), begun: Instant::now() }
    }

    /// What was spent since the start, or since the last lap.
    pub(super) fn lap(&mut self) -> Run {
        let now = Self::start();
        let reading = now.reading.since(self.reading);
        let run = Run {
            duration: now.begun - self.begun,
            cpu: now.cpu.saturating_sub(self.cpu) + reading.helpers,
            reading,
        };
        *self = now;
        run
    }
}

/// Writes what collectors cost.
pub(super) fn write(totals: &[(&str, Total)], out: &mut dyn Sink) {
    let families: [(&Desc<'_>, fn(&Total) -> Value<'static>); 4] = [
        (&CPU, |total| Value::F64(total.cpu.as_secs_f64())),
        (&DURATION, |total| Value::F64(total.duration.as_secs_f64())),
        (&READ, |total| Value::U64(total.reading.read_bytes)),
        (&CALLS, |total| Value::U64(total.reading.calls)),
    ];
    for (desc, value) in families {
        out.family(desc);
        for (name, total) in totals {
            out.sample(&[name], value(total));
        }
    }
}
