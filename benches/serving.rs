//! What serving takes: memory after many scrapes, the time from start to the first page, and scrapes per second;
//! `headroom exporter` and node_exporter with their defaults, in one run.
//!
//! `cargo bench --bench serving -- [SCRAPES]`: so many scrapes for memory, 10,000 without an argument. Scrapes ask for gzip,
//! as Prometheus does. One process of a program at a time: a second one would share its pages and make both look smaller.
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

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const STARTS: usize = 15;
const CONNECTIONS: usize = 4;
const BUSY: Duration = Duration::from_secs(5);
/// The aims, in MiB, milliseconds, and times what node_exporter serves.
const PRIVATE_MAX: f64 = 4.0;
const RSS_MAX: f64 = 9.0;
const START_MAX: f64 = 15.0;
const RATE_MIN: f64 = 15.0;
/// What counts as no growth: pages of code come and go with what a pass happens to need.
const GROWTH_MAX: f64 = 0.25;
/// Collectors that both have and both enable by default.
const SHARED: &str = "cpu, meminfo, vmstat, loadavg, stat, diskstats, filesystem, netdev, pressure, filefd, uname, os, time, textfile";

/// How to start a program on an address.
struct Program {
    name: &'static str,
    start: Box<dyn Fn(SocketAddr) -> Command>,
}

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Program {
    fn start(&self) -> Server {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = (self.start)(address);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Server { child: command.spawn().unwrap_or_else(|e| panic!("{}: {e}", self.name)), address }
    }
}

/// A kept connection.
struct Connection(BufReader<TcpStream>, Vec<u8>);

impl Connection {
    /// Connects as soon as the server listens.
    fn to(server: &Server) -> Self {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match TcpStream::connect(server.address) {
                Ok(stream) => {
                    stream.set_nodelay(true).unwrap();
                    return Self(BufReader::with_capacity(256 << 10, stream), Vec::new());
                }
                Err(e) => assert!(Instant::now() < deadline, "no answer: {e}"),
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Reads the page whole and returns its length.
    fn scrape(&mut self) -> io::Result<usize> {
        self.0.get_mut().write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")?;
        let (mut line, mut length) = (String::new(), None);
        self.0.read_line(&mut line)?;
        assert!(line.starts_with("HTTP/1.1 200 "), "{line}");
        while line != "\r\n" {
            line.clear();
            self.0.read_line(&mut line)?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse::<usize>().ok();
            }
        }
        if let Some(length) = length {
            return self.take(length);
        }
        let mut all = 0;
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            let chunk = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            self.take(chunk + 2)?;
            all += chunk;
            if chunk == 0 {
                return Ok(all);
            }
        }
    }

    fn take(&mut self, length: usize) -> io::Result<usize> {
        self.1.resize(length, 0);
        self.0.read_exact(&mut self.1)?;
        Ok(length)
    }
}

/// Private and resident memory in MiB.
#[derive(Clone, Copy)]
struct Memory {
    private: f64,
    rss: f64,
}

