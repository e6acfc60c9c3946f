//! Room in the journal's log that is made before it is needed, so that a synced write changes bytes and no file's length.
//!
//! A write that makes a file longer is on the disk only when the file system's own journal is, too, and that waits for whatever
//! else it has before it; a write into what is there waits for itself alone. SQLite begins each log at its first byte and leaves
//! its length as it is until the last connection is closed.

use super::CHECKPOINT_PAGES;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What SQLite's log has for each page: the page, and a head. Source: <https://www.sqlite.org/fileformat2.html#walformat>.
const FRAME_BYTES: u64 = 4096 + 24;
const HEAD_BYTES: u64 = 32;
/// Pages that one write may add after the log is long enough to be carried over.
const LAST_WRITE_PAGES: u64 = 64;
static CHUNK: [u8; 1 << 16] = [0; 1 << 16];

/// Makes the log of the open journal at `path` as long as it ever is between two times that it is carried over, with zeros.
///
/// SQLite takes a frame for a part of the log only if its salts and checksums are those of the log's head, and its page has a
/// number: zeros are none, neither for this process nor for one that finds them after a crash.
pub(super) fn make(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(log_of(path))?;
    let before = file.metadata()?.len();
    let wanted = HEAD_BYTES + FRAME_BYTES * (u64::from(CHECKPOINT_PAGES) + LAST_WRITE_PAGES);
    let filled = fill(&mut file, before, wanted).and_then(|()| file.sync_all());
    if filled.is_err() {
        // On a full disk others, and the journal itself, may want it more.
        file.set_len(before)?;
    }
    filled
}

fn fill(file: &mut std::fs::File, from: u64, to: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(from))?;
    let mut left = to.saturating_sub(from);
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK.len());
        file.write_all(CHUNK.get(..part).unwrap_or(&CHUNK))?;
        left = left.saturating_sub(part as u64);
    }
    Ok(())
}

fn log_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push("-wal");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::super::Journal;
    use super::*;
    use crate::optimize::request::Request;

    #[test]
    fn a_journal_is_written_within_the_room_and_read_again_after_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j.sqlite");
        let length = |path: &Path| std::fs::metadata(log_of(path)).unwrap().len();
        let mut j = Journal::open(&path).unwrap();
        // Nothing here is about the disk.
        j.db.pragma_update(None, "synchronous", "OFF").unwrap();
        let made = length(&path);
        let wish = Request { name: "x".into(), target: "t".into(), ..Request::default() };
        let last = (0..2_000).map(|n| j.request(&wish, n).unwrap()).last().unwrap();
        assert_eq!(length(&path), made, "some thousand pages were written");
        // As a process that is killed leaves it.
        let left = dir.path().join("left.sqlite");
        std::fs::copy(&path, &left).unwrap();
        std::fs::copy(log_of(&path), log_of(&left)).unwrap();
        let j = Journal::open(&left).unwrap();
        assert!(!j.is_resolved(last).unwrap());
        assert_eq!(j.open_counts().unwrap().0, 2_000);
        assert_eq!(length(&left), made);
    }

    #[test]
    fn a_log_that_cannot_be_made_longer_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        assert!(make(&dir.path().join("none")).is_err(), "there is no log to make longer");
    }
}
