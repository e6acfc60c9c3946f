//! The collector of /proc/buddyinfo: free blocks of memory by their size (`node_buddyinfo_blocks`).

use super::{CollectError, Collector, Entry};
use crate::host::{Host, Kept, zone};
use crate::metric::{Desc, Sink, Value};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "buddyinfo",
    on: false,
    make: |host, _| Ok(Box::new(Buddyinfo { file: host.proc_file("buddyinfo") })),
};

const BLOCKS: Desc<'static> = Desc::gauge(
    "node_buddyinfo_blocks",
    "Count of free blocks according to size.",
    &["node", "size", "zone"],
);

struct Buddyinfo {
    file: Kept,
}

impl Collector for Buddyinfo {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let zones = self.file.parse_lines(zone::buddyinfo)?;
        let zones = zones.ok_or_else(|| CollectError::Absent("buddyinfo".into()))?;
        if zones.iter().all(|zone| zone.blocks.is_empty()) {
            return Ok(());
        }
        out.family(&BLOCKS);
        for zone in &zones {
            for (size, blocks) in zone.blocks.iter().enumerate() {
                out.sample(&[zone.node, &size.to_string(), zone.zone], Value::U64(*blocks));
            }
        }
        Ok(())
    }
}
