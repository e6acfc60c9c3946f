//! The collector of btrfs: space by kind and layout, devices and their errors, commits (`node_btrfs_*`).

mod device;

use super::board::{Board, Cell, Found, Unreadable, put, whole};
use super::{CollectError, Collector, Entry};
use crate::host::btrfs::{commits, ratio};
use crate::host::counted::{exists, is_dir};
use crate::host::{Host, HostError, ParseError, children, read_once};
use crate::metric::{Desc, Sink, Value};
use device::Devices;
use std::path::Path;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "btrfs",
    on: true,
    make: |host, _| {
        Ok(Box::new(Btrfs {
            board: Board::new(host.sysfs.join("fs/btrfs"), Unreadable::Fails),
            devices: Devices::new(host),
        }))
    },
};

const INFO: Desc<'static> = Desc::gauge("node_btrfs_info", "Filesystem information", &["label", "uuid"]);
const RESERVE: Desc<'static> =
    Desc::gauge("node_btrfs_global_rsv_size_bytes", "Size of global reserve.", &["uuid"]);
/// In the order of the parser of `commit_stats`.
const COMMITS: [Desc<'static>; 4] = [
    Desc::counter("node_btrfs_commits_total", "The total number of commits that have occurred.", &["uuid"]),
    Desc::gauge(
        "node_btrfs_last_commit_seconds",
        "Duration of the most recent commit, in seconds.",
        &["uuid"],
    ),
    Desc::gauge("node_btrfs_max_commit_seconds", "Duration of the slowest commit, in seconds.", &["uuid"]),
    Desc::counter(
        "node_btrfs_commit_seconds_total",
        "Sum of the duration of all commits, in seconds.",
        &["uuid"],
    ),
];
const RESERVED: Desc<'static> = Desc::gauge(
    "node_btrfs_reserved_bytes",
    "Amount of space reserved for a data type",
    &["block_group_type", "uuid"],
);
const LAYOUT: &[&str] = &["block_group_type", "mode", "uuid"];
const USED: Desc<'static> =
    Desc::gauge("node_btrfs_used_bytes", "Amount of used space by a layout/data type", LAYOUT);
const SIZE: Desc<'static> =
    Desc::gauge("node_btrfs_size_bytes", "Amount of space allocated for a layout/data type", LAYOUT);
const RATIO: Desc<'static> =
    Desc::gauge("node_btrfs_allocation_ratio", "Data allocation ratio for a layout/data type", LAYOUT);
struct Btrfs {
    board: Board,
    devices: Devices,
}

impl Collector for Btrfs {
    fn collect(&mut self, host: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        // As in node_exporter, a machine without btrfs is no failure.
        let devices = &mut self.devices;
        let there = self.board.look(|directory, names, found| {
            devices.clear();
            let mut all = names.iter().filter(|name| name.contains('-'));
            all.try_for_each(|name| find(&directory.join(name), name, found, devices))
        })?;
        if there {
            self.board.read()?;
            devices.read(host)?;
            self.board.write(out);
            devices.write(out);
        }
        Ok(())
    }
}

fn find(directory: &Path, name: &str, found: &mut Found, known: &mut Devices) -> Result<(), HostError> {
    let text = |file: &str| {
        let text = read_once(&directory.join(file))?.unwrap_or_default();
        Ok::<_, HostError>(text.trim().to_owned())
    };
    let (label, uuid) = (text("label")?, text("metadata_uuid")?);
    let uuid = if uuid.is_empty() { name } else { &uuid };
    found.constant(&INFO, &[&label, uuid], Value::U64(1));
    found.one(&RESERVE, &[uuid], directory.join("allocation/global_rsv_size"), whole);
    find_commits(directory, uuid, found);
    let devices = children(&directory.join("devices"))?.unwrap_or_default();
    for kind in ["data", "metadata", "system"] {
        let directory = directory.join("allocation").join(kind);
        found.one(&RESERVED, &[kind, uuid], directory.join("bytes_reserved"), whole);
        for mode in children(&directory)?.unwrap_or_default() {
            let layout = directory.join(&mode);
            if !is_dir(&layout) {
                continue;
            }
            let labels = [kind, &mode, uuid];
            found.one(&USED, &labels, layout.join("used_bytes"), whole);
            found.one(&SIZE, &labels, layout.join("total_bytes"), whole);
            if let Some(ratio) = ratio(&mode, devices.len()) {
                found.constant(&RATIO, &labels, Value::F64(ratio));
            }
        }
    }
    known.add(uuid, &directory.join("devices"), devices);
    Ok(())
}

fn find_commits(directory: &Path, uuid: &str, found: &mut Found) {
    let path = directory.join("commit_stats");
    if exists(&path) {
        let first = found.file(path, commit_cells, COMMITS.len());
        for (cell, desc) in (first..).zip(&COMMITS) {
            found.series(desc, &[uuid], cell);
        }
    } else {
        // Kernels before 6.1 count no commits. node_exporter shows them as zeros, and series that are missing on a part
        // of the machines would break what was built on them.
        for desc in &COMMITS {
            found.constant(desc, &[uuid], Value::U64(0));
        }
    }
}

fn commit_cells(text: &str, cells: &mut [Cell]) -> Result<(), ParseError> {
    let counts = commits(text)?;
    let seconds = |millis: u64| Value::F64(millis as f64 / 1000.0);
    put(cells, 0, counts.commits.map(Value::U64));
    put(cells, 1, counts.last_millis.map(seconds));
    put(cells, 2, counts.max_millis.map(seconds));
    put(cells, 3, counts.total_millis.map(seconds));
    Ok(())
}
