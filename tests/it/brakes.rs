//! Groups that stand still and processes that get less for a while, on the kernel that runs the test: what is done, that
//! it is undone, and that nothing else is touched.

use crate::cgroups::LiveGroup;
use crate::stack::{Holder, Optimizer, Running, alert, eventually};
use rustix::process::{Pid, getpriority_process, setpriority_process};
use serde_json::Value;
use std::fs::{create_dir, read_to_string, remove_dir, write};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Far above what a test needs.
const LIMIT_BYTES: u64 = 3 << 30;

/// A group of the same name in the hierarchy that has the freezer; removed when dropped.
pub(crate) struct Freezer {
    path: PathBuf,
    version: u8,
}

impl Freezer {
    /// In the hierarchy of this version, if the machine has it.
    fn make(group: &LiveGroup, version: u8) -> Option<Self> {
        let root = if version == 2 { "/sys/fs/cgroup/unified" } else { "/sys/fs/cgroup/freezer" };
        let path = Path::new(root).join(group.name.trim_start_matches('/'));
        match create_dir(&path) {
            Ok(()) => Some(Self { path, version }),
            Err(e) => {
                eprintln!("SKIPPED: cannot make {}: {e}", path.display());
                None
            }
        }
    }

    /// Whether all of it stands still.
    pub(crate) fn is_still(&self) -> bool {
        let (file, text) =
            if self.version == 2 { ("cgroup.events", "frozen 1") } else { ("freezer.state", "FROZEN") };
        read_to_string(self.path.join(file)).unwrap().lines().any(|line| line == text)
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let (file, text) =
            if self.version == 2 { ("cgroup.freeze", "0") } else { ("freezer.state", "THAWED") };
        let _thawed = write(self.path.join(file), text);
        let begun = Instant::now();
        while remove_dir(&self.path).is_err() && begun.elapsed() < Duration::from_secs(10) {
            for pid in read_to_string(self.path.join("cgroup.procs")).unwrap_or_default().lines() {
                let _gone = Command::new("kill").args(["-9", pid]).status();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Shell code that moves the shell into the groups.
pub(crate) fn join(group: &LiveGroup, freezer: &Freezer) -> String {
    format!(
        "echo $$ > '{}/cgroup.procs'; echo $$ > '{}/cgroup.procs';",
        group.path.display(),
        freezer.path.display()
    )
}

fn ladder(action: &str, with: &str) -> String {
    format!(
        "  settle: 50ms\n  guards: {{cooldown: 0s, target_cooldown: 0s}}\n  policies:\n  - {{name: p, match: \
         ['headroom_action=reclaim'], target_label: groupname, ladder: [{{action: {action}, with: {with}}}]}}\n"
    )
}

pub(crate) fn freezing(group: &LiveGroup, with: &str, keys: &str) -> Optimizer {
    let target = format!("  targets: [{{name: held, cgroup: {}, memory_budget: 1MiB{keys}}}]\n", group.name);
    Optimizer::start("", &(ladder("freeze", with) + &target))
}

/// For each version of the freezer that there is here.
pub(crate) fn each_version(what: &str, scenario: impl Fn(&LiveGroup, &Freezer, &Path)) {
    for version in [2, 1] {
        let Some(group) = LiveGroup::make(&format!("{what}{version}"), LIMIT_BYTES) else { return };
        let Some(freezer) = Freezer::make(&group, version) else { continue };
        let dir = tempfile::tempdir().unwrap();
        scenario(&group, &freezer, dir.path());
    }
}

fn detail(entry: &Value) -> &str {
    entry["steps"][0]["detail"].as_str().unwrap_or_default()
}

/// The newest entry, once the effect of its step is undone.
fn undone(optimizer: &Optimizer, says: &str) -> Value {
    eventually("the effect is undone", 20, || {
        let entry = optimizer.entries("limit=1").into_iter().next()?;
        (detail(&entry).contains(says) && entry["steps"][0]["lease_until_millis"].is_null()).then_some(entry)
    })
}

#[test]
fn a_batch_group_stands_still_for_its_time_and_then_goes_on() {
    each_version("still", |group, freezer, dir| {
        let _holder = Holder::start(dir, "/dev/zero", 20, &join(group, freezer));
        let beat = dir.join("beat");
        let script =
            format!("{} while :; do echo >> {}; sleep 0.01; done", join(group, freezer), beat.display());
        let _ticker = Running::start(Command::new("sh").args(["-c", &script]), &dir.join("log"));
        let beats = || std::fs::metadata(&beat).map_or(0, |m| m.len());
        eventually("it works", 20, || (beats() > 3).then_some(()));
        let optimizer = freezing(group, "{lease: 2s}", ", batch: true");
        optimizer.notify(&[alert("held", "ab", "firing")], 200);
        let entry = optimizer.ended(20);
        assert_eq!(entry["steps"][0]["verdict"], "applied", "{entry:#}");
        assert!(detail(&entry).contains("stands still, with"), "{entry:#}");
        assert!(freezer.is_still(), "{entry:#}");
        let before = beats();
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(beats(), before, "it goes on while it is frozen");
        assert_eq!(optimizer.metric("headroom_optimizer_effects_standing"), 1.0);
        undone(&optimizer, "thawed");
        assert!(!freezer.is_still());
        eventually("it works again", 10, || (beats() > before).then_some(()));
        eventually("nothing stands", 5, || {
            (optimizer.metric("headroom_optimizer_effects_standing") == 0.0).then_some(())
        });
    });
}

#[test]
fn killed_with_a_group_frozen_it_is_thawed_at_the_next_start() {
    each_version("killed", |group, freezer, dir| {
        let _holder = Holder::start(dir, "/dev/zero", 20, &join(group, freezer));
        let mut optimizer = freezing(group, "{lease: 5m}", ", batch: true");
        optimizer.notify(&[alert("held", "ab", "firing")], 200);
        eventually("it stands still", 20, || freezer.is_still().then_some(()));
        optimizer.running.kill();
        assert!(freezer.is_still());
        let begun = Instant::now();
        optimizer.restart();
        eventually("it is thawed", 5, || (!freezer.is_still()).then_some(()));
        eprintln!("thawed {:?} after the restart began", begun.elapsed());
    });
}

#[test]
fn what_is_not_batch_is_never_frozen_and_neither_is_a_group_with_a_protected_process() {
    each_version("never", |group, freezer, dir| {
        let _holder = Holder::start(dir, "/dev/zero", 20, &join(group, freezer));
        let optimizer = freezing(group, "{}", "");
        optimizer.notify(&[alert("held", "ab", "firing")], 200);
        let entry = optimizer.ended(20);
        assert!(entry["reason"].as_str().unwrap().contains("not marked as `batch`"), "{entry:#}");
        drop(optimizer);
        // In the freezer's hierarchy alone: among the target's own processes it is not.
        let guarded = dir.join("sshd");
        std::os::unix::fs::symlink("/bin/sleep", &guarded).unwrap();
        let script =
            format!("echo $$ > '{}/cgroup.procs'; exec {} 60", freezer.path.display(), guarded.display());
        let sshd = Running::start(Command::new("sh").args(["-c", &script]), &dir.join("log"));
        let comm = format!("/proc/{}/comm", sshd.pid());
        eventually("it is there", 10, || (read_to_string(&comm).ok()? == "sshd\n").then_some(()));
        let optimizer = freezing(group, "{}", ", batch: true");
        optimizer.notify(&[alert("held", "cd", "firing")], 200);
        let entry = optimizer.ended(20);
        assert_eq!((&entry["result"], freezer.is_still()), (&"refused".into(), false), "{entry:#}");
        assert!(entry["reason"].as_str().unwrap().contains("sshd"), "{entry:#}");
    });
}

/// A process of the target that starts another when it is told to.
struct Parent {
    running: Running,
    dir: PathBuf,
}

impl Parent {
    fn start(dir: &Path, name: &str) -> Self {
        let dir = dir.join(name);
        create_dir(&dir).unwrap();
        assert!(Command::new("mkfifo").arg(dir.join("go")).status().unwrap().success());
        let script =
            format!("exec 9<>{0}/go; read x <&9; sleep 77 & echo $! > {0}/child; wait", dir.display());
        let running = Running::start(Command::new("sh").args(["-c", &script]), &dir.join("log"));
        Self { running, dir }
    }

    fn child(&self) -> u32 {
        std::fs::File::options().write(true).open(self.dir.join("go")).unwrap().write_all(b"go\n").unwrap();
        eventually("the child", 10, || read_to_string(self.dir.join("child")).ok()?.trim().parse().ok())
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        if let Ok(child) = read_to_string(self.dir.join("child")) {
            let _gone = Command::new("kill").arg(child.trim()).status();
        }
    }
}

fn nice(pid: u32) -> i32 {
    getpriority_process(Pid::from_raw(pid.cast_signed())).unwrap()
}

fn set_nice(pid: u32, nice: i32) {
    setpriority_process(Pid::from_raw(pid.cast_signed()), nice).unwrap();
}

fn score(pid: u32) -> i32 {
    read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().parse().unwrap()
}

fn io_class(pid: u32) -> String {
    let output = Command::new("ionice").args(["-p", &pid.to_string()]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The shells of a directory as target `held`, over any budget.
fn shells(dir: &Path, ladder: &str) -> Optimizer {
    let top =
        format!("process_groups: [{{name: held, cmdline: ['{}/'], memory_budget: 4KiB}}]", dir.display());
    Optimizer::start(&top, &format!("{ladder}  targets: [{{name: held, process_group: held}}]\n"))
}

#[test]
fn priorities_are_put_back_to_what_each_process_had_and_only_where_they_are_still_ours() {
    let dir = tempfile::tempdir().unwrap();
    let [plain, niced, touched] = ["plain", "niced", "touched"].map(|name| Parent::start(dir.path(), name));
    let [plain_pid, niced_pid, touched_pid] = [&plain, &niced, &touched].map(|p| p.running.pid());
    set_nice(niced_pid, 3);
    write(format!("/proc/{niced_pid}/oom_score_adj"), "100").unwrap();
    let (io_before, score_before) = (io_class(plain_pid), score(plain_pid));
    let optimizer =
        shells(dir.path(), &ladder("renice", "{nice: 7, io: idle, oom_score_adj: 900, lease: 1h}"));
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    let entry = optimizer.ended(20);
    assert_eq!(entry["steps"][0]["verdict"], "applied", "{entry:#}");
    for pid in [plain_pid, niced_pid, touched_pid] {
        assert_eq!((nice(pid), score(pid), io_class(pid).as_str()), (7, 900, "idle"), "{entry:#}");
    }
    // Meanwhile somebody else decides otherwise, and a process that inherits it all is started.
    set_nice(touched_pid, 12);
    write(format!("/proc/{touched_pid}/oom_score_adj"), "950").unwrap();
    let child = plain.child();
    assert_eq!((nice(child), score(child)), (7, 900));
    optimizer.notify(&[alert("held", "ab", "resolved")], 200);
    undone(&optimizer, "are as before");
    assert_eq!(
        (nice(plain_pid), score(plain_pid), io_class(plain_pid)),
        (0, score_before, io_before.clone())
    );
    assert_eq!((nice(child), score(child), io_class(child)), (0, score_before, io_before));
    assert_eq!((nice(niced_pid), score(niced_pid)), (3, 100));
    assert_eq!((nice(touched_pid), score(touched_pid)), (12, 950));
}

#[test]
fn killed_with_priorities_taken_they_are_put_back_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let shell = Parent::start(dir.path(), "plain");
    let mut optimizer = shells(dir.path(), &ladder("renice", "{nice: 7}"));
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    eventually("it is niced", 20, || (nice(shell.running.pid()) == 7).then_some(()));
    optimizer.running.kill();
    optimizer.restart();
    eventually("it is as before", 5, || (nice(shell.running.pid()) == 0).then_some(()));
}

#[test]
fn a_groups_share_of_the_processors_is_put_back() {
    let Some(group) = LiveGroup::make("share", LIMIT_BYTES) else { return };
    let path = Path::new("/sys/fs/cgroup/cpu").join(group.name.trim_start_matches('/'));
    if let Err(e) = create_dir(&path) {
        eprintln!("SKIPPED: cannot make {}: {e}", path.display());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let freezer = Freezer { path: path.clone(), version: 2 };
    let _holder = Holder::start(dir.path(), "/dev/zero", 20, &join(&group, &freezer));
    let shares = || read_to_string(path.join("cpu.shares")).unwrap().trim().parse::<u64>().unwrap();
    let target = format!("  targets: [{{name: held, cgroup: {}, memory_budget: 1MiB}}]\n", group.name);
    let optimizer = Optimizer::start("", &(ladder("renice", "{cpu_weight: 10, lease: 1h}") + &target));
    let before = shares();
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    optimizer.ended(20);
    assert_eq!(shares(), 102);
    optimizer.notify(&[alert("held", "ab", "resolved")], 200);
    undone(&optimizer, "again");
    assert_eq!(shares(), before);
}

#[test]
fn an_alert_about_processors_acts_only_while_they_are_busy_as_measured_here() {
    let dir = tempfile::tempdir().unwrap();
    let shell = Parent::start(dir.path(), "plain");
    // The test's own machine decides how busy it is; these two shares leave no doubt.
    for (ratio, result) in [("1", "stale"), ("0", "exhausted")] {
        let wanted = format!("target_label: groupname, cpu_busy_above_ratio: {ratio}");
        let text = ladder("renice", "{nice: 5}").replace("target_label: groupname", &wanted);
        let optimizer = shells(dir.path(), &text);
        let mut busy =
            Running::start(Command::new("sh").args(["-c", "while :; do :; done"]), &dir.path().join("b"));
        optimizer.notify(&[alert("held", "ab", "firing")], 200);
        let entry = optimizer.ended(30);
        busy.kill();
        assert_eq!(entry["result"], result, "{entry:#}");
        let steps = entry["steps"].as_array().unwrap();
        assert_eq!(steps.len(), usize::from(ratio == "0"), "{entry:#}");
        if let Some(step) = steps.first() {
            let ratio = step["before"]["machine"]["cpu_busy_ratio"].as_f64().unwrap();
            assert!(ratio > 0.0 && ratio <= 1.0, "{entry:#}");
            assert_eq!(nice(shell.running.pid()), 5);
        }
    }
}
