//! What others do for a target: restarts by a command, an engine and Kubernetes; more replicas; people who are told.

use crate::certificates::Certificates;
use crate::fake::Fake;
use crate::silence::alertmanager;
use crate::stack::{Holder, Optimizer, alert, eventually, free_address, get};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An optimizer with one ladder and one target over its budget, which is `marker`'s process.
fn optimizer(marker: &str, ladder: &str, keys: &str) -> Optimizer {
    let top = format!("process_groups: [{{name: held, cmdline: ['{marker}'], memory_budget: 1MiB}}]");
    let optimizer = format!(
        "  settle: 500ms\n  guards: {{cooldown: 0s, target_cooldown: 0s}}\n  policies:\n  - {{name: outside, match: \
         ['headroom_action=\"reclaim\"'], target_label: groupname, ladder: {ladder}}}\n  targets:\n  - {{name: held, \
         process_group: held, {keys}}}\n"
    );
    Optimizer::start(&top, &optimizer)
}

/// The record of the run that an alert leads to.
fn run(optimizer: &Optimizer, fingerprint: &str) -> Value {
    optimizer.notify(&[alert("held", fingerprint, "firing")], 200);
    let entry = optimizer.ended(60);
    assert_eq!(entry["fingerprint"], fingerprint, "{entry:#}");
    entry
}

fn detail(entry: &Value) -> &str {
    entry["steps"][0]["detail"].as_str().unwrap_or_else(|| panic!("{entry:#}"))
}

/// Ends what a script left behind.
struct Left(PathBuf);

impl Drop for Left {
    fn drop(&mut self) {
        if let Ok(pid) = std::fs::read_to_string(&self.0) {
            let _gone = Command::new("kill").args(["-9", pid.trim()]).status();
        }
    }
}

/// A program that ends process `pid` and starts a small one, which a look at command lines takes for the same.
fn script(dir: &Path, pid: u32, marker: &str, starts: bool) -> (PathBuf, Left) {
    let (path, left) = (dir.join("again"), dir.join("again.pid"));
    let start = if starts {
        let left = left.display();
        // Out of the command's own process group before the command ends, as a service of any supervisor is.
        format!(
            "setsid sh -c 'echo $$ > {left}; sleep 600 & wait' {marker} </dev/null >/dev/null 2>&1 &\n\
             until [ -s {left} ]; do sleep 0.05; done\n"
        )
    } else {
        String::new()
    };
    let text = format!(
        "#!/bin/sh\nkill -9 {pid}\n{start}echo \"again: $HEADROOM_TARGET\"\ncat {}/ready\n",
        dir.display()
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(dir.join("ready"), "").unwrap();
    (path, Left(left))
}

#[test]
fn a_target_is_started_again_by_a_command_once_and_what_it_held_counts() {
    // What others take or give back at the same time would be in its figures.
    let _alone = crate::reclaim::alone();
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/urandom", 96, "");
    let (again, _left) = script(dir.path(), holder.pid(), &holder.marker, true);
    let health = format!("health: {{command: [/bin/cat, {}/ready], within: 20s}}", dir.path().display());
    let keys = format!("restart: {{command: [{}], {health}}}", again.display());
    let optimizer = optimizer(&holder.marker, "[restart]", &keys);
    let entry = run(&optimizer, "ab");
    assert_eq!(entry["steps"][0]["verdict"], "freed", "{entry:#}");
    assert!(
        detail(&entry).contains("again: held") && detail(&entry).ends_with("and is healthy"),
        "{entry:#}"
    );
    assert!(entry["steps"][0]["freed_bytes"].as_u64().unwrap() > 60 << 20, "{entry:#}");
    // The new one holds too much as well; it is left alone for an hour.
    let entry = run(&optimizer, "cd");
    assert_eq!(entry["steps"], json!([]), "{entry:#}");
    assert!(entry["reason"].as_str().unwrap().contains("at most once in 1h on this target"), "{entry:#}");
}

#[test]
fn a_target_that_does_not_come_back_is_no_success() {
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 32, "");
    let (again, _left) = script(dir.path(), holder.pid(), &holder.marker, false);
    let address = free_address();
    let keys =
        format!("restart: {{command: [{}], health: {{tcp: '{address}', within: 1s}}}}", again.display());
    let optimizer = optimizer(&holder.marker, "[restart]", &keys);
    let entry = run(&optimizer, "ab");
    let step = &entry["steps"][0];
    assert_eq!((&step["state"], &step["verdict"]), (&"failed".into(), &"no_gain".into()), "{entry:#}");
    assert!(detail(&entry).contains("not within 1s: it is healthy"), "{entry:#}");
    assert!(detail(&entry).contains("nobody has taken the target's place"), "{entry:#}");
}

