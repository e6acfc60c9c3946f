//! What it takes to receive StatsD: lines a second of one core, and memory, over UDP and over a Unix datagram socket.
//!
//! `cargo bench --bench statsd -- [SECONDS]`: so long a round, 3 without an argument. `headroom exporter` is a process of its own;
//! its CPU time is the kernel's account of each of its threads (schedstat), so that neither the sender nor other work counts. A
//! line is what the receiver says that it read: what is too much, the kernel drops. Lines are four counters, four timers and two
//! gauges of each ten, of 2,000 series, with two tags (DogStatsD) where the receiver knows tags; 20 lines a datagram.
//!
//! Beside it, where they are installed: statsd_exporter (from PATH), and StatsD itself
//! (`npm install --prefix target/statsd statsd@0.9.0`), which knows no tags: they are a part of its names.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    reason = "a program for people"
)]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
/// The aims are those of OTLP: lines a second of one core, and MiB.
const LINES_MIN: f64 = 100_000.0;
const RESIDENT_MAX: f64 = 64.0;
const DATAGRAMS: usize = 1000;
const LINES: usize = 20;

fn main() -> ExitCode {
    let seconds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(3);
    let length = Duration::from_secs(seconds);
    let dir = tempfile::tempdir().unwrap();
    let mut good = true;
    for unix in [false, true] {
        let server = headroom(dir.path());
        let socket = if unix { Way::unix(&dir.path().join("statsd.sock")) } else { Way::udp(server.statsd) };
        let name = if unix { "Headroom, Unix datagrams" } else { "Headroom, UDP" };
        let (rate, resident) = measure(name, &server, &socket, (&datagrams(true), length));
        good &= rate >= LINES_MIN && resident <= RESIDENT_MAX;
    }
    for (name, other, tags) in
        [("statsd_exporter, UDP", statsd_exporter(), true), ("StatsD, UDP", statsd(dir.path()), false)]
    {
        match other {
            Some(server) => {
                measure(name, &server, &Way::udp(server.statsd), (&datagrams(tags), length));
            }
            None => println!("{name}: SKIPPED, it is not installed"),
        }
    }
    println!(
        "aim: {LINES_MIN} lines a second below {RESIDENT_MAX} MiB: {}",
        if good { "met" } else { "missed" }
    );
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Lines a second of one core, the median of the rounds; and the most that was resident, in MiB.
fn measure(name: &str, server: &Server, way: &Way, (all, length): (&[Vec<u8>], Duration)) -> (f64, f64) {
    way.send(all, Duration::from_millis(500));
    let mut sent = 0;
    let begin = server.settled();
    let mut rates: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let (lines, cpu) = (server.settled(), server.cpu_seconds());
            sent += way.send(all, length);
            (server.settled() - lines) / (server.cpu_seconds() - cpu)
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    let read = (server.settled() - begin) / sent as f64;
    let (median, resident) = (rates.get(ROUNDS / 2).copied().unwrap(), server.resident_mib());
    println!(
        "{name}: {median:.0} lines a second of one core ({:.0} to {:.0}), {resident:.1} MiB resident at most; {:.0} % of what was sent was read",
        rates.first().unwrap(),
        rates.last().unwrap(),
        read * 100.0
    );
    (median, resident)
}

/// A receiver, and how it says what it read.
struct Server {
    child: Child,
    statsd: SocketAddr,
    lines: Box<dyn Fn() -> Option<f64>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Server {
    /// Starts it, and waits until it answers.
    fn start(command: &mut Command, statsd: SocketAddr, lines: impl Fn() -> Option<f64> + 'static) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { child, statsd, lines: Box::new(lines) };
        let deadline = Instant::now() + Duration::from_secs(30);
        while (server.lines)().is_none() {
            assert!(Instant::now() < deadline, "it does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Lines that it read, once it reads no more.
    fn settled(&self) -> f64 {
        let mut last = -1.0;
        loop {
            let lines = (self.lines)().unwrap();
            if lines <= last {
                return lines;
            }
            last = lines;
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    fn cpu_seconds(&self) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanos = |path: PathBuf| {
            let text = std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0)
        };
        tasks.flatten().map(|task| nanos(task.path())).sum::<f64>() / 1e9
    }

    fn resident_mib(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn headroom(dir: &Path) -> Server {
    let (statsd, page, file) = (free(), free(), dir.join("headroom.yaml"));
    let text = format!(
        "exporter: {{listen: '{page}', collectors: {{disable_defaults: true}}}}\n\
         applications: {{statsd: {{udp: '{statsd}', unix: statsd.sock}}}}\n"
    );
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_headroom"));
    command.arg("exporter").arg("--config").arg(&file);
    Server::start(&mut command, statsd, move || sample(page, "headroom_statsd_lines_total "))
}

fn statsd_exporter() -> Option<Server> {
    let path = std::env::var_os("PATH")?;
    let names = ["statsd_exporter", "prometheus-statsd-exporter"];
    let program = std::env::split_paths(&path).flat_map(|dir| names.map(|name| dir.join(name)));
    let program = program.into_iter().find(|program| program.is_file())?;
    let (statsd, page) = (free(), free());
    let mut command = Command::new(program);
    command.arg(format!("--web.listen-address={page}")).arg(format!("--statsd.listen-udp={statsd}"));
    command.arg("--statsd.listen-tcp=");
    Some(Server::start(&mut command, statsd, move || sample(page, "statsd_exporter_lines_total ")))
}

/// StatsD itself, with an interval so long that its counters are never emptied.
fn statsd(dir: &Path) -> Option<Server> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/statsd/node_modules/statsd/stats.js");
    let (statsd, told, file) = (free(), free(), dir.join("statsd.js"));
    let text = format!(
        "{{address: '127.0.0.1', port: {}, mgmt_address: '127.0.0.1', mgmt_port: {}, flushInterval: 1000000, backends: []}}",
        statsd.port(),
        told.port()
    );
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new("node");
    command.arg(&program).arg(&file);
    let lines = move || {
        let mut stream = BufReader::new(TcpStream::connect(told).ok()?);
        stream.get_mut().write_all(b"counters\n").ok()?;
        let (mut line, mut found) = (String::new(), 0.0);
        while stream.read_line(&mut line).ok()? > 0 && !line.contains("END") {
            if let Some((_, number)) = line.split_once("metrics_received': ") {
                found = number.trim().trim_end_matches([',', '}', ' ']).parse().ok()?;
            }
            line.clear();
        }
        Some(found)
    };
    program.is_file().then(|| Server::start(&mut command, statsd, lines))
}

/// A sample of a page.
fn sample(page: SocketAddr, series: &str) -> Option<f64> {
    let mut stream = TcpStream::connect(page).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

/// How datagrams are sent.
enum Way {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Way {
    fn udp(to: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(to).unwrap();
        Self::Udp(socket)
    }

    fn unix(to: &Path) -> Self {
        let socket = UnixDatagram::unbound().unwrap();
        socket.connect(to).unwrap();
        Self::Unix(socket)
    }

    /// Sends for so long; how many lines that were.
    fn send(&self, all: &[Vec<u8>], length: Duration) -> usize {
        let (begin, mut lines) = (Instant::now(), 0);
        while begin.elapsed() < length {
            for datagram in all {
                // UDP loses what is too much; a Unix socket lets the sender wait.
                let sent = match self {
                    Self::Udp(socket) => socket.send(datagram),
                    Self::Unix(socket) => socket.send(datagram),
                };
                lines += if sent.is_ok() { LINES } else { 0 };
            }
        }
        lines
    }
}

fn datagrams(tags: bool) -> Vec<Vec<u8>> {
    let line = |which: usize| {
        let series = which % 2000;
        let (route, method) = (series / 10, ["get", "post"].get(series % 2).unwrap());
        let (kind, value) = match series % 10 {
            0..4 => ("requests", "1|c".to_owned()),
            4..8 => ("duration", format!("{}|ms", which % 300)),
            _ => ("depth", format!("{}|g", which % 50)),
        };
        if tags {
            format!("shop.{kind}:{value}|#route:r{route},method:{method}")
        } else {
            format!("shop.{kind}.r{route}.{method}:{value}")
        }
    };
    let datagram = |number: usize| {
        let mut text = String::new();
        for at in 0..LINES {
            writeln!(text, "{}", line(number * LINES + at)).unwrap();
        }
        text.into_bytes()
    };
    (0..DATAGRAMS).map(datagram).collect()
}
