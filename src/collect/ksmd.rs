//! The collector of kernel same-page merging: /sys/kernel/mm/ksm (`node_ksmd_*`).

use super::table::signed;
use super::{CollectError, Collector, Entry};
use crate::host::{Host, Kept, system};
use crate::metric::{Desc, Sink, Value, single};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "ksmd",
    on: false,
    make: |host, _| {
        let file = |(name, ..): &(&str, _, _)| host.sys_file(&format!("kernel/mm/ksm/{name}"));
        Ok(Box::new(Ksmd { files: FAMILIES.iter().map(file).collect() }))
    },
};

type Scale = fn(i64) -> Value<'static>;

/// File, family, and the file's unit turned into the family's.
const FAMILIES: [(&str, Desc<'static>, Scale); 10] = [
    (
        "full_scans",
        Desc::counter(
            "node_ksmd_full_scans_total",
            "How many times all mergeable areas have been scanned.",
            &[],
        ),
        signed,
    ),
    (
        "general_profit",
        Desc::gauge(
            "node_ksmd_general_profit_bytes",
            "How effective is KSM. ksm_saved_pages * sizeof(page) - (all_rmap_items) * sizeof(rmap_item)",
            &[],
        ),
        // Below zero where what was merged is less than what keeping the books takes.
        signed,
    ),
    (
        "merge_across_nodes",
        Desc::gauge(
            "node_ksmd_merge_across_nodes",
            "Specifies if pages from different NUMA nodes can be merged.",
            &[],
        ),
        signed,
    ),
    (
        "pages_shared",
        Desc::gauge("node_ksmd_pages_shared", "How many shared pages are being used.", &[]),
        signed,
    ),
    (
        "pages_sharing",
        Desc::gauge(
            "node_ksmd_pages_sharing",
            "How many more sites are sharing them i.e. how much saved.",
            &[],
        ),
        signed,
    ),
    (
        "pages_to_scan",
        Desc::gauge("node_ksmd_pages_to_scan", "How many pages to scan before ksmd goes to sleep.", &[]),
        signed,
    ),
    (
        "pages_unshared",
        Desc::gauge(
            "node_ksmd_pages_unshared",
            "How many pages unique but repeatedly checked for merging.",
            &[],
        ),
        signed,
    ),
    (
        "pages_volatile",
        Desc::gauge(
            "node_ksmd_pages_volatile",
            "How many pages changing too fast to be placed in a tree.",
            &[],
        ),
        signed,
    ),
    ("run", Desc::gauge("node_ksmd_run", "The status of ksmd. stopped = 0, running = 1", &[]), signed),
    (
        "sleep_millisecs",
        Desc::gauge("node_ksmd_sleep_seconds", "How many seconds ksmd should sleep before next scan.", &[]),
        |milliseconds| Value::F64(milliseconds as f64 / 1000.0),
    ),
];

struct Ksmd {
    /// In the order of [`FAMILIES`].
    files: Vec<Kept>,
}

impl Collector for Ksmd {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let mut values = [None; FAMILIES.len()];
        for (file, value) in self.files.iter_mut().zip(&mut values) {
            *value = file.parse_lines(system::whole_signed)?;
        }
        if values.iter().all(Option::is_none) {
            return Err(CollectError::Absent("ksm".into()));
        }
        for ((_, desc, scale), value) in FAMILIES.iter().zip(values) {
            if let Some(value) = value {
                single(out, desc, scale(value));
            }
        }
        Ok(())
    }
}
