//! What the optimizer learns from its own record, on the real process: what is left out, what did harm, when it waits.

use crate::stack::{HEADROOM, Holder, Hook, Optimizer, alert, eventually};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const OPEN: &str = "headroom_optimizer_breaker_open{action=\"app_hook\",target=\"held\"}";

/// `headroom actions report` of the optimizer, with these arguments more.
fn report(optimizer: &Optimizer, more: &[&str]) -> String {
    let config = optimizer.dir.path().join("headroom.yaml");
    let output =
        Command::new(HEADROOM).args(["actions", "report"]).args(more).arg("--config").arg(config).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn reason(entry: &Value) -> &str {
    entry["reason"].as_str().unwrap_or_default()
}

/// The newest run with this alert, once it has ended.
fn run(optimizer: &Optimizer, fingerprint: &str) -> Value {
    optimizer.notify(&[alert("held", fingerprint, "firing")], 200);
    eventually("the run's end", 60, || {
        let newest = optimizer.entries("limit=1").into_iter().next()?;
        (newest["fingerprint"] == fingerprint && newest["state"] == "ended").then_some(newest)
    })
}

#[test]
fn what_gained_nothing_three_times_is_left_out_also_after_a_restart() {
    let hook = Hook::start("{\"released_bytes\": 1}", Duration::ZERO);
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 20, "");
    let (top, text) = crate::hostile::target(&holder, &hook, "  settle: 50ms\n");
    let mut optimizer = Optimizer::start(&top, &text);
    assert_eq!(report(&optimizer, &[]), "nothing was tried yet\n");
    assert_eq!(optimizer.metric(OPEN), 0.0);
    for fingerprint in ["a1", "a2", "a3"] {
        let entry = run(&optimizer, fingerprint);
        assert_eq!(entry["steps"][0]["verdict"], "no_gain", "{entry:#}");
    }
    for (fingerprint, again) in [("a4", false), ("a5", true)] {
        if again {
            optimizer.restart();
        }
        let entry = run(&optimizer, fingerprint);
        assert_eq!(entry["steps"].as_array().unwrap().len(), 0, "{entry:#}");
        let left_out = "app_hook: left out: the last 3 tries gained nothing here";
        assert!(reason(&entry).contains(left_out), "{entry:#}");
        assert_eq!(entry["result"], "exhausted", "{entry:#}");
        eventually("the breaker's gauge", 30, || (optimizer.metric(OPEN) == 1.0).then_some(()));
    }
    assert_eq!(hook.calls(), 3);
    assert_eq!(optimizer.metric("headroom_optimizer_guard_refusals_total{guard=\"breaker\"}"), 1.0);
    let text = report(&optimizer, &[]);
    let line: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(line[..6], ["app_hook", "held", "3", "0", "%", "3"], "{text}");
    assert!(text.contains("open until 2"), "{text}");
    let json: Value = serde_json::from_str(&report(&optimizer, &["--json"])).unwrap();
    let line = &json["lines"][0];
    assert_eq!((line["tries"].as_u64(), line["no_gain"].as_u64()), (Some(3), Some(3)), "{json:#}");
    assert_eq!((line["breaker"].as_str(), line["last"].as_str()), (Some("open"), Some("no_gain")));
}

/// A page with the application's own metric, which is ten times as bad once `worse` is set.
fn page(worse: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _request = stream.read(&mut [0; 4096]);
            let seconds = if worse.load(Ordering::Relaxed) { "2.0" } else { "0.2" };
            let body = format!("# TYPE app_p95_seconds gauge\napp_p95_seconds{{path=\"/\"}} {seconds}\n");
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _gone = stream.write_all((head + &body).as_bytes());
        }
    });
    address
}

#[test]
fn an_action_after_which_the_applications_own_metric_is_worse_did_harm() {
    let hook = Hook::start("{\"released_bytes\": 1}", Duration::ZERO);
    let worse = Arc::new(AtomicBool::new(false));
    let metrics = page(Arc::clone(&worse));
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 20, "");
    let (top, text) = crate::hostile::target(&holder, &hook, "  settle: 50ms\n  aftermath: 12s\n");
    let watch = format!(
        "watch: {{url: 'http://{metrics}/metrics', series: app_p95_seconds, harmful_above_ratio: 1.5}}, hook: {{"
    );
    let optimizer = Optimizer::start(&top, &text.replace("hook: {", &watch));
    // It reads its first figures at its start; the action must come after them.
    std::thread::sleep(Duration::from_secs(3));
    let entry = run(&optimizer, "a1");
    assert_eq!(entry["steps"][0]["harm"], Value::Null, "{entry:#}");
    worse.store(true, Ordering::Relaxed);
    let entry = eventually("the harm is seen", 60, || {
        optimizer.entries("limit=1").into_iter().next().filter(|e| e["steps"][0]["aftermath"].is_object())
    });
    let harm = entry["steps"][0]["harm"].as_str().unwrap_or_else(|| panic!("{entry:#}"));
    assert!(harm.contains("the application's own metric went from 0.2 to 2"), "{entry:#}");
    assert!(reason(&entry).contains("; harmful: app_hook: "), "{entry:#}");
    assert_eq!(entry["result"], "exhausted", "the result stays: {entry:#}");
    let cost = &entry["steps"][0]["aftermath"]["cost"];
    assert_eq!(cost["application"]["after"], 2.0, "{entry:#}");
    assert!(cost["machine"]["after"]["seconds"].as_f64().unwrap() >= 11.0, "{entry:#}");
    let harmful = "headroom_optimizer_harmful_actions_total{action=\"app_hook\",target=\"held\"}";
    assert_eq!(optimizer.metric(harmful), 1.0);
    // Once is enough.
    let entry = run(&optimizer, "a2");
    assert!(reason(&entry).contains("app_hook: left out: it did harm here"), "{entry:#}");
    assert!(report(&optimizer, &[]).contains("\n    harm: "), "{}", report(&optimizer, &[]));
}

#[test]
fn in_a_maintenance_window_nothing_is_done_and_the_run_waits() {
    let hook = Hook::start("{\"released_bytes\": 1}", Duration::ZERO);
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 20, "");
    let (top, text) = crate::hostile::target(&holder, &hook, "");
    let window = "guards: {maintenance: [{from: '00:00', to: '00:00'}], ";
    let optimizer = Optimizer::start(&top, &text.replace("guards: {", window));
    optimizer.notify(&[alert("held", "a1", "firing")], 200);
    let entry = eventually("the run waits", 30, || {
        optimizer.entries("limit=1").into_iter().next().filter(|e| e["state"] == "waiting")
    });
    assert_eq!(reason(&entry), "maintenance: waits for this guard", "{entry:#}");
    assert_eq!(optimizer.metric("headroom_optimizer_guard_refusals_total{guard=\"maintenance\"}"), 1.0);
    optimizer.notify(&[alert("held", "a1", "resolved")], 200);
    assert_eq!(optimizer.ended(30)["result"], "resolved");
    assert_eq!(hook.calls(), 0);
}
