//! The collector of PCI devices: what they are, their links, power and virtual functions (`node_pcidevice_*`).

use super::table::{Row, write};
use super::{CollectError, Collector, Entry};
use crate::host::pci::{self, Ids, Location, Names};
use crate::host::proc::parsed;
use crate::host::{Host, HostError, ParseError, Tree, children, read_once, system};
use crate::metric::{Desc, Sink, Value};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "pcidevice",
    on: false,
    make: |host, options| {
        let Options { idsfile, names } = &options.pcidevice;
        let list = if idsfile.is_empty() {
            LISTS.iter().map(|path| host.root_path(path)).collect()
        } else {
            vec![PathBuf::from(idsfile)]
        };
        let tree = Tree::new(&host.sysfs.join("bus/pci/devices"));
        Ok(Box::new(Pcidevice { tree, lists: names.then_some(list), names: BTreeMap::new() }))
    },
};

/// How devices are named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The list of names; if empty, `pci.ids` where distributions put it.
    pub idsfile: String,
    /// Whether names are shown besides numbers.
    pub names: bool,
}

const LISTS: [&str; 2] = ["/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"];
const HELP: &str = "Non-numeric data from /sys/bus/pci/devices/<location>, value is always 1.";
const INFO: Desc<'static> = Desc::gauge(
    "node_pcidevice_info",
    HELP,
    &[
        "bus",
        "class_id",
        "device",
        "device_id",
        "function",
        "parent_bus",
        "parent_device",
        "parent_function",
        "parent_segment",
        "revision",
        "segment",
        "subsystem_device_id",
        "subsystem_vendor_id",
        "vendor_id",
    ],
);
const INFO_WITH_NAMES: Desc<'static> = Desc::gauge(
    "node_pcidevice_info",
    HELP,
    &[
        "bus",
        "class_id",
        "class_name",
        "device",
        "device_id",
        "device_name",
        "function",
        "parent_bus",
        "parent_device",
        "parent_function",
        "parent_segment",
        "revision",
        "segment",
        "subsystem_device_id",
        "subsystem_device_name",
        "subsystem_vendor_id",
        "subsystem_vendor_name",
        "vendor_id",
        "vendor_name",
    ],
);

const fn gauge(name: &'static str, help: &'static str) -> Desc<'static> {
    Desc::gauge(name, help, &["bus", "device", "function", "segment"])
}

/// The files that hold a number, and their families. What a device does not have is absent; node_exporter shows -1 or 0.
const FAMILIES: [(&str, Desc<'static>); 10] = [
    (
        "max_link_speed",
        gauge(
            "node_pcidevice_max_link_transfers_per_second",
            "Value of maximum link's transfers per second (T/s)",
        ),
    ),
    (
        "max_link_width",
        gauge("node_pcidevice_max_link_width", "Value of maximum link's width (number of lanes)"),
    ),
    (
        "current_link_speed",
        gauge(
            "node_pcidevice_current_link_transfers_per_second",
            "Value of current link's transfers per second (T/s)",
        ),
    ),
    (
        "current_link_width",
        gauge("node_pcidevice_current_link_width", "Value of current link's width (number of lanes)"),
    ),
    (
        "d3cold_allowed",
        gauge("node_pcidevice_d3cold_allowed", "Whether the PCIe device supports D3cold power state (0/1)."),
    ),
    (
        "sriov_drivers_autoprobe",
        gauge(
            "node_pcidevice_sriov_drivers_autoprobe",
            "Whether SR-IOV drivers autoprobe is enabled for the device (0/1).",
        ),
    ),
    (
        "sriov_numvfs",
        gauge(
            "node_pcidevice_sriov_numvfs",
            "Number of Virtual Functions (VFs) currently enabled for SR-IOV.",
        ),
    ),
    (
        "sriov_totalvfs",
        gauge(
            "node_pcidevice_sriov_totalvfs",
            "Total number of Virtual Functions (VFs) supported by the device.",
        ),
    ),
    (
        "sriov_vf_total_msix",
        gauge("node_pcidevice_sriov_vf_total_msix", "Total number of MSI-X vectors for Virtual Functions."),
    ),
    (
        "numa_node",
        gauge(
            "node_pcidevice_numa_node",
            "NUMA node number for the PCI device. -1 indicates unknown or not available.",
        ),
    ),
];
const POWER_STATE: Desc<'static> = Desc::gauge(
    "node_pcidevice_power_state",
    "PCIe device power state, one of: D0, D1, D2, D3hot, D3cold, unknown or error.",
    &["bus", "device", "function", "segment", "state"],
);
const POWER_STATES: [&str; 7] = ["D0", "D1", "D2", "D3hot", "D3cold", "unknown", "error"];

struct Pcidevice {
    tree: Tree,
    /// Where the list of names may be, if names are wanted.
    lists: Option<Vec<PathBuf>>,
    /// What the list says about the devices seen so far: the list is long, and is read only for a new device.
    names: BTreeMap<Ids, Names>,
}

struct Device {
    place: Location,
    parent: Option<Location>,
    ids: Ids,
    revision: u32,
    values: Vec<Option<Value<'static>>>,
    power_state: Option<String>,
}

