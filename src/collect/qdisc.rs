//! The collector of network devices' queues: sent, dropped, waiting (`node_qdisc_*`).

use super::filter::Choice;
use super::table::{Row, write};
use super::{CollectError, Collector, Entry};
use crate::host::route::{Queue, queues};
use crate::host::{Host, read_once};
use crate::metric::{Desc, Sink, Value};
use serde::Deserialize;
use std::path::Path;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "qdisc",
    on: false,
    make: |_, options| {
        let Options { device_include, device_exclude, fixtures } = &options.qdisc;
        let filter = Choice::either("qdisc.device", device_include, device_exclude)?;
        Ok(Box::new(Qdisc { filter, fixtures: fixtures.clone() }))
    },
};

/// Which devices are shown: all, if both patterns are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Names of the devices that are shown, as a regular expression.
    pub device_include: String,
    /// Names of devices that are left out, as a regular expression.
    pub device_exclude: String,
    /// A directory with an answer of the kernel that was written down (`results.json`), for tests.
    pub fixtures: String,
}

const fn counter(name: &'static str, help: &'static str) -> Desc<'static> {
    Desc::counter(name, help, &["device", "kind"])
}

const fn gauge(name: &'static str, help: &'static str) -> Desc<'static> {
    Desc::gauge(name, help, &["device", "kind"])
}

const FAMILIES: [Desc<'static>; 7] = [
    counter("node_qdisc_bytes_total", "Number of bytes sent."),
    counter("node_qdisc_packets_total", "Number of packets sent."),
    counter("node_qdisc_drops_total", "Number of packets dropped."),
    counter("node_qdisc_requeues_total", "Number of packets dequeued, not transmitted, and requeued."),
    counter("node_qdisc_overlimits_total", "Number of overlimit packets."),
    gauge("node_qdisc_current_queue_length", "Number of packets currently in queue to be sent."),
    gauge("node_qdisc_backlog", "Number of bytes currently in queue to be sent."),
];

struct Qdisc {
    filter: Choice,
    fixtures: String,
}

impl Collector for Qdisc {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let mut rows: Vec<Row> = Vec::new();
        // Queues below a device's own are counted in it.
        for queue in self.read()?.iter().filter(|queue| queue.parent == 0) {
            let row = row(queue);
            if self.filter.shows(&queue.device) && !rows.iter().any(|have| have.labels == row.labels) {
                rows.push(row);
            }
        }
        write(&FAMILIES, &rows, out);
        Ok(())
    }
}

impl Qdisc {
    fn read(&self) -> Result<Vec<Queue>, CollectError> {
        if self.fixtures.is_empty() {
            return queues()
                .map_err(|e| CollectError::Failed(format!("cannot ask for queues by rtnetlink: {e}")));
        }
        let path = Path::new(&self.fixtures).join("results.json");
        let text = read_once(&path)?.ok_or_else(|| CollectError::Absent(path.display().to_string()))?;
        serde_json::from_str(&text).map_err(|e| CollectError::Failed(format!("{}: {e}", path.display())))
    }
}

fn row(queue: &Queue) -> Row {
    let counts = [queue.packets, queue.drops, queue.requeues, queue.overlimits, queue.qlen, queue.backlog];
    let counts = counts.into_iter().map(|count| Some(Value::U64(count.into())));
    Row {
        labels: vec![queue.device.clone(), queue.kind.clone()],
        values: std::iter::once(Some(Value::U64(queue.bytes))).chain(counts).collect(),
    }
}
