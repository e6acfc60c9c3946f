//! From a stall to the first action: a group that runs into its limit, `headroom optimizer` beside it, and the hook that it
//! calls. And what watching costs while all is calm.
//!
//! `cargo bench --bench reaction -- [ROUNDS]`. A round: the group fills gradually, as with a leak, and then at once, until its
//! tasks wait for memory; from the first wait, seen by reading the group's total each half millisecond, to the hook's first byte. Then the
//! same without any notice: a group far from its limit fills at once. The first wait may be of microseconds, long before there is
//! a stall; so the second line counts from the moment at which a window held as much as the rule calls one. Then where the time
//! went, as the optimizer tells it. CPU is the kernel's own account of each thread (schedstat). Needs root and control groups.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a program for people"
)]

use headroom::host::Host;
use headroom::host::cgroup::{Hierarchies, Version};
use headroom::host::stall::{Kind, Stalls};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const LIMIT_MIB: u64 = 48;
const FILE_MIB: u64 = 160;
const READERS: u64 = 16;
/// The rule: so much stall in a window, and what must be quiet before the next.
const RULE: &str = "stall: 10ms, window: 200ms, calm: 1s";
const STALL: Duration = Duration::from_millis(10);
const WINDOW: Duration = Duration::from_millis(200);
/// Longer than it takes to be looked at slowly again.
const REST: Duration = Duration::from_millis(6500);
const CALM: Duration = Duration::from_secs(30);
/// The aims: milliseconds from stall to action, share of one core, memory that is this process's alone.
const MEDIAN_MAX: f64 = 100.0;
const P99_MAX: f64 = 200.0;
const CORE_MAX: f64 = 0.001;
const PRIVATE_MIB_MAX: f64 = 8.0;

/// A process that ends with this program.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Control groups that go with this program.
struct Groups {
    name: String,
    directories: Vec<PathBuf>,
}

