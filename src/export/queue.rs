//! What waits to be sent: bounded in bytes and records, the oldest dropped first; in memory, or on disk as well.

mod disk;

use bytesize::ByteSize;
use disk::Disk;
use serde::Deserialize;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Options of the queues.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The most that the records of one destination hold, in bytes as they are sent.
    pub bytes_max: ByteSize,
    /// The most records of one destination.
    pub records_max: usize,
    /// Where records are kept on disk, so that a restart loses none; in memory alone without it.
    pub dir: Option<PathBuf>,
    /// How long after a failure it is tried again; twice as long after the next one, up to
    #[serde(with = "humantime_serde")]
    pub retry_min: Duration,
    /// this.
    #[serde(with = "humantime_serde")]
    pub retry_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bytes_max: ByteSize::mib(16),
            records_max: 10_000,
            dir: None,
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_mins(1),
        }
    }
}

impl Options {
    /// What is wrong, by its key, if anything is.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let error = |key: &str, why: &str| Err((key.to_owned(), why.to_owned()));
        if self.bytes_max < ByteSize::kib(64) {
            return error("bytes_max", "at least 64KiB: less does not hold one pass");
        }
        if self.records_max == 0 {
            return error("records_max", "at least 1");
        }
        if self.retry_min.is_zero() || self.retry_min > self.retry_max {
            return error("retry_min", "more than nothing, and at most retry_max");
        }
        Ok(())
    }
}

/// A request's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) body: Vec<u8>,
    /// How many points it holds.
    pub(super) points: u64,
}

/// Why the queue on disk cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct QueueError {
    path: PathBuf,
    why: String,
}

impl QueueError {
    fn new(path: &Path, why: impl std::fmt::Display) -> Self {
        Self { path: path.to_owned(), why: why.to_string() }
    }
}

/// A record that waits.
#[derive(Debug)]
struct Waiting {
    number: u64,
    bytes: u64,
    points: u64,
    /// Its body, unless it is on disk.
    body: Option<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    bytes: u64,
    next: u64,
    /// The record that is being sent: it is not dropped meanwhile, so that nothing is both dropped and sent.
    sending: Option<u64>,
    /// Whether the last try failed.
    failing: bool,
    stopped: bool,
}

/// The records of one destination.
#[derive(Debug)]
pub(super) struct Queue {
    line: Mutex<Line>,
    changed: Condvar,
    bytes_max: u64,
    records_max: usize,
    disk: Option<Disk>,
}

/// What was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// Points that had to go for newer ones.
    pub(super) full: u64,
    /// Files of an earlier run that could not be read, or are of another form.
    pub(super) damaged: u64,
}

