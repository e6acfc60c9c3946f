//! Many machines, one receiver: alerts reach the optimizer of the machine that they are about. Each machine is a network namespace.

use crate::stack::{HEADROOM, Optimizer, Running, alert, eventually};
use headroom::client::{Call, send_blocking};
use hyper::Method;
use hyper::header::HeaderValue;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A network of machines; it goes with the test.
struct Network {
    /// The third part of its addresses.
    number: u32,
    names: Vec<String>,
}

impl Network {
    /// So many machines, or nothing where the kernel or the right to make them is missing.
    fn new(machines: u8) -> Option<Self> {
        let number = std::process::id() % 250;
        let bridge = format!("hrb{number}");
        let mut script = format!(
            "set -e\nip link add {bridge} type bridge\nip address add 10.213.{number}.254/24 dev {bridge}\nip link set {bridge} up\n"
        );
        let mut names = Vec::new();
        for machine in 1..=machines {
            let (name, end) = (format!("hr{number}-{machine}"), format!("hrv{number}-{machine}"));
            write!(
                script,
                "ip netns add {name}\nip link add {end} type veth peer name eth0 netns {name}\nip link set {end} master {bridge} up\n\
                 ip -n {name} link set lo up\nip -n {name} address add 10.213.{number}.{machine}/24 dev eth0\n\
                 ip -n {name} link set eth0 up\n"
            )
            .unwrap();
            names.push(name);
        }
        let network = Self { number, names };
        let done = Command::new("sh").args(["-c", &script]).output();
        match done {
            Ok(done) if done.status.success() => Some(network),
            Ok(done) => {
                eprintln!("SKIPPED: no network namespaces: {}", String::from_utf8_lossy(&done.stderr));
                None
            }
            Err(e) => {
                eprintln!("SKIPPED: no network namespaces: {e}");
                None
            }
        }
    }

    fn address(&self, machine: usize) -> SocketAddr {
        format!("10.213.{}.{machine}:9178", self.number).parse().unwrap()
    }

    /// Where names are looked up on a machine.
    fn hosts(&self, machine: usize) -> PathBuf {
        Path::new("/etc/netns").join(&self.names[machine - 1])
    }

    /// The optimizer of a machine.
    fn optimizer(&self, machine: usize, instances: &str) -> Optimizer {
        let (dir, address) = (tempfile::tempdir().unwrap(), self.address(machine));
        std::fs::write(dir.path().join("token"), "let-me-in\n").unwrap();
        let text = format!(
            "state_dir: {}\noptimizer:\n  listen: {address}\n  token_file: token\n  instances: [{instances}]\n  \
             forward: {{hosts: ['10.213.{}.0/24', '*.machines.test'], timeout: 2s}}\n",
            dir.path().join("state").display(),
            self.number
        );
        std::fs::write(dir.path().join("headroom.yaml"), text).unwrap();
        let running = self.launch(machine, dir.path());
        Optimizer { running, dir, address, trust: None }
    }

    fn launch(&self, machine: usize, dir: &Path) -> Running {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[machine - 1], HEADROOM, "optimizer", "--config"]);
        let running = Running::start(command.arg(dir.join("headroom.yaml")), &dir.join("log"));
        let url = format!("http://{}/-/healthy", self.address(machine));
        eventually("the optimizer answers", 30, || send_blocking(Call::get(&url)).ok());
        running
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            let _gone = Command::new("ip").args(["netns", "delete", name]).output();
            let _gone = std::fs::remove_dir_all(Path::new("/etc/netns").join(name));
        }
        let _gone = Command::new("ip").args(["link", "delete", &format!("hrb{}", self.number)]).output();
    }
}

/// An alert about a machine.
fn about(instance: &str, fingerprint: &str) -> Value {
    let mut alert = alert("cache", fingerprint, "firing");
    alert["labels"]["instance"] = instance.into();
    alert
}

