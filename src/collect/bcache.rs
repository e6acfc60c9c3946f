//! The collector of bcache: the caches that fast disks are for slow ones (`node_bcache_*`).

use super::board::{Board, Cell, Found, Parse, Unreadable, put};
use super::{CollectError, Collector, Entry};
use crate::host::bcache::{amount, priorities, writeback};
use crate::host::{Host, HostError, ParseError, children};
use crate::metric::{Desc, Sink, Value};
use serde::Deserialize;
use std::path::Path;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "bcache",
    on: true,
    make: |host, options| {
        Ok(Box::new(Bcache {
            priority_stats: options.bcache.priority_stats,
            board: Board::new(host.sysfs.join("fs/bcache"), Unreadable::Fails).heard_by(&host.arrivals),
        }))
    },
};

/// What is shown besides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Whether the shares of a cache that are unused and that hold metadata are shown; the kernel walks through the
    /// whole cache for them.
    pub priority_stats: bool,
}

const SET: &[&str] = &["uuid"];
const BACKING: &[&str] = &["backing_device", "uuid"];
const CACHE: &[&str] = &["cache_device", "uuid"];

/// Of a set of caches: each family with its file.
const OF_SET: [(Desc<'static>, &str, Parse); 10] = [
    (
        Desc::gauge(
            "node_bcache_active_journal_entries",
            "Number of journal entries that are newer than the index.",
            SET,
        ),
        "internal/active_journal_entries",
        bytes,
    ),
    (
        Desc::gauge(
            "node_bcache_average_key_size_sectors",
            "Average data per key in the btree (sectors).",
            SET,
        ),
        "average_key_size",
        bytes,
    ),
    (
        Desc::gauge(
            "node_bcache_btree_cache_size_bytes",
            "Amount of memory currently used by the btree cache.",
            SET,
        ),
        "btree_cache_size",
        bytes,
    ),
    (Desc::gauge("node_bcache_btree_nodes", "Total nodes in the btree.", SET), "internal/btree_nodes", bytes),
    (
        Desc::gauge("node_bcache_btree_read_average_duration_seconds", "Average btree read duration.", SET),
        "internal/btree_read_average_duration_us",
        nanoseconds,
    ),
    (
        Desc::gauge(
            "node_bcache_cache_available_percent",
            "Percentage of cache device without dirty data, usable for writeback (may contain clean cached data).",
            SET,
        ),
        "cache_available_percent",
        bytes,
    ),
    (
        Desc::counter(
            "node_bcache_cache_read_races_total",
            "Counts instances where while data was being read from the cache, the bucket was reused and invalidated - \
             i.e. where the pointer was stale after the read completed.",
            SET,
        ),
        "internal/cache_read_races",
        bytes,
    ),
    (Desc::gauge("node_bcache_congested", "Congestion.", SET), "congested", bytes),
    (
        Desc::gauge(
            "node_bcache_root_usage_percent",
            "Percentage of the root btree node in use (tree depth increases if too high).",
            SET,
        ),
        "root_usage_percent",
        bytes,
    ),
    (Desc::gauge("node_bcache_tree_depth", "Depth of the btree.", SET), "tree_depth", bytes),
];
/// Of a backing device.
const OF_BACKING: [(Desc<'static>, &str, Parse); 8] = [
    (
        Desc::counter(
            "node_bcache_bypassed_bytes_total",
            "Amount of IO (both reads and writes) that has bypassed the cache.",
            BACKING,
        ),
        "stats_total/bypassed",
        bytes,
    ),
    (
        Desc::counter(
            "node_bcache_cache_bypass_hits_total",
            "Hits for IO intended to skip the cache.",
            BACKING,
        ),
        "stats_total/cache_bypass_hits",
        bytes,
    ),
    (
        Desc::counter(
            "node_bcache_cache_bypass_misses_total",
            "Misses for IO intended to skip the cache.",
            BACKING,
        ),
        "stats_total/cache_bypass_misses",
        bytes,
    ),
    (
        Desc::counter(
            "node_bcache_cache_hits_total",
            "Hits counted per individual IO as bcache sees them.",
            BACKING,
        ),
        "stats_total/cache_hits",
        bytes,
    ),
    (
        Desc::counter(
            "node_bcache_cache_miss_collisions_total",
            "Instances where data insertion from cache miss raced with write (data already present).",
            BACKING,
        ),
        "stats_total/cache_miss_collisions",
        bytes,
    ),
    (
        Desc::counter(
            "node_bcache_cache_misses_total",
            "Misses counted per individual IO as bcache sees them.",
            BACKING,
        ),
        "stats_total/cache_misses",
        bytes,
    ),
    (
        Desc::counter("node_bcache_cache_readaheads_total", "Count of times readahead occurred.", BACKING),
        "stats_total/cache_readaheads",
        some_bytes,
    ),
    (
        Desc::gauge(
            "node_bcache_dirty_data_bytes",
            "Amount of dirty data for this backing device in the cache.",
            BACKING,
        ),
        "dirty_data",
        bytes,
    ),
];
/// In the order of the parser of `writeback_rate_debug`.
const WRITEBACK: [Desc<'static>; 5] = [
    Desc::gauge(
        "node_bcache_dirty_target_bytes",
        "Current dirty data target threshold for this backing device in bytes.",
        BACKING,
    ),
    Desc::gauge(
        "node_bcache_writeback_rate",
        "Current writeback rate for this backing device in bytes.",
        BACKING,
    ),
    Desc::gauge(
        "node_bcache_writeback_rate_proportional_term",
        "Current result of proportional controller, part of writeback rate",
        BACKING,
    ),
    Desc::gauge(
        "node_bcache_writeback_rate_integral_term",
        "Current result of integral controller, part of writeback rate",
        BACKING,
    ),
    Desc::gauge(
        "node_bcache_writeback_change",
        "Last writeback rate change step for this backing device.",
        BACKING,
    ),
];
/// Of a cache.
const OF_CACHE: [(Desc<'static>, &str, Parse); 3] = [
    (
        Desc::gauge(
            "node_bcache_io_errors",
            "Number of errors that have occurred, decayed by io_error_halflife.",
            CACHE,
        ),
        "io_errors",
        bytes,
    ),
    (
        Desc::counter(
            "node_bcache_metadata_written_bytes_total",
            "Sum of all non data writes (btree writes and all other metadata).",
            CACHE,
        ),
        "metadata_written",
        bytes,
    ),
    (
        Desc::counter(
            "node_bcache_written_bytes_total",
            "Sum of all data that has been written to the cache.",
            CACHE,
        ),
        "written",
        bytes,
    ),
];
/// In the order of the parser of `priority_stats`.
const PRIORITIES: [Desc<'static>; 2] = [
    Desc::gauge(
        "node_bcache_priority_stats_unused_percent",
        "The percentage of the cache that doesn't contain any data.",
        CACHE,
    ),
    Desc::gauge("node_bcache_priority_stats_metadata_percent", "Bcache's metadata overhead.", CACHE),
];

struct Bcache {
    priority_stats: bool,
    board: Board,
}

impl Collector for Bcache {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let priority_stats = self.priority_stats;
        // As in node_exporter, a machine without bcache is no failure.
        let there = self.board.look(|directory, names, found| {
            let mut sets = names.iter().filter(|name| name.contains('-'));
            sets.try_for_each(|uuid| find(&directory.join(uuid), uuid, priority_stats, found))
        })?;
        if there {
            self.board.read()?;
            self.board.write(out);
        }
        Ok(())
    }
}

fn find(set: &Path, uuid: &str, priority_stats: bool, found: &mut Found) -> Result<(), HostError> {
    for (desc, file, parse) in &OF_SET {
        found.one(desc, &[uuid], set.join(file), *parse);
    }
    for name in children(set)?.unwrap_or_default() {
        let (directory, labels) = (set.join(&name), [name.as_str(), uuid]);
        if numbered(&name, "bdev") {
            for (desc, file, parse) in &OF_BACKING {
                found.one(desc, &labels, directory.join(file), *parse);
            }
            let first = found.file(directory.join("writeback_rate_debug"), rates, WRITEBACK.len());
            for (cell, desc) in (first..).zip(&WRITEBACK) {
                found.series(desc, &labels, cell);
            }
        } else if numbered(&name, "cache") {
            for (desc, file, parse) in &OF_CACHE {
                found.one(desc, &labels, directory.join(file), *parse);
            }
            if priority_stats {
                let first = found.file(directory.join("priority_stats"), shares, PRIORITIES.len());
                for (cell, desc) in (first..).zip(&PRIORITIES) {
                    found.series(desc, &labels, cell);
                }
            }
        }
    }
    Ok(())
}

/// Whether a name is the prefix and a number; `cache_available_percent` is none.
fn numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn bytes(text: &str, cells: &mut [Cell]) -> Result<(), ParseError> {
    put(cells, 0, Some(Value::F64(amount(text)?)));
    Ok(())
}

/// As in node_exporter, absent while it is 0: kernels since 5.10 have no such count.
fn some_bytes(text: &str, cells: &mut [Cell]) -> Result<(), ParseError> {
    put(cells, 0, Some(amount(text)?).filter(|amount| *amount != 0.0).map(Value::F64));
    Ok(())
}

/// node_exporter takes the file's microseconds for nanoseconds. Whoever looks at the value has made up for it.
fn nanoseconds(text: &str, cells: &mut [Cell]) -> Result<(), ParseError> {
    put(cells, 0, Some(Value::F64(amount(text)? * 1e-9)));
    Ok(())
}

fn rates(text: &str, cells: &mut [Cell]) -> Result<(), ParseError> {
    for (cell, rate) in cells.iter_mut().zip(writeback(text)?) {
        *cell = rate.map(Value::F64);
    }
    Ok(())
}

fn shares(text: &str, cells: &mut [Cell]) -> Result<(), ParseError> {
    for (cell, share) in cells.iter_mut().zip(priorities(text)?) {
        *cell = share.map(Value::U64);
    }
    Ok(())
}
