//! The collector of InfiniBand and RoCE adapters: the state and the counters of each port (`node_infiniband_*`).

mod counters;

use super::board::{Board, Cell, Found, Unreadable, put};
use super::filter::Choice;
use super::{CollectError, Collector, Entry};
use crate::host::infiniband::{bytes_per_second, state};
use crate::host::system::whole;
use crate::host::{Host, HostError, ParseError, children, read_once};
use crate::metric::{Desc, Sink, Value};
use counters::COUNTERS;
use serde::Deserialize;
use std::path::Path;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "infiniband",
    on: true,
    make: |host, options| {
        let Options { device_include, device_exclude } = &options.infiniband;
        Ok(Box::new(InfiniBand {
            choice: Choice::new("infiniband.device", device_include, device_exclude)?,
            board: Board::new(host.sysfs.join("class/infiniband"), Unreadable::IsAbsent)
                .told_by(&host.arrivals),
        }))
    },
};

/// Which devices are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Names of devices that alone are shown, as a regular expression; all if empty.
    pub device_include: String,
    /// Names of devices that are left out, as a regular expression; none if empty.
    pub device_exclude: String,
}

const INFO: Desc<'static> = Desc::gauge(
    "node_infiniband_info",
    "Non-numeric data from /sys/class/infiniband/<device>, value is always 1.",
    &["board_id", "device", "firmware_version", "hca_type"],
);
const STATE: Desc<'static> = Desc::gauge(
    "node_infiniband_state_id",
    "State of the InfiniBand port (0: no change, 1: down, 2: init, 3: armed, 4: active, 5: act defer)",
    &["device", "port"],
);
const PHYSICAL_STATE: Desc<'static> = Desc::gauge(
    "node_infiniband_physical_state_id",
    "Physical state of the InfiniBand port (0: no change, 1: sleep, 2: polling, 3: disable, 4: shift, 5: link up, \
     6: link error recover, 7: phytest)",
    &["device", "port"],
);
const RATE: Desc<'static> =
    Desc::gauge("node_infiniband_rate_bytes_per_second", "Maximum signal transfer rate", &["device", "port"]);
const LIFESPAN: Desc<'static> = Desc::gauge(
    "node_infiniband_lifespan_seconds",
    "The maximum period in ms which defines the aging of the counter reads. Two consecutive reads within this period \
     might return the same values.",
    &["device", "port"],
);
/// Counted in words of four bytes: an octet for each of the four lanes.
const WORDS: [&str; 4] = [
    "counters/port_rcv_data",
    "counters/port_xmit_data",
    "counters_ext/port_rcv_data_64",
    "counters_ext/port_xmit_data_64",
];

struct InfiniBand {
    choice: Choice,
    board: Board,
}

impl Collector for InfiniBand {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let choice = &self.choice;
        let there = self.board.look(|directory, names, found| {
            let shown = names.iter().filter(|name| choice.shows(name));
            shown.into_iter().try_for_each(|name| find(&directory.join(name), name, found))
        })?;
        if !there {
            return Err(CollectError::Absent("class/infiniband".into()));
        }
        self.board.read()?;
        self.board.write(out);
        Ok(())
    }
}

fn find(directory: &Path, device: &str, found: &mut Found) -> Result<(), HostError> {
    // Not all drivers have all of them; node_exporter's label is empty then.
    let text = |file: &str| {
        let text = read_once(&directory.join(file))?.unwrap_or_default();
        Ok::<_, HostError>(text.trim().to_owned())
    };
    let (board, firmware, kind) = (text("board_id")?, text("fw_ver")?, text("hca_type")?);
    found.constant(&INFO, &[&board, device, &firmware, &kind], Value::U64(1));
    for port in children(&directory.join("ports"))?.unwrap_or_default() {
        if port.parse::<u32>().is_err() {
            continue;
        }
        let (directory, labels) = (directory.join("ports").join(&port), [device, port.as_str()]);
        found.one(&STATE, &labels, directory.join("state"), state_id);
        found.one(&PHYSICAL_STATE, &labels, directory.join("phys_state"), state_id);
        found.one(&RATE, &labels, directory.join("rate"), rate);
        for below in ["counters", "counters_ext", "hw_counters"] {
            for file in children(&directory.join(below))?.unwrap_or_default() {
                let file = format!("{below}/{file}");
                let path = directory.join(&file);
                if let Some((_, desc)) = COUNTERS.iter().find(|(name, _)| *name == file) {
                    let parse = if WORDS.contains(&file.as_str()) { words } else { count };
                    found.one(desc, &labels, path, parse);
                } else if file == "hw_counters/lifespan" {
                    found.one(&LIFESPAN, &labels, path, lifespan);
                }
            }
        }
    }
    Ok(())
}

fn state_id(text: &str, cells: &mut [Cell]) -> Result<(), ParseError> {
    put(cells, 0, Some(Value::U64(state(text)?)));
    Ok(())
}

fn rate(text: &str, cells: &mut [Cell]) -> Result<(), ParseError> {
    put(cells, 0, Some(Value::U64(bytes_per_second(text)?)));
    Ok(())
}

/// A count, if the port has the agent that counts.
fn counted(text: &str) -> Result<Option<u64>, ParseError> {
    if text.contains("N/A (no PMA)") { Ok(None) } else { whole(text).map(Some) }
}

fn count(text: &str, cells: &mut [Cell]) -> Result<(), ParseError> {
    put(cells, 0, counted(text)?.map(Value::U64));
    Ok(())
}

fn words(text: &str, cells: &mut [Cell]) -> Result<(), ParseError> {
    put(cells, 0, counted(text)?.map(|words| Value::U64(words.wrapping_mul(4))));
    Ok(())
}

fn lifespan(text: &str, cells: &mut [Cell]) -> Result<(), ParseError> {
    // As in node_exporter, whole seconds: the usual 10 ms are shown as 0.
    put(cells, 0, counted(text)?.map(|millis| Value::U64(millis / 1000)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_does_not_count_has_no_counts_and_data_is_counted_in_words() {
        let mut cells = [None];
        count("N/A (no PMA)", &mut cells).unwrap();
        assert!(cells[0].is_none());
        words("7", &mut cells).unwrap();
        assert!(matches!(cells[0], Some(Value::U64(28))));
        assert!(count("N/A", &mut cells).is_err());
    }
}
