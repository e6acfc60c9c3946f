//! The collector of neighbours: how many IPv4 addresses are known behind each device (`node_arp_entries`).

use super::filter::Choice;
use super::{CollectError, Collector, Entry};
use crate::host::{Host, Kept, arp};
use crate::metric::{Desc, Sink, Value};
use serde::Deserialize;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "arp",
    on: true,
    make: |host, options| {
        let options = &options.arp;
        Ok(Box::new(Arp {
            choice: Choice::new("arp.device", &options.device_include, &options.device_exclude)?,
            file: host.proc_file("net/arp"),
            devices: Vec::new(),
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

const ENTRIES: Desc<'static> = Desc::gauge("node_arp_entries", "ARP entries by device", &["device"]);

struct Arp {
    choice: Choice,
    file: Kept,
    /// Kept for its memory only.
    devices: Vec<Device>,
}

struct Device {
    name: String,
    shown: bool,
    entries: u64,
}

impl Collector for Arp {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { choice, file, devices } = self;
        for device in devices.iter_mut() {
            device.entries = 0;
        }
        let read = file.parse_lines(|text| {
            arp::devices(text).try_for_each(|name| {
                let name = name?;
                if let Some(device) = devices.iter_mut().find(|device| device.name == name) {
                    device.entries += 1;
                } else {
                    let shown = choice.shows(name);
                    devices.push(Device { name: name.to_owned(), shown, entries: 1 });
                }
                Ok(())
            })
        })?;
        read.ok_or_else(|| CollectError::Absent("net/arp".into()))?;
        devices.retain(|device| device.entries > 0);
        if devices.iter().any(|device| device.shown) {
            out.family(&ENTRIES);
            for device in devices.iter().filter(|device| device.shown) {
                out.sample(&[&device.name], Value::U64(device.entries));
            }
        }
        Ok(())
    }
}