#[test]
fn a_container_is_restarted_over_the_engines_socket_and_its_own_check_counts() {
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 16, "");
    for (name, restarted, health, want) in [
        ("good", 204, "healthy", "the container good was restarted"),
        ("ill", 204, "unhealthy", "is unhealthy by its own check"),
        ("slow", 204, "starting", "not within 1s: the container slow runs again"),
        ("gone", 404, "healthy", "the engine answered 404 Not Found: \"No such container\""),
        ("odd", 204, "\"", "is not understood"),
    ] {
        let path = dir.path().join(format!("{name}.sock"));
        let listener = UnixListener::bind(&path).unwrap();
        let times = AtomicUsize::new(0);
        let fake = Fake::new(move |head, _| match head {
            h if h.ends_with("/json") => {
                let started = times.load(Ordering::SeqCst);
                let state = format!("{{\"Status\": \"{health}\"}}");
                (
                    200,
                    format!(
                        "{{\"State\": {{\"Running\": true, \"StartedAt\": \"{started}\", \"Health\": {state}}}}}"
                    ),
                )
            }
            _ => {
                times.fetch_add(1, Ordering::SeqCst);
                (restarted, if restarted == 204 { String::new() } else { "No such container".into() })
            }
        });
        let server = fake.clone();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|s| server.serve(s)));
        let keys = format!("restart: {{docker: {name}, socket: {}, grace: 3s, within: 1s}}", path.display());
        let optimizer = optimizer(&holder.marker, "[restart]", &keys);
        let entry = run(&optimizer, "ab");
        assert!(detail(&entry).contains(want), "{want}: {entry:#}");
        if name == "good" {
            assert_eq!(fake.heads()[1], "POST /containers/good/restart?t=3");
            // The engine says so; what the target holds says otherwise.
            assert_eq!(entry["steps"][0]["verdict"], "no_gain", "{entry:#}");
            assert!(detail(&entry).contains("the target holds 100 % of what it held"), "{entry:#}");
        }
    }
}

/// A cluster with two pods of one kind, and a Deployment of three replicas.
fn cluster(budget: bool) -> Fake {
    let evicted = AtomicUsize::new(0);
    let pod = |name: &str, uid: &str, started: &str| {
        json!({"metadata": {"name": name, "uid": uid}, "status": {"phase": "Running", "startTime": started,
            "conditions": [{"type": "Ready", "status": "True"}]}})
    };
    Fake::kubernetes(move |head, body| {
        let gone = evicted.load(Ordering::SeqCst) > 0;
        let message =
            |status: u16, text: &str| (status, json!({"kind": "Status", "message": text}).to_string());
        let base = "/api/v1/namespaces/shop/pods";
        match head {
            h if h.starts_with(&format!("GET {base}?")) => {
                assert!(h.contains("labelSelector=app%3Dcache%2Ctier%21%3Dtest"), "{h}");
                let second = if gone {
                    pod("cache-z", "3", "2026-11-21T10:00:00Z")
                } else {
                    pod("cache-y", "2", "2026-11-20T09:00:00Z")
                };
                let list = [pod("cache-x", "1", "2026-11-20T10:00:00Z"), second];
                (200, json!({"items": list}).to_string())
            }
            h if h == format!("POST {base}/cache-y/eviction") => {
                let sent: Value = serde_json::from_str(body).unwrap();
                assert_eq!(sent["apiVersion"], "policy/v1");
                assert_eq!(
                    sent["deleteOptions"],
                    json!({"gracePeriodSeconds": 10, "preconditions": {"uid": "2"}})
                );
                if budget {
                    return message(429, "Cannot evict pod as it would violate the pod's disruption budget.");
                }
                evicted.fetch_add(1, Ordering::SeqCst);
                (201, "{}".to_owned())
            }
            h if h == format!("GET {base}/cache-y") => {
                if budget || gone {
                    message(404, "not found")
                } else {
                    (200, pod("cache-y", "2", "2026-11-20T09:00:00Z").to_string())
                }
            }
            h if h == format!("DELETE {base}/cache-y") => {
                let sent: Value = serde_json::from_str(body).unwrap();
                assert_eq!(sent["preconditions"], json!({"uid": "2"}));
                evicted.fetch_add(1, Ordering::SeqCst);
                (200, pod("cache-y", "2", "2026-11-20T09:00:00Z").to_string())
            }
            "GET /apis/apps/v1/namespaces/shop/deployments/cache/scale" => {
                (200, json!({"metadata": {"resourceVersion": "77"}, "spec": {"replicas": 3}}).to_string())
            }
            "PATCH /apis/apps/v1/namespaces/shop/deployments/cache/scale" => {
                let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 4}});
                (200, scale.to_string())
            }
            other => message(403, &format!("forbidden: {other}")),
        }
    })
}

