//! One block device between two passes: its last counts, and its facts from udev, read again when udev wrote them anew.

use super::families::ATA;
use crate::host::disk::{Disk, udev_property};
use crate::host::plain::{Stamp, stamp};
use crate::host::{Host, HostError, Seen, read_once};
use crate::metric::{Sink, Value};
use std::path::PathBuf;

pub(super) struct Device {
    pub(super) name: String,
    major: u32,
    minor: u32,
    pub(super) shown: bool,
    pub(super) counts: [u64; 17],
    pub(super) counted: usize,
    pub(super) facts: Facts,
    udev: PathBuf,
    /// The stamp of udev's file when the facts were looked up.
    seen: Seen<Option<Stamp>>,
}

/// The labels of the families of facts, in the order of their names.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) info: [String; 9],
    pub(super) filesystem: Option<[String; 5]>,
    pub(super) device_mapper: Option<[String; 6]>,
    pub(super) ata: [Option<f64>; 3],
}

impl Device {
    pub(super) fn new(host: &Host, disk: &Disk<'_>, shown: bool) -> Self {
        Self {
            name: disk.name.to_owned(),
            major: disk.major,
            minor: disk.minor,
            shown,
            counts: [0; 17],
            counted: 0,
            facts: Facts::default(),
            udev: host.udev_data.join(format!("b{}:{}", disk.major, disk.minor)),
            seen: Seen::heard_by(&host.arrivals),
        }
    }

    pub(super) fn is(&self, disk: &Disk<'_>) -> bool {
        (self.name.as_str(), self.major, self.minor) == (disk.name, disk.major, disk.minor)
    }

    pub(super) fn take(&mut self, disk: &Disk<'_>) {
        self.counts = disk.counts;
        self.counted = disk.counted;
    }

    /// Reads what udev and the kernel say about the device, if udev said something new.
    pub(super) fn look_up(&mut self, host: &Host) -> Result<(), HostError> {
        let Some(present) = self.seen.changed(|| stamp(&self.udev)) else { return Ok(()) };
        let text = read_once(&self.udev)?.unwrap_or_default();
        let name = self.name.replace('/', "!");
        let rotational = read_once(&host.sysfs.join("block").join(name).join("queue/rotational"))?;
        self.facts = self.facts_of(&text, rotational.as_deref());
        self.seen.keep(present);
        Ok(())
    }

    fn facts_of(&self, udev: &str, rotational: Option<&str>) -> Facts {
        let get = |name: &str| udev_property(udev, name).unwrap_or_default().to_owned();
        let name = || self.name.clone();
        let has = |name: &str| udev_property(udev, name).is_some_and(|value| !value.is_empty());
        // What is printed on the disk; virtual disks have only the last one.
        let serial = ["SCSI_IDENT_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL"].into_iter().find(|name| has(name));
        let rotates = rotational.is_some_and(|text| text.trim() == "1");
        Facts {
            info: [
                name(),
                self.major.to_string(),
                self.minor.to_string(),
                get("ID_MODEL"),
                get("ID_PATH"),
                get("ID_REVISION"),
                u8::from(rotates).to_string(),
                serial.map(get).unwrap_or_default(),
                get("ID_WWN"),
            ],
            filesystem: has("ID_FS_TYPE").then(|| {
                [name(), get("ID_FS_TYPE"), get("ID_FS_USAGE"), get("ID_FS_UUID"), get("ID_FS_VERSION")]
            }),
            device_mapper: has("DM_NAME").then(|| {
                [
                    name(),
                    get("DM_LV_LAYER"),
                    get("DM_LV_NAME"),
                    get("DM_NAME"),
                    get("DM_UUID"),
                    get("DM_VG_NAME"),
                ]
            }),
            ata: ATA.map(|(_, property)| {
                let value = udev_property(udev, property).filter(|_| has("ID_ATA"))?;
                value.parse::<f64>().ok().filter(|value| value.is_finite())
            }),
        }
    }
}

/// Writes a sample with the value 1 and these labels.
pub(super) fn sample(out: &mut dyn Sink, labels: &[String]) {
    let mut values = [""; 9];
    for (slot, label) in values.iter_mut().zip(labels) {
        *slot = label;
    }
    if let Some(values) = values.get(..labels.len()) {
        out.sample(values, Value::U64(1));
    }
}
