//! Processes as /proc shows them: which there are, who each one is, and readers of its files.
//!
//! Source: `Documentation/filesystems/proc.rst`.

mod classes;
mod life;
mod resources;
mod smaps;
mod stat;
mod status;

use super::counted;
use super::tree::{Tree, gone};
use super::{Host, HostError, ParseError};
use crate::host::parse::number;
pub use classes::{CLASSES, Class, Proportional, proportional_by_class};
pub use life::{Life, Mark, parse_wchan, threads, wchan};
pub use resources::{Io, OpenFiles, io, open_files_limit};
pub use smaps::{Mapping, Rollup, VmFlags, smaps, smaps_rollup};
pub use stat::{Stat, stat};
pub use status::{Status, status};
use std::path::Path;

/// Who a process is: what does not change while it lives, or so seldom that it is looked up once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The process id.
    pub pid: u32,
    /// The start after boot in clock ticks; a pid that was given again has another one.
    pub start_ticks: u64,
    /// The command's name.
    pub comm: String,
    /// The path of the program, without the kernel's ` (deleted)`; absent for kernel threads and
    /// where the rights do not suffice.
    pub exe: Option<String>,
    /// The arguments; empty for kernel threads and zombies.
    pub cmdline: Vec<String>,
    /// The paths of its control groups, over all hierarchies, each once.
    pub cgroups: Vec<String>,
    /// The effective user id.
    pub uid: Option<u32>,
    /// The process that started it, or that took it over; 0 is nobody.
    pub parent: u32,
    /// Whether it is a thread of the kernel.
    pub kernel_thread: bool,
}

/// The ids of all processes, ascending.
pub fn pids(host: &Host) -> Result<Vec<u32>, HostError> {
    let mut pids: Vec<u32> = Vec::new();
    counted::entries(&host.procfs, |entry| pids.extend(entry.name.parse::<u32>()))
        .map_err(|e| HostError::read(&host.procfs, e))?;
    pids.sort_unstable();
    Ok(pids)
}

/// The bytes of a command's name that the kernel keeps (TASK_COMM_LEN without its end).
const COMM_BYTES_MAX: usize = 15;

/// Whether a process with the name `comm` is the command `wanted`. The kernel cuts names of programs after 15 bytes
/// (not those of its own threads), so that a longer one can only be known by its beginning.
pub fn comm_is(wanted: &str, comm: &str) -> bool {
    // A cut may go through a letter, which then reads as the sign for none.
    let is_cut = |bytes| String::from_utf8_lossy(bytes) == comm;
    wanted == comm || wanted.as_bytes().split_at_checked(COMM_BYTES_MAX).is_some_and(|(kept, _)| is_cut(kept))
}

/// A process and all that it runs under, up to PID 1; shorter where the chain cannot be read.
pub fn ancestry(host: &Host, pid: u32) -> Vec<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let status = super::read_once(&host.procfs.join(pid.to_string()).join("status")).ok()??;
        status.lines().find_map(|l| l.strip_prefix("PPid:"))?.trim().parse().ok()
    };
    // The parent of PID 1 is 0, which is nobody.
    std::iter::successors(Some(pid), |&pid| parent(pid).filter(|&p| p > 0)).take(64).collect()
}

/// Who the process `pid` is; `None` when it is not there or went away while it was read.
pub fn identity(host: &Host, pid: u32) -> Result<Option<Identity>, HostError> {
    identity_in(&mut Tree::new(&host.procfs), pid)
}

/// [`identity`], through the buffer of a tree of processes.
pub fn identity_in(tree: &mut Tree, pid: u32) -> Result<Option<Identity>, HostError> {
    let Some(stat) = record(tree, &[itoa::Buffer::new().format(pid), "stat"], stat)? else { return Ok(None) };
    identify(tree, pid, &stat, Asked { exe: true, cgroups: true, user: true })
}

/// What is asked of a process beside its name and arguments, each of which is a file more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The path of the program.
    pub exe: bool,
    /// The paths of control groups.
    pub cgroups: bool,
    /// The effective user.
    pub user: bool,
}

