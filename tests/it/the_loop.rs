//! The whole loop on real servers: Prometheus scrapes and evaluates, Alertmanager notifies, memory is given back.

use crate::stack::{
    HEADROOM, Holder, Hook, Optimizer, Running, alert, eventually, free_address, get, program,
};
use headroom::client::{Call, send_blocking};
use headroom::stack::files::{self, Wiring};
use hyper::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn servers() -> bool {
    program(&["prometheus"]).is_some() && program(&["prometheus-alertmanager", "alertmanager"]).is_some()
}

/// `headroom demo`: its exit code and its summary.
fn demo(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(HEADROOM).args(["demo", "--json"]).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    eprintln!("{text}{}", String::from_utf8_lossy(&output.stderr));
    let json = text.lines().rev().find_map(|line| serde_json::from_str(line).ok()).unwrap();
    (output.status.code(), json)
}

#[test]
fn the_loop_closes() {
    if !servers() {
        return;
    }
    // What others take or give back at the same time would be in its figures.
    let _alone = crate::reclaim::alone();
    let (code, summary) = demo(&[]);
    assert_eq!(code, Some(0));
    assert_eq!(summary["closed"], true, "{summary:#}");
    assert!(summary["freed_bytes"].as_u64().unwrap() >= 8 << 20, "{summary:#}");
}

#[test]
fn the_loop_closes_with_an_application_in_python() {
    if !servers() || program(&["python3"]).is_none() {
        return;
    }
    let _alone = crate::reclaim::alone();
    let (code, summary) = demo(&["--python"]);
    assert_eq!(code, Some(0));
    assert_eq!(summary["closed"], true, "{summary:#}");
    assert!(summary["freed_bytes"].as_u64().unwrap() >= 8 << 20, "{summary:#}");
}

