//! Every way to ask an application, on applications that behave and on those that do not.

use crate::stack::{Holder, Hook, Optimizer, Running, alert, eventually};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Where a test's hooks and its processes have their files.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// One run over a ladder of the hooks, each of a kind, on a target that is over its budget whatever they do.
fn run(holder: &Holder, hooks: &[(&str, String)]) -> Vec<Value> {
    run_more(&holder.marker, hooks).0
}

/// The same, with the time that it took from the alert to the run's end.
fn run_more(marker: &str, hooks: &[(&str, String)]) -> (Vec<Value>, Duration) {
    let (entry, took) = entry(marker, hooks);
    let steps = entry["steps"].as_array().unwrap().clone();
    assert_eq!(steps.len(), hooks.len(), "{entry:#}");
    (steps, took)
}

/// What the record has of such a run.
fn entry(marker: &str, hooks: &[(&str, String)]) -> (Value, Duration) {
    let rungs: Vec<String> =
        hooks.iter().map(|(kind, _)| format!("{{action: app_hook, with: {{kind: {kind}}}}}")).collect();
    let list: Vec<String> = hooks.iter().map(|(kind, keys)| format!("{{kind: {kind}, {keys}}}")).collect();
    let top = format!("process_groups: [{{name: held, cmdline: ['{marker}'], memory_budget: 1MiB}}]");
    let keys = format!(
        "  settle: 50ms\n  guards: {{cooldown: 0s, target_cooldown: 0s, actions_per_hour: 1000, breaker: {{tries: 0}}}}\n  policies:\n  - {{name: \
         ask, match: ['headroom_action=\"reclaim\"'], target_label: groupname, ladder: [{}]}}\n  targets:\n  - {{name: held, \
         process_group: held, hooks: [{}]}}\n",
        rungs.join(", "),
        list.join(", ")
    );
    let optimizer = Optimizer::start(&top, &keys);
    let begun = Instant::now();
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    (optimizer.ended(60), begun.elapsed())
}

fn detail(step: &Value) -> &str {
    step["detail"].as_str().unwrap()
}

/// The request, to its end.
fn read_request(stream: &mut impl Read) -> String {
    let mut request = Vec::new();
    let mut part = [0; 4096];
    while !request.ends_with(b"}") {
        match stream.read(&mut part) {
            Ok(n) if n > 0 => request.extend_from_slice(&part[..n]),
            _ => break,
        }
    }
    String::from_utf8(request).unwrap()
}

/// An application that reads the request and then does as it likes; the keys of its hook.
fn application(then: impl Fn(&mut std::net::TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            read_request(&mut stream);
            then(&mut stream);
        }
    });
    format!("timeout: 500ms, url: 'http://{address}/'")
}

#[test]
fn an_application_is_asked_over_its_socket_and_told_the_kind() {
    let dir = directory();
    let holder = Holder::start(dir.path(), "/dev/zero", 16, "");
    let path = dir.path().join("hook.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (sender, requests) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            sender.send(read_request(&mut stream)).unwrap();
            let body = "{\"released_bytes\": 1048576}";
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + body).as_bytes()).unwrap();
        }
    });
    let socket = format!("unix: {}", path.display());
    let other = format!("unix: {}, url: 'http://cache/other?x=1'", path.display());
    let steps = run(&holder, &[("gc", socket), ("drop_caches", other)]);
    let first = requests.try_recv().unwrap();
    assert!(first.starts_with("POST /headroom/reclaim HTTP/1.1\r\n"), "{first}");
    let body: Value = serde_json::from_str(first.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((&body["kind"], &body["target"]), (&"gc".into(), &"held".into()));
    assert!(body["bytes"].as_u64().unwrap() > 8 << 20 && body["urgency"] == "high", "{body}");
    let second = requests.try_recv().unwrap();
    assert!(second.starts_with("POST /other?x=1 HTTP/1.1\r\nhost: cache:80\r\n"), "{second}");
    assert!(second.contains("\"kind\":\"drop_caches\""), "{second}");
    // It said so; nothing was released.
    assert!(detail(&steps[0]).contains("says that it released 1.0 MiB"), "{steps:#?}");
    assert_eq!(steps[0]["verdict"], "no_gain", "{steps:#?}");
}

