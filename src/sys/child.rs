//! What a program that is started must not have of this process: its rank before others, and its rights.
//!
//! Source: prctl(2), `PR_CAP_AMBIENT`; `Documentation/filesystems/proc.rst`, `oom_score_adj`.

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{getpriority_process, setpriority_process};
use std::ffi::CStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// How likely the kernel is to end this process before others.
const SCORE: &CStr = c"/proc/self/oom_score_adj";

/// Lets a program begin as any other of its user: without this process's capabilities (but the user root has all that there
/// are), not before others when processors are short, and not spared when memory is.
pub fn ordinary(command: &mut Command) {
    // SAFETY: between fork and exec only system calls are made that are safe after a fork (prctl, getpriority, setpriority,
    // ioprio_get, ioprio_set, open, read, write, close); nothing is allocated and no lock is taken.
    unsafe {
        command.pre_exec(begin);
    }
}

/// Lets a child have none of this process's rights: no ambient capabilities, nothing that a set-user-id program would add,
/// the user and group of `login` where one is given, without other groups, and no exception from the out-of-memory killer.
///
/// Source: capabilities(7), prctl(2) (`PR_SET_NO_NEW_PRIVS`, `PR_CAP_AMBIENT`).
pub fn without_privileges(command: &mut Command, login: Option<(u32, u32)>) {
    ordinary(command);
    if let Some((uid, gid)) = login {
        command.uid(uid).gid(gid);
    }
    // SAFETY: between fork and exec only a system call is made (prctl).
    unsafe {
        command.pre_exec(|| Ok(rustix::thread::set_no_new_privs(true)?));
    }
}

/// What the child does before it becomes the program. It all holds before the first instruction of that, so nothing that it
/// starts can have more.
fn begin() -> io::Result<()> {
    clear_ambient()?;
    if getpriority_process(None)? < 0 {
        setpriority_process(None, 0)?;
    }
    be_no_earlier_at_disks();
    // What is not allowed (a kernel without it, another /proc) leaves it where its parent is.
    let _as_it_is = be_as_likely_as_others(SCORE);
    Ok(())
}

fn clear_ambient() -> io::Result<()> {
    // SAFETY: this call takes no memory; it changes the calling thread's credentials alone.
    let done = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    match io::Error::last_os_error() {
        _ if done == 0 => Ok(()),
        // A kernel before 4.3 has no such set.
        e if e.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        e => Err(e),
    }
}

/// One that its parent has for itself: before others. One that was given to the whole process, to be later than others, stays.
fn be_no_earlier_at_disks() {
    const REAL_TIME: u16 = 1;
    const BEST_EFFORT: u16 = 2;
    let early = |own: u16| own >> 13 == REAL_TIME || own == BEST_EFFORT << 13;
    if super::io_priority(0).is_ok_and(early) {
        // What its nice value says; a kernel that allows no change gave no class either.
        let _as_it_is = super::set_io_priority(0, 0);
    }
}

/// Above 0 it stays: such a program wants to go first.
fn be_as_likely_as_others(score: &CStr) -> rustix::io::Result<()> {
    let file = open(score, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut first = [0; 1];
    if rustix::io::read(&file, &mut first)? == 1 && first == *b"-" {
        let file = open(score, OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(&file, b"0")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{read_to_string, write};

    /// CAP_KILL, and where capget(2) has the sets of the first 32.
    const KILL: u32 = 5;

    #[repr(C)]
    struct Head(u32, i32);

    /// Makes CAP_KILL ambient for this thread, if it may.
    fn make_ambient() -> bool {
        let (head, mut sets) = (Head(0x2008_0522, 0), [0_u32; 6]);
        // SAFETY: the kernel's structures of version 3: two times effective, permitted and inheritable.
        unsafe {
            libc::syscall(libc::SYS_capget, &raw const head, sets.as_mut_ptr());
            sets[2] |= 1 << KILL;
            libc::syscall(libc::SYS_capset, &raw const head, sets.as_ptr());
            libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, KILL, 0, 0) == 0
        }
    }

    #[test]
    fn only_a_score_that_spares_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("score");
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        for (before, after) in [("-500\n", "0"), ("-1\n", "0"), ("0\n", "0\n"), ("300\n", "300\n")] {
            write(&path, before).unwrap();
            be_as_likely_as_others(&name).unwrap();
            assert_eq!(read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn a_program_has_neither_this_processs_rank_nor_its_rights() {
        let own = "/proc/self/oom_score_adj";
        let before = read_to_string(own).unwrap();
        // Whatever of it this machine allows; the kernel asks threads for their own rank and rights.
        let said = std::thread::spawn(move || {
            let ambient = make_ambient();
            let early = setpriority_process(None, -5).is_ok();
            let at_disks = crate::sys::set_io_priority(0, 2 << 13).is_ok();
            let spared = write(own, "-1").is_ok();
            let mut command = Command::new("/bin/sh");
            command.args([
                "-c",
                "grep CapAmb /proc/self/status; cat /proc/self/oom_score_adj /proc/self/stat; ionice -p $$",
            ]);
            ordinary(&mut command);
            let output = command.output().unwrap();
            let _as_before = spared.then(|| write(own, &before).unwrap());
            (ambient, early, spared, at_disks, String::from_utf8(output.stdout).unwrap())
        });
        let (ambient, early, spared, at_disks, said) = said.join().unwrap();
        let lines: Vec<&str> = said.lines().collect();
        if ambient {
            assert_eq!(lines[0], "CapAmb:\t0000000000000000");
        }
        if spared {
            assert_eq!(lines[1], "0");
        }
        if early {
            let nice = lines[2].rsplit_once(')').unwrap().1.split_whitespace().nth(16);
            assert_eq!(nice, Some("0"), "{said}");
        }
        if let Some(class) = lines.get(3).filter(|_| at_disks) {
            assert_eq!(*class, "none: prio 0");
        }
    }
}