impl Collector for Pcidevice {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let entries = children(self.tree.path(&[]))?;
        let mut devices = Vec::new();
        for name in entries.ok_or_else(|| CollectError::Absent("bus/pci/devices".into()))? {
            devices.extend(self.read(&name)?);
        }
        self.look_up(&devices)?;
        self.write_info(&devices, out);
        let row = |device: &Device| Row { labels: labels(&device.place), values: device.values.clone() };
        write(&FAMILIES.map(|(_, desc)| desc), &devices.iter().map(row).collect::<Vec<_>>(), out);
        let power = |device: &Device| {
            let now = device.power_state.clone()?;
            Some(POWER_STATES.map(|state| Row {
                labels: labels(&device.place).into_iter().chain([state.to_owned()]).collect(),
                values: vec![Some(Value::U64(u64::from(state == now)))],
            }))
        };
        write(&[POWER_STATE], &devices.iter().filter_map(power).flatten().collect::<Vec<_>>(), out);
        Ok(())
    }
}

impl Pcidevice {
    /// One device; `None` if it was unplugged.
    fn read(&mut self, name: &str) -> Result<Option<Device>, HostError> {
        let Some((place, parent)) = pci::places(self.tree.path(&[name]))? else { return Ok(None) };
        let tree = &mut self.tree;
        let mut number = |file: &str| parsed(tree, &[name, file], pci::hexadecimal);
        let ids = [
            number("class")?,
            number("vendor")?,
            number("device")?,
            number("subsystem_vendor")?,
            number("subsystem_device")?,
            number("revision")?,
        ];
        let [
            Some(class),
            Some(vendor),
            Some(device),
            Some(subsystem_vendor),
            Some(subsystem_device),
            Some(revision),
        ] = ids
        else {
            return Ok(None);
        };
        let ids = Ids { class, vendor, device, subsystem_vendor, subsystem_device };
        let mut values = Vec::with_capacity(FAMILIES.len());
        for (file, _) in &FAMILIES {
            values.push(parsed(&mut self.tree, &[name, file], |text| value(file, text))?.flatten());
        }
        let power_state = self.tree.read(&[name, "power_state"])?.map(|text| text.trim().to_owned());
        let power_state = power_state.filter(|state| !state.is_empty());
        Ok(Some(Device { place, parent, ids, revision, values, power_state }))
    }

    /// Finds the names of devices that were not seen before.
    fn look_up(&mut self, devices: &[Device]) -> Result<(), HostError> {
        let Some(lists) = &self.lists else { return Ok(()) };
        if devices.iter().all(|device| self.names.contains_key(&device.ids)) {
            return Ok(());
        }
        let mut text = None;
        for path in lists {
            text = text.or(read_once(path)?);
        }
        let text = text.unwrap_or_default();
        self.names = devices.iter().map(|device| (device.ids, pci::names(&text, &device.ids))).collect();
        Ok(())
    }

    fn write_info(&self, devices: &[Device], out: &mut dyn Sink) {
        if devices.is_empty() {
            return;
        }
        out.family(if self.lists.is_some() { &INFO_WITH_NAMES } else { &INFO });
        for Device { place, parent, ids, revision, .. } in devices {
            let [segment, bus, device, function] = place;
            let none = || ["*", "*", "*", "*"].map(String::from);
            let [parent_segment, parent_bus, parent_device, parent_function] =
                parent.clone().unwrap_or_else(none);
            let names = self.names.get(ids);
            let name = |of: fn(&Names) -> &String| names.map(|names| of(names).clone());
            let number = |number: u32| Some(format!("{number:#06x}"));
            let labels = [
                Some(bus.clone()),
                Some(format!("{:#08x}", ids.class)),
                name(|names| &names.class),
                Some(device.clone()),
                number(ids.device),
                name(|names| &names.device),
                Some(function.clone()),
                Some(parent_bus),
                Some(parent_device),
                Some(parent_function),
                Some(parent_segment),
                Some(format!("{revision:#04x}")),
                Some(segment.clone()),
                number(ids.subsystem_device),
                name(|names| &names.subsystem_device),
                number(ids.subsystem_vendor),
                name(|names| &names.subsystem_vendor),
                number(ids.vendor),
                name(|names| &names.vendor),
            ];
            let labels: Vec<&str> = labels.iter().flatten().map(String::as_str).collect();
            out.sample(&labels, Value::U64(1));
        }
    }
}

/// A place as the labels bus, device, function, segment.
fn labels([segment, bus, device, function]: &Location) -> Vec<String> {
    [bus, device, function, segment].map(String::clone).into()
}

/// The number in a file; `None` where the kernel says that it does not know.
fn value(file: &str, text: &str) -> Result<Option<Value<'static>>, ParseError> {
    if text.trim().is_empty() || text.starts_with("Unknown") {
        return Ok(None);
    }
    match file {
        "max_link_speed" | "current_link_speed" => {
            Ok(pci::link_speed(text)?.map(|giga| Value::F64(giga * 1e9)))
        }
        "numa_node" => Ok(u64::try_from(system::whole_signed(text)?).ok().map(Value::U64)),
        "d3cold_allowed" | "sriov_drivers_autoprobe" => {
            Ok(Some(Value::U64(u64::from(system::whole(text)? != 0))))
        }
        _ => system::whole(text).map(|number| Some(Value::U64(number))),
    }
}
