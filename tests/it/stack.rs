//! Servers under test: Headroom's own commands and the real Prometheus and Alertmanager, on free ports, ended with
//! the test.

use headroom::client::trust::Trust;
use headroom::client::{Call, send_blocking};
use hyper::Method;
use hyper::header::HeaderValue;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The program under test.
pub(crate) const HEADROOM: &str = env!("CARGO_BIN_EXE_headroom");

/// A loopback address that nobody listens on, and that no outgoing connection can have: below the range that the kernel
/// takes those from.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let begin = std::process::id() as usize * 64;
    loop {
        let number = begin + NEXT.fetch_add(1, Ordering::SeqCst);
        let port = u16::try_from(10_000 + number % 10_000).unwrap();
        if let Ok(socket) = TcpListener::bind(("127.0.0.1", port)) {
            return socket.local_addr().unwrap();
        }
    }
}

/// Asks again until there is an answer; after `seconds` the test fails, saying what it waited for.
pub(crate) fn eventually<T>(what: &str, seconds: u64, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {seconds} s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The path of a program that tests need and a machine may lack.
pub(crate) fn program(names: &[&str]) -> Option<PathBuf> {
    let found = headroom::stack::supervise::find(names, &std::env::var_os("PATH").unwrap_or_default());
    if found.is_none() {
        eprintln!("SKIPPED: {} is not installed", names[0]);
    }
    found
}

/// A child process that does not outlive its test.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a program with its output in `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let file = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let output = file.try_clone().unwrap();
        let child = command.stdin(Stdio::null()).stdout(output).stderr(file).spawn().unwrap();
        Self { child, log: log.to_owned() }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its end, if that comes in time.
    pub(crate) fn end(&mut self, seconds: u64) -> ExitStatus {
        let child = &mut self.child;
        eventually("the end of a process", seconds, || child.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_else(|e| e.to_string());
            eprintln!("--- {}\n{log}", self.log.display());
        }
    }
}

/// Status and body of a GET; `None` while nobody answers.
pub(crate) fn get(url: &str) -> Option<(u16, String)> {
    let (status, body) = send_blocking(Call::get(url)).ok()?;
    Some((status.as_u16(), String::from_utf8_lossy(&body).into_owned()))
}

/// The value of one series on a page.
pub(crate) fn metric(page: &str, series: &str) -> f64 {
    super::page::value(page, series).unwrap_or_else(|| panic!("{series} is not on the page:\n{page}"))
}

/// `headroom optimizer` with its configuration and state in a directory of its own.
pub(crate) struct Optimizer {
    /// The process; it ends before its directory goes.
    pub running: Running,
    /// Its directory.
    pub dir: tempfile::TempDir,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whom its clients trust, where it speaks TLS.
    pub trust: Option<Trust>,
}

impl Optimizer {
    /// Starts with these keys below `optimizer:`, and whole lines at the top level.
    pub(crate) fn start(top: &str, optimizer: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        Self::start_in(dir, &state, top, optimizer)
    }

    /// The same, over TLS.
    pub(crate) fn start_over(dir: tempfile::TempDir, trust: Trust, optimizer: &str) -> Self {
        let state = dir.path().join("state");
        Self::begin(dir, &state, "", optimizer, Some(trust))
    }

    /// The same, with the state directory given.
    pub(crate) fn start_in(dir: tempfile::TempDir, state: &Path, top: &str, optimizer: &str) -> Self {
        Self::begin(dir, state, top, optimizer, None)
    }

    fn begin(dir: tempfile::TempDir, state: &Path, top: &str, optimizer: &str, trust: Option<Trust>) -> Self {
        let address = free_address();
        std::fs::write(dir.path().join("token"), "let-me-in\n").unwrap();
        let text = format!(
            "{top}\nstate_dir: {}\noptimizer:\n  listen: {address}\n  token_file: token\n{optimizer}",
            state.display()
        );
        std::fs::write(dir.path().join("headroom.yaml"), text).unwrap();
        let running = Self::launch(dir.path());
        let optimizer = Self { running, dir, address, trust };
        optimizer.wait();
        optimizer
    }

    fn launch(dir: &Path) -> Running {
        let mut command = Command::new(HEADROOM);
        command.args(["optimizer", "--config"]).arg(dir.join("headroom.yaml"));
        Running::start(&mut command, &dir.join("log"))
    }

    fn wait(&self) {
        eventually("the optimizer answers", 20, || send_blocking(self.call("/-/healthy")).ok());
    }

    /// Starts the process again on the same files.
    pub(crate) fn restart(&mut self) {
        self.running = Self::launch(self.dir.path());
        self.wait();
    }

