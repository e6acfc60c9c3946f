//! The collector of tape drives: /sys/class/scsi_tape/st*/stats (`node_tape_*`).

use super::family::{by_name, whole};
use super::{CollectError, Collector, Entry, filter};
use crate::host::attribute::Reader;
use crate::host::listing::numbered;
use crate::host::{Attributes, Host, Listing};
use crate::metric::{Desc, Sink, Value};
use regex_lite::Regex;
use serde::Deserialize;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "tapestats",
    on: true,
    make: |host, options| {
        Ok(Box::new(Tapestats {
            ignored: filter::pattern("tapestats.ignored_devices", &options.tapestats.ignored_devices)?,
            devices: Listing::new(host.sysfs.join("class/scsi_tape")).told_by(&host.arrivals),
        }))
    },
};

/// Which drives are shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Names of drives that are left out, as a regular expression; none if empty.
    pub ignored_devices: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { ignored_devices: "^$".into() }
    }
}

const fn counter(name: &'static str, help: &'static str) -> Desc<'static> {
    Desc::counter(name, help, &["device"])
}

fn seconds(nanoseconds: i128) -> Value<'static> {
    Value::F64(nanoseconds as f64 / 1e9)
}

/// How a number of the kernel becomes a value.
type Unit = fn(i128) -> Value<'static>;

/// The attributes, and the family and the unit of each.
const NUMBERS: [(&str, Desc<'static>, Unit); 10] = [
    (
        "stats/in_flight",
        Desc::gauge(
            "node_tape_io_now",
            "The number of I/Os currently outstanding to this device.",
            &["device"],
        ),
        whole,
    ),
    (
        "stats/io_ns",
        counter(
            "node_tape_io_time_seconds_total",
            "The amount of time spent waiting for all I/O to complete (including read and write). This includes tape \
             movement commands such as seeking between file or set marks and implicit tape movement such as when \
             rewind on close tape devices are used.",
        ),
        seconds,
    ),
    (
        "stats/other_cnt",
        counter(
            "node_tape_io_others_total",
            "The number of I/Os issued to the tape drive other than read or write commands. The time taken to \
             complete these commands uses the following calculation \
             io_time_seconds_total-read_time_seconds_total-write_time_seconds_total",
        ),
        whole,
    ),
    (
        "stats/read_byte_cnt",
        counter("node_tape_read_bytes_total", "The number of bytes read from the tape drive."),
        whole,
    ),
    (
        "stats/read_cnt",
        counter("node_tape_reads_completed_total", "The number of read requests issued to the tape drive."),
        whole,
    ),
    (
        "stats/read_ns",
        counter(
            "node_tape_read_time_seconds_total",
            "The amount of time spent waiting for read requests to complete.",
        ),
        seconds,
    ),
    (
        "stats/resid_cnt",
        counter(
            "node_tape_residual_total",
            "The number of times during a read or write we found the residual amount to be non-zero. This should mean \
             that a program is issuing a read larger thean the block size on tape. For write not all data made it to \
             tape.",
        ),
        whole,
    ),
    (
        "stats/write_byte_cnt",
        counter("node_tape_written_bytes_total", "The number of bytes written to the tape drive."),
        whole,
    ),
    (
        "stats/write_cnt",
        counter("node_tape_writes_completed_total", "The number of write requests issued to the tape drive."),
        whole,
    ),
    (
        "stats/write_ns",
        counter(
            "node_tape_write_time_seconds_total",
            "The amount of time spent waiting for write requests to complete.",
        ),
        seconds,
    ),
];

struct Tapestats {
    ignored: Option<Regex>,
    devices: Listing<Attributes>,
}

impl Collector for Tapestats {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { ignored, devices } = self;
        devices
            .refresh(|path, name, _| {
                // Each drive stands there under more names (nst0, st0a), which count the same.
                let drive = numbered(name, "st").is_some();
                let shown = drive && ignored.as_ref().is_none_or(|pattern| !pattern.is_match(name));
                shown.then(|| Attributes::new(path, &[], &NUMBERS.map(|(name, ..)| name)))
            })?
            .ok_or_else(|| CollectError::Absent("class/scsi_tape".into()))?;
        let mut reader = Reader::default();
        for (_, device) in devices.items_mut() {
            device.read(&mut reader)?;
        }
        for (place, (_, desc, unit)) in NUMBERS.iter().enumerate() {
            by_name(out, desc, devices.items().map(|(name, device)| (name, device.number(place).map(unit))));
        }
        Ok(())
    }
}
