//! systemd's memory pressure protocol, served for programs that know nothing of Headroom.

use crate::stack::{Optimizer, Running, alert, eventually, program};
use rustix::process::Signal;
use serde_json::Value;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A service as <https://systemd.io/PRESSURE/> asks for one, with a cache of 64 MiB that it drops at the first sign of
/// pressure. When its connection ends it gives up.
const SERVICE: &str = r#"
import base64, mmap, os, select, socket, stat, sys, time
def say(what):
    print(what, flush=True)
cache = mmap.mmap(-1, 64 << 20)
for page in range(0, 64 << 20, 4096):
    cache[page] = 1
path = os.environ["MEMORY_PRESSURE_WATCH"]
mode = os.stat(path).st_mode
if stat.S_ISSOCK(mode):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(path)
    connection.setblocking(False)
    watch = connection.detach()
else:
    assert stat.S_ISFIFO(mode)
    watch = os.open(path, os.O_RDWR | os.O_NONBLOCK)
settings = os.environ.get("MEMORY_PRESSURE_WRITE")
if settings:
    os.write(watch, base64.b64decode(settings))
if stat.S_ISFIFO(mode):
    # It would be a sign of pressure that it gave itself.
    os.read(watch, 4096)
poll = select.poll()
poll.register(watch, select.POLLIN)
say("watches")
while True:
    poll.poll()
    if not os.read(watch, 4096):
        break
    if cache:
        cache.close()
        cache = None
    say("released")
say("over")
time.sleep(600)
"#;

/// A service of sd-event's, with the same cache: systemd's own library does the rest.
const SD_EVENT: &str = r#"
import ctypes, mmap, os, stat
# What it writes to a named pipe itself, it takes for a sign of pressure too.
own = stat.S_ISFIFO(os.stat(os.environ["MEMORY_PRESSURE_WATCH"]).st_mode)
cache = mmap.mmap(-1, 64 << 20)
for page in range(0, 64 << 20, 4096):
    cache[page] = 1
sd = ctypes.CDLL("libsystemd.so.0")
event = ctypes.c_void_p()
assert sd.sd_event_default(ctypes.byref(event)) >= 0
@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
def pressed(source, userdata):
    global cache, own
    if own:
        own = False
        print("own", flush=True)
        return 0
    if cache:
        cache.close()
        cache = None
    print("released", flush=True)
    return 0
error = sd.sd_event_add_memory_pressure(event, None, pressed, None)
assert error >= 0, error
print("watches", flush=True)
sd.sd_event_loop(event)
"#;

/// Where the sockets are, what they are for, and who connects.
struct Scene {
    dir: tempfile::TempDir,
    marker: String,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let marker =
            format!("serves-{}", dir.path().file_name().unwrap().to_string_lossy().trim_start_matches('.'));
        Self { dir, marker }
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The parts of a configuration: one rung, which wants the first of these sockets.
    fn configuration(&self, sockets: &[&str]) -> (String, String) {
        let hook = |(n, name): (usize, &&str)| {
            let path = self.socket(name).display().to_string();
            format!("{{kind: k{n}, pressure_socket: {path}, mode: \"0600\"}}")
        };
        self.configuration_of(&sockets.iter().enumerate().map(hook).collect::<Vec<_>>())
    }

    fn configuration_of(&self, list: &[String]) -> (String, String) {
        let budget = "memory_budget: 40MiB";
        let top = format!("process_groups: [{{name: held, cmdline: ['{}'], {budget}}}]", self.marker);
        let keys = format!(
            "  settle: 5s\n  guards: {{cooldown: 0s, target_cooldown: 0s, min_gain: 1MiB, actions_per_hour: 1000}}\n  policies:\n  - \
             {{name: ask, match: ['headroom_action=\"reclaim\"'], target_label: groupname, ladder: [app_hook]}}\n  targets:\n  \
             - {{name: held, process_group: held, hooks: [{}]}}\n",
            list.join(", ")
        );
        (top, keys)
    }

    fn optimizer(&self, hooks: &[&str]) -> Optimizer {
        let (top, keys) = self.configuration(hooks);
        let optimizer = Optimizer::start(&top, &keys);
        eventually("the socket is there", 20, || is_socket(&self.socket(hooks[0])).then_some(()));
        optimizer
    }

