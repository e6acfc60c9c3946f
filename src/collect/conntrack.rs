//! The collector of connection tracking: how full its table is, and what it counts (`node_nf_conntrack_*`).

use super::{CollectError, Collector, Entry};
use crate::host::conntrack::conntrack;
use crate::host::system::whole;
use crate::host::{Host, Kept};
use crate::metric::{Desc, Sink, single};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "conntrack",
    on: true,
    make: |host, _| {
        Ok(Box::new(Conntrack {
            entries: host.proc_file("sys/net/netfilter/nf_conntrack_count"),
            limit: host.proc_file("sys/net/netfilter/nf_conntrack_max"),
            counts: host.proc_file("net/stat/nf_conntrack"),
        }))
    },
};

const ENTRIES: Desc<'static> = Desc::gauge(
    "node_nf_conntrack_entries",
    "Number of currently allocated flow entries for connection tracking.",
    &[],
);
const LIMIT: Desc<'static> =
    Desc::gauge("node_nf_conntrack_entries_limit", "Maximum size of connection tracking table.", &[]);
/// In the order of the parser.
const COUNTS: [Desc<'static>; 7] = [
    Desc::gauge("node_nf_conntrack_stat_found", "Number of searched entries which were successful.", &[]),
    Desc::gauge("node_nf_conntrack_stat_invalid", "Number of packets seen which can not be tracked.", &[]),
    Desc::gauge(
        "node_nf_conntrack_stat_ignore",
        "Number of packets seen which are already connected to a conntrack entry.",
        &[],
    ),
    Desc::gauge("node_nf_conntrack_stat_insert", "Number of entries inserted into the list.", &[]),
    Desc::gauge(
        "node_nf_conntrack_stat_insert_failed",
        "Number of entries for which list insertion was attempted but failed.",
        &[],
    ),
    Desc::gauge("node_nf_conntrack_stat_drop", "Number of packets dropped due to conntrack failure.", &[]),
    Desc::gauge(
        "node_nf_conntrack_stat_early_drop",
        "Number of dropped conntrack entries to make room for new ones, if maximum table size was reached.",
        &[],
    ),
];
const SEARCH_RESTART: Desc<'static> = Desc::gauge(
    "node_nf_conntrack_stat_search_restart",
    "Number of conntrack table lookups which had to be restarted due to hashtable resizes.",
    &[],
);

struct Conntrack {
    entries: Kept,
    limit: Kept,
    counts: Kept,
}

impl Collector for Conntrack {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let absent = || CollectError::Absent("nf_conntrack (the kernel's module)".into());
        let entries = self.entries.parse_lines(whole)?.ok_or_else(absent)?;
        let limit = self.limit.parse_lines(whole)?.ok_or_else(absent)?;
        let counts = self.counts.parse_lines(conntrack)?.ok_or_else(absent)?;
        single(out, &ENTRIES, entries);
        single(out, &LIMIT, limit);
        for (desc, count) in COUNTS.iter().zip(counts.counts) {
            single(out, desc, count);
        }
        if let Some(count) = counts.search_restart {
            single(out, &SEARCH_RESTART, count);
        }
        Ok(())
    }
}
