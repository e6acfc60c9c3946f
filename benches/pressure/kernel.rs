//! The guest's kernel files: memory, stalls, control groups; and the one clock that all programs here share.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const GROUPS: &str = "/sys/fs/cgroup";

/// Milliseconds since the epoch: in a guest that nobody sets, as good as any.
pub fn now_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// A number behind a name, as in meminfo, vmstat, memory.events, cpu.stat.
pub fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.split([' ', ':']).next() == Some(name));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

pub fn available_mib(meminfo: &str) -> f64 {
    field(meminfo, "MemAvailable") as f64 / 1024.0
}

pub fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The stall totals of a pressure file in milliseconds: some, full.
pub fn stalls(text: &str) -> (f64, f64) {
    let total = |kind: &str| {
        let line = text.lines().find(|line| line.starts_with(kind));
        line.and_then(|line| line.rsplit("total=").next()?.trim().parse::<f64>().ok()).unwrap_or(0.0) / 1e3
    };
    (total("some"), total("full"))
}

/// Swap on zram, which goes when this is dropped.
pub struct Swap;

impl Swap {
    /// So large; none of 0.
    pub fn make(mib: u64) -> Option<Self> {
        if mib == 0 {
            return None;
        }
        let device = Path::new("/sys/block/zram0");
        let _other = fs::write(device.join("comp_algorithm"), "lz4");
        fs::write(device.join("disksize"), format!("{mib}M")).unwrap_or_else(|e| panic!("zram: {e}"));
        busybox(&["mkswap", "/dev/zram0"]);
        busybox(&["swapon", "/dev/zram0"]);
        Some(Self)
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        busybox(&["swapoff", "/dev/zram0"]);
        let _kept = fs::write("/sys/block/zram0/reset", "1");
    }
}

fn busybox(words: &[&str]) {
    let status = Command::new("busybox").args(words).stdout(Stdio::null()).status();
    assert!(status.is_ok_and(|s| s.success()), "{words:?}");
}

/// A control group that goes, with all that is in it, when the scenario ends.
#[derive(Clone)]
pub struct Group(pub PathBuf);

impl Group {
    /// Makes it, and hands its parents' controllers down to it.
    pub fn make(path: &str) -> Self {
        let mut at = PathBuf::from(GROUPS);
        for part in path.trim_matches('/').split('/') {
            let control = at.join("cgroup.subtree_control");
            fs::write(&control, "+memory +pids +cpu +io")
                .unwrap_or_else(|e| panic!("{}: {e}", control.display()));
            at.push(part);
            if !at.is_dir() {
                fs::create_dir(&at).unwrap();
            }
        }
        Self(at)
    }

    pub fn set(&self, file: &str, value: &str) {
        fs::write(self.0.join(file), value).unwrap_or_else(|e| panic!("{file}: {e}"));
    }

    pub fn read(&self, file: &str) -> String {
        read(self.0.join(file))
    }

    /// Ends everything in it and removes it, and what is below.
    pub fn end(&self) {
        let _gone = fs::write(self.0.join("cgroup.kill"), "1");
        for _ in 0..500 {
            remove(&self.0);
            if !self.0.exists() {
                return;
            }
            sleep(Duration::from_millis(10));
        }
        eprintln!("{} is still there: {:?}", self.0.display(), self.read("cgroup.events"));
    }
}

fn remove(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    let _not_yet = fs::remove_dir(path);
}
