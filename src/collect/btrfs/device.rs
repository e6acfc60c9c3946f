//! The devices of btrfs: what a mounted file system tells about them, or at least their sizes.

use crate::collect::CollectError;
use crate::host::attribute::{Attribute, Reader, Reading};
use crate::host::btrfs::{Device, FileSystem, file_system};
use crate::host::system::whole;
use crate::host::{Host, HostError, Kept, mount};
use crate::metric::{Desc, Sink, Value};
use std::path::Path;

const SIZE_HELP: &str = "Size of a device that is part of the filesystem.";
const SIZE: Desc<'static> = Desc::gauge("node_btrfs_device_size_bytes", SIZE_HELP, LABELS);
const SIZE_ALONE: Desc<'static> = Desc::gauge("node_btrfs_device_size_bytes", SIZE_HELP, &["device", "uuid"]);
const LABELS: &[&str] = &["btrfs_dev_uuid", "device", "uuid"];
const UNUSED: Desc<'static> = Desc::gauge(
    "node_btrfs_device_unused_bytes",
    "Unused bytes unused on a device that is part of the filesystem.",
    LABELS,
);
const ERRORS: Desc<'static> = Desc::counter(
    "node_btrfs_device_errors_total",
    "Errors reported for the device",
    &["btrfs_dev_uuid", "device", "type", "uuid"],
);
const ERROR_TYPES: [&str; 5] = ["write", "read", "flush", "corruption", "generation"];

/// The devices of all file systems.
pub(super) struct Devices {
    mounts: [Kept; 2],
    all: Vec<Member>,
    /// What the mounted file systems told in this pass.
    told: Vec<FileSystem>,
}

/// A device as /sys knows it.
struct Member {
    /// The UUID of its file system, and the same without dashes.
    uuid: String,
    digits: String,
    name: String,
    file: Attribute,
    bytes: Option<u64>,
}

impl Devices {
    pub(super) fn new(host: &Host) -> Self {
        let mounts = ["1/mountinfo", "self/mountinfo"].map(|name| host.proc_file(name));
        Self { mounts, all: Vec::new(), told: Vec::new() }
    }

    pub(super) fn clear(&mut self) {
        self.all.clear();
    }

    /// Adds the devices of one file system, whose directories are below `directory`.
    pub(super) fn add(&mut self, uuid: &str, directory: &Path, names: Vec<String>) {
        self.all.extend(names.into_iter().map(|name| Member {
            uuid: uuid.to_owned(),
            digits: uuid.replace('-', ""),
            file: Attribute::new(directory.join(&name).join("size")),
            name,
            bytes: None,
        }));
    }

    pub(super) fn read(&mut self, host: &Host) -> Result<(), CollectError> {
        self.told.clear();
        if self.all.is_empty() {
            return Ok(());
        }
        self.ask(host)?;
        let Self { all, told, .. } = self;
        let mut reader = Reader::default();
        for member in all.iter_mut().filter(|member| teller(told, member).is_none()) {
            member.bytes = match reader.read(&mut member.file)? {
                Reading::Text(text) => {
                    let sectors = whole(&text).map_err(|e| HostError::parse(member.file.path(), e))?;
                    sectors.checked_mul(512)
                }
                Reading::Absent | Reading::Gone => None,
            };
        }
        Ok(())
    }

    /// Asks each mounted file system once.
    fn ask(&mut self, host: &Host) -> Result<(), HostError> {
        let mut mounts = Vec::new();
        for file in &mut self.mounts {
            if let Some(found) = file.parse_lines(mount::mounts)? {
                mounts = found;
                break;
            }
        }
        let mut asked: Vec<String> = Vec::new();
        for mount in mounts.into_iter().filter(|mount| mount.fs_type == "btrfs") {
            if asked.contains(&mount.device) {
                continue;
            }
            // What cannot be opened here may be mounted elsewhere too; if not, /sys has at least the sizes.
            let Ok(answer) = file_system(&host.root_path(&mount.mount_point)) else { continue };
            asked.push(mount.device);
            if !self.told.iter().any(|told| told.uuid == answer.uuid) {
                self.told.push(answer);
            }
        }
        Ok(())
    }

    pub(super) fn write(&self, out: &mut dyn Sink) {
        let mut known: Vec<(&str, &Device)> = Vec::new();
        for told in &self.told {
            if let Some(member) = self.all.iter().find(|member| member.digits == told.uuid) {
                known.extend(told.devices.iter().map(|device| (member.uuid.as_str(), device)));
            }
        }
        self.write_sizes(&known, out);
        if known.is_empty() {
            return;
        }
        out.family(&UNUSED);
        for (uuid, device) in &known {
            let unused = device.total_bytes.saturating_sub(device.used_bytes);
            out.sample(&[&device.uuid, &device.name, uuid], Value::U64(unused));
        }
        out.family(&ERRORS);
        for (uuid, device) in &known {
            for (kind, count) in ERROR_TYPES.iter().zip(device.errors) {
                out.sample(&[&device.uuid, &device.name, kind, uuid], Value::U64(count));
            }
        }
    }

    fn write_sizes(&self, known: &[(&str, &Device)], out: &mut dyn Sink) {
        let silent = || {
            let silent = self.all.iter().filter(|member| teller(&self.told, member).is_none());
            silent.filter_map(|member| Some((member, member.bytes?)))
        };
        if !known.is_empty() {
            out.family(&SIZE);
            for (uuid, device) in known {
                out.sample(&[&device.uuid, &device.name, uuid], Value::U64(device.total_bytes));
            }
            for (member, bytes) in silent() {
                out.sample(&["", &member.name, &member.uuid], Value::U64(bytes));
            }
        } else if silent().next().is_some() {
            out.family(&SIZE_ALONE);
            for (member, bytes) in silent() {
                out.sample(&[&member.name, &member.uuid], Value::U64(bytes));
            }
        }
    }
}

/// The file system that told about this device itself.
fn teller<'a>(told: &'a [FileSystem], member: &Member) -> Option<&'a FileSystem> {
    told.iter().find(|told| told.uuid == member.digits)
}