    /// A service, once the optimizer has taken it for the `count`th one.
    fn service(&self, script: &str, name: &str, optimizer: &Optimizer, count: usize) -> Running {
        let service = self.start(script, name, &count.to_string());
        eventually("it is connected", 20, || (connected(optimizer) >= count).then_some(()));
        service
    }

    /// A service that watches.
    fn start(&self, script: &str, name: &str, which: &str) -> Running {
        let mut command = Command::new("python3");
        command.args(["-c", script, &self.marker]);
        command.env("MEMORY_PRESSURE_WATCH", self.socket(name));
        // "some 200000 2000000" and a zero byte, as systemd sets it.
        command.env("MEMORY_PRESSURE_WRITE", "c29tZSAyMDAwMDAgMjAwMDAwMAA=");
        let service = Running::start(&mut command, &self.socket(&format!("{name}.{which}.log")));
        eventually("the service watches", 60, || service.output().contains("watches").then_some(()));
        service
    }
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket())
}

fn connected(optimizer: &Optimizer) -> usize {
    optimizer.running.output().matches("a program is connected").count()
}

fn bytes(step: &Value, when: &str) -> u64 {
    step[when]["target"]["bytes"].as_u64().unwrap()
}

#[test]
fn a_service_of_systemds_protocol_gives_memory_back_and_a_stranger_is_not_let_in() {
    let Some(_) = program(&["python3"]) else { return };
    let _alone = crate::reclaim::alone();
    let scene = Scene::new();
    let optimizer = scene.optimizer(&["held.sock"]);
    let path = scene.socket("held.sock");
    let mode = std::fs::symlink_metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let service = scene.service(SERVICE, "held.sock", &optimizer, 1);
    let mut stranger = UnixStream::connect(&path).unwrap();
    stranger.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(stranger.read(&mut [0; 9]).unwrap(), 0, "this process is not of the target");
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    let entry = optimizer.ended(60);
    let step = &entry["steps"][0];
    let detail = step["detail"].as_str().unwrap_or_default();
    assert!(detail.starts_with("1 connected programs told of pressure"), "{entry:#}");
    eventually("it says so", 20, || service.output().contains("released").then_some(()));
    assert!(bytes(step, "before") - bytes(step, "after") > 60 << 20, "{entry:#}");
    assert_eq!(connected(&optimizer), 1, "{}", optimizer.running.output());
    assert!(optimizer.running.output().contains("is none of the target's"), "{}", optimizer.running.output());
    // With nobody left, nothing is begun.
    let connections = "headroom_optimizer_hook_connections{target=\"held\"}";
    assert_eq!(optimizer.metric(connections), 1.0);
    drop(service);
    eventually("it has gone", 20, || (optimizer.metric(connections) == 0.0).then_some(()));
    let idle = Command::new("python3")
        .args(["-c", "import time; x = b'x' * (64 << 20); time.sleep(600)", &scene.marker])
        .spawn();
    let mut idle = idle.unwrap();
    let status = format!("/proc/{}/statm", idle.id());
    eventually("it is large", 60, || {
        let pages = std::fs::read_to_string(&status).ok()?.split(' ').nth(1)?.parse::<u64>().ok()?;
        (pages > 64 << 8).then_some(())
    });
    optimizer.notify(&[alert("held", "cd", "firing")], 200);
    let entry = eventually("the second run's end", 60, || {
        optimizer
            .entries("limit=1")
            .into_iter()
            .next()
            .filter(|e| e["fingerprint"] == "cd" && e["state"] == "ended")
    });
    idle.kill().unwrap();
    idle.wait().unwrap();
    assert_eq!(entry["steps"].as_array().unwrap().len(), 0, "{entry:#}");
    assert!(entry["reason"].as_str().unwrap().contains("no program is connected to"), "{entry:#}");
}

/// Whether systemd's library is there, and new enough.
fn has_sd_event() -> bool {
    let symbol = "import ctypes; ctypes.CDLL('libsystemd.so.0').sd_event_add_memory_pressure";
    let known = Command::new("python3").args(["-c", symbol]).stderr(std::process::Stdio::null()).status();
    let known = known.is_ok_and(|status| status.success());
    if !known {
        eprintln!("SKIPPED: python3 and libsystemd 254 or later are not installed");
    }
    known
}

