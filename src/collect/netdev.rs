//! The collector of network devices: bytes, packets, errors and drops (`node_network_*_total`).

mod addresses;
pub(super) mod families;

use super::family::by_name;
use super::filter::Choice;
use super::{CollectError, Collector, Entry};
use crate::host::{Host, HostError, Kept, link, net, system};
use crate::metric::{Desc, Sink, Value};
use families::{DETAILED, PLAIN, PLAIN_RENAMED, plain};
use serde::Deserialize;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "netdev",
    on: true,
    make: |host, options| {
        let shares_families = options.netclass.netlink && options.netclass.netlink_with_stats;
        let options = &options.netdev;
        Ok(Box::new(Netdev {
            choice: Choice::either("netdev.device", &options.device_include, &options.device_exclude)?,
            options: options.clone(),
            file: host.proc_file("net/dev"),
            shares_families,
            families: &PLAIN,
            devices: Vec::new(),
        }))
    },
};

/// Which devices are shown, and what of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "one for each of node_exporter's flags")]
pub struct Options {
    /// Whether the kernel is asked over netlink for what /proc/net/dev does not have, and where that is not there.
    pub netlink: bool,
    /// Names of the devices that are shown, as a regular expression.
    pub device_include: String,
    /// Names of devices that are left out, as a regular expression.
    pub device_exclude: String,
    /// Whether the addresses of devices are shown.
    pub address_info: bool,
    /// Whether errors are told apart, under other names.
    pub enable_detailed_metrics: bool,
    /// Whether each count has the device's alias as a label.
    pub label_ifalias: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            netlink: true,
            device_include: String::new(),
            device_exclude: String::new(),
            address_info: false,
            enable_detailed_metrics: false,
            label_ifalias: false,
        }
    }
}

struct Netdev {
    choice: Choice,
    options: Options,
    file: Kept,
    shares_families: bool,
    /// What the counts of this pass are called.
    families: &'static [Desc<'static>],
    /// All devices in the kernel's order, those that are left out as well.
    devices: Vec<Device>,
}

/// A device's counts in the order of the families; not every kernel has all.
type Counts = [Option<u64>; DETAILED.len()];

struct Device {
    name: String,
    shown: bool,
    counts: Counts,
    /// The one count that /proc/net/dev does not have.
    no_handler: Kept,
    alias_file: Kept,
    alias: String,
}

impl Collector for Netdev {
    fn collect(&mut self, host: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Options { netlink, enable_detailed_metrics, address_info, label_ifalias, .. } = self.options;
        // The file is read first where it has what is wanted: it says the same as netlink, and reading it does not wait
        // for whoever changes a device at the moment.
        let told = netlink && enable_detailed_metrics && self.ask(host).is_ok();
        if !told && self.read(host)?.is_none() {
            if !netlink {
                return Err(CollectError::Absent("net/dev".into()));
            }
            self.ask(host)
                .map_err(|e| CollectError::Failed(format!("cannot ask for devices by netlink: {e}")))?;
        }
        if label_ifalias {
            for device in self.devices.iter_mut().filter(|device| device.shown) {
                let alias = device.alias_file.parse(|text| Ok(text.trim_end_matches('\n').to_owned()))?;
                device.alias = alias.unwrap_or_default();
            }
        }
        let addresses = if address_info { addresses::read(&self.choice)? } else { Vec::new() };
        // `netclass` may have written some of these counts already.
        let shared = self.shares_families;
        let families = self.families.iter().enumerate();
        let families: Vec<_> = families.filter(|(_, desc)| !shared || !out.has_family(desc.name)).collect();
        write(&families, &self.devices, label_ifalias, out);
        addresses::write(&addresses, out);
        Ok(())
    }
}

