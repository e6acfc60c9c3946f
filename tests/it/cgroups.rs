//! Control groups: captured hosts of all three kinds, and groups that the test makes on this machine.

use crate::page::{check_golden, collector, host, page, value};
use headroom::collect::{Options, cgroup};
use headroom::host::Host;
use headroom::host::cgroup::{Hierarchies, Version};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

#[test]
fn a_v1_host_has_usage_and_no_pressure() {
    let host = host("cgroup-v1");
    let page = page(&mut *collector("cgroup", &host, &Options::default()), &host);
    assert!(!page.contains("pressure"), "{page}");
    check_golden("cgroup-v1", &page);
}

#[test]
fn a_v2_host_has_usage_events_and_pressure_and_no_usage_of_its_root() {
    let host = host("cgroup-v2");
    let page = page(&mut *collector("cgroup", &host, &Options::default()), &host);
    assert_eq!(value(&page, "headroom_cgroup_memory_current_bytes{cgroup=\"/\"}"), None);
    assert_eq!(value(&page, "headroom_cgroup_memory_limit_bytes{cgroup=\"/idle.slice\"}"), None);
    check_golden("cgroup-v2", &page);
}

#[test]
fn a_hybrid_host_has_usage_from_v1_and_pressure_from_v2() {
    let host = host("cgroup-hybrid");
    let page = page(&mut *collector("cgroup", &host, &Options::default()), &host);
    check_golden("cgroup-hybrid", &page);
}

#[test]
fn protection_is_read_where_v2_has_it() {
    let groups = Hierarchies::detect(&host("cgroup-v2")).unwrap();
    let web = groups.read("/shop.slice/web.service").unwrap().unwrap();
    assert_eq!((web.low_bytes, web.min_bytes), (Some(8 << 20), Some(0)));
    let batch = groups.read("/shop.slice/batch.service/").unwrap().unwrap();
    assert_eq!((batch.low_bytes, batch.min_bytes), (Some(0), Some(u64::MAX)));
    assert_eq!(groups.read("/shop.slice/nosuch").unwrap(), None);
}

#[test]
fn groups_over_the_limit_are_left_out_and_counted() {
    let host = host("cgroup-hybrid");
    let options =
        Options { cgroup: cgroup::Options { groups_max: 2, ..Default::default() }, ..Default::default() };
    let page = page(&mut *collector("cgroup", &host, &options), &host);
    assert_eq!(value(&page, "headroom_cgroups_cut"), Some(3.0));
    assert!(page.contains("cgroup=\"/idle.slice\"") && !page.contains("web.service"), "{page}");
}

#[test]
fn a_group_of_this_kernel_is_shown_with_its_limit_until_it_is_removed() {
    let Some(group) = LiveGroup::make("limit", 64 << 20) else { return };
    let host = Host::default();
    let mut collector = collector("cgroup", &host, &Options::default());
    let series = |family: &str| format!("headroom_cgroup_memory_{family}_bytes{{cgroup=\"{}\"}}", group.name);
    let before = page(&mut *collector, &host);
    assert_eq!(value(&before, &series("limit")), Some(f64::from(64 << 20)));
    let mut child = group.hold(20_000_000);
    let grown = page(&mut *collector, &host);
    child.kill().unwrap();
    child.wait().unwrap();
    for family in ["current", "anon"] {
        let value = value(&grown, &series(family)).unwrap();
        assert!((19e6..64e6).contains(&value), "{family} {value}");
    }
    let name = group.name.clone();
    drop(group);
    assert!(!page(&mut *collector, &host).contains(&name));
}

/// A control group of this machine that the test may use; removed when dropped.
pub(crate) struct LiveGroup {
    /// From the root of its hierarchy.
    pub name: String,
    /// Its directory.
    pub path: PathBuf,
}

impl LiveGroup {
    /// Makes it with a limit; none where that is not allowed.
    pub(crate) fn make(what: &str, limit_bytes: u64) -> Option<Self> {
        Self::make_named(&format!("headroom-test-{what}-{}", std::process::id()), limit_bytes)
    }

    /// The same, with the whole name given.
    pub(crate) fn make_named(name: &str, limit_bytes: u64) -> Option<Self> {
        let (version, root) = Hierarchies::detect(&Host::default()).unwrap().memory?;
        let name = format!("/{name}");
        let path = root.join(name.trim_start_matches('/'));
        if let Err(e) = std::fs::create_dir(&path) {
            eprintln!("SKIPPED: cannot make the control group {}: {e}", path.display());
            return None;
        }
        let group = Self { name, path };
        let file = if version == Version::V1 { "memory.limit_in_bytes" } else { "memory.max" };
        std::fs::write(group.path.join(file), limit_bytes.to_string()).unwrap();
        Some(group)
    }

    /// A process in the group that holds so many bytes of anonymous memory.
    pub(crate) fn hold(&self, bytes: u32) -> Child {
        let script = format!(
            "echo $$ > '{0}/cgroup.procs' && x=$(head -c {bytes} /dev/zero | tr '\\0' x) && : > \"$1\" && sleep 60",
            self.path.display()
        );
        let ready = tempfile::tempdir().unwrap();
        let ready_file = ready.path().join("ready");
        let child = Command::new("sh").args(["-c", &script, "sh"]).arg(&ready_file).spawn().unwrap();
        let begun = Instant::now();
        while !ready_file.exists() {
            assert!(begun.elapsed() < Duration::from_secs(30), "the process never had its memory");
            std::thread::yield_now();
        }
        child
    }
}

impl Drop for LiveGroup {
    fn drop(&mut self) {
        // Processes of the group may still be on their way out.
        let begun = Instant::now();
        while self.path.exists()
            && std::fs::remove_dir(&self.path).is_err()
            && begun.elapsed() < Duration::from_secs(10)
        {
            let processes = std::fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
            for pid in processes.lines() {
                _ = Command::new("kill").args(["-9", pid]).status();
            }
            std::thread::yield_now();
        }
    }
}
