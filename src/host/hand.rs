//! The hand that changes the host: writes to kernel files, advice to processes. Only the executor owns one.

use super::{Host, HostError, proc};
use crate::sys;
use rustix::process::Pid;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The right to change the host. What holds none can only look.
#[derive(Debug)]
pub struct Hand {
    host: Host,
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
        Self { host }
    }

    /// The host, to look at it.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Writes `text` to an existing kernel file, in one system call; the answer is the kernel's own.
    pub fn write(&mut self, path: &Path, text: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        let written = file.write(text.as_bytes())?;
        if written == text.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
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
        // The handle first, then the look: a number that was given to another process in between shows here.
        let same = proc::stat_of(&self.host, pid)?.is_some_and(|s| s.start_ticks == start_ticks);
        Ok(same.then_some(HeldProcess { pid, fd }))
    }

    /// Clears the referenced marks of a process's pages, so that those touched afterwards can be told.
    pub fn clear_referenced(&mut self, process: &HeldProcess) -> io::Result<()> {
        let path = self.host.procfs.join(process.pid.to_string()).join("clear_refs");
        self.write(&path, "1")
    }

    /// Asks the kernel to move ranges of a process's memory out to swap; returns the bytes advised.
    pub fn page_out(&mut self, process: &HeldProcess, ranges: &[(u64, u64)]) -> io::Result<u64> {
        sys::page_out(process.fd.as_fd(), ranges)
    }
}

impl HeldProcess {
    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }
}
