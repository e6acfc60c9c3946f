//! Components that are probed: on the exporter's pages, by `headroom check health`, over reloads.

use crate::stack::{HEADROOM, Running, eventually, free_address};
use headroom::client::{Call, send_blocking};
use rustix::process::Signal;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A component: answers as it is told, and keeps what it was asked.
struct Component {
    address: SocketAddr,
    answer: Arc<Mutex<String>>,
    delay_millis: Arc<AtomicU64>,
    heads: Arc<Mutex<String>>,
}

impl Component {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let component = Self {
            address: listener.local_addr().unwrap(),
            answer: Arc::default(),
            delay_millis: Arc::default(),
            heads: Arc::default(),
        };
        component.answers("200 OK", "{\"status\": \"up\"}");
        let (answer, heads) = (Arc::clone(&component.answer), Arc::clone(&component.heads));
        let delay = Arc::clone(&component.delay_millis);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut part = [0; 4096];
                let read = stream.read(&mut part).unwrap_or(0);
                *heads.lock().unwrap() = String::from_utf8_lossy(&part[..read]).into_owned();
                std::thread::sleep(Duration::from_millis(delay.load(Ordering::SeqCst)));
                let _gone = stream.write_all(answer.lock().unwrap().as_bytes());
            }
        });
        component
    }

    fn answers(&self, status: &str, body: &str) {
        let length = body.len();
        *self.answer.lock().unwrap() =
            format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    }
}

/// `headroom check health` with a configuration: its exit code and what it printed.
fn check(config: &Path, more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(HEADROOM);
    let out = command.args(["check", "health", "--config"]).arg(config).args(more).output().unwrap();
    (out.status.code(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
}

fn probe(name: &str, rest: &str) -> String {
    format!(
        "    - {{component: {name}, interval: 200ms, timeout: 200ms, slow: 100ms, failures: 2, {rest}}}\n"
    )
}

#[test]
fn each_way_is_asked_once_by_hand_and_the_exit_code_says_how_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let shop = Component::start();
    std::fs::write(dir.path().join("headers"), "# secret\nauthorization: Bearer s3cret\n").unwrap();
    let url = format!("http://{}/healthz", shop.address);
    let nobody = free_address();
    let file = dir.path().join("h.yaml");
    let whole = |rest: &str| {
        let text = format!(
            "applications:\n  probes:\n    - component: shop\n      http: {{url: '{url}', method: POST, status: [200], body: '\"status\": *\"up\"', \
             headers_file: headers}}\n    - {{component: port, tcp: '{}'}}\n    - {{component: program, command: ['true']}}\n{rest}",
            shop.address
        );
        std::fs::write(&file, text).unwrap();
    };
    whole("");
    let (code, said) = check(&file, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("status: healthy\n") && said.contains("shop     healthy"), "{said}");
    let head = shop.heads.lock().unwrap().clone();
    assert!(head.starts_with("POST /healthz ") || head.is_empty(), "{head}");

    whole(&format!(
        "    - {{component: gone, tcp: '{nobody}'}}\n    - {{component: bad, command: [sh, -c, 'echo no disk; exit 4']}}\n"
    ));
    shop.answers("200 OK", "{\"status\": \"down\"}");
    let (code, said) = check(&file, &["--json"]);
    assert_eq!(code, Some(1), "{said}");
    let json: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(json["status"], "unhealthy");
    let states: Vec<_> = json["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            [&c["component"], &c["state"], &c["reason"]]
                .map(|v| v.as_str().unwrap_or("-").to_owned())
                .join(" ")
        })
        .collect();
    assert_eq!(
        states,
        [
            "bad unhealthy exit",
            "gone unhealthy connect",
            "port healthy -",
            "program healthy -",
            "shop unhealthy body"
        ]
    );
    assert!(said.contains("no disk") && !said.contains("s3cret"), "{said}");

    shop.answers("503 Service Unavailable", "");
    assert!(check(&file, &[]).1.contains("status: the answer is 503"));
    // What is wrong with the configuration, or without probes, is no finding.
    std::fs::write(
        &file,
        "applications: {probes: [{component: a, http: {url: 'http://a', headers_file: none}}]}",
    )
    .unwrap();
    let (code, said) = check(&file, &[]);
    assert!(code == Some(2) && said.contains("applications.probes[0].http.headers_file"), "{said}");
    std::fs::write(&file, "").unwrap();
    let (code, said) = check(&file, &[]);
    assert!(code == Some(2) && said.contains("applications.probes"), "{said}");
}

