//! The kit as an application in Rust uses it (`examples/kit_service.rs`): asked by the real optimizer, and measured from outside.

use crate::kit_python::check_freed;
use crate::stack::{Optimizer, Running, alert, eventually, free_address};
use headroom::client::{Call, send_blocking};
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

const TOKEN: &str = "open-sesame";
const THUMBNAILS: u32 = 96;

/// The example program, built as it is now.
fn built() -> PathBuf {
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--locked", "--example", "kit_service", "--manifest-path"]);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    // What cargo tells this test of its package would have build scripts run anew, and the whole program be built again.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|its| name.to_string_lossy().starts_with(its)) {
            command.env_remove(name);
        }
    }
    assert!(command.status().unwrap().success());
    let here = std::env::current_exe().unwrap();
    here.parent().unwrap().parent().unwrap().join("examples/kit_service")
}

/// The service, with what a day of requests leaves in it: a cache of 96 MiB, a pool of up to 32, a model of 64.
struct Service {
    running: Running,
    front: SocketAddr,
    /// Where the hook listens.
    hook: String,
    dir: tempfile::TempDir,
}

impl Service {
    fn start(over_unix: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("hook-token");
        std::fs::write(&token, TOKEN).unwrap();
        let front = free_address();
        let hook = if over_unix {
            format!("unix:{}", dir.path().join("hook.sock").display())
        } else {
            free_address().to_string()
        };
        let mut command = Command::new(built());
        command.args([&front.to_string(), &hook]).arg(&token);
        let running = Running::start(&mut command, &dir.path().join("service.log"));
        let service = Self { running, front, hook, dir };
        eventually("it is healthy", 60, || (service.get("/health")?.0 == 200).then_some(()));
        let next = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::SeqCst);
                        if number >= THUMBNAILS {
                            return;
                        }
                        let url = format!("http://{front}/thumbnail/{number}");
                        let call = Call { answer_bytes_max: 4 << 20, ..Call::get(url) };
                        let (status, body) = send_blocking(call).unwrap();
                        assert_eq!((status.as_u16(), body.len()), (200, 1 << 20));
                    }
                });
            }
        });
        service
    }

    fn get(&self, path: &str) -> Option<(u16, String)> {
        let (status, body) = send_blocking(call_at(&self.hook, path)).ok()?;
        Some((status.as_u16(), String::from_utf8(body.to_vec()).unwrap()))
    }

    fn metric(&self, series: &str) -> Option<f64> {
        crate::page::value(&self.get("/metrics")?.1, series)
    }

    /// What the kernel says of it.
    fn resident_bytes(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.running.pid())).unwrap();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * rustix::param::page_size() as u64
    }

    /// Asks for all of a kind; what it says that it released, and what the kernel says that it lost.
    fn asked(&self, kind: &str) -> (u64, u64) {
        let before = self.resident_bytes();
        let body = json!({ "bytes": 1 << 30, "urgency": "high", "kind": kind });
        let (status, answer) = post(&self.hook, "/headroom/reclaim", TOKEN, &body.to_string());
        assert_eq!(status, 200, "{answer}");
        (answer["released_bytes"].as_u64().unwrap(), before.saturating_sub(self.resident_bytes()))
    }
}

/// A call of a hook that listens at an address or a socket.
fn call_at(hook: &str, path: &str) -> Call {
    match hook.strip_prefix("unix:") {
        Some(socket) => Call { unix: Some(socket.into()), ..Call::get(format!("http://localhost{path}")) },
        None => Call::get(format!("http://{hook}{path}")),
    }
}

/// The optimizer's call, by hand.
fn question(hook: &str, path: &str, token: &str, body: &str) -> Call {
    Call {
        method: Method::POST,
        authorization: Some(HeaderValue::from_str(&format!("Bearer {token}")).unwrap()),
        body: Some(body.as_bytes().to_vec()),
        ..call_at(hook, path)
    }
}

