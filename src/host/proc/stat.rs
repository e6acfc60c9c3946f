//! What /proc/PID/stat says: state, faults, processor time, threads, start and size of a process.

use crate::host::ParseError;
use crate::host::parse::number;

/// The flag of the kernel's own threads (`PF_KTHREAD` in `include/linux/sched.h`).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// One process as its `stat` file tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The command's name, at most 15 bytes (more for kernel workers); may hold anything.
    pub comm: String,
    /// `R`, `S`, `D`, `Z`, … as ps prints it.
    pub state: char,
    /// The process that started it, or that took it over when that one ended; 0 is nobody.
    pub parent: u32,
    /// Whether it is a thread of the kernel.
    pub kernel_thread: bool,
    /// Page faults that needed no disk.
    pub minor_faults: u64,
    /// Page faults that needed a disk.
    pub major_faults: u64,
    /// Processor time in user mode, in clock ticks.
    pub user_ticks: u64,
    /// Processor time in kernel mode, in clock ticks.
    pub system_ticks: u64,
    /// The number of threads.
    pub threads: u64,
    /// The start after boot, in clock ticks; with the pid it names a process for good.
    pub start_ticks: u64,
    /// The size of the address space.
    pub virtual_bytes: u64,
    /// The resident set, as exact as the kernel keeps it without walking the page tables.
    pub resident_bytes: u64,
}

/// Parses /proc/PID/stat. The name stands in parentheses and may hold spaces and parentheses
/// itself, so the last closing one ends it.
pub fn stat(text: &str) -> Result<Stat, ParseError> {
    let bad = || ParseError::new(1, "`pid (comm) state numbers…`");
    let (head, tail) = text.rsplit_once(')').ok_or_else(bad)?;
    let (_, comm) = head.split_once('(').ok_or_else(bad)?;
    let mut words = tail.split_ascii_whitespace();
    let state = words.next().and_then(|w| w.chars().next()).ok_or_else(bad)?;
    // `state` is field 3 of the table in proc.rst; each skip below counts the fields passed over.
    let mut field = |skip: usize, want: &str| number::<u64>(words.nth(skip), 1, want);
    let parent = field(0, "field 4, the parent's id")?;
    let parent = u32::try_from(parent).map_err(|_| ParseError::new(1, "field 4, the parent's id"))?;
    let flags = field(4, "field 9, flags")?;
    let minor_faults = field(0, "field 10, minor faults")?;
    let major_faults = field(1, "field 12, major faults")?;
    let user_ticks = field(1, "field 14, user time")?;
    let system_ticks = field(0, "field 15, system time")?;
    let threads = field(4, "field 20, threads")?;
    let start_ticks = field(1, "field 22, start time")?;
    let virtual_bytes = field(0, "field 23, size in bytes")?;
    let resident_pages = field(0, "field 24, resident pages")?;
    let page_bytes = rustix::param::page_size() as u64;
    let resident_bytes = resident_pages.checked_mul(page_bytes).ok_or_else(bad)?;
    let comm = comm.to_owned();
    Ok(Stat {
        comm,
        state,
        parent,
        kernel_thread: flags & KERNEL_THREAD != 0,
        minor_faults,
        major_faults,
        user_ticks,
        system_ticks,
        threads,
        start_ticks,
        virtual_bytes,
        resident_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "4711 (a) b (c)) S 1 4711 4711 0 -1 4194560 5120 99 7 3 21 34 1 2 20 0 8 0 \
                        123456 4096000 250 18446744073709551615 1 1 0 0 0 0 0 4096 1260 0 0 0 17 1 0 0 0 0 0\n";

    #[test]
    fn a_name_may_hold_spaces_and_parentheses() {
        let stat = stat(LINE).unwrap();
        assert_eq!((stat.comm.as_str(), stat.state), ("a) b (c)", 'S'));
        assert_eq!((stat.parent, stat.minor_faults, stat.major_faults), (1, 5120, 7));
        assert_eq!((stat.user_ticks, stat.system_ticks), (21, 34));
        assert_eq!((stat.threads, stat.start_ticks), (8, 123_456));
        assert_eq!(stat.virtual_bytes, 4_096_000);
        assert!(!stat.kernel_thread);
        assert_eq!(stat.resident_bytes, 250 * rustix::param::page_size() as u64);
    }

    #[test]
    fn a_thread_of_the_kernel_is_known_by_its_flag() {
        assert!(stat(&LINE.replace("4194560", "2129984")).unwrap().kernel_thread);
        assert!(stat(&LINE.replace("4194560", "69238880")).unwrap().kernel_thread);
    }

    #[test]
    fn a_line_cut_anywhere_before_the_resident_pages_is_an_error() {
        let resident = LINE.find("250").unwrap();
        for end in 0..resident {
            assert!(stat(&LINE[..end]).is_err(), "{}", &LINE[..end]);
        }
    }

    #[test]
    fn an_impossible_number_names_its_field() {
        let error = stat(&LINE.replace("123456", "-1")).unwrap_err().to_string();
        assert_eq!(error, "line 1: expected field 22, start time");
        assert!(stat(&LINE.replace(" 250 ", " 18446744073709551615 ")).is_err());
    }
}