/// The keys of the API's server.
fn server(url: &str, dir: &Path, certificates: &Certificates) -> String {
    std::fs::write(dir.join("account"), "in-cluster\n").unwrap();
    let (token, ca) = (dir.join("account"), certificates.path("ca.crt"));
    format!("server: {{url: '{url}', token_file: {}, ca_file: {}}}", token.display(), ca.display())
}

#[test]
fn a_pod_is_evicted_as_the_budgets_allow_and_its_place_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 16, "");
    let certificates = Certificates::new();
    for (budget, want) in [(false, "the pod cache-y was evicted"), (true, "as a disruption budget demands")] {
        let fake = cluster(budget);
        let server = server(&fake.https(&certificates), dir.path(), &certificates);
        let pod = format!("namespace: shop, selector: 'app=cache,tier!=test', node: n1, {server}");
        let optimizer =
            optimizer(&holder.marker, "[restart]", &format!("restart: {{kubernetes: {{{pod}}}}}"));
        let entry = run(&optimizer, "ab");
        assert!(detail(&entry).contains(want), "{entry:#}");
        let heads = fake.heads();
        assert!(heads.iter().all(|h| h.ends_with(" Bearer in-cluster")), "{heads:?}");
        assert!(heads.iter().any(|h| h.contains("fieldSelector=spec.nodeName%3Dn1")), "{heads:?}");
        assert_eq!(fake.faults(), [""; 0]);
    }
    // Without asking budgets.
    let fake = cluster(false);
    let server_keys = server(&fake.https(&certificates), dir.path(), &certificates);
    let pod = format!("namespace: shop, pod: cache-y, evict: false, {server_keys}");
    let entry =
        run(&optimizer(&holder.marker, "[restart]", &format!("restart: {{kubernetes: {{{pod}}}}}")), "ab");
    assert!(detail(&entry).contains("the pod cache-y was deleted"), "{entry:#}");
    assert_eq!(fake.faults(), [""; 0]);
    // A server whose certificate is not signed by that authority gets no token.
    let fake = cluster(false);
    let server = server(&fake.https(&Certificates::new()), dir.path(), &certificates);
    let keys = format!("restart: {{kubernetes: {{namespace: shop, pod: cache-y, {server}}}}}");
    let entry = run(&optimizer(&holder.marker, "[restart]", &keys), "ab");
    assert!(detail(&entry).contains("no TLS with "), "{entry:#}");
    assert_eq!(fake.heads(), [""; 0]);
}