fn post(hook: &str, path: &str, token: &str, body: &str) -> (u16, Value) {
    let (status, body) = send_blocking(question(hook, path, token, body)).unwrap();
    (status.as_u16(), serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[test]
fn each_part_gives_memory_back_and_the_kernel_sees_it() {
    let service = Service::start(false);
    assert!(service.resident_bytes() > 170 << 20, "{}", service.resident_bytes());
    for (kind, part, mib) in [
        ("unload_models", "colours", 56_u64),
        ("shrink_pools", "canvases", 7),
        ("drop_caches", "thumbnails", 80),
    ] {
        let held = format!("headroom_kit_held_bytes{{kind=\"{kind}\",part=\"{part}\"}}");
        assert!(service.metric(&held).unwrap() > (mib << 20) as f64, "{kind}");
        let (released, lost) = service.asked(kind);
        assert!(released > mib << 20 && lost > mib << 20, "{kind}: said {released}, lost {lost}");
        assert_eq!(service.metric(&held), Some(0.0), "{kind}");
    }
    assert!(service.resident_bytes() < 40 << 20, "{}", service.resident_bytes());
    // And it serves, with what it had to make again.
    let (status, _) = send_blocking(Call {
        answer_bytes_max: 4 << 20,
        ..Call::get(format!("http://{}/thumbnail/1", service.front))
    })
    .unwrap();
    assert_eq!(status, 200);
    let loads = "headroom_kit_model_loads_total{kind=\"unload_models\",part=\"colours\"}";
    assert_eq!(service.metric(loads), Some(2.0));
    let requests = "http_server_requests_total{code=\"200\",method=\"GET\"}";
    assert_eq!(service.metric(requests), Some(f64::from(THUMBNAILS + 1)));
}

#[test]
fn the_optimizer_asks_and_the_machine_has_it() {
    let _alone = crate::reclaim::alone();
    for over_unix in [false, true] {
        let service = Service::start(over_unix);
        let place = match service.hook.strip_prefix("unix:") {
            Some(path) => format!("unix: {path}"),
            None => format!("url: 'http://{}/headroom/reclaim'", service.hook),
        };
        std::fs::write(service.dir.path().join("wrong-token"), "open-barley\n").unwrap();
        let token = |name: &str| format!("token_file: {}", service.dir.path().join(name).display());
        let hooks: Vec<String> =
            [("gc", "wrong-token"), ("prune", "hook-token"), ("drop_caches", "hook-token")]
                .iter()
                .map(|(kind, name)| format!("{{kind: {kind}, {place}, {}}}", token(name)))
                .collect();
        let top = format!(
            "process_groups: [{{name: held, cmdline: ['kit_service {}'], memory_budget: 120MiB}}]",
            service.front
        );
        let keys = format!(
            "  settle: 5s\n  guards: {{cooldown: 0s, target_cooldown: 0s, min_gain: 8MiB, actions_per_hour: 1000}}\n  policies:\n  \
             - {{name: ask, match: ['headroom_action=\"reclaim\"'], target_label: groupname, ladder: [{}]}}\n  targets:\n  - \
             {{name: held, process_group: held, hooks: [{}]}}\n",
            ["gc", "prune", "drop_caches"]
                .map(|kind| format!("{{action: app_hook, with: {{kind: {kind}}}}}"))
                .join(", "),
            hooks.join(", ")
        );
        let optimizer = Optimizer::start(&top, &keys);
        optimizer.notify(&[alert("held", "ab", "firing")], 200);
        let entry = optimizer.ended(60);
        let details: Vec<&str> =
            entry["steps"].as_array().unwrap().iter().map(|s| s["detail"].as_str().unwrap()).collect();
        assert_eq!(details.len(), 3, "{entry:#}");
        assert!(details[0].contains("answered 401"), "{entry:#}");
        assert!(details[1].contains("answered 404") && details[1].contains("'prune'"), "{entry:#}");
        assert!(details[2].contains("says that it released"), "{entry:#}");
        assert_eq!(entry["result"], "effective", "{entry:#}");
        check_freed(&entry, 60);
        assert_eq!(service.metric("headroom_kit_requests_total{origin=\"http\"}"), Some(1.0));
    }
}

/// What an answer is made of: its status, and the names in it, one level deep and in its first part.
fn shape((status, answer): (u16, Value)) -> (u16, BTreeSet<String>) {
    let names = |value: &Value| -> BTreeSet<String> {
        value.as_object().map(|o| o.keys().cloned().collect()).unwrap_or_default()
    };
    let part = names(&answer["parts"][0]).into_iter().map(|name| format!("parts.{name}"));
    (status, names(&answer).into_iter().chain(part).collect())
}

#[test]
fn the_kits_for_python_and_for_rust_speak_one_protocol() {
    let Some(python) = crate::kit_python::Service::start(false, None) else { return };
    let rust = Service::start(false);
    let mebibyte = json!({ "bytes": 1 << 20, "urgency": "low", "target": "held" }).to_string();
    let kind =
        |kind: &str| json!({ "bytes": 1, "urgency": "low", "target": "held", "kind": kind }).to_string();
    let path = "/headroom/reclaim";
    let huge = " ".repeat(70_000);
    for (name, path, token, body) in [
        ("a request", path, TOKEN, mebibyte.as_str()),
        ("only bytes", path, TOKEN, r#"{"bytes": 1}"#),
        ("a kind", path, TOKEN, &kind("drop_caches")),
        ("a kind that is not there", path, TOKEN, &kind("prune")),
        ("a kind in the path", "/headroom/drop_caches", TOKEN, &mebibyte),
        ("a kind in the path that is not there", "/headroom/prune", TOKEN, &mebibyte),
        ("another path", "/other", TOKEN, &mebibyte),
        ("a wrong token", path, "open-barley", &mebibyte),
        ("a negative number", path, TOKEN, r#"{"bytes": -1}"#),
        ("a fraction", path, TOKEN, r#"{"bytes": 1.5}"#),
        ("no number", path, TOKEN, r#"{"urgency": "low"}"#),
        ("another urgency", path, TOKEN, r#"{"bytes": 1, "urgency": "now"}"#),
        ("no object", path, TOKEN, "[1]"),
        ("no JSON", path, TOKEN, "released"),
        ("too much", path, TOKEN, &huge),
    ] {
        let [python, rust] = [&python.listen, &rust.hook].map(|hook| shape(post(hook, path, token, body)));
        assert_eq!(python, rust, "{name}");
        assert!(python.0 != 0 && !python.1.is_empty(), "{name}: {python:?}");
    }
    for (status, content_type) in [(200, "application/json; charset=utf-8"), (415, "text/plain")] {
        let headers: HeaderMap =
            [(CONTENT_TYPE, HeaderValue::from_static(content_type))].into_iter().collect();
        for hook in [&python.listen, &rust.hook] {
            let call = Call { headers: headers.clone(), ..question(hook, path, TOKEN, &mebibyte) };
            assert_eq!(send_blocking(call).unwrap().0, status, "{content_type} to {hook}");
        }
    }
    for hook in [&python.listen, &rust.hook] {
        assert_eq!(send_blocking(call_at(hook, path)).unwrap().0, 401, "{hook}");
    }
    let held = |hook: &str| {
        let authorization = Some(HeaderValue::from_static("Bearer open-sesame"));
        let (status, body) = send_blocking(Call { authorization, ..call_at(hook, path) }).unwrap();
        shape((status.as_u16(), serde_json::from_slice(&body).unwrap()))
    };
    assert_eq!(held(&python.listen), held(&rust.hook));
    let [python, rust] = [&python.listen, &rust.hook].map(|hook| {
        let (_, page) = send_blocking(call_at(hook, "/metrics")).unwrap();
        let page = String::from_utf8(page.to_vec()).unwrap();
        page.lines()
            .filter(|l| l.starts_with("# TYPE headroom_kit_"))
            .map(String::from)
            .collect::<BTreeSet<_>>()
    });
    // Rust has parts besides, that this service in Python has not.
    assert!(python.len() > 8 && python.is_subset(&rust), "{python:#?} {rust:#?}");
}
