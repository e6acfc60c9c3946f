//! Works through files that are larger than memory: in pieces, by several threads, in order, within a bound of bytes.

mod buffers;

use crate::Kit;
use crate::part::{About, Part, PartError};
use crate::reclaim::RegisterError;
use crate::reclaim::caller::message;
use buffers::{Buffer, Buffers, Run};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// How it works.
#[derive(Clone, Debug)]
pub struct Options {
    /// The most that pieces may take together,
    pub bytes_max: usize,
    /// and one of them.
    pub piece_bytes: usize,
    /// Threads that work on pieces.
    pub workers: usize,
    /// Where a piece may end: behind this byte (a line's end). Anywhere if `None`.
    pub delimiter: Option<u8>,
    /// What a request may ask for by name.
    pub kind: String,
    /// What it costs to do with less.
    pub cost: f64,
}

impl Default for Options {
    /// 16 MiB in pieces of 1 MiB that end with a line, two threads.
    fn default() -> Self {
        Self {
            bytes_max: 16 << 20,
            piece_bytes: 1 << 20,
            workers: 2,
            delimiter: Some(b'\n'),
            kind: "drop_caches".into(),
            cost: 30.0,
        }
    }
}

/// Why it ended before the end.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The file cannot be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The input cannot be read.
    #[error("cannot read at byte {offset}: {source}")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// A record does not fit into a piece.
    #[error("the record at byte {offset} does not end within {piece_bytes} bytes; give larger `piece_bytes`")]
    RecordTooLong {
        /// Where it begins.
        offset: u64,
        /// What there is for it.
        piece_bytes: usize,
    },
    /// The application's own work failed.
    #[error("the piece at byte {offset}: {source}")]
    Work {
        /// Where the piece begins.
        offset: u64,
        /// Why.
        source: PartError,
    },
}

/// How much was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Pieces.
    pub pieces: u64,
    /// Bytes of input.
    pub bytes: u64,
}

/// A part of a file.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// Where it begins.
    pub offset: u64,
    /// What is there.
    pub bytes: &'a [u8],
}

/// A processor of streams, registered as a part: asked for memory it drops spare buffers and goes on with fewer.
#[derive(Clone, Debug)]
pub struct Stream {
    buffers: Arc<Buffers>,
    workers: usize,
    delimiter: Option<u8>,
}

impl Stream {
    /// With its bounds.
    pub fn new(kit: &Kit, name: &str, options: &Options) -> Result<Self, RegisterError> {
        let piece_bytes = options.piece_bytes.max(1);
        let buffers = Arc::new(Buffers::new(piece_bytes, options.bytes_max / piece_bytes));
        let part: Arc<dyn Part> = Arc::<Buffers>::clone(&buffers);
        kit.reclaim().add_weak(About::new(name, &options.kind, options.cost), &part)?;
        Ok(Self { buffers, workers: options.workers.max(1), delimiter: options.delimiter })
    }

