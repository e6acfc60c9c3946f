//! What this process is allowed to: its capabilities, and whose its memory is (`/proc/self/status`, `/proc/PID`).

use super::{Host, read_once};
use std::os::unix::fs::MetadataExt;

/// A capability that an action may need: its bit in the kernel's set and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    bit: u32,
    /// The name, as capabilities(7) has it.
    pub name: &'static str,
}

/// To send signals to other users' processes.
pub const KILL: Capability = Capability { bit: 5, name: "CAP_KILL" };
/// To look at and advise other users' processes.
pub const SYS_PTRACE: Capability = Capability { bit: 19, name: "CAP_SYS_PTRACE" };
/// To swap on devices.
pub const SYS_ADMIN: Capability = Capability { bit: 21, name: "CAP_SYS_ADMIN" };
/// To move other processes' memory.
pub const SYS_NICE: Capability = Capability { bit: 23, name: "CAP_SYS_NICE" };

/// Whether this process has the capability; where the kernel does not say, the attempt will tell.
pub fn has(host: &Host, capability: Capability) -> bool {
    let status = read_once(&host.procfs.join("self/status")).ok().flatten().unwrap_or_default();
    effective(&status).is_none_or(|set| set >> capability.bit & 1 == 1)
}

/// Whether a process runs as the user that this one runs as; true if it has gone.
pub fn same_user(host: &Host, pid: u32) -> bool {
    let owner = super::counted::metadata(host.procfs.join(pid.to_string())).map(|m| m.uid());
    owner.map_or(true, |uid| uid == rustix::process::geteuid().as_raw())
}

/// Whether a process is another user's, so that a signal to it wants [`KILL`]; false if it has gone.
pub fn is_foreign(host: &Host, pid: u32) -> bool {
    let status = super::proc::status_of(host, pid).ok().flatten();
    status.and_then(|s| s.uid).is_some_and(|uid| uid != rustix::process::geteuid().as_raw())
}

fn effective(status: &str) -> Option<u64> {
    let set = status.lines().find_map(|l| l.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_bits_of_the_effective_set() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host { procfs: dir.path().into(), ..Host::default() };
        std::fs::create_dir(dir.path().join("self")).unwrap();
        std::fs::write(dir.path().join("self/status"), "CapPrm:\tffff\nCapEff:\t0000000000800000\n").unwrap();
        assert_eq!([SYS_NICE, SYS_ADMIN, SYS_PTRACE].map(|c| has(&host, c)), [true, false, false]);
        std::fs::write(dir.path().join("self/status"), "Name:\tx\n").unwrap();
        assert!(has(&host, SYS_ADMIN), "not said");
    }

    #[test]
    fn this_process_is_of_the_same_user() {
        assert!(same_user(&Host::default(), std::process::id()));
    }
}
