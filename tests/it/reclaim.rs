//! The kernel's own ways to give memory back, on the kernel that runs the test: what counts as freed, and what only
//! looks like it. tests/vm shows the same for control groups of version 2.

use crate::cgroups::LiveGroup;
use crate::stack::{Holder, Optimizer, Running, alert, eventually};
use headroom::host::Host;
use headroom::host::cgroup::{Hierarchies, Version};
use rustix::process::Signal;
use serde_json::Value;
use std::fs::{File, read_to_string, write};
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
/// What targets hold: far more than other programs on this machine take or give back in two seconds.
const HELD_MIB: u64 = 400;
/// What counts as gained where a gain is expected.
const MIN_GAIN_MIB: u64 = 128;
/// What would count where none is expected: less than what is moved before it is found out.
const NO_GAIN_MIB: u64 = 16;
/// A limit that no target of these tests comes near.
const LIMIT_BYTES: u64 = 3 << 30;
/// Another program's gigabyte may come or go at the same time: then the figures of one try say nothing.
const TRIES: usize = 6;

#[test]
fn without_swap_pageout_is_refused_and_says_why() {
    let Some(_alone) = without_swap() else { return };
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/urandom", 40, "");
    let optimizer = on_processes(&holder, NO_GAIN_MIB);
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    let entry = optimizer.ended(20);
    assert_eq!(entry["result"], "exhausted", "{entry:#}");
    assert!(entry["reason"].as_str().unwrap().contains("pageout: there is no free swap"), "{entry:#}");
    assert_eq!(entry["steps"].as_array().unwrap().len(), 0, "{entry:#}");
    assert_eq!(
        optimizer.metric("headroom_optimizer_actions_total{action=\"pageout\",result=\"refused\"}"),
        1.0
    );
}

#[test]
fn without_swap_a_group_of_anonymous_memory_is_left_alone_with_its_limit() {
    let Some(_alone) = without_swap() else { return };
    let Some(group) = v1_group("anonymous") else { return };
    let dir = tempfile::tempdir().unwrap();
    let _holder = Holder::start(dir.path(), "/dev/urandom", 100, &join(&group));
    let optimizer = on_group(&group, NO_GAIN_MIB);
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    let entry = optimizer.ended(20);
    assert_eq!(entry["result"], "exhausted", "{entry:#}");
    assert!(entry["reason"].as_str().unwrap().contains("cgroup_reclaim: "), "{entry:#}");
    assert_eq!(entry["freed_bytes"], 0);
    assert_eq!(limit(&group), LIMIT_BYTES);
}

#[test]
fn a_protected_process_beside_the_target_in_its_group_protects_the_whole_group() {
    let Some(group) = LiveGroup::make("protected", LIMIT_BYTES) else { return };
    let dir = tempfile::tempdir().unwrap();
    // Not the target's process, but in the control group that would be reclaimed from.
    let guarded = dir.path().join("sshd");
    std::os::unix::fs::symlink("/bin/sleep", &guarded).unwrap();
    let script = format!("{} exec {} 60", join(&group), guarded.display());
    let _guarded = Running::start(Command::new("sh").args(["-c", &script]), &dir.path().join("log"));
    let holder = Holder::start(dir.path(), "/dev/zero", 40, &join(&group));
    let top =
        format!("process_groups: [{{name: held, cmdline: ['{}'], memory_budget: 1MiB}}]", holder.marker);
    let text = format!(
        "  policies: [{{name: p, match: ['headroom_action=reclaim'], target_label: groupname, ladder: [cgroup_reclaim]}}]\n\
         \x20 targets: [{{name: held, process_group: held, cgroup: {}}}]\n",
        group.name
    );
    let optimizer = Optimizer::start(&top, &text);
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    let entry = optimizer.ended(20);
    assert_eq!(entry["result"], "refused", "{entry:#}");
    assert!(entry["reason"].as_str().unwrap().contains("sshd"), "{entry:#}");
    assert_eq!(entry["steps"].as_array().unwrap().len(), 0, "{entry:#}");
}

