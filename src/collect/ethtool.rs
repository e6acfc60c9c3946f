//! The collector of network devices' drivers: link, driver and the driver's own counts (`node_ethtool_*`).

mod naming;

use super::filter::{Choice, pattern};
use super::table::Found;
use super::{CollectError, Collector, Entry};
use crate::host::ethtool::{Driver, Ethtool as Driven, Link};
use crate::host::{Host, children};
use crate::metric::{Desc, Kind, Sink, Value};
use regex_lite::Regex;
use serde::Deserialize;
use std::io;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "ethtool",
    on: false,
    make: |_, options| {
        let Options { device_include, device_exclude, metrics_include } = &options.ethtool;
        Ok(Box::new(Ethtool {
            filter: Choice::either("ethtool.device", device_include, device_exclude)?,
            metrics: pattern("ethtool.metrics_include", metrics_include)?,
        }))
    },
};

/// Which devices and counts are shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Names of the devices that are shown, as a regular expression; all if empty.
    pub device_include: String,
    /// Names of devices that are left out, as a regular expression; none if empty.
    pub device_exclude: String,
    /// Names of the drivers' counts that are shown, as a regular expression.
    pub metrics_include: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { device_include: String::new(), device_exclude: String::new(), metrics_include: ".*".into() }
    }
}

const INFO: Desc<'static> = Desc::gauge(
    "node_ethtool_info",
    "A metric with a constant '1' value labeled by bus_info, device, driver, expansion_rom_version, firmware_version, \
     version.",
    &["bus_info", "device", "driver", "expansion_rom_version", "firmware_version", "version"],
);

const fn flag(name: &'static str, help: &'static str) -> Desc<'static> {
    Desc::gauge(name, help, &["device"])
}

const AUTONEGOTIATE: Desc<'static> =
    flag("node_network_autonegotiate", "If this port is using autonegotiate");
/// Abilities with their bits: supported, and offered to the other side.
const ABILITIES: [(u32, Desc<'static>, Desc<'static>); 3] = [
    (
        6,
        flag("node_network_autonegotiate_supported", "If this port device supports autonegotiate"),
        flag("node_network_autonegotiate_advertised", "If this port device offers autonegotiate"),
    ),
    (
        13,
        flag("node_network_pause_supported", "If this port device supports pause frames"),
        flag("node_network_pause_advertised", "If this port device offers pause capability"),
    ),
    (
        14,
        flag(
            "node_network_asymmetricpause_supported",
            "If this port device supports asymmetric pause frames",
        ),
        flag(
            "node_network_asymmetricpause_advertised",
            "If this port device offers asymmetric pause capability",
        ),
    ),
];
const PORT: Desc<'static> = Desc::gauge(
    "node_network_supported_port_info",
    "Type of ports or PHYs supported by network device",
    &["device", "type"],
);
const PORTS: [(u32, &str); 6] =
    [(7, "TP"), (8, "AUI"), (9, "MII"), (10, "FIBRE"), (11, "BNC"), (16, "Backplane")];
const SUPPORTED_SPEED: Desc<'static> = Desc::gauge(
    "node_network_supported_speed_bytes",
    "Combination of speeds and features supported by network device",
    &["device", "duplex", "mode"],
);
const ADVERTISED_SPEED: Desc<'static> = Desc::gauge(
    "node_network_advertised_speed_bytes",
    "Combination of speeds and features offered by network device",
    &["device", "duplex", "mode"],
);
/// Modes of a link with their bits: Mbit/s, duplex, and what is behind `base` in the name.
const SPEEDS: [(u32, u64, &str, &str); 22] = [
    (0, 10, "half", "T"),
    (1, 10, "full", "T"),
    (2, 100, "half", "T"),
    (3, 100, "full", "T"),
    (4, 1000, "half", "T"),
    (5, 1000, "full", "T"),
    (12, 10000, "full", "T"),
    (17, 1000, "full", "KX"),
    (18, 10000, "full", "KX4"),
    (19, 10000, "full", "KR"),
    (20, 10000, "full", "R_FEC"),
    (21, 20000, "full", "MLD2"),
    (22, 20000, "full", "KR2"),
    (23, 40000, "full", "KR4"),
    (24, 40000, "full", "CR4"),
    (25, 40000, "full", "SR4"),
    (26, 40000, "full", "LR4"),
    (27, 56000, "full", "KR4"),
    (28, 56000, "full", "CR4"),
    (29, 56000, "full", "SR4"),
    (30, 56000, "full", "LR4"),
    (31, 25000, "full", "CR"),
];

