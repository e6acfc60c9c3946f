//! What a scrape of many processes costs: `headroom exporter` and process-exporter in turns, and the floor beside them.
//!
//! `cargo bench --bench processes -- [PROCESSES] [ROUNDS]`: starts that many idle processes in 50 groups. CPU time is the
//! kernel's own account of each thread (schedstat); the median of the rounds counts.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a program for people"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const GROUPS: usize = 50;
/// What the budget for mappings saves up at most; after such a pause a pass spends all of it, as in service.
const PAUSE: Duration = Duration::from_millis(2100);
/// The aims: CPU against process-exporter without and with memory in proportion, and against the floor.
const PLAIN_MAX: f64 = 1.0 / 12.0;
const FLOOR_MAX: f64 = 1.5;
const MEMORY_MAX: f64 = 1.0 / 18.0;
/// Which files the values of the page stand in; `fd` is only looked at.
const FILES: [&str; 5] = ["stat", "status", "io", "limits", "wchan"];

/// Processes of this program, ended with it.
struct Started(Vec<Child>);

impl Drop for Started {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|child| _ = child.kill());
        self.0.iter_mut().for_each(|child| _ = child.wait());
    }
}

struct Server {
    name: &'static str,
    process: Started,
    address: SocketAddr,
    millis: Vec<f64>,
    page: String,
}

impl Server {
    fn start(name: &'static str, command: &mut Command, address: SocketAddr) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = Started(vec![child.unwrap_or_else(|e| panic!("cannot start {name}: {e}"))]);
        let deadline = Instant::now() + Duration::from_mins(1);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "{name} does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut server = Self { name, process, address, millis: Vec::new(), page: String::new() };
        (0..3).for_each(|_| server.scrape());
        server
    }

    fn scrape(&mut self) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        self.page.clear();
        stream.read_to_string(&mut self.page).unwrap();
    }

    fn round(&mut self) {
        let before = self.cpu_millis();
        self.scrape();
        // What a scrape leaves to do (garbage collection) belongs to it.
        std::thread::sleep(Duration::from_millis(100));
        let after = self.cpu_millis();
        self.millis.push(after - before);
    }

    fn cpu_millis(&self) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.0[0].id())).unwrap();
        tasks.flatten().map(|t| ran_millis(&t.path().join("schedstat"))).sum()
    }

    fn print(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.0[0].id())).unwrap();
        let kib = |name: &str| -> f64 {
            let line = text.lines().find(|l| l.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let private = (kib("Private_Clean:") + kib("Private_Dirty:")) / 1024.0;
        let series = self.page.lines().filter(|l| l.starts_with("namedprocess_")).count();
        print(self.name, median(&self.millis));
        println!("    {private:.1} MiB private, {series} series of process-exporter's names");
        median(&self.millis)
    }
}

