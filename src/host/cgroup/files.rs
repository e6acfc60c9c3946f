//! The texts of a control group's memory files, v1 and v2, and what they add up to.

use super::GroupMemory;
use crate::host::ParseError;
use crate::host::parse::{number, pairs};

/// From here on a v1 limit means that there is none: the kernel writes the largest number of
/// pages, and how large a page is differs.
const V1_UNLIMITED_BYTES: u64 = (1 << 63) - (1 << 20);

/// A file that holds one whole number.
pub(crate) fn amount(text: &str) -> Result<u64, ParseError> {
    number(Some(text.trim()), 1, "a whole number")
}

/// A v2 limit: bytes, or `max` where there is none.
pub(crate) fn limit(text: &str) -> Result<Option<u64>, ParseError> {
    match text.trim() {
        "max" => Ok(None),
        digits => number(Some(digits), 1, "a whole number or `max`").map(Some),
    }
}

/// A v2 protection: bytes, or `max` where all memory is protected.
pub(crate) fn protection(text: &str) -> Result<u64, ParseError> {
    limit(text).map(|bytes| bytes.unwrap_or(u64::MAX))
}

/// A v1 limit: bytes, or a huge number where there is none.
pub(crate) fn v1_limit(text: &str) -> Result<Option<u64>, ParseError> {
    amount(text).map(|bytes| (bytes < V1_UNLIMITED_BYTES).then_some(bytes))
}

/// memory.events: how often what happened.
pub(crate) fn events(text: &str) -> Result<Vec<(String, u64)>, ParseError> {
    Ok(pairs(text)?.into_iter().map(|(name, count)| (name.to_owned(), count)).collect())
}

/// The `oom_kill` of v1's memory.oom_control; since 4.13.
pub(crate) fn v1_oom_kills(text: &str) -> Result<Option<u64>, ParseError> {
    Ok(pairs(text)?.into_iter().find_map(|(name, count)| (name == "oom_kill").then_some(count)))
}

/// Fills in what v2's memory.stat says; it covers the group and all below it.
pub(crate) fn stat(text: &str, out: &mut GroupMemory) -> Result<(), ParseError> {
    let fields = pairs(text)?;
    let field = |name: &str| fields.iter().find_map(|&(n, value)| (n == name).then_some(value));
    out.anon_bytes = field("anon");
    out.file_bytes = field("file");
    out.inactive_file_bytes = field("inactive_file");
    out.refault_anon = field("workingset_refault_anon");
    out.refault_file = field("workingset_refault_file");
    out.activate_anon = field("workingset_activate_anon");
    out.activate_file = field("workingset_activate_file");
    out.scanned_pages = field("pgscan");
    out.reclaimed_pages = field("pgsteal");
    let clean = clean_bytes(
        field("active_file"),
        field("inactive_file"),
        field("file_dirty"),
        field("file_writeback"),
    );
    out.reclaimable_bytes =
        clean.zip(field("slab_reclaimable")).map(|(clean, slab)| clean.saturating_add(slab));
    Ok(())
}

/// Fills in what v1's memory.stat says. Only the `total_` fields cover the groups below, as the
/// usage and the limit do.
pub(crate) fn v1_stat(text: &str, out: &mut GroupMemory) -> Result<(), ParseError> {
    let fields = pairs(text)?;
    let field =
        |name: &str| fields.iter().find_map(|&(n, v)| (n.strip_prefix("total_") == Some(name)).then_some(v));
    out.anon_bytes = field("rss");
    out.file_bytes = field("cache");
    out.inactive_file_bytes = field("inactive_file");
    out.swap_bytes = field("swap");
    out.refault_anon = field("workingset_refault_anon");
    out.refault_file = field("workingset_refault_file");
    let limit = fields.iter().find_map(|&(n, bytes)| (n == "hierarchical_memory_limit").then_some(bytes));
    out.hierarchical_limit_bytes = limit.filter(|&bytes| bytes < V1_UNLIMITED_BYTES);
    out.reclaimable_bytes =
        clean_bytes(field("active_file"), field("inactive_file"), field("dirty"), field("writeback"));
    Ok(())
}

