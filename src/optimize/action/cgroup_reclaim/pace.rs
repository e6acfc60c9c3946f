//! How much the next write asks for, and of what: small while writes are slow, files before anonymous memory.

use std::time::Duration;

const MIB: u64 = 1 << 20;
/// What the first write asks for.
const FIRST_BYTES: u64 = 4 * MIB;
/// The most that one write asks for: it cannot be stopped.
const CHUNK_BYTES_MAX: u64 = 16 * MIB;
/// A write that took less doubles the next one.
const QUICK: Duration = Duration::from_millis(50);
/// A write that took more halves it.
const SLOW: Duration = Duration::from_millis(250);
/// A write that moves less than this share of a chunk shows that there is no more to take.
const PROGRESS_SHARE: u64 = 8;
/// Less page cache than this is not worth a write of its own.
const FILE_BYTES_MIN: u64 = MIB;

/// What a write may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// Page cache alone: the kernel is told so (`swappiness=0`, 6.11 and later).
    File,
    /// Not more than there is page cache that is not in use: the kernel takes that first.
    InactiveFile,
    /// Whatever the kernel finds.
    Any,
}

/// The pace of one action.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    chunk_bytes: u64,
    /// What the next write may take.
    pub(super) take: Take,
    file_only: bool,
}

impl Pace {
    /// Begins slowly.
    pub(super) fn begin(take: Take, file_only: bool) -> Self {
        Self { chunk_bytes: FIRST_BYTES, take, file_only }
    }

    /// What the next write asks for, at most `bytes`; `None` if it would be nothing. `inactive_file` is what there is of it,
    /// and is asked for only where it matters.
    pub(super) fn next(&mut self, bytes: u64, inactive_file: impl FnOnce() -> u64) -> Option<u64> {
        let mut chunk = self.chunk_bytes.min(bytes);
        if self.take == Take::InactiveFile {
            let file = inactive_file();
            if file >= FILE_BYTES_MIN.min(bytes) {
                chunk = chunk.min(file);
            } else if !self.go_on() {
                return None;
            }
        }
        Some(chunk).filter(|&c| c > 0)
    }

    /// A write that asked for `chunk` took `took` and moved `moved`; whether there is more to take.
    pub(super) fn learn(&mut self, chunk: u64, moved: u64, took: Duration) -> bool {
        let progress = moved >= (chunk / PROGRESS_SHARE).max(1);
        // What found nothing was quick for that reason.
        if took < QUICK && progress {
            self.chunk_bytes = (self.chunk_bytes * 2).min(CHUNK_BYTES_MAX);
        } else if took > SLOW {
            self.chunk_bytes = (self.chunk_bytes / 2).max(FIRST_BYTES);
        }
        progress || self.go_on()
    }

    /// The kernel does not know `swappiness=`.
    pub(super) fn not_told(&mut self) {
        self.take = Take::InactiveFile;
    }

    /// From files to all that there is, if that may be taken.
    fn go_on(&mut self) -> bool {
        if self.take == Take::Any || self.file_only {
            return false;
        }
        self.take = Take::Any;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn no_file() -> u64 {
        0
    }

    #[test]
    fn chunks_grow_while_they_are_quick_and_shrink_when_they_are_slow() {
        let mut pace = Pace::begin(Take::Any, false);
        let mut sizes = vec![];
        for took in [10, 10, 10, 100, 300, 300, 300] {
            let chunk = pace.next(u64::MAX, no_file).unwrap();
            sizes.push(chunk / MIB);
            assert!(pace.learn(chunk, chunk, took * MS));
        }
        assert_eq!(sizes, [4, 8, 16, 16, 16, 8, 4]);
        assert_eq!(pace.next(u64::MAX, no_file), Some(4 * MIB), "never less");
        assert_eq!(pace.next(5, no_file), Some(5), "never more than is wanted");
        assert_eq!(pace.next(0, no_file), None);
    }

    #[test]
    fn anonymous_memory_comes_after_files_and_only_if_it_may() {
        let mut pace = Pace::begin(Take::File, false);
        assert!(pace.learn(8 * MIB, MIB, MS));
        assert_eq!(pace.take, Take::File, "an eighth is progress");
        assert!(pace.learn(8 * MIB, MIB - 1, MS));
        assert_eq!(pace.take, Take::Any);
        assert_eq!(pace.next(u64::MAX, no_file), Some(8 * MIB), "grown by progress alone");
        assert!(!pace.learn(8 * MIB, MIB - 1, MS), "nothing more comes");
        let mut pace = Pace::begin(Take::File, true);
        assert!(!pace.learn(8 * MIB, 0, MS));
        assert_eq!(pace.take, Take::File);
    }

    #[test]
    fn where_the_kernel_cannot_be_told_no_more_is_asked_for_than_there_is_of_files() {
        let mut pace = Pace::begin(Take::File, false);
        pace.not_told();
        assert_eq!(pace.next(u64::MAX, || 3 * MIB), Some(3 * MIB));
        assert_eq!(pace.take, Take::InactiveFile);
        assert_eq!(pace.next(u64::MAX, || MIB - 1), Some(4 * MIB));
        assert_eq!(pace.take, Take::Any);
        let mut pace = Pace::begin(Take::InactiveFile, true);
        assert_eq!(pace.next(u64::MAX, no_file), None);
    }
}
