//! The collector of NVMe controllers and their namespaces: /sys/class/nvme (`node_nvme_*`).

use super::family::{Opening, whole};
use super::{CollectError, Collector, Entry};
use crate::host::attribute::Reader;
use crate::host::listing::numbered;
use crate::host::{Attributes, Host, Listing};
use crate::metric::{Desc, Sink, Value};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "nvme",
    on: true,
    make: |host, _| {
        Ok(Box::new(Nvme {
            controllers: Listing::new(host.sysfs.join("class/nvme")).told_by(&host.arrivals),
        }))
    },
};

/// The attributes of a controller, in the order of the labels of [`INFO`] without the device.
const TEXTS: [&str; 5] = ["cntlid", "firmware_rev", "model", "serial", "state"];
const INFO: Desc<'static> = Desc::gauge(
    "node_nvme_info",
    "Non-numeric data from /sys/class/nvme/<device>, value is always 1.",
    &["cntlid", "device", "firmware_revision", "model", "serial", "state"],
);
const NAMESPACE: Desc<'static> = Desc::gauge(
    "node_nvme_namespace_info",
    "Information about NVMe namespaces. Value is always 1",
    &["ana_state", "device", "nsid"],
);
/// The attributes of a namespace that are numbers: blocks in use, all blocks, the size of a block.
const NUMBERS: [&str; 3] = ["nuse", "size", "queue/logical_block_size"];

/// How a number is taken from used blocks, all blocks and the size of a block, where these are known.
type Get = fn(Option<i128>, Option<i128>, i128) -> Option<i128>;

/// The families of a namespace.
const BYTES: [(Desc<'static>, Get); 4] = [
    (
        Desc::gauge(
            "node_nvme_namespace_capacity_bytes",
            "Capacity of the NVMe namespace in bytes. Computed as namespace_size * namespace_logical_block_size",
            &["device", "nsid"],
        ),
        |_, all, block| Some(all? * block),
    ),
    (
        Desc::gauge(
            "node_nvme_namespace_size_bytes",
            "Size of the NVMe namespace in bytes. Available in /sys/class/nvme/<device>/<namespace>/size",
            &["device", "nsid"],
        ),
        |_, all, block| Some(all? * block),
    ),
    (
        Desc::gauge(
            "node_nvme_namespace_used_bytes",
            "Used space of the NVMe namespace in bytes. Available in /sys/class/nvme/<device>/<namespace>/nuse",
            &["device", "nsid"],
        ),
        |used, _, block| Some(used? * block),
    ),
    (
        Desc::gauge(
            "node_nvme_namespace_logical_block_size_bytes",
            "Logical block size of the NVMe namespace in bytes. Usually 4Kb. Available in \
             /sys/class/nvme/<device>/<namespace>/queue/logical_block_size",
            &["device", "nsid"],
        ),
        |_, _, block| Some(block),
    ),
];

struct Nvme {
    controllers: Listing<Controller>,
}

struct Controller {
    attributes: Attributes,
    namespaces: Listing<Namespace>,
}

struct Namespace {
    /// The number behind the controller's name (`nvme0n1`).
    id: String,
    attributes: Attributes,
}

impl Collector for Nvme {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { controllers } = self;
        controllers
            .refresh(|path, _, _| {
                let namespaces = Listing::new(path.clone());
                Some(Controller { attributes: Attributes::new(path, &TEXTS, &[]), namespaces })
            })?
            .ok_or_else(|| CollectError::Absent("class/nvme".into()))?;
        let mut reader = Reader::default();
        for (_, controller) in controllers.items_mut() {
            controller.attributes.read(&mut reader)?;
            controller.namespaces.refresh(|path, name, _| {
                let id = namespace_id(name)?.to_owned();
                let attributes = Attributes::new(path, &["ana_state"], &NUMBERS);
                Some(Namespace { id, attributes })
            })?;
            for (_, namespace) in controller.namespaces.items_mut() {
                namespace.attributes.read(&mut reader)?;
            }
        }
        write(controllers, out);
        Ok(())
    }
}

impl Controller {
    fn each(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.items().map(|(_, namespace)| namespace)
    }
}

fn write(controllers: &Listing<Controller>, out: &mut dyn Sink) {
    let mut info = Opening::new(&INFO);
    for (device, controller) in controllers.items().filter(|(_, controller)| controller.attributes.any()) {
        let text = |place| controller.attributes.text(place).unwrap_or_default();
        info.sample(out, &[text(0), device, text(1), text(2), text(3), text(4)], Value::U64(1));
    }
    let namespaces = || {
        let of = |(device, controller)| Controller::each(controller).map(move |each| (device, each));
        controllers.items().flat_map(of)
    };
    let mut info = Opening::new(&NAMESPACE);
    for (device, namespace) in namespaces() {
        let state = namespace.attributes.text(0).unwrap_or("unknown");
        info.sample(out, &[state, device, &namespace.id], Value::U64(1));
    }
    for (desc, get) in &BYTES {
        let mut family = Opening::new(desc);
        for (device, namespace) in namespaces() {
            let number = |place| namespace.attributes.number(place);
            if let Some(bytes) = number(2).and_then(|block| get(number(0), number(1), block)) {
                family.sample(out, &[device, &namespace.id], whole(bytes));
            }
        }
    }
}

/// The number of a namespace: `nvme0n1` is the first of its controller. `nvme0c0n1` is a path to one of another
/// controller, and shown there.
fn namespace_id(name: &str) -> Option<&str> {
    let (controller, id) = name.rsplit_once('n')?;
    numbered(controller, "nvme")?;
    numbered(id, "")
}

#[cfg(test)]
mod tests {
    use super::namespace_id;

    #[test]
    fn a_namespace_is_told_from_other_entries() {
        assert_eq!(namespace_id("nvme0n12"), Some("12"));
        for name in ["nvme0", "nvme0c0n1", "ng0n1", "nvme0n", "nvmen1", "power", "nvme0n1p1"] {
            assert_eq!(namespace_id(name), None, "{name}");
        }
    }
}
