//! What stands in the place of Linux's system calls on a system that has none of them: every one is refused.
//!
//! So whatever asks for them needs to know nothing of systems: to it, they are as on a kernel without that part.

use rustix::process::Pid;
use std::io;
use std::net::TcpListener;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Command;

/// A part of the kernel that answers over netlink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Netlink {
    /// Devices, addresses, routes, neighbours.
    Route,
    /// Sockets.
    SockDiag,
    /// Whatever has a family of its own, found by name.
    Generic,
}

/// Refused: there is no netlink.
pub fn netlink(_: Netlink) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What the kernel tells all who listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Changes of network devices.
    Links,
    /// Devices, classes and modules that come and go.
    Arrivals,
}

/// Refused: nothing is told that way.
pub fn listen(_: News) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Refused: devices are not asked that way.
pub fn device_number(_: BorrowedFd<'_>, _: &str) -> io::Result<u32> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Not known: other kernels count that for all sockets together.
pub fn dropped(_: BorrowedFd<'_>) -> Option<u32> {
    None
}

/// Refused: devices are not asked that way.
pub fn device_socket() -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Refused, as the socket is.
pub fn device_name(_: BorrowedFd<'_>, _: u32) -> io::Result<String> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Refused: a socket says other things of who connected it.
pub fn peer(_: BorrowedFd<'_>) -> io::Result<u32> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Refused: there are no handles on processes.
pub fn hold_process(_: Pid) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// There is no proc file system; what is at the path may be a copy of one.
pub fn is_procfs(_: &Path) -> bool {
    false
}

/// The most ranges that one call takes.
pub const RANGES_MAX: usize = 1024;

/// What the kernel would be told about memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// That it is the first to go.
    Cold,
    /// That it is to go now.
    PageOut,
}

/// Refused: other processes' memory takes no advice.
pub fn advise(_: BorrowedFd<'_>, _: &[(u64, u64)], _: Advice) -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Refused: swap is the system's own matter.
pub fn swap_on(_: &Path, _: u16) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Refused: swap is the system's own matter.
pub fn swap_off(_: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Words in the answer of [`btrfs_file_system`].
pub const BTRFS_FILE_SYSTEM: usize = 128;
/// Words in the answer of [`btrfs_device`].
pub const BTRFS_DEVICE: usize = 512;
/// Words in the answer of [`btrfs_device_errors`].
pub const BTRFS_DEVICE_ERRORS: usize = 129;

/// Refused: there is no btrfs.
pub fn btrfs_file_system(_: BorrowedFd<'_>) -> io::Result<[u64; BTRFS_FILE_SYSTEM]> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Refused: there is no btrfs.
pub fn btrfs_device(_: BorrowedFd<'_>, _: u64) -> io::Result<[u64; BTRFS_DEVICE]> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Refused: there is no btrfs.
pub fn btrfs_device_errors(_: BorrowedFd<'_>, _: u64) -> io::Result<[u64; BTRFS_DEVICE_ERRORS]> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Nothing: a child is not told here when its parent ends.
pub fn end_with_parent(_: &mut Command) {}

/// Nothing to take away: this system has no such rights, and no program of ours runs with a rank.
pub mod child {
    use std::process::Command;

    /// The command stays as it is.
    pub fn ordinary(_: &mut Command) {}

    /// The user and group of `login`; there are no capabilities here.
    pub fn without_privileges(command: &mut Command, login: Option<(u32, u32)>) {
        use std::os::unix::process::CommandExt;
        if let Some((uid, gid)) = login {
            command.uid(uid).gid(gid);
        }
    }
}

/// What is asked about a network device with [`ethtool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ethtool {
    /// What the link can do.
    Link,
    /// The driver, and how many counts it has.
    Driver,
    /// The counts' names.
    Names,
    /// The counts.
    Counts,
}

/// The most counts that a driver may have.
pub const ETHTOOL_COUNTS_MAX: usize = 1 << 14;

/// Refused: devices are not asked that way.
pub fn ethtool(_: BorrowedFd<'_>, _: &str, _: Ethtool) -> io::Result<Vec<u8>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Refused: there is no systemd.
pub fn inherited_sockets(_: u32) -> io::Result<Vec<TcpListener>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Refused: there are no handles on processes.
pub fn signal_held(_: BorrowedFd<'_>, _: rustix::process::Signal) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Refused: there are no handles on processes.
pub fn process_mrelease(_: BorrowedFd<'_>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A thread that is kept on one processor.
#[derive(Debug)]
pub struct Stay;

/// Refused: threads go where the system wants them.
pub fn stay_on(_: usize) -> io::Result<Stay> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Refused: disks know no such priorities.
pub fn io_priority(_: i32) -> io::Result<u16> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Refused: disks know no such priorities.
pub fn set_io_priority(_: i32, _: u16) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Refused: what is touched later cannot be locked alone.
pub fn lock_memory() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The program's own code in memory, which is left as it is.
pub mod code {
    use std::io;
    use std::ops::Range;

    /// There is none that could be let go.
    #[derive(Debug, PartialEq, Eq)]
    pub enum Segment {}

    /// None.
    pub fn segments() -> Vec<Segment> {
        Vec::new()
    }

    impl Segment {
        /// Of no pages.
        pub fn pages(&self) -> Range<usize> {
            match *self {}
        }

        /// In no pieces.
        pub fn pieces(self, _: usize) -> impl Iterator<Item = Segment> {
            std::iter::once(self)
        }

        /// Nothing to let go.
        pub fn let_go(&self) -> io::Result<()> {
            match *self {}
        }

        /// Nothing to let go.
        pub fn let_go_by_page(&self) -> io::Result<()> {
            match *self {}
        }

        /// Nothing to settle.
        pub fn settle(&self) -> io::Result<()> {
            match *self {}
        }
    }

    /// Nothing: the allocator does it by itself.
    pub fn return_freed_memory() {}
}
