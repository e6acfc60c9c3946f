//! What a scrape costs: `headroom exporter` and node_exporter side by side, on this machine, in turns.
//!
//! CPU time is the kernel's own account of each thread (`/proc/PID/task/*/schedstat`, nanoseconds), so that neither
//! this program nor other work on the machine is counted. Both are asked in turns, over a kept connection, as they are
//! and with gzip as Prometheus asks; the median of the rounds counts.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a program for people"
)]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "as above"
)]

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 15;
const SCRAPES: usize = 20;
const WARM_UP: usize = 20;
/// Collectors that both have and both enable by default.
const SHARED: [&str; 14] = [
    "cpu",
    "meminfo",
    "vmstat",
    "loadavg",
    "stat",
    "diskstats",
    "filesystem",
    "netdev",
    "pressure",
    "filefd",
    "uname",
    "os",
    "time",
    "textfile",
];
/// The aims: CPU of node_exporter for the same collectors, and memory that is this process's alone.
const CPU_RATIO_MAX: f64 = 0.2;
const GZIP_CPU_RATIO_MAX: f64 = 0.1;
const PRIVATE_MIB_MAX: f64 = 6.0;

const PLAIN: &str = "identity";
const GZIP: &str = "gzip";

struct Server {
    name: String,
    child: Child,
    sender: SendRequest<Empty<Bytes>>,
    address: SocketAddr,
    cpu_millis: Vec<f64>,
    latency_millis: Vec<f64>,
    /// What `Accept-Encoding` says.
    coding: &'static str,
    body: Bytes,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Server {
    async fn start(name: String, command: &mut Command, address: SocketAddr, coding: &'static str) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        let deadline = Instant::now() + Duration::from_secs(20);
        let stream = loop {
            match tokio::net::TcpStream::connect(address).await {
                Ok(stream) => break stream,
                Err(e) => assert!(Instant::now() < deadline, "{name} does not answer: {e}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let (cpu_millis, latency_millis) = (Vec::new(), Vec::new());
        Self { name, child, sender, address, cpu_millis, latency_millis, coding, body: Bytes::new() }
    }

    async fn scrape(&mut self) -> f64 {
        let request = Request::get("/metrics")
            .header("host", self.address.to_string())
            .header("accept-encoding", self.coding)
            .body(Empty::new())
            .unwrap();
        let begun = Instant::now();
        let answer = self.sender.send_request(request).await.unwrap();
        self.body = answer.into_body().collect().await.unwrap().to_bytes();
        begun.elapsed().as_secs_f64() * 1000.0
    }

    async fn round(&mut self) {
        let before = self.cpu_nanos();
        for _ in 0..SCRAPES {
            let millis = self.scrape().await;
            self.latency_millis.push(millis);
        }
        // What a scrape leaves to do (garbage collection) belongs to it.
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.cpu_millis.push((self.cpu_nanos() - before) as f64 / 1e6 / SCRAPES as f64);
    }

    fn cpu_nanos(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanos = |path: PathBuf| {
            std::fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok()
        };
        tasks.flatten().filter_map(|t| nanos(t.path())).sum()
    }

    /// Resident and private memory in MiB.
    fn memory(&self) -> (f64, f64) {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id())).unwrap();
        let kib = |name: &str| -> f64 {
            let line = text.lines().find(|l| l.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        (kib("Rss:") / 1024.0, (kib("Private_Clean:") + kib("Private_Dirty:")) / 1024.0)
    }

    fn series(&self) -> usize {
        let mut page = String::new();
        if self.coding == GZIP {
            flate2::read::GzDecoder::new(&self.body[..]).read_to_string(&mut page).unwrap();
        } else {
            page = String::from_utf8(self.body.to_vec()).unwrap();
        }
        page.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).count()
    }

    fn print(&self) {
        let (rss, private) = self.memory();
        let latency = &self.latency_millis;
        println!(
            "{:<44} {:>8.3} {:>9.2} {:>8.2} {:>8.1} {:>9.1} {:>9} {:>7}",
            self.name,
            quantile(&self.cpu_millis, 0.5),
            quantile(latency, 0.5),
            quantile(latency, 0.99),
            rss,
            private,
            self.body.len(),
            self.series()
        );
    }
}

fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * q).round() as usize]
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn headroom(name: &str, collectors: &str, dir: &std::path::Path, coding: &'static str) -> Server {
    let address = free_address();
    let config = dir.join(format!("{}.yaml", address.port()));
    std::fs::write(&config, format!("exporter: {{listen: '{address}', collectors: {{{collectors}}}}}\n"))
        .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_headroom"));
    command.args(["exporter", "--config"]).arg(config);
    Server::start(name.to_owned(), &mut command, address, coding).await
}

async fn node_exporter(program: &PathBuf, name: String, shared_only: bool, coding: &'static str) -> Server {
    let address = free_address();
    let mut command = Command::new(program);
    command.arg(format!("--web.listen-address={address}"));
    if shared_only {
        command.arg("--collector.disable-defaults");
        command.args(SHARED.map(|c| format!("--collector.{c}")));
    }
    Server::start(name, &mut command, address, coding).await
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run())
}

