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
    /// Whether more than the time is measured.
    measures: bool,
    cpu: Duration,
    reading: Cost,
    begun: Instant,
}

/// In a run as short as this a thread does not wait, so its time is its CPU time, and the call that would tell is spared: it
/// takes longer than some of the runs. What little that is wrong is made good with the next call.
const SHORT: Duration = Duration::from_micros(20);

impl Meter {
    pub(super) fn start(measures: bool) -> Self {
        let cpu = if measures { counted::cpu_time() } else { Duration::ZERO };
        Self { measures, cpu, reading: counted::spent(), begun: Instant::now() }
    }

    /// What was spent since the start, or since the last lap.
    pub(super) fn lap(&mut self) -> Run {
        let (now, reading) = (Instant::now(), counted::spent());
        let duration = now - self.begun;
        let short = duration < SHORT || !self.measures;
        let cpu = if short { self.cpu + duration } else { counted::cpu_time() };
        let spent = reading.since(self.reading);
        let run = Run { duration, cpu: cpu.saturating_sub(self.cpu) + spent.helpers, reading: spent };
        *self = Self { cpu, reading, begun: now, ..*self };
        run
    }
}

/// A family, and which of the totals it shows.
type Family<'a> = (&'a Desc<'a>, fn(&Total) -> Value<'static>);

/// Writes what collectors cost.
pub(super) fn write(totals: &[(&str, Total)], out: &mut dyn Sink) {
    let families: [Family<'_>; 4] = [
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_laps_of_a_thread_add_up_to_its_cpu_time() {
        let mut meter = Meter::start(true);
        let begun = counted::cpu_time();
        let (mut total, mut long) = (Total::default(), 0);
        let mut number = 1_u64;
        for i in 0..400 {
            // Short and long ones in turn.
            for _ in 0..if i % 4 == 0 { 20_000 } else { 20 } {
                number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            }
            counted::call();
            let run = meter.lap();
            long += u32::from(run.duration >= SHORT);
            total.add(&run);
        }
        let whole = counted::cpu_time().saturating_sub(begun);
        assert!(long >= 50, "{long}");
        assert_eq!(total.reading.calls, 400);
        let apart = whole.abs_diff(total.cpu);
        assert!(apart < whole / 4 + Duration::from_millis(1), "{whole:?} {:?}", total.cpu);
    }

    #[test]
    fn waiting_is_time_and_no_cpu_time_and_what_helpers_take_is() {
        let mut meter = Meter::start(true);
        let helpers = Duration::from_secs(3);
        counted::take_over(Cost { helpers, ..Cost::default() });
        std::thread::park_timeout(Duration::from_millis(50));
        let run = meter.lap();
        assert!(run.duration >= SHORT);
        assert!((helpers..helpers + run.duration).contains(&run.cpu), "{run:?}");
    }
}