#[test]
fn an_application_that_misbehaves_costs_its_own_time_and_no_more() {
    let dir = directory();
    let holder = Holder::start(dir.path(), "/dev/zero", 16, "");
    let elsewhere = Hook::start("{\"released_bytes\": 1}", Duration::ZERO);
    let location = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{}/\r\nContent-Length: 0\r\n\r\n",
        elsewhere.address
    );
    let silent = application(|_| std::thread::sleep(Duration::from_secs(20)));
    let early = application(|_| ());
    let middle =
        application(|s| s.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"rel").unwrap());
    let large = application(|s| {
        let body = vec![b' '; 1 << 20];
        let _closed = write!(s, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let _closed = s.write_all(&body);
    });
    let drips = application(|s| {
        let _closed = s.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
        while s.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let redirects = application(move |s| s.write_all(location.as_bytes()).unwrap());
    let lies = application(|s| {
        let _closed =
            s.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{\"released_bytes\":99999999}");
    });
    let gone = "unix: /nonexistent/hook.sock".to_owned();
    let hooks = [
        ("silent", silent, "no answer within 500ms"),
        ("early", early, "no usable answer"),
        ("middle", middle, "no usable answer"),
        ("large", large, "length limit exceeded"),
        ("drips", drips, "no answer within 500ms"),
        ("redirects", redirects, "answered 307"),
        ("lies", lies, "says that it released 95"),
        ("gone", gone, "cannot connect to /nonexistent/hook.sock"),
    ];
    let list: Vec<(&str, String)> = hooks.iter().map(|(kind, keys, _)| (*kind, keys.clone())).collect();
    let (steps, took) = run_more(&holder.marker, &list);
    for ((kind, _, want), step) in hooks.iter().zip(&steps) {
        assert!(detail(step).contains(want), "{kind}: {step:#}");
        assert_eq!(step["verdict"], "no_gain", "{kind}: {step:#}");
    }
    assert_eq!(elsewhere.calls(), 0, "a redirect was followed");
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(Path::new(&format!("/proc/{}", holder.pid())).exists());
}

#[test]
fn an_answer_is_not_waited_for_once_all_is_to_stop() {
    let dir = directory();
    let holder = Holder::start(dir.path(), "/dev/zero", 16, "");
    let hook = Hook::start("{}", Duration::from_mins(5));
    let top =
        format!("process_groups: [{{name: held, cmdline: ['{}'], memory_budget: 1MiB}}]", holder.marker);
    let keys = format!(
        "  targets: [{{name: held, process_group: held, hook: {{url: 'http://{}/', timeout: 50s}}}}]\n",
        hook.address
    );
    let optimizer = Optimizer::start(&top, &keys);
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    eventually("the application is asked", 20, || (hook.calls() == 1).then_some(()));
    std::fs::write(optimizer.dir.path().join("state/paused"), "by a test\n").unwrap();
    let step = eventually("the step's end, long before the application's time is over", 30, || {
        let step = optimizer.entries("limit=1").first()?["steps"][0].clone();
        step["detail"].is_string().then_some(step)
    });
    assert!(detail(&step).contains("no answer was waited for: paused: by a test"), "{step:#}");
}

#[test]
fn a_signal_goes_only_to_processes_that_have_a_handler_for_it() {
    let dir = directory();
    let holder = Holder::start(dir.path(), "/dev/zero", 16, "");
    let got = dir.path().join("got");
    let script =
        format!("trap 'echo got >> {}' USR2; echo ready; while :; do sleep 0.05; done", got.display());
    let log = dir.path().join("log");
    let listens = Running::start(Command::new("sh").args(["-c", &script, &holder.marker]), &log);
    eventually("its handler is set", 20, || listens.output().contains("ready").then_some(()));
    // dd has a handler for SIGUSR1, and none for the others.
    let hooks = [
        ("all", "signal: SIGUSR2".into()),
        ("nobody", "signal: SIGHUP".into()),
        ("largest", "signal: SIGUSR2, largest: 1".into()),
    ];
    let (entry, _) = entry(&holder.marker, &hooks);
    let steps = entry["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 1, "{entry:#}");
    assert!(
        detail(&steps[0]).contains("SIGUSR2 sent to 1 of 2 processes; 1 without a handler left alone"),
        "{entry:#}"
    );
    let reason = entry["reason"].as_str().unwrap();
    for signal in ["SIGHUP", "SIGUSR2"] {
        let refusal = format!("no process of the target has a handler for {signal}");
        assert!(reason.contains(&refusal), "{entry:#}");
    }
    eventually("the handler runs", 10, || std::fs::read_to_string(&got).ok().filter(|t| t == "got\n"));
    // To the holder, which waits without a handler, it would have been the end.
    for pid in [holder.pid(), listens.pid()] {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        assert!(!stat.contains(") Z"), "{stat}");
    }
}

#[test]
fn a_command_has_its_environment_and_ends_as_a_whole_with_its_time() {
    let dir = directory();
    let holder = Holder::start(dir.path(), "/dev/zero", 16, "");
    let script = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path.display().to_string()
    };
    let file = |name: &str| dir.path().join(name).display().to_string();
    let hooks = [
        (
            "gc",
            format!(
                "command: ['{}', '$(reboot)']",
                script("good", &format!("env > {}; echo \"had $1\"", file("env")))
            ),
        ),
        (
            "hangs",
            format!(
                "timeout: 500ms, command: ['{}']",
                script("hangs", &format!("sleep 999 & echo $! > {}; wait", file("pid1")))
            ),
        ),
        ("noisy", format!("timeout: 500ms, command: ['{}']", script("noisy", "exec yes"))),
        ("fails", format!("command: ['{}']", script("fails", "echo no >&2; exit 3"))),
        (
            "leaves",
            format!("command: ['{}']", script("leaves", &format!("sleep 999 & echo $! > {}", file("pid2")))),
        ),
        ("missing", "command: [/nonexistent]".into()),
    ];
    let (steps, took) = run_more(&holder.marker, &hooks);
    let wants = [
        "says \"had $(reboot)\"",
        "not done within 500ms",
        "not done within 500ms",
        "exit status: 3, and said \"no\"",
        "says \"\"",
        "No such file",
    ];
    for (want, step) in wants.iter().zip(&steps) {
        assert!(detail(step).contains(want) && detail(step).len() < 1000, "{want}: {step:#}");
    }
    let env = std::fs::read_to_string(file("env")).unwrap();
    for line in ["HEADROOM_TARGET=held\n", "HEADROOM_KIND=gc\n", "HEADROOM_URGENCY=high\n", "HEADROOM_BYTES="]
    {
        assert!(env.contains(line), "{env}");
    }
    assert!(!env.contains("HOME="), "{env}");
    for name in ["pid1", "pid2"] {
        let pid = std::fs::read_to_string(file(name)).unwrap();
        eventually("what the command started has ended", 10, || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
            stat.map_or(true, |s| s.contains(") Z")).then_some(())
        });
    }
    assert!(took < Duration::from_secs(30), "{took:?}");
}