#[test]
fn an_alert_reaches_the_machine_that_it_names_and_is_recorded_once() {
    let Some(network) = Network::new(3) else { return };
    std::fs::create_dir_all(network.hosts(1)).unwrap();
    let names = format!("127.0.0.1 localhost\n{} three.machines.test\n", network.address(3).ip());
    std::fs::write(network.hosts(1).join("hosts"), names).unwrap();
    let own = |machine: usize| format!("'{}'", network.address(machine).ip());
    let one = network.optimizer(1, &own(1));
    let mut two = network.optimizer(2, &own(2));
    let three = network.optimizer(3, "three.machines.test");
    let instance = |machine: usize| format!("{}:9177", network.address(machine).ip());
    let all = [about(&instance(1), "01"), about(&instance(2), "02"), about("three.machines.test:9177", "03")];
    let said: Value = serde_json::from_str(&one.notify(&all, 200)).unwrap();
    assert_eq!(said, json!({"alerts": 1, "queued": 1, "forwarded": 2}));
    let recorded = |optimizer: &Optimizer| -> Vec<String> {
        let all = optimizer.entries("").into_iter();
        all.map(|entry| entry["labels"]["instance"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(recorded(&one), [instance(1)]);
    assert_eq!(recorded(&two), [instance(2)]);
    assert_eq!(recorded(&three), ["three.machines.test:9177"]);
    assert!((one.metric("headroom_optimizer_forwarded_total{result=\"ok\"}") - 2.0).abs() < 0.5);

    // A machine that is down: the sender is told to come again, and then there is one run, however often it comes.
    two.running.kill();
    let later = [about(&instance(2), "04")];
    let why = one.notify(&later, 503);
    assert!(why.contains(&network.address(2).ip().to_string()), "{why}");
    two.running = network.launch(2, two.dir.path());
    one.notify(&later, 200);
    one.notify(&later, 200);
    assert_eq!(recorded(&two).len(), 2);

    // What was sent on is not sent on again, and who is not named is not called: both are recorded here.
    let call = Call {
        method: Method::POST,
        authorization: Some(HeaderValue::from_static("Bearer let-me-in")),
        body: Some(crate::stack::notification(&[about(&instance(3), "05")])),
        ..Call::get(one.url("/api/v1/alerts"))
    };
    let mut sent_on = call;
    sent_on.headers.insert("x-headroom-forwarded", HeaderValue::from_static("1"));
    assert_eq!(send_blocking(sent_on).unwrap().0, 200);
    one.notify(&[about("stranger.example.org:9177", "06")], 200);
    assert_eq!(recorded(&one).len(), 3);
    assert_eq!(recorded(&three).len(), 1);
}

#[test]
fn what_was_sent_on_once_is_not_sent_on_again() {
    use std::io::{BufRead, BufReader, Write as _};
    let other = std::net::TcpListener::bind("127.0.0.9:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let optimizer = Optimizer::start(
        "",
        &format!("  instances: [web1]\n  forward: {{hosts: ['127.0.0.9/32'], port: {port}, timeout: 5s}}\n"),
    );
    let head = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}").unwrap();
        head.join("\n").to_lowercase()
    });
    let tell = |fingerprint: &str, forwarded: bool| -> Value {
        let body = json!({"version": "4", "alerts": [about("127.0.0.9:9177", fingerprint)]});
        let mut call = Call { method: Method::POST, ..Call::get(optimizer.url("/api/v1/alerts")) };
        call.authorization = Some(HeaderValue::from_static("Bearer let-me-in"));
        call.body = Some(serde_json::to_vec(&body).unwrap());
        if forwarded {
            call.headers.insert("x-headroom-forwarded", HeaderValue::from_static("1"));
        }
        let (status, answer) = send_blocking(call).unwrap();
        assert!(status.is_success(), "{status} {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap()
    };
    assert_eq!(tell("a", false)["forwarded"], 1);
    assert!(head.join().unwrap().contains("\nx-headroom-forwarded: 1"), "the other is told so");
    let taken = tell("b", true);
    assert_eq!(
        (&taken["forwarded"], &taken["alerts"]),
        (&0.into(), &1.into()),
        "it is recorded where it came"
    );
}
