//! What the hook answers to those who may ask, to those who may not, and to those who mean it harm.

use super::*;
use crate::About;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Instant;

const TOKEN: &str = "open-sesame";

/// A hook at a free port, of an application that holds 1,000 bytes.
fn hook() -> (Kit, Serving) {
    let kit = Kit::new();
    let held = Arc::new(Mutex::new(1000_u64));
    let store = Arc::clone(&held);
    let give = move |target: u64, _| {
        let mut held = store.lock().unwrap();
        let given = target.min(*held);
        *held -= given;
        Ok(given)
    };
    kit.reclaim().register(About::cache("pages"), move || *held.lock().unwrap(), give).unwrap();
    kit.health().check("disk", || Ok(()));
    let serving = kit.serve(Hook::new("127.0.0.1:0").token(TOKEN)).unwrap();
    (kit, serving)
}

/// Sends bytes as they are; status and body of the answer.
fn exchange(serving: &Serving, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // Who is refused early may not take all of it.
    let _refused = stream.write_all(request);
    let mut answer = String::new();
    let _reset = stream.read_to_string(&mut answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned())
}

fn post(path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

const RIGHT: &str = "Authorization: Bearer open-sesame\r\nContent-Type: application/json\r\n";
const PATH: &str = "/headroom/reclaim";

#[test]
fn memory_is_asked_for_and_what_is_held_is_told() {
    let (_kit, serving) = hook();
    let body = r#"{"bytes": 300, "urgency": "low", "target": "shop", "more": [1]}"#;
    let (status, answer) = exchange(&serving, &post(PATH, RIGHT, body));
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(status, 200, "{answer}");
    let part = &answer["parts"][0];
    assert_eq!(
        (&part["name"], &part["outcome"], &part["released_bytes"]),
        (&"pages".into(), &"ok".into(), &300.into())
    );
    let get = format!("GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    let (status, answer) = exchange(&serving, get.as_bytes());
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &answer["held_bytes"]), (200, &700.into()), "{answer}");
    let (status, answer) = exchange(&serving, &post("/headroom/drop_caches", RIGHT, r#"{"bytes": 1}"#));
    assert!(status == 200 && answer.contains("\"kind\":\"drop_caches\""), "{answer}");
}

#[test]
fn who_may_not_ask_or_asks_for_what_is_not_there_is_told_so_and_nothing_happens() {
    let (kit, serving) = hook();
    let fine = r#"{"bytes": 10}"#;
    let json = "Content-Type: application/json\r\n";
    let wrong = "Authorization: Bearer open-sesam3\r\nContent-Type: application/json\r\n";
    let text = "Authorization: Bearer open-sesame\r\nContent-Type: text/plain\r\n";
    let huge = " ".repeat(70_000);
    let deep = "[".repeat(60_000);
    let negative = r#"{"bytes": -1}"#;
    let urgency = r#"{"bytes": 1, "urgency": "now"}"#;
    let kind = r#"{"bytes": 1, "kind": "prune"}"#;
    for (status, request) in [
        (401, post(PATH, json, fine)),
        (401, post(PATH, wrong, fine)),
        (401, post(PATH, wrong, &huge)),
        (401, format!("GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()),
        (404, post("/", RIGHT, fine)),
        (404, post("/metrics", RIGHT, fine)),
        (404, post("/headroom/a/b", RIGHT, fine)),
        (404, post("/headroom/prune", RIGHT, fine)),
        (404, post(PATH, RIGHT, kind)),
        (405, format!("DELETE {PATH} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()),
        (415, post(PATH, text, fine)),
        (413, post(PATH, RIGHT, &huge)),
        (400, post(PATH, RIGHT, &deep)),
        (400, post(PATH, RIGHT, negative)),
        (400, post(PATH, RIGHT, urgency)),
        (400, post(PATH, RIGHT, "")),
        (400, b"nonsense\r\n\r\n".to_vec()),
    ] {
        let (got, answer) = exchange(&serving, &request);
        let head = String::from_utf8_lossy(&request).chars().take(150).collect::<String>();
        assert_eq!(got, status, "{head}: {answer}");
    }
    // A body of unknown length is bounded, too.
    let mut chunked = format!("POST {PATH} HTTP/1.1\r\nHost: x\r\n{RIGHT}Transfer-Encoding: chunked\r\n\r\n");
    for _ in 0..20 {
        chunked.extend(["1000\r\n", &" ".repeat(4096), "\r\n"]);
    }
    assert_eq!(exchange(&serving, chunked.as_bytes()).0, 413);
    assert_eq!(kit.reclaim().state()[0].held_bytes, Some(1000));
}

#[test]
fn metrics_and_health_are_open_and_say_how_it_is() {
    let (kit, serving) = hook();
    let get = |path: &str| exchange(&serving, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    let (status, page) = get("/metrics");
    assert_eq!(status, 200);
    for family in
        ["headroom_kit_held_bytes", "headroom_kit_process_resident_bytes", "headroom_kit_health_status"]
    {
        assert!(page.contains(&format!("# TYPE {family} gauge")), "{page}");
    }
    assert_eq!(get("/health").0, 200);
    kit.health().check("disk", || Err("it is full".into()));
    let (status, report) = get("/health");
    assert!(status == 503 && report.contains("it is full"), "{report}");
}

#[test]
fn connections_are_bounded_and_those_that_drip_make_room_again() {
    let (_kit, serving) = hook();
    let idle: Vec<TcpStream> =
        (0..CONNECTIONS_MAX).map(|_| TcpStream::connect(serving.address()).unwrap()).collect();
    let health = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let begun = Instant::now();
    while exchange(&serving, health).0 == 200 {
        // Until the last of them is accepted.
        assert!(begun.elapsed() < Duration::from_secs(30), "there is no bound");
    }
    // They send nothing: their time is soon over.
    while exchange(&serving, health).0 != 200 {
        assert!(begun.elapsed() < Duration::from_mins(1), "they stay for ever");
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(idle);
}

#[test]
fn it_ends_when_it_is_dropped_and_its_address_is_free() {
    let (kit, serving) = hook();
    let address = serving.address().to_owned();
    drop(serving);
    assert!(TcpStream::connect(&address).is_err());
    drop(kit.serve(Hook::new(&address)).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let place = format!("unix:{}", dir.path().join("hook.sock").display());
    let serving = kit.serve(Hook::new(&place)).unwrap();
    assert_eq!(serving.address(), place);
    drop(serving);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_served_is_said_at_once() {
    let kit = Kit::new();
    let said = |hook: Hook| kit.serve(hook).unwrap_err().to_string();
    assert!(said(Hook::new("here")).contains("is no address"));
    assert!(said(Hook::new("0.0.0.0:0")).contains("a token is needed there"));
    assert!(said(Hook::new("127.0.0.1:0").token_file("/nonexistent")).contains("/nonexistent"));
    assert!(said(Hook::new("127.0.0.1:0").token("")).contains("openssl rand"));
    assert!(said(Hook::new("127.0.0.1:0").path("/metrics")).contains("the path"));
    assert!(said(Hook::new("unix:/nonexistent/hook.sock")).contains("cannot listen"));
}
