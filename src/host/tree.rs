//! Many small files below one directory, read one after the other through one buffer.

use super::counted::File;
use super::{FILE_BYTES_MAX, HostError};
use std::borrow::Cow;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A longer buffer is given back before the next file is read: few files are as long (the mappings of a large process).
const KEPT_BYTES_MAX: usize = 16 << 10;
/// How long the buffer is at first: nearly all files of processes and groups fit.
const FIRST_BYTES: usize = 8192;

/// A directory such as /proc whose children come and go: too many files to keep each of them open
/// (as [`super::Kept`] does), too many reads to allocate for each of them.
#[derive(Debug)]
pub struct Tree {
    path: String,
    root_length: usize,
    text: Vec<u8>,
}

impl Tree {
    /// The files below `root`.
    pub fn new(root: &Path) -> Self {
        let path = root.to_string_lossy().into_owned();
        Self { root_length: path.len(), path, text: Vec::new() }
    }

    /// The path of `parts` below the root; valid until the next call.
    pub fn path(&mut self, parts: &[&str]) -> &Path {
        if self.text.len() > KEPT_BYTES_MAX {
            self.text.truncate(KEPT_BYTES_MAX);
            self.text.shrink_to_fit();
        }
        self.path.truncate(self.root_length);
        for part in parts {
            if !part.starts_with('/') {
                self.path.push('/');
            }
            self.path.push_str(part);
        }
        Path::new(&self.path)
    }

    /// The present bytes of the file at `parts`; `None` where there is no such file, or where
    /// what it belongs to (a process, a group) went away while it was read.
    pub fn read_bytes(&mut self, parts: &[&str]) -> Result<Option<&[u8]>, HostError> {
        let result = File::open(self.path(parts)).and_then(|file| fill_from(&file, &mut self.text, 0));
        self.taken(result)
    }

    fn taken(&self, result: io::Result<usize>) -> Result<Option<&[u8]>, HostError> {
        match result {
            Ok(length) if length > FILE_BYTES_MAX => {
                Err(HostError::TooLong { path: PathBuf::from(&self.path) })
            }
            Ok(length) => Ok(self.text.get(..length)),
            Err(e) if gone(&e) => Ok(None),
            Err(e) => Err(HostError::read(Path::new(&self.path), e)),
        }
    }

    /// The present bytes of a file that the kernel gives whole to one read that has room for it, as all files of a
    /// process are that have no entry for each mapping: asking again only to hear that there is no more is spared.
    pub fn record(&mut self, parts: &[&str]) -> Result<Option<&[u8]>, HostError> {
        let result = File::open(self.path(parts)).and_then(|mut file| {
            make_room(&mut self.text, 0);
            let room = self.text.len();
            let length = file.read(&mut self.text)?;
            if length < room { Ok(length) } else { fill_from(&file, &mut self.text, length) }
        });
        self.taken(result)
    }

    /// The present text of the file at `parts`, as [`Tree::read_bytes`]. Bytes that are no UTF-8
    /// are replaced: names of processes may hold any.
    pub fn read(&mut self, parts: &[&str]) -> Result<Option<Cow<'_, str>>, HostError> {
        Ok(self.read_bytes(parts)?.map(String::from_utf8_lossy))
    }
}

/// What the kernel answers on a file whose process, device or group is not there or has gone.
pub(super) fn gone(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESRCH | libc::ENODEV | libc::ENXIO))
}

/// Makes room in `text` behind the first `length` bytes where there is none. A tree that is never read has no buffer.
fn make_room(text: &mut Vec<u8>, length: usize) {
    if length == text.len() {
        text.resize((length * 2).max(FIRST_BYTES), 0);
    }
}

/// Reads `file` to its end behind the first `length` bytes of `text`; what stands there after the returned length is
/// of no meaning.
fn fill_from(mut file: &File, text: &mut Vec<u8>, mut length: usize) -> io::Result<usize> {
    while length <= FILE_BYTES_MAX {
        make_room(text, length);
        let Some(rest) = text.get_mut(length..) else { break };
        match file.read(rest) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_all_lengths_are_read_whole_and_missing_ones_are_absent() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("7")).unwrap();
        let mut tree = Tree::new(dir.path());
        for length in [3 * KEPT_BYTES_MAX, 100_000, 8192, 8191, 3, 0] {
            std::fs::write(dir.path().join("7/stat"), "x".repeat(length)).unwrap();
            assert_eq!(tree.read(&["7", "stat"]).unwrap().map(|t| t.len()), Some(length));
            assert_eq!(tree.record(&["7", "stat"]).unwrap().map(<[u8]>::len), Some(length));
        }
        assert!(tree.text.capacity() <= KEPT_BYTES_MAX, "one long file is no reason for a long buffer");
        assert_eq!(tree.read(&["8", "stat"]).unwrap(), None);
        assert!(tree.read(&["7"]).unwrap_err().to_string().contains("/7: "));
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), b"a\xffb").unwrap();
        assert_eq!(Tree::new(dir.path()).read(&["f"]).unwrap().as_deref(), Some("a\u{fffd}b"));
    }
}