    /// The token file.
    pub(crate) fn token_file(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    /// The address of a page.
    pub(crate) fn url(&self, path: &str) -> String {
        match &self.trust {
            Some(_) => format!("https://localhost:{}{path}", self.address.port()),
            None => format!("http://{}{path}", self.address),
        }
    }

    fn call(&self, path: &str) -> Call {
        Call { trust: self.trust.clone(), ..Call::get(self.url(path)) }
    }

    /// Sends a body to the webhook; `None` if the connection broke.
    pub(crate) fn try_post(&self, token: &str, body: Vec<u8>) -> Option<(u16, String)> {
        let call = Call {
            method: Method::POST,
            authorization: Some(HeaderValue::from_str(&format!("Bearer {token}")).unwrap()),
            body: Some(body),
            ..Call::get(self.url("/api/v1/alerts"))
        };
        let (status, body) = send_blocking(call).ok()?;
        Some((status.as_u16(), String::from_utf8_lossy(&body).into_owned()))
    }

    /// Sends alerts to the webhook, which must answer with `status`.
    pub(crate) fn notify(&self, alerts: &[Value], status: u16) -> String {
        let answer = self.try_post("let-me-in", notification(alerts)).unwrap();
        assert_eq!(answer.0, status, "{}", answer.1);
        answer.1
    }

    /// The record, newest first.
    pub(crate) fn entries(&self, query: &str) -> Vec<Value> {
        let call = Call {
            authorization: Some(HeaderValue::from_static("Bearer let-me-in")),
            ..Call::get(self.url(&format!("/api/v1/actions?{query}")))
        };
        let (status, body) = send_blocking(call).unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let page: Value = serde_json::from_slice(&body).unwrap();
        page["entries"].as_array().unwrap().clone()
    }

    /// The newest entry once its run has ended.
    pub(crate) fn ended(&self, seconds: u64) -> Value {
        eventually("the run's end", seconds, || {
            self.entries("limit=1").into_iter().next().filter(|e| e["state"] == "ended")
        })
    }

    /// A counter of its own page.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        metric(&get(&self.url("/metrics")).unwrap().1, series)
    }
}

/// A webhook body of version 4 around alerts.
pub(crate) fn notification(alerts: &[Value]) -> Vec<u8> {
    let body = json!({
        "version": "4", "status": "firing", "receiver": "headroom-optimizer", "groupKey": "{}", "truncatedAlerts": 0,
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://x", "alerts": alerts
    });
    body.to_string().into_bytes()
}

/// An alert that the default policy takes, about the target `group`.
pub(crate) fn alert(group: &str, fingerprint: &str, status: &str) -> Value {
    json!({
        "status": status, "fingerprint": fingerprint, "generatorURL": "http://x", "annotations": {},
        "startsAt": "2026-11-21T04:28:00.123Z",
        "endsAt": if status == "firing" { "0001-01-01T00:00:00Z" } else { "2026-11-21T04:38:00Z" },
        "labels": {
            "alertname": "ProcessGroupMemoryOverBudget", "headroom_action": "reclaim", "groupname": group,
            "instance": "127.0.0.1:9177", "severity": "warning"
        }
    })
}

/// An application's hook that counts its calls.
pub(crate) struct Hook {
    /// Where it listens.
    pub address: SocketAddr,
    calls: Arc<AtomicUsize>,
}

impl Hook {
    /// A hook that answers each call with these bytes after a wait.
    pub(crate) fn start(answer: &'static str, wait: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hook = Self { address: listener.local_addr().unwrap(), calls: Arc::default() };
        let calls = Arc::clone(&hook.calls);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let calls = Arc::clone(&calls);
                std::thread::spawn(move || serve_hook(stream, &calls, answer, wait));
            }
        });
        hook
    }

    /// How often it was called.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

fn serve_hook(mut stream: TcpStream, calls: &AtomicUsize, answer: &str, wait: Duration) {
    let mut request = Vec::new();
    let mut part = [0; 4096];
    // The request ends with its JSON object.
    while !request.ends_with(b"}") {
        match stream.read(&mut part) {
            Ok(read) if read > 0 => request.extend_from_slice(&part[..read]),
            _ => return,
        }
    }
    calls.fetch_add(1, Ordering::SeqCst);
    std::thread::sleep(wait);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
    // The caller may have been killed: that is what some tests are about.
    let _sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(answer.as_bytes()));
}

/// A process that holds `mib` MiB read from `source` and does nothing: it waits for a reader that never reads.
pub(crate) struct Holder {
    shell: Running,
    /// What its command line holds and no other's does.
    pub marker: String,
}

impl Holder {
    /// Starts it. `/dev/zero` compresses to nothing, `/dev/urandom` not at all.
    pub(crate) fn start(dir: &Path, source: &str, mib: u64, prologue: &str) -> Self {
        // A block size that names this holder: its number of bytes is its own.
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let odd = NEXT.fetch_add(1, Ordering::SeqCst) as u64 * 2 + u64::from(std::process::id() % 997) * 64;
        let marker = format!("bs={}", (mib << 20) + odd);
        let script = format!(
            "{prologue} exec dd if={source} {marker} count=1 iflag=fullblock of={}/pipe",
            dir.display()
        );
        let pipe = Command::new("mkfifo").arg(dir.join("pipe")).status().unwrap();
        assert!(pipe.success());
        // Held open for both, so that dd can open it and nobody reads.
        let keep = format!("exec 9<>{}/pipe; {script}", dir.display());
        let shell = Running::start(Command::new("sh").args(["-c", &keep]), &dir.join("holder.log"));
        let pid = shell.pid();
        eventually("the holder is full", 60, || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let rss = status
                .lines()
                .find_map(|l| l.strip_prefix("VmRSS:"))?
                .trim()
                .split(' ')
                .next()?
                .parse::<u64>()
                .ok()?;
            let asleep = status.contains("State:\tS");
            (rss >> 10 >= mib && asleep).then_some(())
        });
        Self { shell, marker }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.shell.pid()
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.shell.kill();
    }
}
