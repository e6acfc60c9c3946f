//! Network devices' properties by netlink: under the same names as those of /sys/class/net, but for a few.

use super::{INFO, NUMBERS, SPEED_BYTES, UP};
use crate::collect::family::{Opening, by_name};
use crate::collect::netdev::families::DETAILED;
use crate::collect::{CollectError, netdev};
use crate::host::link::{self, Cable, Link};
use crate::host::{Host, HostError, read_once, system};
use crate::metric::{Desc, Sink, Value};
use regex_lite::Regex;

const NAMES: Desc<'static> = Desc::gauge(
    "node_network_altnames_info",
    "Non-numeric data of <iface> altname, value is always 1.",
    &["altname", "device"],
);
/// The labels of `node_network_info`, of which the flags are none here.
const INFO_LABELS: [&str; 6] = ["address", "broadcast", "device", "duplex", "ifalias", "operstate"];
/// The words of states (`IF_OPER_*`).
const STATES: [&str; 7] = ["unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"];
const STATE_UP: u8 = 6;
/// The attributes that only /sys/class/net has, by their places.
const IN_SYSFS: [(usize, &str); 3] = [(0, "addr_assign_type"), (5, "dev_id"), (12, "name_assign_type")];
const SPEED: usize = super::SPEED;

/// A device with what is told elsewhere.
struct Device {
    link: Link,
    cable: Option<Cable>,
    /// The attributes in the order of [`IN_SYSFS`].
    attributes: [Option<u64>; 3],
}

/// Asks for all devices but those that are left out, and writes them.
pub(super) fn collect(
    host: &Host,
    ignored: Option<&Regex>,
    with_stats: bool,
    out: &mut dyn Sink,
) -> Result<(), CollectError> {
    let failed = |e| CollectError::Failed(format!("cannot ask for devices by netlink: {e}"));
    let (links, cables) = (link::links().map_err(failed)?, link::cables().map_err(failed)?);
    let mut devices = Vec::with_capacity(links.len());
    for link in links {
        if ignored.is_some_and(|pattern| pattern.is_match(&link.name)) {
            continue;
        }
        let cable = cables.iter().find(|cable| cable.device == link.index).copied();
        let mut attributes = [None; 3];
        for (slot, (_, name)) in attributes.iter_mut().zip(IN_SYSFS) {
            *slot = attribute(host, &link.name, name)?;
        }
        devices.push(Device { link, cable, attributes });
    }
    write(&devices, out);
    if with_stats {
        netdev::write_counts(&devices.iter().map(|device| &device.link), &DETAILED, out);
    }
    Ok(())
}

fn attribute(host: &Host, device: &str, name: &str) -> Result<Option<u64>, HostError> {
    let path = host.sysfs.join("class/net").join(device).join(name);
    match read_once(&path) {
        Ok(text) => Ok(text.and_then(|text| {
            let text = text.trim();
            text.strip_prefix("0x")
                .map_or_else(|| system::whole(text).ok(), |hex| u64::from_str_radix(hex, 16).ok())
        })),
        // The kernel refuses some attributes of some devices.
        Err(HostError::Read { source, .. }) if source.kind() == std::io::ErrorKind::InvalidInput => Ok(None),
        Err(e) => Err(e),
    }
}

fn write(devices: &[Device], out: &mut dyn Sink) {
    let each = || devices.iter().map(|device| (device.link.name.as_str(), device));
    by_name(out, &UP, each().map(|(name, d)| (name, Some(Value::U64((d.link.state == STATE_UP).into())))));
    let info = Desc { labels: &INFO_LABELS, help: "Non-numeric data of <iface>, value is always 1.", ..INFO };
    let mut info = Opening::new(&info);
    for (name, Device { link, cable, .. }) in each() {
        let state = STATES.get(usize::from(link.state)).copied().unwrap_or("unknown");
        let labels = [&link.address, &link.broadcast, name, duplex(*cable), &link.alias, state];
        info.sample(out, &labels, Value::U64(1));
    }
    let mut names = Opening::new(&NAMES);
    for (name, device) in each() {
        for other in &device.link.other_names {
            names.sample(out, &[other, name], Value::U64(1));
        }
    }
    for (place, (_, desc)) in NUMBERS.iter().enumerate() {
        by_name(out, desc, each().map(|(name, device)| (name, device.number(place).map(Value::U64))));
    }
}

