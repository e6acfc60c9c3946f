//! The collector of mounted volumes: size, available space, whether they can be written (`node_filesystem_*`).

use super::failed;
use crate::collect::{CollectError, Collector, Entry};
use crate::host::Host;
use crate::metric::{Desc, Sink, Value};
use std::collections::BTreeMap;
use sysinfo::{DiskRefreshKind, Disks};

/// This collector's line in the list.
pub(super) const ENTRY: Entry =
    Entry { name: "filesystem", on: true, make: |_, _| Ok(Box::new(Volumes { disks: None })) };

const LABELS: &[&str] = &["device", "device_error", "fstype", "mountpoint"];
const READ_ONLY: Desc<'static> =
    Desc::gauge("node_filesystem_readonly", "Filesystem read-only status.", LABELS);
const SIZE: Desc<'static> = Desc::gauge("node_filesystem_size_bytes", "Filesystem size in bytes.", LABELS);
const AVAILABLE: Desc<'static> = Desc::gauge(
    "node_filesystem_avail_bytes",
    "Filesystem space available to non-root users in bytes.",
    LABELS,
);

struct Volumes {
    disks: Option<Disks>,
}

/// Device, kind and mount point of a volume.
type Name = [String; 3];

struct Volume {
    size_bytes: u64,
    available_bytes: u64,
    read_only: bool,
}

impl Collector for Volumes {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let disks = match &mut self.disks {
            Some(disks) => disks,
            None => self.disks.insert(Disks::new().map_err(failed)?),
        };
        disks.refresh_specifics(true, DiskRefreshKind::nothing().with_storage());
        let volumes = disks.iter().map(|disk| {
            let text = |name: &std::ffi::OsStr| name.to_string_lossy().into_owned();
            let name = [text(disk.name()), text(disk.file_system()), text(disk.mount_point().as_os_str())];
            let (size_bytes, available_bytes) = (disk.total_space(), disk.available_space());
            (name, Volume { size_bytes, available_bytes, read_only: disk.is_read_only() })
        });
        // What is mounted twice at one place is one series; what has no size could not be asked.
        write(&volumes.filter(|(_, volume)| volume.size_bytes > 0).collect(), out);
        Ok(())
    }
}

/// A family, and where its number stands.
type Family<'a> = (&'a Desc<'a>, fn(&Volume) -> u64);

fn write(volumes: &BTreeMap<Name, Volume>, out: &mut dyn Sink) {
    let families: [Family<'_>; 3] = [
        (&READ_ONLY, |volume| volume.read_only.into()),
        (&SIZE, |volume| volume.size_bytes),
        (&AVAILABLE, |volume| volume.available_bytes),
    ];
    for (desc, value) in families {
        out.family(desc);
        for ([device, kind, place], volume) in volumes {
            out.sample(&[device, "", kind, place], Value::U64(value(volume)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{linux, page, value};
    use super::*;

    #[test]
    fn sizes_are_those_of_the_kernel() {
        let (ours, kernels) = (page(&ENTRY), linux("filesystem"));
        let mut compared = 0;
        for line in ours.lines().filter(|line| line.starts_with("node_filesystem_size_bytes{")) {
            let series = line.rsplit_once(' ').unwrap().0;
            // sysinfo shows some kinds that the other leaves out, and the other way round.
            if kernels.lines().any(|line| line.starts_with(&format!("{series} "))) {
                assert_eq!(value(&ours, series), value(&kernels, series), "{series}");
                let available = series.replace("size_bytes", "avail_bytes");
                let (a, b) = (value(&ours, &available), value(&kernels, &available));
                assert!((a - b).abs() <= 0.1 * value(&ours, series), "{available}: {a}, the kernel says {b}");
                compared += 1;
            }
        }
        assert!(compared > 0, "nothing to compare in\n{ours}\nand\n{kernels}");
    }
}
