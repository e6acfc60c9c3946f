//! Ordinary files: whether one changed since the last look, and reading one that others write.

use super::{HostError, counted};
use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// What changes when a file is written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

/// The present stamp of a file; `None` where there is none that could be looked at.
pub fn stamp(path: &Path) -> Option<Stamp> {
    let about = counted::metadata(path).ok()?;
    Some(Stamp {
        device: about.dev(),
        inode: about.ino(),
        length: about.len(),
        changed: (about.ctime(), about.ctime_nsec()),
    })
}

/// Reads a regular file that anybody may have put there into `buffer`, and returns what the kernel knows about it.
/// A pipe would keep the reader waiting and a long file would swell the process, so both are errors. What is no file is
/// not opened either: to open a device is to use it (a tape rewinds, a watchdog starts).
pub fn read_regular(path: &Path, bytes_max: u64, buffer: &mut Vec<u8>) -> Result<Metadata, HostError> {
    let error = |e: io::Error| HostError::read(path, e);
    buffer.clear();
    let regular = |about: Metadata| {
        if about.is_file() { Ok(about) } else { Err(error(io::Error::other("not a regular file"))) }
    };
    regular(counted::metadata(path).map_err(error)?)?;
    // What stands there may have been replaced since: the flags keep it from doing harm until it was looked at again.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags);
    let file = counted::File::open_with(&options, path).map_err(error)?;
    let about = regular(file.metadata().map_err(error)?)?;
    // It may grow while it is read.
    if about.len() <= bytes_max {
        file.take(bytes_max + 1).read_to_end(buffer).map_err(error)?;
    }
    if about.len().max(buffer.len() as u64) > bytes_max {
        return Err(error(io::Error::other(format!("longer than {bytes_max} bytes"))));
    }
    Ok(about)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_has_another_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        assert_eq!(stamp(&path), None);
        std::fs::write(&path, "a").unwrap();
        let first = stamp(&path);
        assert_eq!(stamp(&path), first);
        std::fs::write(dir.path().join("g"), "b").unwrap();
        std::fs::rename(dir.path().join("g"), &path).unwrap();
        assert_ne!(stamp(&path), first);
    }

    #[test]
    fn what_is_no_file_is_not_even_opened() {
        use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
        let dir = tempfile::tempdir().unwrap();
        let [pipe, link, file] = ["pipe", "link", "file"].map(|name| dir.path().join(name));
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        std::fs::write(&file, "").unwrap();
        let opened = |path: &Path| {
            let watch = init(CreateFlags::NONBLOCK).unwrap();
            add_watch(&watch, path, WatchFlags::OPEN).unwrap();
            let read = read_regular(path, 5, &mut Vec::new()).is_ok();
            let event = Reader::new(&watch, &mut [std::mem::MaybeUninit::uninit(); 512]).next().is_ok();
            (read, event)
        };
        assert_eq!(opened(&file), (true, true));
        assert_eq!(opened(&link), (false, false));
        assert_eq!(opened(&pipe), (false, false));
    }

    #[test]
    fn directories_and_long_files_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "12345").unwrap();
        let mut buffer = Vec::new();
        assert!(read_regular(&path, 5, &mut buffer).is_ok());
        assert_eq!(buffer, b"12345");
        assert!(
            read_regular(&path, 4, &mut buffer).unwrap_err().to_string().ends_with("longer than 4 bytes")
        );
        assert!(read_regular(dir.path(), 5, &mut buffer).is_err());
    }
}
