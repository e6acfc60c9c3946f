//! The collector of this machine's work as a server of NFS: /proc/net/rpc/nfsd (`node_nfsd_*`).

use super::family::Opening;
use super::{CollectError, Collector, Entry};
use crate::host::nfs::Counters;
use crate::host::nfs::procedures::{V2, V3, V4_SERVER};
use crate::host::{Host, Kept};
use crate::metric::{Desc, Sink, Value, single};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "nfsd",
    on: true,
    make: |host, _| {
        let words =
            ["rc", "fh", "io", "th", "ra", "net", "rpc", "proc2", "proc3", "proc4ops", "wdeleg_getattr"];
        Ok(Box::new(Nfsd { file: host.proc_file("net/rpc/nfsd"), counters: Counters::new(words) }))
    },
};

const fn counter(name: &'static str, help: &'static str) -> Desc<'static> {
    Desc::counter(name, help, &[])
}

/// The families of one number, with the line and the place that each is taken from.
const SINGLE: [(Desc<'static>, &str, usize); 11] = [
    (
        counter(
            "node_nfsd_reply_cache_hits_total",
            "Total number of NFSd Reply Cache hits (client lost server response).",
        ),
        "rc",
        0,
    ),
    (
        counter(
            "node_nfsd_reply_cache_misses_total",
            "Total number of NFSd Reply Cache an operation that requires caching (idempotent).",
        ),
        "rc",
        1,
    ),
    (
        counter(
            "node_nfsd_reply_cache_nocache_total",
            "Total number of NFSd Reply Cache non-idempotent operations (rename/delete/…).",
        ),
        "rc",
        2,
    ),
    (counter("node_nfsd_file_handles_stale_total", "Total number of NFSd stale file handles"), "fh", 0),
    (counter("node_nfsd_disk_bytes_read_total", "Total NFSd bytes read."), "io", 0),
    (counter("node_nfsd_disk_bytes_written_total", "Total NFSd bytes written."), "io", 1),
    (
        Desc::gauge("node_nfsd_server_threads", "Total number of NFSd kernel threads that are running.", &[]),
        "th",
        0,
    ),
    (
        Desc::gauge(
            "node_nfsd_read_ahead_cache_size_blocks",
            "How large the read ahead cache is in blocks.",
            &[],
        ),
        "ra",
        0,
    ),
    (
        counter(
            "node_nfsd_read_ahead_cache_not_found_total",
            "Total number of NFSd read ahead cache not found.",
        ),
        "ra",
        11,
    ),
    (counter("node_nfsd_connections_total", "Total number of NFSd TCP connections."), "net", 3),
    (counter("node_nfsd_server_rpcs_total", "Total number of NFSd RPCs."), "rpc", 0),
];
const PACKETS: Desc<'static> = Desc::counter(
    "node_nfsd_packets_total",
    "Total NFSd network packets (sent+received) by protocol type.",
    &["proto"],
);
const ERRORS: Desc<'static> =
    Desc::counter("node_nfsd_rpc_errors_total", "Total number of NFSd RPC errors by error type.", &["error"]);
const REQUESTS: Desc<'static> = Desc::counter(
    "node_nfsd_requests_total",
    "Total number NFSd Requests by method and protocol.",
    &["method", "proto"],
);
const METHODS: [(&str, &str, &[&str]); 3] =
    [("2", "proc2", &V2), ("3", "proc3", &V3), ("4", "proc4ops", &V4_SERVER)];
/// Numbers that stand for no request: node_exporter leaves them out.
const NOT_SHOWN: [&str; 6] = ["Null", "Op0Unused", "Op1Unused", "Op2Future", "PutPubFH", "PutRootFH"];

struct Nfsd {
    file: Kept,
    counters: Counters<11>,
}

impl Collector for Nfsd {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { file, counters } = self;
        file.parse_lines(|text| counters.take(text))?
            .ok_or_else(|| CollectError::Absent("net/rpc/nfsd".into()))?;
        for (desc, word, place) in &SINGLE {
            if let Some(count) = counters.get(word, *place) {
                single(out, desc, count);
            }
        }
        let mut labelled = |desc: &Desc<'_>, word: &str, labels: &[(&str, usize)]| {
            let mut family = Opening::new(desc);
            for (label, place) in labels {
                if let Some(count) = counters.get(word, *place) {
                    family.sample(out, &[label], Value::U64(count));
                }
            }
        };
        labelled(&PACKETS, "net", &[("udp", 1), ("tcp", 2)]);
        labelled(&ERRORS, "rpc", &[("fmt", 2), ("auth", 3), ("cInt", 4)]);
        let mut requests = Opening::new(&REQUESTS);
        for (version, word, methods) in METHODS {
            // The first number is how many there are.
            let shown = (1..).zip(methods.iter()).filter(|(_, method)| !NOT_SHOWN.contains(method));
            for (place, method) in shown {
                if let Some(count) = counters.get(word, place) {
                    requests.sample(out, &[method, version], Value::U64(count));
                }
            }
        }
        if let Some(count) = counters.get("wdeleg_getattr", 0) {
            requests.sample(out, &["WdelegGetattr", "4"], Value::U64(count));
        }
        Ok(())
    }
}
