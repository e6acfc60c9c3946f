//! What a thread is given of processors and disks: its nice value and its I/O priority.
//!
//! Sources: `Documentation/filesystems/proc.rst`, ioprio_set(2).

use super::tree::Tree;
use super::{Host, HostError, ParseError, proc};
use crate::host::parse::number;
use crate::sys;
use serde::{Deserialize, Serialize};

/// I/O when nobody else wants any.
pub const IO_IDLE: u16 = 3 << 13;
/// I/O as the last of those that share it.
pub const IO_LOWEST: u16 = 2 << 13 | 7;
/// I/O before everybody else's; threads that have it are special.
pub const IO_REAL_TIME: u16 = 1 << 13;

/// A thread and what it is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// Its number.
    pub tid: u32,
    /// When it began, in clock ticks since boot.
    pub start_ticks: u64,
    /// From -20 (much processor time) to 19 (what is left).
    pub nice: i32,
    /// Its I/O priority, as the kernel writes it; 0 is none of its own. Absent where it cannot be asked.
    pub io: Option<u16>,
}

/// A thread of a process; `None` when it is not there.
pub fn thread_of(host: &Host, pid: u32, tid: u32) -> Result<Option<Thread>, HostError> {
    let (mut tree, text) = (Tree::new(&host.procfs), tid.to_string());
    let read = proc::parsed(&mut tree, &[&pid.to_string(), "task", &text, "stat"], parse)?;
    Ok(read.map(|(start_ticks, nice)| {
        let io = i32::try_from(tid).ok().and_then(|t| sys::io_priority(t).ok());
        Thread { tid, start_ticks, nice, io }
    }))
}

/// The threads of a process, at most `most` of them; none when it is not there.
pub fn threads_of(host: &Host, pid: u32, most: usize) -> Result<Vec<Thread>, HostError> {
    let tids = proc::threads(&mut Tree::new(&host.procfs), &pid.to_string())?.unwrap_or_default();
    let mut out = Vec::new();
    for tid in tids.into_iter().take(most) {
        out.extend(thread_of(host, pid, tid)?);
    }
    Ok(out)
}

/// Start and nice value (fields 22 and 19) of a `stat` file.
fn parse(text: &str) -> Result<(u64, i32), ParseError> {
    let bad = || ParseError::new(1, "`tid (comm) state numbers…`");
    let (_, tail) = text.rsplit_once(')').ok_or_else(bad)?;
    // The first word behind the name is field 3.
    let mut words = tail.split_ascii_whitespace().skip(19 - 3);
    let nice = words.next().and_then(|w| w.parse().ok());
    let nice = nice.ok_or_else(|| ParseError::new(1, "field 19, the nice value"))?;
    Ok((number(words.nth(2), 1, "field 22, start time")?, nice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nice_value_may_be_negative_and_a_name_hold_anything() {
        let line = "7 (a) 9) S 1 7 7 0 -1 64 5 9 7 3 21 34 1 2 20 -5 8 0 123456 40 250 1";
        assert_eq!(parse(line), Ok((123_456, -5)));
        assert!(parse("7 (a) S 1 2").is_err() && parse("").is_err());
    }

    #[test]
    fn this_thread_knows_itself() {
        let (host, me) = (Host::default(), std::process::id());
        let threads = threads_of(&host, me, usize::MAX).unwrap();
        let main = threads.iter().find(|t| t.tid == me).unwrap();
        assert_eq!(main.start_ticks, proc::stat_of(&host, me).unwrap().unwrap().start_ticks);
        assert!(main.io.is_some() && (-20..20).contains(&main.nice));
        assert_eq!(threads_of(&host, me, 1).unwrap().len(), 1);
        assert_eq!(thread_of(&host, me, u32::MAX).unwrap(), None);
    }
}