#[test]
fn a_service_of_sd_event_obeys_without_a_change() {
    if !has_sd_event() {
        return;
    }
    let _alone = crate::reclaim::alone();
    let scene = Scene::new();
    let optimizer = scene.optimizer(&["held.sock"]);
    let service = scene.service(SD_EVENT, "held.sock", &optimizer, 1);
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    let entry = optimizer.ended(60);
    eventually("it says so", 20, || service.output().contains("released").then_some(()));
    assert_eq!(service.output().matches("released").count(), 1, "one word is one event: {entry:#}");
    let step = &entry["steps"][0];
    assert!(bytes(step, "before") - bytes(step, "after") > 60 << 20, "{entry:#}");
}

#[test]
fn a_service_at_a_named_pipe_obeys_and_does_not_notice_when_headroom_ends() {
    if program(&["python3"]).is_some() {
        told_through_a_pipe(SERVICE, "watches", "watches\nreleased\n");
    }
}

#[test]
fn nor_does_a_service_of_sd_event() {
    if has_sd_event() {
        told_through_a_pipe(SD_EVENT, "own", "watches\nown\nreleased\n");
    }
}

/// A service is told once, by an optimizer that was killed before and is killed after; then it has said `said`.
fn told_through_a_pipe(script: &str, ready: &str, said: &str) {
    let _alone = crate::reclaim::alone();
    let scene = Scene::new();
    let path = scene.socket("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let (top, keys) = scene.configuration_of(&[format!("{{pressure_fifo: {}}}", path.display())]);
    let mut optimizer = Optimizer::start(&top, &keys);
    let service = scene.start(script, "pipe", "1");
    eventually("it is ready", 20, || service.output().contains(ready).then_some(()));
    optimizer.running.kill();
    optimizer.restart();
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    let entry = optimizer.ended(60);
    let step = &entry["steps"][0];
    assert!(step["detail"].as_str().unwrap_or_default().starts_with("told of pressure through"), "{entry:#}");
    assert!(bytes(step, "before") - bytes(step, "after") > 60 << 20, "{entry:#}");
    eventually("it says so", 20, || service.output().contains("released").then_some(()));
    optimizer.running.kill();
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", service.pid())).unwrap();
        let times = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
        times.map(|t| t.parse::<u64>().unwrap()).sum::<u64>()
    };
    let before = ticks();
    std::thread::sleep(Duration::from_secs(1));
    assert!(ticks() - before < 20, "it is idle");
    assert_eq!(service.output(), said);
}

#[test]
fn connections_outlive_a_reload_and_sockets_neither_outlive_their_server_nor_bar_the_next() {
    let Some(_) = program(&["python3"]) else { return };
    let scene = Scene::new();
    let mut optimizer = scene.optimizer(&["one.sock"]);
    let service = scene.service(SERVICE, "one.sock", &optimizer, 1);
    let (one, two) = (scene.socket("one.sock"), scene.socket("two.sock"));
    let file = optimizer.dir.path().join("headroom.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let (_, keys) = scene.configuration(&["one.sock"]);
    let (_, more) = scene.configuration(&["one.sock", "two.sock"]);
    std::fs::write(&file, text.replace(&keys, &more)).unwrap();
    optimizer.running.signal(Signal::HUP);
    eventually("the second socket is there", 20, || is_socket(&two).then_some(()));
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    eventually("the word is heard", 60, || service.output().contains("released").then_some(()));
    assert!(!service.output().contains("over"), "{}", service.output());
    // What somebody removes comes back.
    std::fs::remove_file(&one).unwrap();
    eventually("the socket is made again", 30, || is_socket(&one).then_some(()));
    std::fs::write(&file, &text).unwrap();
    optimizer.running.signal(Signal::HUP);
    eventually("the second socket is gone", 20, || (!is_socket(&two)).then_some(()));
    assert!(!service.output().contains("over"), "{}", service.output());
    // Killed, it leaves its file behind, which bars nobody.
    optimizer.running.kill();
    eventually("the service notices", 20, || service.output().contains("over").then_some(()));
    assert!(is_socket(&one));
    optimizer.restart();
    eventually("somebody listens again", 20, || UnixStream::connect(&one).ok());
    let again = scene.service(SERVICE, "one.sock", &optimizer, 2);
    optimizer.running.signal(Signal::TERM);
    optimizer.running.end(20);
    assert!(!is_socket(&one));
    eventually("the service notices", 20, || again.output().contains("over").then_some(()));
}
