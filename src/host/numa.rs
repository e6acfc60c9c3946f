//! The memory of one NUMA node: /sys/devices/system/node/nodeN/meminfo.
//!
//! Source: `drivers/base/node.c`; `Documentation/admin-guide/numastat.rst` for the file beside it.

use super::memory::{MemField, meminfo};
use super::parse::{ParseError, lines};

/// The fields of a node's meminfo: those of /proc/meminfo behind `Node N`.
pub fn node_meminfo(text: &str) -> Result<Vec<MemField<'_>>, ParseError> {
    let mut out = Vec::new();
    for (n, line) in lines(text) {
        let want = || ParseError::new(n, "`Node N Name: number` or `Node N Name: number kB`");
        let rest = line.trim_start().strip_prefix("Node ").and_then(|rest| rest.trim_start().split_once(' '));
        let (_, rest) = rest.ok_or_else(want)?;
        out.extend(
            meminfo(rest)
                .map_err(|_| want())?
                .into_iter()
                .map(|field| MemField { name: field.name.trim(), ..field }),
        );
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_fields_are_those_of_the_machine() {
        let fields = node_meminfo("Node 0 MemTotal:       16 kB\nNode 0 HugePages_Free:     3\n").unwrap();
        assert_eq!(fields[0], MemField { name: "MemTotal", value: 16384, bytes: true });
        assert_eq!(fields[1], MemField { name: "HugePages_Free", value: 3, bytes: false });
        for text in ["Node 0\n", "MemTotal: 1 kB\n", "Node 0 MemTotal: x kB\n"] {
            assert!(node_meminfo(text).unwrap_err().to_string().starts_with("line 1:"), "{text}");
        }
    }
}
