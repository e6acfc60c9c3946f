//! Records as files of a directory: whole under their names or not there at all, whenever the process ends.

use super::file::{bytes, points, record};
use super::{QueueError, Record};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The end of a record's name.
const SUFFIX: &str = ".record";
/// The end of its name while it is written.
const NEW: &str = ".new";
/// The highest number that a name is believed to have.
const NUMBER_MAX: u64 = u64::MAX / 2;
/// The largest file that is read back.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A directory of records, this process's alone.
#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
    /// What bodies may be.
    known: &'static [&'static str],
    /// The highest number in use.
    last: AtomicU64,
    /// Held as long as the directory is used.
    _lock: File,
}

/// What an earlier run left.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Number, bytes and points of each record, the oldest first.
    pub(super) records: Vec<(u64, u64, u64)>,
    /// Points of files that are no records of a known form, as far as they say; each is 1 at least.
    pub(super) damaged: u64,
}

impl Disk {
    /// Makes the directory, takes it, and looks what is there.
    pub(super) fn open(dir: &Path, known: &'static [&'static str]) -> Result<(Self, Left), QueueError> {
        let error = |e: io::Error| QueueError::new(dir, e);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(error)?;
        let lock =
            File::options().create(true).truncate(false).write(true).mode(0o600).open(dir.join("lock"));
        let lock = lock.map_err(error)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| QueueError::new(dir, "another process has this directory"))?;
        let disk = Self { dir: dir.to_owned(), known, last: AtomicU64::new(0), _lock: lock };
        let left = disk.left()?;
        Ok((disk, left))
    }

    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Looks what is there; what is no whole record of a known form is removed.
    fn left(&self) -> Result<Left, QueueError> {
        let mut left = Left::default();
        let entries = fs::read_dir(&self.dir).map_err(|e| QueueError::new(&self.dir, e))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.ends_with(NEW) {
                // One that was being written when the process ended.
                _ = fs::remove_file(entry.path());
                continue;
            }
            // What has no name of ours is not ours.
            let Some(number) = number(name) else { continue };
            self.last.fetch_max(number, Ordering::Relaxed);
            match self.whole(number).as_deref().map(|bytes| (record(bytes, self.known), points(bytes))) {
                Some((Some(record), _)) => {
                    left.records.push((number, record.body.len() as u64, record.points));
                }
                bad => {
                    let points = bad.and_then(|(_, points)| points).unwrap_or(1);
                    left.damaged = left.damaged.saturating_add(points);
                    self.remove(number);
                }
            }
        }
        left.records.sort_unstable();
        Ok(left)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:020}{SUFFIX}"))
    }

    /// Writes a record; it is on the disk, under this number, when this returns.
    pub(super) fn write(&self, record: &Record) -> io::Result<u64> {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let new = self.dir.join(format!("{number:020}{NEW}"));
        let written = write_to(&new, record).and_then(|()| fs::rename(&new, self.path(number)));
        if written.is_err() {
            _ = fs::remove_file(&new);
        }
        written?;
        // The name as well, so that a machine that loses its power keeps the record. Some file systems sync no directory.
        _ = File::open(&self.dir).and_then(|dir| dir.sync_all());
        Ok(number)
    }

    /// A record; none if it is not there, or not whole.
    pub(super) fn read(&self, number: u64) -> Option<Record> {
        record(&self.whole(number)?, self.known)
    }

    fn whole(&self, number: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = File::open(self.path(number)).ok()?;
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Removes a record; one that cannot be removed is sent again by the next run, which is better than not at all.
    pub(super) fn remove(&self, number: u64) {
        _ = fs::remove_file(self.path(number));
    }
}

fn write_to(path: &Path, record: &Record) -> io::Result<()> {
    let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(&bytes(record))?;
    file.sync_data()
}

/// The number in a record's name, as this program writes it, with room for as many again.
fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX).filter(|digits| digits.len() == 20)?;
    digits.parse().ok().filter(|number| *number <= NUMBER_MAX)
}
