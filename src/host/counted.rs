//! The calls of the kernel by which the host is read, and what they cost: each is counted on the thread that makes it.
//!
//! Memory, locks and clocks are not counted: the first two ask nothing about the host, and a clock is read without a call.

use crate::sys;
#[cfg(not(target_os = "linux"))]
use rustix::fs::Dir;
#[cfg(target_os = "linux")]
use rustix::fs::RawDir;
use rustix::fs::{FileType, Mode, OFlags, SeekFrom};
use rustix::net::{RecvFlags, SendFlags};
use rustix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What reading the host cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Calls of the kernel.
    pub calls: u64,
    /// Bytes that were read from files and sockets.
    pub read_bytes: u64,
    /// CPU time of other threads that worked for this one.
    pub helpers: Duration,
}

impl Cost {
    /// What came on top of an earlier state of the same thread.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            calls: self.calls.wrapping_sub(before.calls),
            read_bytes: self.read_bytes.wrapping_sub(before.read_bytes),
            helpers: self.helpers.saturating_sub(before.helpers),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls.wrapping_add(other.calls),
            read_bytes: self.read_bytes.wrapping_add(other.read_bytes),
            helpers: self.helpers.saturating_add(other.helpers),
        }
    }
}

thread_local! {
    static SPENT: Cell<Cost> = const { Cell::new(Cost { calls: 0, read_bytes: 0, helpers: Duration::ZERO }) };
}

/// What this thread spent since it began.
pub fn spent() -> Cost {
    SPENT.get()
}

/// Takes over what another thread spent for this one.
pub fn take_over(cost: Cost) {
    SPENT.set(SPENT.get().plus(cost));
}

/// The CPU time of this thread since it began.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Counts a call that is made beside this module.
pub fn call() {
    calls(1);
}

fn calls(count: u64) {
    let before = SPENT.get();
    SPENT.set(Cost { calls: before.calls.wrapping_add(count), ..before });
}

/// Counts a call that reads, and its bytes.
fn reading(result: io::Result<usize>) -> io::Result<usize> {
    let before = SPENT.get();
    let bytes = result.as_ref().map_or(0, |&length| length as u64);
    SPENT.set(Cost {
        calls: before.calls.wrapping_add(1),
        read_bytes: before.read_bytes.wrapping_add(bytes),
        ..before
    });
    result
}

/// Something open, the closing of which is a call too.
#[derive(Debug)]
struct Held<T>(T);

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        call();
    }
}

/// An open file.
#[derive(Debug)]
pub struct File(Held<std::fs::File>);

impl File {
    /// Opens a file to read it.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        call();
        std::fs::File::open(path).map(|file| Self(Held(file)))
    }

    /// Opens a file as the options say.
    pub fn open_with(options: &OpenOptions, path: &Path) -> io::Result<Self> {
        call();
        options.open(path).map(|file| Self(Held(file)))
    }

    /// Reads from a place in the file.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        reading(self.0.0.read_at(buffer, offset))
    }

    /// What the kernel knows about the file.
    pub fn metadata(&self) -> io::Result<Metadata> {
        call();
        self.0.0.metadata()
    }
}

impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        reading((&self.0.0).read(buffer))
    }
}

impl Read for &File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        reading((&self.0.0).read(buffer))
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

/// What the kernel knows about a file, links followed.
pub fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    call();
    std::fs::metadata(path)
}

/// Whether there is something.
pub fn exists(path: &Path) -> bool {
    metadata(path).is_ok()
}

/// Whether there is a directory.
pub fn is_dir(path: &Path) -> bool {
    metadata(path).is_ok_and(|about| about.is_dir())
}

/// Where a link points.
pub fn read_link(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    call();
    std::fs::read_link(path)
}

/// Where a path leads once all links are followed. Each part of the path counts as one call.
pub fn canonicalize(path: &Path) -> io::Result<PathBuf> {
    calls(path.components().count() as u64);
    std::fs::canonicalize(path)
}