#[test]
fn compressible_memory_moved_to_swap_is_freed() {
    let Some(_swap) = Swap::make() else { return };
    within_tries(|| {
        let dir = tempfile::tempdir().unwrap();
        let holder = compressible(dir.path(), "");
        let optimizer = on_processes(&holder, MIN_GAIN_MIB);
        optimizer.notify(&[alert("held", "ab", "firing")], 200);
        let entry = optimizer.ended(40);
        report("compressible, pageout", &entry);
        verdict_is(&entry, "freed", "exhausted")?;
        let freed = entry["freed_bytes"].as_u64().unwrap();
        assert!(freed >= MIN_GAIN_MIB * MIB && freed <= fell(&entry), "{entry:#}");
        assert_eq!(optimizer.metric(FREED_BY_PAGEOUT), freed as f64);
        Ok(())
    });
}

#[test]
fn incompressible_memory_in_a_compressed_swap_is_no_gain_though_resident_memory_falls() {
    let Some(_swap) = Swap::make() else { return };
    within_tries(|| {
        let dir = tempfile::tempdir().unwrap();
        let holder = Holder::start(dir.path(), "/dev/urandom", HELD_MIB, "");
        let optimizer = on_processes(&holder, NO_GAIN_MIB);
        let before = resident(holder.pid());
        optimizer.notify(&[alert("held", "ab", "firing")], 200);
        let entry = optimizer.ended(40);
        report("incompressible, pageout", &entry);
        no_gain(&entry)?;
        assert!(
            before - resident(holder.pid()) >= 24 * MIB,
            "nothing moved: the test shows nothing: {entry:#}"
        );
        // It is tried on a part, and then left alone.
        stopped_early(&entry)?;
        assert_eq!(optimizer.metric(FREED_BY_PAGEOUT), 0.0);
        Ok(())
    });
}

#[test]
fn what_a_disk_took_and_memory_still_holds_is_no_gain_until_the_kernel_needs_it() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_swap) = Swap::on_disk(dir.path()) else { return };
    within_tries(|| {
        let dir = tempfile::tempdir().unwrap();
        let holder = Holder::start(dir.path(), "/dev/urandom", HELD_MIB, "");
        let optimizer = on_processes(&holder, NO_GAIN_MIB);
        optimizer.notify(&[alert("held", "ab", "firing")], 200);
        let entry = optimizer.ended(60);
        report("incompressible, swap on a disk", &entry);
        no_gain(&entry)?;
        assert!(fell(&entry) > HELD_MIB * MIB / 2, "given up early: {entry:#}");
        assert!(detail(&entry).contains("more are in swap and still in memory"), "{entry:#}");
        Ok(())
    });
}

#[test]
fn a_groups_anonymous_memory_goes_to_a_swap_that_compresses_and_that_is_freed() {
    let Some(_swap) = Swap::make() else { return };
    let Some(group) = v1_group("compressible") else { return };
    within_tries(|| {
        let dir = tempfile::tempdir().unwrap();
        let _holder = compressible(dir.path(), &join(&group));
        let optimizer = on_group(&group, MIN_GAIN_MIB);
        optimizer.notify(&[alert("held", "ab", "firing")], 200);
        let entry = optimizer.ended(40);
        report("compressible, v1 group", &entry);
        assert_eq!(limit(&group), LIMIT_BYTES);
        verdict_is(&entry, "freed", "exhausted")
    });
}

#[test]
fn a_groups_incompressible_memory_is_no_gain_and_is_not_all_moved() {
    let Some(_swap) = Swap::make() else { return };
    let Some(group) = v1_group("incompressible") else { return };
    within_tries(|| {
        let dir = tempfile::tempdir().unwrap();
        let _holder = Holder::start(dir.path(), "/dev/urandom", HELD_MIB, &join(&group));
        let optimizer = on_group(&group, NO_GAIN_MIB);
        optimizer.notify(&[alert("held", "ab", "firing")], 200);
        let entry = optimizer.ended(40);
        report("incompressible, v1 group", &entry);
        assert_eq!(limit(&group), LIMIT_BYTES);
        no_gain(&entry)?;
        stopped_early(&entry)
    });
}

#[test]
fn page_cache_of_a_group_is_no_gain_because_it_was_available_anyway() {
    let Some(_alone) = alone() else { return };
    let Some(group) = v1_group("cache") else { return };
    within_tries(|| {
        let dir = tempfile::tempdir().unwrap();
        cache(&group, dir.path(), HELD_MIB);
        let optimizer = on_group(&group, NO_GAIN_MIB);
        optimizer.notify(&[alert("held", "ab", "firing")], 200);
        let entry = optimizer.ended(20);
        report("page cache, v1 group", &entry);
        assert_eq!(limit(&group), LIMIT_BYTES);
        assert!(fell(&entry) > HELD_MIB * MIB / 2, "the group did not shrink: {entry:#}");
        no_gain(&entry)
    });
}

