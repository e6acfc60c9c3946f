//! What it takes to receive metrics: points a second of one core, and memory, for OTLP over HTTP.
//!
//! `cargo bench --bench receiver -- [SECONDS]`: so long a round, 3 without an argument. `headroom exporter` is a process of its own;
//! its CPU time is the kernel's account of each of its threads (schedstat), so that neither the sender nor other work counts.
//! Points are seven counters, two gauges and a histogram of 14 buckets of each ten, with three attributes each, of five
//! applications and 20,000 series of points; 1,000 points a request. The page is scraped once a second meanwhile.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a program for people"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
/// The aims: points a second of one core, and MiB.
const POINTS_MIN: f64 = 100_000.0;
const RESIDENT_MAX: f64 = 64.0;
const POINTS: u64 = 1000;
const APPLICATIONS: u64 = 5;
const PARTS: u64 = 4;

fn main() -> ExitCode {
    let seconds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(3);
    let length = Duration::from_secs(seconds);
    let mut good = true;
    for (name, form) in
        [("HTTP, protobuf", Form::Plain), ("HTTP, protobuf, gzip", Form::Gzip), ("HTTP, JSON", Form::Json)]
    {
        let server = Server::start();
        let bodies = bodies(form);
        let mut sender = Sender::to(server.otlp, form);
        sender.send(&bodies, Duration::from_millis(500), server.page);
        let mut rates: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let before = server.cpu_seconds();
                let points = sender.send(&bodies, length, server.page);
                points as f64 / (server.cpu_seconds() - before)
            })
            .collect();
        rates.sort_by(f64::total_cmp);
        let (median, resident) = (rates[ROUNDS / 2], server.resident_mib());
        println!(
            "{name}: {median:.0} points a second of one core ({:.0} to {:.0}), {resident:.1} MiB resident at most",
            rates[0],
            rates[ROUNDS - 1]
        );
        // The aim is that of the form that SDKs use by default.
        if form == Form::Plain {
            good = median >= POINTS_MIN && resident <= RESIDENT_MAX;
        }
    }
    println!(
        "aim: {POINTS_MIN} points a second below {RESIDENT_MAX} MiB: {}",
        if good { "met" } else { "missed" }
    );
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Gzip,
    Json,
}

struct Server {
    child: Child,
    otlp: SocketAddr,
    page: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Server {
    fn start() -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (otlp, page, dir) = (free(), free(), tempfile::tempdir().unwrap());
        let file = dir.path().join("headroom.yaml");
        let text = format!(
            "exporter: {{listen: '{page}', collectors: {{disable_defaults: true}}}}\napplications: {{otlp: {{http: '{otlp}'}}, \
             limits: {{series_per_application: 50000}}}}\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_headroom"));
        command.arg("exporter").arg("--config").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().unwrap(), otlp, page, _dir: dir }
    }

    fn cpu_seconds(&self) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanos = |path: std::path::PathBuf| {
            let text = std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0)
        };
        tasks.flatten().map(|task| nanos(task.path())).sum::<f64>() / 1e9
    }

    /// The most that was resident.
    fn resident_mib(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }
}

/// A kept connection.
struct Sender {
    stream: BufReader<TcpStream>,
    head: String,
}

