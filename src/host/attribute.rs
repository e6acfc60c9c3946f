//! Small files of /sys that hold a value each: kept open, read with one system call each.
//!
//! Source: `Documentation/filesystems/sysfs.rst`: a file of /sys is at most a page long, is made when it is read from
//! its beginning, and answers ENODEV once its device is gone.

use super::HostError;
use super::counted::File;
use super::parse::{ParseError, integer};
use super::tree::gone;
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

/// How many files one collector keeps open; the others are opened for each reading. A machine may have thousands, and
/// a process may often have no more than 1024 open.
const OPEN_MAX: usize = 128;
/// The longest text that such a file can have.
const BYTES_MAX: usize = 4096;
/// After so many readings a file that was not there is looked for again.
const LOOK_AGAIN_AFTER: u8 = 60;

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
    /// It was not there, and is taken as absent without a look for so many readings.
    Missing(u8),
}

impl Attribute {
    /// A file that is opened when it is first read.
    pub fn new(path: PathBuf) -> Self {
        Self { path, state: State::Closed }
    }

    /// Lets the file count as missing for a while.
    pub fn give_up(&mut self) {
        self.state = State::Missing(LOOK_AGAIN_AFTER);
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

/// Reads the attributes of one pass of a collector. Those that are read first stay open.
#[derive(Debug)]
pub struct Reader {
    text: [u8; BYTES_MAX],
    room: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self { text: [0; BYTES_MAX], room: OPEN_MAX }
    }
}

impl Reader {
    /// The present text of `attribute`. Bytes that are no UTF-8 are replaced: firmware writes names as it likes.
    pub fn read<'a>(&'a mut self, attribute: &mut Attribute) -> Result<Reading<'a>, HostError> {
        let was_open = matches!(attribute.state, State::Open(_));
        match self.fill(attribute, |e| e.kind() == io::ErrorKind::NotFound) {
            None => Ok(Reading::Absent),
            Some(Ok(length)) => {
                let bytes = self.text.get(..length).unwrap_or_default();
                Ok(Reading::Text(String::from_utf8_lossy(bytes)))
            }
            Some(Err(e)) if gone(&e) => Ok(if was_open { Reading::Gone } else { Reading::Absent }),
            Some(Err(e)) => Err(HostError::read(&attribute.path, e)),
        }
    }

    /// The present bytes of `attribute`, without white space around them; nothing if it is not there, or has no value
    /// now.
    fn told(&mut self, attribute: &mut Attribute) -> Result<Option<&[u8]>, HostError> {
        match self.fill(attribute, untold) {
            None => Ok(None),
            Some(Ok(length)) => Ok(self.text.get(..length).map(<[u8]>::trim_ascii)),
            Some(Err(e)) if untold(&e) => Ok(None),
            Some(Err(e)) => Err(HostError::read(&attribute.path, e)),
        }
    }

    /// Fills the buffer; nothing if the file counts as missing. `missing` says after which answer to its opening it does.
    fn fill(
        &mut self,
        attribute: &mut Attribute,
        missing: impl FnOnce(&io::Error) -> bool,
    ) -> Option<io::Result<usize>> {
        let file = match std::mem::replace(&mut attribute.state, State::Closed) {
            State::Missing(left) if left > 0 => {
                attribute.state = State::Missing(left - 1);
                return None;
            }
            State::Missing(_) | State::Closed => match File::open(&attribute.path) {
                Ok(file) => file,
                Err(e) => {
                    if missing(&e) {
                        attribute.give_up();
                    }
                    return Some(Err(e));
                }
            },
            State::Open(file) => file,
        };
        let length = read(&file, &mut self.text);
        // Once what a file stood for is gone, the path may stand for something new; so it may where something stood
        // that no attribute is.
        let over = |e: &io::Error| gone(e) || !untold(e);
        let room = self.room.checked_sub(1).filter(|_| !length.as_ref().is_err_and(over));
        if let Some(room) = room {
            self.room = room;
            attribute.state = State::Open(file);
        }
        Some(length)
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

/// What the kernel and its drivers answer on an attribute that is not there, or that has no value now: the speed of
/// a link that is down, a sensor that sleeps, a file for root alone.
fn untold(e: &io::Error) -> bool {
    const ANSWERS: [i32; 10] = [
        libc::EACCES,
        libc::EPERM,
        libc::EINVAL,
        libc::EOPNOTSUPP,
        libc::ENODATA,
        libc::EAGAIN,
        libc::EIO,
        libc::ENOTDIR,
        libc::ETIMEDOUT,
        libc::EBUSY,
    ];
    gone(e) || e.raw_os_error().is_some_and(|code| ANSWERS.contains(&code))
}

/// The attributes of a device; an attribute that the device does not have, or does not tell now, is absent.
#[derive(Debug)]
pub struct Attributes {
    directory: PathBuf,
    texts: Vec<Text>,
    numbers: Vec<Number>,
}

#[derive(Debug)]
struct Text {
    attribute: Attribute,
    value: String,
    known: bool,
}

#[derive(Debug)]
struct Number {
    attribute: Attribute,
    value: Option<i128>,
}

impl Attributes {
    /// The attributes of the device at `directory`; nothing is read yet.
    pub fn new(directory: PathBuf, texts: &[&str], numbers: &[&str]) -> Self {
        let new = |name: &&str| Attribute::new(directory.join(name));
        let text = |name| Text { attribute: new(name), value: String::new(), known: false };
        let texts = texts.iter().map(text).collect();
        let numbers = numbers.iter().map(|name| Number { attribute: new(name), value: None }).collect();
        Self { directory, texts, numbers }
    }

    /// The device's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Reads all attributes.
    pub fn read(&mut self, reader: &mut Reader) -> Result<(), HostError> {
        self.read_some(reader, |_| true, |_| true)
    }

    /// Reads the texts and numbers at these places of their lists; the others stay as they were.
    pub fn read_some(
        &mut self,
        reader: &mut Reader,
        text: impl Fn(usize) -> bool,
        number: impl Fn(usize) -> bool,
    ) -> Result<(), HostError> {
        for (_, text) in self.texts.iter_mut().enumerate().filter(|(place, _)| text(*place)) {
            let bytes = reader.told(&mut text.attribute)?;
            text.value.clear();
            text.known = bytes.is_some();
            text.value.push_str(&String::from_utf8_lossy(bytes.unwrap_or_default()));
        }
        for (_, number) in self.numbers.iter_mut().enumerate().filter(|(place, _)| number(*place)) {
            let bytes = reader.told(&mut number.attribute)?;
            number.value = match bytes.map(std::str::from_utf8) {
                None | Some(Ok("")) => None,
                Some(Ok(text)) => Some(integer(text).ok_or_else(|| number.wrong())?),
                Some(Err(_)) => return Err(number.wrong()),
            };
        }
        Ok(())
    }

    /// Whether anything was told: nothing is by a device that went away while it was read.
    pub fn any(&self) -> bool {
        self.texts.iter().any(|text| text.known) || self.numbers.iter().any(|number| number.value.is_some())
    }

    /// The text at this place of the list of texts, without white space around it.
    pub fn text(&self, place: usize) -> Option<&str> {
        self.texts.get(place).filter(|text| text.known).map(|text| text.value.as_str())
    }

    /// The number at this place of the list of numbers.
    pub fn number(&self, place: usize) -> Option<i128> {
        self.numbers.get(place)?.value
    }
}

impl Number {
    fn wrong(&self) -> HostError {
        let error = ParseError::new(1, "one whole number, decimal or hexadecimal");
        HostError::parse(self.attribute.path(), error)
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
        let mut all: Vec<Attribute> = (0..OPEN_MAX + 3)
            .map(|n| {
                let path = dir.path().join(n.to_string());
                std::fs::write(&path, format!(" {n}\n")).unwrap();
                Attribute::new(path)
            })
            .collect();
        for _ in 0..2 {
            let mut reader = Reader::default();
            for (n, attribute) in all.iter_mut().enumerate() {
                assert_eq!(text(reader.read(attribute).unwrap()), Some(n.to_string()));
            }
            let open = all.iter().filter(|a| matches!(a.state, State::Open(_))).count();
            assert_eq!((open, reader.room), (OPEN_MAX, 0));
        }
    }

    #[test]
    fn what_is_not_there_is_not_looked_for_at_once_and_a_directory_is_an_error() {
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

    #[test]
    fn what_follows_a_directory_in_its_place_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::create_dir(&path).unwrap();
        let mut attribute = Attribute::new(path.clone());
        assert!(Reader::default().read(&mut attribute).is_err());
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, "1\n").unwrap();
        assert_eq!(text(Reader::default().read(&mut attribute).unwrap()).as_deref(), Some("1"));
    }

    #[test]
    fn texts_and_numbers_are_read_and_what_is_not_there_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &[u8]| std::fs::write(dir.path().join(name), text).unwrap();
        put("model", b" A b\xff \n");
        put("flags", b"0x1003\n");
        put("speed", b"-1\n");
        put("empty", b"\n");
        let numbers = ["flags", "speed", "empty", "none"];
        let mut device = Attributes::new(dir.path().into(), &["model", "none"], &numbers);
        for _ in 0..2 {
            let mut reader = Reader { room: 2, ..Reader::default() };
            device.read(&mut reader).unwrap();
            assert_eq!((device.text(0), device.text(1)), (Some("A b\u{fffd}"), None));
            let numbers: Vec<_> = (0..4).map(|i| device.number(i)).collect();
            assert_eq!(numbers, [Some(0x1003), Some(-1), None, None]);
            // The model and the flags stay open.
            assert_eq!(reader.room, 0);
        }
        assert!(device.any());
        put("speed", b"fast\n");
        let error = device.read(&mut Reader::default()).unwrap_err().to_string();
        assert!(error.contains("/speed: line 1: expected one whole number"), "{error}");
    }

    #[test]
    fn an_attribute_that_appears_later_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let mut device = Attributes::new(dir.path().into(), &[], &["n"]);
        let mut reader = Reader::default();
        device.read(&mut reader).unwrap();
        assert!(!device.any());
        std::fs::write(dir.path().join("n"), "7").unwrap();
        let found = (0..=LOOK_AGAIN_AFTER).find(|_| {
            device.read(&mut reader).unwrap();
            device.number(0) == Some(7)
        });
        assert_eq!(found, Some(LOOK_AGAIN_AFTER));
    }
}
