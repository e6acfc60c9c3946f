//! System calls that no library wraps. The only module with `unsafe`.
#![expect(unsafe_code, reason = "raw system calls; each block says why it is sound")]

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

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
