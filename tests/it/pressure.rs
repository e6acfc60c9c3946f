//! Runs that no alert asked for: stalls that the optimizer sees by itself, on the kernel that runs the test.

use crate::cgroups::LiveGroup;
use crate::stack::{Holder, Hook, Optimizer, Running, eventually};
use headroom::host::Host;
use headroom::host::cgroup::{Hierarchies, Version};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

#[test]
fn the_ladders_to_copy_are_configurations_that_act_on_pressure() {
    let ladders = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/ladders");
    let mut count = 0;
    for entry in std::fs::read_dir(ladders).unwrap() {
        let path = entry.unwrap().path();
        let config = headroom::config::Config::parse(&std::fs::read_to_string(&path).unwrap(), &path)
            .unwrap_or_else(|e| panic!("{e}"));
        assert!(!config.optimizer.pressure.rules.is_empty(), "{}", path.display());
        count += 1;
    }
    assert!(count > 0);
}

/// A group whose readers want more page cache than it may have.
const LIMIT_BYTES: u64 = 24 << 20;
const FILE_MIB: u64 = 64;
const READERS: usize = 4;

#[test]
fn a_stall_in_a_group_makes_one_run_that_ends_when_it_is_over() {
    let Some(_alone) = crate::reclaim::alone() else { return };
    let Some(stall) = Stall::make("stall") else { return };
    let hook = Hook::start("{\"released_bytes\": 1}", Duration::ZERO);
    let optimizer = stall.optimizer(&hook, "");
    // The way is gone once ahead, of which nobody hears.
    eventually("the rehearsal", 60, || {
        (optimizer.metric("headroom_optimizer_rungs_rehearsed") == 1.0).then_some(())
    });
    assert_eq!((optimizer.entries("limit=9").len(), hook.calls()), (0, 0));
    let readers = stall.begin();
    let entry = optimizer.ended(60);
    assert_eq!((&entry["origin"], &entry["alertname"]), (&"pressure".into(), &"stalls".into()), "{entry:#}");
    // Nothing was really given back. Whether it stalls in the moment after, while others want the processors, is theirs to say.
    assert!(["exhausted", "no_gain"].map(Value::from).contains(&entry["result"]), "{entry:#}");
    let step = &entry["steps"][0];
    assert_eq!((&step["action"], &step["before"]["stall"]["still"]), (&"app_hook".into(), &true.into()));
    assert!(step["before"]["stall"]["micros"].as_u64().unwrap() >= 20_000, "{entry:#}");
    assert_eq!(hook.calls(), 1);
    // However long it goes on: one stall, one run.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!((optimizer.entries("limit=9").len(), hook.calls()), (1, 1));
    assert_eq!(optimizer.metric("headroom_optimizer_pressure_fast"), 1.0);
    drop(readers);
    let over = eventually("the stall is over", 30, || {
        optimizer.entries("limit=1").into_iter().find(|e| e["resolved_at_millis"].is_i64())
    });
    assert_eq!(over["id"], entry["id"]);
    assert_eq!(optimizer.metric("headroom_optimizer_pressure_stalls_total{rule=\"stalls\"}"), 1.0);
    assert_eq!(optimizer.metric("headroom_optimizer_reaction_seconds_count"), 1.0);
    let phase = |name: &str| {
        optimizer.metric(&format!("headroom_optimizer_reaction_phase_seconds_total{{phase=\"{name}\"}}"))
    };
    let phases = ["see", "tell", "admit", "hand_over", "look", "plan", "intend"].map(phase);
    assert!(phases.iter().all(|seconds| *seconds > 0.0), "{phases:?}");
    let all = optimizer.metric("headroom_optimizer_reaction_seconds_sum");
    assert!((phases.iter().sum::<f64>() - all).abs() < 1e-6, "{phases:?} of {all}");
    // Another stall is another episode.
    let _readers = stall.begin();
    eventually("a second run", 30, || (optimizer.entries("limit=9").len() == 2).then_some(()));
}

#[test]
fn a_run_that_must_wait_is_not_begun_when_the_stall_is_over_first() {
    let Some(_alone) = crate::reclaim::alone() else { return };
    let Some(stall) = Stall::make("paused") else { return };
    let hook = Hook::start("{\"released_bytes\": 1}", Duration::ZERO);
    let optimizer = stall.optimizer(&hook, "");
    std::fs::write(optimizer.dir.path().join("state/paused"), "a person\n").unwrap();
    let readers = stall.begin();
    eventually("the run waits", 30, || {
        optimizer.entries("limit=1").into_iter().find(|e| e["state"] == "waiting")
    });
    drop(readers);
    let entry = optimizer.ended(30);
    assert_eq!((&entry["result"], hook.calls()), (&"resolved".into(), 0), "{entry:#}");
    assert_eq!(entry["steps"].as_array().unwrap().len(), 0);
}

