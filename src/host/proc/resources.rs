//! What /proc/PID/io, limits and fd say: bytes to and from disks, files held open, and how many may be.

use crate::host::counted;
use crate::host::parse::{lines, number};
use crate::host::tree::{Tree, gone};
use crate::host::{Host, HostError, ParseError};
use std::os::unix::fs::MetadataExt;

/// What a process read from and wrote to storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Io {
    /// Bytes that were really fetched from storage.
    pub read_bytes: u64,
    /// Bytes that were sent to storage.
    pub write_bytes: u64,
}

/// Parses /proc/PID/io.
pub fn io(text: &str) -> Result<Io, ParseError> {
    let (mut read, mut write) = (None, None);
    for (n, line) in lines(text) {
        let value = |prefix| line.strip_prefix(prefix).map(str::trim);
        if let Some(value) = value("read_bytes:") {
            read = Some(number(Some(value), n, "`read_bytes:` and a whole number")?);
        } else if let Some(value) = value("write_bytes:") {
            write = Some(number(Some(value), n, "`write_bytes:` and a whole number")?);
        }
    }
    let last = text.lines().count();
    Ok(Io {
        read_bytes: read.ok_or_else(|| ParseError::new(last, "a `read_bytes:` line before the end"))?,
        write_bytes: write.ok_or_else(|| ParseError::new(last, "a `write_bytes:` line before the end"))?,
    })
}

/// How many files a process may hold open (the soft limit in /proc/PID/limits); `None` where
/// there is no limit.
pub fn open_files_limit(text: &str) -> Result<Option<u64>, ParseError> {
    let want = "`Max open files` with a number or `unlimited`, and its unit";
    let found = lines(text).find_map(|(n, line)| Some((n, line.strip_prefix("Max open files")?)));
    let (n, rest) = found.ok_or_else(|| ParseError::new(text.lines().count(), want))?;
    let mut words = rest.split_ascii_whitespace();
    let soft = words.next();
    // Without the hard limit and the unit behind it, the number may have been cut.
    if words.count() < 2 {
        return Err(ParseError::new(n, want));
    }
    if soft == Some("unlimited") { Ok(None) } else { number(soft, n, want).map(Some) }
}

/// Counts the files that processes hold open, in the cheapest way that this kernel offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenFiles {
    /// The size of /proc/PID/fd is the count (6.2 on); this needs no rights over the process.
    Size,
    /// The entries of /proc/PID/fd must be counted.
    Entries,
}

impl OpenFiles {
    /// Tries which way works on this host. A copy of a /proc on a disk has directories of any size.
    pub fn detect(host: &Host) -> Self {
        let is_proc = counted::is_procfs(&host.procfs);
        // This process has files open, at least the one that it asks with.
        let size = counted::metadata("/proc/self/fd").map_or(0, |m| m.size());
        if is_proc && size > 0 { Self::Size } else { Self::Entries }
    }

    /// How many files the process holds open; `None` when it is not there.
    pub fn count(self, tree: &mut Tree, pid: &str) -> Result<Option<u64>, HostError> {
        let path = tree.path(&[pid, "fd"]);
        let counted = match self {
            Self::Size => counted::metadata(path).map(|m| m.size()),
            Self::Entries => {
                let mut count = 0;
                counted::entries(path, |_| count += 1).map(|()| count)
            }
        };
        match counted {
            Ok(count) => Ok(Some(count)),
            Err(e) if gone(&e) => Ok(None),
            Err(e) => Err(HostError::read(path, e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
        Max processes             96365                96365                processes \n\
        Max open files            1024                 524288               files     \n";

    #[test]
    fn io_has_what_reached_the_storage() {
        let text = "rchar: 6976\nwchar: 1\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 5\n";
        assert_eq!(io(text), Ok(Io { read_bytes: 4096, write_bytes: 8192 }));
        for end in 0..text.find("8192").unwrap() {
            assert!(io(&text[..end]).is_err(), "{}", &text[..end]);
        }
        assert!(io("read_bytes: x\nwrite_bytes: 1\n").is_err());
    }

    #[test]
    fn the_limit_of_open_files_is_a_number_or_none() {
        assert_eq!(open_files_limit(LIMITS), Ok(Some(1024)));
        assert_eq!(open_files_limit(&LIMITS.replace("1024  ", "unlimited")), Ok(None));
        for end in 0..LIMITS.rfind("files").unwrap() {
            assert!(open_files_limit(&LIMITS[..end]).is_err(), "{}", &LIMITS[..end]);
        }
    }

    #[test]
    fn both_ways_of_counting_agree_on_this_process() {
        let host = Host::default();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let (mut tree, pid) = (Tree::new(&host.procfs), child.id().to_string());
        let entries = OpenFiles::Entries.count(&mut tree, &pid).unwrap();
        let best = OpenFiles::detect(&host).count(&mut tree, &pid).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(entries, best);
        assert!(entries.unwrap() >= 3);
        assert_eq!(OpenFiles::Size.count(&mut tree, "4294967295").unwrap(), None);
    }

    #[test]
    fn a_copy_of_proc_is_counted_by_entries() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host { procfs: dir.path().into(), ..Host::default() };
        assert_eq!(OpenFiles::detect(&host), OpenFiles::Entries);
    }
}
