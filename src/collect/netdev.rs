//! The collector of network devices: bytes, packets, errors and drops (`node_network_*_total`).

use super::{CollectError, Collector, Entry, OptionError, filter};
use crate::host::{Host, Kept, net, system};
use crate::metric::{Desc, Sink, Value};
use regex_lite::Regex;
use serde::Deserialize;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "netdev",
    on: true,
    make: |host, options| {
        let Options { device_include, device_exclude } = &options.netdev;
        if !device_include.is_empty() && !device_exclude.is_empty() {
            let why = "give either `device_include` or `device_exclude`, and not both".into();
            return Err(OptionError { key: "netdev.device_include".into(), why });
        }
        Ok(Box::new(Netdev {
            include: filter::pattern("netdev.device_include", device_include)?,
            exclude: filter::pattern("netdev.device_exclude", device_exclude)?,
            file: host.proc_file("net/dev"),
            devices: Vec::new(),
        }))
    },
};

/// Which devices are shown: all, if both are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Names of the devices that are shown, as a regular expression.
    pub device_include: String,
    /// Names of devices that are left out, as a regular expression.
    pub device_exclude: String,
}

const fn counter(name: &'static str, help: &'static str) -> Desc<'static> {
    Desc::counter(name, help, &["device"])
}

/// The families in the order of the kernel's columns.
const FAMILIES: [Desc<'static>; 16] = [
    counter("node_network_receive_bytes_total", "Network device statistic receive_bytes."),
    counter("node_network_receive_packets_total", "Network device statistic receive_packets."),
    counter("node_network_receive_errs_total", "Network device statistic receive_errs."),
    counter("node_network_receive_drop_total", "Network device statistic receive_drop."),
    counter("node_network_receive_fifo_total", "Network device statistic receive_fifo."),
    counter("node_network_receive_frame_total", "Network device statistic receive_frame."),
    counter("node_network_receive_compressed_total", "Network device statistic receive_compressed."),
    counter("node_network_receive_multicast_total", "Network device statistic receive_multicast."),
    counter("node_network_transmit_bytes_total", "Network device statistic transmit_bytes."),
    counter("node_network_transmit_packets_total", "Network device statistic transmit_packets."),
    counter("node_network_transmit_errs_total", "Network device statistic transmit_errs."),
    counter("node_network_transmit_drop_total", "Network device statistic transmit_drop."),
    counter("node_network_transmit_fifo_total", "Network device statistic transmit_fifo."),
    counter("node_network_transmit_colls_total", "Network device statistic transmit_colls."),
    counter("node_network_transmit_carrier_total", "Network device statistic transmit_carrier."),
    counter("node_network_transmit_compressed_total", "Network device statistic transmit_compressed."),
];
const NOHANDLER: Desc<'static> =
    counter("node_network_receive_nohandler_total", "Network device statistic receive_nohandler.");

struct Netdev {
    include: Option<Regex>,
    exclude: Option<Regex>,
    file: Kept,
    /// All devices in the file's order, those that are left out as well.
    devices: Vec<Device>,
}

struct Device {
    name: String,
    shown: bool,
    counts: [u64; 16],
    /// The one count that /proc/net/dev does not have.
    nohandler_file: Kept,
    nohandler: Option<u64>,
}

impl Collector for Netdev {
    fn collect(&mut self, host: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { include, exclude, file, devices } = self;
        let shown = |name: &str| {
            include.as_ref().is_none_or(|pattern| pattern.is_match(name))
                && exclude.as_ref().is_none_or(|pattern| !pattern.is_match(name))
        };
        let mut count = 0;
        file.parse_lines(|text| {
            net::devices(text).try_for_each(|device| {
                let read = device?;
                if devices.get(count).is_none_or(|device| device.name != read.name) {
                    devices.truncate(count);
                    devices.push(Device::new(host, read.name, shown(read.name)));
                }
                if let Some(device) = devices.get_mut(count) {
                    device.counts = read.counts;
                }
                count += 1;
                Ok(())
            })
        })?
        .ok_or_else(|| CollectError::Absent("net/dev".into()))?;
        devices.truncate(count);
        for device in devices.iter_mut().filter(|device| device.shown) {
            device.nohandler = device.nohandler_file.parse(system::whole)?;
        }
        write(devices, out);
        Ok(())
    }
}

impl Device {
    fn new(host: &Host, name: &str, shown: bool) -> Self {
        let nohandler_file = host.sys_file(&format!("class/net/{name}/statistics/rx_nohandler"));
        Self { name: name.to_owned(), shown, counts: [0; 16], nohandler_file, nohandler: None }
    }
}

fn write(devices: &[Device], out: &mut dyn Sink) {
    let shown = || devices.iter().filter(|device| device.shown);
    if shown().next().is_none() {
        return;
    }
    for (i, desc) in FAMILIES.iter().enumerate() {
        out.family(desc);
        for device in shown() {
            out.sample(&[&device.name], Value::U64(device.counts.get(i).copied().unwrap_or_default()));
        }
    }
    if shown().any(|device| device.nohandler.is_some()) {
        out.family(&NOHANDLER);
        for device in shown() {
            if let Some(count) = device.nohandler {
                out.sample(&[&device.name], Value::U64(count));
            }
        }
    }
}
