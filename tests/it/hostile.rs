//! Hostile input to the webhook: a clear answer, a metric, no crash, and never an action.

use crate::stack::{Holder, Hook, Optimizer, alert, eventually, get, notification};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

const RESULTS: &str = "headroom_optimizer_notifications_total";

#[test]
fn what_is_no_notification_is_refused_and_nothing_is_recorded() {
    let optimizer = Optimizer::start("", "");
    let good = alert("cache", "ab", "firing");
    let with = |key: &str, value: serde_json::Value| {
        let mut alert = good.clone();
        alert[key] = value;
        notification(&[alert])
    };
    let wrong_version =
        String::from_utf8(notification(std::slice::from_ref(&good))).unwrap().replace("\"4\"", "\"5\"");
    let refused: [(&str, Vec<u8>, u16, &str); 9] = [
        ("no JSON", b"<html>".to_vec(), 400, "line 1 column 1"),
        ("nothing", Vec::new(), 400, "line 1 column 0"),
        ("deep JSON", b"[".repeat(1 << 20), 400, "line 1 column"),
        ("wrong version", wrong_version.into_bytes(), 400, "`5`"),
        ("no fingerprint", with("fingerprint", json!("")), 400, "alerts[0].fingerprint"),
        ("a path as fingerprint", with("fingerprint", json!("../../etc")), 400, "alerts[0].fingerprint"),
        ("no time", with("startsAt", json!("soon")), 400, "alerts[0].startsAt"),
        ("10,000 alerts", notification(&vec![good.clone(); 10_000]), 400, "10000 alerts"),
        ("5 MiB", notification(&[json!({ "x": "y".repeat(5 << 20) })]), 413, "4194304"),
    ];
    for (what, body, status, says) in refused {
        let answer = optimizer.try_post("let-me-in", body);
        // A client that is cut off while it still sends may miss the answer, never the refusal.
        let Some((got, text)) = answer else {
            assert_eq!(status, 413, "{what}: the connection broke");
            continue;
        };
        assert_eq!(got, status, "{what}: {text}");
        assert!(text.contains(says), "{what}: {text}");
    }
    assert_eq!(optimizer.metric(&format!("{RESULTS}{{result=\"invalid\"}}")), 8.0);
    assert_eq!(optimizer.metric(&format!("{RESULTS}{{result=\"too_large\"}}")), 1.0);
    assert_eq!(optimizer.entries(""), Vec::<serde_json::Value>::new());
}

#[test]
fn only_the_right_token_opens_webhook_and_record() {
    let optimizer = Optimizer::start("", "");
    let body = notification(&[alert("cache", "ab", "firing")]);
    for token in ["", "x", "let-me-i", "let-me-in ", "let-me-inn", "LET-ME-IN"] {
        let expected = if token.trim() == "let-me-in" { 200 } else { 401 };
        assert_eq!(optimizer.try_post(token, body.clone()).unwrap().0, expected, "{token:?}");
    }
    assert_eq!(get(&optimizer.url("/api/v1/actions")).unwrap().0, 401);
    assert_eq!(optimizer.metric(&format!("{RESULTS}{{result=\"unauthorized\"}}")), 5.0);
    let log = optimizer.running.output();
    assert!(!log.contains("let-me-i"), "a token stands in the log:\n{log}");
}

#[test]
fn labels_with_newlines_quotes_and_markup_stay_text() {
    let optimizer = Optimizer::start("", "");
    let mut strange = alert("a\nb\"}\\ <script>\u{1F980}", "ab", "firing");
    strange["labels"]["alertname"] = json!("X\n# TYPE y counter\ny 1");
    optimizer.notify(std::slice::from_ref(&strange), 200);
    let entry = optimizer.ended(10);
    assert_eq!(entry["labels"], strange["labels"]);
    assert_eq!(entry["result"], "no_policy");
    let page = get(&optimizer.url("/metrics")).unwrap().1;
    assert!(
        !page.contains("\ny 1\n") && !page.contains("<script"),
        "an alert's text reached the page:\n{page}"
    );
}

#[test]
fn a_slow_client_holds_up_nobody_and_is_cut_off() {
    let optimizer = Optimizer::start("", "");
    let begun = Instant::now();
    let mut slow: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(optimizer.address).unwrap();
            stream
                .write_all(b"POST /api/v1/alerts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer let-me-in\r\n")
                .unwrap();
            stream
        })
        .collect();
    let mut body = TcpStream::connect(optimizer.address).unwrap();
    body.write_all(
        b"POST /api/v1/alerts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer let-me-in\r\nContent-Length: 99\r\n\r\n{",
    )
    .unwrap();
    optimizer.notify(&[alert("cache", "ab", "firing")], 200);
    assert!(begun.elapsed() < Duration::from_secs(5), "the slow ones held up another: {:?}", begun.elapsed());
    // Ten seconds for a body, twenty for a head: then the connection ends.
    let mut text = String::new();
    body.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    body.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    let stream = slow.last_mut().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
}

