//! The open files of many groups: kept from pass to pass as far as the process may have files open, read into one buffer.

use super::super::counted::{File, call};
use super::super::kept::ended;
use super::super::tree::gone;
use super::super::{FILE_BYTES_MAX, HostError, ParseError};
use std::collections::HashMap;
use std::io;
use std::path::Path;

/// Of the files that the process may have open, this share may be of groups: the others are for everybody else.
const SHARE: u64 = 2;
/// More are not kept open, whatever the limit says: each of them costs the kernel memory.
const OPEN_MAX: usize = 32_768;
const TEXT_BYTES: usize = 8192;

/// What is kept of one group.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Directory and name of each open file. A group has a score of them, so looking along them is quick.
    files: Vec<(usize, &'static str, File)>,
    /// When the group was made, as it looked when it was first met.
    pub start_seconds: Option<u64>,
}

/// The open files of the groups that were met in this pass and in the one before.
#[derive(Debug)]
pub(super) struct Shelf {
    roots: Vec<String>,
    before: HashMap<String, Kept>,
    now: HashMap<String, Kept>,
    open: usize,
    open_max: usize,
    path: String,
    text: Vec<u8>,
}

impl Shelf {
    /// Files below these directories.
    pub(super) fn new(roots: &[&Path]) -> Self {
        call();
        let may = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let open_max = may.map_or(OPEN_MAX, |n| usize::try_from(n / SHARE).unwrap_or(OPEN_MAX).min(OPEN_MAX));
        Self {
            roots: roots.iter().map(|root| root.to_string_lossy().into_owned()).collect(),
            before: HashMap::new(),
            now: HashMap::new(),
            open: 0,
            open_max,
            path: String::new(),
            text: vec![0; TEXT_BYTES],
        }
    }

    /// Begins a pass: closes the files of groups that were not met in the last one, and gives back a buffer that one long
    /// file made long.
    pub(super) fn begin(&mut self) {
        self.text.truncate(TEXT_BYTES);
        self.text.shrink_to_fit();
        self.before = std::mem::take(&mut self.now);
        self.open = self.before.values().map(|kept| kept.files.len()).sum();
    }

    /// What is kept of a group, to be given back with [`Shelf::put`] if it is still there.
    pub(super) fn take(&mut self, group: &str) -> (String, Kept) {
        self.before.remove_entry(group).unwrap_or_else(|| (group.to_owned(), Kept::default()))
    }

    /// Keeps what belongs to a group until the next pass.
    pub(super) fn put(&mut self, group: String, kept: Kept) {
        self.now.insert(group, kept);
    }

    /// The path of a file of a group; of the group itself without a name.
    pub(super) fn path(&mut self, root: usize, group: &str, file: &str) -> &Path {
        self.path.clear();
        self.path.push_str(self.roots.get(root).map_or("", String::as_str));
        self.path.push_str(group.trim_end_matches('/'));
        if !file.is_empty() {
            self.path.push('/');
            self.path.push_str(file);
        }
        Path::new(&self.path)
    }