fn ran_millis(schedstat: &Path) -> f64 {
    let text = std::fs::read_to_string(schedstat).unwrap_or_default();
    text.split(' ').next().and_then(|w| w.parse::<f64>().ok()).unwrap_or(0.0) / 1e6
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn print(what: &str, millis: f64) {
    println!("{what:<64} {millis:>9.2}");
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Starts idle processes that bear the names of `GROUPS` programs.
fn processes(count: usize, dir: &Path) -> Started {
    let names: Vec<PathBuf> = (0..GROUPS).map(|i| dir.join(format!("idle{i}"))).collect();
    for name in &names {
        std::os::unix::fs::symlink("/bin/sleep", name).unwrap();
    }
    let start = |i: usize| Command::new(&names[i % GROUPS]).arg("3600").stdin(Stdio::null()).spawn().unwrap();
    let started = Started((0..count).map(start).collect());
    std::thread::sleep(Duration::from_secs(1));
    started
}

/// What it costs this program to open, read and close `files` of all processes once.
fn floor(pids: &[u32], files: &[&str], and_fd: bool) -> f64 {
    let mut buffer = vec![0; 8192];
    let before = ran_millis(Path::new("/proc/thread-self/schedstat"));
    for pid in pids {
        for file in files {
            let mut file = std::fs::File::open(format!("/proc/{pid}/{file}")).unwrap();
            let _length = file.read(&mut buffer).unwrap();
        }
        if and_fd {
            let _about = std::fs::metadata(format!("/proc/{pid}/fd")).unwrap();
        }
    }
    ran_millis(Path::new("/proc/thread-self/schedstat")) - before
}

fn headroom(name: &'static str, dir: &Path, options: &str) -> Server {
    let address = free_address();
    let config = dir.join(format!("{}.yaml", address.port()));
    let names = dir.join("names.yaml");
    let text = format!(
        "exporter:\n  listen: '{address}'\n  collectors:\n    disable_defaults: true\n    enabled: [process_groups]\n    \
         process_groups: {{config_file: '{}', threads: false, {options}}}\n",
        names.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_headroom"));
    Server::start(name, command.args(["exporter", "--config"]).arg(config), address)
}

fn process_exporter(program: &Path, name: &'static str, dir: &Path, smaps: bool) -> Server {
    let address = free_address();
    let mut command = Command::new(program);
    command.arg(format!("-config.path={}", dir.join("names.yaml").display()));
    command.args([format!("-web.listen-address={address}"), format!("-gather-smaps={smaps}")]);
    Server::start(name, command.arg("-threads=false"), address)
}

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).filter_map(|a| a.parse::<usize>().ok());
    let (count, rounds) = (numbers.next().unwrap_or(2000), numbers.next().unwrap_or(9));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["prometheus-process-exporter", "process-exporter"];
    let Some(program) = headroom::stack::supervise::find(&names, &path) else {
        eprintln!(
            "process-exporter is not installed (Debian, Ubuntu: apt-get install prometheus-process-exporter)"
        );
        return ExitCode::from(2);
    };
    let dir = std::env::temp_dir().join(format!("headroom-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("names.yaml"), "process_names: [{name: '{{.Comm}}', cmdline: ['.+']}]\n")
        .unwrap();
    let started = processes(count, &dir);
    let pids: Vec<u32> = started.0.iter().map(Child::id).collect();
    println!(
        "{:<64} {:>9}",
        format!("{count} idle processes in {GROUPS} groups, CPU per scrape, median"),
        "ms"
    );

    let mut plain = [
        process_exporter(&program, "process-exporter without smaps and threads", &dir, false),
        headroom("headroom, the same", &dir, "gather_smaps: false"),
    ];
    let (mut whole, mut stat) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        plain.iter_mut().for_each(Server::round);
        whole.push(floor(&pids, &FILES, true));
        stat.push(floor(&pids, &["stat"], false));
    }
    let [theirs, ours] = plain.each_ref().map(Server::print);
    drop(plain);
    let (whole, stat) = (median(&whole), median(&stat));
    print("the floor: stat, status, io, limits, wchan and fd of each, once", whole);
    print("stat alone", stat);
    let mut memory = [
        process_exporter(&program, "process-exporter with smaps, without threads", &dir, true),
        headroom(
            "headroom with memory by class, its whole budget in each scrape",
            &dir,
            "gather_smaps: true",
        ),
    ];
    for _ in 0..rounds {
        std::thread::sleep(PAUSE);
        memory.iter_mut().for_each(Server::round);
    }
    let [their_memory, our_memory] = memory.each_ref().map(Server::print);
    drop(memory);
    drop(started);
    let _left = std::fs::remove_dir_all(&dir);

    let mut missed = false;
    for (what, ratio, max) in [
        ("of process-exporter's CPU", ours / theirs, PLAIN_MAX),
        ("of the floor", ours / whole, FLOOR_MAX),
        ("of process-exporter's CPU, with memory in proportion", our_memory / their_memory, MEMORY_MAX),
    ] {
        missed |= ratio > max;
        println!("{ratio:.4} {what} (aim: at most {max:.4}): {}", if ratio > max { "MISSED" } else { "met" });
    }
    println!("{:.2} of reading `stat` of each once", ours / stat);
    ExitCode::from(u8::from(missed))
}
