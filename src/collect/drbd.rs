//! The collector of replicated block devices: /proc/drbd (`node_drbd_*`).

use super::table::{Row, write};
use super::{CollectError, Collector, Entry};
use crate::host::drbd::{Drbd as Device, drbd};
use crate::host::{Host, Kept};
use crate::metric::{Desc, Sink, Value};

/// This collector's line in the list.
pub const ENTRY: Entry =
    Entry { name: "drbd", on: false, make: |host, _| Ok(Box::new(Drbd { file: host.proc_file("drbd") })) };

const fn counter(name: &'static str, help: &'static str) -> Desc<'static> {
    Desc::counter(name, help, &["device"])
}

const fn gauge(name: &'static str, help: &'static str) -> Desc<'static> {
    Desc::gauge(name, help, &["device"])
}

/// The kernel's word for a count, its family, and how many of the family's units it counts. That `nr` is taken for bytes
/// is node_exporter's; the kernel counts KiB there too.
const COUNTS: [(&str, Desc<'static>, u64); 12] = [
    (
        "ns",
        counter("node_drbd_network_sent_bytes_total", "Total number of bytes sent via the network."),
        1024,
    ),
    (
        "nr",
        counter("node_drbd_network_received_bytes_total", "Total number of bytes received via the network."),
        1,
    ),
    (
        "dw",
        counter("node_drbd_disk_written_bytes_total", "Net data written on local hard disk; in bytes."),
        1024,
    ),
    ("dr", counter("node_drbd_disk_read_bytes_total", "Net data read from local hard disk; in bytes."), 1024),
    (
        "al",
        counter(
            "node_drbd_activitylog_writes_total",
            "Number of updates of the activity log area of the meta data.",
        ),
        1,
    ),
    (
        "bm",
        counter("node_drbd_bitmap_writes_total", "Number of updates of the bitmap area of the meta data."),
        1,
    ),
    ("lo", gauge("node_drbd_local_pending", "Number of open requests to the local I/O sub-system."), 1),
    (
        "pe",
        gauge(
            "node_drbd_remote_pending",
            "Number of requests sent to the peer, but that have not yet been answered by the latter.",
        ),
        1,
    ),
    (
        "ua",
        gauge(
            "node_drbd_remote_unacknowledged",
            "Number of requests received by the peer via the network connection, but that have not yet been answered.",
        ),
        1,
    ),
    (
        "ap",
        gauge(
            "node_drbd_application_pending",
            "Number of block I/O requests forwarded to DRBD, but not yet answered by DRBD.",
        ),
        1,
    ),
    ("ep", gauge("node_drbd_epochs", "Number of Epochs currently on the fly."), 1),
    ("oos", gauge("node_drbd_out_of_sync_bytes", "Amount of data known to be out of sync; in bytes."), 1024),
];
const CONNECTED: Desc<'static> = gauge("node_drbd_connected", "Whether DRBD is connected to the peer.");
/// The kernel's word for a pair of states, its family, and the state that is 1.
const PAIRS: [(&str, Desc<'static>, &str); 2] = [
    (
        "ro",
        Desc::gauge(
            "node_drbd_node_role_is_primary",
            "Whether the role of the node is in the primary state.",
            &["device", "node"],
        ),
        "Primary",
    ),
    (
        "ds",
        Desc::gauge(
            "node_drbd_disk_state_is_up_to_date",
            "Whether the disk of the node is up to date.",
            &["device", "node"],
        ),
        "UpToDate",
    ),
];

struct Drbd {
    file: Kept,
}

impl Collector for Drbd {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let read = self.file.parse_lines(|text| {
            let devices = drbd(text);
            let rows = devices.iter().map(row).collect::<Result<Vec<_>, _>>()?;
            Ok((rows, PAIRS.map(|(field, _, wanted)| pair(&devices, field, wanted))))
        })?;
        let (rows, pairs) = read.ok_or_else(|| CollectError::Absent("drbd".into()))?;
        let families: Vec<Desc<'_>> = COUNTS.iter().map(|(_, desc, _)| *desc).chain([CONNECTED]).collect();
        write(&families, &rows, out);
        for ((_, desc, _), rows) in PAIRS.iter().zip(&pairs) {
            write(&[*desc], rows, out);
        }
        Ok(())
    }
}

fn row(device: &Device<'_>) -> Result<Row, crate::host::ParseError> {
    let mut values = Vec::with_capacity(COUNTS.len() + 1);
    for (field, _, unit) in &COUNTS {
        values.push(device.number(field)?.map(|count| Value::U64(count.saturating_mul(*unit))));
    }
    values.push(device.field("cs").map(|state| Value::U64(u64::from(state == "Connected"))));
    Ok(Row { labels: vec![name(device)], values })
}

/// Two rows for each device: its own state and the other side's.
fn pair(devices: &[Device<'_>], field: &str, wanted: &str) -> Vec<Row> {
    let mut out = Vec::new();
    for device in devices {
        let Some((local, remote)) = device.field(field).and_then(|states| states.split_once('/')) else {
            continue;
        };
        for (node, state) in [("local", local), ("remote", remote)] {
            let values = vec![Some(Value::U64(u64::from(state == wanted)))];
            out.push(Row { labels: vec![name(device), node.to_owned()], values });
        }
    }
    out
}

fn name(device: &Device<'_>) -> String {
    format!("drbd{}", device.number)
}