/// Who the process is whose `stat` was just read, as far as it is asked.
pub fn identify(tree: &mut Tree, pid: u32, stat: &Stat, asked: Asked) -> Result<Option<Identity>, HostError> {
    let mut digits = itoa::Buffer::new();
    let text = digits.format(pid);
    let mut out = Identity {
        pid,
        start_ticks: stat.start_ticks,
        comm: stat.comm.clone(),
        parent: stat.parent,
        kernel_thread: stat.kernel_thread,
        ..Identity::default()
    };
    if stat.kernel_thread && !asked.user && !asked.cgroups {
        return Ok(Some(out));
    }
    // A thread of the kernel has neither program nor arguments.
    if !stat.kernel_thread {
        let Some(cmdline) = tree.record(&[text, "cmdline"])? else { return Ok(None) };
        out.cmdline = arguments(&String::from_utf8_lossy(cmdline));
        out.exe = if asked.exe { link(tree.path(&[text, "exe"]))? } else { None };
    }
    if asked.user {
        let Some(status) = record(tree, &[text, "status"], status)? else { return Ok(None) };
        out.uid = status.uid;
    }
    if asked.cgroups {
        // A kernel without control groups has no such file.
        out.cgroups = record(tree, &[text, "cgroup"], cgroups)?.unwrap_or_default();
    }
    // The pid may have been given to another process since `stat` was read.
    let again = record(tree, &[text, "stat"], self::stat)?;
    Ok(again.filter(|again| again.start_ticks == stat.start_ticks).map(|_| out))
}

/// The `stat` of a process; `None` when it is not there.
pub fn stat_of(host: &Host, pid: u32) -> Result<Option<Stat>, HostError> {
    parsed(&mut Tree::new(&host.procfs), &[&pid.to_string(), "stat"], stat)
}

/// How many files this process may hold open; `None` where there is no limit.
pub fn own_open_files_limit() -> Option<u64> {
    super::counted::call();
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// How much memory this process may map, in bytes; [`u64::MAX`] where there is no limit.
pub fn own_virtual_memory_limit() -> u64 {
    super::counted::call();
    rustix::process::getrlimit(rustix::process::Resource::As).current.unwrap_or(u64::MAX)
}

/// The `status` of a process; `None` when it is not there.
pub fn status_of(host: &Host, pid: u32) -> Result<Option<Status>, HostError> {
    parsed(&mut Tree::new(&host.procfs), &[&pid.to_string(), "status"], status)
}

/// The `smaps_rollup` of a process; `None` when it is not there or has no memory of its own.
pub fn rollup_of(host: &Host, pid: u32) -> Result<Option<Rollup>, HostError> {
    let parse = |text: &str| if text.is_empty() { Ok(None) } else { smaps_rollup(text).map(Some) };
    Ok(parsed(&mut Tree::new(&host.procfs), &[&pid.to_string(), "smaps_rollup"], parse)?.flatten())
}

/// The mappings of a process; `None` when it is not there.
pub fn smaps_of(host: &Host, pid: u32) -> Result<Option<Vec<Mapping>>, HostError> {
    parsed(&mut Tree::new(&host.procfs), &[&pid.to_string(), "smaps"], smaps)
}

/// The time since boot in clock ticks, which starts of processes are counted in; 0 where it cannot be read.
pub fn uptime_ticks(host: &Host) -> u64 {
    let text = super::read_once(&host.procfs.join("uptime")).ok().flatten().unwrap_or_default();
    let seconds = text.split_ascii_whitespace().next().and_then(|w| w.parse::<f64>().ok());
    let ticks = seconds.unwrap_or(0.0) * clock_ticks_per_second() as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast keeps to the bounds")]
    let ticks = ticks as u64;
    ticks
}

/// When the machine was started, in seconds since 1970; `None` where there is no /proc/stat.
pub fn boot_seconds(host: &Host) -> Result<Option<u64>, HostError> {
    parsed(&mut Tree::new(&host.procfs), &["stat"], boot_time)
}

/// The `btime` of /proc/stat: when the machine was started, in seconds since 1970.
pub fn boot_time(text: &str) -> Result<u64, ParseError> {
    let want = "a line `btime` with seconds since 1970";
    let line = text.lines().enumerate().find_map(|(i, l)| Some((i + 1, l.strip_prefix("btime ")?)));
    let (n, seconds) = line.ok_or_else(|| ParseError::new(text.lines().count(), want))?;
    number(Some(seconds.trim()), n, want)
}

/// How many clock ticks a second has, in the files of processes.
pub fn clock_ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second()
}

/// The paths in /proc/PID/cgroup (`hierarchy:controllers:path`), each once.
pub fn cgroups(text: &str) -> Result<Vec<String>, ParseError> {
    let mut out: Vec<String> = Vec::new();
    for (n, line) in super::parse::lines(text) {
        let path = line.splitn(3, ':').nth(2);
        let path = path.ok_or_else(|| ParseError::new(n, "`hierarchy:controllers:path`"))?;
        if !out.iter().any(|known| known == path) {
            out.push(path.to_owned());
        }
    }
    Ok(out)
}

/// The arguments in /proc/PID/cmdline. A process that wrote its title over them has one argument
/// that ends in many zero bytes, which are no arguments.
fn arguments(text: &str) -> Vec<String> {
    let text = text.trim_end_matches('\0');
    if text.is_empty() { Vec::new() } else { text.split('\0').map(str::to_owned).collect() }
}

