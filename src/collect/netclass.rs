//! The collector of network devices' properties: /sys/class/net (`node_network_*`).

mod netlink;

use super::family::{Opening, by_name, whole};
use super::{CollectError, Collector, Entry, filter};
use crate::host::attribute::Reader;
use crate::host::{Attributes, Host, HostError, Links, Listing};
use crate::metric::{Desc, Sink, Value};
use regex_lite::Regex;
use serde::Deserialize;
use std::path::Path;
use std::time::{Duration, Instant};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "netclass",
    on: true,
    make: |host, options| {
        Ok(Box::new(Netclass {
            ignored: filter::pattern("netclass.ignored_devices", &options.netclass.ignored_devices)?,
            options: options.netclass.clone(),
            devices: Listing::new(host.sysfs.join("class/net")),
            // Where /sys is another machine's or a test's, nobody tells of changes.
            links: if host.sysfs == Path::new("/sys") { Links::listen().ok() } else { None },
            news_at: None,
            passes_left: 0,
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
const DUPLEX: usize = 3;
/// After so many passes everything is read anew, though there was no news.
const PASSES: u32 = 20;
/// So long after news everything is read in each pass: a device that goes is told of before its files are gone.
const SETTLE: Duration = Duration::from_secs(3);

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
const IFINDEX: usize = 8;
const SPEED: usize = 14;
/// The kernel counts speeds in millions of bits a second.
const SPEED_BYTES: u64 = 1_000_000 / 8;

struct Netclass {
    ignored: Option<Regex>,
    options: Options,
    devices: Listing<Attributes>,
    /// Tells when something changed: most of a device's files say the same for years.
    links: Option<Links>,
    /// When there was news last.
    news_at: Option<Instant>,
    /// How many passes may do without reading everything, as long as there is no news.
    passes_left: u32,
}

impl Collector for Netclass {
    fn collect(&mut self, host: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        if self.options.netlink {
            return netlink::collect(host, self.ignored.as_ref(), self.options.netlink_with_stats, out);
        }
        // Heard before the first file is read: what changes later is news for the next pass.
        if self.links.as_ref().is_none_or(Links::has_news) {
            self.news_at = Some(Instant::now());
        }
        let settled = self.news_at.is_none_or(|at| at.elapsed() >= SETTLE);
        if settled && self.passes_left > 0 {
            self.passes_left -= 1;
            self.read_speeds()?;
        } else {
            self.read_all()?;
        }
        write(&self.devices, self.options.ignore_invalid_speed, out);
        Ok(())
    }
}

impl Netclass {
    /// Reads all files of all devices.
    fn read_all(&mut self) -> Result<(), CollectError> {
        let Self { ignored, devices, .. } = self;
        // Until all was read.
        self.passes_left = 0;
        devices
            .refresh(|path, name, is_file| {
                // The one ordinary file there, bonding_masters, is no device.
                let shown = !is_file && ignored.as_ref().is_none_or(|pattern| !pattern.is_match(name));
                shown.then(|| Attributes::new(path, &TEXTS, &NUMBERS.map(|(name, _)| name)))
            })?
            .ok_or_else(|| CollectError::Absent("class/net".into()))?;
        let mut reader = Reader::default();
        for (_, device) in self.devices.items_mut() {
            device.read(&mut reader)?;
        }
        self.passes_left = if self.are_heard() { PASSES } else { 0 };
        Ok(())
    }

    /// Reads what only the driver knows, and tells nobody of; a device that has none gets none without news.
    fn read_speeds(&mut self) -> Result<(), HostError> {
        let mut reader = Reader::default();
        for (_, device) in self.devices.items_mut() {
            let (duplex, speed) = (device.text(DUPLEX).is_some(), device.number(SPEED).is_some());
            device.read_some(
                &mut reader,
                |text| duplex && text == DUPLEX,
                |number| speed && number == SPEED,
            )?;
        }
        Ok(())
    }

    /// Whether the devices are those that there is news of: /sys may be of another network name space than this process.
    fn are_heard(&self) -> bool {
        let Some(links) = &self.links else { return false };
        self.devices.items().all(|(name, device)| {
            let number = device.number(IFINDEX).and_then(|number| u32::try_from(number).ok());
            number.is_some_and(|number| links.is(name, number))
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect;
    use crate::encode::text::TextEncoder;
    use std::process::Command;

    /// The numbers of lo's mtu, flags and queue.
    fn lo(collector: &mut dyn Collector) -> Vec<String> {
        let mut out = TextEncoder::default();
        collector.collect(&Host::default(), &mut out).unwrap();
        let page = String::from_utf8(out.page().to_vec()).unwrap();
        let value = |name: &str| {
            let start = format!("node_network_{name}{{device=\"lo\"}} ");
            page.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or("none").to_owned()
        };
        ["mtu_bytes", "flags", "transmit_queue_length"].map(value).into()
    }

    #[test]
    #[ignore = "the next one runs it, with network devices of its own"]
    fn what_changes_is_seen_in_the_next_pass() {
        let mut netclass = (ENTRY.make)(&Host::default(), &collect::Options::default()).unwrap();
        let ip = |args: &str| {
            let done = Command::new("ip").arg("link").args(args.split(' ')).status();
            assert!(done.unwrap().success(), "{args}");
        };
        let set = |args: &str| ip(&format!("set lo {args}"));
        let before = lo(netclass.as_mut());
        assert_eq!(before, ["65536", "8", "1000"]);
        for _ in 0..PASSES * 2 {
            assert_eq!(lo(netclass.as_mut()), before);
        }
        set("mtu 1400");
        assert_eq!(lo(netclass.as_mut()), ["1400", "8", "1000"]);
        set("up");
        assert_eq!(lo(netclass.as_mut()), ["1400", "9", "1000"]);
        set("txqueuelen 77");
        assert_eq!(lo(netclass.as_mut()), ["1400", "9", "77"]);
        // That a carrier came or went is told after it was counted.
        let links = Links::listen().unwrap();
        ip("add v0 type veth peer name v1");
        ip("set v0 up");
        ip("set v1 up");
        let changes = || std::fs::read_to_string("/sys/class/net/v0/carrier_changes").unwrap();
        for args in ["set v1 down", "set v1 up"] {
            // What was done before may be told of a second later.
            while links.has_news() {
                std::thread::sleep(Duration::from_millis(1500));
            }
            let before = changes();
            ip(args);
            while !links.has_news() {
                std::thread::sleep(Duration::from_millis(10));
            }
            assert_ne!(changes(), before, "{args}");
        }
    }

    #[test]
    fn what_changes_is_seen_though_not_everything_is_read_in_each_pass() {
        const APART: [&str; 3] = ["--net", "--mount", "sh"];
        let ready =
            Command::new("unshare").args(APART).args(["-c", "mount -t sysfs sysfs /sys && ip link"]).output();
        if !ready.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: no network name space may be made here, or there is no iproute2");
            return;
        }
        let this = std::env::current_exe().unwrap();
        let inner = "collect::netclass::tests::what_changes_is_seen_in_the_next_pass";
        let run = "mount -t sysfs sysfs /sys && exec \"$0\" --ignored --exact \"$1\"";
        let output =
            Command::new("unshare").args(APART).args(["-c", run]).arg(this).arg(inner).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
}
