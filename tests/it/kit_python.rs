//! The Python package `headroom_kit` as an application uses it, asked by the real optimizer in each way that it serves.

use crate::stack::{Optimizer, Running, alert, eventually, free_address, program};
use headroom::client::{Call, send_blocking};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const FULL_MIB: u64 = 160;

/// The sample service of the package, with a cache of 160 MiB.
pub(crate) struct Service {
    pub(crate) running: Running,
    /// What it is asked over.
    pub(crate) listen: String,
    dir: tempfile::TempDir,
}

impl Service {
    /// Starts it; nothing if there is no Python. An address of its own, or a socket of the file system.
    pub(crate) fn start(over_unix: bool, pressure: Option<&Path>) -> Option<Self> {
        let python = program(&["python3"])?;
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python");
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("hook-token"), "open-sesame\n").unwrap();
        let listen = if over_unix {
            format!("unix:{}", dir.path().join("hook.sock").display())
        } else {
            free_address().to_string()
        };
        let mut command = Command::new(python);
        command.arg("-B").arg(clients.join("examples/demo_cache.py")).args(["--listen", &listen]);
        command.args(["--grow", "1000", "--most", &FULL_MIB.to_string(), "--token-file"]);
        command.arg(dir.path().join("hook-token")).env("PYTHONPATH", clients.join("src"));
        if let Some(path) = pressure {
            command.env("MEMORY_PRESSURE_WATCH", path);
            command.env("MEMORY_PRESSURE_WRITE", "c29tZSAyMDAwMDAgMjAwMDAwMAA=");
        }
        let running = Running::start(&mut command, &dir.path().join("service.log"));
        let service = Self { running, listen, dir };
        #[expect(clippy::cast_precision_loss, reason = "some mebibytes")]
        let full = (FULL_MIB << 20) as f64;
        eventually("its cache is full", 60, || (service.metric(HELD)? >= full).then_some(()));
        Some(service)
    }

    fn page(&self) -> Option<String> {
        let call = match self.listen.strip_prefix("unix:") {
            Some(path) => Call { unix: Some(path.into()), ..Call::get("http://localhost/metrics") },
            None => Call::get(format!("http://{}/metrics", self.listen)),
        };
        let (status, body) = send_blocking(call).ok()?;
        assert_eq!(status, 200);
        Some(String::from_utf8(body.to_vec()).unwrap())
    }

    fn metric(&self, series: &str) -> Option<f64> {
        crate::page::value(&self.page()?, series)
    }

    fn resident_bytes(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.running.pid())).unwrap();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * rustix::param::page_size() as u64
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// An optimizer with these hooks for it, and a rung for each kind.
    fn optimizer(&self, hooks: &[(&str, String)]) -> Optimizer {
        let top = format!(
            "process_groups: [{{name: held, cmdline: ['demo_cache.py --listen {}( |$)'], memory_budget: 40MiB}}]",
            self.listen
        );
        let rungs: Vec<String> =
            hooks.iter().map(|(kind, _)| format!("{{action: app_hook, with: {{kind: {kind}}}}}")).collect();
        let list: Vec<String> =
            hooks.iter().map(|(kind, keys)| format!("{{kind: {kind}, {keys}}}")).collect();
        let keys = format!(
            "  settle: 5s\n  guards: {{cooldown: 0s, target_cooldown: 0s, min_gain: 8MiB, actions_per_hour: 1000}}\n  policies:\n  \
             - {{name: ask, match: ['headroom_action=\"reclaim\"'], target_label: groupname, ladder: [{}]}}\n  targets:\n  - \
             {{name: held, process_group: held, hooks: [{}]}}\n",
            rungs.join(", "),
            list.join(", ")
        );
        Optimizer::start(&top, &keys)
    }
}

const HELD: &str = "headroom_kit_held_bytes{part=\"thumbnails\",kind=\"drop_caches\"}";
const RELEASED: &str = "headroom_kit_released_bytes_total{part=\"thumbnails\",kind=\"drop_caches\"}";

/// The last step verified a gain, and the process lost more than so many mebibytes in it. (How much of that the machine
/// has more available depends on what all others take at the same time.)
pub(crate) fn check_freed(entry: &Value, mib: u64) {
    let step = entry["steps"].as_array().unwrap().last().unwrap();
    let bytes = |when: &str| step[when]["target"]["bytes"].as_u64().unwrap();
    assert!(step["freed_bytes"].as_u64() >= Some(8 << 20), "{entry:#}");
    assert!(bytes("before") - bytes("after") > mib << 20, "{entry:#}");
}