/// Where the link at `path` points; `None` where there is none or the rights do not suffice.
fn link(path: &Path) -> Result<Option<String>, HostError> {
    match counted::read_link(path) {
        Ok(to) => {
            let to = to.to_string_lossy();
            Ok(Some(to.strip_suffix(" (deleted)").unwrap_or(&to).to_owned()))
        }
        Err(e) if gone(&e) || e.kind() == std::io::ErrorKind::PermissionDenied => Ok(None),
        Err(e) => Err(HostError::read(path, e)),
    }
}

/// The parsed text of a file that one read gives whole ([`Tree::record`]); `None` where there is no such file.
pub(crate) fn record<T>(
    tree: &mut Tree,
    parts: &[&str],
    parser: impl FnOnce(&str) -> Result<T, ParseError>,
) -> Result<Option<T>, HostError> {
    let result = match tree.record(parts)? {
        None => return Ok(None),
        Some(bytes) => parser(&String::from_utf8_lossy(bytes)),
    };
    result.map(Some).map_err(|e| HostError::parse(tree.path(parts), e))
}

/// The parsed text of a file of the tree; `None` where there is no such file.
pub(crate) fn parsed<T>(
    tree: &mut Tree,
    parts: &[&str],
    parser: impl FnOnce(&str) -> Result<T, ParseError>,
) -> Result<Option<T>, HostError> {
    let result = match tree.read(parts)? {
        None => return Ok(None),
        Some(text) => parser(&text),
    };
    result.map(Some).map_err(|e| HostError::parse(tree.path(parts), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_knows_itself() {
        let (host, pid) = (Host::default(), std::process::id());
        assert!(pids(&host).unwrap().contains(&pid));
        let me = identity(&host, pid).unwrap().unwrap();
        let exe = std::env::current_exe().unwrap();
        assert_eq!(me.exe.as_deref(), exe.to_str());
        assert_eq!(me.cmdline[0], std::env::args().next().unwrap());
        assert_eq!(me.uid, Some(rustix::process::geteuid().as_raw()));
        assert!(!me.kernel_thread);
        assert_eq!(stat_of(&host, pid).unwrap().unwrap().start_ticks, me.start_ticks);
        assert!(smaps_of(&host, pid).unwrap().unwrap().iter().any(|m| m.name == "[heap]"));
        let rollup = rollup_of(&host, pid).unwrap().unwrap();
        assert!(rollup.pss_bytes > 0 && rollup.pss_bytes <= rollup.rss_bytes);
        assert!(boot_seconds(&host).unwrap().unwrap() > 1_600_000_000);
    }

    #[test]
    fn a_long_name_is_known_by_what_the_kernel_keeps_of_it() {
        for (wanted, comm, want) in [
            ("cached", "cached", true),
            ("cached", "cache", false),
            ("prometheus-alertmanager", "prometheus-aler", true),
            ("prometheus-alertmanager", "prometheus-ale", false),
            ("prometheus-aler", "prometheus-alert", false),
            ("kworker/0:1-events", "kworker/0:1-events", true),
            ("fourteen-bytesü", "fourteen-bytes\u{fffd}", true),
            ("", "", true),
        ] {
            assert_eq!(comm_is(wanted, comm), want, "{wanted} {comm}");
        }
    }

    #[test]
    fn a_process_that_is_not_there_is_absent() {
        let host = Host::default();
        assert_eq!(identity(&host, u32::MAX).unwrap(), None);
        assert_eq!(stat_of(&host, u32::MAX).unwrap(), None);
        assert_eq!(rollup_of(&host, u32::MAX).unwrap(), None);
    }

    #[test]
    fn a_process_that_ended_while_it_is_read_is_absent_or_a_zombie_and_never_an_error() {
        let host = Host::default();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        assert!(identity(&host, pid).unwrap().is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(identity(&host, pid).unwrap(), None);
    }

    #[test]
    fn control_groups_are_listed_once_and_may_hold_colons() {
        assert_eq!(
            cgroups("9:name=systemd:/a\n4:memory:/a:b\n0::/a\n"),
            Ok(vec!["/a".into(), "/a:b".into()])
        );
        assert!(cgroups("9:memory\n").is_err());
    }

    #[test]
    fn arguments_may_be_empty_but_trailing_zero_bytes_are_none() {
        assert_eq!(arguments("a\0\0b c\0"), ["a", "", "b c"]);
        assert_eq!(arguments("postgres: writer\0\0\0\0"), ["postgres: writer"]);
        assert!(arguments("").is_empty());
    }

    #[test]
    fn the_boot_time_is_found_or_its_line_is_named() {
        assert_eq!(boot_time("cpu 1\nbtime 1700000000\n"), Ok(1_700_000_000));
        assert_eq!(
            boot_time("cpu 1\nbtime x\n").unwrap_err().to_string(),
            "line 2: expected a line `btime` with seconds since 1970"
        );
        assert!(boot_time("").is_err());
    }
}
