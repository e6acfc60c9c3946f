//! What reclaim costs: bytes that the kernel gives back for a second of processor time, by the actions themselves.
//!
//! `cgroup_reclaim` on page cache and on anonymous memory that goes to a compressed swap, and `pageout` of the same
//! memory. Processor time is the kernel's account of this whole process, its threads that have ended included; the reclaim
//! runs in it. Bytes are what the group or the process holds less. The median of the rounds counts. Needs root, control
//! groups and, for the last two, a machine without swap and with zram: what cannot be measured is said.
//!
//! In a virtual machine the rates of anonymous memory have two levels, three times apart: they are low where the process last
//! ran on another processor than the reclaim, which then has to make that one forget each batch of pages.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a program for people"
)]

use headroom::host::Host;
use headroom::host::cgroup::{Hierarchies, Version};
use headroom::host::group::Grouping;
use headroom::host::hand::Hand;
use headroom::optimize::action::{Scene, Watch, find};
use headroom::optimize::journal::History;
use headroom::optimize::observe::Observer;
use headroom::optimize::policy::Target;
use serde_json::{Value, json};
use std::fs::{read_to_string, write};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
const GIB: f64 = (1 << 30) as f64;
const ROUNDS: usize = 5;
/// What each round has taken.
const BYTES: u64 = 1024 * MIB;
/// The aims, in GiB for a second of processor time.
const CACHE_MIN: f64 = 5.0;
const SWAP_MIN: f64 = 0.5;
/// Less than this taken is no measurement.
const TAKEN_SHARE: u64 = 2;