#[test]
fn without_a_python_that_works_the_demonstration_says_so_before_it_starts_anything() {
    let dir = tempfile::tempdir().unwrap();
    let demo = || {
        let mut command = Command::new(HEADROOM);
        command.args(["demo", "--python"]).env("PATH", dir.path()).env("TMPDIR", dir.path());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(demo().contains("needs python3, and there is none on the PATH (Debian, Ubuntu: apt-get install"));
    let python = dir.path().join("python3");
    for (script, want) in [
        ("#!/bin/sh\necho 3.8", "needs Python 3.9 or newer"),
        ("#!/bin/sh\necho broken >&2; exit 3", "does not work: exit status: 3: broken"),
    ] {
        std::fs::write(&python, script).unwrap();
        std::fs::set_permissions(&python, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let said = demo();
        assert!(said.contains(want), "{said}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
}

#[test]
fn an_application_that_is_ill_never_counts_as_freed() {
    if !servers() {
        return;
    }
    std::thread::scope(|scope| {
        for manner in ["hangs", "fails", "nonsense", "lies"] {
            scope.spawn(move || {
                let (code, summary) = demo(&["--manner", manner, "--timeout", "90s"]);
                assert_eq!(code, Some(1), "{manner}: {summary:#}");
                assert_eq!(summary["result"], "exhausted", "{manner}: {summary:#}");
                assert_eq!(summary["freed_bytes"], 0, "{manner}: {summary:#}");
            });
        }
    });
}

#[test]
fn alertmanager_restarted_in_the_middle_costs_time_and_nothing_else() {
    if !servers() {
        return;
    }
    // What others take or give back at the same time would be in its figures.
    let _alone = crate::reclaim::alone();
    let [exporter, address, prometheus, alertmanager, application] = [(); 5].map(|()| free_address());
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    std::fs::write(dir.path().join("token"), "let-me-in\n").unwrap();
    let text = format!(
        "state_dir: {}\nexporter: {{listen: '0.0.0.0:{}', collectors: {{textfile: {{directories: ['{}']}}}}}}\n\
         services: [{{name: prometheus, latency: {{histogram: prometheus_http_request_duration_seconds}}, \
         errors: {{metric: prometheus_http_requests_total, match: ['code=~\"5..\"']}}, \
         objectives: {{p50: {{target: 100ms}}, p99: {{target: 400ms}}}}}}]\n\
         up: {{interval: 1s, for_max: 3s, prometheus: {{listen: '{prometheus}'}}, alertmanager: {{listen: '{alertmanager}'}}}}\n\
         process_groups: [{{name: sample, cmdline: ['demo-app --listen {application}'], memory_budget: 100MiB}}]\n\
         optimizer:\n  listen: {address}\n  token_file: token\n  targets:\n  - {{name: sample, process_group: sample, \
         hook: {{url: 'http://{application}/headroom/reclaim'}}}}\n",
        state.display(),
        exporter.port(),
        crate::benchmarks::recorded(&state, dir.path()).display(),
    );
    std::fs::write(dir.path().join("headroom.yaml"), text).unwrap();
    let mut command = Command::new(HEADROOM);
    command.args(["up", "--config"]).arg(dir.path().join("headroom.yaml"));
    let running = Running::start(&mut command, &dir.path().join("log"));
    let mut up = Optimizer { running, dir, address, trust: None };
    for server in [prometheus, alertmanager] {
        eventually("the servers are ready", 60, || {
            get(&format!("http://{server}/-/ready")).filter(|(status, _)| *status == 200)
        });
    }
    // Under a name of its own: Headroom never touches itself.
    let sample = up.dir.path().join("sample");
    std::os::unix::fs::symlink(HEADROOM, &sample).unwrap();
    let mut command = Command::new(&sample);
    command.args(["demo-app", "--listen", &application.to_string(), "--grow", "60", "--most", "200"]);
    let _app = Running::start(&mut command, &up.dir.path().join("app.log"));
    let alerts = || -> Option<Value> {
        let (_, text) = get(&format!("http://{prometheus}/api/v1/alerts"))?;
        let all: Value = serde_json::from_str(&text).ok()?;
        all["data"]["alerts"].as_array()?.iter().find(|a| a["labels"]["groupname"] == "sample").cloned()
    };
    eventually("the alert is pending", 60, alerts);
    kill_child(&up.running, "alertmanager", Signal::KILL);
    eventually("the alert fires without Alertmanager", 60, || alerts().filter(|a| a["state"] == "firing"));
    let entry = up.ended(90);
    assert_eq!(entry["result"], "effective", "{entry:#}");
    assert_eq!(entry["steps"].as_array().unwrap().len(), 1, "{entry:#}");
    // Once more, now that it has been notified: what it repeats is the same episode.
    eventually("Alertmanager is there", 60, || get(&format!("http://{alertmanager}/-/ready")));
    kill_child(&up.running, "alertmanager", Signal::TERM);
    eventually("Alertmanager is there again", 60, || get(&format!("http://{alertmanager}/-/ready")));
    let again = json!([{ "labels": entry["labels"], "annotations": {}, "startsAt": "2026-11-21T00:00:00Z" }]);
    let post = Call {
        method: Method::POST,
        body: Some(again.to_string().into_bytes()),
        ..Call::get(format!("http://{alertmanager}/api/v2/alerts"))
    };
    assert_eq!(send_blocking(post).unwrap().0, 200);
    std::thread::sleep(Duration::from_secs(7));
    let acted: Vec<Value> = up.entries("").into_iter().filter(|e| e["steps"] != json!([])).collect();
    assert_eq!(acted.len(), 1, "{acted:#?}");
    dashboards_show(prometheus);
    up.running.signal(Signal::TERM);
    assert!(up.running.end(10).success());
    for server in [prometheus, alertmanager, exporter] {
        assert!(get(&format!("http://{server}/-/ready")).is_none(), "{server} outlived `up`");
    }
}

/// Every panel of the dashboards has data on this Prometheus, which has seen an action.
fn dashboards_show(prometheus: SocketAddr) {
    if program(&["python3"]).is_none() || program(&["promtool"]).is_none() {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dashboards.py");
    let mut said = String::new();
    // Rates want a minute of samples.
    let deadline = Instant::now() + Duration::from_secs(150);
    while Instant::now() < deadline {
        let output =
            Command::new(&script).args(["--busy", &format!("http://{prometheus}")]).output().unwrap();
        if output.status.success() {
            return;
        }
        said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        std::thread::sleep(Duration::from_secs(5));
    }
    panic!("{said}");
}

/// Sends a signal to a child of `headroom up` by its name.
fn kill_child(up: &Running, name: &str, signal: Signal) {
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", up.pid())).unwrap();
    let pid = children
        .split_whitespace()
        .find(|pid| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).split('\0').next().unwrap_or_default().ends_with(name)
        })
        .unwrap_or_else(|| panic!("{name} is not among {children}"));
    let process = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(process, signal).unwrap();
    eventually("its end", 20, || (!Path::new("/proc").join(pid).exists()).then_some(()));
}

#[test]
fn the_servers_end_with_a_killed_headroom_up() {
    if !servers() {
        return;
    }
    let [exporter, address, prometheus, alertmanager] = [(); 4].map(|()| free_address());
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "state_dir: {}\nexporter: {{listen: '{exporter}'}}\noptimizer: {{listen: '{address}'}}\n\
         up: {{prometheus: {{listen: '{prometheus}'}}, alertmanager: {{listen: '{alertmanager}'}}}}\n",
        dir.path().join("state").display()
    );
    std::fs::write(dir.path().join("c.yaml"), text).unwrap();
    let mut command = Command::new(HEADROOM);
    command.args(["up", "--config"]).arg(dir.path().join("c.yaml"));
    let mut up = Running::start(&mut command, &dir.path().join("log"));
    for server in [prometheus, alertmanager] {
        eventually("the servers are ready", 60, || get(&format!("http://{server}/-/ready")));
    }
    up.kill();
    for server in [prometheus, alertmanager] {
        eventually("the end of the servers", 30, || {
            get(&format!("http://{server}/-/ready")).is_none().then_some(())
        });
    }
}

#[test]
fn two_alertmanagers_of_a_cluster_lead_to_one_run() {
    let Some(program) = program(&["prometheus-alertmanager", "alertmanager"]) else { return };
    let hook = Hook::start("{\"released_bytes\": 1}", Duration::ZERO);
    let holder_dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(holder_dir.path(), "/dev/zero", 20, "");
    let (top, text) = crate::hostile::target(&holder, &hook, "  settle: 50ms\n");
    // The cool-down keeps the run waiting for a while, so that it can be killed between accepting and acting.
    let mut optimizer = Optimizer::start(&top, &text.replace("target_cooldown: 0s", "target_cooldown: 6s"));
    let [one, two, gossip_one, gossip_two] = [(); 4].map(|()| free_address());
    let _one = alertmanager(&program, &optimizer, one, gossip_one, gossip_two);
    let _two = alertmanager(&program, &optimizer, two, gossip_two, gossip_one);
    for address in [one, two] {
        eventually("a cluster of two", 60, || {
            let (_, text) = get(&format!("http://{address}/api/v2/status"))?;
            let status: Value = serde_json::from_str(&text).ok()?;
            (status["cluster"]["peers"].as_array()?.len() == 2).then_some(())
        });
    }
    optimizer.notify(&[alert("held", "aa", "firing")], 200);
    optimizer.ended(20);
    for address in [one, two] {
        let labels = &alert("held", "", "firing")["labels"];
        let alerts = json!([{ "labels": labels, "annotations": {}, "startsAt": "2026-11-21T05:00:00Z" }]);
        let call = Call {
            method: Method::POST,
            body: Some(alerts.to_string().into_bytes()),
            ..Call::get(format!("http://{address}/api/v2/alerts"))
        };
        assert_eq!(send_blocking(call).unwrap().0, 200);
    }
    let delivered = || optimizer.entries("limit=1").into_iter().find(|e| e["deliveries"].as_i64() >= Some(2));
    let waiting = eventually("both have delivered", 60, delivered);
    assert_ne!(waiting["fingerprint"], "aa");
    optimizer.running.kill();
    let acted = hook.calls();
    optimizer.restart();
    let entry = optimizer.ended(30);
    assert_eq!(entry["id"], waiting["id"], "{entry:#}");
    assert_eq!(entry["steps"].as_array().unwrap().len(), 1, "{entry:#}");
    std::thread::sleep(Duration::from_secs(1));
    assert!(acted <= 2 && hook.calls() == 2, "{acted} calls before the kill, {} in all", hook.calls());
    assert_eq!(optimizer.entries("").len(), 2);
}

fn alertmanager(
    program: &Path,
    optimizer: &Optimizer,
    listen: SocketAddr,
    gossip: SocketAddr,
    peer: SocketAddr,
) -> Running {
    let options = headroom::stack::Options::default();
    let token_file = optimizer.token_file();
    let wiring = Wiring {
        options: &options,
        exporter: listen,
        telemetry_path: "/metrics",
        optimizer: optimizer.address,
        token_file: &token_file,
        services: ("services.yml", "groups: []\n"),
    };
    let dir = optimizer.dir.path().join(format!("am-{}", listen.port()));
    let generated = files::write(&dir, &wiring).unwrap();
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", generated.alertmanager.display()))
        .arg(format!("--storage.path={}", dir.join("data").display()))
        .arg(format!("--web.listen-address={listen}"))
        .arg(format!("--cluster.listen-address={gossip}"))
        .arg(format!("--cluster.peer={peer}"))
        // No wait for the other's notification: both send, as they do when their gossip is slower than the network.
        .args(["--cluster.peer-timeout=0s", "--cluster.settle-timeout=0s", "--cluster.gossip-interval=30s"]);
    Running::start(&mut command, &optimizer.dir.path().join(format!("am-{}.log", listen.port())))
}
