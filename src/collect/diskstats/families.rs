//! Names, helps and scales of the families of block devices.

use crate::metric::{Desc, Value};

/// How a count of the kernel becomes a value.
type Scale = fn(u64) -> Value<'static>;

const DEVICE: &[&str] = &["device"];
/// The kernel's sectors are of 512 bytes, whatever the device's are.
const SECTOR_BYTES: u64 = 512;

const fn counter(name: &'static str, help: &'static str) -> Desc<'static> {
    Desc::counter(name, help, DEVICE)
}

fn count(value: u64) -> Value<'static> {
    Value::U64(value)
}

fn bytes(sectors: u64) -> Value<'static> {
    Value::U64(sectors.saturating_mul(SECTOR_BYTES))
}

fn seconds(millis: u64) -> Value<'static> {
    Value::F64(millis as f64 / 1000.0)
}

/// The families of the counts, in the kernel's order.
pub(super) const COUNTS: [(Desc<'static>, Scale); 17] = [
    (counter("node_disk_reads_completed_total", "The total number of reads completed successfully."), count),
    (counter("node_disk_reads_merged_total", "The total number of reads merged."), count),
    (counter("node_disk_read_bytes_total", "The total number of bytes read successfully."), bytes),
    (
        counter("node_disk_read_time_seconds_total", "The total number of seconds spent by all reads."),
        seconds,
    ),
    (
        counter("node_disk_writes_completed_total", "The total number of writes completed successfully."),
        count,
    ),
    (counter("node_disk_writes_merged_total", "The number of writes merged."), count),
    (counter("node_disk_written_bytes_total", "The total number of bytes written successfully."), bytes),
    (
        counter(
            "node_disk_write_time_seconds_total",
            "This is the total number of seconds spent by all writes.",
        ),
        seconds,
    ),
    (Desc::gauge("node_disk_io_now", "The number of I/Os currently in progress.", DEVICE), count),
    (counter("node_disk_io_time_seconds_total", "Total seconds spent doing I/Os."), seconds),
    (
        counter("node_disk_io_time_weighted_seconds_total", "The weighted # of seconds spent doing I/Os."),
        seconds,
    ),
    (
        counter("node_disk_discards_completed_total", "The total number of discards completed successfully."),
        count,
    ),
    (counter("node_disk_discards_merged_total", "The total number of discards merged."), count),
    (
        counter("node_disk_discarded_sectors_total", "The total number of sectors discarded successfully."),
        count,
    ),
    (
        counter(
            "node_disk_discard_time_seconds_total",
            "This is the total number of seconds spent by all discards.",
        ),
        seconds,
    ),
    (
        counter(
            "node_disk_flush_requests_total",
            "The total number of flush requests completed successfully",
        ),
        count,
    ),
    (
        counter(
            "node_disk_flush_requests_time_seconds_total",
            "This is the total number of seconds spent by all flush requests.",
        ),
        seconds,
    ),
];

pub(super) const INFO: Desc<'static> = Desc::gauge(
    "node_disk_info",
    "Info of /sys/block/<block_device>.",
    &["device", "major", "minor", "model", "path", "revision", "rotational", "serial", "wwn"],
);
pub(super) const FILESYSTEM: Desc<'static> = Desc::gauge(
    "node_disk_filesystem_info",
    "Info about disk filesystem.",
    &["device", "type", "usage", "uuid", "version"],
);
pub(super) const DEVICE_MAPPER: Desc<'static> = Desc::gauge(
    "node_disk_device_mapper_info",
    "Info about disk device mapper.",
    &["device", "lv_layer", "lv_name", "name", "uuid", "vg_name"],
);

/// The families of ATA disks, and the property that each is taken from.
pub(super) const ATA: [(Desc<'static>, &str); 3] = [
    (Desc::gauge("node_disk_ata_write_cache", "ATA disk has a write cache.", DEVICE), "ID_ATA_WRITE_CACHE"),
    (
        Desc::gauge("node_disk_ata_write_cache_enabled", "ATA disk has its write cache enabled.", DEVICE),
        "ID_ATA_WRITE_CACHE_ENABLED",
    ),
    (
        Desc::gauge(
            "node_disk_ata_rotation_rate_rpm",
            "ATA disk rotation rate in RPMs (0 for SSDs).",
            DEVICE,
        ),
        "ID_ATA_ROTATION_RATE_RPM",
    ),
];
