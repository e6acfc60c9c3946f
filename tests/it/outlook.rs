//! Memory truth: trends and limits over minutes that a test lets pass, on trees that grow, and on a group of this kernel.

use crate::cgroups::LiveGroup;
use crate::page::{check_golden, page, value};
use headroom::collect::{cgroup, meminfo};
use headroom::host::Host;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const MIB: u64 = 1 << 20;
const GROUPS: &str = "sys/fs/cgroup";

/// A clock that stands still until it is set.
fn clock() -> (Arc<AtomicU64>, cgroup::Clock) {
    let seconds = Arc::new(AtomicU64::new(0));
    let of_collector = Arc::clone(&seconds);
    (seconds, Box::new(move || Duration::from_secs(of_collector.load(Ordering::Relaxed))))
}

fn host(root: &Path) -> Host {
    Host { procfs: root.join("proc"), sysfs: root.join("sys"), ..Host::default() }
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A v2 group that uses so much, 100 MiB of it page cache that nobody used for long, and from which reclaim took pages.
fn write_group(root: &Path, name: &str, used_mib: u64, reclaimed_pages: u64) {
    let stat = format!(
        "anon {}\nfile {}\nfile_dirty 0\nfile_writeback 0\ninactive_file {}\nactive_file 0\nslab_reclaimable 0\n\
         workingset_refault_anon 3\nworkingset_refault_file {}\nworkingset_activate_anon 0\n\
         workingset_activate_file {}\npgscan {}\npgsteal {reclaimed_pages}\n",
        (used_mib - 100) * MIB,
        100 * MIB,
        100 * MIB,
        reclaimed_pages / 2,
        reclaimed_pages / 4,
        reclaimed_pages * 3,
    );
    put(root, &format!("{GROUPS}/{name}/memory.stat"), &stat);
    put(root, &format!("{GROUPS}/{name}/memory.current"), &format!("{}\n", used_mib * MIB));
    put(root, &format!("{GROUPS}/{name}/cgroup.procs"), "");
}

fn machine(root: &Path, available_mib: u64) {
    let text = format!("MemTotal: 8388608 kB\nMemAvailable: {} kB\n", available_mib * 1024);
    put(root, "proc/meminfo", &text);
    put(root, &format!("{GROUPS}/cgroup.controllers"), "memory\n");
    put(root, &format!("{GROUPS}/memory.stat"), "anon 1\nfile 1\n");
}

#[test]
fn a_group_that_grows_towards_the_limit_of_the_one_above_it_says_when_it_will_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    machine(root, 4000);
    put(root, &format!("{GROUPS}/shop.slice/memory.max"), &format!("{}\n", 1000 * MIB));
    put(root, &format!("{GROUPS}/shop.slice/web.service/memory.max"), "max\n");
    put(root, &format!("{GROUPS}/shop.slice/web.service/memory.high"), &format!("{}\n", 990 * MIB));
    let (now, clock) = clock();
    let host = host(root);
    let mut collector = cgroup::collector(&host, cgroup::Options::default(), clock);
    let of = |page: &str, family: &str, group: &str| {
        value(page, &format!("headroom_cgroup_memory_{family}{{cgroup=\"{group}\"}}"))
    };
    let mut before = f64::INFINITY;
    for i in 0..10_u64 {
        now.store(1000 + i * 15, Ordering::Relaxed);
        // Half a MiB a second, and as much again in the group beside it.
        write_group(root, "shop.slice/web.service", 300 + i * 15 / 2, 40_000 + i * 4000);
        write_group(root, "shop.slice", 500 + i * 15, 50_000 + i * 4000);
        let page = page(&mut *collector, &host);
        // The page cache counts as available.
        let left = 1000 - (500 + i * 15) + 100;
        assert_eq!(of(&page, "available_bytes", "/shop.slice"), Some((left * MIB) as f64), "{page}");
        assert_eq!(of(&page, "available_bytes", "/shop.slice/web.service"), Some((left * MIB) as f64));
        assert_eq!(of(&page, "available_bytes", "/"), Some((4000 * MIB) as f64));
        let seconds = of(&page, "time_to_limit_seconds", "/shop.slice/web.service");
        if i < 4 {
            assert_eq!(seconds, None, "too few samples");
        } else {
            // 1 MiB a second: the slice fills up long before the group reaches its own limit.
            assert_eq!(seconds, Some(left as f64));
            assert_eq!(seconds, of(&page, "time_to_limit_seconds", "/shop.slice"));
            assert_eq!(of(&page, "time_to_limit_seconds", "/"), None);
            assert!(seconds.unwrap() < before, "it falls");
            before = seconds.unwrap();
        }
        // A quarter of what reclaim took belonged to the working set, so a quarter of the inactive page cache does.
        let working_set = of(&page, "working_set_bytes", "/shop.slice").unwrap() / MIB as f64;
        let want = 500 + i * 15 - if i == 0 { 100 } else { 75 };
        assert!((working_set - want as f64).abs() < 1.0, "{working_set} {want}");
        if i == 9 {
            check_golden("cgroup-outlook", &page);
        }
    }
}

#[test]
fn the_machine_says_when_its_available_memory_will_be_used_up() {
    const FAMILY: &str = "headroom_memory_time_to_exhaustion_seconds";
    let dir = tempfile::tempdir().unwrap();
    let (now, clock) = clock();
    let host = host(dir.path());
    let mut collector = meminfo::collector(&host, clock);
    let mut look = |seconds, available| {
        machine(dir.path(), available);
        now.store(seconds, Ordering::Relaxed);
        page(&mut *collector, &host)
    };
    for i in 0..10 {
        let page = look(1000 + i * 15, 4000 - i * 30);
        let want = (i >= 4).then_some(((4000 - i * 30) / 2) as f64);
        assert_eq!(value(&page, FAMILY), want, "{i}");
        if i == 9 {
            check_golden("meminfo-outlook", &page);
        }
    }
    for i in 10..30 {
        let page = look(1000 + i * 15, 3000);
        assert!(i < 20 || value(&page, FAMILY).is_none(), "it does not fall any more, at {i}");
    }
}

#[test]
fn a_group_of_this_kernel_that_grows_in_steps_says_when_its_limit_is_reached() {
    let Some(group) = LiveGroup::make("outlook", 256 * MIB) else { return };
    let host = Host::default();
    let (now, clock) = clock();
    let mut collector = cgroup::collector(&host, cgroup::Options::default(), clock);
    let series = |family: &str| format!("headroom_cgroup_memory_{family}{{cgroup=\"{}\"}}", group.name);
    let mut held = Vec::new();
    let (mut available, mut seconds) = (f64::INFINITY, f64::INFINITY);
    for i in 0..7 {
        // A quarter of a minute passes for the collector with each process.
        now.store(1000 + i * 15, Ordering::Relaxed);
        held.push(group.hold(8 << 20));
        let page = page(&mut *collector, &host);
        let left = value(&page, &series("available_bytes")).unwrap();
        assert!(left < available && left < 256.0 * MIB as f64, "{left} after {available}");
        available = left;
        let until = value(&page, &series("time_to_limit_seconds"));
        assert_eq!(until.is_some(), i >= 4, "at {i}");
        if let Some(until) = until {
            // What is left, at 8 MiB and what a shell takes a quarter of a minute.
            assert!((60.0..600.0).contains(&until) && until < seconds, "{until} after {seconds}");
            seconds = until;
        }
    }
    for mut child in held {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
