//! The collector of sockets in use by protocol: /proc/net/sockstat and sockstat6 (`node_sockstat_*`).

use super::family::{Fields, Named};
use super::{CollectError, Collector, Entry};
use crate::host::sockets::{page_bytes, sockets};
use crate::host::{Host, Kept, ParseError};
use crate::metric::{Desc, Kind, Sink};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "sockstat",
    on: true,
    make: |host, _| {
        let files = [host.proc_file("net/sockstat"), host.proc_file("net/sockstat6")];
        Ok(Box::new(Sockstat { files, fields: Fields::default(), page_bytes: page_bytes() }))
    },
};

const USED: Desc<'static> = Desc::gauge("node_sockstat_sockets_used", "Number of IPv4 sockets in use.", &[]);
/// What is told of a protocol; other words of the kernel are left out.
const NAMES: [&str; 6] = ["inuse", "orphan", "tw", "alloc", "mem", "memory"];

struct Sockstat {
    /// The second is not there if the kernel has no IPv6.
    files: [Kept; 2],
    fields: Fields,
    page_bytes: u64,
}

impl Collector for Sockstat {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { files, fields, page_bytes } = self;
        fields.begin();
        let mut take = |protocol: &str, name: &str, number: u64| {
            let mut field = |name: &str, number: u64| {
                fields.take((protocol, name), || Ok(i128::from(number)), || family(protocol, name))
            };
            field(name, number)?;
            if name == "mem" {
                field("mem_bytes", number.saturating_mul(*page_bytes))?;
            }
            Ok::<(), ParseError>(())
        };
        for file in files {
            file.parse_lines(|text| sockets(text, &mut take))?;
        }
        fields.write(out);
        Ok(())
    }
}

fn family(protocol: &str, name: &str) -> Option<Named> {
    if protocol == "sockets" {
        return (name == "used").then(|| (&USED).into());
    }
    (NAMES.contains(&name) || name == "mem_bytes").then(|| {
        let help = format!("Number of {protocol} sockets in state {name}.");
        Named::new(format!("node_sockstat_{protocol}_{name}"), help, Kind::Gauge, &[])
    })
}
