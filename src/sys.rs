//! System calls that no library wraps, and those that only Linux has. The only module with `unsafe`.
//!
//! Elsewhere its place is taken by `sys/elsewhere.rs`, which has the same names and no such calls.
#![expect(unsafe_code, reason = "raw system calls; each block says why it is sound")]

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::CString;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

pub mod child;
pub mod code;

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

/// A socket to ask a part of the kernel with.
pub fn netlink(part: Netlink) -> io::Result<OwnedFd> {
    let protocol: Option<Protocol> = match part {
        Netlink::Route => None, // NETLINK_ROUTE is 0.
        Netlink::SockDiag => Some(rustix::net::netlink::SOCK_DIAG),
        Netlink::Generic => Some(rustix::net::netlink::GENERIC),
    };
    socket(AddressFamily::NETLINK, SocketType::RAW, protocol)
}

/// What the kernel tells all who listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Changes of network devices (`RTMGRP_LINK`); rtnetlink(7).
    Links,
    /// Devices, classes and modules that come and go: the kernel's own uevents (udev's are another group).
    Arrivals,
}

/// A socket on which news arrives; to ask it never blocks.
pub fn listen(to: News) -> io::Result<OwnedFd> {
    let protocol = match to {
        News::Links => None, // NETLINK_ROUTE is 0.
        News::Arrivals => Some(rustix::net::netlink::KOBJECT_UEVENT),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    // The first group of either.
    rustix::net::bind(&socket, &rustix::net::netlink::SocketAddrNetlink::new(0, 1))?;
    Ok(socket)
}

/// The number of the network device that has this name at present.
pub fn device_number(socket: BorrowedFd<'_>, name: &str) -> io::Result<u32> {
    Ok(rustix::net::netdevice::name_to_index(socket, name)?)
}

/// How many datagrams the kernel dropped because a socket's buffer was full, since it was made; `None` where it does not say.
///
/// Source: socket(7), `SO_MEMINFO`; the ninth number is `SK_MEMINFO_DROPS`, since Linux 4.12.
pub fn dropped(socket: BorrowedFd<'_>) -> Option<u32> {
    let mut numbers = [0_u32; 9];
    let mut length = libc::socklen_t::try_from(size_of_val(&numbers)).ok()?;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_MEMINFO);
    // SAFETY: the kernel writes no more than `length` bytes to the numbers, and how many that were to `length`.
    let done = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, numbers.as_mut_ptr().cast(), &raw mut length)
    };
    let is_whole = usize::try_from(length).is_ok_and(|length| length >= size_of_val(&numbers));
    (done == 0 && is_whole).then_some(numbers[8])
}

/// A socket to ask the kernel about network devices with.
pub fn device_socket() -> io::Result<OwnedFd> {
    socket(AddressFamily::INET, SocketType::DGRAM, None)
}

fn socket(family: AddressFamily, kind: SocketType, protocol: Option<Protocol>) -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, protocol)?)
}

/// The name that a network device has at present.
pub fn device_name(socket: BorrowedFd<'_>, device: u32) -> io::Result<String> {
    Ok(rustix::net::netdevice::index_to_name(socket, device)?)
}

/// A handle on a process, which stays its own when its number is given to another one.
///
/// Source: pidfd_open(2).
pub fn hold_process(pid: Pid) -> io::Result<OwnedFd> {
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Sends a signal to a process by its handle; pidfd_send_signal(2).
pub fn signal_held(process: BorrowedFd<'_>, signal: rustix::process::Signal) -> io::Result<()> {
    Ok(rustix::process::pidfd_send_signal(process, signal)?)
}

/// Whether a directory is the root of a mounted proc file system, and not a copy of one.
pub fn is_procfs(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|s| s.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

/// Locks what this process has in memory, and what it touches later on; mlockall(2).
pub fn lock_memory() -> io::Result<()> {
    use rustix::mm::{MlockAllFlags, mlockall};
    Ok(mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)?)
}

/// Keeps the calling thread on one processor until it is dropped; then it may go where it might before.
#[derive(Debug)]
pub struct Stay(rustix::thread::CpuSet);

impl Drop for Stay {
    fn drop(&mut self) {
        // It was allowed before.
        let _free = rustix::thread::sched_setaffinity(None, &self.0);
    }
}

/// Moves the calling thread to a processor that it may run on, and keeps it there. Source: sched_setaffinity(2).
pub fn stay_on(processor: usize) -> io::Result<Stay> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let before = sched_getaffinity(None)?;
    if processor >= CpuSet::MAX_CPU || !before.is_set(processor) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut one = CpuSet::new();
    one.set(processor);
    sched_setaffinity(None, &one)?;
    Ok(Stay(before))
}

