//! The attributes of one device: small files of sysfs, kept open, each read with one system call.

use super::parse::{ParseError, integer};
use super::{HostError, tree};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The longest attribute; the kernel writes each into one page.
const ATTRIBUTE_BYTES_MAX: usize = 4096;
/// After so many readings an attribute that was not there is looked for again.
const LOOK_AGAIN_AFTER: u8 = 60;

/// How many files the devices of one collector may keep open: more devices than usual must not use up the
/// descriptors of the process. Further files are opened for each reading.
pub const KEPT_FILES_MAX: usize = 256;

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

#[derive(Debug)]
struct Attribute {
    name: &'static str,
    file: Option<File>,
    /// For how many readings it is taken as absent without a look.
    absent_for: u8,
}

impl Attributes {
    /// The attributes of the device at `directory`; nothing is read yet.
    pub fn new(directory: PathBuf, texts: &[&'static str], numbers: &[&'static str]) -> Self {
        let new = |name: &&'static str| Attribute { name, file: None, absent_for: 0 };
        let text = |name| Text { attribute: new(name), value: String::new(), known: false };
        let texts = texts.iter().map(text).collect();
        let numbers = numbers.iter().map(|name| Number { attribute: new(name), value: None }).collect();
        Self { directory, texts, numbers }
    }

    /// The device's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Reads all attributes. `files` is how many more files may stay open.
    pub fn read(&mut self, files: &mut usize) -> Result<(), HostError> {
        let Self { directory, texts, numbers } = self;
        let mut buffer = [0; ATTRIBUTE_BYTES_MAX];
        for text in texts {
            let bytes = text.attribute.read(directory, files, &mut buffer)?;
            text.value.clear();
            text.known = bytes.is_some();
            text.value.push_str(&String::from_utf8_lossy(bytes.unwrap_or_default()));
        }
        for number in numbers {
            let bytes = number.attribute.read(directory, files, &mut buffer)?;
            number.value = match bytes.map(std::str::from_utf8) {
                None | Some(Ok("")) => None,
                Some(Ok(text)) => Some(integer(text).ok_or_else(|| number.wrong(directory))?),
                Some(Err(_)) => return Err(number.wrong(directory)),
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
    fn wrong(&self, directory: &Path) -> HostError {
        let error = ParseError::new(1, "one whole number, decimal or hexadecimal");
        HostError::parse(&directory.join(self.attribute.name), error)
    }
}

impl Attribute {
    fn read<'b>(
        &mut self,
        directory: &Path,
        files: &mut usize,
        buffer: &'b mut [u8; ATTRIBUTE_BYTES_MAX],
    ) -> Result<Option<&'b [u8]>, HostError> {
        if self.absent_for > 0 {
            self.absent_for -= 1;
            return Ok(None);
        }
        let file = match self.file.take() {
            Some(file) => Ok(file),
            None => File::open(directory.join(self.name)),
        };
        let (file, length) = match file {
            Ok(file) => {
                let length = file.read_at(buffer, 0);
                (Some(file), length)
            }
            Err(e) => (None, Err(e)),
        };
        let answer = match length {
            Ok(length) => buffer.get(..length).map(<[u8]>::trim_ascii),
            Err(e) if untold(&e) => {
                if file.is_none() {
                    self.absent_for = LOOK_AGAIN_AFTER;
                }
                // What this file stood for is gone; the path may stand for something new.
                if tree::gone(&e) {
                    return Ok(None);
                }
                None
            }
            Err(e) => return Err(HostError::read(&directory.join(self.name), e)),
        };
        if let Some(left) = files.checked_sub(1).filter(|_| file.is_some()) {
            *files = left;
            self.file = file;
        }
        Ok(answer)
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
    tree::gone(e) || e.raw_os_error().is_some_and(|code| ANSWERS.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut files = 2;
        for _ in 0..2 {
            device.read(&mut files).unwrap();
            assert_eq!((device.text(0), device.text(1)), (Some("A b\u{fffd}"), None));
            let numbers: Vec<_> = (0..4).map(|i| device.number(i)).collect();
            assert_eq!(numbers, [Some(0x1003), Some(-1), None, None]);
            // The model and the flags stay open.
            assert_eq!(std::mem::replace(&mut files, 2), 0);
        }
        assert!(device.any());
        put("speed", b"fast\n");
        let error = device.read(&mut files).unwrap_err().to_string();
        assert!(error.contains("/speed: line 1: expected one whole number"), "{error}");
    }

    #[test]
    fn an_attribute_that_appears_later_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let mut device = Attributes::new(dir.path().into(), &[], &["n"]);
        device.read(&mut 9).unwrap();
        assert!(!device.any());
        std::fs::write(dir.path().join("n"), "7").unwrap();
        let found = (0..=LOOK_AGAIN_AFTER).find(|_| {
            device.read(&mut 9).unwrap();
            device.number(0) == Some(7)
        });
        assert_eq!(found, Some(LOOK_AGAIN_AFTER));
    }
}