#[test]
fn killed_with_the_limit_lowered_it_puts_it_back_at_the_next_start() {
    let Some(_alone) = alone() else { return };
    let Some(group) = v1_group("killed") else { return };
    let dir = tempfile::tempdir().unwrap();
    cache(&group, dir.path(), 2 * HELD_MIB);
    let mut optimizer = on_group(&group, MIN_GAIN_MIB);
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    let caught = stop_with_lowered_limit(&optimizer, &group);
    optimizer.running.kill();
    if !caught {
        // The moment is some microseconds long. The state that it leaves is made by hand then.
        eprintln!("the limit was never seen lowered: lowered by the test");
        write(group.path.join("memory.limit_in_bytes"), (usage(&group) - MIB).to_string()).unwrap();
    }
    let lowered = limit(&group);
    assert!(lowered < LIMIT_BYTES, "{lowered}");
    optimizer.restart();
    let entry = optimizer.ended(20);
    assert_eq!(limit(&group), LIMIT_BYTES, "{entry:#}");
    assert_eq!((&entry["result"], &entry["steps"][0]["state"]), (&"exhausted".into(), &"interrupted".into()));
    assert_eq!(entry["steps"].as_array().unwrap().len(), 1, "{entry:#}");
    assert!(optimizer.running.output().contains(&format!("was {lowered} bytes and is as before")));
}

#[test]
fn a_group_that_vanishes_in_the_middle_is_unknown() {
    let Some(_alone) = alone() else { return };
    let Some(group) = v1_group("vanishes") else { return };
    let dir = tempfile::tempdir().unwrap();
    cache(&group, dir.path(), 2 * HELD_MIB);
    let optimizer = on_group(&group, MIN_GAIN_MIB);
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    let full = usage(&group);
    eventually("the reclaim is under way", 20, || (usage(&group) < full - 32 * MIB).then_some(()));
    optimizer.running.signal(Signal::STOP);
    std::fs::remove_dir(&group.path).unwrap();
    optimizer.running.signal(Signal::CONT);
    let entry = optimizer.ended(20);
    assert_eq!((&entry["steps"][0]["verdict"], &entry["result"]), (&"unknown".into(), &"no_gain".into()));
    assert_eq!(entry["freed_bytes"], 0);
    assert!(detail(&entry).contains("the group has gone"), "{entry:#}");
}

#[test]
fn a_process_that_ends_in_the_middle_is_unknown_and_not_freed() {
    let Some(_swap) = Swap::make() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut holder = Holder::start(dir.path(), "/dev/urandom", HELD_MIB, "");
    let optimizer = on_processes(&holder, MIN_GAIN_MIB);
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    eventually("the action begins", 20, || {
        optimizer.entries("limit=1").into_iter().find(|e| e["steps"][0]["state"] == "begun")
    });
    // Its memory comes back to the machine, and is no merit of the action.
    holder.kill();
    let entry = optimizer.ended(20);
    assert_eq!((&entry["steps"][0]["verdict"], &entry["result"]), (&"unknown".into(), &"no_gain".into()));
    assert_eq!(entry["freed_bytes"], 0);
}

const FREED_BY_PAGEOUT: &str = "headroom_optimizer_freed_bytes_total{action=\"pageout\",target=\"held\"}";

/// Why one try did not show what it should.
enum Miss {
    /// The machine had more available by somebody else's doing: nothing can be said.
    Noise,
    /// It looks wrong, and may be noise.
    Wrong(String),
}

/// Tries again while other programs' memory may have been the reason; anything else fails at once by a panic.
fn within_tries(mut scenario: impl FnMut() -> Result<(), Miss>) {
    let mut last = Miss::Noise;
    for _ in 0..TRIES {
        match scenario() {
            Ok(()) => return,
            Err(miss) => last = miss,
        }
    }
    match last {
        Miss::Noise => eprintln!("SKIPPED: other programs gave back too much memory, {TRIES} times"),
        Miss::Wrong(why) => panic!("{TRIES} times: {why}"),
    }
}

fn verdict_is(entry: &Value, verdict: &str, result: &str) -> Result<(), Miss> {
    let fits = entry["steps"][0]["verdict"] == verdict && entry["result"] == result;
    if fits { Ok(()) } else { Err(Miss::Wrong(format!("not {verdict} and {result}: {entry:#}"))) }
}