impl Queue {
    /// A queue for the destination `name`; with a directory, what an earlier run left there waits first. `form` says what
    /// the bodies are, so that those of another form are not sent.
    pub(super) fn open(options: &Options, name: &str, form: &str) -> Result<(Self, Lost), QueueError> {
        let mut line = Line::default();
        let mut lost = Lost::default();
        let disk = options.dir.as_deref().map(|dir| Disk::open(&dir.join(name), form)).transpose()?;
        if let Some(disk) = &disk {
            let left = disk.left()?;
            line.next = left.next;
            lost.damaged = left.damaged;
            for (number, bytes, points) in left.records {
                line.bytes += bytes;
                line.waiting.push_back(Waiting { number, bytes, points, body: None });
            }
        }
        let (bytes_max, records_max) = (options.bytes_max.as_u64(), options.records_max);
        let queue = Self { line: Mutex::new(line), changed: Condvar::new(), bytes_max, records_max, disk };
        lost.full = queue.make_room();
        Ok((queue, lost))
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a record at the end. What had to go for it, in points; and why it is not on disk, if it should be.
    pub(super) fn push(&self, record: Record) -> (u64, Option<std::io::Error>) {
        if record.body.len() as u64 > self.bytes_max {
            return (record.points, None);
        }
        let number = {
            let mut line = self.lock();
            line.next += 1;
            line.next
        };
        let (bytes, points) = (record.body.len() as u64, record.points);
        let written = self.disk.as_ref().map(|disk| disk.write(number, &record));
        let (body, failed) = match written {
            Some(Ok(())) => (None, None),
            Some(Err(e)) => (Some(record.body), Some(e)),
            None => (Some(record.body), None),
        };
        let mut line = self.lock();
        line.bytes += bytes;
        line.waiting.push_back(Waiting { number, bytes, points, body });
        drop(line);
        let lost = self.make_room();
        self.changed.notify_all();
        (lost, failed)
    }

    /// Drops the oldest until the rest is within the bounds.
    fn make_room(&self) -> u64 {
        let mut lost = 0;
        loop {
            let gone = {
                let mut line = self.lock();
                if line.bytes <= self.bytes_max && line.waiting.len() <= self.records_max {
                    return lost;
                }
                let sending = line.sending;
                let at = usize::from(sending.is_some() && line.waiting.front().map(|w| w.number) == sending);
                let Some(gone) = line.waiting.remove(at) else { return lost };
                line.bytes -= gone.bytes;
                gone
            };
            lost += gone.points;
            self.forget(&gone);
        }
    }

    fn forget(&self, gone: &Waiting) {
        if let Some(disk) = self.disk.as_ref().filter(|_| gone.body.is_none()) {
            disk.remove(gone.number);
        }
    }

    /// The oldest record, as soon as there is one; none if the queue is stopped. `Err` has the points of one that was on
    /// disk and cannot be read any more.
    pub(super) fn first(&self) -> Option<Result<(u64, Record), u64>> {
        let mut line = self.lock();
        loop {
            if line.stopped {
                return None;
            }
            if let Some(first) = line.waiting.front() {
                let (number, points) = (first.number, first.points);
                let body = first.body.clone();
                line.sending = Some(number);
                drop(line);
                let body = body.or_else(|| self.disk.as_ref().and_then(|disk| disk.read(number)));
                let Some(body) = body else {
                    self.done(number);
                    return Some(Err(points));
                };
                return Some(Ok((number, Record { body, points })));
            }
            line = self.changed.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes the record away: it was sent, or never will be.
    pub(super) fn done(&self, number: u64) {
        let mut line = self.lock();
        (line.sending, line.failing) = (None, false);
        if line.waiting.front().map(|first| first.number) != Some(number) {
            return;
        }
        let Some(gone) = line.waiting.pop_front() else { return };
        line.bytes -= gone.bytes;
        drop(line);
        self.forget(&gone);
        self.changed.notify_all();
    }

    /// Waits before the next try; false if the queue is stopped.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut line = self.lock();
        line.failing = true;
        self.changed.notify_all();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if line.stopped || left.is_zero() {
                return !line.stopped;
            }
            line = self.changed.wait_timeout(line, left).map_or_else(|e| e.into_inner().0, |(line, _)| line);
        }
    }

    /// Waits until nothing waits, but not for long, and not for a destination that does not take anything.
    pub(super) fn drained(&self, within: Duration) -> bool {
        let end = Instant::now() + within;
        let mut line = self.lock();
        while !line.waiting.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || line.failing {
                return false;
            }
            line = self.changed.wait_timeout(line, left).map_or_else(|e| e.into_inner().0, |(line, _)| line);
        }
        true
    }

    /// Lets nobody wait any longer.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Whether it is stopped.
    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Bytes and records that wait.
    pub(super) fn held(&self) -> (u64, usize) {
        let line = self.lock();
        (line.bytes, line.waiting.len())
    }

    /// Whether records survive a restart.
    pub(super) fn is_on_disk(&self) -> bool {
        self.disk.is_some()
    }
}

#[cfg(test)]
mod tests;
