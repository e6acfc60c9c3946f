//! The collector of Fibre Channel host adapters: their state and their counters (`node_fibrechannel_*`).

use super::board::{Board, Cell, Unreadable, put};
use super::{CollectError, Collector, Entry};
use crate::host::attribute::{Attribute, Reader, Reading};
use crate::host::system::prefixed;
use crate::host::{Host, HostError, ParseError};
use crate::metric::{Desc, Sink, Value};
use std::path::Path;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "fibrechannel",
    on: true,
    make: |host, _| {
        Ok(Box::new(FibreChannel {
            board: Board::new(host.sysfs.join("class/fc_host"), Unreadable::IsAbsent).told_by(&host.arrivals),
            ports: Ports::default(),
        }))
    },
};

const INFO: Desc<'static> = Desc::gauge(
    "node_fibrechannel_info",
    "Non-numeric data from /sys/class/fc_host/<host>, value is always 1.",
    &[
        "dev_loss_tmo",
        "fabric_name",
        "fc_host",
        "port_id",
        "port_name",
        "port_state",
        "port_type",
        "speed",
        "supported_classes",
        "supported_speeds",
        "symbolic_name",
    ],
);
/// The place of the one label that is no file.
const NAME: usize = 2;
/// Files whose text begins with `0x`, which node_exporter leaves out.
const NUMBERS: [&str; 3] = ["fabric_name", "port_id", "port_name"];

const fn counter(name: &'static str, help: &'static str) -> Desc<'static> {
    Desc::counter(name, help, &["fc_host"])
}

/// Each counter with its file below `statistics`.
const COUNTERS: [(Desc<'static>, &str); 14] = [
    (counter("node_fibrechannel_dumped_frames_total", "Number of dumped frames"), "dumped_frames"),
    (counter("node_fibrechannel_error_frames_total", "Number of errors in frames"), "error_frames"),
    (counter("node_fibrechannel_fcp_packet_aborts_total", "Number of aborted packets"), "fcp_packet_aborts"),
    (
        counter("node_fibrechannel_invalid_crc_total", "Invalid Cyclic Redundancy Check count"),
        "invalid_crc_count",
    ),
    (
        counter(
            "node_fibrechannel_invalid_tx_words_total",
            "Number of invalid words transmitted by host port",
        ),
        "invalid_tx_word_count",
    ),
    (
        counter("node_fibrechannel_link_failure_total", "Number of times the host port link has failed"),
        "link_failure_count",
    ),
    (
        counter("node_fibrechannel_loss_of_signal_total", "Number of times signal has been lost"),
        "loss_of_signal_count",
    ),
    (
        counter(
            "node_fibrechannel_loss_of_sync_total",
            "Number of failures on either bit or transmission word boundaries",
        ),
        "loss_of_sync_count",
    ),
    (
        counter(
            "node_fibrechannel_nos_total",
            "Number Not_Operational Primitive Sequence received by host port",
        ),
        "nos_count",
    ),
    (counter("node_fibrechannel_rx_frames_total", "Number of frames received"), "rx_frames"),
    (counter("node_fibrechannel_rx_words_total", "Number of words received by host port"), "rx_words"),
    (
        counter(
            "node_fibrechannel_seconds_since_last_reset_total",
            "Number of seconds since last host port reset",
        ),
        "seconds_since_last_reset",
    ),
    (counter("node_fibrechannel_tx_frames_total", "Number of frames transmitted by host port"), "tx_frames"),
    (counter("node_fibrechannel_tx_words_total", "Number of words transmitted by host port"), "tx_words"),
];

struct FibreChannel {
    board: Board,
    ports: Ports,
}

/// The texts of each port; some of them change with its link.
#[derive(Default)]
struct Ports {
    all: Vec<Port>,
}

struct Port {
    /// A file for each label but the name.
    files: Vec<Option<Attribute>>,
    labels: Vec<String>,
}

impl Collector for FibreChannel {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let ports = &mut self.ports;
        let there = self.board.look(|directory, names, found| {
            *ports = Ports::default();
            for name in names {
                let directory = directory.join(name);
                ports.all.push(Port::new(&directory, name));
                for (desc, file) in &COUNTERS {
                    found.one(desc, &[name], directory.join("statistics").join(file), count);
                }
            }
            Ok::<_, HostError>(())
        })?;
        if !there {
            return Err(CollectError::Absent("class/fc_host".into()));
        }
        self.board.read()?;
        ports.read()?;
        if !ports.all.is_empty() {
            out.family(&INFO);
            for port in &ports.all {
                let mut labels = [""; INFO.labels.len()];
                for (slot, label) in labels.iter_mut().zip(&port.labels) {
                    *slot = label;
                }
                out.sample(&labels, Value::U64(1));
            }
        }
        self.board.write(out);
        Ok(())
    }
}

impl Port {
    fn new(directory: &Path, name: &str) -> Self {
        let file = |(i, label): (usize, &&str)| (i != NAME).then(|| Attribute::new(directory.join(label)));
        let label = |i: usize| if i == NAME { name.to_owned() } else { String::new() };
        Self {
            files: INFO.labels.iter().enumerate().map(file).collect(),
            labels: (0..INFO.labels.len()).map(label).collect(),
        }
    }
}

impl Ports {
    fn read(&mut self) -> Result<(), HostError> {
        let mut reader = Reader::default();
        for port in &mut self.all {
            for ((file, label), name) in port.files.iter_mut().zip(&mut port.labels).zip(INFO.labels) {
                let Some(file) = file else { continue };
                label.clear();
                // Drivers leave out what they do not know; node_exporter's label is empty then.
                if let Reading::Text(text) = reader.read(file)? {
                    let text = text.trim();
                    let number = NUMBERS.contains(name).then(|| text.get(2..)).flatten();
                    label.push_str(number.filter(|rest| !rest.is_empty()).unwrap_or(text));
                }
            }
        }
        Ok(())
    }
}

/// A count; all bits are set where the adapter does not count.
fn count(text: &str, cells: &mut [Cell]) -> Result<(), ParseError> {
    put(cells, 0, Some(prefixed(text)?).filter(|count| *count != u64::MAX).map(Value::U64));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_is_not_counted_is_absent() {
        let mut cells = [None];
        count("0xffffffffffffffff", &mut cells).unwrap();
        assert!(cells[0].is_none());
        count("0x1f", &mut cells).unwrap();
        assert!(matches!(cells[0], Some(Value::U64(31))));
        assert!(count("0xx", &mut cells).is_err());
    }
}
