//! The collector of software RAID: /proc/mdstat, and each array's directory in /sys/block (`node_md_*`).

use super::family::{Opening, by_name};
use super::{CollectError, Collector, Entry};
use crate::host::attribute::Reader;
use crate::host::md::{Array, arrays};
use crate::host::{Attributes, Host, Kept, Listing};
use crate::metric::{Desc, Sink, Value};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "mdadm",
    on: true,
    make: |host, _| {
        let blocks = Listing::new(host.sysfs.join("block"));
        Ok(Box::new(Mdadm { file: host.proc_file("mdstat"), arrays: Vec::new(), blocks }))
    },
};

const STATE: Desc<'static> =
    Desc::gauge("node_md_state", "Indicates the state of md-device.", &["device", "state"]);
/// The states that are shown, and the parser's words for them.
const STATES: [(&str, &str); 5] = [
    ("active", "active"),
    ("inactive", "inactive"),
    ("recovering", "recovering"),
    ("resync", "resyncing"),
    ("check", "checking"),
];
const DISKS: Desc<'static> =
    Desc::gauge("node_md_disks", "Number of active/failed/spare disks of device.", &["device", "state"]);
const REQUIRED: Desc<'static> =
    Desc::gauge("node_md_disks_required", "Total number of disks of device.", &["device"]);
const BLOCKS: Desc<'static> = Desc::gauge("node_md_blocks", "Total number of blocks on device.", &["device"]);
const SYNCED: Desc<'static> =
    Desc::gauge("node_md_blocks_synced", "Number of blocks synced on device.", &["device"]);
const RAID_DISKS: Desc<'static> =
    Desc::gauge("node_md_raid_disks", "Number of raid disks on device.", &["device"]);
const DEGRADED: Desc<'static> =
    Desc::gauge("node_md_degraded", "Number of degraded disks on device.", &["device"]);

/// The attributes of an array, by place.
const TEXTS: [&str; 2] = ["md/level", "md/raid_disks"];
const NUMBERS: [&str; 1] = ["md/degraded"];

struct Mdadm {
    file: Kept,
    arrays: Vec<Known>,
    blocks: Listing<Attributes>,
}

/// An array of mdstat, kept beyond the text that it was read from.
struct Known {
    name: String,
    /// The place of its state in [`STATES`]; a reshape has none.
    state: Option<usize>,
    disks: [u64; 3],
    required: u64,
    blocks: u64,
    synced: u64,
}

impl Collector for Mdadm {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { file, arrays: known, blocks } = self;
        file.parse_lines(|text| {
            known.clear();
            arrays(text).try_for_each(|array| array.map(|array| known.push(Known::new(&array))))
        })?
        .ok_or_else(|| CollectError::Absent("mdstat".into()))?;
        blocks.refresh(|path, name, _| {
            name.starts_with("md").then(|| Attributes::new(path, &TEXTS, &NUMBERS))
        })?;
        let mut reader = Reader::default();
        for (_, array) in blocks.items_mut() {
            array.read(&mut reader)?;
        }
        write(known, out);
        by_name(out, &RAID_DISKS, blocks.items().map(|(name, array)| (name, raid_disks(array))));
        by_name(out, &DEGRADED, blocks.items().map(|(name, array)| (name, degraded(array))));
        Ok(())
    }
}

impl Known {
    fn new(array: &Array<'_>) -> Self {
        Self {
            name: array.name.to_owned(),
            state: STATES.iter().position(|(_, word)| *word == array.state),
            disks: [array.disks_active, array.disks_failed, array.disks_spare],
            required: array.disks_required,
            blocks: array.blocks,
            synced: array.blocks_synced,
        }
    }
}

fn write(arrays: &[Known], out: &mut dyn Sink) {
    let one = |out: &mut dyn Sink, desc, value: fn(&Known) -> u64| {
        by_name(out, desc, arrays.iter().map(|array| (array.name.as_str(), Some(Value::U64(value(array))))));
    };
    let mut state = Opening::new(&STATE);
    for array in arrays {
        for (i, (label, _)) in STATES.iter().enumerate() {
            state.sample(out, &[&array.name, label], Value::U64((array.state == Some(i)).into()));
        }
    }
    let mut disks = Opening::new(&DISKS);
    for array in arrays {
        for (label, count) in ["active", "failed", "spare"].into_iter().zip(array.disks) {
            disks.sample(out, &[&array.name, label], Value::U64(count));
        }
    }
    one(out, &REQUIRED, |array| array.required);
    one(out, &BLOCKS, |array| array.blocks);
    one(out, &SYNCED, |array| array.synced);
}

/// How many disks the array has; containers have none. While the number changes, the kernel writes the new one and
/// the old one in parentheses.
fn raid_disks(array: &Attributes) -> Option<Value<'static>> {
    array.text(0).filter(|level| !matches!(*level, "" | "container" | "imsm" | "ddf"))?;
    let count = array.text(1)?.split(' ').next()?.parse().ok()?;
    Some(Value::U64(count))
}

/// How many disks are missing; nothing can be missing where there is no redundancy.
fn degraded(array: &Attributes) -> Option<Value<'static>> {
    match array.text(0)? {
        "raid1" | "raid4" | "raid5" | "raid6" | "raid10" => array.number(0).map(super::family::whole),
        _ => Some(Value::U64(0)),
    }
}
