//! The kernel's own ways beside reclaim, and the limits of reclaim, on the kernel that runs the test. tests/vm shows the same
//! for control groups of version 2.

use crate::cgroups::LiveGroup;
use crate::reclaim::{Swap, alone, compressible, join, v1_group, without_swap};
use crate::stack::{Holder, Optimizer, alert};
use serde_json::{Value, json};
use std::fs::read_to_string;
use std::path::PathBuf;

const LIMIT_BYTES: u64 = 3 << 30;

#[test]
fn a_write_that_is_late_does_not_hold_the_run_and_is_counted() {
    let Some(_swap) = Swap::make() else { return };
    let Some(group) = v1_group("late") else { return };
    let dir = tempfile::tempdir().unwrap();
    let _holder = compressible(dir.path(), &join(&group));
    // No kernel compresses 4 MiB in that time.
    let rung = "{action: cgroup_reclaim, with: {deadline: 1ms}}";
    let optimizer = on_group(&group, rung);
    let entry = run(&optimizer, "ab");
    let step = &entry["steps"][0];
    assert_eq!(step["state"], "done", "{entry:#}");
    assert!(step["detail"].as_str().unwrap().contains("left to end by itself"), "{entry:#}");
    assert!(step["after"]["target"].is_object(), "measured all the same: {entry:#}");
    assert_eq!(limit(&group), LIMIT_BYTES);
    crate::stack::eventually("the count", 5, || {
        (optimizer.metric("headroom_optimizer_kernel_writes_late_total") >= 1.0).then_some(())
    });
    crate::stack::eventually("the write's end", 20, || {
        (optimizer.metric("headroom_optimizer_kernel_writes_blocked") < 0.5).then_some(())
    });
    assert_eq!(limit(&group), LIMIT_BYTES, "the thread that lowered it has put it back");
}

#[test]
fn a_brake_is_refused_where_there_is_none() {
    let Some(group) = v1_group("brake") else { return };
    let dir = tempfile::tempdir().unwrap();
    let _holder = Holder::start(dir.path(), "/dev/zero", 40, &join(&group));
    let entry = run(&on_group(&group, "squeeze"), "ab");
    assert_eq!(entry["result"], "exhausted", "{entry:#}");
    assert!(entry["reason"].as_str().unwrap().contains("squeeze: version 1"), "{entry:#}");
    assert_eq!(limit(&group), LIMIT_BYTES);
}

#[test]
fn caches_are_not_dropped_unless_somebody_says_so_and_then_not_again_within_the_hour() {
    let Some(_alone) = alone() else { return };
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 40, "");
    let never = run(&on_processes(&holder, "drop_caches, compact_memory"), "ab");
    let reason = never["reason"].as_str().unwrap();
    for action in ["drop_caches", "compact_memory"] {
        assert!(reason.contains(&format!("{action}: it was never tried here")), "{never:#}");
    }
    assert_eq!(never["steps"], json!([]), "{never:#}");
    if rustix::process::geteuid().as_raw() != 0 {
        eprintln!("SKIPPED: only root can write these files");
        return;
    }
    // Compaction alone: to drop the caches of this machine would cost others minutes.
    let optimizer = on_processes(&holder, "{action: compact_memory, with: {try: true}}");
    let once = run(&optimizer, "ab");
    let step = &once["steps"][0];
    assert_eq!((&step["action"], &step["state"]), (&"compact_memory".into(), &"done".into()), "{once:#}");
    assert!(step["before"]["machine"]["large_free_bytes"].is_u64(), "{once:#}");
    let again = run(&optimizer, "cd");
    assert!(again["reason"].as_str().unwrap().contains("within the last hour"), "{again:#}");
    assert_eq!(again["steps"], json!([]), "{again:#}");
}

#[test]
fn swap_is_made_used_and_taken_away_again() {
    let Some(_alone) = without_swap() else { return };
    if std::fs::File::open("/sys/class/zram-control/hot_add").is_err() {
        eprintln!("SKIPPED: no right or no zram to make a swap with");
        return;
    }
    let _clean = TakenAway;
    let dir = tempfile::tempdir().unwrap();
    let holder = compressible(dir.path(), "");
    let make = "{action: swap_on_zram, with: {size_ratio: 0.03, algorithm: lz4, priority: 7}}";
    let pageout = "{action: pageout, with: {watch: 500ms, cold_first: true}}";
    let optimizer = on_processes(&holder, &format!("{make}, {pageout}"));
    let entry = run(&optimizer, "ab");
    let verdicts: Vec<_> = entry["steps"].as_array().unwrap().iter().map(|s| &s["verdict"]).collect();
    assert_eq!(verdicts.first(), Some(&&"applied".into()), "{entry:#}");
    let swaps = read_to_string("/proc/swaps").unwrap();
    assert!(swaps.contains("/dev/zram") && swaps.trim_end().ends_with('7'), "{swaps}");
    assert!(swapped_kb() > 100 << 10, "nothing was moved: {swaps} {entry:#}");
    let refused = run(&optimizer, "cd");
    assert!(refused["reason"].as_str().unwrap().contains("has swap already"), "{refused:#}");
    drop(optimizer);
    assert!(swapped_kb() > 100 << 10, "it stays when the optimizer ends");
    let entry = run(&on_processes(&holder, "{action: swap_on_zram, with: {undo: true}}"), "ab");
    assert_eq!(entry["steps"][0]["verdict"], "applied", "{entry:#}");
    assert_eq!(read_to_string("/proc/swaps").unwrap().lines().count(), 1);
    assert!(own_devices().is_empty(), "{entry:#}");
}

