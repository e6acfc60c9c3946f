//! The hand that changes the host: writes to kernel files, advice to processes. Only the executor owns one.

mod apart;
mod audience;

use super::{Host, HostError, proc, read_once};
use crate::sys;
pub use apart::{Apart, Writers};
pub use audience::{Audience, Told, fifo, peer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, setpriority_process};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// The right to change the host. What holds none can only look.
#[derive(Debug)]
pub struct Hand {
    host: Host,
    writers: Writers,
    audience: Audience,
}

/// A process that is held by a handle: advice through it reaches this process or none. Its number may come to mean
/// another one once it has ended, so what is read by number is to be compared with its start.
#[derive(Debug)]
pub struct HeldProcess {
    pid: u32,
    fd: OwnedFd,
}

impl Hand {
    /// A hand on a host.
    pub fn new(host: Host) -> Self {
        Self::beside(host, Writers::default())
    }

    /// A hand that knows the writes which others have under way.
    pub fn beside(host: Host, writers: Writers) -> Self {
        Self { host, writers, audience: Audience::default() }
    }

    /// The same, with programs that wait for a word.
    #[must_use]
    pub fn before(self, audience: Audience) -> Self {
        Self { audience, ..self }
    }

    /// Gives a word to all programs that are connected to the socket at `path`.
    pub fn tell(&mut self, path: &Path) -> Told {
        self.audience.tell(path)
    }

    /// The host, to look at it.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Gives a word to a program that reads the named pipe at `path`.
    pub fn tell_fifo(&mut self, path: &Path) -> io::Result<()> {
        audience::tell_fifo(path)
    }