#[test]
fn more_connections_than_allowed_are_refused_and_then_served_again() {
    let optimizer = Optimizer::start("", "");
    let held: Vec<TcpStream> = (0..128).map(|_| TcpStream::connect(optimizer.address).unwrap()).collect();
    eventually("a refusal", 10, || {
        let mut text = String::new();
        let mut stream = TcpStream::connect(optimizer.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let _cut = stream.read_to_string(&mut text);
        text.starts_with("HTTP/1.1 503").then_some(())
    });
    drop(held);
    eventually("service again", 10, || {
        get(&optimizer.url("/-/healthy")).filter(|(status, _)| *status == 200)
    });
    assert!(optimizer.metric("headroom_http_connections_rejected_total{listener=\"optimizer\"}") >= 1.0);
}

#[test]
fn without_a_writable_state_directory_it_serves_refuses_and_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // A file where the directory should be: nobody can write there, root neither.
    let state = dir.path().join("state");
    std::fs::write(&state, "in the way").unwrap();
    let hook = Hook::start("{\"released_bytes\": 1}", Duration::ZERO);
    let holder_dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(holder_dir.path(), "/dev/zero", 20, "");
    let (top, optimizer) = target(&holder, &hook, "  settle: 50ms\n");
    let optimizer = Optimizer::start_in(dir, &state, &top, &optimizer);
    let answer = optimizer.notify(&[alert("held", "ab", "firing")], 503);
    assert!(answer.contains("send it again"), "{answer}");
    assert_eq!(get(&optimizer.url("/-/healthy")).unwrap().0, 200);
    assert_eq!(get(&optimizer.url("/-/ready")).unwrap().0, 503);
    assert_eq!(optimizer.metric("headroom_optimizer_journal_writable"), 0.0);
    assert_eq!(optimizer.metric(&format!("{RESULTS}{{result=\"unavailable\"}}")), 1.0);
    assert_eq!(hook.calls(), 0, "an action without a journal");
    // Once the directory can be made, everything works without a restart.
    std::fs::remove_file(&state).unwrap();
    std::fs::create_dir(&state).unwrap();
    eventually("the notification is taken", 20, || {
        let answer = optimizer.try_post("let-me-in", notification(&[alert("held", "ab", "firing")]))?;
        (answer.0 == 200).then_some(())
    });
    optimizer.ended(10);
    assert_eq!(hook.calls(), 1);
    assert_eq!(optimizer.metric("headroom_optimizer_journal_writable"), 1.0);
}

#[test]
fn on_a_full_disk_it_refuses_acts_not_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let Some(_mount) = SmallDisk::mount(&state) else {
        eprintln!("SKIPPED: no right to mount a small file system");
        return;
    };
    let hook = Hook::start("{\"released_bytes\": 1}", Duration::ZERO);
    let holder_dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(holder_dir.path(), "/dev/zero", 20, "");
    let (top, text) = target(&holder, &hook, "  settle: 50ms\n");
    let optimizer = Optimizer::start_in(dir, &state, &top, &text);
    eventually("the journal", 10, || {
        (optimizer.metric("headroom_optimizer_journal_writable") == 1.0).then_some(())
    });
    let filler = state.join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    let mut refused = 0;
    for n in 0..60 {
        let fingerprint = format!("{n:02x}");
        let mut alert = alert("nobody", &fingerprint, "firing");
        alert["annotations"]["description"] = json!("x".repeat(8000));
        let (status, text) = optimizer.try_post("let-me-in", notification(&[alert])).unwrap();
        assert!(status == 200 || status == 503, "{status} {text}");
        refused += u32::from(status == 503);
    }
    assert!(refused > 0, "the disk never was full");
    assert_eq!(optimizer.metric("headroom_optimizer_journal_writable"), 0.0);
    assert_eq!(get(&optimizer.url("/-/ready")).unwrap().0, 503);
    assert_eq!(hook.calls(), 0);
    std::fs::remove_file(&filler).unwrap();
    eventually("the notification is taken", 20, || {
        let answer = optimizer.try_post("let-me-in", notification(&[alert("held", "ffff", "firing")]))?;
        (answer.0 == 200).then_some(())
    });
    eventually("the action", 20, || (hook.calls() == 1).then_some(()));
}

/// A target that always is over its budget, and its hook.
pub(crate) fn target(holder: &Holder, hook: &Hook, more: &str) -> (String, String) {
    let top =
        format!("process_groups: [{{name: held, cmdline: ['{}'], memory_budget: 1MiB}}]", holder.marker);
    let optimizer = format!(
        "{more}  guards: {{cooldown: 0s, target_cooldown: 0s, actions_per_hour: 1000}}\n  targets:\n  - {{name: held, \
         process_group: held, hook: {{url: 'http://{}/reclaim', timeout: 2s}}}}\n",
        hook.address
    );
    (top, optimizer)
}

struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: &std::path::Path) -> Option<Self> {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=400k,mode=700", "tmpfs"]).arg(at);
        command.output().ok()?.status.success().then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
