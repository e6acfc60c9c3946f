//! From the scrape that shows it to the action: `headroom up` with the real Prometheus and Alertmanager, scrapes and rules every
//! second, no `for`, and a process that goes over its budget again and again.
//!
//! `cargo bench --bench alert -- [ROUNDS [STARTS]]`: so many rounds for each of so many starts of all servers, 3 and 3 without, in some eight minutes.
//! Prometheus lays scrape and evaluation at moments of their own within the interval, and keeps to them until it is started
//! anew elsewhere: so one start alone would measure one such pair. A round ends with the alert, after which nothing stands.
//! What is measured: the time that Prometheus gave to the first sample above the budget; when the webhook was in the journal;
//! when the intent was; when the hook's first byte came. Needs both programs; says so and ends with 2 without.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::similar_names,
    reason = "a program for people"
)]

use headroom::client::{Call, send_blocking};
use hyper::header::HeaderValue;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The application's name: of its process, its group, its target.
const NAME: &str = "bench-alert";
const BUDGET_MIB: usize = 100;
const SMALL_MIB: usize = 40;
const LARGE_MIB: usize = 160;
/// The aim, in milliseconds.
const MEDIAN_MAX: i64 = 3000;
/// The longest that a server may take to be ready, or a round to end.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two rounds. Alertmanager forgets a group without alerts within 30 s; an alert that comes back before that waits for the
/// group's interval (5 s), which is another figure.
const FORGOTTEN: Duration = Duration::from_secs(40);

/// A process that ends with this program, gently: it has children of its own.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        for _ in 0..200 {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn now_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// The application: on a word from its input it grows; its hook lets it shrink, and prints when it was called.
fn worker(address: &str) {
    let block = || vec![0xA5_u8; 1 << 20];
    let held = Arc::new(Mutex::new((0..SMALL_MIB).map(|_| block()).collect::<Vec<_>>()));
    let listener = TcpListener::bind(address).unwrap();
    let own = Arc::clone(&held);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _some = stream.read(&mut request).unwrap_or(0);
            println!("called {}", now_millis());
            let before = own.lock().unwrap().len();
            own.lock().unwrap().truncate(SMALL_MIB);
            let answer = format!("{{\"released_bytes\": {}}}", (before - SMALL_MIB) << 20);
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
            _ = stream.write_all(format!("{head}{answer}").as_bytes());
        }
    });
    println!("ready");
    for _word in std::io::stdin().lines() {
        let mut held = held.lock().unwrap();
        while held.len() < LARGE_MIB {
            held.push(block());
        }
    }
}

/// The servers, and the application that they watch.
struct Stack {
    words: ChildStdin,
    said: BufReader<ChildStdout>,
    prometheus: SocketAddr,
    optimizer: SocketAddr,
    token: HeaderValue,
    _application: Started,
    _servers: Started,
}

/// One round's moments, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug)]
struct Round {
    scraped: i64,
    received: i64,
    intended: i64,
    called: i64,
}

