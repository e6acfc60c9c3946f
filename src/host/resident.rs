//! How this process comes to act while memory is short: its own is locked, its turn comes early, and it is not the first
//! that the kernel kills.

use super::hand::Hand;
use super::read_once;
use crate::sys;
use rustix::process::{Resource, getpid, getpriority_process, getrlimit, setpriority_process};
use std::io;
use std::path::Path;
use std::process::Command;

/// CAP_IPC_LOCK in the masks of /proc/PID/status.
const IPC_LOCK: u32 = 14;
/// Enough to be asked before all that is as it was started.
const NICE: i32 = -10;
/// Before all others at a disk: the lowest level of the class for real time, which few programs are in. It wants CAP_SYS_NICE.
const DISK_FIRST: u16 = 1 << 13 | 7;
/// The best that anybody may have without.
const DISK_BEST: u16 = 2 << 13;
/// This process's own, whatever host is looked at.
const OOM_SCORE_ADJ: &str = "/proc/self/oom_score_adj";

/// Locks what this process has in memory, and all that it will touch. What it has not touched stays unlocked and costs
/// nothing.
///
/// Only without a limit: below one, what is mapped later (a thread's stack, for example) would fail.
pub fn lock() -> io::Result<()> {
    let unlimited = getrlimit(Resource::Memlock).current.is_none();
    if !unlimited && !may_lock() {
        return Err(io::Error::other(
            "RLIMIT_MEMLOCK is limited; it needs CAP_IPC_LOCK, or LimitMEMLOCK=infinity in the unit",
        ));
    }
    sys::lock_memory()
}

fn may_lock() -> bool {
    let status = read_once(Path::new("/proc/self/status")).ok().flatten().unwrap_or_default();
    let mask = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok()).is_some_and(|m| m & (1 << IPC_LOCK) != 0)
}

/// Puts the calling thread before others that wait for a processor or a disk: those that stall for memory are many, reclaim by
/// themselves all the time, and read again what was taken from them, while an action waits for its intent to be on that disk.
/// Needs CAP_SYS_NICE.
pub fn hurry() -> io::Result<()> {
    // Where the disk's scheduler asks for no priority, there is none to have.
    let _asked = sys::set_io_priority(0, DISK_FIRST).or_else(|_| sys::set_io_priority(0, DISK_BEST));
    // On Linux, of nobody is of the calling thread.
    Ok(setpriority_process(None, NICE)?)
}

/// What had to be on a disk is there: from here on the calling thread, and what it starts, waits there like all others.
pub fn written() {
    // Where it is not allowed there was none to give back.
    let _usual =
        sys::io_priority(getpid().as_raw_nonzero().get()).and_then(|own| sys::set_io_priority(0, own));
}

/// Gives the calling thread the turn again that the process's first thread has: what it does next is in no hurry, and is not to
/// keep others waiting who are.
pub fn relax() -> io::Result<()> {
    written();
    let usual = getpriority_process(Some(getpid()))?;
    Ok(setpriority_process(None, usual)?)
}

/// Lowers the score by which the kernel picks whom to kill, if it is above `score`; whether it is low enough now.
pub fn spare(hand: &mut Hand, score: i32) -> io::Result<()> {
    let path = Path::new(OOM_SCORE_ADJ);
    let now = read_once(path).ok().flatten().and_then(|t| t.trim().parse::<i32>().ok());
    if now.is_some_and(|now| now <= score) { Ok(()) } else { hand.write(path, &score.to_string()) }
}

/// Lets a program that is about to start have none of this, and none of this process's capabilities.
pub fn be_ordinary(command: &mut Command) {
    sys::child::ordinary(command);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hurry_ends_where_it_began() {
        let usual = getpriority_process(None).unwrap();
        let thread = std::thread::spawn(move || {
            // Where it is not allowed there is nothing to end.
            let hurried = hurry().is_ok();
            assert_eq!(getpriority_process(None).unwrap(), if hurried { NICE } else { usual });
            assert!([DISK_FIRST, DISK_BEST].contains(&sys::io_priority(0).unwrap()));
            written();
            assert_eq!(getpriority_process(None).unwrap(), if hurried { NICE } else { usual });
            relax().unwrap();
            (getpriority_process(None).unwrap(), sys::io_priority(0).unwrap())
        });
        let disk = sys::io_priority(getpid().as_raw_nonzero().get()).unwrap();
        assert_eq!(thread.join().unwrap(), (usual, disk));
    }

    #[test]
    fn the_right_to_lock_is_read_from_the_mask() {
        // Root has all rights in most test machines; either way it must agree with the kernel's own answer.
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let mask = status.lines().find_map(|l| l.strip_prefix("CapEff:\t")).unwrap();
        assert_eq!(may_lock(), u64::from_str_radix(mask, 16).unwrap() >> 14 & 1 == 1);
    }
}
