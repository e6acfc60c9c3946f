//! The collector of network devices' properties: /sys/class/net (`node_network_*`).

mod netlink;

use super::family::{Opening, by_name, whole};
use super::{CollectError, Collector, Entry, filter};
use crate::host::attribute::Reader;
use crate::host::{Attributes, Host, Listing};
use crate::metric::{Desc, Sink, Value};
use regex_lite::Regex;
use serde::Deserialize;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "netclass",
    on: true,
    make: |host, options| {
        Ok(Box::new(Netclass {
            ignored: filter::pattern("netclass.ignored_devices", &options.netclass.ignored_devices)?,
            options: options.netclass.clone(),
            devices: Listing::new(host.sysfs.join("class/net")),
        }))
    },
};

/// Which devices and speeds are shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Names of devices that are left out, as a regular expression; none if empty.
    pub ignored_devices: String,
    /// Whether the speed of a device that has none (-1) is left out.
    pub ignore_invalid_speed: bool,
    /// Whether the kernel is asked over netlink rather than by /sys/class/net.
    pub netlink: bool,
    /// Whether netlink's counts are shown besides, for who leaves out `netdev`.
    pub netlink_with_stats: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ignored_devices: "^$".into(),
            ignore_invalid_speed: false,
            netlink: false,
            netlink_with_stats: false,
        }
    }
}

/// The attributes that are texts, by place.
const TEXTS: [&str; 5] = ["operstate", "address", "broadcast", "duplex", "ifalias"];
const OPERSTATE: usize = 0;

const fn gauge(name: &'static str, help: &'static str) -> Desc<'static> {
    Desc::gauge(name, help, &["device"])
}

const fn counter(name: &'static str, help: &'static str) -> Desc<'static> {
    Desc::counter(name, help, &["device"])
}

const UP: Desc<'static> = gauge("node_network_up", "Value is 1 if operstate is 'up', 0 otherwise.");
const INFO: Desc<'static> = Desc::gauge(
    "node_network_info",
    "Non-numeric data from /sys/class/net/<iface>, value is always 1.",
    &["address", "adminstate", "broadcast", "device", "duplex", "ifalias", "operstate"],
);
/// The attributes that are numbers, by place, and their families.
const NUMBERS: [(&str, Desc<'static>); 17] = [
    (
        "addr_assign_type",
        gauge("node_network_address_assign_type", "Network device property: address_assign_type"),
    ),
    ("carrier", gauge("node_network_carrier", "Network device property: carrier")),
    (
        "carrier_changes",
        counter("node_network_carrier_changes_total", "Network device property: carrier_changes_total"),
    ),
    (
        "carrier_up_count",
        counter("node_network_carrier_up_changes_total", "Network device property: carrier_up_changes_total"),
    ),
    (
        "carrier_down_count",
        counter(
            "node_network_carrier_down_changes_total",
            "Network device property: carrier_down_changes_total",
        ),
    ),
    ("dev_id", gauge("node_network_device_id", "Network device property: device_id")),
    ("dormant", gauge("node_network_dormant", "Network device property: dormant")),
    ("flags", gauge("node_network_flags", "Network device property: flags")),
    ("ifindex", gauge("node_network_iface_id", "Network device property: iface_id")),
    ("iflink", gauge("node_network_iface_link", "Network device property: iface_link")),
    ("link_mode", gauge("node_network_iface_link_mode", "Network device property: iface_link_mode")),
    ("mtu", gauge("node_network_mtu_bytes", "Network device property: mtu_bytes")),
    ("name_assign_type", gauge("node_network_name_assign_type", "Network device property: name_assign_type")),
    ("netdev_group", gauge("node_network_net_dev_group", "Network device property: net_dev_group")),
    ("speed", gauge("node_network_speed_bytes", "Network device property: speed_bytes")),
    (
        "tx_queue_len",
        gauge("node_network_transmit_queue_length", "Network device property: transmit_queue_length"),
    ),
    ("type", gauge("node_network_protocol_type", "Network device property: protocol_type")),
];
const FLAGS: usize = 7;
const SPEED: usize = 14;
/// The kernel counts speeds in millions of bits a second.
const SPEED_BYTES: u64 = 1_000_000 / 8;

struct Netclass {
    ignored: Option<Regex>,
    options: Options,
    devices: Listing<Attributes>,
}

impl Collector for Netclass {
    fn collect(&mut self, host: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { ignored, options, devices } = self;
        if options.netlink {
            return netlink::collect(host, ignored.as_ref(), options.netlink_with_stats, out);
        }
        devices
            .refresh(|path, name, is_file| {
                // The one ordinary file there, bonding_masters, is no device.
                let shown = !is_file && ignored.as_ref().is_none_or(|pattern| !pattern.is_match(name));
                shown.then(|| Attributes::new(path, &TEXTS, &NUMBERS.map(|(name, _)| name)))
            })?
            .ok_or_else(|| CollectError::Absent("class/net".into()))?;
        let mut reader = Reader::default();
        for (_, device) in devices.items_mut() {
            device.read(&mut reader)?;
        }
        write(devices, options.ignore_invalid_speed, out);
        Ok(())
    }
}

fn write(devices: &Listing<Attributes>, ignore_invalid_speed: bool, out: &mut dyn Sink) {
    let up = |device: &Attributes| Some(Value::U64((device.text(OPERSTATE)? == "up").into()));
    by_name(out, &UP, devices.items().map(|(name, device)| (name, up(device))));
    let mut info = Opening::new(&INFO);
    for (name, device) in devices.items().filter(|(_, device)| device.any()) {
        let text = |place| device.text(place).unwrap_or_default();
        let admin_state = match device.number(FLAGS) {
            None => "unknown",
            Some(flags) if flags & 1 == 1 => "up",
            Some(_) => "down",
        };
        let labels = [text(1), admin_state, text(2), name, text(3), text(4), text(OPERSTATE)];
        info.sample(out, &labels, Value::U64(1));
    }
    for (place, (_, desc)) in NUMBERS.iter().enumerate() {
        let value = |device: &Attributes| {
            let number = device.number(place)?;
            if place != SPEED {
                return Some(whole(number));
            }
            (number >= 0 || !ignore_invalid_speed).then(|| whole(number.saturating_mul(SPEED_BYTES.into())))
        };
        by_name(out, desc, devices.items().map(|(name, device)| (name, value(device))));
    }
}
