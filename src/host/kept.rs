//! A kernel file that stays open and is read again with `pread` into the same buffer.

use super::arrivals::{Absence, Arrivals};
use super::counted::File;
use super::{FILE_BYTES_MAX, HostError, ParseError};
use std::io;
use std::path::{Path, PathBuf};

/// A file that is kept open between reads: one system call instead of three, and no allocation.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    file: Option<File>,
    /// The last read's bytes and, behind them, room that was used before.
    buffer: Vec<u8>,
    length: usize,
    end: End,
    absence: Absence,
}

/// How it is known that a read was the last one. A short read is not by itself the end of a kernel file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// By asking once more.
    #[default]
    Asked,
    /// By room that is left: the kernel makes the whole text at once (`single_open`, sysctl, sysfs), or it is an
    /// ordinary file.
    Room,
    /// By room that is left for any record, of which none is longer than this: the kernel puts records into a page for
    /// each read (`fs/seq_file.c`), as long as the next one fits.
    RoomForRecord(usize),
}

/// A buffer of this length and more is given back when the file has become much shorter.
const LONG_BYTES: usize = 64 << 10;

/// The smallest page of any machine, which is the least that the kernel fills with records.
const PAGE_BYTES: usize = 4096;

impl End {
    /// Whether a read that gave so many bytes, with room for more, was the last.
    fn is_behind(self, bytes: usize) -> bool {
        match self {
            Self::Asked => false,
            Self::Room => true,
            Self::RoomForRecord(longest) => bytes + longest < PAGE_BYTES,
        }
    }

    /// What is known of a file under /proc, by its name there.
    pub(super) fn of_proc(name: &str) -> Self {
        match name {
            "stat" | "self/stat" | "meminfo" | "loadavg" | "softirqs" | "net/netstat" | "net/snmp"
            | "net/snmp6" | "net/sockstat" | "net/sockstat6" => Self::Room,
            "vmstat" => Self::RoomForRecord(128),
            "diskstats"
            | "net/dev"
            | "net/udp"
            | "net/udp6"
            | "net/softnet_stat"
            | "net/stat/nf_conntrack" => Self::RoomForRecord(512),
            _ if name.starts_with("sys/") || name.starts_with("pressure/") => Self::Room,
            _ => Self::Asked,
        }
    }
}

impl Kept {
    /// A file that is opened when it is first read.
    pub fn new(path: PathBuf) -> Self {
        let (buffer, absence) = (Vec::new(), Absence::default());
        Self { path, file: None, buffer, length: 0, end: End::Asked, absence }
    }

    /// The same file, of which more is known about its end.
    #[must_use]
    pub fn ending(self, end: End) -> Self {
        Self { end, ..self }
    }

