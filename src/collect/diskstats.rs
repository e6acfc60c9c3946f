//! The collector of block devices: /proc/diskstats, and what udev knows about each device (`node_disk_*`).

mod device;
mod families;

use super::filter::Choice;
use super::{CollectError, Collector, Entry};
use crate::host::{Host, Kept, disk};
use crate::metric::{Desc, Sink, Value};
use device::Device;
use families::{ATA, COUNTS, DEVICE_MAPPER, FILESYSTEM, INFO};
use serde::Deserialize;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "diskstats",
    on: true,
    make: |host, options| {
        let Options { devices_include, devices_exclude } = &options.diskstats;
        let default = Options::default().devices_exclude;
        let choice = Choice::over("diskstats.devices", devices_include, devices_exclude, &default)?;
        Ok(Box::new(Diskstats { choice, file: host.proc_file("diskstats"), devices: Vec::new() }))
    },
};

/// Which devices are shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Names of devices that alone are shown, as a regular expression; all if empty.
    pub devices_include: String,
    /// Names of devices that are left out, as a regular expression; none if empty. Its default gives way to
    /// `devices_include`.
    pub devices_exclude: String,
}

impl Default for Options {
    fn default() -> Self {
        // Memory disks, loops, floppies, and partitions: their disk counts what they count.
        Self {
            devices_include: String::new(),
            devices_exclude: r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$".into(),
        }
    }
}

struct Diskstats {
    choice: Choice,
    file: Kept,
    /// All devices in the file's order, those that are left out as well.
    devices: Vec<Device>,
}

impl Collector for Diskstats {
    fn collect(&mut self, host: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { choice, file, devices } = self;
        let mut count = 0;
        file.parse_lines(|text| {
            disk::disks(text).try_for_each(|disk| {
                let disk = disk?;
                if devices.get(count).is_none_or(|device| !device.is(&disk)) {
                    // Something was plugged in or out: this place and those behind it are made anew.
                    devices.truncate(count);
                    let shown = choice.shows(disk.name);
                    devices.push(Device::new(host, &disk, shown));
                }
                if let Some(device) = devices.get_mut(count) {
                    device.take(&disk);
                }
                count += 1;
                Ok(())
            })
        })?
        .ok_or_else(|| CollectError::Absent("diskstats".into()))?;
        devices.truncate(count);
        for device in devices.iter_mut().filter(|device| device.shown) {
            device.look_up(host)?;
        }
        write(devices, out);
        Ok(())
    }
}

fn write(devices: &[Device], out: &mut dyn Sink) {
    let shown = || devices.iter().filter(|device| device.shown);
    let info = |desc: &Desc<'_>, out: &mut dyn Sink, labels: fn(&Device) -> Option<&[String]>| {
        let mut open = false;
        for device in shown() {
            let Some(labels) = labels(device) else { continue };
            if !std::mem::replace(&mut open, true) {
                out.family(desc);
            }
            device::sample(out, labels);
        }
    };
    info(&INFO, out, |device| Some(&device.facts.info));
    for (i, (desc, scale)) in COUNTS.iter().enumerate() {
        if !shown().any(|device| device.counted > i) {
            continue;
        }
        out.family(desc);
        for device in shown().filter(|device| device.counted > i) {
            let count = device.counts.get(i).copied().unwrap_or_default();
            out.sample(&[&device.name], scale(count));
        }
    }
    info(&FILESYSTEM, out, |device| device.facts.filesystem.as_ref().map(<[String; 5]>::as_slice));
    info(&DEVICE_MAPPER, out, |device| device.facts.device_mapper.as_ref().map(<[String; 6]>::as_slice));
    for (i, (desc, _)) in ATA.iter().enumerate() {
        let value = |device: &Device| device.facts.ata.get(i).copied().flatten();
        if shown().any(|device| value(device).is_some()) {
            out.family(desc);
            for device in shown() {
                if let Some(value) = value(device) {
                    out.sample(&[&device.name], Value::F64(value));
                }
            }
        }
    }
}
