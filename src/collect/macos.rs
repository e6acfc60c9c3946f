//! The collectors of macOS: the names of the Linux ones, with what the library sysinfo tells in the place of kernel files.
//!
//! They compile wherever sysinfo does, so the tests run them on Linux against /proc. None was ever run on a Mac.
#![cfg_attr(
    test,
    allow(clippy::float_cmp, reason = "tests compare whole numbers, and sums of a few halves and quarters")
)]

mod cpu;
mod filesystem;
mod loadavg;
mod meminfo;
mod netdev;
mod process_groups;
mod thermal;

use super::{CollectError, Entry, applications, textfile};

/// All collectors of macOS, in the order in which they write.
pub(super) const REGISTRY: &[Entry] = &[
    cpu::ENTRY,
    filesystem::ENTRY,
    loadavg::ENTRY,
    meminfo::ENTRY,
    netdev::ENTRY,
    thermal::ENTRY,
    process_groups::ENTRY,
    applications::ENTRY,
    textfile::ENTRY,
];

/// What sysinfo could not do, as an error of the collector.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(e: sysinfo::Error) -> CollectError {
    CollectError::Failed(e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::{Options, REGISTRY as LINUX};
    use crate::encode::text::TextEncoder;
    use crate::host::Host;

    /// The page of one collector on this machine.
    pub(super) fn page(entry: &Entry) -> String {
        let host = Host::default();
        let mut collector = (entry.make)(&host, &Options::default()).unwrap();
        let mut out = TextEncoder::default();
        collector.collect(&host, &mut out).unwrap();
        String::from_utf8(out.page().to_vec()).unwrap()
    }

    /// The value of a series.
    pub(super) fn value(page: &str, series: &str) -> f64 {
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{page}")).parse().unwrap()
    }

    /// The page of the collector that reads kernel files.
    pub(super) fn linux(name: &str) -> String {
        page(LINUX.iter().find(|entry| entry.name == name).unwrap())
    }

    #[test]
    fn each_has_the_name_of_a_collector_of_linux_or_of_node_exporter_on_macos() {
        for entry in REGISTRY {
            assert!(entry.name == "thermal" || LINUX.iter().any(|e| e.name == entry.name), "{}", entry.name);
        }
    }
}