impl Netdev {
    /// Reads /proc/net/dev; `None` if it is not there.
    fn read(&mut self, host: &Host) -> Result<Option<()>, HostError> {
        let Self { choice, options, file, families, devices, .. } = self;
        *families = if options.enable_detailed_metrics { &PLAIN_RENAMED } else { &PLAIN };
        let mut count = 0;
        let read = file.parse_lines(|text| {
            net::devices(text).try_for_each(|device| {
                let read = device?;
                place(devices, &mut count, read.name, |name| Device::new(host, name, choice.shows(name)))
                    .counts = counts(read.counts.into_iter().map(Some));
                Ok(())
            })
        })?;
        devices.truncate(count);
        for device in devices.iter_mut().filter(|device| device.shown) {
            if let Some(slot) = device.counts.get_mut(PLAIN.len() - 1) {
                *slot = device.no_handler.parse(system::whole)?;
            }
        }
        Ok(read)
    }

    /// Asks by netlink.
    fn ask(&mut self, host: &Host) -> std::io::Result<()> {
        let Self { choice, options, families, devices, .. } = self;
        *families = if options.enable_detailed_metrics { &DETAILED } else { &PLAIN };
        let mut count = 0;
        for link in link::links()? {
            let Some(told) = link.counts else { continue };
            let no_handler = std::iter::once(link.no_handler);
            place(devices, &mut count, &link.name, |name| Device::new(host, name, choice.shows(name)))
                .counts = if options.enable_detailed_metrics {
                counts(told.into_iter().map(Some).chain(no_handler))
            } else {
                counts(plain(&told).into_iter().map(Some).chain(no_handler))
            };
        }
        devices.truncate(count);
        Ok(())
    }
}

/// Writes netlink's counts of devices.
pub(super) fn write_counts<'a>(
    links: &(impl Iterator<Item = &'a link::Link> + Clone),
    families: &[Desc<'static>],
    out: &mut dyn Sink,
) {
    for (i, desc) in families.iter().enumerate() {
        let count = |link: &link::Link| match i {
            link::COUNTS => link.no_handler,
            _ => link.counts.and_then(|counts| counts.get(i).copied()),
        };
        by_name(out, desc, links.clone().map(|link| (link.name.as_str(), count(link).map(Value::U64))));
    }
}

/// The next device in the kernel's order: the known one of this name, or a new one, with which the rest begins anew.
fn place<'a>(
    devices: &'a mut Vec<Device>,
    count: &mut usize,
    name: &str,
    new: impl FnOnce(&str) -> Device,
) -> &'a mut Device {
    let at = *count;
    *count += 1;
    if devices.get(at).is_none_or(|device| device.name != name) {
        devices.truncate(at);
        return devices.push_mut(new(name));
    }
    #[expect(clippy::indexing_slicing, reason = "there is a device at this place, or it was pushed above")]
    &mut devices[at]
}

fn counts(told: impl Iterator<Item = Option<u64>>) -> Counts {
    let mut out = [None; DETAILED.len()];
    for (slot, count) in out.iter_mut().zip(told) {
        *slot = count;
    }
    out
}

impl Device {
    fn new(host: &Host, name: &str, shown: bool) -> Self {
        let file = |attribute: &str| host.sys_file(&format!("class/net/{name}/{attribute}"));
        Self {
            name: name.to_owned(),
            shown,
            counts: [None; DETAILED.len()],
            no_handler: file("statistics/rx_nohandler"),
            alias_file: file("ifalias"),
            alias: String::new(),
        }
    }
}

fn write(families: &[(usize, &Desc<'static>)], devices: &[Device], with_alias: bool, out: &mut dyn Sink) {
    for &(i, desc) in families {
        let value = |device: &Device| device.counts.get(i).copied().flatten();
        let mut open = false;
        for device in devices.iter().filter(|device| device.shown) {
            let Some(count) = value(device) else { continue };
            if !std::mem::replace(&mut open, true) {
                let labels: &[&str] = if with_alias { &["device", "ifalias"] } else { &["device"] };
                out.family(&Desc { labels, ..*desc });
            }
            let labels = [device.name.as_str(), device.alias.as_str()];
            out.sample(if with_alias { &labels } else { &labels[..1] }, Value::U64(count));
        }
    }
}