/// The most ranges that one call takes (`UIO_MAXIOV`).
pub const RANGES_MAX: usize = 1024;

/// What the kernel is told about another process's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// `MADV_COLD`: the first to go when memory is short.
    Cold,
    /// `MADV_PAGEOUT`: to be moved to swap now.
    PageOut,
}

/// Gives the kernel advice about memory of another process, and returns the bytes advised, which says nothing about the
/// bytes moved: without swap the call succeeds and does nothing.
///
/// Needs `CAP_SYS_NICE`, and `CAP_SYS_PTRACE` for another user's process. Source: process_madvise(2), madvise(2).
pub fn advise(process: BorrowedFd<'_>, ranges: &[(u64, u64)], advice: Advice) -> io::Result<u64> {
    let advice = match advice {
        Advice::Cold => libc::MADV_COLD,
        Advice::PageOut => libc::MADV_PAGEOUT,
    };
    let vectors: Vec<libc::iovec> = ranges
        .iter()
        .take(RANGES_MAX)
        .filter_map(|&(start, end)| {
            let length = usize::try_from(end.checked_sub(start)?).ok()?;
            let base = usize::try_from(start).ok()?;
            Some(libc::iovec { iov_base: std::ptr::without_provenance_mut(base), iov_len: length })
        })
        .collect();
    // SAFETY: `vectors` outlives the call. Its addresses are those of another process; the kernel checks them there and
    // never writes through them here. Neither advice changes the contents of memory.
    let advised = unsafe {
        libc::syscall(
            libc::SYS_process_madvise,
            process.as_raw_fd(),
            vectors.as_ptr(),
            vectors.len(),
            advice,
            0_u32,
        )
    };
    u64::try_from(advised).map_err(|_| io::Error::last_os_error())
}

/// The process that connected a socket (AF_UNIX), as it was then: 0 if it is in a name space of processes that is not ours.
///
/// Source: unix(7), `SO_PEERCRED`. rustix has it with a number that cannot be 0.
pub fn peer(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `length` bytes to `peer`, which has as many and outlives the call; every pattern
    // of bits is a good one of it.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    if answer == 0 { Ok(peer.pid.unsigned_abs()) } else { Err(io::Error::last_os_error()) }
}

/// Takes back the memory of a process that is being killed at once, instead of when it gets to run.
///
/// Source: process_mrelease(2), Linux 5.15. EINVAL if the process is not about to end, ESRCH if it has ended.
pub fn process_mrelease(process: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the call takes two integers and touches no memory of this process.
    let answer = unsafe { libc::syscall(libc::SYS_process_mrelease, process.as_raw_fd(), 0_u32) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

const IOPRIO_WHO_PROCESS: libc::c_int = 1;

/// A thread's I/O priority: its class in the bits from 13 on, and the level in it; 0 if none was ever set.
///
/// Source: ioprio_get(2).
pub fn io_priority(thread: i32) -> io::Result<u16> {
    // SAFETY: the call takes two integers and touches no memory of this process.
    let answer = unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, thread) };
    u16::try_from(answer).map_err(|_| io::Error::last_os_error())
}