/// The word of node_exporter, which is another one than that of /sys/class/net.
fn duplex(cable: Option<Cable>) -> &'static str {
    match cable.map(|cable| cable.duplex) {
        None => "",
        Some(Some(0)) => "Half",
        Some(Some(1)) => "Full",
        Some(_) => "Unknown",
    }
}

impl Device {
    /// The number at a place of [`NUMBERS`].
    fn number(&self, place: usize) -> Option<u64> {
        if let Some(at) = IN_SYSFS.iter().position(|(of, _)| *of == place) {
            return self.attributes.get(at).copied().flatten();
        }
        let Self { link, cable, .. } = self;
        let [changes, ups, downs] = link.carrier_changes;
        match place {
            1 => link.carrier.map(u64::from),
            2 => changes.map(u64::from),
            3 => ups.map(u64::from),
            4 => downs.map(u64::from),
            // A device that waits for something above it is in the mode `dormant`.
            6 | 10 => link.mode.map(u64::from),
            7 => Some(link.flags.into()),
            8 => Some(link.index.into()),
            9 => Some(link.below.unwrap_or(link.index).into()),
            11 => link.mtu.map(u64::from),
            13 => link.group.map(u64::from),
            SPEED => cable.and_then(|cable| cable.speed_megabits).map(|speed| u64::from(speed) * SPEED_BYTES),
            15 => link.queue_length.map(u64::from),
            16 => Some(link.protocol.into()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::text::TextEncoder;

    fn page(devices: &[Device]) -> String {
        let mut out = TextEncoder::default();
        write(devices, &mut out);
        String::from_utf8(out.page().to_vec()).unwrap()
    }

    #[test]
    fn what_the_kernel_does_not_tell_is_absent() {
        let link = Link {
            index: 4,
            name: "eth0".into(),
            state: 6,
            below: Some(7),
            mtu: Some(1500),
            carrier_changes: [Some(2), None, None],
            other_names: vec!["enp1s0".into()],
            ..Link::default()
        };
        let cable = Cable { device: 4, speed_megabits: Some(1000), duplex: Some(1) };
        let page = page(&[Device { link, cable: Some(cable), attributes: [None, Some(3), None] }]);
        // The manual is written from golden pages, too.
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/netclass_netlink.txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(golden, &page).unwrap();
        }
        assert_eq!(page, std::fs::read_to_string(golden).unwrap_or_default());
    }

    #[test]
    fn the_kernel_says_the_same_in_both_ways() {
        let options = |netlink| crate::collect::Options {
            netclass: super::super::Options { netlink, ..Default::default() },
            ..Default::default()
        };
        let (host, mut pages) = (Host::default(), Vec::new());
        for netlink in [false, true] {
            let mut out = TextEncoder::default();
            let mut collector = (super::super::ENTRY.make)(&host, &options(netlink)).unwrap();
            collector.collect(&host, &mut out).unwrap();
            pages.push(String::from_utf8(out.page().to_vec()).unwrap());
        }
        // Netlink knows more flags, and has a word about the carrier of a device that is down.
        let other = ["info{", "speed_bytes", "altnames_info", "flags", "carrier{", "dormant"];
        let other = other.map(|name| format!("node_network_{name}"));
        let series = |page: &str| {
            let lines = page.lines().filter(|line| !line.starts_with('#'));
            let mut lines: Vec<_> = lines
                .filter(|l| !other.iter().any(|o| l.starts_with(o.as_str())))
                .map(str::to_owned)
                .collect();
            lines.sort();
            lines
        };
        assert_eq!(series(&pages[0]), series(&pages[1]));
    }
}