impl Sender {
    fn to(address: SocketAddr, form: Form) -> Self {
        let deadline = Instant::now() + Duration::from_secs(30);
        let stream = loop {
            match TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(e) => assert!(Instant::now() < deadline, "no answer: {e}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        stream.set_nodelay(true).unwrap();
        let kind = if form == Form::Json { "json" } else { "x-protobuf" };
        let coding = if form == Form::Gzip { "Content-Encoding: gzip\r\n" } else { "" };
        let head =
            format!("POST /v1/metrics HTTP/1.1\r\nHost: x\r\nContent-Type: application/{kind}\r\n{coding}");
        Self { stream: BufReader::new(stream), head }
    }

    /// Sends for so long; how many points that were.
    fn send(&mut self, bodies: &[Vec<u8>], length: Duration, page: SocketAddr) -> u64 {
        let (begin, mut points, mut scraped) = (Instant::now(), 0, Instant::now());
        while begin.elapsed() < length {
            for body in bodies {
                let head = format!("{}Content-Length: {}\r\n\r\n", self.head, body.len());
                let stream = self.stream.get_mut();
                stream.write_all(head.as_bytes()).unwrap();
                stream.write_all(body).unwrap();
                self.answer();
                points += POINTS;
            }
            if scraped.elapsed() > Duration::from_secs(1) {
                scraped = Instant::now();
                scrape(page);
            }
        }
        points
    }

    /// Reads an answer, which must say that all was taken.
    fn answer(&mut self) {
        let (mut line, mut status, mut length) = (String::new(), String::new(), 0);
        while self.stream.read_line(&mut line).unwrap() > 2 {
            if status.is_empty() {
                status.clone_from(&line);
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        let all_taken = body.is_empty() || body == b"{}";
        assert!(status.contains(" 200 ") && all_taken, "{status}{}", String::from_utf8_lossy(&body));
    }
}

fn scrape(page: SocketAddr) {
    let mut stream = TcpStream::connect(page).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("bench_requests_total{"), "{text}");
}

/// Requests that together hold all points of all applications.
fn bodies(form: Form) -> Vec<Vec<u8>> {
    let all = (0..APPLICATIONS).flat_map(|application| (0..PARTS).map(move |part| (application, part)));
    all.map(|(application, part)| match form {
        Form::Json => json(application, part).into_bytes(),
        Form::Plain => protobuf(application, part),
        Form::Gzip => {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(&protobuf(application, part)).unwrap();
            packed.finish().unwrap()
        }
    })
    .collect()
}

/// The point with this number: which metric it is of, and its attributes.
fn point(part: u64, at: u64) -> (u64, [(&'static str, String); 3]) {
    let which = part * POINTS + at;
    let attributes = [
        ("http.request.method", ["GET", "POST", "PUT"][(which % 3) as usize].to_owned()),
        ("http.route", format!("/api/v1/resource/{}", which / 10)),
        ("http.response.status_code", (200 + which % 4).to_string()),
    ];
    (which % 10, attributes)
}

const NANOS: u64 = 1_700_000_000_000_000_000;
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(out: &mut Vec<u8>, field: u8, content: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn fixed(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(field << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn attribute(out: &mut Vec<u8>, field: u8, key: &str, value: &str) {
    let (mut text, mut pair) = (Vec::new(), Vec::new());
    bytes(&mut text, 1, value.as_bytes());
    bytes(&mut pair, 1, key.as_bytes());
    bytes(&mut pair, 2, &text);
    bytes(out, field, &pair);
}

fn protobuf(application: u64, part: u64) -> Vec<u8> {
    let mut data: [Vec<u8>; 3] = Default::default();
    for at in 0..POINTS {
        let (kind, attributes) = point(part, at);
        let mut one = Vec::new();
        fixed(&mut one, 2, NANOS);
        fixed(&mut one, 3, NANOS + 1);
        for (key, value) in &attributes {
            attribute(&mut one, if kind == 9 { 9 } else { 7 }, key, value);
        }
        let slot = match kind {
            0..=6 => {
                fixed(&mut one, 6, at);
                0
            }
            7 | 8 => {
                fixed(&mut one, 4, 1.5_f64.to_bits());
                1
            }
            _ => {
                fixed(&mut one, 4, 15);
                fixed(&mut one, 5, 7.5_f64.to_bits());
                bytes(&mut one, 6, &1_u64.to_le_bytes().repeat(15));
                bytes(&mut one, 7, &BOUNDS.iter().flat_map(|b| b.to_le_bytes()).collect::<Vec<_>>());
                2
            }
        };
        bytes(&mut data[slot], 1, &one);
    }
    let [mut sum, gauge, mut histogram] = data;
    sum.extend_from_slice(&[0x10, 2, 0x18, 1]);
    histogram.extend_from_slice(&[0x10, 2]);
    let mut scope = Vec::new();
    for (name, field, data) in
        [("bench.requests", 7, sum), ("bench.temperature", 5, gauge), ("bench.duration", 9, histogram)]
    {
        let mut metric = Vec::new();
        bytes(&mut metric, 1, name.as_bytes());
        bytes(&mut metric, 2, b"What it is.");
        bytes(&mut metric, field, &data);
        bytes(&mut scope, 2, &metric);
    }
    let (mut resource, mut all, mut out) = (Vec::new(), Vec::new(), Vec::new());
    attribute(&mut resource, 1, "service.name", "bench");
    attribute(&mut resource, 1, "service.instance.id", &application.to_string());
    bytes(&mut all, 1, &resource);
    bytes(&mut all, 2, &scope);
    bytes(&mut out, 1, &all);
    out
}

fn json(application: u64, part: u64) -> String {
    let mut data: [Vec<String>; 3] = Default::default();
    for at in 0..POINTS {
        let (kind, attributes) = point(part, at);
        let attributes: Vec<String> = attributes
            .iter()
            .map(|(key, value)| format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#))
            .collect();
        let (slot, value) = match kind {
            0..=6 => (0, format!(r#""asInt":"{at}""#)),
            7 | 8 => (1, r#""asDouble":1.5"#.to_owned()),
            _ => {
                let counts = vec!["\"1\""; 15].join(",");
                (
                    2,
                    format!(
                        r#""count":"15","sum":7.5,"bucketCounts":[{counts}],"explicitBounds":{BOUNDS:?}"#
                    ),
                )
            }
        };
        let (attributes, end) = (attributes.join(","), NANOS + 1);
        data[slot].push(format!(
            r#"{{"startTimeUnixNano":"{NANOS}","timeUnixNano":"{end}","attributes":[{attributes}],{value}}}"#
        ));
    }
    let [sum, gauge, histogram] = data.map(|points| points.join(","));
    format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"bench"}}}},
        {{"key":"service.instance.id","value":{{"stringValue":"{application}"}}}}]}},"scopeMetrics":[{{"metrics":[
        {{"name":"bench.requests","sum":{{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[{sum}]}}}},
        {{"name":"bench.temperature","gauge":{{"dataPoints":[{gauge}]}}}},
        {{"name":"bench.duration","histogram":{{"aggregationTemporality":2,"dataPoints":[{histogram}]}}}}]}}]}}]}}"#
    )
}
