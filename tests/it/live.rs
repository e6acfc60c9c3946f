//! The live page as a browser asks for it: its files, its stream, and the optimizer's pages at the same address.

use crate::stack::{HEADROOM, Running, eventually, free_address, get};
use headroom::client::{Call, send_blocking};
use hyper::Method;
use rustix::process::Signal;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

/// An open stream of events.
struct Events(BufReader<TcpStream>);

impl Events {
    fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        write!(stream, "GET /live/events HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\r\n")
            .unwrap();
        Self(BufReader::new(stream))
    }

    /// The next line; none at the end.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.0.read_line(&mut line).unwrap() > 0).then(|| line.trim_end().to_owned())
    }

    fn status(&mut self) -> String {
        self.line().unwrap()
    }

    /// The next event: its name, and what it says.
    fn next(&mut self) -> (String, Value) {
        let name = loop {
            let line = self.line().expect("the stream goes on");
            if let Some(name) = line.strip_prefix("event: ") {
                break name.to_owned();
            }
        };
        let text = self.line().unwrap();
        (name, serde_json::from_str(text.strip_prefix("data: ").unwrap()).unwrap())
    }
}

/// `headroom up` alone, or an exporter.
struct Process {
    running: Running,
    dir: tempfile::TempDir,
    exporter: SocketAddr,
    optimizer: SocketAddr,
}

fn start(command: &str, exporter: &str) -> Process {
    let dir = tempfile::tempdir().unwrap();
    let [listen, optimizer, rules] = [(); 3].map(|()| free_address());
    let config = format!(
        "state_dir: {state}\nexporter: {{listen: '{listen}', {exporter}}}\noptimizer: {{listen: '{optimizer}', targets: [{{name: \
         app, cgroup: /app}}], policies: [{{name: p, target: app, match: ['alertname=A'], ladder: [cgroup_reclaim]}}]}}\n\
         up: {{interval: 1s, prometheus: {{listen: '{rules}', enabled: false}}, alertmanager: {{enabled: false}}}}\n\
         monitor: {{enabled: true}}\n",
        state = dir.path().join("state").display(),
    );
    let file = dir.path().join("headroom.yaml");
    std::fs::write(&file, config).unwrap();
    let running = Running::start(
        Command::new(HEADROOM).arg("--config").arg(&file).arg(command),
        &dir.path().join("log"),
    );
    eventually("it answers", 60, || {
        get(&format!("http://{listen}/-/ready")).filter(|(status, _)| *status == 200)
    });
    Process { running, dir, exporter: listen, optimizer }
}

impl Process {
    fn call(&self, method: Method, path: &str, token: bool, body: Option<&str>) -> (u16, String) {
        let mut call = Call { method, ..Call::get(format!("http://{}{path}", self.exporter)) };
        if token {
            let token = std::fs::read_to_string(self.dir.path().join("state/webhook-token")).unwrap();
            call.authorization = Some(format!("Bearer {}", token.trim()).parse().unwrap());
        }
        call.body = body.map(|body| body.as_bytes().to_vec());
        let (status, body) = send_blocking(call).unwrap();
        (status.as_u16(), String::from_utf8_lossy(&body).into_owned())
    }
}

#[test]
fn who_opens_the_page_is_told_the_past_and_then_what_is_new_and_the_end_is_orderly() {
    let mut process = start("exporter", "");
    let mut events = Events::open(process.exporter);
    assert!(events.status().contains("200"), "the head of the stream");
    let (name, about) = events.next();
    assert_eq!(
        (name.as_str(), &about["optimizer"], &about["alerts"]),
        ("about", &false.into(), &false.into())
    );
    assert_eq!(about["version"], env!("CARGO_PKG_VERSION"));
    let (name, past) = events.next();
    assert_eq!(name, "history");
    assert!(past["at"].as_array().unwrap().len() <= 120);
    let mut last = 0.0;
    for n in 0..3 {
        let (name, now) = events.next();
        assert_eq!(name, "now");
        let at = now["at"].as_f64().unwrap();
        assert!(at > last, "{at} after {last}");
        last = at;
        assert!(now["memory"]["available"].as_f64().unwrap() > 1e6, "{now}");
        assert!(now["groups"].as_array().unwrap().iter().any(|g| g["memory"].as_f64() > Some(0.0)), "{now}");
        if n > 0 {
            assert!(now["cpu"]["busy"].is_number(), "rates since the look before: {now}");
        }
        assert!(now["alerts"].is_null() && now["optimizer"].is_null());
    }
    process.running.signal(Signal::TERM);
    assert!(process.running.end(20).success(), "an open stream must not keep the process");
    while events.line().is_some() {}
}

