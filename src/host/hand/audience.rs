//! Programs that wait for a word, connected to sockets of ours or at a named pipe: systemd's memory pressure protocol.
//!
//! Who serves the sockets says who is connected; a hand gives the word. By the protocol its bytes mean nothing.

use crate::sys;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The word: as short as can be, for a program may read less at a time than was written.
const WORD: &[u8] = b"\n";

/// Connected programs, by the path of their socket.
#[derive(Clone, Debug, Default)]
pub struct Audience(Arc<Mutex<Vec<Place>>>);

#[derive(Debug)]
struct Place {
    path: PathBuf,
    programs: Vec<Arc<UnixStream>>,
}

/// The process that connected a program's socket; `None` if its name space of processes is not seen from here.
pub fn peer(program: &UnixStream) -> io::Result<Option<u32>> {
    Ok(Some(sys::peer(program.as_fd())?).filter(|&pid| pid != 0))
}

/// A named pipe that somebody reads, to give a word through it. Nobody is waited for, and nothing else is opened.
pub fn fifo(path: &Path) -> io::Result<File> {
    let no_fifo = || io::Error::new(io::ErrorKind::InvalidInput, "it is no named pipe");
    // A look before: to open a device may do something.
    if !std::fs::symlink_metadata(path)?.file_type().is_fifo() {
        return Err(no_fifo());
    }
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let file =
        File::options().write(true).custom_flags(flags).open(path).map_err(|e| match e.raw_os_error() {
            Some(libc::ENXIO) => io::Error::new(io::ErrorKind::NotConnected, "no program has it open"),
            _ => e,
        })?;
    if file.metadata()?.file_type().is_fifo() { Ok(file) } else { Err(no_fifo()) }
}

/// Gives a word through a named pipe.
pub(super) fn tell_fifo(path: &Path) -> io::Result<()> {
    match fifo(path)?.write(WORD) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::new(e.kind(), "it is full of words that nobody read"))
        }
        Err(e) => Err(e),
    }
}

/// What became of a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Connections that took it.
    pub told: usize,
    /// Connections that are full, because nobody reads them.
    pub deaf: usize,
    /// Connections whose other end has gone.
    pub gone: usize,
}

impl Audience {
    /// These programs, and no others, are connected to the socket at `path` from now on.
    pub fn set(&self, path: &Path, programs: Vec<Arc<UnixStream>>) {
        let mut places = self.places();
        places.retain(|place| place.path != path);
        if !programs.is_empty() {
            places.push(Place { path: path.to_owned(), programs });
        }
    }

    /// How many are connected to each socket that has any.
    pub fn counts(&self) -> Vec<(PathBuf, usize)> {
        self.places().iter().map(|place| (place.path.clone(), place.programs.len())).collect()
    }

    /// Gives the word, and waits for nobody.
    pub(super) fn tell(&self, path: &Path) -> Told {
        let programs = self.places().iter().find(|place| place.path == path).map(|p| p.programs.clone());
        let mut told = Told::default();
        for program in programs.unwrap_or_default() {
            match (&*program).write(WORD) {
                Ok(n) if n > 0 => told.told += 1,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => told.deaf += 1,
                _ => told.gone += 1,
            }
        }
        told
    }

    fn places(&self) -> std::sync::MutexGuard<'_, Vec<Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_for_one_socket_and_waits_for_nobody() {
        let pair = || {
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            theirs.set_nonblocking(true).unwrap();
            (Arc::new(ours), theirs)
        };
        let ((a, reads), (b, never_reads), (c, gone), (d, other)) = (pair(), pair(), pair(), pair());
        drop(gone);
        while (&*b).write(&[0; 4096]).is_ok() {}
        let audience = Audience::default();
        audience.set(Path::new("/x"), vec![a, b, c]);
        audience.set(Path::new("/y"), vec![d]);
        assert_eq!(audience.tell(Path::new("/x")), Told { told: 1, deaf: 1, gone: 1 });
        let mut word = [0; 9];
        assert_eq!(io::Read::read(&mut &reads, &mut word).unwrap(), WORD.len());
        assert_eq!(io::Read::read(&mut &other, &mut word).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(audience.counts(), [("/x".into(), 3), ("/y".into(), 1)]);
        audience.set(Path::new("/x"), vec![]);
        assert_eq!(audience.tell(Path::new("/x")), Told::default());
        assert_eq!(audience.tell(Path::new("/none")), Told::default());
        drop(never_reads);
    }

    #[test]
    fn only_a_named_pipe_that_somebody_has_open_is_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, plain, link) =
            (dir.path().join("pipe"), dir.path().join("plain"), dir.path().join("link"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        std::fs::write(&plain, "as it was").unwrap();
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        let why = |path: &Path| tell_fifo(path).unwrap_err().to_string();
        assert_eq!(why(&pipe), "no program has it open");
        let mut reader = File::options().read(true).write(true).open(&pipe).unwrap();
        tell_fifo(&pipe).unwrap();
        let mut word = [0; 9];
        assert_eq!(io::Read::read(&mut reader, &mut word).unwrap(), WORD.len());
        assert_eq!((why(&plain), why(&link)), ("it is no named pipe".into(), "it is no named pipe".into()));
        assert_eq!(std::fs::read_to_string(&plain).unwrap(), "as it was");
        assert!(tell_fifo(&dir.path().join("none")).is_err());
        let mut full = fifo(&pipe).unwrap();
        while full.write(&[0; 4096]).is_ok() {}
        assert_eq!(why(&pipe), "it is full of words that nobody read");
    }
}
