//! What waits to be sent: bounded in bytes and records, the oldest dropped first; in memory, or on disk as well.

mod disk;
pub(super) mod file;

use bytesize::ByteSize;
use disk::{Disk, Left};
use serde::Deserialize;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
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
    /// What the body is: it is sent as that, whatever is made by now.
    pub(super) form: &'static str,
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
    id: u64,
    bytes: u64,
    points: u64,
    place: Place,
}

/// Where a record is.
#[derive(Debug)]
enum Place {
    Memory(Record),
    /// In this directory, under this number.
    Disk(Arc<Disk>, u64),
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    bytes: u64,
    next: u64,
    /// The most bytes and records.
    max: (u64, usize),
    /// Where new records go, if not into memory.
    disk: Option<Arc<Disk>>,
    /// The record that is being sent: it is not dropped meanwhile, so that nothing is both dropped and sent.
    sending: Option<u64>,
    /// Whether the last try failed.
    failing: bool,
    /// Whether the next try is not waited for: the way has changed.
    hurries: bool,
    end: End,
}

/// When a queue ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    /// With the process.
    #[default]
    Never,
    /// As soon as it is empty, or a try fails.
    Leaving,
    /// It has ended in that way.
    Left,
    /// It has ended.
    Stopped,
}

/// The records of one destination.
#[derive(Debug)]
pub(super) struct Queue {
    line: Mutex<Line>,
    changed: Condvar,
}

/// What was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// Points that had to go for newer ones.
    pub(super) full: u64,
    /// Points of an earlier run that could not be read, or are of no known form; 1 for a file that does not say how many.
    pub(super) damaged: u64,
}

/// Where a destination's records are to be kept from now on, with what an earlier run left there.
#[derive(Debug)]
pub(super) struct Store {
    disk: Option<Arc<Disk>>,
    left: Left,
    max: (u64, usize),
}

impl Store {
    /// Takes the directory of the destination `name`, if there is to be one; `known` is what bodies may be. A directory that
    /// `former` has already stays its.
    pub(super) fn open(
        options: &Options,
        name: &str,
        known: &'static [&'static str],
        former: Option<&Queue>,
    ) -> Result<Self, QueueError> {
        let max = (options.bytes_max.as_u64(), options.records_max);
        let Some(dir) = options.dir.as_deref().map(|dir| dir.join(name)) else {
            return Ok(Self { disk: None, left: Left::default(), max });
        };
        if let Some(disk) = former.and_then(|queue| queue.disk_at(&dir)) {
            return Ok(Self { disk: Some(disk), left: Left::default(), max });
        }
        let (disk, left) = Disk::open(&dir, known)?;
        Ok(Self { disk: Some(Arc::new(disk)), left, max })
    }
}

impl Queue {
    /// A queue that keeps its records there. What an earlier run left waits first.
    pub(super) fn new(store: Store) -> (Self, Lost) {
        let queue = Self { line: Mutex::default(), changed: Condvar::new() };
        let lost = queue.keep(store);
        (queue, lost)
    }

