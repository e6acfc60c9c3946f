//! Where a control group is held back, v1 and v2: its freezer, its share of the processors, and who is in it.
//!
//! Sources: `Documentation/admin-guide/cgroup-v2.rst`, `Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst`.

use super::Version;

use crate::host::{Host, HostError, children, counted, read_once};
use std::path::{Path, PathBuf};

/// The freezer of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freezer {
    /// Which interface it speaks.
    pub version: Version,
    /// The group's directory.
    pub directory: PathBuf,
    /// Whether the group is frozen, or about to be, by its own switch or by that of a group above it.
    pub frozen: bool,
    /// The processes in it and below; 0 is one that cannot be seen from here.
    pub processes: Vec<u32>,
}

/// A group's share of the processors, in relation to its neighbours'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuShare {
    /// `cpu.weight`, or `cpu.shares` of version 1.
    pub file: PathBuf,
    /// Which interface it speaks.
    pub version: Version,
    /// The present value.
    pub value: u64,
}

/// A group of version 2 as a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its directory.
    pub directory: PathBuf,
    /// Whether the kernel itself ends all of it, or nothing (memory.oom.group).
    pub whole: bool,
    /// The processes in it and below; 0 is one that cannot be seen from here.
    pub processes: Vec<u32>,
}

/// The directories of a group in all hierarchies that have it.
pub fn directories(host: &Host, group: &str) -> Result<Vec<PathBuf>, HostError> {
    let root = host.sysfs.join("fs/cgroup");
    let mut roots = vec![root.clone()];
    if !counted::exists(&root.join("cgroup.controllers")) {
        roots = children(&root)?.unwrap_or_default().iter().map(|name| root.join(name)).collect();
    }
    let group = group.trim_start_matches('/');
    Ok(roots
        .into_iter()
        .map(|r| r.join(group))
        .filter(|d| counted::exists(&d.join("cgroup.procs")))
        .collect())
}