/// Sets a thread's I/O priority. Source: ioprio_set(2).
pub fn set_io_priority(thread: i32, priority: u16) -> io::Result<()> {
    // SAFETY: the call takes three integers and touches no memory of this process.
    let answer = unsafe {
        libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, thread, libc::c_int::from(priority))
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Swaps on a device that bears a swap's signature. Needs `CAP_SYS_ADMIN`. Source: swapon(2).
pub fn swap_on(device: &Path, priority: u16) -> io::Result<()> {
    /// `SWAP_FLAG_PREFER`: the lower 15 bits are a priority. `linux/swap.h`; libc has no name for it.
    const PREFER: libc::c_int = 0x8000;
    let path = CString::new(device.as_os_str().as_bytes())?;
    // SAFETY: `path` ends with a 0 and outlives the call, which reads it and nothing else.
    match unsafe { libc::swapon(path.as_ptr(), PREFER | libc::c_int::from(priority & 0x7fff)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Swaps no more on a device. Needs `CAP_SYS_ADMIN`. Source: swapoff(2).
pub fn swap_off(device: &Path) -> io::Result<()> {
    let path = CString::new(device.as_os_str().as_bytes())?;
    // SAFETY: as in `swap_on`.
    match unsafe { libc::swapoff(path.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Words in the answer of [`btrfs_file_system`] (`struct btrfs_ioctl_fs_info_args`).
pub const BTRFS_FILE_SYSTEM: usize = 128;
/// Words in the answer of [`btrfs_device`] (`struct btrfs_ioctl_dev_info_args`).
pub const BTRFS_DEVICE: usize = 512;
/// Words in the answer of [`btrfs_device_errors`] (`struct btrfs_ioctl_get_dev_stats`).
pub const BTRFS_DEVICE_ERRORS: usize = 129;
const BTRFS: u8 = 0x94;

/// What btrfs says about the file system that `fd` is of: `BTRFS_IOC_FS_INFO` of `linux/btrfs.h`.
pub fn btrfs_file_system(fd: BorrowedFd<'_>) -> io::Result<[u64; BTRFS_FILE_SYSTEM]> {
    const FS_INFO: Opcode = opcode::read::<[u64; BTRFS_FILE_SYSTEM]>(BTRFS, 31);
    let mut words = [0; BTRFS_FILE_SYSTEM];
    // SAFETY: the kernel writes at most the size that is part of the number of the call, which is that of `words`; every
    // pattern of bits is a good word. On other file systems the number is not known, and the call an error.
    unsafe { ioctl(fd, Updater::<FS_INFO, _>::new(&mut words)) }?;
    Ok(words)
}

/// What btrfs says about its device `id`: `BTRFS_IOC_DEV_INFO`. ENODEV if it has no such device.
pub fn btrfs_device(fd: BorrowedFd<'_>, id: u64) -> io::Result<[u64; BTRFS_DEVICE]> {
    const DEV_INFO: Opcode = opcode::read_write::<[u64; BTRFS_DEVICE]>(BTRFS, 30);
    let mut words = [0; BTRFS_DEVICE];
    // An all-zero UUID asks for any device of that number.
    let [asked, ..] = &mut words;
    *asked = id;
    // SAFETY: as in `btrfs_file_system`.
    unsafe { ioctl(fd, Updater::<DEV_INFO, _>::new(&mut words)) }?;
    Ok(words)
}

/// How many errors btrfs counted on its device `id`, without resetting them: `BTRFS_IOC_GET_DEV_STATS`.
pub fn btrfs_device_errors(fd: BorrowedFd<'_>, id: u64) -> io::Result<[u64; BTRFS_DEVICE_ERRORS]> {
    const GET_DEV_STATS: Opcode = opcode::read_write::<[u64; BTRFS_DEVICE_ERRORS]>(BTRFS, 52);
    let mut words = [0; BTRFS_DEVICE_ERRORS];
    let [asked, counts, ..] = &mut words;
    (*asked, *counts) = (id, 5);
    // SAFETY: as in `btrfs_file_system`.
    unsafe { ioctl(fd, Updater::<GET_DEV_STATS, _>::new(&mut words)) }?;
    Ok(words)
}

/// Lets a child get SIGTERM when the thread that starts it ends, so that `kill -9` of the parent leaves no orphan behind.
///
/// Source: prctl(2), `PR_SET_PDEATHSIG`.
pub fn end_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let prepare = move || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
        // The parent may have ended before the signal was arranged.
        let now = rustix::process::getppid().map(|p| p.as_raw_nonzero().get().unsigned_abs());
        if now == Some(parent) { Ok(()) } else { Err(io::Error::from(io::ErrorKind::NotFound)) }
    };
    // SAFETY: between fork and exec only system calls are made that are safe after a fork (prctl, getppid); nothing is
    // allocated and no lock is taken.
    unsafe {
        command.pre_exec(prepare);
    }
}

/// What is asked about a network device with [`ethtool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ethtool {
    /// `struct ethtool_cmd`: what the link can do.
    Link,
    /// `struct ethtool_drvinfo`: the driver, and how many counts it has.
    Driver,
    /// `struct ethtool_gstrings` of the counts' names, 32 bytes each.
    Names,
    /// `struct ethtool_stats`: the counts, 8 bytes each.
    Counts,
}

/// The most counts that a driver may have: beyond, [`ethtool`] must not be asked for them.
pub const ETHTOOL_COUNTS_MAX: usize = 1 << 14;

/// The kernel's structure that answers the question, from its first byte to the last that it may have written.
///
/// Source: `include/uapi/linux/ethtool.h`.
pub fn ethtool(socket: BorrowedFd<'_>, device: &str, question: Ethtool) -> io::Result<Vec<u8>> {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    const STRING_SET_STATS: u32 = 1;
    // The kernel writes as many names and counts as the driver has at that moment, whatever the caller asked for. Twice the
    // most is room for a driver that was given more queues since it was asked how many it has; what is not written costs
    // addresses and no memory.
    let (command, bytes) = match question {
        Ethtool::Link => (0x1_u32, 44),
        Ethtool::Driver => (0x3, 196),
        Ethtool::Names => (0x1b, 12 + 32 * 2 * ETHTOOL_COUNTS_MAX),
        Ethtool::Counts => (0x1d, 8 + 8 * 2 * ETHTOOL_COUNTS_MAX),
    };
    let mut buffer = vec![0_u8; bytes];
    // Of counts the second word is how many the caller expects; some kernels answer none if there are others. 0 is any.
    let set = if question == Ethtool::Names { STRING_SET_STATS } else { 0 };
    for (slot, byte) in buffer.iter_mut().zip([command, set].into_iter().flat_map(u32::to_ne_bytes)) {
        *slot = byte;
    }
    // SAFETY: an `ifreq` is plain data, for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte stays 0: the name ends there.
    let (room, name) = (request.ifr_name.len() - 1, device.as_bytes());
    if name.len() > room || name.contains(&0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(name) {
        *slot = libc::c_char::from_ne_bytes([*byte]);
    }
    request.ifr_ifru.ifru_data = buffer.as_mut_ptr().cast();
    // SAFETY: `request` and the buffer it points to outlive the call. The buffer is as long as the structure of the question;
    // for those without a fixed length see above.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(buffer) }
}

/// The kernel's clock as `adjtimex` describes it, without changing it; and whether it is synchronized.
///
/// Source: adjtimex(2).
pub fn clock() -> io::Result<(libc::timex, bool)> {
    // SAFETY: `timex` consists of integers alone, for which zero is a value; `modes` of 0 changes nothing.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes into `timex` and nowhere else, and forgets its address when the call returns.
    match unsafe { libc::adjtimex(&raw mut timex) } {
        -1 => Err(io::Error::last_os_error()),
        state => Ok((timex, state != libc::TIME_ERROR)),
    }
}

/// The most sockets that a process is handed over.
const INHERITED_MAX: u32 = 64;

/// The listening TCP sockets that this process was started with, as systemd hands them over: from descriptor 3 on. They
/// are made not to block and not to be passed on. A descriptor that is none is an error. To be called once: what it gives
/// owns the descriptors. Source: sd_listen_fds(3).
pub fn inherited_sockets(count: u32) -> io::Result<Vec<TcpListener>> {
    let wrong = |what: &str, fd: i32| io::Error::other(format!("descriptor {fd} is no {what}"));
    if count > INHERITED_MAX {
        return Err(io::Error::other(format!("more than {INHERITED_MAX} of them")));
    }
    let first = libc::STDERR_FILENO + 1;
    (first..)
        .take(usize::try_from(count).unwrap_or_default())
        .map(|fd| {
            // SAFETY: it is only asked what it is; a number that is no open descriptor is answered EBADF.
            let asked = unsafe { BorrowedFd::borrow_raw(fd) };
            let listens = rustix::net::sockopt::socket_acceptconn(asked).unwrap_or(false);
            let domain = rustix::net::sockopt::socket_domain(asked).ok();
            if !listens || !domain.is_some_and(|d| d == AddressFamily::INET || d == AddressFamily::INET6) {
                return Err(wrong("listening TCP socket", fd));
            }
            // SAFETY: it is open, and a listening socket that whoever started this process gave to it for this: nothing here
            // listens before, so nobody else has it.
            let socket = unsafe { TcpListener::from_raw_fd(fd) };
            rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })
        .collect()
}
