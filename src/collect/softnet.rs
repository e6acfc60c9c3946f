//! The collector of received packets by processor: /proc/net/softnet_stat (`node_softnet_*`).

use super::family::by_name;
use super::{CollectError, Collector, Entry};
use crate::host::sockets::{Softnet as Counts, softnet};
use crate::host::{Host, Kept};
use crate::metric::{Desc, Sink, Value};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "softnet",
    on: true,
    make: |host, _| Ok(Box::new(Softnet { file: host.proc_file("net/softnet_stat"), cpus: Vec::new() })),
};

const fn counter(name: &'static str, help: &'static str) -> Desc<'static> {
    Desc::counter(name, help, &["cpu"])
}

/// The families in the order of the parser's counts.
const FAMILIES: [Desc<'static>; 7] = [
    counter("node_softnet_processed_total", "Number of processed packets"),
    counter("node_softnet_dropped_total", "Number of dropped packets"),
    counter("node_softnet_times_squeezed_total", "Number of times processing packets ran out of quota"),
    counter(
        "node_softnet_cpu_collision_total",
        "Number of collision occur while obtaining device lock while transmitting",
    ),
    counter("node_softnet_received_rps_total", "Number of times cpu woken up received_rps"),
    counter("node_softnet_flow_limit_count_total", "Number of times flow limit has been reached"),
    Desc::gauge("node_softnet_backlog_len", "Softnet backlog status", &["cpu"]),
];

struct Softnet {
    file: Kept,
    /// Label and last counts of each processor, in the kernel's order.
    cpus: Vec<(String, Counts)>,
}

impl Collector for Softnet {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { file, cpus } = self;
        let mut count = 0;
        file.parse(|text| {
            softnet(text).try_for_each(|read| {
                let read = read?;
                match cpus.get_mut(count) {
                    Some((_, known)) if known.cpu == read.cpu => *known = read,
                    _ => {
                        cpus.truncate(count);
                        cpus.push((read.cpu.to_string(), read));
                    }
                }
                count += 1;
                Ok(())
            })
        })?
        .ok_or_else(|| CollectError::Absent("net/softnet_stat".into()))?;
        cpus.truncate(count);
        for (i, desc) in FAMILIES.iter().enumerate() {
            let value = |counts: &Counts| {
                let count = counts.counts.get(i).copied().flatten();
                count.map(|count| Value::U64(u64::from(count)))
            };
            by_name(out, desc, cpus.iter().map(|(label, counts)| (label.as_str(), value(counts))));
        }
        Ok(())
    }
}
