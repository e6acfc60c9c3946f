//! A program that is asked again and again: what its answers cost it.

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::collections::BTreeSet;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What `Accept-Encoding` says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Plain,
    Gzip,
}

pub(crate) struct Server {
    pub(crate) name: String,
    child: Child,
    sender: SendRequest<Empty<Bytes>>,
    address: SocketAddr,
    cpu_millis: Vec<f64>,
    latency_millis: Vec<f64>,
    coding: Coding,
    body: Bytes,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Server {
    pub(crate) async fn start(
        name: String,
        command: &mut Command,
        address: SocketAddr,
        coding: Coding,
    ) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        let deadline = Instant::now() + Duration::from_mins(1);
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

    pub(crate) async fn scrape(&mut self) -> f64 {
        let coding = if self.coding == Coding::Gzip { "gzip" } else { "identity" };
        let request = Request::get("/metrics")
            .header("host", self.address.to_string())
            .header("accept-encoding", coding)
            .body(Empty::new())
            .unwrap();
        let begun = Instant::now();
        let answer = self.sender.send_request(request).await.unwrap();
        self.body = answer.into_body().collect().await.unwrap().to_bytes();
        begun.elapsed().as_secs_f64() * 1000.0
    }

    pub(crate) async fn round(&mut self, scrapes: u32) {
        let before = self.cpu_nanos();
        for _ in 0..scrapes {
            let millis = self.scrape().await;
            self.latency_millis.push(millis);
        }
        // What a scrape leaves to do (garbage collection) belongs to it.
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.cpu_millis.push((self.cpu_nanos() - before) as f64 / 1e6 / f64::from(scrapes));
    }

    fn cpu_nanos(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        tasks.flatten().filter_map(|task| thread_nanos(&task.path())).sum()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the program in its own way.
    pub(crate) fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let _reaped = self.child.wait();
    }

    /// The CPU time of a scrape in milliseconds.
    pub(crate) fn cpu(&self) -> f64 {
        quantile(&self.cpu_millis, 0.5)
    }

    /// Resident and private memory in MiB.
    pub(crate) fn memory(&self) -> (f64, f64) {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid())).unwrap();
        let kib = |name: &str| -> f64 {
            let line = text.lines().find(|l| l.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        (kib("Rss:") / 1024.0, (kib("Private_Clean:") + kib("Private_Dirty:")) / 1024.0)
    }

    /// The series of the last page: names and labels.
    pub(crate) fn series(&self) -> BTreeSet<String> {
        let mut page = String::new();
        if self.coding == Coding::Gzip {
            flate2::read::GzDecoder::new(&self.body[..]).read_to_string(&mut page).unwrap();
        } else {
            page = String::from_utf8(self.body.to_vec()).unwrap();
        }
        let samples = page.lines().filter(|l| !l.starts_with('#') && !l.is_empty());
        samples.filter_map(|l| Some(l.rsplit_once(' ')?.0.to_owned())).collect()
    }

    pub(crate) fn print(&self) {
        let (rss, private) = self.memory();
        let latency = &self.latency_millis;
        println!(
            "{:<44} {:>8.3} {:>9.2} {:>8.2} {:>8.1} {:>9.1} {:>9} {:>7}",
            self.name,
            self.cpu(),
            quantile(latency, 0.5),
            quantile(latency, 0.99),
            rss,
            private,
            self.body.len(),
            self.series().len()
        );
    }
}

pub(crate) fn print_head() {
    println!(
        "{:<44} {:>8} {:>9} {:>8} {:>8} {:>9} {:>9} {:>7}",
        "per scrape, median", "CPU ms", "p50 ms", "p99 ms", "RSS MiB", "priv. MiB", "bytes", "series"
    );
}

/// The CPU time of a thread whose directory under /proc this is.
pub(crate) fn thread_nanos(task: &std::path::Path) -> Option<u64> {
    let path: PathBuf = task.join("schedstat");
    std::fs::read_to_string(path).ok()?.split(' ').next()?.parse().ok()
}

pub(crate) fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * q).round() as usize]
}

pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
