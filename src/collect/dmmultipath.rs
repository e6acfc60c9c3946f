//! The collector of disks that are reached on several paths: their state, and that of each path (`node_dmmultipath_*`).

use super::{CollectError, Collector, Entry};
use crate::host::system::whole;
use crate::host::tree::Tree;
use crate::host::{Host, HostError, children};
use crate::metric::{Desc, Sink, Value};
use std::path::PathBuf;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "dmmultipath",
    on: true,
    make: |host, _| {
        let directory = host.sysfs.join("block");
        Ok(Box::new(Dmmultipath { tree: Tree::new(&directory), directory }))
    },
};

const INFO: Desc<'static> = Desc::gauge(
    "node_dmmultipath_device_info",
    "Non-numeric information about a DM-multipath device.",
    &["device", "sysfs_name", "uuid"],
);
const STATE: Desc<'static> = Desc::gauge(
    "node_dmmultipath_path_state",
    "Reports the underlying device state for a multipath path, as read from /sys/block/<dev>/device/state.",
    &["device", "path", "state"],
);
const LABELS: &[&str] = &["device", "sysfs_name"];
type Count = fn(&Device) -> u64;
const COUNTS: [(Desc<'static>, Count); 5] = [
    (
        Desc::gauge(
            "node_dmmultipath_device_active",
            "Whether the multipath device-mapper device is active (1) or suspended (0).",
            LABELS,
        ),
        |device| u64::from(!device.suspended),
    ),
    (
        Desc::gauge("node_dmmultipath_device_paths", "Number of paths for a multipath device.", LABELS),
        |device| device.paths.len() as u64,
    ),
    (
        Desc::gauge(
            "node_dmmultipath_device_paths_active",
            "Number of paths in active state (SCSI running or NVMe live) for a multipath device.",
            LABELS,
        ),
        |device| device.active(),
    ),
    (
        Desc::gauge(
            "node_dmmultipath_device_paths_failed",
            "Number of paths not in active state for a multipath device.",
            LABELS,
        ),
        |device| device.paths.len() as u64 - device.active(),
    ),
    (
        Desc::gauge(
            "node_dmmultipath_device_size_bytes",
            "Size of the multipath device in bytes, read from /sys/block/<dm>/size.",
            LABELS,
        ),
        |device| device.bytes,
    ),
];

struct Dmmultipath {
    directory: PathBuf,
    tree: Tree,
}

struct Device {
    name: String,
    sysfs_name: String,
    uuid: String,
    suspended: bool,
    bytes: u64,
    /// Each path's device and its state.
    paths: Vec<(String, String)>,
}

impl Device {
    fn active(&self) -> u64 {
        self.paths.iter().filter(|(_, state)| matches!(state.as_str(), "running" | "live")).count() as u64
    }
}

impl Collector for Dmmultipath {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let names = children(&self.directory)?.ok_or_else(|| CollectError::Absent("block".into()))?;
        let mut devices = Vec::new();
        for name in names.into_iter().filter(|name| name.starts_with("dm-")) {
            devices.extend(self.device(name)?);
        }
        if !devices.is_empty() {
            write(&devices, out);
        }
        Ok(())
    }
}

impl Dmmultipath {
    /// One device; `None` if it is of another kind, or was removed while we looked.
    fn device(&mut self, sysfs_name: String) -> Result<Option<Device>, HostError> {
        let Some(uuid) = self.text(&[&sysfs_name, "dm/uuid"])?.filter(|uuid| uuid.starts_with("mpath-"))
        else {
            return Ok(None);
        };
        let name = self.text(&[&sysfs_name, "dm/name"])?;
        let suspended = self.number(&[&sysfs_name, "dm/suspended"])?;
        let sectors = self.number(&[&sysfs_name, "size"])?;
        let (Some(name), Some(suspended), Some(sectors)) = (name, suspended, sectors) else {
            return Ok(None);
        };
        let mut paths = Vec::new();
        for path in children(self.tree.path(&[&sysfs_name, "slaves"]))?.unwrap_or_default() {
            if let Some(state) = self.text(&[&path, "device/state"])? {
                paths.push((path, state));
            }
        }
        let bytes = sectors.saturating_mul(512);
        Ok(Some(Device { name, sysfs_name, uuid, suspended: suspended == 1, bytes, paths }))
    }

    fn text(&mut self, parts: &[&str]) -> Result<Option<String>, HostError> {
        Ok(self.tree.read(parts)?.map(|text| text.trim().to_owned()))
    }

    fn number(&mut self, parts: &[&str]) -> Result<Option<u64>, HostError> {
        let Some(number) = self.tree.read(parts)?.map(|text| whole(&text)) else { return Ok(None) };
        number.map(Some).map_err(|e| HostError::parse(self.tree.path(parts), e))
    }
}

fn write(devices: &[Device], out: &mut dyn Sink) {
    out.family(&INFO);
    for device in devices {
        out.sample(&[&device.name, &device.sysfs_name, &device.uuid], Value::U64(1));
    }
    for (desc, count) in &COUNTS {
        out.family(desc);
        for device in devices {
            out.sample(&[&device.name, &device.sysfs_name], Value::U64(count(device)));
        }
    }
    if devices.iter().any(|device| !device.paths.is_empty()) {
        out.family(&STATE);
        for device in devices {
            for (path, state) in &device.paths {
                out.sample(&[&device.name, path, state], Value::U64(1));
            }
        }
    }
}