fn main() -> ExitCode {
    let host = Host::default();
    let Some(group) = Group::make(&host) else { return ExitCode::SUCCESS };
    let mut met = true;
    let dir = tempfile::tempdir().unwrap();
    met &= report("cgroup_reclaim, page cache", CACHE_MIN, || cache(&host, &group, dir.path()));
    let swap = Swap::make(&host);
    if let Some(compressor) = swap.as_ref().ok().map(|_| "lz4".to_owned()).or_else(own_zram) {
        let report = |what: &str, round: &dyn Fn() -> Round| {
            report(&format!("{what}, anonymous to zram ({compressor})"), SWAP_MIN, round)
        };
        met &= report("cgroup_reclaim", &|| anonymous(&host, &group));
        met &= report("pageout", &|| pageout(&host));
    } else if let Err(why) = swap {
        eprintln!("SKIPPED: memory that goes to swap: {why}");
    }
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Bytes that were taken, processor seconds and seconds of a round.
struct Round {
    bytes: u64,
    cpu: f64,
    wall: f64,
    note: String,
}

/// Prints a line; false if the aim is missed.
fn report(what: &str, least: f64, mut round: impl FnMut() -> Round) -> bool {
    let mut rounds: Vec<Round> = (0..ROUNDS).map(|_| round()).collect();
    for r in rounds.iter().filter(|r| r.bytes < BYTES / TAKEN_SHARE) {
        eprintln!("{what}: only {} MiB were taken: {}", r.bytes / MIB, r.note);
    }
    rounds.retain(|r| r.bytes >= BYTES / TAKEN_SHARE);
    let rate = |r: &Round| r.bytes as f64 / GIB / r.cpu;
    rounds.sort_by(|a, b| rate(a).total_cmp(&rate(b)));
    let Some(middle) = rounds.get(rounds.len() / 2) else {
        println!("{what:<42} MISSED: nothing was measured");
        return false;
    };
    let met = rate(middle) >= least;
    println!(
        "{what:<42} {:>6.2} GiB/CPU-s ({:.2} to {:.2}), {:>6.2} GiB/s of wall time, aim {least}: {}",
        rate(middle),
        rate(&rounds[0]),
        rate(&rounds[rounds.len() - 1]),
        middle.bytes as f64 / GIB / middle.wall,
        if met { "MET" } else { "MISSED" }
    );
    met
}

fn cache(host: &Host, group: &Group, dir: &Path) -> Round {
    let file = dir.join("file");
    let script = format!(
        "echo $$ > '{}' && exec dd if=/dev/zero of='{}' bs=1M count={} conv=fsync status=none",
        group.path.join("cgroup.procs").display(),
        file.display(),
        BYTES / MIB
    );
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    let round = reclaim(host, &group.target());
    std::fs::remove_file(file).unwrap();
    round
}

fn anonymous(host: &Host, group: &Group) -> Round {
    let _holder = Holder::start(Some(group));
    reclaim(host, &group.target())
}

fn pageout(host: &Host) -> Round {
    let holder = Holder::start(None);
    let rule = json!([{"name": "held", "cmdline": [holder.marker]}]);
    let target = Target { name: "held".into(), process_group: Some("held".into()), ..Target::default() };
    act(
        host,
        "pageout",
        &target,
        &json!({"watch": "100ms"}),
        Grouping::new(&serde_json::from_value::<Vec<_>>(rule).unwrap()).unwrap(),
    )
}

fn reclaim(host: &Host, target: &Target) -> Round {
    act(host, "cgroup_reclaim", target, &Value::Null, Grouping::default())
}

/// Plans and executes as the executor does, and measures.
fn act(host: &Host, name: &str, target: &Target, with: &Value, grouping: Grouping) -> Round {
    let observer = Observer::new(host.clone(), grouping);
    let members = observer.members(target).unwrap();
    let before = observer.observe(target, &members, 0).unwrap();
    let history = History::default();
    let scene = Scene {
        target,
        members: &members,
        before: &before,
        want_bytes: BYTES,
        with,
        labels: &std::collections::BTreeMap::new(),
        history: &history,
    };
    let action = find(name).unwrap();
    let plan = action.plan(&scene).unwrap_or_else(|e| panic!("{name}: {e}"));
    action.permit(&plan.intent, host).unwrap_or_else(|e| panic!("{name}: {e}"));
    let never = || None;
    let (cpu, begun) = (cpu_seconds(), Instant::now());
    let note = action
        .execute(
            &plan.intent,
            target,
            &mut Hand::new(host.clone()),
            &Watch::new(Duration::from_mins(1), &never),
        )
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    let (cpu, wall) = (cpu_seconds() - cpu, begun.elapsed().as_secs_f64());
    let after = observer.observe(target, &members, 0).unwrap();
    let held = |o: &headroom::optimize::observe::Observation| o.target.as_ref().map_or(0, |t| t.bytes);
    Round { bytes: held(&before).saturating_sub(held(&after)), cpu, wall, note }
}

/// Processor time of this process, with all its threads, those that have ended too.
fn cpu_seconds() -> f64 {
    let stat = read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks as f64 / headroom::host::proc::clock_ticks_per_second() as f64
}

/// A control group of this machine.
struct Group {
    name: String,
    path: PathBuf,
}

impl Group {
    fn make(host: &Host) -> Option<Self> {
        let Some((version, root)) = Hierarchies::detect(host).unwrap().memory else {
            eprintln!("SKIPPED: no control groups with the memory controller");
            return None;
        };
        let name = format!("/headroom-bench-{}", std::process::id());
        let path = root.join(name.trim_start_matches('/'));
        if let Err(e) = std::fs::create_dir(&path) {
            eprintln!("SKIPPED: cannot make the control group {}: {e}", path.display());
            return None;
        }
        if version == Version::V1 {
            write(path.join("memory.limit_in_bytes"), (8 * BYTES).to_string()).unwrap();
        }
        Some(Self { name, path })
    }

    fn target(&self) -> Target {
        Target { name: "bench".into(), cgroup: Some(self.name.clone()), ..Target::default() }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..200 {
            if std::fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("cannot remove {}", self.path.display());
    }
}

/// A process with memory that compresses as text does.
struct Holder {
    child: Child,
    marker: String,
}

impl Holder {
    fn start(group: Option<&Group>) -> Self {
        let join = group
            .map_or_else(String::new, |g| format!("echo $$ > '{}'; ", g.path.join("cgroup.procs").display()));
        // It reads one block of this size, and then waits for ever to write it.
        let bytes = BYTES + u64::from(std::process::id() % 4096) * 512;
        let marker = format!("bs={bytes}");
        let script = format!("{join}exec dd {marker} count=1 iflag=fullblock status=none");
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let words = b"give back what is not needed, and take no more than that\n".repeat(4096);
        let mut block = Read::take(Cycle { words: &words, at: 0 }, bytes);
        std::io::copy(&mut block, &mut child.stdin.take().unwrap()).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        Self { child, marker }
    }
}

/// The same words again and again.
struct Cycle<'a> {
    words: &'a [u8],
    at: usize,
}

impl Read for Cycle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let part = &self.words[self.at..];
        let count = part.len().min(buffer.len());
        buffer[..count].copy_from_slice(&part[..count]);
        self.at = (self.at + count) % self.words.len();
        Ok(count)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The compressor of the swap that this machine has of its own, if that is one on zram.
fn own_zram() -> Option<String> {
    let swaps = read_to_string("/proc/swaps").ok()?;
    let [device] = swaps.lines().skip(1).collect::<Vec<_>>()[..] else { return None };
    let name = device.split_ascii_whitespace().next()?.strip_prefix("/dev/")?;
    let all = read_to_string(format!("/sys/block/{name}/comp_algorithm")).ok()?;
    Some(all.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// The machine's only swap, made and taken away by the action that does so.
struct Swap {
    plan: Value,
    hand: Hand,
}

impl Swap {
    fn make(host: &Host) -> Result<Self, String> {
        let action = find("swap_on_zram").unwrap();
        let target = Target::default();
        let observer = Observer::new(host.clone(), Grouping::default());
        let before = observer
            .observe(&target, &[], jiff::Timestamp::now().as_millisecond())
            .map_err(|e| e.to_string())?;
        // Room for what is moved and for the fifth that is left to others.
        let ratio = (2 * BYTES) as f64 / before.machine.total_bytes as f64;
        let with = json!({"size_ratio": ratio, "algorithm": "lz4"});
        let history = History::default();
        let scene = Scene {
            target: &target,
            members: &[],
            before: &before,
            want_bytes: 0,
            with: &with,
            labels: &std::collections::BTreeMap::new(),
            history: &history,
        };
        let plan = action.plan(&scene).map_err(|e| e.0)?.intent;
        action.permit(&plan, host).map_err(|e| e.0)?;
        let mut hand = Hand::new(host.clone());
        let never = || None;
        action
            .execute(&plan, &target, &mut hand, &Watch::new(Duration::from_secs(10), &never))
            .map_err(|e| e.to_string())?;
        Ok(Self { plan, hand })
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        match find("swap_on_zram").unwrap().undo(&self.plan, &mut self.hand) {
            Ok(_) => {}
            Err(e) => eprintln!("the swap is left: {e}"),
        }
    }
}