/// The processes in the group of a directory and below, sorted.
pub fn processes(directory: &Path) -> Result<Vec<u32>, HostError> {
    let mut pending = vec![directory.to_owned()];
    let mut pids = Vec::new();
    while let Some(directory) = pending.pop() {
        let text = read_once(&directory.join("cgroup.procs"))?.unwrap_or_default();
        pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        for name in children(&directory)?.unwrap_or_default() {
            let below = directory.join(name);
            if counted::is_dir(&below) {
                pending.push(below);
            }
        }
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// The freezer of a group: of version 2 where that hierarchy has the group, else of version 1.
pub fn freezer(host: &Host, group: &str) -> Result<Option<Freezer>, HostError> {
    for (version, file) in [(Version::V2, "cgroup.freeze"), (Version::V1, "freezer.state")] {
        for directory in directories(host, group)? {
            if counted::exists(&directory.join(file)) {
                let frozen = is_frozen(version, &directory)?;
                let processes = processes(&directory)?;
                // In a machine with both versions, the one in which the group's processes are is meant.
                if version == Version::V2 && processes.is_empty() {
                    continue;
                }
                return Ok(Some(Freezer { version, directory, frozen, processes }));
            }
        }
    }
    Ok(None)
}

/// Whether all of the group stands still, or is about to.
pub fn is_frozen(version: Version, directory: &Path) -> Result<bool, HostError> {
    if version == Version::V1 {
        let state = read_once(&directory.join("freezer.state"))?.unwrap_or_default();
        return Ok(matches!(state.trim(), "FROZEN" | "FREEZING"));
    }
    let switched = read_once(&directory.join("cgroup.freeze"))?.is_some_and(|t| t.trim() == "1");
    Ok(switched || stands_still(version, directory)?)
}

/// Whether all of the group stands still.
pub fn stands_still(version: Version, directory: &Path) -> Result<bool, HostError> {
    if version == Version::V1 {
        let state = read_once(&directory.join("freezer.state"))?.unwrap_or_default();
        return Ok(state.trim() == "FROZEN");
    }
    let events = read_once(&directory.join("cgroup.events"))?.unwrap_or_default();
    Ok(events.lines().any(|line| line == "frozen 1"))
}

/// A group's share of the processors; `None` where the controller is not on.
pub fn cpu_share(host: &Host, group: &str) -> Result<Option<CpuShare>, HostError> {
    for directory in directories(host, group)? {
        for (version, name) in [(Version::V2, "cpu.weight"), (Version::V1, "cpu.shares")] {
            let file = directory.join(name);
            if let Some(value) = read_once(&file)?.and_then(|t| t.trim().parse().ok()) {
                return Ok(Some(CpuShare { file, version, value }));
            }
        }
    }
    Ok(None)
}

/// The group of version 2 that a process is in, as a unit; `None` where there is no such hierarchy, or it is the root.
pub fn unit_of(host: &Host, pid: u32) -> Result<Option<Unit>, HostError> {
    let Some(text) = read_once(&host.procfs.join(pid.to_string()).join("cgroup"))? else { return Ok(None) };
    let Some(path) = text.lines().find_map(|l| l.strip_prefix("0::")).filter(|p| *p != "/") else {
        return Ok(None);
    };
    // `/../x` is a group outside of this namespace, which is not this one's to end.
    let inside = !path.split('/').any(|part| part == "..");
    let root = host.sysfs.join("fs/cgroup");
    let found = [root.join("unified"), root]
        .into_iter()
        .map(|r| r.join(path.trim_start_matches('/')))
        .find(|d| inside && counted::exists(&d.join("cgroup.kill")));
    let Some(directory) = found else { return Ok(None) };
    let whole = read_once(&directory.join("memory.oom.group"))?.is_some_and(|t| t.trim() == "1");
    let processes = processes(&directory)?;
    Ok(Some(Unit { directory, whole, processes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with these files below `fs/cgroup`, and process 7 in `/a` of version 2.
    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: PathBuf, text: &str| {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for (name, text) in files {
            put(dir.path().join("sys/fs/cgroup").join(name), text);
        }
        put(dir.path().join("proc/7/cgroup"), "4:memory:/m\n0::/a\n");
        let host = Host { sysfs: dir.path().join("sys"), procfs: dir.path().join("proc"), ..Host::default() };
        (dir, host)
    }

    #[test]
    fn version_2_has_all_brakes_in_one_directory() {
        let (_dir, host) = host(&[
            ("cgroup.controllers", "cpu memory\n"),
            ("a/cgroup.procs", "7\n"),
            ("a/b/cgroup.procs", "8\n0\n"),
            ("a/cgroup.freeze", "0\n"),
            ("a/cgroup.kill", ""),
            ("a/cgroup.events", "populated 1\nfrozen 0\n"),
            ("a/cpu.weight", "100\n"),
            ("a/memory.oom.group", "1\n"),
        ]);
        let freezer = freezer(&host, "/a").unwrap().unwrap();
        assert_eq!((freezer.version, freezer.frozen), (Version::V2, false));
        assert_eq!(freezer.processes, [0, 7, 8]);
        let share = cpu_share(&host, "/a").unwrap().unwrap();
        assert_eq!((share.version, share.value), (Version::V2, 100));
        let unit = unit_of(&host, 7).unwrap().unwrap();
        assert!(unit.whole && unit.processes == [0, 7, 8] && unit.directory == freezer.directory);
        assert_eq!(self::freezer(&host, "/c").unwrap(), None);
    }

    #[test]
    fn version_1_has_a_hierarchy_for_each_and_the_one_with_the_processes_is_meant() {
        let (_dir, host) = host(&[
            ("freezer/a/cgroup.procs", "7\n"),
            ("freezer/a/freezer.state", "FREEZING\n"),
            ("cpu/a/cgroup.procs", "7\n"),
            ("cpu/a/cpu.shares", "1024\n"),
            ("unified/a/cgroup.procs", ""),
            ("unified/a/cgroup.freeze", "0\n"),
        ]);
        let freezer = freezer(&host, "/a").unwrap().unwrap();
        assert_eq!((freezer.version, freezer.frozen), (Version::V1, true));
        assert!(!stands_still(Version::V1, &freezer.directory).unwrap());
        assert_eq!(cpu_share(&host, "/a").unwrap().unwrap().value, 1024);
        assert_eq!(directories(&host, "/a").unwrap().len(), 3);
        assert_eq!(unit_of(&host, 7).unwrap(), None, "no cgroup.kill there");
    }
}