impl Memory {
    fn of(server: &Server) -> Self {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", server.child.id())).unwrap();
        let mib = |name: &str| -> f64 {
            let line = text.lines().find(|l| l.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
        };
        Self { private: mib("Private_Clean:") + mib("Private_Dirty:"), rss: mib("Rss:") }
    }
}

/// Memory after a tenth of the scrapes and after all of them, one after the other.
fn memory(program: &Program, scrapes: usize) -> [Memory; 2] {
    let server = program.start();
    let mut connection = Connection::to(&server);
    let mut bytes = 0;
    let [early, late] = [scrapes / 10, scrapes - scrapes / 10].map(|count| {
        (0..count).for_each(|_| bytes = connection.scrape().unwrap());
        Memory::of(&server)
    });
    println!(
        "{:<44} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {bytes:>10}",
        program.name, early.private, late.private, early.rss, late.rss
    );
    [early, late]
}

/// Milliseconds from start to the end of the first page.
fn start(program: &Program) -> f64 {
    let begun = Instant::now();
    let server = program.start();
    Connection::to(&server).scrape().unwrap();
    begun.elapsed().as_secs_f64() * 1000.0
}

/// Scrapes per second over some kept connections.
fn rate(program: &Program) -> f64 {
    let server = program.start();
    Connection::to(&server).scrape().unwrap();
    let end = Instant::now() + BUSY;
    let client = |mut connection: Connection| {
        let mut count = 0_u32;
        while Instant::now() < end {
            connection.scrape().unwrap();
            count += 1;
        }
        f64::from(count)
    };
    let all: f64 = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| Connection::to(&server)).collect();
        let threads: Vec<_> = clients.into_iter().map(|c| scope.spawn(|| client(c))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    all / BUSY.as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn headroom(name: &'static str, dir: &Path, options: &'static str) -> Program {
    let dir = dir.to_owned();
    let start = move |address: SocketAddr| {
        let config = dir.join(format!("{}.yaml", address.port()));
        std::fs::write(&config, format!("exporter: {{listen: '{address}'{options}}}\n")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_headroom"));
        command.args(["exporter", "--config"]).arg(config);
        command
    };
    Program { name, start: Box::new(start) }
}

fn node_exporter(program: PathBuf) -> Program {
    let start = move |address: SocketAddr| {
        let mut command = Command::new(&program);
        command.arg(format!("--web.listen-address={address}"));
        command
    };
    Program { name: "node_exporter", start: Box::new(start) }
}

/// Prints whether an aim is met, and returns it.
fn aim(what: &str, got: f64, met: bool, want: &str) -> bool {
    println!("{what:<58} {got:>9.2}  aim: {want:<14} {}", if met { "met" } else { "MISSED" });
    met
}

fn main() -> ExitCode {
    let scrapes = std::env::args().skip(1).find_map(|a| a.parse::<usize>().ok()).unwrap_or(10_000).max(10);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["prometheus-node-exporter", "node_exporter"];
    let Some(program) = headroom::stack::supervise::find(&names, &path) else {
        eprintln!(
            "node_exporter is not installed (Debian, Ubuntu: apt-get install prometheus-node-exporter)"
        );
        return ExitCode::from(2);
    };
    let dir = std::env::temp_dir().join(format!("headroom-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let node = node_exporter(program);
    let ours = headroom("headroom", &dir, "");
    // Each scrape has a pass of its own: shared ones would be too few.
    let passes = headroom("headroom, its defaults (with all processes)", &dir, ", page_age_max: 0s");
    let shared = format!(", page_age_max: 0s, collectors: {{disable_defaults: true, enabled: [{SHARED}]}}");
    let few = headroom("headroom, the collectors that both have", &dir, shared.leak());

    let tenth = scrapes / 10;
    println!("{:<44} {:^19} {:^19}", "memory in MiB", "private", "RSS");
    println!("{:<44} {tenth:>9} {scrapes:>9} {tenth:>9} {scrapes:>9} {:>10}", "after scrapes", "page bytes");
    memory(&node, scrapes);
    let small = memory(&few, scrapes);
    let whole = memory(&passes, scrapes);

    let (mut theirs, mut own, mut own_few) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        theirs.push(start(&node));
        own.push(start(&ours));
        own_few.push(start(&few));
    }
    let [their_start, own_start, few_start] = [theirs, own, own_few].map(median);
    println!("{:<44} {:>9} {:>9}", "with defaults", "node_exp.", "headroom");
    println!("{:<44} {their_start:>9.1} {own_start:>9.1}", "start to first page, ms, median");
    println!("{:<44} {:>9} {few_start:>9.1}", "the same, the collectors that both have", "");
    let rates = [&node, &passes, &ours].map(rate);
    let what = format!("scrapes/s on {CONNECTIONS} connections, each its own pass");
    println!("{what:<44} {:>9.0} {:>9.0}", rates[0], rates[1]);
    println!("{:<44} {:>9} {:>9.0}", "the same, passes shared (page_age_max: 10ms)", "", rates[2]);
    let _left = std::fs::remove_dir_all(&dir);

    let mut met = true;
    for (name, [early, late]) in [("the collectors that both have", small), ("defaults", whole)] {
        let growth = late.private - early.private;
        let (private, rss) = (late.private, late.rss);
        met &= aim(&format!("private MiB, {name}"), private, private <= PRIVATE_MAX, "at most 4");
        met &= aim(&format!("RSS in MiB, {name}"), rss, rss <= RSS_MAX, "at most 9");
        met &= aim(&format!("growth in MiB, {name}"), growth, growth <= GROWTH_MAX, "at most 0.25");
    }
    for (what, millis) in [
        ("start to first page, ms, the collectors that both have", few_start),
        ("start to first page, ms, defaults", own_start),
    ] {
        met &= aim(what, millis, millis <= START_MAX, "at most 15");
    }
    let times = rates[2] / rates[0];
    met &= aim("times the scrapes of node_exporter", times, times >= RATE_MIN, "at least 15");
    ExitCode::from(u8::from(!met))
}
