//! What every serving command does: pages, reloads, an orderly end.

use crate::stack::{
    HEADROOM, Optimizer, Running, alert, eventually, free_address, get, metric, notification,
};
use headroom::client::{Call, send_blocking};
use hyper::Method;
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

struct Exporter {
    running: Running,
    dir: tempfile::TempDir,
    address: std::net::SocketAddr,
}

impl Exporter {
    fn start(more: &str) -> Self {
        Self::start_with("", more)
    }

    /// With more keys of the exporter's section, and more sections.
    fn start_with(keys: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = free_address();
        let config = dir.path().join("headroom.yaml");
        std::fs::write(&config, format!("exporter: {{listen: '{address}', {keys}}}\n{more}")).unwrap();
        let mut command = Command::new(HEADROOM);
        let running =
            Running::start(command.args(["exporter", "--config"]).arg(&config), &dir.path().join("log"));
        let exporter = Self { running, dir, address };
        eventually("the exporter answers", 20, || get(&exporter.url("/-/healthy")));
        exporter
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn page(&self) -> String {
        get(&self.url("/metrics")).unwrap().1
    }

    fn config(&self) -> std::path::PathBuf {
        self.dir.path().join("headroom.yaml")
    }
}

#[test]
fn the_exporter_has_its_pages_and_no_others() {
    let exporter = Exporter::start("");
    for (path, status, has) in [
        ("/metrics", 200, "node_memory_MemAvailable_bytes"),
        ("/metrics", 200, "headroom_build_info{version="),
        ("/", 200, "<title>Headroom"),
        ("/-/healthy", 200, "healthy"),
        ("/-/ready", 200, "ready"),
        ("/-/reload", 403, "reload_endpoint: true"),
        ("/etc/passwd", 404, "no such page"),
        ("/metrics/../etc", 404, ""),
    ] {
        let (got, body) = get(&exporter.url(path)).unwrap();
        assert_eq!(got, status, "{path}: {body}");
        assert!(body.contains(has), "{path}: {body}");
    }
    let post = Call { method: Method::POST, ..Call::get(exporter.url("/metrics")) };
    assert_eq!(send_blocking(post).unwrap().0, 405);
}

#[test]
fn pages_are_the_same_while_the_code_that_only_the_start_needed_goes_from_memory() {
    let collectors = "{disable_defaults: true, enabled: [cpu, meminfo, loadavg, stat, uname, time, filefd]}";
    let exporter = Exporter::start_with(&format!("page_age_max: 0s, collectors: {collectors}"), "");
    let names = || {
        let page = exporter.page();
        assert!(!page.contains("node_scrape_collector_success{collector=\"cpu\"} 0"), "{page}");
        page.lines().filter(|l| l.starts_with("# TYPE ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let first = names();
    // Pages of code that come back alone are in a mapping without reading ahead (`rr`): that is the second step.
    let is_under_way = || {
        let maps = std::fs::read_to_string(format!("/proc/{}/smaps", exporter.running.pid())).unwrap();
        maps.lines().any(|l| l.starts_with("VmFlags:") && l.contains(" rr"))
    };
    assert!(!is_under_way());
    eventually("code was let go", 20, || {
        assert_eq!(names(), first);
        is_under_way().then_some(())
    });
    (0..40).for_each(|_| assert_eq!(names(), first));
}

#[test]
fn a_bad_file_keeps_the_old_configuration_and_a_good_one_replaces_it() {
    let exporter = Exporter::start("reload_endpoint: true\n");
    let listen = format!("exporter: {{listen: '{}'", exporter.address);
    let write = |text: &str| std::fs::write(exporter.config(), format!("{listen}{text}")).unwrap();
    let reloaded = "headroom_config_last_reload_successful";
    assert_eq!(metric(&exporter.page(), reloaded), 1.0);

    write(", collectors: {disabled: [meminfoo]}}\n");
    exporter.running.signal(Signal::HUP);
    eventually("the reload is seen to fail", 10, || {
        (metric(&exporter.page(), reloaded) == 0.0).then_some(())
    });
    assert!(exporter.page().contains("node_memory_MemAvailable_bytes"));
    assert!(exporter.running.output().contains("did you mean `meminfo`?"));

    let reload =
        || send_blocking(Call { method: Method::POST, ..Call::get(exporter.url("/-/reload")) }).unwrap();
    write(", nonsense: 1}\n");
    let (status, body) = reload();
    assert_eq!(status, 500);
    assert!(String::from_utf8_lossy(&body).contains("headroom.yaml:1:"), "{body:?}");

    write(", collectors: {disabled: [meminfo]}}\nreload_endpoint: true\n");
    assert_eq!(reload().0, 200);
    let page = exporter.page();
    assert_eq!(metric(&page, reloaded), 1.0);
    assert!(!page.contains("node_memory_MemAvailable_bytes"));
    assert_eq!(get(&exporter.url("/-/reload")).unwrap().0, 405, "a GET must not change anything");
}

#[test]
fn the_end_serves_what_is_in_flight_and_comes_within_five_seconds() {
    let mut optimizer = Optimizer::start("", "");
    let body = notification(&[alert("cache", "ab", "firing")]);
    let (first, rest) = body.split_at(body.len() / 2);
    let mut stream = TcpStream::connect(optimizer.address).unwrap();
    let head = format!(
        "POST /api/v1/alerts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer let-me-in\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(first).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    optimizer.running.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(300));
    stream.write_all(rest).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let status = optimizer.running.end(10);
    assert!(status.success(), "{status}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(TcpStream::connect(optimizer.address).is_err());
}

#[test]
fn a_client_that_never_ends_does_not_hold_up_the_end() {
    let mut exporter = Exporter::start("");
    let mut stream = TcpStream::connect(exporter.address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:").unwrap();
    let begun = Instant::now();
    exporter.running.signal(Signal::TERM);
    assert!(exporter.running.end(10).success());
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[test]
fn logs_are_json_when_asked_for() {
    let address = free_address().to_string();
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(HEADROOM);
    command.args(["exporter", "--log-format", "json", "--web.listen-address", &address, "--collector.perf"]);
    let running = Running::start(&mut command, &dir.path().join("log"));
    eventually("the exporter answers", 20, || get(&format!("http://{address}/-/healthy")));
    let lines: Vec<serde_json::Value> =
        running.output().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|l| l["flags"] == "--collector.perf" && l["level"] == "WARN"), "{lines:?}");
    assert!(lines.iter().any(|l| l["listener"] == "exporter"), "{lines:?}");
}

#[test]
fn a_port_that_is_taken_and_a_wrong_key_stop_the_start_with_a_reason() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = |args: &[&str]| {
        let output = Command::new(HEADROOM).args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = run(&["exporter", "--web.listen-address", &address]);
    assert_eq!(code, Some(2));
    assert!(text.contains(&address) && text.contains("exporter.listen"), "{text}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.yaml");
    std::fs::write(&path, "optimizer:\n  guards:\n    cool_down: 5s\n").unwrap();
    let (code, text) = run(&["check", "config", path.to_str().unwrap()]);
    assert_eq!(code, Some(2));
    let expected = format!("{}:3:5: unknown key `cool_down`; did you mean `cooldown`?", path.display());
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn what_up_and_the_demonstration_keep_is_for_nobody_else() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let dir = tempfile::tempdir().unwrap();
    let (exporter, optimizer) = (free_address(), free_address());
    let config = dir.path().join("c.yaml");
    let text = format!(
        "state_dir: new/state\nexporter: {{listen: '{exporter}'}}\noptimizer: {{listen: '{optimizer}'}}\n\
         up: {{prometheus: {{enabled: false}}, alertmanager: {{enabled: false}}}}\n"
    );
    std::fs::write(&config, text).unwrap();
    let elsewhere = dir.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let mut command = Command::new(HEADROOM);
    command.args(["up", "--config"]).arg(&config).current_dir(&elsewhere);
    let mut up = Running::start(&mut command, &dir.path().join("log"));
    eventually("the optimizer answers", 20, || get(&format!("http://{optimizer}/-/healthy")));
    // A relative path is taken from the working directory.
    let state = elsewhere.join("new/state");
    assert_eq!(mode(&state), 0o700);
    assert!(state.join("journal.sqlite").exists() && state.join("webhook-token").exists());
    up.signal(Signal::TERM);
    assert!(up.end(10).success());

    let kept = dir.path().join("kept");
    std::fs::create_dir(&kept).unwrap();
    // A Prometheus that has nobody to tell.
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink("/bin/false", bin.join("prometheus")).unwrap();
    let demo = Command::new(HEADROOM).arg("demo").env("PATH", &bin).env("TMPDIR", &kept).output().unwrap();
    assert_eq!(demo.status.code(), Some(2), "{}", String::from_utf8_lossy(&demo.stderr));
    let left: Vec<_> = std::fs::read_dir(&kept).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(left.iter().map(|path| mode(path)).collect::<Vec<_>>(), [0o700]);
}

#[test]
fn the_example_names_every_key_and_changes_nothing() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("headroom.example.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let output = Command::new(HEADROOM).args(["check", "config"]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Every key stands in the file, live or as a comment: uncommented, it must be a good configuration too.
    let whole: String = text
        .lines()
        .map(|line| {
            line.find("#: ")
                .map_or_else(|| line.to_owned(), |at| format!("{}{}", &line[..at], &line[at + 3..]))
        })
        .fold(String::new(), |all, line| all + &line + "\n");
    // The files that are read with it belong to other programs.
    let names = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&names, "process_names: [{comm: [x]}]\n").unwrap();
    let whole = whole.replace("/etc/process-exporter/all.yaml", names.path().to_str().unwrap());
    let mapping = tempfile::NamedTempFile::new().unwrap();
    let whole = whole.replace("/etc/headroom/statsd-mapping.yml", mapping.path().to_str().unwrap());
    let live = headroom::config::Config::parse(&text, &path).unwrap();
    assert_eq!(live, headroom::config::Config::load(None).unwrap(), "the example differs from the defaults");
    let config = headroom::config::Config::parse(&whole, &path).unwrap();
    assert_ne!(config.optimizer.targets, vec![], "the commented keys were not read");
    let missing: Vec<String> = keys("", "{}")
        .into_iter()
        .filter(|key| {
            let name = key.rsplit('.').next().unwrap();
            !whole.lines().any(|l| l.trim_start().trim_start_matches("- ").starts_with(&format!("{name}:")))
        })
        .collect();
    assert_eq!(missing, Vec::<String>::new(), "these keys are not in the example");
}

/// All keys below one, found by asking for a key that cannot be: the error names those that can. `wrap` holds `{}` where
/// the section's content goes.
fn keys(prefix: &str, wrap: &str) -> Vec<String> {
    let text = wrap.replace("{}", "{zzzzzzzzzzzz: 1}");
    let parsed = headroom::config::Config::parse(&text, Path::new("x")).map(|_| ());
    // Where any name is good, nobody can list them.
    let Err(error) = parsed.map_err(|e| e.to_string()) else { return Vec::new() };
    let Some((_, known)) = error.split_once("known here: ") else { return Vec::new() };
    known
        .trim()
        .split(", ")
        .flat_map(|key| {
            let name = format!("{prefix}{key}");
            let inside =
                |form: &str| keys(&format!("{name}."), &wrap.replace("{}", &form.replace("key", key)));
            let below = [inside("{key: {}}"), inside("{key: [{}]}")].concat();
            [vec![name.clone()], below].concat()
        })
        .collect()
}
