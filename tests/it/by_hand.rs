//! What people do themselves: a run by hand, the emergency stop, and what the code says about its actions.

use crate::stack::{HEADROOM, Holder, Hook, Optimizer, Running, eventually, free_address, get};
use headroom::client::{Call, send_blocking};
use headroom::optimize::action::REGISTRY;
use hyper::Method;
use hyper::header::HeaderValue;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// `headroom` with this configuration: exit code, standard output, standard error.
fn headroom(config: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(HEADROOM).args(arguments).arg("--config").arg(config).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn config(optimizer: &Optimizer) -> std::path::PathBuf {
    optimizer.dir.path().join("headroom.yaml")
}

/// Calls a page with a token: status and body.
fn call(optimizer: &Optimizer, method: Method, page: &str, token: &str, body: &str) -> (u16, String) {
    let call = Call {
        method,
        authorization: Some(HeaderValue::from_str(&format!("Bearer {token}")).unwrap()),
        body: Some(body.as_bytes().to_vec()),
        ..Call::get(optimizer.url(page))
    };
    let (status, body) = send_blocking(call).unwrap();
    (status.as_u16(), String::from_utf8_lossy(&body).into_owned())
}

/// An optimizer with a target that holds memory, and a hook that only says that it gave some back.
fn with_a_liar() -> (Optimizer, Hook, Holder, tempfile::TempDir) {
    let hook = Hook::start("{\"released_bytes\": 1}", Duration::ZERO);
    let dir = tempfile::tempdir().unwrap();
    let holder = Holder::start(dir.path(), "/dev/zero", 20, "");
    let (top, text) = crate::hostile::target(&holder, &hook, "  settle: 50ms\n");
    (Optimizer::start(&top, &text), hook, holder, dir)
}

#[test]
fn reclaim_by_hand_frees_and_says_so() {
    // What others take or give back at the same time would be in its figures.
    let _alone = crate::reclaim::alone();
    let (application, dir) = (free_address(), tempfile::tempdir().unwrap());
    // Under a name of its own: Headroom never touches itself.
    let sample = dir.path().join("sample");
    std::os::unix::fs::symlink(HEADROOM, &sample).unwrap();
    let mut command = Command::new(&sample);
    command.args(["demo-app", "--listen", &application.to_string(), "--grow", "20", "--most", "160"]);
    let app = Running::start(&mut command, &dir.path().join("app.log"));
    let top = format!("process_groups: [{{name: sample, cmdline: ['demo-app --listen {application}']}}]");
    let optimizer = Optimizer::start(
        &top,
        &format!(
            "  settle: 200ms\n  guards: {{cooldown: 0s, target_cooldown: 0s}}\n  targets: [{{name: sample, process_group: \
             sample, hook: {{url: 'http://{application}/headroom/reclaim'}}}}]\n"
        ),
    );
    let statm = format!("/proc/{}/statm", app.pid());
    let mut tries = 0;
    let out = loop {
        eventually("the application is full", 30, || {
            let pages: u64 = std::fs::read_to_string(&statm).ok()?.split(' ').nth(1)?.parse().ok()?;
            (pages * rustix::param::page_size() as u64 > 155 << 20).then_some(())
        });
        let asked = ["reclaim", "sample", "--bytes", "80MiB", "--ladder", "app_hook"];
        let (code, out, err) = headroom(&config(&optimizer), &asked);
        tries += 1;
        assert!(code == 0 || (code == 1 && tries < 4), "{out}{err}");
        // Another program may have taken as much at the same moment.
        if code == 0 {
            break out;
        }
    };
    assert!(out.contains("app_hook: begins\n") && out.contains(": effective, "), "{out}");
    let entry = optimizer.ended(5);
    assert_eq!((&entry["origin"], &entry["target"]), (&json!("hand"), &json!("sample")), "{entry:#}");
    assert_eq!(entry["request"]["bytes"], 80 << 20, "{entry:#}");
    assert!(entry["freed_bytes"].as_u64().unwrap() >= 80 << 20, "{entry:#}");
}

#[test]
fn reclaim_by_hand_has_an_exit_code_for_each_outcome() {
    let (optimizer, hook, _holder, _dir) = with_a_liar();
    let config = config(&optimizer);
    let (code, out, err) = headroom(&config, &["reclaim", "held", "--bytes", "10MiB", "--dry-run"]);
    assert_eq!((code, hook.calls()), (0, 0), "{out}{err}");
    assert!(out.contains("dry run: app_hook would have been asked for 10"), "{out}");
    let (code, out, err) = headroom(&config, &["reclaim", "held", "--bytes", "10MiB"]);
    assert_eq!((code, hook.calls()), (1, 1), "{out}{err}");
    assert!(out.contains("app_hook: no_gain, 0 B freed") && out.contains("exhausted"), "{out}");
    for (arguments, word) in [
        (&["reclaim", "nobody", "--bytes", "1MiB"][..], "not among the configured targets"),
        (&["reclaim", "held", "--bytes", "1MiB", "--ladder", "app_hook,rm"], "\"rm\" is no action"),
        (&["reclaim", "held", "--bytes", "0"], "more than 0"),
        (&["reclaim", "held", "--bytes", "much"], "--bytes"),
    ] {
        let (code, _, err) = headroom(&config, arguments);
        assert!(code == 2 && err.contains(word), "{arguments:?}: {code}: {err}");
    }
    assert_eq!(optimizer.entries("").len(), 2);
    std::fs::write(optimizer.token_file(), "another\n").unwrap();
    let (code, _, err) = headroom(&config, &["reclaim", "held", "--bytes", "1MiB"]);
    assert!(code == 2 && err.contains("does not take this token"), "{err}");
    std::fs::write(optimizer.token_file(), "let-me-in\n").unwrap();
    let mut optimizer = optimizer;
    optimizer.running.kill();
    let nobody = format!("http://{}", free_address());
    let (code, _, err) = headroom(&config, &["reclaim", "held", "--bytes", "1MiB", "--url", &nobody]);
    assert!(code == 2 && err.contains("is the optimizer running?"), "{err}");
}

#[test]
fn reclaim_by_hand_works_without_an_optimizer_and_never_beside_one() {
    let (mut optimizer, hook, _holder, _dir) = with_a_liar();
    let config = config(&optimizer);
    // A run that waits, for a reason of its own.
    assert_eq!(headroom(&config, &["optimizer", "pause"]).0, 0);
    optimizer.notify(&[crate::stack::alert("held", "ab", "firing")], 200);
    eventually("the alert's run waits", 20, || {
        optimizer.entries("limit=1")[0]["reason"].as_str()?.contains("paused").then_some(())
    });
    // One that listens elsewhere has the journal all the same.
    let text = std::fs::read_to_string(&config).unwrap();
    let elsewhere = text.replace(&optimizer.address.to_string(), &free_address().to_string());
    let other = optimizer.dir.path().join("elsewhere.yaml");
    std::fs::write(&other, elsewhere).unwrap();
    let (code, _, err) = headroom(&other, &["reclaim", "held", "--bytes", "1MiB"]);
    assert!(code == 2 && err.contains("another process uses the journal") && err.contains("--url"), "{err}");
    optimizer.running.kill();
    assert_eq!(headroom(&config, &["optimizer", "resume"]).0, 0);
    let reclaim = ["reclaim", "held", "--bytes", "10MiB"];
    let (code, out, err) = headroom(&config, &[&reclaim[..], &["--no-wait"]].concat());
    assert!(code == 2 && err.contains("--no-wait"), "{out}{err}");
    let (code, out, err) = headroom(&config, &[&reclaim[..], &["--dry-run"]].concat());
    assert!(code == 0 && out.contains("dry run: app_hook would have been asked"), "{out}{err}");
    let (code, out, err) = headroom(&config, &reclaim);
    assert_eq!((code, hook.calls()), (1, 1), "{out}{err}");
    assert!(out.contains("app_hook: no_gain, 0 B freed") && out.contains("exhausted"), "{out}");
    // The same guards: a pause holds this engine too, until its time is over.
    assert_eq!(headroom(&config, &["optimizer", "pause"]).0, 0);
    let (code, out, err) = headroom(&config, &[&reclaim[..], &["--timeout", "1s"]].concat());
    assert!(code == 1 && out.contains("waiting: paused") && out.contains("for an optimizer"), "{out}{err}");
    assert_eq!(hook.calls(), 1);
    // An optimizer that starts finds all of it in the record, and what waited.
    optimizer.restart();
    let entries = optimizer.entries("");
    let of = |key: &str| entries.iter().map(|e| e[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("origin"), ["hand", "hand", "hand", "alert"], "{entries:#?}");
    assert_eq!(of("result")[1..], [json!("exhausted"), json!("dry_run"), Value::Null], "{entries:#?}");
}

#[test]
fn the_new_pages_want_the_token_and_a_good_body() {
    let (optimizer, hook, _holder, _dir) = with_a_liar();
    let good = json!({"target": "held", "bytes": 1 << 20}).to_string();
    for (method, page) in [
        (Method::POST, "/api/v1/reclaim"),
        (Method::PUT, "/api/v1/pause"),
        (Method::DELETE, "/api/v1/pause"),
        (Method::GET, "/api/v1/pause"),
    ] {
        assert_eq!(call(&optimizer, method, page, "wrong", &good).0, 401, "{page}");
    }
    assert_eq!(call(&optimizer, Method::GET, "/api/v1/reclaim", "let-me-in", "").0, 405);
    assert_eq!(call(&optimizer, Method::POST, "/api/v1/pause", "let-me-in", "").0, 405);
    for bad in [
        "",
        "[]",
        "{\"target\": \"held\"}",
        "{\"target\": \"held\", \"bytes\": 1, \"command\": \"rm\"}",
        "{\"target\": \"held\", \"bytes\": 1, \"ladder\": [{\"action\": \"app_hook\", \"with\": {}}]}",
        "{\"target\": \"other\", \"bytes\": 1}",
    ] {
        assert_eq!(call(&optimizer, Method::POST, "/api/v1/reclaim", "let-me-in", bad).0, 400, "{bad}");
    }
    assert_eq!(call(&optimizer, Method::PUT, "/api/v1/pause", "let-me-in", "{\"why\": 1}").0, 400);
    assert!((optimizer.entries("").is_empty(), hook.calls()) == (true, 0));
}

#[test]
fn the_emergency_stop_holds_and_lets_go_by_file_and_by_page() {
    let (optimizer, hook, _holder, _dir) = with_a_liar();
    let config = config(&optimizer);
    let said = |arguments: &[&str]| {
        let (code, out, err) = headroom(&config, arguments);
        assert!(err.is_empty(), "{err}");
        (code, out)
    };
    let page = |method, body: &str| -> Value {
        let (status, text) = call(&optimizer, method, "/api/v1/pause", "let-me-in", body);
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    };
    assert_eq!(said(&["optimizer", "status"]), (0, "not paused\n".into()));
    assert_eq!(said(&["optimizer", "pause", "--reason", "deploy"]).0, 0);
    assert_eq!(said(&["optimizer", "status"]), (1, "paused: deploy\n".into()));
    assert_eq!(page(Method::GET, ""), json!({"paused": true, "reason": "deploy"}));
    let (code, run) = said(&["reclaim", "held", "--bytes", "1MiB", "--no-wait"]);
    assert_eq!((code, run.trim().parse::<i64>().is_ok()), (0, true), "{run}");
    eventually("the run waits for the end of the pause", 10, || {
        optimizer.entries("limit=1")[0]["reason"].as_str()?.contains("paused").then_some(())
    });
    assert_eq!(hook.calls(), 0);
    assert_eq!(said(&["optimizer", "resume"]), (0, "actions may begin again\n".into()));
    assert_eq!(said(&["optimizer", "resume"]), (0, "nothing was held\n".into()));
    optimizer.ended(20);
    assert_eq!(hook.calls(), 1);
    // The same by the page, which has the same file.
    assert_eq!(page(Method::PUT, "{\"reason\": \"by\\nhand\"}")["reason"], "by hand");
    assert_eq!(said(&["optimizer", "status"]), (1, "paused: by hand\n".into()));
    eventually("the gauge", 10, || {
        get(&optimizer.url("/metrics"))?.1.contains("headroom_optimizer_paused 1\n").then_some(())
    });
    assert_eq!(page(Method::DELETE, ""), json!({"paused": false, "reason": null}));
    assert_eq!(page(Method::PUT, "")["reason"], "no reason given");
    assert_eq!(said(&["optimizer", "resume"]).0, 0);
    assert_eq!(page(Method::GET, "")["paused"], false);
}

#[test]
fn capabilities_are_those_of_the_configured_ladders() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.yaml");
    let print = |ladder: &str, form: &str| {
        let policy = format!("{{name: p, match: ['a=b'], target_label: groupname, ladder: [{ladder}]}}");
        std::fs::write(&file, format!("optimizer: {{policies: [{policy}]}}\n")).unwrap();
        let (code, out, err) = headroom(&file, &["optimizer", form]);
        assert_eq!(code, 0, "{err}");
        out
    };
    assert_eq!(print("app_hook", "--print-capabilities"), "");
    assert_eq!(print("app_hook, pageout", "--print-capabilities"), "CAP_SYS_NICE\nCAP_SYS_PTRACE\n");
    let drop_in = print("pageout", "--print-capabilities=systemd");
    let (comment, rest) = drop_in.split_once('\n').unwrap();
    assert!(comment.starts_with("# pageout needs "), "{drop_in}");
    assert_eq!(
        rest,
        "[Service]\nAmbientCapabilities=\nAmbientCapabilities=CAP_SYS_NICE CAP_SYS_PTRACE\n\
         CapabilityBoundingSet=\nCapabilityBoundingSet=CAP_SYS_NICE CAP_SYS_PTRACE\n"
    );
    let none = print("app_hook", "--print-capabilities=systemd");
    assert!(none.ends_with("[Service]\nAmbientCapabilities=\nCapabilityBoundingSet=\n"), "{none}");
    let tunables = print("drop_caches, compact_memory", "--print-capabilities=systemd");
    assert_eq!(tunables.matches("ProtectKernelTunables=no\n").count(), 1, "{tunables}");
    // Of app_hook, the hooks of the targets say what it takes.
    let hooks = |hooks: &str, form: &str| {
        let target = format!("{{name: a, cgroup: /a, hooks: [{hooks}]}}");
        std::fs::write(&file, format!("optimizer: {{targets: [{target}]}}\n")).unwrap();
        let (code, out, err) = headroom(&file, &["optimizer", form]);
        assert_eq!(code, 0, "{err}");
        out
    };
    assert_eq!(hooks("{unix: /run/a/hook}, {kind: b, command: [/bin/true]}", "--print-capabilities"), "");
    assert_eq!(
        hooks("{unix: /run/a/hook}, {kind: b, signal: SIGUSR1}", "--print-capabilities"),
        "CAP_KILL\n"
    );
    let socket = hooks("{pressure_socket: /run/headroom/a, owner: 'a:b'}", "--print-capabilities=systemd");
    for line in ["AmbientCapabilities=CAP_CHOWN", "RuntimeDirectory=headroom", "SystemCallFilter=@chown"] {
        assert!(socket.contains(&format!("\n{line}\n")), "{line}: {socket}");
    }
    let group = hooks("{pressure_socket: /srv/a, owner: ':b'}", "--print-capabilities=systemd");
    assert!(group.contains("\nReadWritePaths=/srv\nSystemCallFilter=@chown\n"), "{group}");
    assert!(!group.contains("=CAP_"), "{group}");
    let docker = print("pageout", "--print-capabilities=docker");
    assert_eq!(docker, "cap_drop: [ALL]\ncap_add: [SYS_NICE, SYS_PTRACE]\n");
}

#[test]
fn every_action_is_listed_and_explained() {
    let none = Path::new("/dev/null");
    let (code, list, err) = headroom(none, &["actions", "list"]);
    assert_eq!((code, list.lines().count()), (0, REGISTRY.len()), "{err}");
    for action in REGISTRY {
        let (code, text, err) = headroom(none, &["actions", "explain", action.name()]);
        let said = action.explain();
        assert_eq!(code, 0, "{err}");
        assert!(list.contains(said.what), "{list}");
        for part in [said.what, said.cost, said.needs, said.verified, said.undone] {
            assert!(text.contains(part), "{text}");
        }
    }
    let (code, _, err) = headroom(none, &["actions", "explain", "rm"]);
    assert!(code == 2 && err.contains("app_hook"), "{err}");
}

#[test]
fn the_manual_has_every_action() {
    let mut text = String::from(
        "# Actions\n\nWhat can stand on a ladder (`optimizer.policies[].ladder`), written from the code by a test (`UPDATE=1 cargo\n\
         test --test it the_manual_has_every_action`). `headroom actions explain NAME` says the same on the machine;\n\
         `headroom optimizer --print-capabilities` prints what the configured ladders need together.\n\n",
    );
    for action in REGISTRY {
        let said = action.explain();
        let capabilities: Vec<String> = said.capabilities.iter().map(|c| format!("`{c}`")).collect();
        let capabilities = if capabilities.is_empty() { "none".into() } else { capabilities.join(", ") };
        writeln!(text, "## `{}`\n\n| | |\n|---|---|", action.name()).unwrap();
        for (title, what) in [
            ("what", said.what),
            ("cost", said.cost),
            ("capabilities", capabilities.as_str()),
            ("needs", said.needs),
            ("verified", said.verified),
            ("undone", said.undone),
        ] {
            writeln!(text, "| {title} | {} |", what.replace('|', "\\|")).unwrap();
        }
        text.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/actions.md");
    let text = format!("{}\n", text.trim_end());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let old = std::fs::read_to_string(&path).unwrap_or_default() != text;
    assert!(!old, "docs/actions.md is old; see `UPDATE=1`");
}