#[test]
fn a_workload_gets_one_replica_more_and_never_more_than_its_most() {
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 16, "");
    let certificates = Certificates::new();
    let fake = cluster(false);
    let server = server(&fake.https(&certificates), dir.path(), &certificates);
    let ladder = |max: u32| {
        let workload = format!("namespace: shop, name: cache, by: 2, max: {max}, {server}");
        let optimizer =
            optimizer(&holder.marker, "[scale]", &format!("scale: {{kubernetes: {{{workload}}}}}"));
        run(&optimizer, "ab")
    };
    let entry = ladder(4);
    assert_eq!(entry["steps"][0]["verdict"], "applied", "{entry:#}");
    assert_eq!(detail(&entry), "cache gets 4 replicas, of 3");
    let patch = fake.requests().into_iter().find(|(head, _)| head.starts_with("PATCH")).unwrap();
    let sent: Value = serde_json::from_str(&patch.1).unwrap();
    assert_eq!(sent, json!({"metadata": {"resourceVersion": "77"}, "spec": {"replicas": 4}}));
    let entry = ladder(3);
    assert!(detail(&entry).contains("3 is the most that it may get"), "{entry:#}");
    assert_eq!(fake.heads().iter().filter(|h| h.starts_with("PATCH")).count(), 1);
    assert_eq!(fake.faults(), [""; 0]);
}

#[test]
fn others_are_told_by_json_and_people_by_an_alert_in_the_real_alertmanager() {
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 16, "");
    std::fs::write(dir.path().join("secret"), "s3cret\n").unwrap();
    let scaler = Fake::new(|_, _| (202, String::new()));
    let pager = Fake::new(|_, _| (500, "x".repeat(100_000)));
    let address = free_address();
    let token = format!("token_file: {}", dir.path().join("secret").display());
    let keys = format!(
        "scale: {{webhook: {{url: '{}/up?x=1', {token}}}}}, notify: {{webhook: {{url: '{}/'}}, alertmanager: {{url: \
         'http://{address}'}}}}",
        scaler.http(),
        pager.http()
    );
    let optimizer = optimizer(&holder.marker, "[scale, notify]", &keys);
    let Some(_server) = alertmanager(dir.path(), address, &optimizer) else { return };
    let mut odd = alert("held", "ab", "firing");
    odd["labels"]["owner"] = "\"; rm -rf / #\n$(x)".into();
    optimizer.notify(&[odd.clone()], 200);
    let entry = eventually("the run ends", 60, || {
        optimizer.entries("limit=10").into_iter().find(|e| e["fingerprint"] == "ab" && e["state"] == "ended")
    });
    let requests = scaler.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!(requests[0].0, "POST /up?x=1 Bearer s3cret");
    let sent: Value = serde_json::from_str(&requests[0].1).unwrap();
    assert_eq!((&sent["labels"], &sent["target"]), (&odd["labels"], &"held".into()));
    // One of two ways to people failed, and its long answer is cut.
    let told = &entry["steps"][1];
    assert_eq!((&told["action"], &told["verdict"]), (&"notify".into(), &"applied".into()), "{entry:#}");
    let said = told["detail"].as_str().unwrap();
    assert!(said.contains("answered 500") && said.contains("accepted it (200 OK)"), "{said}");
    assert!(said.len() < 600, "{said}");
    let (_, body) = get(&format!("http://{address}/api/v2/alerts")).unwrap();
    let alerts: Value = serde_json::from_str(&body).unwrap();
    let labels = &alerts[0]["labels"];
    assert_eq!(labels["alertname"], "HeadroomInvestigate", "{alerts:#}");
    assert_eq!((&labels["cause"], &labels["target"]), (&odd["labels"]["alertname"], &"held".into()));
    assert_eq!(labels["headroom_action"], Value::Null, "it would call for itself");
    // It reached the webhook as any alert does, and led to nothing.
    let own = eventually("the alert comes back", 60, || {
        optimizer.entries("limit=10").into_iter().find(|e| e["alertname"] == "HeadroomInvestigate")
    });
    assert_eq!(own["result"], "no_policy", "{own:#}");
    // For the next run nobody is told again.
    let entry = run(&optimizer, "cd");
    assert_eq!(entry["steps"], json!([]), "{entry:#}");
    assert_eq!(scaler.requests().len(), 1);
}

