//! The collector of this machine's requests as a client of NFS: /proc/net/rpc/nfs (`node_nfs_*`).

use super::family::Opening;
use super::{CollectError, Collector, Entry};
use crate::host::nfs::Counters;
use crate::host::nfs::procedures::{V2, V3, V4_CLIENT};
use crate::host::{Host, Kept};
use crate::metric::{Desc, Sink, Value, single};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "nfs",
    on: true,
    make: |host, _| {
        let counters = Counters::new(["net", "rpc", "proc2", "proc3", "proc4"]);
        Ok(Box::new(Nfs { file: host.proc_file("net/rpc/nfs"), counters }))
    },
};

const PACKETS: Desc<'static> = Desc::counter(
    "node_nfs_packets_total",
    "Total NFSd network packets (sent+received) by protocol type.",
    &["protocol"],
);
const REQUESTS: Desc<'static> =
    Desc::counter("node_nfs_requests_total", "Number of NFS procedures invoked.", &["method", "proto"]);
/// The families of one number, with the line and the place that each is taken from.
const SINGLE: [(Desc<'static>, &str, usize); 4] = [
    (Desc::counter("node_nfs_connections_total", "Total number of NFSd TCP connections.", &[]), "net", 3),
    (Desc::counter("node_nfs_rpcs_total", "Total number of RPCs performed.", &[]), "rpc", 0),
    (
        Desc::counter("node_nfs_rpc_retransmissions_total", "Number of RPC transmissions performed.", &[]),
        "rpc",
        1,
    ),
    (
        Desc::counter(
            "node_nfs_rpc_authentication_refreshes_total",
            "Number of RPC authentication refreshes performed.",
            &[],
        ),
        "rpc",
        2,
    ),
];
const METHODS: [(&str, &str, &[&str]); 3] =
    [("2", "proc2", &V2), ("3", "proc3", &V3), ("4", "proc4", &V4_CLIENT)];

struct Nfs {
    file: Kept,
    counters: Counters<5>,
}

impl Collector for Nfs {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { file, counters } = self;
        file.parse_lines(|text| counters.take(text))?
            .ok_or_else(|| CollectError::Absent("net/rpc/nfs".into()))?;
        let mut packets = Opening::new(&PACKETS);
        for (protocol, place) in [("udp", 1), ("tcp", 2)] {
            if let Some(count) = counters.get("net", place) {
                packets.sample(out, &[protocol], Value::U64(count));
            }
        }
        for (desc, word, place) in &SINGLE {
            if let Some(count) = counters.get(word, *place) {
                single(out, desc, count);
            }
        }
        let mut requests = Opening::new(&REQUESTS);
        for (version, word, methods) in METHODS.iter().filter(|(_, word, _)| counters.has(word)) {
            // The first number is how many there are. An older kernel's version 4 has fewer procedures; those that it
            // does not know it never called.
            for (place, method) in (1..).zip(methods.iter()) {
                let count = counters.get(word, place).unwrap_or_default();
                requests.sample(out, &[method, version], Value::U64(count));
            }
        }
        Ok(())
    }
}
