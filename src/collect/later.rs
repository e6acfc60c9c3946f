//! Names that are written after the collectors of what others bring, which cannot see them yet and must not take them.

/// What the names of families begin with that stand behind all collectors.
const LATER: [&str; 3] = ["headroom_", "node_scrape_collector_", "node_textfile_"];
/// Of these, what no collector says: what applications say that have Headroom's kit, and what `headroom benchmark` leaves in a
/// text file.
const OTHERS: [&str; 2] = ["headroom_kit_", "headroom_benchmark_"];

/// Whether a name, as old readers get it, may be one of those.
pub fn is_later(name: &str) -> bool {
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    begins(&LATER) && !begins(&OTHERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_behind_the_collectors_is_kept_from_others() {
        for name in ["headroom_build_info", "node_scrape_collector_success", "node_textfile_mtime_seconds"] {
            assert!(is_later(name), "{name}");
        }
        for name in
            ["headroom_kit_held_bytes", "headroom_benchmark_value", "headroom", "node_scrape", "x_headroom_y"]
        {
            assert!(!is_later(name), "{name}");
        }
    }
}
