//! Small files of /sys that hold a value each: many of them, read with one system call each through one buffer.
//!
//! Source: `Documentation/filesystems/sysfs.rst`: a file of /sys is at most a page long, is made when it is read from
//! its beginning, and answers ENODEV once its device is gone.

use super::HostError;
use super::tree::gone;
use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How many files one reader keeps open; the others are opened for each reading. A machine may have thousands, and a
/// process may often have no more than 1024 open.
const OPEN_MAX: usize = 128;
/// The longest text that such a file can have.
const BYTES_MAX: usize = 4096;

/// A file with one value.
#[derive(Debug)]
pub struct Attribute {
    path: PathBuf,
    state: State,
}

#[derive(Debug)]
enum State {
    Closed,
    Open(File),
    /// It was not there: whoever made this looks for its files anew once in a while.
    Missing,
}

impl Attribute {
    /// A file that is opened when it is first read.
    pub fn new(path: PathBuf) -> Self {
        Self { path, state: State::Closed }
    }

    /// Lets the file count as missing from now on.
    pub fn give_up(&mut self) {
        self.state = State::Missing;
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What a reading gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Reading<'a> {
    /// The text, with its line feed.
    Text(Cow<'a, str>),
    /// There is no such file.
    Absent,
    /// The file was open, and what it belongs to is gone.
    Gone,
}

/// Reads attributes.
#[derive(Debug)]
pub struct Reader {
    text: Vec<u8>,
    room: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self { text: Vec::new(), room: OPEN_MAX }
    }
}

impl Reader {
    /// The present text of `attribute`. Bytes that are no UTF-8 are replaced: firmware writes names as it likes.
    pub fn read<'a>(&'a mut self, attribute: &mut Attribute) -> Result<Reading<'a>, HostError> {
        self.text.resize(BYTES_MAX, 0);
        let length = match &attribute.state {
            State::Missing => return Ok(Reading::Absent),
            State::Open(file) => match read(file, &mut self.text) {
                Err(e) if gone(&e) => {
                    attribute.state = State::Closed;
                    self.room += 1;
                    return Ok(Reading::Gone);
                }
                other => other,
            },
            State::Closed => match self.open(attribute) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    attribute.state = State::Missing;
                    return Ok(Reading::Absent);
                }
                Err(e) if gone(&e) => return Ok(Reading::Absent),
                other => other,
            },
        };
        let length = length.map_err(|e| HostError::read(&attribute.path, e))?;
        let bytes = self.text.get(..length).unwrap_or_default();
        Ok(Reading::Text(String::from_utf8_lossy(bytes)))
    }

    fn open(&mut self, attribute: &mut Attribute) -> io::Result<usize> {
        let file = File::open(&attribute.path)?;
        let length = read(&file, &mut self.text);
        // What a driver answers as if its device were gone would look so again and again.
        let room = self.room.checked_sub(1).filter(|_| !length.as_ref().is_err_and(gone));
        if let Some(room) = room {
            self.room = room;
            attribute.state = State::Open(file);
        }
        length
    }
}

fn read(file: &File, text: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read_at(text, 0) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(reading: Reading<'_>) -> Option<String> {
        if let Reading::Text(text) = reading { Some(text.trim().to_owned()) } else { None }
    }

    #[test]
    fn more_files_than_may_be_open_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut reader = Reader::default();
        let mut all: Vec<Attribute> = (0..OPEN_MAX + 3)
            .map(|n| {
                let path = dir.path().join(n.to_string());
                std::fs::write(&path, format!(" {n}\n")).unwrap();
                Attribute::new(path)
            })
            .collect();
        for _ in 0..2 {
            for (n, attribute) in all.iter_mut().enumerate() {
                assert_eq!(text(reader.read(attribute).unwrap()), Some(n.to_string()));
            }
        }
        let open = all.iter().filter(|a| matches!(a.state, State::Open(_))).count();
        assert_eq!((open, reader.room), (OPEN_MAX, 0));
    }

    #[test]
    fn what_is_not_there_is_not_looked_for_again_and_a_directory_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut reader = Reader::default();
        let mut attribute = Attribute::new(dir.path().join("f"));
        assert_eq!(reader.read(&mut attribute).unwrap(), Reading::Absent);
        std::fs::write(attribute.path(), b"a\xffb").unwrap();
        assert_eq!(reader.read(&mut attribute).unwrap(), Reading::Absent);
        let mut attribute = Attribute::new(dir.path().join("f"));
        assert_eq!(text(reader.read(&mut attribute).unwrap()).as_deref(), Some("a\u{fffd}b"));
        let mut attribute = Attribute::new(dir.path().to_owned());
        assert!(reader.read(&mut attribute).unwrap_err().to_string().contains("cannot read"));
    }
}
