//! The collector of the scheduler's times by processor: /proc/schedstat (`node_schedstat_*`).

use super::{CollectError, Collector, Entry};
use crate::host::{Host, Kept, schedstat::processors};
use crate::metric::{Desc, Sink, Value};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "schedstat",
    on: true,
    make: |host, _| Ok(Box::new(Schedstat { file: host.proc_file("schedstat"), cpus: Vec::new() })),
};

const FAMILIES: [Desc<'static>; 3] = [
    Desc::counter(
        "node_schedstat_running_seconds_total",
        "Number of seconds CPU spent running a process.",
        &["cpu"],
    ),
    Desc::counter(
        "node_schedstat_waiting_seconds_total",
        "Number of seconds spent by processing waiting for this CPU.",
        &["cpu"],
    ),
    Desc::counter("node_schedstat_timeslices_total", "Number of timeslices executed by CPU.", &["cpu"]),
];

struct Schedstat {
    file: Kept,
    /// Label and last values of each processor, in the kernel's order.
    cpus: Vec<(String, [Value<'static>; 3])>,
}

impl Collector for Schedstat {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { file, cpus } = self;
        let mut count = 0;
        let seconds = |nanoseconds: u64| Value::F64(nanoseconds as f64 / 1e9);
        file.parse_lines(|text| {
            processors(text).try_for_each(|read| {
                let read = read?;
                if cpus.get(count).is_none_or(|(label, _)| label != read.cpu) {
                    cpus.truncate(count);
                    cpus.push((read.cpu.to_owned(), [Value::U64(0); 3]));
                }
                if let Some((_, values)) = cpus.get_mut(count) {
                    *values = [
                        seconds(read.running_nanoseconds),
                        seconds(read.waiting_nanoseconds),
                        Value::U64(read.time_slices),
                    ];
                }
                count += 1;
                Ok(())
            })
        })?
        .ok_or_else(|| CollectError::Absent("schedstat".into()))?;
        cpus.truncate(count);
        if cpus.is_empty() {
            return Ok(());
        }
        for (i, desc) in FAMILIES.iter().enumerate() {
            out.family(desc);
            for (label, values) in cpus.iter() {
                if let Some(value) = values.get(i) {
                    out.sample(&[label], *value);
                }
            }
        }
        Ok(())
    }
}