    /// Keeps new records there from now on. Those that wait stay where they are; what an earlier run left there is older.
    pub(super) fn keep(&self, store: Store) -> Lost {
        let Store { disk, left, max } = store;
        let mut line = self.lock();
        (line.max, line.disk) = (max, disk.clone());
        for (number, bytes, points) in left.records.into_iter().rev() {
            let Some(disk) = &disk else { break };
            line.next += 1;
            let id = line.next;
            line.bytes += bytes;
            // Behind the one that is on its way.
            let at = usize::from(line.is_sending_first());
            line.waiting
                .insert(at, Waiting { id, bytes, points, place: Place::Disk(Arc::clone(disk), number) });
        }
        drop(line);
        let lost = Lost { full: self.make_room(), damaged: left.damaged };
        self.changed.notify_all();
        lost
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory, if records are in it or go there.
    fn disk_at(&self, dir: &Path) -> Option<Arc<Disk>> {
        let line = self.lock();
        let used = line.waiting.iter().filter_map(|waiting| match &waiting.place {
            Place::Disk(disk, _) => Some(disk),
            Place::Memory(_) => None,
        });
        line.disk.iter().chain(used).find(|disk| disk.dir() == dir).cloned()
    }

    /// Puts a record at the end. What had to go for it, in points; and why it is not on disk, if it should be.
    pub(super) fn push(&self, record: Record) -> (u64, Option<std::io::Error>) {
        let (disk, bytes_max) = {
            let line = self.lock();
            (line.disk.clone(), line.max.0)
        };
        let (bytes, points) = (record.body.len() as u64, record.points);
        if bytes > bytes_max {
            return (points, None);
        }
        let (place, failed) = match disk.map(|disk| (disk.write(&record), disk)) {
            Some((Ok(number), disk)) => (Place::Disk(disk, number), None),
            Some((Err(e), _)) => (Place::Memory(record), Some(e)),
            None => (Place::Memory(record), None),
        };
        let mut line = self.lock();
        line.next += 1;
        let id = line.next;
        line.bytes += bytes;
        line.waiting.push_back(Waiting { id, bytes, points, place });
        drop(line);
        let lost = self.make_room();
        self.changed.notify_all();
        (lost, failed)
    }

    /// Drops the oldest until the rest is within the bounds.
    fn make_room(&self) -> u64 {
        let mut lost = 0_u64;
        loop {
            let gone = {
                let mut line = self.lock();
                if line.bytes <= line.max.0 && line.waiting.len() <= line.max.1 {
                    return lost;
                }
                let at = usize::from(line.is_sending_first());
                let Some(gone) = line.waiting.remove(at) else { return lost };
                line.bytes -= gone.bytes;
                gone
            };
            lost = lost.saturating_add(gone.points);
            gone.forget();
        }
    }

    /// The oldest record, as soon as there is one; none if the queue is stopped, or is to end and empty. `Err` has the
    /// points of one that was on disk and cannot be read any more.
    pub(super) fn first(&self) -> Option<Result<(u64, Record), u64>> {
        let mut line = self.lock();
        loop {
            if line.has_ended() {
                return None;
            }
            if let Some(first) = line.waiting.front() {
                let (id, points) = (first.id, first.points);
                let place = match &first.place {
                    Place::Memory(record) => Ok(record.clone()),
                    Place::Disk(disk, number) => Err((Arc::clone(disk), *number)),
                };
                line.sending = Some(id);
                drop(line);
                let record = place.or_else(|(disk, number)| disk.read(number).ok_or(points));
                if record.is_err() {
                    self.done(id);
                }
                return Some(record.map(|record| (id, record)));
            }
            if line.end == End::Leaving {
                line.end = End::Left;
                return None;
            }
            line = self.changed.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes the record away: it was sent, or never will be.
    pub(super) fn done(&self, id: u64) {
        let mut line = self.lock();
        (line.sending, line.failing) = (None, false);
        if line.waiting.front().map(|first| first.id) != Some(id) {
            return;
        }
        let Some(gone) = line.waiting.pop_front() else { return };
        line.bytes -= gone.bytes;
        drop(line);
        gone.forget();
        self.changed.notify_all();
    }

    /// Waits before the next try; false if there will be none.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let mut line = self.lock();
        line.failing = true;
        line.gives_up();
        self.changed.notify_all();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if line.has_ended() || left.is_zero() || std::mem::take(&mut line.hurries) {
                return !line.has_ended();
            }
            line = self.changed.wait_timeout(line, left).map_or_else(|e| e.into_inner().0, |(line, _)| line);
            line.gives_up();
        }
    }

    /// Lets the next try be now: the way is another one.
    pub(super) fn hurry(&self) {
        self.lock().hurries = true;
        self.changed.notify_all();
    }

    /// Sends what waits, as long as that goes well, and ends then.
    pub(super) fn leave(&self) {
        let mut line = self.lock();
        if line.end == End::Never {
            line.end = End::Leaving;
        }
        drop(line);
        self.changed.notify_all();
    }

    /// Takes [`Self::leave`] back; false if the queue has ended already.
    pub(super) fn stay(&self) -> bool {
        let mut line = self.lock();
        if line.end == End::Leaving {
            line.end = End::Never;
        }
        line.end == End::Never
    }

    /// Whether [`Self::leave`] holds.
    pub(super) fn is_left(&self) -> bool {
        matches!(self.lock().end, End::Leaving | End::Left)
    }

    /// Points that are gone with this process's memory: what is on disk is not.
    pub(super) fn in_memory(&self) -> u64 {
        let line = self.lock();
        let points =
            |waiting: &Waiting| if let Place::Memory(_) = waiting.place { waiting.points } else { 0 };
        line.waiting.iter().map(points).fold(0, u64::saturating_add)
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
        self.lock().end = End::Stopped;
        self.changed.notify_all();
    }

    /// Whether it is stopped.
    pub(super) fn is_stopped(&self) -> bool {
        self.lock().has_ended()
    }

    /// Bytes and records that wait.
    pub(super) fn held(&self) -> (u64, usize) {
        let line = self.lock();
        (line.bytes, line.waiting.len())
    }

    /// Whether records survive a restart.
    pub(super) fn is_on_disk(&self) -> bool {
        self.lock().disk.is_some()
    }
}

impl Line {
    fn has_ended(&self) -> bool {
        matches!(self.end, End::Left | End::Stopped)
    }

    /// A try failed: a queue that is left has no other.
    fn gives_up(&mut self) {
        if self.end == End::Leaving {
            self.end = End::Left;
        }
    }

    /// Whether the first record is on its way.
    fn is_sending_first(&self) -> bool {
        self.sending.is_some() && self.waiting.front().map(|first| first.id) == self.sending
    }
}

impl Waiting {
    fn forget(&self) {
        if let Place::Disk(disk, number) = &self.place {
            disk.remove(*number);
        }
    }
}

#[cfg(test)]
mod tests;