#[test]
fn a_page_too_many_is_refused_and_one_that_goes_makes_room() {
    let process = start("exporter", "");
    let mut open: Vec<Events> = (0..16).map(|_| Events::open(process.exporter)).collect();
    for events in &mut open {
        assert_eq!(events.next().0, "about");
    }
    assert!(Events::open(process.exporter).status().contains("503"));
    open.pop();
    eventually("there is room again", 30, || {
        Events::open(process.exporter).status().contains("200").then_some(())
    });
}

#[test]
fn the_page_is_served_with_a_policy_that_runs_nothing_else() {
    let process = start("exporter", "");
    let mut stream = TcpStream::connect(process.exporter).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let lines: Vec<String> = BufReader::new(stream).lines().map_while(Result::ok).collect();
    let head = lines.split(String::is_empty).next().unwrap().join("\n").to_lowercase();
    for header in [
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self';",
        "x-content-type-options: nosniff",
        "content-type: text/html",
    ] {
        assert!(head.contains(header), "{head}");
    }
    assert_eq!(process.call(Method::POST, "/live/page.css", false, Some("")).0, 405);
    assert_eq!(process.call(Method::GET, "/live/nothing.js", false, None).0, 404);
    // Without an optimizer in the process, there are none of its pages.
    assert_eq!(process.call(Method::GET, "/api/v1/actions", false, None).0, 404);
}

#[test]
fn the_optimizers_pages_want_its_token_and_its_webhook_stays_where_it_is() {
    let process = start("up", "");
    let mut events = Events::open(process.exporter);
    let about = events.next().1;
    assert_eq!((&about["optimizer"], &about["alerts"]), (&true.into(), &true.into()));
    for path in ["/api/v1/actions", "/api/v1/targets", "/api/v1/pause"] {
        assert_eq!(process.call(Method::GET, path, false, None).0, 401, "{path}");
        assert_eq!(process.call(Method::GET, path, true, None).0, 200, "{path}");
    }
    let (_, targets) = process.call(Method::GET, "/api/v1/targets", true, None);
    assert_eq!(
        serde_json::from_str::<Value>(&targets).unwrap(),
        serde_json::json!({"targets": [{"name": "app", "actions": ["cgroup_reclaim"]}]})
    );
    assert_eq!(process.call(Method::POST, "/api/v1/alerts", true, Some("{}")).0, 404, "not here");
    assert_eq!(process.call(Method::POST, "/-/reload", true, Some("")).0, 403, "the exporter's own");
    let now = |events: &mut Events| loop {
        let (name, now) = events.next();
        if name == "now" {
            return now;
        }
    };
    let before = now(&mut events);
    assert_eq!(before["optimizer"]["paused"], false);
    let wish = r#"{"target": "app", "bytes": 1048576, "dry_run": true}"#;
    assert_eq!(process.call(Method::POST, "/api/v1/reclaim", true, Some(wish)).0, 202);
    let stamp = |now: &Value| now["optimizer"]["stamp"].as_f64().unwrap();
    eventually("the page is told that something happened", 60, || {
        (stamp(&now(&mut events)) > stamp(&before)).then_some(())
    });
    assert_eq!(process.call(Method::PUT, "/api/v1/pause", true, Some(r#"{"reason": "a test"}"#)).0, 200);
    eventually("it is told of the stop", 60, || {
        let told = now(&mut events);
        (told["optimizer"]["paused"] == true && told["optimizer"]["reason"] == "a test").then_some(())
    });
    eventually("it is told of alerts", 60, || now(&mut events)["alerts"].is_array().then_some(()));
    assert!(get(&format!("http://{}/-/healthy", process.optimizer)).is_some());
}

#[test]
fn without_the_live_page_there_is_a_list_of_addresses() {
    let process = start("exporter", "live_page: false");
    let (status, body) = process.call(Method::GET, "/", false, None);
    assert!(status == 200 && body.contains("/-/healthy"), "{body}");
    assert_eq!(process.call(Method::GET, "/live/events", false, None).0, 404);
}