struct Ethtool {
    filter: Choice,
    metrics: Option<Regex>,
}

impl Collector for Ethtool {
    fn collect(&mut self, host: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let failed = |e: io::Error| CollectError::Failed(format!("cannot ask for network devices: {e}"));
        let names = children(&host.sysfs.join("class/net"))?;
        let names = names.ok_or_else(|| CollectError::Absent("class/net".into()))?;
        let socket = Driven::open().map_err(failed)?;
        let (mut links, mut drivers, mut found) = (Vec::new(), Vec::new(), Found::new(&["device"]));
        for device in names.into_iter().filter(|name| self.filter.shows(name)) {
            if let Some(link) = socket.link(&device).map_err(failed)? {
                links.push((device.clone(), link));
            }
            let Some(driver) = socket.driver(&device).map_err(failed)? else { continue };
            let counts = socket.counts(&device, driver.counts).map_err(failed)?;
            let shown = |key: &str| self.metrics.as_ref().is_none_or(|pattern| pattern.is_match(key));
            for naming::Named { key, name, value } in naming::named(&counts, shown) {
                let (name, help) = naming::about(&key, name);
                found.add((name, Kind::Untyped), || help, vec![device.clone()], Value::U64(value));
            }
            drivers.push((device, driver));
        }
        write_links(&links, out);
        write_drivers(&drivers, out);
        found.write(out);
        Ok(())
    }
}

fn write_links(links: &[(String, Link)], out: &mut dyn Sink) {
    if links.is_empty() {
        return;
    }
    let has = |bits: u32, bit: u32| bits & (1 << bit) != 0;
    let mut flag = |desc: &Desc<'_>, value: &dyn Fn(&Link) -> u64| {
        out.family(desc);
        for (device, link) in links {
            out.sample(&[device], Value::U64(value(link)));
        }
    };
    flag(&AUTONEGOTIATE, &|link| link.autonegotiate.into());
    for (bit, supported, advertised) in &ABILITIES {
        flag(supported, &|link| has(link.supported, *bit).into());
        flag(advertised, &|link| has(link.advertised, *bit).into());
    }
    let mut open = false;
    for (device, link) in links {
        for (_, port) in PORTS.iter().filter(|(bit, _)| has(link.supported, *bit)) {
            if !std::mem::replace(&mut open, true) {
                out.family(&PORT);
            }
            out.sample(&[device, port], Value::U64(1));
        }
    }
    write_speeds(&SUPPORTED_SPEED, links, |link| link.supported, out);
    write_speeds(&ADVERTISED_SPEED, links, |link| link.advertised, out);
}

fn write_speeds(desc: &Desc<'_>, links: &[(String, Link)], bits: fn(&Link) -> u32, out: &mut dyn Sink) {
    let mut open = false;
    for (device, link) in links {
        for (_, megabits, duplex, kind) in SPEEDS.iter().filter(|(bit, ..)| bits(link) & (1 << bit) != 0) {
            if !std::mem::replace(&mut open, true) {
                out.family(desc);
            }
            let mode = format!("{megabits}base{kind}");
            out.sample(&[device, duplex, &mode], Value::U64(megabits * 125_000));
        }
    }
}

fn write_drivers(drivers: &[(String, Driver)], out: &mut dyn Sink) {
    if !drivers.is_empty() {
        out.family(&INFO);
    }
    for (device, driver) in drivers {
        let Driver { name, version, firmware, bus, rom, .. } = driver;
        out.sample(&[bus, device, name, rom, firmware, version], Value::U64(1));
    }
}
