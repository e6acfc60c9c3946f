//! Records as files, one each: whole under their names or not there at all, whenever the process ends.

use super::{QueueError, Record};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The end of a record's name.
const SUFFIX: &str = ".record";
/// What a file begins with, before the length of its form.
const MAGIC: &[u8; 8] = b"HEADROOM";
/// The largest file that is read back.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A directory of records, this process's alone.
#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
    form: String,
    /// Held as long as the directory is used.
    _lock: File,
}

/// What an earlier run left.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Number, bytes and points of each record, the oldest first.
    pub(super) records: Vec<(u64, u64, u64)>,
    /// The highest number in use.
    pub(super) next: u64,
    /// Files that are no records of this form.
    pub(super) damaged: u64,
}

impl Disk {
    /// Makes the directory, and takes it.
    pub(super) fn open(dir: &Path, form: &str) -> Result<Self, QueueError> {
        let error = |e: io::Error| QueueError::new(dir, e);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(error)?;
        let lock =
            File::options().create(true).truncate(false).write(true).mode(0o600).open(dir.join("lock"));
        let lock = lock.map_err(error)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| QueueError::new(dir, "another process has this directory"))?;
        Ok(Self { dir: dir.to_owned(), form: form.to_owned(), _lock: lock })
    }

    /// Looks what is there; what is no whole record of this form is removed.
    pub(super) fn left(&self) -> Result<Left, QueueError> {
        let mut left = Left::default();
        let entries = fs::read_dir(&self.dir).map_err(|e| QueueError::new(&self.dir, e))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| *name != "lock") else { continue };
            let Some(number) = name.strip_suffix(SUFFIX).and_then(|number| number.parse().ok()) else {
                // One that was being written when the process ended.
                if name.strip_suffix(".new").is_some() {
                    _ = fs::remove_file(entry.path());
                }
                continue;
            };
            left.next = left.next.max(number);
            if let Some(record) = self.whole(number) {
                left.records.push((number, record.body.len() as u64, record.points));
            } else {
                left.damaged += 1;
                self.remove(number);
            }
        }
        left.records.sort_unstable();
        Ok(left)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:020}{SUFFIX}"))
    }

    /// Writes a record; it is on the disk when this returns.
    pub(super) fn write(&self, number: u64, record: &Record) -> io::Result<()> {
        let new = self.dir.join(format!("{number:020}.new"));
        let written = self.write_to(&new, record).and_then(|()| fs::rename(&new, self.path(number)));
        if written.is_err() {
            _ = fs::remove_file(&new);
        }
        written
    }

    fn write_to(&self, path: &Path, record: &Record) -> io::Result<()> {
        let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(path)?;
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&(self.form.len() as u64).to_le_bytes());
        head.extend_from_slice(self.form.as_bytes());
        head.extend_from_slice(&record.points.to_le_bytes());
        head.extend_from_slice(&sum(&record.body).to_le_bytes());
        file.write_all(&head)?;
        file.write_all(&record.body)?;
        file.sync_data()
    }

    /// The body of a record; none if it is not there, or not whole.
    pub(super) fn read(&self, number: u64) -> Option<Vec<u8>> {
        self.whole(number).map(|record| record.body)
    }

    fn whole(&self, number: u64) -> Option<Record> {
        let mut bytes = Vec::new();
        let file = File::open(self.path(number)).ok()?;
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        let rest = bytes.strip_prefix(MAGIC)?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (form, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        let (points, rest) = rest.split_first_chunk::<8>()?;
        let (expected, body) = rest.split_first_chunk::<8>()?;
        (form == self.form.as_bytes() && sum(body) == u64::from_le_bytes(*expected))
            .then(|| Record { body: body.to_vec(), points: u64::from_le_bytes(*points) })
    }

    /// Removes a record; one that cannot be removed is sent again by the next run, which is better than not at all.
    pub(super) fn remove(&self, number: u64) {
        _ = fs::remove_file(self.path(number));
    }
}

/// FNV-1a: against what a disk does to bytes, not against people.
fn sum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
