//! The tools: how each is started, and when it acted.

use super::kernel::Group;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

pub const HEADROOM: &str = "headroom";
/// Without any tool; in a machine as small as the others, and in one with memory to spare.
pub const NOTHING: &str = "nothing";
pub const ROOM: &str = "room";
const API: &str = "127.0.0.1:9178";
const STATE: &str = "/tmp/state";
const LOG: &str = "/tmp/tool.log";
/// Until a tool that does not say so is at work; an interpreter needs longer.
const START: Duration = Duration::from_millis(1500);
const START_SLOW: Duration = Duration::from_secs(5);

/// A tool at work, in a control group that says what it used.
pub struct Tool {
    name: String,
    child: Option<Child>,
    group: Group,
    at_start_micros: u64,
}

impl Tool {
    pub fn start(name: &str) -> Self {
        let group = Group::make("/tool");
        let _none = fs::remove_dir_all(STATE);
        let words: &[&str] = match name {
            NOTHING | ROOM => &[],
            "earlyoom" => &["earlyoom", "-r", "0"],
            "nohang" => {
                &["python3", "/usr/sbin/nohang", "--monitor", "--config", "/usr/share/nohang/nohang.conf"]
            }
            "oomd" => &["oomd", "--config", "/etc/oomd.json", "--cgroup-fs", "/sys/fs/cgroup"],
            HEADROOM => &["headroom", "optimizer", "--config", "/etc/headroom.yaml"],
            other => panic!("{other} is no tool here"),
        };
        let child = words.split_first().map(|(program, rest)| {
            let log = File::create(LOG).unwrap();
            let mut command = Command::new("sh");
            // It joins its group before it begins.
            command
                .args(["-c", "echo 0 >/sys/fs/cgroup/tool/cgroup.procs && exec \"$@\"", "sh", program])
                .args(rest);
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
            command.spawn().unwrap()
        });
        let mut tool = Self { name: name.into(), child, group, at_start_micros: 0 };
        tool.ready();
        tool.at_start_micros = tool.micros();
        tool
    }

    fn ready(&mut self) {
        if self.name == HEADROOM {
            // It locks its memory when it has made itself ready, after it has begun to answer.
            let ready = |page: String| page.contains("\nheadroom_optimizer_memory_locked 1\n");
            for _ in 0..200 {
                if ask("/metrics", "").is_some_and(ready) {
                    break;
                }
                sleep(Duration::from_millis(100));
            }
        }
        if self.child.is_some() {
            sleep(if self.name == "nohang" { START_SLOW } else { START });
        }
    }

    /// Whether it still runs, which it should.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Seconds of processor time since it was ready.
    pub fn cpu_seconds(&self) -> f64 {
        self.micros().saturating_sub(self.at_start_micros) as f64 / 1e6
    }

    fn micros(&self) -> u64 {
        super::kernel::field(&self.group.read("cpu.stat"), "usage_usec")
    }

    /// When Headroom began each of its actions, from its record. What others did, the dead tell.
    pub fn acts(&self) -> Vec<u64> {
        if self.name != HEADROOM {
            return Vec::new();
        }
        let answer = record();
        let steps = answer.split("\"begun_at_millis\":").skip(1);
        let mut acts: Vec<u64> =
            steps.filter_map(|rest| rest.split([',', '}']).next()?.trim().parse().ok()).collect();
        acts.sort_unstable();
        acts
    }

    /// Where the time of its first reaction went, if it says so.
    pub fn phases(&self) -> String {
        // What is in the log may be that of another tool.
        let log = if self.name == HEADROOM { super::kernel::read(LOG) } else { String::new() };
        let said = log.lines().find_map(|line| line.split_once(" phases=\"")?.1.split('"').next());
        said.map_or_else(|| "none".into(), |text| text.replace('=', ":").replace(' ', ","))
    }

    /// What it said, and what each of its threads used, for those who want to know why.
    pub fn log(&self) -> String {
        let pid = self.child.as_ref().map_or(0, Child::id);
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let used = threads.map(|thread| {
            let read = |file: &str| super::kernel::read(thread.path().join(file));
            format!("thread {}: {}", read("comm").trim(), read("schedstat"))
        });
        super::kernel::read(LOG) + &used.collect::<String>()
    }

    pub fn end(mut self) {
        self.group.end();
        if let Some(child) = &mut self.child {
            let _reaped = child.wait();
        }
    }
}

/// The record of Headroom, as it is.
pub fn record() -> String {
    let token = super::kernel::read(format!("{STATE}/webhook-token"));
    ask("/api/v1/actions?limit=200", token.trim()).unwrap_or_default()
}

fn ask(path: &str, token: &str) -> Option<String> {
    let mut stream = TcpStream::connect(API).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}
