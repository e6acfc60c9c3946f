//! Signs of life: whether a thread ran since it was last looked at, which threads there are, and where one waits.

use crate::host::tree::{Tree, gone};
use crate::host::{HostError, ParseError, counted};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// The longest name of a kernel function that is kept, in bytes (`KSYM_NAME_LEN`).
const FUNCTION_BYTES_MAX: usize = 512;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u64);

impl Mark {
    fn of(bytes: &[u8]) -> Self {
        Self(BuildHasherDefault::<DefaultHasher>::default().hash_one(bytes))
    }
}

/// How long a thread ran, how long it waited for a processor and how often it got one, to the nanosecond
/// (`schedstat`); and how much memory its process has (`statm`).
///
/// A thread whose `schedstat` is the same did not run. Then nothing changed that only a thread itself changes: its
/// times, faults, context switches, bytes read and written, open files, threads, name, and the place where it waits.
/// What others do to it, taking its pages, shows in `statm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    ran: Mark,
    memory: Option<Mark>,
}

impl Life {
    /// The present signs of the process (or of the thread, without its memory) whose directory is `parts`; `None`
    /// where it is gone, or where this kernel keeps no such account, so that nothing can be told.
    pub fn of_process(tree: &mut Tree, pid: &str) -> Result<Option<Self>, HostError> {
        let Some(ran) = ran(tree, &[pid, "schedstat"])? else { return Ok(None) };
        let memory = tree.record(&[pid, "statm"])?.map(Mark::of);
        Ok(memory.map(|memory| Self { ran, memory: Some(memory) }))
    }

    /// The same of one thread of a process, without the memory, which is the process's.
    pub fn of_thread(tree: &mut Tree, pid: &str, thread: &str) -> Result<Option<Self>, HostError> {
        Ok(ran(tree, &[pid, "task", thread, "schedstat"])?.map(|ran| Self { ran, memory: None }))
    }
}

fn ran(tree: &mut Tree, parts: &[&str]) -> Result<Option<Mark>, HostError> {
    // A kernel that keeps no account (no CONFIG_SCHED_INFO) says zeros for ever; a thread that never ran says so too.
    let told = |bytes: &&[u8]| !bytes.is_empty() && !bytes.starts_with(b"0 0 0");
    match tree.record(parts) {
        Ok(bytes) => Ok(bytes.filter(told).map(Mark::of)),
        // A host that hides it is no error: the other files are read instead.
        Err(HostError::Read { source, .. }) if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

/// The ids of the threads of a process, ascending; `None` when it is not there.
pub fn threads(tree: &mut Tree, pid: &str) -> Result<Option<Vec<u32>>, HostError> {
    let path = tree.path(&[pid, "task"]);
    let mut ids: Vec<u32> = Vec::new();
    match counted::entries(path, |entry| ids.extend(entry.name.parse::<u32>())) {
        Ok(()) => {}
        Err(e) if gone(&e) => return Ok(None),
        Err(e) => return Err(HostError::read(path, e)),
    }
    ids.sort_unstable();
    Ok(Some(ids))
}

/// The name of the kernel's function in which a thread waits (/proc/PID/wchan); `None` where it does not wait, where
/// the rights do not suffice, or where the kernel has no names.
pub fn wchan<'t>(tree: &'t mut Tree, parts: &[&str]) -> Result<Option<std::borrow::Cow<'t, str>>, HostError> {
    let Some(bytes) = tree.record(parts)? else { return Ok(None) };
    let text = String::from_utf8_lossy(bytes);
    Ok(if parse_wchan(&text).is_ok_and(|name| name.is_some()) { Some(text) } else { None })
}

/// Parses /proc/PID/wchan, which is a name without a line feed, or `0`.
pub fn parse_wchan(text: &str) -> Result<Option<&str>, ParseError> {
    let name = text.trim_end_matches(['\n', '\0']);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$');
    if name.len() > FUNCTION_BYTES_MAX || !name.chars().all(plain) {
        return Err(ParseError::new(1, "the name of a function, or 0"));
    }
    Ok((!name.is_empty() && name != "0").then_some(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;

    #[test]
    fn a_sleeper_shows_no_life_and_one_that_works_does() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let (mut tree, pid) = (Tree::new(&Host::default().procfs), child.id().to_string());
        while !std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap().contains("sleep") {
            std::thread::yield_now();
        }
        let first = Life::of_process(&mut tree, &pid).unwrap();
        assert_eq!(Life::of_process(&mut tree, &pid).unwrap(), first);
        assert_eq!(threads(&mut tree, &pid).unwrap().unwrap(), [child.id()]);
        assert!(wchan(&mut tree, &[&pid, "wchan"]).unwrap().unwrap().contains("sleep"));
        if first.is_some() {
            for signal in ["-STOP", "-CONT"] {
                std::process::Command::new("kill").args([signal, &pid]).status().unwrap();
            }
            while Life::of_process(&mut tree, &pid).unwrap() == first {
                std::thread::yield_now();
            }
        } else {
            eprintln!("this kernel keeps no account of who ran");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(Life::of_process(&mut tree, &pid).unwrap(), None);
        assert_eq!(threads(&mut tree, &pid).unwrap(), None);
        assert_eq!(wchan(&mut tree, &[&pid, "wchan"]).unwrap(), None);
    }

    #[test]
    fn a_kernel_without_the_account_tells_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("7")).unwrap();
        std::fs::write(dir.path().join("7/schedstat"), "0 0 0\n").unwrap();
        std::fs::write(dir.path().join("7/statm"), "1 1 1 0 0 0 0\n").unwrap();
        assert_eq!(Life::of_process(&mut Tree::new(dir.path()), "7").unwrap(), None);
        std::fs::write(dir.path().join("7/schedstat"), "5 0 1\n").unwrap();
        let one = Life::of_process(&mut Tree::new(dir.path()), "7").unwrap().unwrap();
        std::fs::write(dir.path().join("7/statm"), "1 2 1 0 0 0 0\n").unwrap();
        assert_ne!(Life::of_process(&mut Tree::new(dir.path()), "7").unwrap(), Some(one));
    }

    #[test]
    fn a_place_of_waiting_is_a_name_or_none() {
        assert_eq!(parse_wchan("do_wait"), Ok(Some("do_wait")));
        assert_eq!((parse_wchan("0"), parse_wchan("")), (Ok(None), Ok(None)));
        assert!(parse_wchan("a b").is_err() && parse_wchan(&"x".repeat(600)).is_err());
    }
}
