//! What goes wrong in the middle: kills while an effect stands, targets that are replaced, swap that fills up, floods.

use crate::brakes::{each_version, freezing, join};
use crate::cgroups::LiveGroup;
use crate::hostile::target;
use crate::reclaim::Swap;
use crate::stack::{Holder, Hook, Optimizer, alert, eventually, get, notification};
use rustix::process::Signal;
use serde_json::Value;
use std::fs::{read_to_string, write};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

#[test]
fn killed_at_any_moment_of_a_standing_effect_it_is_undone_and_never_done_twice() {
    each_version("chaos", |group, freezer, dir| {
        let _holder = Holder::start(dir, "/dev/zero", 20, &join(group, freezer));
        let mut optimizer = freezing(group, "{lease: 5m}", ", batch: true");
        let (mut standing, mut finished) = (0, 0);
        for n in 0..60_u64 {
            if standing > 1 && finished > 1 {
                break;
            }
            let fingerprint = format!("{n:04x}");
            let body = notification(&[alert("held", &fingerprint, "firing")]);
            let accepted = std::thread::scope(|scope| {
                let answer = scope.spawn(|| optimizer.try_post("let-me-in", body));
                std::thread::sleep(Duration::from_millis(n * 15));
                optimizer.running.signal(Signal::KILL);
                answer.join().unwrap().is_some_and(|(status, _)| status == 200)
            });
            optimizer.running.kill();
            let stood = freezer.is_still();
            standing += usize::from(stood);
            optimizer.restart();
            if stood {
                eventually("what stood is undone", 20, || (!freezer.is_still()).then_some(()));
            }
            let seen = optimizer.entries("limit=1").into_iter().find(|e| e["fingerprint"] == *fingerprint);
            assert!(seen.is_some() || !accepted, "episode {n} was answered 200 and is lost");
            if seen.is_none() {
                continue;
            }
            let entry = optimizer.ended(20);
            assert!(entry["steps"].as_array().unwrap().len() <= 1, "{entry:#}");
            // What was not begun before the kill was done after it, once, and ends with the trouble.
            assert!(!stood || !freezer.is_still(), "done twice: {entry:#}");
            finished += usize::from(stood && entry["steps"][0]["state"] == "done");
            optimizer.notify(&[alert("held", &fingerprint, "resolved")], 200);
            eventually("nothing stands", 20, || {
                let none = optimizer.metric("headroom_optimizer_effects_standing") == 0.0;
                (none && !freezer.is_still()).then_some(())
            });
        }
        assert!(standing > 0, "no kill hit a standing effect: the steps are too coarse for this machine");
    });
}

/// A process that does nothing, under a number that was another's; none where the kernel does not let one choose.
struct Heir(Child);