/// What of the page cache the kernel can drop at once. The file lists hold neither tmpfs nor
/// locked pages (those are on the anonymous and the unevictable lists), so what is to be taken off
/// is only what must be written to disk first. The counters are not read at one instant, hence
/// the saturation.
fn clean_bytes(
    active: Option<u64>,
    inactive: Option<u64>,
    dirty: Option<u64>,
    writeback: Option<u64>,
) -> Option<u64> {
    Some(active?.saturating_add(inactive?).saturating_sub(dirty?.saturating_add(writeback?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_panics(text in "([a-z_]{0,12}[ \n]?[0-9-]{0,21}[ \n]?){0,6}|.{0,40}") {
            _ = amount(&text);
            _ = limit(&text);
            _ = v1_limit(&text);
            _ = protection(&text);
            _ = events(&text);
            _ = v1_oom_kills(&text);
            _ = stat(&text, &mut GroupMemory::default());
            _ = v1_stat(&text, &mut GroupMemory::default());
        }
    }

    #[test]
    fn no_limit_is_absent_and_full_protection_is_not() {
        assert_eq!(limit("max\n"), Ok(None));
        assert_eq!(limit("4096\n"), Ok(Some(4096)));
        assert_eq!(v1_limit("9223372036854771712\n"), Ok(None), "4 KiB pages");
        assert_eq!(v1_limit("9223372036854710272\n"), Ok(None), "64 KiB pages");
        assert_eq!(v1_limit("1073741824\n"), Ok(Some(1 << 30)));
        assert_eq!(protection("max\n"), Ok(u64::MAX));
        assert_eq!(protection("0\n"), Ok(0));
        for text in ["", "-1\n", "many\n"] {
            assert!(limit(text).is_err() && v1_limit(text).is_err() && amount(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn reclaimable_is_clean_cache_and_slab() {
        let mut out = GroupMemory::default();
        let text = "anon 1\nfile 900\nfile_dirty 30\nfile_writeback 10\ninactive_file 300\nactive_file 200\n\
                    slab_reclaimable 7\nworkingset_refault_file 5\n";
        stat(text, &mut out).unwrap();
        assert_eq!(out.reclaimable_bytes, Some(300 + 200 - 30 - 10 + 7));
        assert_eq!((out.refault_file, out.refault_anon), (Some(5), None));
        for missing in ["file_dirty", "file_writeback", "inactive_file", "active_file", "slab_reclaimable"] {
            let mut out = GroupMemory::default();
            stat(&text.replace(missing, "other"), &mut out).unwrap();
            assert_eq!(out.reclaimable_bytes, None, "without {missing}");
        }
    }

    #[test]
    fn v1_counts_the_groups_below_too() {
        let mut out = GroupMemory::default();
        let text = "cache 1\nrss 2\nswap 3\ntotal_cache 10\ntotal_rss 20\ntotal_swap 30\ntotal_dirty 90\n\
                    total_writeback 0\ntotal_inactive_file 5\ntotal_active_file 6\n";
        v1_stat(text, &mut out).unwrap();
        assert_eq!((out.file_bytes, out.anon_bytes, out.swap_bytes), (Some(10), Some(20), Some(30)));
        assert_eq!(out.reclaimable_bytes, Some(0), "more dirty than listed: nothing, not an overflow");
    }

    #[test]
    fn broken_text_is_an_error() {
        assert!(stat("anon\n", &mut GroupMemory::default()).is_err());
        assert!(v1_stat("total_rss x\n", &mut GroupMemory::default()).is_err());
        assert!(events("oom\n").is_err());
        assert_eq!(v1_oom_kills("under_oom 0\n"), Ok(None));
        assert_eq!(v1_oom_kills("under_oom 0\noom_kill 3\n"), Ok(Some(3)));
    }
}