/// Asks both in turns and prints what each costs; returns the ratio of CPU time and the second's private memory. One
/// process of a program at a time: a second one would share its pages and make both look smaller.
async fn compare(first: Server, second: Server) -> (f64, f64) {
    let mut servers = [first, second];
    for server in &mut servers {
        for _ in 0..WARM_UP {
            server.scrape().await;
        }
    }
    for round in 1..=ROUNDS {
        for server in &mut servers {
            server.round().await;
        }
        eprint!("\r{round}/{ROUNDS} rounds of {SCRAPES} scrapes, in turns\r");
    }
    eprint!("{:40}\r", "");
    for server in &servers {
        server.print();
    }
    let [first, second] = &servers;
    (quantile(&second.cpu_millis, 0.5) / quantile(&first.cpu_millis, 0.5), second.memory().1)
}

async fn run() -> ExitCode {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let Some(program) =
        headroom::stack::supervise::find(&["prometheus-node-exporter", "node_exporter"], &path)
    else {
        eprintln!(
            "node_exporter is not installed (Debian, Ubuntu: apt-get install prometheus-node-exporter)"
        );
        return ExitCode::from(2);
    };
    let version = Command::new(&program).arg("--version").output().unwrap();
    let text = String::from_utf8_lossy(&[version.stdout, version.stderr].concat()).into_owned();
    let version = text.split_whitespace().nth(2).unwrap_or("?").to_owned();
    let dir = std::env::temp_dir().join(format!("headroom-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    println!(
        "{:<44} {:>8} {:>9} {:>8} {:>8} {:>9} {:>9} {:>7}",
        "per scrape, median", "CPU ms", "p50 ms", "p99 ms", "RSS MiB", "priv. MiB", "bytes", "series"
    );
    let shared = |coding, with: &str| {
        let name = format!("node_exporter {version}, {} shared collectors{with}", SHARED.len());
        node_exporter(&program, name, true, coding)
    };
    let same = format!("disable_defaults: true, enabled: [{}]", SHARED.join(", "));
    let ours = headroom("headroom, the same collectors", &same, &dir, PLAIN);
    let (ratio, plain) = compare(shared(PLAIN, "").await, ours.await).await;
    let ours = headroom("headroom, the same collectors, gzip", &same, &dir, GZIP);
    let (gzip_ratio, gzip) = compare(shared(GZIP, ", gzip").await, ours.await).await;
    let node = node_exporter(&program, format!("node_exporter {version}, its defaults"), false, PLAIN);
    let ours = headroom("headroom, its defaults (with all processes)", "", &dir, PLAIN);
    let (_, all) = compare(node.await, ours.await).await;
    let same = plain.max(gzip);
    let private = same.max(all);
    let _left = std::fs::remove_dir_all(&dir);
    let met = |yes| if yes { "met" } else { "MISSED" };
    let (cpu, gzip_cpu) = (ratio <= CPU_RATIO_MAX, gzip_ratio <= GZIP_CPU_RATIO_MAX);
    let memory = private < PRIVATE_MIB_MAX;
    println!(
        "CPU for the same collectors: {ratio:.3} of node_exporter's (aim: at most {CPU_RATIO_MAX}): {}",
        met(cpu)
    );
    println!(
        "the same with gzip: {gzip_ratio:.3} of node_exporter's (aim: at most {GZIP_CPU_RATIO_MAX}): {}",
        met(gzip_cpu)
    );
    println!("private memory: {private:.1} MiB (aim: under {PRIVATE_MIB_MAX} MiB): {}", met(memory));
    ExitCode::from(u8::from(!(cpu && gzip_cpu && memory)))
}