    /// The present text of a group's file, parsed; `None` where there is no such file, or no such group any more.
    pub(super) fn parse<T>(
        &mut self,
        (group, kept): (&str, &mut Kept),
        (root, file): (usize, &'static str),
        parser: impl FnOnce(&str) -> Result<T, ParseError>,
    ) -> Result<Option<T>, HostError> {
        let Some(length) = self.read(group, kept, (root, file))? else { return Ok(None) };
        let text = String::from_utf8_lossy(self.text.get(..length).unwrap_or_default());
        // A number that lost its last digits would look like a good one.
        let parsed = ended(&text).and_then(parser);
        parsed.map(Some).map_err(|e| HostError::parse(self.path(root, group, file), e))
    }

    fn read(
        &mut self,
        group: &str,
        kept: &mut Kept,
        (root, file): (usize, &'static str),
    ) -> Result<Option<usize>, HostError> {
        if let Some(place) = kept.files.iter().position(|(r, name, _)| (*r, *name) == (root, file)) {
            if let Some(length) =
                kept.files.get(place).and_then(|(_, _, open)| fill(open, &mut self.text).ok())
            {
                return Ok(Some(length));
            }
            // The group was removed, and perhaps made again: the path decides, and it is another group then.
            kept.files.swap_remove(place);
            self.open = self.open.saturating_sub(1);
            kept.start_seconds = None;
        }
        let opened = File::open(self.path(root, group, file));
        let read = opened.and_then(|open| fill(&open, &mut self.text).map(|length| (open, length)));
        match read {
            Ok((_, length)) if length > FILE_BYTES_MAX => {
                Err(HostError::TooLong { path: self.path(root, group, file).to_owned() })
            }
            Ok((open, length)) => {
                if self.open < self.open_max {
                    self.open += 1;
                    kept.files.push((root, file, open));
                }
                Ok(Some(length))
            }
            Err(e) if gone(&e) || unsupported(&e) => Ok(None),
            Err(e) => Err(HostError::read(self.path(root, group, file), e)),
        }
    }
}

/// So the kernel says that it keeps no pressure (psi=0), or that this group holds threads and no processes.
fn unsupported(e: &io::Error) -> bool {
    e.raw_os_error() == Some(libc::EOPNOTSUPP)
}

/// Reads `file` from its beginning to its end; what stands in `text` after the returned length is of no meaning.
fn fill(file: &File, text: &mut Vec<u8>) -> io::Result<usize> {
    let mut length = 0;
    while length <= FILE_BYTES_MAX {
        if length == text.len() {
            text.resize(length * 2, 0);
        }
        let Some(rest) = text.get_mut(length..) else { break };
        match file.read_at(rest, length as u64) {
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

    fn number(shelf: &mut Shelf, group: &str) -> Option<u64> {
        let (name, mut kept) = shelf.take(group);
        let parse = |text: &str| crate::host::parse::number(Some(text.trim()), 1, "a number");
        let read = shelf.parse((group, &mut kept), (0, "n"), parse).unwrap();
        shelf.put(name, kept);
        read
    }

    #[test]
    fn files_stay_open_while_their_group_is_met_and_no_longer() {
        let dir = tempfile::tempdir().unwrap();
        let mut shelf = Shelf::new(&[dir.path()]);
        for group in ["a", "b"] {
            std::fs::create_dir(dir.path().join(group)).unwrap();
            std::fs::write(dir.path().join(group).join("n"), "1\n").unwrap();
        }
        shelf.begin();
        assert_eq!(
            [number(&mut shelf, "/a"), number(&mut shelf, "/b"), number(&mut shelf, "/c")],
            [Some(1), Some(1), None]
        );
        assert_eq!(shelf.open, 2);
        std::fs::write(dir.path().join("a/n"), "2\n").unwrap();
        shelf.begin();
        assert_eq!(number(&mut shelf, "/a"), Some(2));
        assert_eq!(shelf.open, 2);
        shelf.begin();
        assert_eq!(shelf.open, 1, "/b was not met");
    }

    #[test]
    fn beyond_the_limit_files_are_read_and_closed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("n"), "7\n").unwrap();
        let mut shelf = Shelf::new(&[dir.path()]);
        shelf.open_max = 0;
        for _ in 0..3 {
            shelf.begin();
            assert_eq!((number(&mut shelf, "/"), shelf.open), (Some(7), 0));
        }
    }

    #[test]
    fn a_long_file_leaves_no_long_buffer() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("n"), format!("7{}\n", " ".repeat(TEXT_BYTES * 3))).unwrap();
        let mut shelf = Shelf::new(&[dir.path()]);
        assert_eq!(number(&mut shelf, "/"), Some(7));
        assert!(shelf.text.capacity() > TEXT_BYTES);
        shelf.begin();
        assert_eq!(shelf.text.capacity(), TEXT_BYTES);
    }

    #[test]
    fn text_that_is_not_understood_names_its_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("n"), "x\n").unwrap();
        let mut shelf = Shelf::new(&[dir.path()]);
        let refuse = |_: &str| Err::<(), _>(ParseError::new(1, "nothing"));
        let error = shelf.parse(("/", &mut Kept::default()), (0, "n"), refuse).unwrap_err().to_string();
        assert!(error.contains("/n: line 1"), "{error}");
    }
}
