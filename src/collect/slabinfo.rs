//! The collector of /proc/slabinfo: the kernel's caches of objects (`node_slabinfo_*`). The file is root's.

use super::filter::Choice;
use super::table::{Row, write};
use super::{CollectError, Collector, Entry};
use crate::host::{Host, Kept, slab};
use crate::metric::{Desc, Sink, Value};
use serde::Deserialize;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "slabinfo",
    on: false,
    make: |host, options| {
        let Options { slabs_include, slabs_exclude } = &options.slabinfo;
        let filter = Choice::new("slabinfo.slabs", slabs_include, slabs_exclude)?;
        Ok(Box::new(Slabinfo { file: host.proc_file("slabinfo"), filter }))
    },
};

/// Which caches are shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Names of caches that are shown, as a regular expression; all if empty.
    pub slabs_include: String,
    /// Names of caches that are left out, as a regular expression; none if empty.
    pub slabs_exclude: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { slabs_include: ".*".into(), slabs_exclude: String::new() }
    }
}

const fn gauge(name: &'static str, help: &'static str) -> Desc<'static> {
    Desc::gauge(name, help, &["slab"])
}

/// In the order of the kernel's columns.
const FAMILIES: [Desc<'static>; 5] = [
    gauge("node_slabinfo_active_objects", "The number of objects that are currently active (i.e., in use)."),
    gauge(
        "node_slabinfo_objects",
        "The total number of allocated objects (i.e., objects that are both in use and not in use).",
    ),
    gauge("node_slabinfo_object_size_bytes", "The size of objects in this slab, in bytes."),
    gauge("node_slabinfo_objects_per_slab", "The number of objects stored in each slab."),
    gauge("node_slabinfo_pages_per_slab", "The number of pages allocated for each slab."),
];

struct Slabinfo {
    file: Kept,
    filter: Choice,
}

impl Collector for Slabinfo {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let Self { file, filter } = self;
        let mut rows = Vec::new();
        file.parse_lines(|text| {
            slab::slabs(text).try_for_each(|slab| {
                let slab = slab?;
                if filter.shows(slab.name) {
                    let values = slab.counts.iter().map(|count| Some(Value::U64(*count))).collect();
                    rows.push(Row { labels: vec![slab.name.to_owned()], values });
                }
                Ok(())
            })
        })?
        .ok_or_else(|| CollectError::Absent("slabinfo".into()))?;
        write(&FAMILIES, &rows, out);
        Ok(())
    }
}