impl Groups {
    fn make() -> Option<Self> {
        let hierarchies = Hierarchies::detect(&Host::default()).ok()?;
        let (version, root) = hierarchies.memory?;
        let name = format!("headroom-bench-{}", std::process::id());
        let mut directories = vec![root.join(&name)];
        if version == Version::V1 {
            directories.push(hierarchies.unified?.join(&name));
        }
        for directory in &directories {
            fs::create_dir(directory).ok()?;
        }
        let limit = if version == Version::V1 { "memory.limit_in_bytes" } else { "memory.max" };
        fs::write(directories[0].join(limit), (LIMIT_MIB << 20).to_string()).ok()?;
        Some(Self { name: format!("/{name}"), directories })
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for directory in &self.directories {
            let begun = Instant::now();
            while fs::remove_dir(directory).is_err() && begun.elapsed() < Duration::from_secs(5) {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

/// In the group: fills it with a file's pages on a word from its input, until the next.
fn worker(file: &Path) {
    let file = Arc::new(File::open(file).unwrap());
    let mut lines = std::io::stdin().lines();
    while let Some(Ok(word)) = lines.next() {
        let go_on = Arc::new(AtomicBool::new(true));
        if word == "leak" {
            // Towards the limit in some seconds; nobody waits yet.
            for part in 0..LIMIT_MIB * 2 * 9 / 10 {
                let mut buffer = vec![0; 512 << 10];
                file.read_exact_at(&mut buffer, part * (512 << 10)).unwrap();
                std::thread::sleep(Duration::from_millis(30));
            }
        }
        let readers: Vec<_> = (0..READERS)
            .map(|n| {
                let (go_on, file) = (Arc::clone(&go_on), Arc::clone(&file));
                std::thread::spawn(move || read_on(&file, n, &go_on))
            })
            .collect();
        _ = lines.next();
        go_on.store(false, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
        rustix::fs::fadvise(file.as_fd(), 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
}

fn read_on(file: &File, n: u64, go_on: &AtomicBool) {
    let mut buffer = vec![0; 128 << 10];
    let mut at = n * (FILE_MIB << 20) / READERS;
    while go_on.load(Ordering::Relaxed) {
        file.read_exact_at(&mut buffer, at).unwrap();
        at = (at + (128 << 10)) % (FILE_MIB << 20);
    }
}

/// The application's hook: when each call came.
fn hook() -> (SocketAddr, Receiver<Instant>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (calls, called) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _some = stream.read(&mut request).unwrap_or(0);
            if calls.send(Instant::now()).is_err() {
                return;
            }
            let answer = "{\"released_bytes\": 1}";
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
            _ = stream.write_all(format!("{head}{answer}").as_bytes());
        }
    });
    (address, called)
}

fn optimizer(dir: &Path, group: &str, hook: SocketAddr) -> (Started, SocketAddr) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!(
        "state_dir: {0}/state\noptimizer:\n  listen: {address}\n  settle: 100ms\n  guards: {{cooldown: 0s, target_cooldown: 0s, \
         actions_per_hour: 100000, min_gain: 1MiB, breaker: {{tries: 0}}}}\n  pressure:\n    rules:\n    - {{name: bench, cgroup: {group}, {RULE}, \
         target: bench, bytes: 4MiB, ladder: [app_hook]}}\n  targets:\n  - {{name: bench, cgroup: {group}, hook: {{url: \
         'http://{hook}/'}}}}\n",
        dir.display()
    );
    fs::write(dir.join("headroom.yaml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_headroom"));
    command.args(["optimizer", "--config"]).arg(dir.join("headroom.yaml"));
    let log = File::create(dir.join("log")).unwrap();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let started = Started(child);
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the optimizer does not answer");
        std::thread::sleep(Duration::from_millis(20));
    }
    (started, address)
}

/// The time that each thread ran, in milliseconds, by its name.
fn ran_millis(pid: u32) -> Vec<(String, f64)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let one = |path: PathBuf| {
        let name = fs::read_to_string(path.join("comm")).ok()?.trim().to_owned();
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        Some((name, text.split(' ').next()?.parse::<f64>().ok()? / 1e6))
    };
    tasks.filter_map(|t| one(t.path())).collect()
}

fn private_mib(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let kib = |name: &str| -> f64 {
        let line = text.lines().find(|l| l.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (kib("Private_Clean:") + kib("Private_Dirty:")) / 1024.0
}

struct Bench {
    stalls: Stalls,
    called: Receiver<Instant>,
    words: ChildStdin,
}

impl Bench {
    /// One stall; milliseconds from its first wait to the hook's call, and from when there was as much as the rule wants.
    fn round(&mut self, word: &str) -> Option<(f64, f64)> {
        while self.called.try_recv().is_ok() {}
        let before = self.stalls.read().unwrap();
        let mut window = VecDeque::from([(Instant::now(), before)]);
        writeln!(self.words, "{word}").unwrap();
        let (begun, mut onset, mut enough) = (Instant::now(), None, None);
        let call = loop {
            let (now, total) = (Instant::now(), self.stalls.read().unwrap());
            window.push_back((now, total));
            // One that is a window old, or older, is what the rest is compared with.
            while window.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
                window.pop_front();
            }
            onset = onset.or_else(|| (total > before).then_some(now));
            enough = enough.or_else(|| (total.saturating_sub(window[0].1) >= STALL).then_some(now));
            if let Ok(call) = self.called.recv_timeout(Duration::from_micros(500)) {
                break Some(call);
            }
            if begun.elapsed() > Duration::from_secs(20) {
                break None;
            }
        };
        writeln!(self.words, "stop").unwrap();
        std::thread::sleep(REST);
        let since = |then: Instant| call.map(|call| call.duration_since(then).as_secs_f64() * 1e3);
        Some((since(onset?)?, since(enough?)?))
    }

    fn rounds(&mut self, what: &str, word: &str, count: usize) -> (f64, f64) {
        let (mut millis, mut own): (Vec<f64>, Vec<f64>) = (0..count).filter_map(|_| self.round(word)).unzip();
        assert!(
            millis.len() * 10 >= count * 9,
            "{what}: only {} of {count} stalls led to an action",
            millis.len()
        );
        let [first, own] = [&mut millis, &mut own].map(|list| {
            list.sort_by(f64::total_cmp);
            let at = |share: f64| list[((list.len() - 1) as f64 * share).round() as usize];
            (at(0.5), at(0.99))
        });
        println!("{what:<58} {:>8.1} {:>8.1}   ({} stalls)", first.0, first.1, millis.len());
        println!("{:<58} {:>8.1} {:>8.1}", "    of which since a window held the rule's stall", own.0, own.1);
        own
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next().unwrap_or_default();
    if first == "worker" {
        worker(Path::new(&arguments.next().unwrap()));
        return ExitCode::SUCCESS;
    }
    let rounds = first.parse().unwrap_or(30);
    let Some(groups) = Groups::make() else {
        eprintln!(
            "no right, or no control groups with the memory controller and with pressure, to make a stall in"
        );
        return ExitCode::from(2);
    };
    let dir = std::env::temp_dir().join(format!("headroom-bench-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let missed = run(rounds, &groups, &dir);
    drop(groups);
    _ = fs::remove_dir_all(&dir);
    ExitCode::from(u8::from(missed))
}

fn run(rounds: usize, groups: &Groups, dir: &Path) -> bool {
    let file = dir.join("file");
    let mut out = File::create(&file).unwrap();
    (0..FILE_MIB).for_each(|_| out.write_all(&vec![7; 1 << 20]).unwrap());
    out.sync_all().unwrap();
    rustix::fs::fadvise(out.as_fd(), 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let (address, called) = hook();
    let (server, _) = optimizer(dir, &groups.name, address);
    let pid = server.0.id();

    std::thread::sleep(Duration::from_secs(3));
    let before = ran_millis(pid);
    std::thread::sleep(CALM);
    let cost = |(name, millis): &(String, f64)| {
        let was = before.iter().find(|(n, _)| n == name).map_or(0.0, |(_, m)| *m);
        (name.clone(), (millis - was) / 1e3 / CALM.as_secs_f64())
    };
    let shares: Vec<(String, f64)> = ran_millis(pid).iter().map(cost).collect();
    let share = |name: &str| shares.iter().filter(|(n, _)| n == name).map(|(_, s)| s).sum::<f64>();
    let (watching, all) = (share("pressure"), shares.iter().map(|(_, s)| s).sum::<f64>());
    let private = private_mib(pid);

    let join = groups.directories.iter().map(|d| format!("echo $$ > {}/cgroup.procs; ", d.display()));
    let me = std::env::current_exe().unwrap();
    let script = format!("{} exec {} worker {}", join.collect::<String>(), me.display(), file.display());
    let mut child = Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
    let words = child.stdin.take().unwrap();
    let _worker = Started(child);
    let stalls = Stalls::new(&Host::default(), Some(&groups.name), Kind::Some);
    let mut bench = Bench { stalls, called, words };
    println!(
        "{:<58} {:>8} {:>8}",
        format!("from the first wait to the action ({RULE}), ms"),
        "median",
        "p99"
    );
    let slow = bench.rounds("a group that runs into its limit", "leak", rounds);
    // No aim: while there is room it is looked at each 250 ms.
    let _blunt = bench.rounds("a group that is far from it, and there at once", "burst", rounds / 2);
    print_phases(&dir.join("log"));
    println!("synced writes of this disk: {:.1} ms (one stands before each action)", sync_millis(dir));
    println!(
        "while calm: polling {:.3} %, the whole process {:.3} % of one core",
        watching * 100.0,
        all * 100.0
    );
    let errors = BufReader::new(File::open(dir.join("log")).unwrap()).lines().map_while(Result::ok);
    errors.filter(|l| l.contains("ERROR")).for_each(|l| eprintln!("{l}"));
    print_server(pid);
    let mut missed = false;
    for (what, value, max) in [
        ("ms from the stall at the median", slow.0, MEDIAN_MAX),
        ("ms from the stall at p99", slow.1, P99_MAX),
        ("of one core for watching, while calm", watching, CORE_MAX),
        ("MiB private, while calm", private, PRIVATE_MIB_MAX),
    ] {
        missed |= value > max;
        println!("{value:.4} {what} (aim: at most {max}): {}", if value > max { "MISSED" } else { "met" });
    }
    missed
}

/// Where the time went between the stall, as the optimizer saw it, and the synced intent: of each phase, and of all.
fn print_phases(log: &Path) {
    let mut phases: Vec<(String, Vec<f64>)> = Vec::new();
    let lines = BufReader::new(File::open(log).unwrap()).lines().map_while(Result::ok);
    for line in lines.filter(|line| line.contains("phases=")) {
        let parts = line.split(['"', ' ']).filter_map(|word| {
            let (name, millis) = word.trim_start_matches("phases=").split_once('=')?;
            Some((name.to_owned(), millis.parse::<f64>().ok()?))
        });
        for (name, millis) in parts.filter(|(name, _)| name != "run") {
            match phases.iter_mut().find(|(n, _)| *n == name) {
                Some((_, all)) => all.push(millis),
                None => phases.push((name, vec![millis])),
            }
        }
    }
    println!(
        "{:<58} {:>8} {:>8} {:>8}",
        "where it went, as the optimizer tells, ms", "median", "p99", "most"
    );
    for (name, mut all) in phases {
        all.sort_by(f64::total_cmp);
        let at = |share: f64| all[((all.len() - 1) as f64 * share).round() as usize];
        let name = if name == "millis" { "all" } else { &name };
        println!("    {name:<54} {:>8.1} {:>8.1} {:>8.1}", at(0.5), at(0.99), at(1.0));
    }
}

/// What is the process's own memory made of.
fn print_server(pid: u32) {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let lines =
        text.lines().filter(|l| ["VmLck", "RssAnon", "RssFile", "Threads"].iter().any(|n| l.starts_with(n)));
    println!("{}", lines.collect::<Vec<_>>().join(", ").replace('\t', " "));
}

fn sync_millis(dir: &Path) -> f64 {
    let file = File::create(dir.join("sync")).unwrap();
    let mut millis: Vec<f64> = (0..50)
        .map(|_| {
            let begun = Instant::now();
            file.write_all_at(&[1; 4096], 0).unwrap();
            file.sync_data().unwrap();
            begun.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    millis.sort_by(f64::total_cmp);
    millis[millis.len() / 2]
}