/// The target fell by far more than what counts, and all the same nothing was gained.
fn no_gain(entry: &Value) -> Result<(), Miss> {
    assert!(fell(entry) >= 24 * MIB, "nothing was taken: the test shows nothing: {entry:#}");
    if rose(entry) >= i64::try_from(NO_GAIN_MIB).unwrap() {
        return Err(Miss::Noise);
    }
    assert_eq!((&entry["result"], &entry["freed_bytes"]), (&"exhausted".into(), &0.into()), "{entry:#}");
    assert_eq!(entry["steps"][0]["verdict"], "no_gain", "{entry:#}");
    Ok(())
}

fn stopped_early(entry: &Value) -> Result<(), Miss> {
    let fits = detail(entry).contains("stopped: ") && fell(entry) < HELD_MIB * MIB / 2;
    if fits { Ok(()) } else { Err(Miss::Wrong(format!("not stopped after a part: {entry:#}"))) }
}

fn detail(entry: &Value) -> &str {
    entry["steps"][0]["detail"].as_str().unwrap()
}

/// By how much the record says that the target fell.
fn fell(entry: &Value) -> u64 {
    let bytes = |when: &str| entry["steps"][0][when]["target"]["bytes"].as_u64().unwrap();
    bytes("before").saturating_sub(bytes("after"))
}

/// By how many MiB the record says that reachable memory rose.
fn rose(entry: &Value) -> i64 {
    let bytes = |when: &str| {
        let machine = &entry["steps"][0][when]["machine"];
        machine["available_bytes"].as_i64().unwrap() + machine["per_cpu_free_bytes"].as_i64().unwrap_or(0)
    };
    (bytes("after") - bytes("before")) >> 20
}

/// The figures, for whoever reads the test's output.
fn report(what: &str, entry: &Value) {
    eprintln!(
        "{what}: target fell {} MiB, the machine gained {} MiB, freed {} MiB, {}: {}",
        fell(entry) / MIB,
        rose(entry),
        entry["freed_bytes"].as_u64().unwrap() / MIB,
        entry["steps"][0]["verdict"],
        detail(entry)
    );
}

fn on_processes(holder: &Holder, min_gain_mib: u64) -> Optimizer {
    let top =
        format!("process_groups: [{{name: held, cmdline: ['{}'], memory_budget: 1MiB}}]", holder.marker);
    start(&top, "pageout", "process_group: held", min_gain_mib)
}

fn on_group(group: &LiveGroup, min_gain_mib: u64) -> Optimizer {
    start("", "cgroup_reclaim", &format!("cgroup: {}, memory_budget: 1MiB", group.name), min_gain_mib)
}

fn start(top: &str, action: &str, target: &str, min_gain_mib: u64) -> Optimizer {
    let text = format!(
        "  settle: 1s\n  guards: {{cooldown: 0s, target_cooldown: 0s, min_gain: {min_gain_mib}MiB}}\n  policies:\n  - {{name: \
         kernel, match: ['headroom_action=\"reclaim\"'], target_label: groupname, ladder: [{action}]}}\n  targets:\n  - \
         {{name: held, {target}}}\n"
    );
    Optimizer::start(top, &text)
}

/// A process with memory that compresses well, and is not one and the same byte: the kernel stores such pages as
/// one number, with or without a swap.
pub(crate) fn compressible(dir: &Path, prologue: &str) -> Holder {
    let pipe = dir.join("words");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let words = format!("{prologue} yes 'give back what is not needed' > {} &", pipe.display());
    Holder::start(dir, &pipe.display().to_string(), HELD_MIB, &words)
}

/// Puts clean page cache into a group that has no process.
fn cache(group: &LiveGroup, dir: &Path, mib: u64) {
    let script = format!(
        "{} exec dd if=/dev/zero of={}/file bs=1M count={mib} conv=fsync status=none",
        join(group),
        dir.display()
    );
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    assert!(usage(group) >= mib * MIB * 9 / 10, "is {} a file system in memory?", dir.display());
}

/// Shell code that moves the shell into the group.
pub(crate) fn join(group: &LiveGroup) -> String {
    format!("echo $$ > '{}/cgroup.procs';", group.path.display())
}

/// A group of version 1 on this machine.
pub(crate) fn v1_group(what: &str) -> Option<LiveGroup> {
    let memory = Hierarchies::detect(&Host::default()).unwrap().memory;
    if memory.is_none_or(|(version, _)| version != Version::V1) {
        eprintln!("SKIPPED: no control groups of version 1 with the memory controller");
        return None;
    }
    LiveGroup::make(what, LIMIT_BYTES)
}