impl Heir {
    fn of(pid: u32) -> Option<Self> {
        // Other tests start processes at the same time.
        for _ in 0..200 {
            write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).ok()?;
            let mut child = Command::new("sleep").arg("77").spawn().unwrap();
            if child.id() == pid {
                return Some(Self(child));
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
        None
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn whoever_has_the_number_of_a_process_that_was_to_end_is_not_ended() {
    let dir = tempfile::tempdir().unwrap();
    let mut holder = Holder::start(dir.path(), "/dev/zero", 40, "");
    let top =
        format!("process_groups: [{{name: held, cmdline: ['{}'], memory_budget: 1MiB}}]", holder.marker);
    let with = "{only_growing: false, observe: 2s, grace: 0s}";
    let text = format!(
        "  settle: 50ms\n  guards: {{cooldown: 0s, target_cooldown: 0s, allow_kill: true}}\n  policies:\n  - {{name: p, \
         match: ['headroom_action=reclaim'], target_label: groupname, ladder: [{{action: kill, with: {with}}}]}}\n  \
         targets: [{{name: held, process_group: held}}]\n"
    );
    let optimizer = Optimizer::start(&top, &text);
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    eventually("it looks how the target grows", 20, || {
        optimizer.entries("limit=1").into_iter().find(|e| e["state"] == "acting")
    });
    let pid = holder.pid();
    holder.kill();
    let Some(mut heir) = Heir::of(pid) else {
        eprintln!("SKIPPED: the numbers of processes cannot be chosen here");
        return;
    };
    let entry = optimizer.ended(30);
    assert!(heir.lives(), "{entry:#}");
    assert_eq!(entry["freed_bytes"], 0, "{entry:#}");
    assert_ne!(entry["result"], "effective", "{entry:#}");
}

#[test]
fn what_a_target_took_along_when_it_was_replaced_is_nobodys_gain() {
    let hook = Hook::start("{\"released_bytes\": 41943040}", Duration::from_secs(1));
    let dir = tempfile::tempdir().unwrap();
    let mut holder = Holder::start(dir.path(), "/dev/zero", 40, "");
    let (top, text) = target(&holder, &hook, "  settle: 50ms\n");
    let optimizer = Optimizer::start(&top, &text);
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    eventually("the hook is called", 20, || (hook.calls() == 1).then_some(()));
    let pid = holder.pid();
    holder.kill();
    let heir = Heir::of(pid);
    let entry = optimizer.ended(30);
    assert_eq!(entry["freed_bytes"], 0, "{entry:#}");
    assert_ne!(entry["steps"][0]["verdict"], "freed", "{entry:#}");
    assert!(heir.is_none_or(|mut heir| heir.lives()));
}

#[test]
fn swap_that_others_fill_meanwhile_costs_neither_the_target_nor_the_truth() {
    const SWAP_MIB: u64 = 96;
    let Some(_swap) = Swap::of(&(SWAP_MIB * MIB).to_string()) else { return };
    let Some(group) = LiveGroup::make("filler", 1 << 30) else { return };
    let limit = group.path.join("memory.limit_in_bytes");
    if !limit.exists() {
        eprintln!("SKIPPED: a group of version 2 cannot be pressed below its use at once");
        return;
    }
    let free = || {
        let text = read_to_string("/proc/meminfo").unwrap();
        let line = text.lines().find(|l| l.starts_with("SwapFree:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
    };
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let holder = Holder::start(dir.path(), "/dev/urandom", 200, "");
    let filler = Holder::start(
        other.path(),
        "/dev/zero",
        200,
        &format!("echo $$ > '{}/cgroup.procs';", group.path.display()),
    );
    let top =
        format!("process_groups: [{{name: held, cmdline: ['{}'], memory_budget: 1MiB}}]", holder.marker);
    let text = "  settle: 200ms\n  guards: {cooldown: 0s, target_cooldown: 0s, min_gain: 64MiB}\n  policies:\n  - {name: p, \
                match: ['headroom_action=reclaim'], target_label: groupname, ladder: [{action: pageout, with: {watch: 2s}}]}\n  \
                targets: [{name: held, process_group: held}]\n";
    let optimizer = Optimizer::start(&top, text);
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    eventually("the step begins", 20, || {
        optimizer
            .entries("limit=1")
            .into_iter()
            .find(|e| e["steps"].as_array().is_some_and(|s| !s.is_empty()))
    });
    // Less than its anonymous memory: the rest must go to swap, as far as there is any.
    for mib in (80..200).rev().step_by(4) {
        let _busy = write(&limit, (mib * MIB).to_string());
    }
    assert!(free() <= 8, "the swap is not full: {} MiB are free", free());
    let entry = optimizer.ended(30);
    assert_ne!(entry["result"], "failed", "{entry:#}");
    assert_eq!(entry["freed_bytes"], 0, "data that no compression makes smaller: {entry:#}");
    for pid in [holder.pid(), filler.pid()] {
        assert!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is gone: {entry:#}");
    }
    assert_eq!(get(&optimizer.url("/-/healthy")).unwrap().0, 200);
}

/// Memory that is a process's alone and that it has written: the clean pages of a debug build's code are several times those
/// of the release.
fn private_mib(pid: u32) -> u64 {
    let text = read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let kib =
        text.lines().filter(|l| l.starts_with("Private_Dirty")).filter_map(|l| l.split_whitespace().nth(1));
    kib.filter_map(|word| word.parse::<u64>().ok()).sum::<u64>() >> 10
}

#[test]
fn ten_thousand_webhooks_are_answered_or_refused_and_take_little_memory() {
    const POSTS: usize = 10_000;
    const SENDERS: usize = 32;
    const PRIVATE_MIB_MAX: u64 = 30;
    let optimizer = Optimizer::start("", "");
    let (next, taken, refused) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let (over, most) = (AtomicBool::new(false), Mutex::new(0));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let n = next.fetch_add(1, Ordering::SeqCst);
                        if n >= POSTS {
                            return;
                        }
                        let body = notification(&[alert("nobody", &format!("{n:06x}"), "firing")]);
                        match optimizer.try_post("let-me-in", body) {
                            Some((200, _)) => taken.fetch_add(1, Ordering::SeqCst),
                            Some((503, why)) if why.contains("again") => {
                                refused.fetch_add(1, Ordering::SeqCst)
                            }
                            other => panic!("notification {n}: {other:?}"),
                        };
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let now = private_mib(optimizer.running.pid());
                let mut most = most.lock().unwrap();
                *most = now.max(*most);
                drop(most);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let ends: Vec<_> = senders.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::SeqCst);
        assert!(ends.iter().all(Result::is_ok), "a sender met what is neither an answer nor a refusal");
    });
    let (taken, refused, most) = (taken.into_inner(), refused.into_inner(), most.into_inner().unwrap());
    eprintln!(
        "{POSTS} notifications in {:?}: {taken} taken, {refused} refused, at most {most} MiB",
        begun.elapsed()
    );
    assert_eq!(taken + refused, POSTS);
    assert!(most < PRIVATE_MIB_MAX, "{most} MiB");
    // What was taken leads to one run each, and nothing else does.
    let runs = || {
        let page = get(&optimizer.url("/metrics")).unwrap().1;
        let lines = page.lines().filter(|l| l.starts_with("headroom_optimizer_runs_total{"));
        lines.filter_map(|l| l.rsplit(' ').next()?.parse::<usize>().ok()).sum::<usize>()
    };
    eventually("all have ended", 120, || (runs() == taken).then_some(()));
    let newest: Vec<Value> = optimizer.entries("limit=1");
    assert_eq!(newest[0]["state"], "ended", "{newest:#?}");
}