    /// Writes `text` to an existing kernel file, in one system call; the answer is the kernel's own.
    pub fn write(&mut self, path: &Path, text: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        let written = file.write(text.as_bytes())?;
        if written == text.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// A thread for writes to `place` that may block; `None` while an earlier one has not returned.
    pub fn apart(&self, place: &Path) -> io::Result<Option<Apart>> {
        self.writers.begin(&self.host, place)
    }

    /// What a kernel file says whose reading changes the host (`/sys/class/zram-control/hot_add`).
    pub fn take(&mut self, path: &Path) -> io::Result<String> {
        const BYTES_MAX: u64 = 4096;
        let mut text = String::new();
        File::open(path)?.take(BYTES_MAX).read_to_string(&mut text)?;
        Ok(text)
    }

    /// Writes the first bytes of a block device, and waits until it has them.
    pub fn write_device(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    /// Swaps on a device, with this priority.
    pub fn swap_on(&mut self, device: &Path, priority: u16) -> io::Result<()> {
        sys::swap_on(device, priority)
    }

    /// Swaps no more on a device: all that is there comes back into memory first.
    pub fn swap_off(&mut self, device: &Path) -> io::Result<()> {
        sys::swap_off(device)
    }

    /// Holds a process, if it is still the one that began at `start_ticks`; `None` if it has gone.
    pub fn hold(&self, pid: u32, start_ticks: u64) -> Result<Option<HeldProcess>, HostError> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let opened = number.map(sys::hold_process);
        let fd = match opened {
            None => return Ok(None),
            Some(Err(e)) if e.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            Some(Err(e)) => return Err(HostError::read(&self.host.procfs.join(pid.to_string()), e)),
            Some(Ok(fd)) => fd,
        };
        if !self.named(&fd, pid)? {
            return Ok(None);
        }
        // The handle first, then the look: a number that was given to another process in between shows here.
        let same = proc::stat_of(&self.host, pid)?.is_some_and(|s| s.start_ticks == start_ticks);
        Ok(same.then_some(HeldProcess { pid, fd }))
    }

    /// Whether the process that is held is `pid` to the proc file system that everything else about it is read from; not so
    /// any more once it has ended. In a container with a name space of processes of its own, under the host's /proc, the
    /// handle would be on one process, and all that is known would be of another.
    fn named(&self, held: &OwnedFd, pid: u32) -> Result<bool, HostError> {
        if !sys::is_procfs(&self.host.procfs) {
            return Ok(true);
        }
        let path = self.host.procfs.join(format!("self/fdinfo/{}", held.as_raw_fd()));
        let other = || {
            let why = "numbers of processes there are not this process's; a container wants `pid: host`";
            HostError::read(&self.host.procfs.join(pid.to_string()), io::Error::other(why))
        };
        // Who is not in that name space is nobody's self there.
        let text = read_once(&path)?.ok_or_else(other)?;
        match text.lines().find_map(|line| line.strip_prefix("Pid:")).map(str::trim) {
            Some("-1") => Ok(false),
            Some(number) if number != pid.to_string() => Err(other()),
            // Before Linux 5.4 the kernel does not say.
            Some(_) | None => Ok(true),
        }
    }

    /// Clears the referenced marks of a process's pages, so that those touched afterwards can be told.
    pub fn clear_referenced(&mut self, process: &HeldProcess) -> io::Result<()> {
        let path = self.host.procfs.join(process.pid.to_string()).join("clear_refs");
        self.write(&path, "1")
    }

    /// Asks the kernel to move ranges of a process's memory out to swap; returns the bytes advised.
    pub fn page_out(&mut self, process: &HeldProcess, ranges: &[(u64, u64)]) -> io::Result<u64> {
        sys::advise(process.fd.as_fd(), ranges, sys::Advice::PageOut)
    }

    /// Tells the kernel that ranges of a process's memory are the first to go when memory is short, and clears their
    /// referenced marks; moves nothing.
    pub fn make_cold(&mut self, process: &HeldProcess, ranges: &[(u64, u64)]) -> io::Result<u64> {
        sys::advise(process.fd.as_fd(), ranges, sys::Advice::Cold)
    }

    /// Sends a signal to a process, which is the one that is held or none.
    pub fn signal(&mut self, process: &HeldProcess, signal: Signal) -> io::Result<()> {
        if process.pid == 1 || process.pid == std::process::id() {
            return Err(io::Error::other("never to PID 1, and never to Headroom itself"));
        }
        sys::signal_held(process.fd.as_fd(), signal)
    }

    /// Takes back the memory of a process that has got SIGKILL, without waiting until it gets to run.
    pub fn release_memory(&mut self, process: &HeldProcess) -> io::Result<()> {
        sys::process_mrelease(process.fd.as_fd())
    }

    /// Sets the nice value of a thread (of a process that is held, so that its number is not another one's).
    pub fn set_nice(&mut self, _of: &HeldProcess, thread: u32, nice: i32) -> io::Result<()> {
        Ok(setpriority_process(Some(number(thread)?), nice)?)
    }

    /// Sets the I/O priority of a thread of a process that is held.
    pub fn set_io_priority(&mut self, _of: &HeldProcess, thread: u32, priority: u16) -> io::Result<()> {
        sys::set_io_priority(number(thread)?.as_raw_nonzero().get(), priority)
    }
}

fn number(thread: u32) -> io::Result<Pid> {
    let number = i32::try_from(thread).ok().and_then(Pid::from_raw);
    number.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

impl HeldProcess {
    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it ends within this time: it, and all of its threads; nobody need have asked how.
    pub fn ends_within(&self, time: Duration) -> io::Result<bool> {
        let time = Timespec::try_from(time).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&time)) {
            Ok(ready) => Ok(ready > 0),
            // A signal for another thread of ours.
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    struct Sleeper(Child);

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ended = self.0.kill().and_then(|()| self.0.wait());
        }
    }

    #[test]
    fn a_handle_on_another_process_than_the_host_means_is_refused() {
        let sleeper = || Sleeper(Command::new("sleep").arg("600").spawn().unwrap());
        let (mut one, other) = (sleeper(), sleeper());
        let hand = Hand::new(Host::default());
        let held = sys::hold_process(number(one.0.id()).unwrap()).unwrap();
        assert!(hand.named(&held, one.0.id()).unwrap());
        // As where the number means one process here, and another one there.
        let why = hand.named(&held, other.0.id()).unwrap_err().to_string();
        assert!(why.contains("pid: host"), "{why}");
        one.0.kill().unwrap();
        one.0.wait().unwrap();
        assert!(!hand.named(&held, one.0.id()).unwrap(), "it has gone");
        // A copy of a /proc knows of no handles.
        let copy = tempfile::tempdir().unwrap();
        let hand = Hand::new(Host { procfs: copy.path().into(), ..Host::default() });
        assert!(hand.named(&held, 1).unwrap());
    }
}