/// An entry of a directory: its name, and what it is as far as the directory says.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The name.
    pub name: &'a str,
    /// What it is.
    pub kind: FileType,
    /// The number of its inode.
    pub inode: u64,
}

/// An open directory.
#[derive(Debug)]
pub struct Directory(Held<OwnedFd>);

impl Directory {
    /// Opens a directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        call();
        Ok(Self(Held(rustix::fs::open(path, flags, Mode::empty())?)))
    }

    /// Begins anew: what is there now is listed the next time.
    pub fn rewind(&self) -> io::Result<()> {
        call();
        rustix::fs::seek(&self.0.0, SeekFrom::Start(0))?;
        Ok(())
    }

    /// Gives each entry to `each`, without `.` and `..`, until it fails. A name that is no text is as if it had not been
    /// there. `path` is where the directory is.
    #[allow(clippy::while_let_on_iterator, reason = "what Linux has is no iterator")]
    pub fn entries_until(
        &self,
        path: &Path,
        mut each: impl FnMut(&Entry<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        let mut buffer = [std::mem::MaybeUninit::uninit(); 8192];
        #[cfg(target_os = "linux")]
        let mut found = RawDir::new(&self.0.0, &mut buffer);
        #[cfg(not(target_os = "linux"))]
        let mut found = Dir::read_from(&self.0.0)?;
        loop {
            #[cfg(target_os = "linux")]
            if found.is_buffer_empty() {
                call();
            }
            let Some(entry) = found.next() else { return Ok(()) };
            let entry = entry?;
            match entry.file_name().to_str() {
                Err(_) | Ok("." | "..") => {}
                Ok(name) => {
                    let kind = kind_of(path, name, entry.file_type());
                    each(&Entry { name, kind, inode: entry.ino() })?;
                }
            }
        }
    }
}

