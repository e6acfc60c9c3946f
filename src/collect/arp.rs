//! The collector of neighbours: how many IPv4 addresses are known behind each device (`node_arp_entries`).

use super::filter::Choice;
use super::{CollectError, Collector, Entry};
use crate::host::neighbour::Neighbours;
use crate::host::{Host, HostError, Kept, arp};
use crate::metric::{Desc, Sink, Value};
use serde::Deserialize;
use std::io;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "arp",
    on: true,
    make: |host, options| {
        let options = &options.arp;
        Ok(Box::new(Arp {
            // Netlink knows this machine only, not one whose files are looked at.
            netlink: options.netlink && host.procfs == Host::default().procfs,
            neighbours: None,
            numbers: Vec::new(),
            file: host.proc_file("net/arp"),
            devices: Devices {
                choice: Choice::new("arp.device", &options.device_include, &options.device_exclude)?,
                all: Vec::new(),
            },
        }))
    },
};

/// How neighbours are counted, and for which devices.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Whether the kernel is asked over netlink rather than by /proc/net/arp.
    pub netlink: bool,
    /// Names of devices that alone are shown, as a regular expression; all if empty.
    pub device_include: String,
    /// Names of devices that are left out, as a regular expression; none if empty.
    pub device_exclude: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { netlink: true, device_include: String::new(), device_exclude: String::new() }
    }
}

const ENTRIES: Desc<'static> = Desc::gauge("node_arp_entries", "ARP entries by device", &["device"]);

struct Arp {
    netlink: bool,
    neighbours: Option<Neighbours>,
    /// Entries by the number of their device; kept for its memory only.
    numbers: Vec<(u32, u64)>,
    file: Kept,
    devices: Devices,
}

/// Entries by device.
struct Devices {
    choice: Choice,
    all: Vec<Device>,
}

struct Device {
    name: String,
    shown: bool,
    entries: u64,
}

impl Collector for Arp {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        self.devices.reset();
        // Where a sandbox forbids netlink, the file says the same.
        if !self.netlink || self.ask().is_err() {
            self.neighbours = None;
            self.devices.reset();
            self.read()?.ok_or_else(|| CollectError::Absent("net/arp".into()))?;
        }
        self.devices.write(out);
        Ok(())
    }
}

impl Arp {
    fn ask(&mut self) -> io::Result<()> {
        let Self { neighbours, numbers, devices, .. } = self;
        let neighbours = match neighbours {
            Some(neighbours) => neighbours,
            None => neighbours.insert(Neighbours::connect()?),
        };
        numbers.clear();
        neighbours.devices(|number| {
            if let Some((_, entries)) = numbers.iter_mut().find(|(known, _)| *known == number) {
                *entries += 1;
            } else {
                numbers.push((number, 1));
            }
        })?;
        for (number, entries) in numbers {
            // A device that is gone by now has no neighbours any more.
            if let Ok(name) = neighbours.name(*number) {
                devices.add(&name, *entries);
            }
        }
        Ok(())
    }

    fn read(&mut self) -> Result<Option<()>, HostError> {
        let Self { file, devices, .. } = self;
        file.parse_lines(|text| {
            arp::devices(text).try_for_each(|name| {
                devices.add(name?, 1);
                Ok(())
            })
        })
    }
}

impl Devices {
    fn reset(&mut self) {
        for device in &mut self.all {
            device.entries = 0;
        }
    }

    fn add(&mut self, name: &str, entries: u64) {
        if let Some(device) = self.all.iter_mut().find(|device| device.name == name) {
            device.entries += entries;
        } else {
            let shown = self.choice.shows(name);
            self.all.push(Device { name: name.to_owned(), shown, entries });
        }
    }

    fn write(&mut self, out: &mut dyn Sink) {
        self.all.retain(|device| device.entries > 0);
        let mut shown = self.all.iter().filter(|device| device.shown).peekable();
        if shown.peek().is_some() {
            out.family(&ENTRIES);
        }
        for device in shown {
            out.sample(&[&device.name], Value::U64(device.entries));
        }
    }
}