#[test]
fn nobody_elses_answer_is_waited_for_once_all_is_to_stop() {
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 16, "");
    let hangs = || {
        Fake::new(|head, _| match head {
            h if h.ends_with("/json") => {
                (200, "{\"State\": {\"Running\": true, \"StartedAt\": \"0\"}}".to_owned())
            }
            _ => {
                std::thread::sleep(std::time::Duration::from_mins(5));
                (200, String::new())
            }
        })
    };
    let socket = dir.path().join("engine.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || listener.incoming().flatten().for_each(|s| hangs().serve(s)));
    let (webhook, api) = (hangs().http(), hangs().http());
    for (ladder, keys) in [
        ("[scale]", format!("scale: {{webhook: {{url: '{webhook}', timeout: 50s}}}}")),
        ("[restart]", format!("restart: {{docker: slow, socket: {}, within: 50s}}", socket.display())),
        ("[restart]", format!("restart: {{kubernetes: {{pod: a, server: {{url: '{api}', timeout: 50s}}}}}}")),
    ] {
        let optimizer = optimizer(&holder.marker, ladder, &keys);
        optimizer.notify(&[alert("held", "ab", "firing")], 200);
        eventually("the action begins", 30, || {
            optimizer.running.output().contains("action begins").then_some(())
        });
        std::fs::write(optimizer.dir.path().join("state/paused"), "by a test\n").unwrap();
        let detail = eventually("the step's end, long before the other's time is over", 30, || {
            optimizer.entries("limit=1").first()?["steps"][0]["detail"].as_str().map(str::to_owned)
        });
        assert!(detail.contains("no answer was waited for: paused: by a test"), "{keys}: {detail}");
    }
}

#[test]
fn a_webhooks_address_is_called_and_stands_in_no_record_and_no_log() {
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 16, "");
    let (good, bad) = (Fake::new(|_, _| (200, String::new())), Fake::new(|_, _| (500, String::new())));
    let hook = Fake::new(|_, _| (200, "{\"released_bytes\": 1}".to_owned()));
    let (address, file) = (good.http(), dir.path().join("pager-url"));
    std::fs::write(&file, format!("{}/pager/s3cret\n", bad.http())).unwrap();
    let keys = format!(
        "hook: {{url: '{}/hook?key=s3cret'}}, scale: {{webhook: {{url: '{address}/T/B/s3cret?t=s3cret'}}}}, notify: \
         {{webhook: {{url_file: {}}}}}, restart: {{command: [/bin/true], within: 1s, health: {{http: \
         '{address}/health/s3cret', within: 1s}}}}",
        hook.http(),
        file.display()
    );
    let optimizer = optimizer(&holder.marker, "[app_hook, scale, restart, notify]", &keys);
    let entry = run(&optimizer, "ab");
    assert_eq!(entry["steps"].as_array().unwrap().len(), 4, "{entry:#}");
    assert_eq!(good.heads(), ["POST /T/B/s3cret?t=s3cret", "GET /health/s3cret"]);
    assert_eq!((bad.heads(), hook.heads().len()), (vec!["POST /pager/s3cret".to_owned()], 1));
    let record = entry.to_string();
    assert!(record.contains(&address) && record.contains("the address in "), "{entry:#}");
    let log = optimizer.running.output();
    assert!(log.contains("action begins"), "{log}");
    // The journal as it lies on the disk, with what has no page.
    let journal: Vec<u8> = std::fs::read_dir(optimizer.dir.path().join("state"))
        .unwrap()
        .flatten()
        .filter(|f| f.file_name().to_string_lossy().starts_with("journal"))
        .flat_map(|f| std::fs::read(f.path()).unwrap())
        .collect();
    assert!(journal.windows(5).any(|w| w == b"scale"), "it is the journal");
    for (place, text) in
        [("record", record), ("log", log), ("journal", String::from_utf8_lossy(&journal).into())]
    {
        assert!(!text.contains("s3cret"), "{place}: {text}");
    }
    let command = Command::new(crate::stack::HEADROOM)
        .args(["reclaim", "held", "--bytes", "1MiB", "--ladder", "app_hook", "--dry-run", "--config"])
        .arg(optimizer.dir.path().join("headroom.yaml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&command.stdout);
    assert!(said.contains("dry run") && !said.contains("s3cret"), "{said}");
}
