//! The collector of the memory of NUMA nodes: meminfo and numastat of each (`node_memory_numa_*`).

use super::table::Found;
use super::{CollectError, Collector, Entry};
use crate::host::{Host, Kept, children, numa, parse};
use crate::metric::{Kind, Sink, Value};

/// This collector's line in the list.
pub const ENTRY: Entry =
    Entry { name: "meminfo_numa", on: false, make: |_, _| Ok(Box::new(MeminfoNuma { nodes: Vec::new() })) };

const DIRECTORY: &str = "devices/system/node";

struct MeminfoNuma {
    nodes: Vec<Node>,
}

struct Node {
    number: String,
    meminfo: Kept,
    numastat: Kept,
}

impl Collector for MeminfoNuma {
    fn collect(&mut self, host: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        self.find(host)?;
        let mut found = Found::new(&["node"]);
        for Node { number, meminfo, numastat } in &mut self.nodes {
            for field in meminfo.parse_lines(numa::node_meminfo)?.unwrap_or_default() {
                // Active(anon) becomes Active_anon; bytes are not named here, as they are in meminfo.
                let name = field.name.replace('(', "_").replace(')', "");
                let help = || format!("Memory information field {name}.");
                let family = (format!("node_memory_numa_{name}"), Kind::Gauge);
                found.add(family, help, vec![number.clone()], Value::U64(field.value));
            }
            for (name, value) in numastat.parse_lines(parse::pairs)?.unwrap_or_default() {
                let help = || format!("Memory information field {name}_total.");
                let family = (format!("node_memory_numa_{name}_total"), Kind::Counter);
                found.add(family, help, vec![number.clone()], Value::U64(value));
            }
        }
        found.write(out);
        Ok(())
    }
}

impl MeminfoNuma {
    /// Nodes may be plugged in and out, so they are looked for each time.
    fn find(&mut self, host: &Host) -> Result<(), CollectError> {
        let names = children(&host.sysfs.join(DIRECTORY))?;
        let names = names.ok_or_else(|| CollectError::Absent(DIRECTORY.into()))?;
        let numbers: Vec<&str> = names.iter().filter_map(|name| number(name)).collect();
        if numbers.iter().eq(self.nodes.iter().map(|node| &node.number)) {
            return Ok(());
        }
        let file = |number: &str, name: &str| host.sys_file(&format!("{DIRECTORY}/node{number}/{name}"));
        let node = |number: &str| Node {
            number: number.to_owned(),
            meminfo: file(number, "meminfo"),
            numastat: file(number, "numastat"),
        };
        self.nodes = numbers.into_iter().map(node).collect();
        Ok(())
    }
}

/// The number in `nodeN`.
fn number(name: &str) -> Option<&str> {
    name.strip_prefix("node").filter(|rest| rest.parse::<u32>().is_ok())
}