#[test]
fn little_available_memory_is_trouble_too_and_a_dry_run_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 40, "");
    let hook = Hook::start("{\"released_bytes\": 1}", Duration::ZERO);
    let optimizer = on_processes(&holder, &hook, "  dry_run: true\n");
    let entry = optimizer.ended(20);
    assert_eq!((&entry["origin"], &entry["result"]), (&"pressure".into(), &"dry_run".into()), "{entry:#}");
    // A tenth of what the target holds is less than what is worth an action.
    assert!(entry["reason"].as_str().unwrap().contains("8.0 MiB"), "{entry:#}");
    assert_eq!(hook.calls(), 0);
    // It is counted once a look is over.
    let fast = || optimizer.metric("headroom_optimizer_pressure_polls_total{pace=\"fast\"}");
    eventually("fast looks", 20, || (fast() > 0.0).then_some(()));
}

#[test]
fn after_a_kill_the_run_before_is_over_and_the_trouble_is_seen_anew() {
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 40, "");
    let hook = Hook::start("{\"released_bytes\": 1}", Duration::from_secs(5));
    let mut optimizer = on_processes(&holder, &hook, "  settle: 100ms\n");
    eventually("the hook is called", 20, || (hook.calls() == 1).then_some(()));
    optimizer.running.kill();
    optimizer.restart();
    let states = |e: &[Value]| -> Vec<String> { e.iter().map(|e| e["result"].to_string()).collect() };
    let entries = eventually("two runs have ended", 30, || {
        Some(optimizer.entries("limit=9")).filter(|e| e.len() == 2 && e.iter().all(|e| e["state"] == "ended"))
    });
    // Newest first; the action that was cut off was not repeated for its own run.
    assert_eq!(states(&entries), ["\"exhausted\"", "\"interrupted\""], "{entries:#?}");
    assert_eq!(entries[1]["steps"][0]["state"], "interrupted");
    assert_eq!(hook.calls(), 2);
}

/// An optimizer with a rule that is always true: some memory is always in use.
fn on_processes(holder: &Holder, hook: &Hook, more: &str) -> Optimizer {
    let top = format!("process_groups: [{{name: held, cmdline: ['{}']}}]", holder.marker);
    let text = format!(
        "  guards: {{cooldown: 0s, target_cooldown: 0s}}\n{more}  pressure:\n    rules:\n    - {{name: little, \
         available_below_ratio: 1.0, target: held, ladder: [app_hook]}}\n  targets:\n  - {{name: held, process_group: held, \
         hook: {{url: 'http://{}/'}}}}\n",
        hook.address
    );
    Optimizer::start(&top, &text)
}

/// A group with a limit, and a file that is too large for it.
struct Stall {
    group: LiveGroup,
    /// Where version 1 has the memory controller, the stalls stand in another hierarchy.
    beside: Option<PathBuf>,
    dir: tempfile::TempDir,
}

impl Stall {
    fn make(what: &str) -> Option<Self> {
        let hierarchies = Hierarchies::detect(&Host::default()).unwrap();
        let unified = hierarchies.unified.clone();
        let Some(unified) = unified.filter(|_| std::path::Path::new("/proc/pressure/memory").exists()) else {
            eprintln!("SKIPPED: this kernel does not count stalls of groups");
            return None;
        };
        let group = LiveGroup::make(what, LIMIT_BYTES)?;
        let beside = unified.join(group.name.trim_start_matches('/'));
        let beside = hierarchies.memory.is_some_and(|(v, _)| v == Version::V1).then_some(beside);
        if let Some(beside) = &beside {
            std::fs::create_dir(beside).unwrap();
        }
        Some(Self { group, beside, dir: tempfile::tempdir().unwrap() })
    }

    fn optimizer(&self, hook: &Hook, more: &str) -> Optimizer {
        let text = format!(
            "  settle: 200ms\n  guards: {{cooldown: 0s, target_cooldown: 0s, min_gain: 1MiB}}\n{more}  pressure:\n    rules:\n    \
             - {{name: stalls, cgroup: {0}, stall: 20ms, window: 1s, calm: 1s, bytes: 4MiB, target: held, ladder: \
             [app_hook]}}\n  targets:\n  - {{name: held, cgroup: {0}, hook: {{url: 'http://{1}/'}}}}\n",
            self.group.name, hook.address
        );
        Optimizer::start("", &text)
    }

    /// Reads the file again and again, until dropped.
    fn begin(&self) -> Vec<Running> {
        let join = |dir: &std::path::Path| format!("echo $$ > '{}/cgroup.procs'; ", dir.display());
        let join = join(&self.group.path) + &self.beside.as_deref().map(join).unwrap_or_default();
        let file = self.dir.path().join("file");
        // Page cache belongs to the group that brought it in.
        let write = format!(
            "{join} exec dd if=/dev/urandom of={} bs=1M count={FILE_MIB} conv=fsync status=none",
            file.display()
        );
        assert!(Command::new("sh").args(["-c", &write]).status().unwrap().success());
        let read = format!("{join} while :; do cat '{0}' > /dev/null; done", file.display());
        let start = |n: usize| {
            Running::start(Command::new("sh").args(["-c", &read]), &self.dir.path().join(n.to_string()))
        };
        (0..READERS).map(start).collect()
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            eventually("the group is empty", 10, || {
                let left = std::fs::read_to_string(beside.join("cgroup.procs")).unwrap_or_default();
                for pid in left.lines() {
                    _ = Command::new("kill").args(["-9", pid]).status();
                }
                std::fs::remove_dir(beside).ok()
            });
        }
    }
}