    /// Works through a file, which does not stay in the kernel's cache of files for it.
    pub fn file<T: Send>(
        &self,
        path: &Path,
        work: impl Fn(Piece<'_>) -> Result<T, PartError> + Sync,
        take: impl FnMut(T) -> Result<(), PartError>,
    ) -> Result<Done, StreamError> {
        let open = |source| StreamError::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(open)?;
        advice::sequential(&file);
        self.read(Behind { file, offset: 0, dropped: 0 }, work, take)
    }

    /// Works through any input: `work` is called by several threads, `take` gets what came of it, in the input's order.
    pub fn read<T: Send>(
        &self,
        input: impl Read + Send,
        work: impl Fn(Piece<'_>) -> Result<T, PartError> + Sync,
        mut take: impl FnMut(T) -> Result<(), PartError>,
    ) -> Result<Done, StreamError> {
        let (pieces, waiting) = channel();
        let waiting = Mutex::new(waiting);
        let (results, done) = channel();
        let run = self.buffers.run();
        std::thread::scope(|scope| {
            let (waiting, work) = (&waiting, &work);
            for _ in 0..self.workers {
                let results = results.clone();
                scope.spawn(move || work_on(waiting, &results, work));
            }
            let errors = results;
            scope.spawn(|| {
                if let Err(error) = self.split(input, &pieces, &run) {
                    let _ended = errors.send((u64::MAX, Err(error)));
                }
                drop((pieces, errors));
            });
            // Whoever waits for a buffer is to end with this, also if it panics.
            let _ends = Ends(&run);
            let end = collect(&done, &run, &mut take);
            drop(done);
            end
        })
    }

    /// Cuts the input into pieces, and waits for a buffer before each.
    fn split(
        &self,
        mut input: impl Read,
        pieces: &Sender<(u64, u64, Buffer)>,
        run: &Run,
    ) -> Result<(), StreamError> {
        let mut offset = 0;
        let mut rest: Vec<u8> = Vec::new();
        let mut number = 0;
        while let Some(mut buffer) = run.take() {
            let begin = rest.len();
            buffer.bytes.extend_from_slice(&rest);
            let room = (self.buffers.piece_bytes - begin) as u64;
            let mut limited = input.by_ref().take(room);
            let read = limited
                .read_to_end(&mut buffer.bytes)
                .map_err(|source| StreamError::Read { offset: offset + begin as u64, source })?;
            let at_end = (read as u64) < room;
            let end = if at_end { buffer.bytes.len() } else { self.end_of(&buffer.bytes, offset)? };
            rest.clear();
            rest.extend_from_slice(buffer.bytes.get(end..).unwrap_or_default());
            buffer.bytes.truncate(end);
            if !buffer.bytes.is_empty() && pieces.send((number, offset, buffer)).is_err() {
                return Ok(());
            }
            offset += end as u64;
            number += 1;
            if at_end {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Where a full piece ends: behind the last delimiter.
    fn end_of(&self, bytes: &[u8], offset: u64) -> Result<usize, StreamError> {
        let Some(delimiter) = self.delimiter else { return Ok(bytes.len()) };
        let last = bytes.iter().rposition(|byte| *byte == delimiter);
        let piece_bytes = self.buffers.piece_bytes;
        last.map(|at| at + 1).ok_or(StreamError::RecordTooLong { offset, piece_bytes })
    }
}

/// Ends a run when it is dropped.
struct Ends<'a>(&'a Run);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What came of a piece, and its size; or why there is no such.
type Numbered<T> = (u64, Result<(T, usize), StreamError>);

/// A worker: one piece after the other.
fn work_on<T>(
    waiting: &Mutex<Receiver<(u64, u64, Buffer)>>,
    results: &Sender<Numbered<T>>,
    work: &(impl Fn(Piece<'_>) -> Result<T, PartError> + Sync),
) {
    loop {
        // Bound to a name, the lock would be held while the piece is worked on.
        let next = crate::reclaim::lock(waiting).recv();
        let Ok((number, offset, buffer)) = next else { return };
        let size = buffer.bytes.len();
        let piece = Piece { offset, bytes: &buffer.bytes };
        // A piece that nobody answers for would be waited for for ever.
        let result = catch_unwind(AssertUnwindSafe(|| work(piece)))
            .unwrap_or_else(|panic| Err(message(panic.as_ref()).into()));
        drop(buffer);
        let result = result.map(|t| (t, size)).map_err(|source| StreamError::Work { offset, source });
        if results.send((number, result)).is_err() {
            return;
        }
    }
}

/// Hands results over in order, and says that each piece is over.
fn collect<T>(
    done: &Receiver<Numbered<T>>,
    run: &Run,
    take: &mut impl FnMut(T) -> Result<(), PartError>,
) -> Result<Done, StreamError> {
    let mut early = BTreeMap::new();
    let mut total = Done::default();
    let mut broken = None;
    while let Ok((number, result)) = done.recv() {
        match result {
            Ok(result) => _ = early.insert(number, result),
            // What lies before it is still handed over: the first error of the input is the one that counts.
            Err(error) if number == u64::MAX => broken = Some(error),
            Err(error) => return Err(error),
        }
        while let Some((result, size)) = early.remove(&total.pieces) {
            take(result).map_err(|source| StreamError::Work { offset: total.bytes, source })?;
            total.pieces += 1;
            total.bytes += size as u64;
            run.over();
        }
    }
    broken.map_or(Ok(total), Err)
}

/// A file whose pages are let go from the kernel's cache behind the reader.
struct Behind {
    file: File,
    offset: u64,
    dropped: u64,
}

/// What the kernel is told of a file. Only advice: where it is not taken, the cache of files is fuller.
#[cfg(target_os = "linux")]
mod advice {
    use rustix::fs::{Advice, fadvise};
    use std::fs::File;
    use std::num::NonZeroU64;

    /// It is read from its beginning to its end.
    pub(super) fn sequential(file: &File) {
        let _taken = fadvise(file, 0, None, Advice::Sequential);
    }

    /// What lies there is not read again.
    pub(super) fn drop_behind(file: &File, from: u64, length: u64) {
        let _taken = fadvise(file, from, NonZeroU64::new(length), Advice::DontNeed);
    }
}

/// There is no such call.
#[cfg(not(target_os = "linux"))]
mod advice {
    use std::fs::File;

    pub(super) fn sequential(_: &File) {}

    pub(super) fn drop_behind(_: &File, _: u64, _: u64) {}
}

/// How much is read before pages are let go: a call for each read would cost more than it is worth.
const BEHIND_BYTES: u64 = 8 << 20;

impl Read for Behind {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.offset += count as u64;
        let behind = self.offset - self.dropped;
        if behind >= BEHIND_BYTES || count == 0 {
            advice::drop_behind(&self.file, self.dropped, behind);
            self.dropped = self.offset;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