#[test]
fn memory_of_a_python_service_falls_and_the_machine_has_it() {
    let _alone = crate::reclaim::alone();
    let Some(service) = Service::start(false, None) else { return };
    let token_file = service.path("hook-token").display().to_string();
    let url = format!("url: 'http://{}/headroom/reclaim', token_file: {token_file}", service.listen);
    let optimizer = service.optimizer(&[("drop_caches", url)]);
    let before = service.resident_bytes();
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    let entry = optimizer.ended(60);
    assert_eq!(entry["result"], "effective", "{entry:#}");
    check_freed(&entry, 60);
    let step = &entry["steps"][0];
    assert!(step["detail"].as_str().unwrap().contains("says that it released"), "{entry:#}");
    assert!(before - service.resident_bytes() > 60 << 20, "{entry:#}");
    assert!(service.metric(RELEASED).unwrap() > f64::from(60 << 20));
    assert_eq!(service.metric("headroom_kit_requests_total{origin=\"http\"}"), Some(1.0));
}

#[test]
fn over_its_socket_a_wrong_token_and_an_unknown_kind_get_nothing_and_the_right_ones_memory() {
    let _alone = crate::reclaim::alone();
    let Some(service) = Service::start(true, None) else { return };
    std::fs::write(service.path("wrong-token"), "open-barley\n").unwrap();
    let hook = |token: &str| {
        let (socket, token) = (service.path("hook.sock"), service.path(token));
        format!("unix: {}, token_file: {}", socket.display(), token.display())
    };
    let hooks =
        [("gc", hook("wrong-token")), ("prune", hook("hook-token")), ("drop_caches", hook("hook-token"))];
    let optimizer = service.optimizer(&hooks);
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    let entry = optimizer.ended(60);
    let details: Vec<&str> =
        entry["steps"].as_array().unwrap().iter().map(|s| s["detail"].as_str().unwrap()).collect();
    assert_eq!(details.len(), 3, "{entry:#}");
    assert!(details[0].contains("answered 401"), "{entry:#}");
    assert!(details[1].contains("answered 404") && details[1].contains("'prune'"), "{entry:#}");
    assert_eq!(entry["result"], "effective", "{entry:#}");
    check_freed(&entry, 60);
}

#[test]
fn by_systemds_protocol_it_gives_back_over_a_pipe_and_over_a_socket_that_ends_and_comes_again() {
    let _alone = crate::reclaim::alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pressure");
    // With nobody there yet it goes on trying.
    let key = format!("pressure_socket: {}, mode: \"0600\"", path.display());
    if program(&["mkfifo"]).is_none() {
        return;
    }
    let fifo = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let Some(piped) = Service::start(true, Some(&fifo)) else { return };
    let optimizer = piped.optimizer(&[("memory", format!("pressure_fifo: {}", fifo.display()))]);
    let asked = |service: &Service| service.metric("headroom_kit_requests_total{origin=\"pressure\"}");
    optimizer.notify(&[alert("held", "ab", "firing")], 200);
    let entry = optimizer.ended(60);
    check_freed(&entry, 60);
    assert_eq!(asked(&piped), Some(1.0));
    drop((optimizer, piped));
    let Some(service) = Service::start(true, Some(&path)) else { return };
    let mut optimizer = service.optimizer(&[("memory", key)]);
    for (count, fingerprint) in [(1, "ab"), (2, "cd")] {
        let connected = || optimizer.running.output().matches("a program is connected").count();
        eventually("it is connected", 90, || (connected() >= count).then_some(()));
        optimizer.notify(&[alert("held", fingerprint, "firing")], 200);
        let entry = eventually("the run's end", 60, || {
            let newest = optimizer.entries("limit=1").into_iter().next()?;
            (newest["fingerprint"] == fingerprint && newest["state"] == "ended").then_some(newest)
        });
        check_freed(&entry, 30);
        assert_eq!(asked(&service), Some(f64::from(u32::try_from(count).unwrap())));
        optimizer.running.kill();
        optimizer.restart();
    }
}