    /// The same file; where it is not there, it is not looked for as long as nothing came to the machine.
    #[must_use]
    pub fn heard_by(self, arrivals: &Arrivals) -> Self {
        Self { absence: Absence::heard_by(arrivals), ..self }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's present bytes; `None` where there is no such file.
    pub fn read_bytes(&mut self) -> Result<Option<&[u8]>, HostError> {
        if self.file.is_some() && self.fill().is_ok() {
            return self.filled().map(Some);
        }
        // Not open yet, or what it was opened on is gone (a device unplugged, a group removed and
        // made again): the path decides.
        self.file = None;
        if self.absence.holds() {
            return Ok(None);
        }
        let is_absent = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
        match self.absence.look(|| File::open(&self.path), |file| !file.as_ref().is_err_and(is_absent)) {
            Ok(file) => self.file = Some(file),
            Err(e) if is_absent(&e) => return Ok(None),
            Err(e) => return Err(HostError::read(&self.path, e)),
        }
        match self.fill() {
            Ok(()) => self.filled().map(Some),
            Err(e) if gone(&e) => Ok(None),
            Err(e) => Err(HostError::read(&self.path, e)),
        }
    }

    /// What was read, if that was all. A buffer that swelled for nothing is given back.
    fn filled(&mut self) -> Result<&[u8], HostError> {
        if self.length > FILE_BYTES_MAX {
            (self.buffer, self.length) = (Vec::new(), 0);
            return Err(HostError::TooLong { path: self.path.clone() });
        }
        Ok(self.last())
    }

    /// The bytes of the last read that succeeded.
    pub fn last(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }

    /// The file's present text; `None` where there is no such file.
    pub fn read(&mut self) -> Result<Option<&str>, HostError> {
        if self.read_bytes()?.is_none() {
            return Ok(None);
        }
        self.text().map(Some)
    }

    /// The bytes of the last read as text.
    fn text(&self) -> Result<&str, HostError> {
        let text = self.last();
        std::str::from_utf8(text).map_err(|e| {
            let line = text.iter().take(e.valid_up_to()).filter(|&&b| b == b'\n').count() + 1;
            HostError::parse(&self.path, ParseError::new(line, "text in UTF-8"))
        })
    }

    /// The file's present text, parsed; `None` where there is no such file.
    pub fn parse<'a, T>(
        &'a mut self,
        parser: impl FnOnce(&'a str) -> Result<T, ParseError>,
    ) -> Result<Option<T>, HostError> {
        if self.read_bytes()?.is_none() {
            return Ok(None);
        }
        self.parse_last(parser).map(Some)
    }

    /// The text of the last read that succeeded, parsed.
    fn parse_last<'a, T>(
        &'a self,
        parser: impl FnOnce(&'a str) -> Result<T, ParseError>,
    ) -> Result<T, HostError> {
        parser(self.text()?).map_err(|e| HostError::parse(&self.path, e))
    }

    /// The same for a file of lines, as [`Kept::parse_lines`].
    pub(super) fn parse_last_lines<'a, T>(
        &'a self,
        parser: impl FnOnce(&'a str) -> Result<T, ParseError>,
    ) -> Result<T, HostError> {
        self.parse_last(|text| parser(ended(text)?))
    }

    /// The same for a file of lines: a text that stops in the middle of one is an error. A number that lost its
    /// last digits, or an amount that lost its unit, would look like a good one.
    pub fn parse_lines<'a, T>(
        &'a mut self,
        parser: impl FnOnce(&'a str) -> Result<T, ParseError>,
    ) -> Result<Option<T>, HostError> {
        self.parse(|text| parser(ended(text)?))
    }

    fn fill(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        self.length = 0;
        let mut length = 0;
        loop {
            if length == self.buffer.len() {
                if length > FILE_BYTES_MAX {
                    break;
                }
                self.buffer.resize((length * 2).max(1024), 0);
            }
            let Some(rest) = self.buffer.get_mut(length..) else { break };
            match file.read_at(rest, length as u64) {
                Ok(0) => break,
                Ok(n) => {
                    let has_room = n < rest.len();
                    length += n;
                    if has_room && self.end.is_behind(n) {
                        break;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.length = length;
        // A file that was long once is no reason for a long buffer.
        if self.buffer.len() > LONG_BYTES && length < self.buffer.len() / 4 {
            self.buffer.truncate(length * 2);
            self.buffer.shrink_to_fit();
        }
        Ok(())
    }
}

/// The text, if it does not stop in the middle of a line.
pub fn ended(text: &str) -> Result<&str, ParseError> {
    if text.is_empty() || text.ends_with('\n') {
        return Ok(text);
    }
    Err(ParseError::new(text.lines().count(), "a line feed at the end"))
}

/// What the kernel answers on a file whose process, device or group has gone.
fn gone(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ESRCH | libc::ENODEV | libc::ENOENT | libc::ENXIO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_without_being_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "one").unwrap();
        let mut kept = Kept::new(path.clone());
        assert_eq!(kept.read().unwrap(), Some("one"));
        std::fs::write(&path, "a much longer text\n".repeat(500)).unwrap();
        assert_eq!(kept.read().unwrap().map(str::len), Some(9500));
        std::fs::write(&path, "").unwrap();
        assert_eq!(kept.read().unwrap(), Some(""));
    }

    #[test]
    fn a_file_that_grows_beyond_the_limit_is_an_error_until_it_shrinks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "one").unwrap();
        let mut kept = Kept::new(path.clone());
        assert_eq!(kept.read().unwrap(), Some("one"));
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_len(FILE_BYTES_MAX as u64 + 1).unwrap();
        for _ in 0..2 {
            assert!(matches!(kept.read(), Err(HostError::TooLong { .. })));
        }
        file.set_len(3).unwrap();
        assert_eq!(kept.read().unwrap(), Some("one"));
    }

    #[test]
    fn a_file_that_was_long_once_leaves_no_long_buffer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut kept = Kept::new(path.clone());
        for (length, room) in
            [(10, 1024), (LONG_BYTES * 4, LONG_BYTES * 8), (10, 1024), (0, 1024), (10, 1024)]
        {
            std::fs::write(&path, "x".repeat(length)).unwrap();
            assert_eq!(kept.read().unwrap().map(str::len), Some(length));
            assert!(kept.buffer.capacity() <= room, "{} for {length}", kept.buffer.capacity());
        }
    }