fn limit(group: &LiveGroup) -> u64 {
    read_to_string(group.path.join("memory.limit_in_bytes")).unwrap().trim().parse().unwrap()
}

fn usage(group: &LiveGroup) -> u64 {
    read_to_string(group.path.join("memory.usage_in_bytes")).unwrap().trim().parse().unwrap()
}

/// Stops the optimizer while the group's limit is lowered; false if that moment was not met before most of the
/// memory was taken. Either way the action is under way and stands still.
fn stop_with_lowered_limit(optimizer: &Optimizer, group: &LiveGroup) -> bool {
    let file = File::open(group.path.join("memory.limit_in_bytes")).unwrap();
    let lowered = || {
        let mut text = [0; 32];
        let length = file.read_at(&mut text, 0).unwrap();
        text[..length] != *format!("{LIMIT_BYTES}\n").as_bytes()
    };
    let begun = Instant::now();
    loop {
        if lowered() {
            optimizer.running.signal(Signal::STOP);
            // A write that had begun is finished first.
            std::thread::sleep(Duration::from_millis(20));
            if lowered() {
                return true;
            }
            if usage(group) < HELD_MIB * MIB / 2 {
                return false;
            }
            optimizer.running.signal(Signal::CONT);
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "the action never began");
    }
}

fn resident(pid: u32) -> u64 {
    let status = read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().split(' ').next().unwrap().parse::<u64>().unwrap() << 10
}

/// Lets one of these tests run at a time, on the whole machine: they look at the machine's memory and change its swap.
pub(crate) fn alone() -> Option<File> {
    let path = std::env::temp_dir().join("headroom-tests-of-memory");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    match file.and_then(|f| f.lock().map(|()| f)) {
        Ok(file) => Some(file),
        Err(e) => {
            eprintln!("SKIPPED: cannot lock {}: {e}", path.display());
            None
        }
    }
}

pub(crate) fn without_swap() -> Option<File> {
    let alone = alone()?;
    if read_to_string("/proc/swaps").unwrap().lines().count() > 1 {
        eprintln!("SKIPPED: this machine has swap");
        return None;
    }
    Some(alone)
}

/// The machine's only swap, for as long as it is there.
pub(crate) struct Swap {
    device: PathBuf,
    /// The number of the device, where it was made for this.
    zram: Option<String>,
    _alone: File,
}

impl Swap {
    /// A compressed swap in this machine's memory, with room for all that is tried.
    pub(crate) fn make() -> Option<Self> {
        Self::of("1G")
    }

    /// One of this size.
    pub(crate) fn of(bytes: &str) -> Option<Self> {
        let alone = without_swap()?;
        let Ok(number) = read_to_string("/sys/class/zram-control/hot_add") else {
            eprintln!("SKIPPED: no right or no zram to make a swap with");
            return None;
        };
        let number = number.trim().to_owned();
        let device: PathBuf = format!("/dev/zram{number}").into();
        let size = format!("/sys/block/zram{number}/disksize");
        let swap = Self { device, zram: Some(number), _alone: alone };
        write(size, bytes).unwrap();
        swap.on()
    }

    /// A file on the disk of temporary files.
    fn on_disk(dir: &Path) -> Option<Self> {
        let swap = Self { device: dir.join("swap"), zram: None, _alone: without_swap()? };
        let mut file = File::create(&swap.device).unwrap();
        // Swap wants a file without holes.
        std::io::copy(&mut std::io::repeat(0).take((HELD_MIB + 200) * MIB), &mut file).unwrap();
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
        swap.on()
    }

    fn on(self) -> Option<Self> {
        for program in ["mkswap", "swapon"] {
            let output = Command::new(program).arg(&self.device).output();
            if !output.as_ref().is_ok_and(|o| o.status.success()) {
                eprintln!("SKIPPED: {program} {}: {output:?}", self.device.display());
                return None;
            }
        }
        Some(self)
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        let _off = Command::new("swapoff").arg(&self.device).output();
        let begun = Instant::now();
        // The device may be busy for a moment: udev looks at it.
        while let Some(number) = &self.zram
            && write("/sys/class/zram-control/hot_remove", number).is_err()
            && begun.elapsed() < Duration::from_secs(5)
        {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