#[test]
fn swap_with_a_lease_goes_when_the_optimizer_was_killed_and_starts_again() {
    let Some(_alone) = without_swap() else { return };
    if std::fs::File::open("/sys/class/zram-control/hot_add").is_err() {
        eprintln!("SKIPPED: no right or no zram to make a swap with");
        return;
    }
    let _clean = TakenAway;
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 40, "");
    let rung = "{action: swap_on_zram, with: {size_ratio: 0.01, lease: 1h}}";
    let mut optimizer = on_processes(&holder, rung);
    let entry = run(&optimizer, "ab");
    assert!(entry["steps"][0]["lease_until_millis"].is_i64(), "{entry:#}");
    optimizer.running.kill();
    assert_eq!(read_to_string("/proc/swaps").unwrap().lines().count(), 2);
    optimizer.restart();
    crate::stack::eventually("the swap's end", 5, || {
        (read_to_string("/proc/swaps").unwrap().lines().count() == 1).then_some(())
    });
    let entry = crate::stack::eventually("the record", 5, || {
        let entry = optimizer.entries("limit=1").remove(0);
        entry["steps"][0]["lease_until_millis"].is_null().then_some(entry)
    });
    assert!(entry["steps"][0]["detail"].as_str().unwrap().contains("took away zram"), "{entry:#}");
}

/// Whatever a test that failed has left.
struct TakenAway;

impl Drop for TakenAway {
    fn drop(&mut self) {
        for device in own_devices() {
            let name = device.file_name().unwrap().to_string_lossy().into_owned();
            _ = std::process::Command::new("swapoff").arg(&device).output();
            _ = std::fs::write(format!("/sys/block/{name}/reset"), "1");
            _ = std::fs::write("/sys/class/zram-control/hot_remove", name.trim_start_matches("zram"));
        }
    }
}

/// Devices with the optimizer's label.
fn own_devices() -> Vec<PathBuf> {
    let names = std::fs::read_dir("/sys/block").unwrap().flatten();
    let names = names.filter_map(|e| e.file_name().into_string().ok()).filter(|n| n.starts_with("zram"));
    let ours = |path: &PathBuf| {
        let mut first = [0; 4096];
        let read = std::fs::File::open(path).and_then(|mut f| std::io::Read::read_exact(&mut f, &mut first));
        read.is_ok() && first[1052..].starts_with(b"headroom\0")
    };
    names.map(|n| PathBuf::from(format!("/dev/{n}"))).filter(ours).collect()
}

fn swapped_kb() -> u64 {
    let swaps = read_to_string("/proc/swaps").unwrap();
    let used = swaps.lines().nth(1).and_then(|l| l.split_ascii_whitespace().nth(3)?.parse().ok());
    used.unwrap_or(0)
}

fn limit(group: &LiveGroup) -> u64 {
    read_to_string(group.path.join("memory.limit_in_bytes")).unwrap().trim().parse().unwrap()
}

fn run(optimizer: &Optimizer, fingerprint: &str) -> Value {
    optimizer.notify(&[alert("held", fingerprint, "firing")], 200);
    crate::stack::eventually("the run's end", 40, || {
        let entries = optimizer.entries("limit=1").into_iter();
        entries.into_iter().find(|e| e["state"] == "ended" && e["fingerprint"] == fingerprint)
    })
}

fn on_processes(holder: &Holder, ladder: &str) -> Optimizer {
    let top =
        format!("process_groups: [{{name: held, cmdline: ['{}'], memory_budget: 1MiB}}]", holder.marker);
    start(&top, ladder, "process_group: held")
}

fn on_group(group: &LiveGroup, ladder: &str) -> Optimizer {
    start("", ladder, &format!("cgroup: {}, memory_budget: 1MiB", group.name))
}

fn start(top: &str, ladder: &str, target: &str) -> Optimizer {
    let text = format!(
        "  settle: 500ms\n  guards: {{cooldown: 0s, target_cooldown: 0s, min_gain: 16MiB}}\n  policies:\n  - {{name: kernel, \
         match: ['headroom_action=\"reclaim\"'], target_label: groupname, ladder: [{ladder}]}}\n  targets:\n  - {{name: held, \
         {target}}}\n"
    );
    Optimizer::start(top, &text)
}