/// Gives each entry of the directory at a path to `each`, until it fails.
pub fn entries_until(path: &Path, each: impl FnMut(&Entry<'_>) -> io::Result<()>) -> io::Result<()> {
    Directory::open(path)?.entries_until(path, each)
}

/// The same for all entries.
pub fn entries(path: &Path, mut each: impl FnMut(&Entry<'_>)) -> io::Result<()> {
    entries_until(path, |entry| {
        each(entry);
        Ok(())
    })
}

/// What an entry is; some file systems do not say so in the directory.
fn kind_of(directory: &Path, name: &str, said: FileType) -> FileType {
    if said != FileType::Unknown {
        return said;
    }
    call();
    let about = rustix::fs::lstat(directory.join(name));
    about.map_or(FileType::Unknown, |about| FileType::from_raw_mode(about.st_mode))
}

/// How full a file system is.
pub fn statvfs(path: &Path) -> io::Result<rustix::fs::StatVfs> {
    call();
    Ok(rustix::fs::statvfs(path)?)
}

/// Whether a directory is the kernel's own /proc, and not a copy of one.
pub fn is_procfs(path: &Path) -> bool {
    call();
    sys::is_procfs(path)
}

/// A socket to the kernel.
#[derive(Debug)]
pub struct Socket(Held<OwnedFd>);

impl Socket {
    /// A connection to a part of the kernel.
    pub fn netlink(part: sys::Netlink) -> io::Result<Self> {
        call();
        sys::netlink(part).map(|socket| Self(Held(socket)))
    }

    /// One who listens to what the kernel tells all.
    pub fn listen(to: sys::News) -> io::Result<Self> {
        calls(2);
        sys::listen(to).map(|socket| Self(Held(socket)))
    }

    /// Whether anything was told since the last call, or may have been: what nobody hears for long is thrown away, which
    /// the kernel says as an error. What it is does not matter; what does not fit is cut off.
    pub fn was_told(&self) -> bool {
        /// So much is heard at once; the rest is heard the next time.
        const NEWS_MAX: usize = 1000;
        let mut told = false;
        for _ in 0..NEWS_MAX {
            match self.receive(&mut [0; 16]) {
                Ok(_) => told = true,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
        told
    }

    /// What network devices are asked with.
    pub fn device() -> io::Result<Self> {
        call();
        sys::device_socket().map(|socket| Self(Held(socket)))
    }

    /// Gives up on an answer after this time.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        call();
        let timeout = rustix::net::sockopt::Timeout::Recv;
        Ok(rustix::net::sockopt::set_socket_timeout(&self.0.0, timeout, Some(patience))?)
    }

    /// Sends a question to whom it is connected to.
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        call();
        Ok(rustix::net::send(&self.0.0, bytes, SendFlags::empty())?)
    }

    /// Receives a part of the answer.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let received = rustix::net::recv(&self.0.0, buffer, RecvFlags::empty());
        reading(received.map(|(length, _)| length).map_err(Into::into))
    }
}

#[cfg(test)]
impl From<OwnedFd> for Socket {
    fn from(socket: OwnedFd) -> Self {
        Self(Held(socket))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

/// A connection to a service of this machine.
#[derive(Debug)]
pub struct Stream(Held<UnixStream>);

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self(Held(stream))
    }
}

impl Stream {
    /// Connects to the socket at `path`.
    pub fn connect(path: &Path) -> io::Result<Self> {
        calls(2);
        UnixStream::connect(path).map(Self::from)
    }

    /// Gives up reading after this time.
    pub fn set_read_timeout(&self, time: Option<Duration>) -> io::Result<()> {
        call();
        self.0.0.set_read_timeout(time)
    }

    /// Gives up writing after this time.
    pub fn set_write_timeout(&self, time: Option<Duration>) -> io::Result<()> {
        call();
        self.0.0.set_write_timeout(time)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        reading((&self.0.0).read(buffer))
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        call();
        (&self.0.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `work` costs.
    fn cost(work: impl FnOnce()) -> (u64, u64) {
        let before = spent();
        work();
        let cost = spent().since(before);
        (cost.calls, cost.read_bytes)
    }

    #[test]
    fn every_call_and_every_byte_is_counted_those_that_fail_included() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "twelve bytes").unwrap();
        let mut buffer = [0; 100];
        assert_eq!(cost(|| drop(File::open(&path))), (2, 0), "open, close");
        assert_eq!(cost(|| assert!(File::open(dir.path().join("none")).is_err())), (1, 0));
        let mut file = File::open(&path).unwrap();
        assert_eq!(cost(|| assert_eq!(file.read_at(&mut buffer, 6).unwrap(), 6)), (1, 6));
        assert_eq!(cost(|| assert_eq!(file.read(&mut buffer).unwrap(), 12)), (1, 12));
        assert_eq!(cost(|| assert_eq!(file.read(&mut buffer).unwrap(), 0)), (1, 0));
        assert_eq!(cost(|| assert!(exists(&path) && !is_dir(&path) && is_dir(dir.path()))), (3, 0));
        assert_eq!(cost(|| assert!(read_link(&path).is_err())), (1, 0));
        let mut names = Vec::new();
        let listed = cost(|| entries(dir.path(), |entry| names.push(entry.name.to_owned())).unwrap());
        assert_eq!((listed, names), ((4, 0), vec!["f".to_owned()]), "open, two readings, close");
    }

    #[test]
    fn threads_count_for_themselves_until_one_takes_over() {
        let helper = std::thread::spawn(|| {
            call();
            (spent(), cpu_time())
        });
        let (spent_there, cpu) = helper.join().unwrap();
        assert!(cpu > Duration::ZERO);
        let taken = Cost { helpers: cpu, ..spent_there };
        let before = spent();
        take_over(taken);
        assert_eq!(spent().since(before), taken);
        assert_eq!(taken.calls, 1);
    }
}