    #[test]
    fn kernel_files_are_read_whole_whatever_is_known_of_their_end() {
        // Their words without numbers, which change between two reads.
        let words = |kept: &mut Kept| -> Option<Vec<String>> {
            let text = kept.read().unwrap()?;
            Some(text.split(|c: char| c.is_ascii_digit() || c.is_whitespace()).map(String::from).collect())
        };
        let host = crate::host::Host::default();
        for name in ["vmstat", "net/netstat", "net/snmp6", "diskstats", "net/dev", "stat", "meminfo"] {
            let mut asked = Kept::new(host.procfs.join(name));
            assert_eq!(asked.end, End::Asked);
            let mut known = host.proc_file(name);
            assert_ne!(known.end, End::Asked);
            for _ in 0..2 {
                let strip = |words: Option<Vec<String>>| {
                    words.map(|w| w.into_iter().filter(|w| !w.is_empty()).collect::<Vec<_>>())
                };
                assert_eq!(strip(words(&mut known)), strip(words(&mut asked)), "{name}");
            }
        }
    }

    #[test]
    fn a_short_read_is_the_end_only_where_another_record_would_have_fitted() {
        for (end, bytes, last) in [
            (End::Asked, 1, false),
            (End::Room, 4000, true),
            (End::RoomForRecord(128), 3967, true),
            (End::RoomForRecord(128), 3968, false),
            (End::RoomForRecord(128), 9000, false),
        ] {
            assert_eq!(end.is_behind(bytes), last, "{end:?} {bytes}");
        }
    }

    #[test]
    fn a_missing_file_is_absent_and_may_appear_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut kept = Kept::new(path.clone());
        assert_eq!(kept.read().unwrap(), None);
        std::fs::write(&path, "x").unwrap();
        assert_eq!(kept.read().unwrap(), Some("x"));
    }

    #[test]
    fn what_an_open_file_stood_for_may_go_and_another_may_come_in_its_place() {
        let sleep = || std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("process");
        let mut kept = Kept::new(link.join("stat")).ending(End::Room);
        for _ in 0..2 {
            let mut process = sleep();
            std::os::unix::fs::symlink(format!("/proc/{}", process.id()), &link).unwrap();
            for _ in 0..2 {
                let text = kept.read().unwrap().unwrap();
                assert!(text.starts_with(&format!("{} (sleep)", process.id())), "{text}");
            }
            process.kill().unwrap();
            process.wait().unwrap();
            // The kernel answers ESRCH on the open file, and the path leads nowhere.
            assert_eq!(kept.read().unwrap(), None);
            std::fs::remove_file(&link).unwrap();
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error_with_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"ok\n\xff\n").unwrap();
        let error = Kept::new(path).read().unwrap_err().to_string();
        assert!(error.ends_with("/f: line 2: expected text in UTF-8"), "{error}");
    }
}