/// A page as a person gets it.
fn get_text(url: &str) -> Option<(u16, String)> {
    let mut call = Call::get(url);
    call.headers.insert(hyper::header::ACCEPT, hyper::header::HeaderValue::from_static("text/plain"));
    let (status, body) = send_blocking(call).ok()?;
    Some((status.as_u16(), String::from_utf8_lossy(&body).into_owned()))
}

#[test]
fn the_exporter_probes_shows_and_follows_a_reload() {
    let dir = tempfile::tempdir().unwrap();
    let (shop, address) = (Component::start(), free_address());
    std::fs::write(dir.path().join("headers"), "x-asks: headroom\n").unwrap();
    let file = dir.path().join("h.yaml");
    let configure = |probes: &str| {
        let text =
            format!("exporter: {{listen: '{address}', collectors: {{disable_defaults: true}}}}\n{probes}");
        std::fs::write(&file, text).unwrap();
    };
    configure("");
    let mut command = Command::new(HEADROOM);
    command.args(["exporter", "--config"]).arg(&file);
    let exporter = Running::start(&mut command, &dir.path().join("log"));
    let page = |path: &str| get_text(&format!("http://{address}{path}"));
    let asked = eventually("the exporter answers", 30, || page("/-/health"));
    assert_eq!((asked.0, asked.1.contains("applications.probes")), (404, true));

    let way = format!("http: {{url: 'http://{}/', headers_file: headers}}", shop.address);
    configure(&format!("applications:\n  probes:\n{}", probe("shop", &way)));
    exporter.signal(Signal::HUP);
    let state = |want: &str, status: u16| {
        eventually(&format!("shop is {want}"), 60, || {
            let (code, text) = page("/-/health")?;
            (text.contains(&format!("shop  {want}")) && code == status).then_some(text)
        })
    };
    state("healthy", 200);
    assert!(shop.heads.lock().unwrap().contains("x-asks: headroom"));
    let metrics = page("/metrics").unwrap().1;
    assert!(
        metrics.contains("headroom_health_status{component=\"shop\",state=\"healthy\"} 1\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("headroom_health_last_success_timestamp_seconds{component=\"shop\"}"),
        "{metrics}"
    );

    shop.delay_millis.store(140, Ordering::SeqCst);
    state("degraded", 200);
    shop.delay_millis.store(0, Ordering::SeqCst);
    shop.answers("500 Internal Server Error", "");
    let text = state("unhealthy", 503);
    assert!(text.contains("status: the answer is 500"), "{text}");
    let metrics = page("/metrics").unwrap().1;
    assert!(
        metrics.contains("headroom_health_status{component=\"shop\",state=\"unhealthy\"} 1\n"),
        "{metrics}"
    );
    assert!(!metrics.contains("{component=\"shop\",reason=\"status\"} 0\n"), "{metrics}");

    // A program that is asked for it gets JSON, and the command an exit code.
    let (status, body) = send_blocking(Call::get(format!("http://{address}/-/health"))).unwrap();
    let json: Value = serde_json::from_slice(&body).unwrap_or_default();
    assert_eq!((status.as_u16(), json["components"][0]["reason"].as_str()), (503, Some("status")));
    let url = format!("http://{address}");
    let (code, said) = check(&file, &["--url", &url]);
    assert!(code == Some(1) && said.contains("shop  unhealthy"), "{said}");
    shop.answers("204 No Content", "");
    state("healthy", 200);
    assert_eq!(check(&file, &["--url", &url]).0, Some(0));

    // A reload that cannot be used leaves it as it is; another forgets.
    configure("applications: {probes: [{component: a, http: {url: 'http://a', headers_file: none}}]}\n");
    exporter.signal(Signal::HUP);
    eventually("the bad reload is told", 30, || exporter.output().contains("headers_file").then_some(()));
    state("healthy", 200);
    configure("");
    exporter.signal(Signal::HUP);
    eventually("it is forgotten", 30, || (page("/-/health")?.0 == 404).then_some(()));
    assert!(!page("/metrics").unwrap().1.contains("headroom_health_status"));
}