impl Stack {
    fn start(dir: &Path) -> Self {
        let held: Vec<_> = (0..5).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let free: Vec<_> = held.iter().map(|socket| socket.local_addr().unwrap()).collect();
        drop(held);
        let [exporter, optimizer, prometheus, alertmanager, hook] = free[..] else { unreachable!() };
        let text = format!(
            "state_dir: {0}/state\nexporter: {{listen: '{exporter}'}}\nprocess_groups:\n- {{name: {NAME}, comm: [{NAME}], \
             memory_budget: {BUDGET_MIB}MiB}}\noptimizer:\n  listen: {optimizer}\n  guards: {{cooldown: 0s, \
             target_cooldown: 0s, actions_per_hour: 10000}}\n  targets:\n  - {{name: {NAME}, process_group: {NAME}, hook: \
             {{url: 'http://{hook}/'}}}}\nup:\n  interval: 1s\n  for_max: 0s\n  prometheus: {{listen: '{prometheus}'}}\n  \
             alertmanager: {{listen: '{alertmanager}'}}\n",
            dir.display()
        );
        fs::write(dir.join("headroom.yaml"), text).unwrap();
        let log = File::create(dir.join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_headroom"));
        command.args(["up", "--config"]).arg(dir.join("headroom.yaml"));
        let servers = Started(
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap(),
        );
        // Its own name is that of the file it is started from.
        let link = dir.join(NAME);
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &link).unwrap();
        let mut command = Command::new(link);
        command.args(["worker", &hook.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut application = command.spawn().unwrap();
        let words = application.stdin.take().unwrap();
        let mut said = BufReader::new(application.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let token = dir.join("state/webhook-token");
        wait("the token", || fs::read_to_string(&token).ok());
        let token = format!("Bearer {}", fs::read_to_string(&token).unwrap().trim());
        let stack = Self {
            words,
            said,
            prometheus,
            optimizer,
            token: HeaderValue::from_str(&token).unwrap(),
            _application: Started(application),
            _servers: servers,
        };
        wait("the first scrapes", || {
            (!stack.samples().is_empty() && stack.entries().is_some()).then_some(())
        });
        stack
    }

    fn json(&self, url: String) -> Option<Value> {
        let call = Call { authorization: Some(self.token.clone()), ..Call::get(url) };
        let (status, body) = send_blocking(call).ok()?;
        status.is_success().then(|| serde_json::from_slice(&body).ok())?
    }

    /// The last minute's samples of the application's size: when, and bytes.
    fn samples(&self) -> Vec<(i64, f64)> {
        // namedprocess_namegroup_memory_bytes{memtype="resident",groupname="…"}[1m]
        let query = format!(
            "namedprocess_namegroup_memory_bytes%7Bmemtype%3D%22resident%22%2Cgroupname%3D%22{NAME}%22%7D%5B1m%5D"
        );
        let answer = self.json(format!("http://{}/api/v1/query?query={query}", self.prometheus));
        let values = answer.and_then(|a| a["data"]["result"][0]["values"].as_array().cloned());
        let pair = |v: &Value| Some(((v[0].as_f64()? * 1e3).round() as i64, v[1].as_str()?.parse().ok()?));
        values.unwrap_or_default().iter().filter_map(pair).collect()
    }

    fn entries(&self) -> Option<Value> {
        self.json(format!("http://{}/api/v1/actions?limit=1&target={NAME}", self.optimizer))
    }

    fn round(&mut self) -> Round {
        let begun = now_millis();
        writeln!(self.words, "grow").unwrap();
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        let called = line.trim().strip_prefix("called ").unwrap().parse().unwrap();
        // Also the scrape is over then, and in Prometheus's head.
        let scraped = wait("the sample", || {
            let over = |(at, bytes): &(i64, f64)| *at >= begun && *bytes > (BUDGET_MIB << 20) as f64;
            self.samples().into_iter().find(over).map(|(at, _)| at)
        });
        let (received, intended) = wait("the alert's end", || {
            let entry = &self.entries()?["entries"][0];
            let queued = entry["queued_at_millis"].as_i64().filter(|&at| at >= begun)?;
            let _resolved = entry["resolved_at_millis"].as_i64()?;
            Some((queued, entry["steps"][0]["begun_at_millis"].as_i64()?))
        });
        Round { scraped, received, intended, called }
    }
}

/// Asks until there is an answer.
fn wait<T>(what: &str, ask: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} does not come");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [word, address] = &arguments[..]
        && word == "worker"
    {
        worker(address);
        return ExitCode::SUCCESS;
    }
    let number = |n: usize, usual| arguments.get(n).and_then(|word| word.parse().ok()).unwrap_or(usual);
    let (count, starts) = (number(0, 3), number(1, 3));
    let there = |names: &[&str]| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| names.iter().any(|name| dir.join(name).is_file()))
    };
    if !(there(&["prometheus"]) && there(&["alertmanager", "prometheus-alertmanager"])) {
        eprintln!("there are no prometheus and alertmanager on the PATH to measure with");
        return ExitCode::from(2);
    }
    let mut rounds = Vec::new();
    println!(
        "milliseconds from the scrape that shows it (intervals of 1 s, no `for`): webhook in the journal, intent, hook called"
    );
    for start in 1..=starts {
        let dir = tempfile::tempdir().unwrap();
        let mut stack = Stack::start(dir.path());
        for n in 0..count {
            if n > 0 {
                std::thread::sleep(FORGOTTEN);
            }
            let round = stack.round();
            println!(
                "  start {start}: {:>5} {:>5} {:>5}",
                round.received - round.scraped,
                round.intended - round.scraped,
                round.called - round.scraped
            );
            rounds.push(round);
        }
    }
    let [received, intended, called] = [|r: &Round| r.received, |r: &Round| r.intended, |r: &Round| r.called]
        .map(|of: fn(&Round) -> i64| {
            let mut all: Vec<i64> = rounds.iter().map(|r| of(r) - r.scraped).collect();
            all.sort_unstable();
            (all[all.len() / 2], all[all.len() - 1])
        });
    println!(
        "  {} alerts: median (worst) {} ({}), {} ({}), {} ({})",
        rounds.len(),
        received.0,
        received.1,
        intended.0,
        intended.1,
        called.0,
        called.1
    );
    let missed = called.0 > MEDIAN_MAX;
    println!(
        "{} ms at the median from the scrape to the hook's call (aim: at most {MEDIAN_MAX}): {}",
        called.0,
        if missed { "MISSED" } else { "met" }
    );
    ExitCode::from(u8::from(missed))
}
