//! Where a group's largest process last ran: who takes its memory there need not tell other processors of each batch of pages.
//!
//! Before the kernel takes pages from a process it makes the processors forget where they lie on which that process may have left
//! them in use; `memory.reclaim` does so for each 32 pages. To tell another processor is an interrupt there, which in a virtual
//! machine costs more than to compress the pages. Source: `arch/x86/mm/tlb.c`, `SWAP_CLUSTER_MAX` in `include/linux/swap.h`.

use super::cgroup::control;
use super::{Host, read_once};
use crate::sys;
use std::path::Path;

/// Processes that are looked at: what many small ones hold, no one place is near.
const PROCESSES_MAX: usize = 64;

/// The processor on which the largest process of the group in `directory` rests; `None` if it runs (and is elsewhere in a
/// moment), or if nobody knows.
pub fn of_group(host: &Host, directory: &Path) -> Option<usize> {
    let pids = control::processes(directory).ok()?;
    let text = |pid: u32| read_once(&host.procfs.join(pid.to_string()).join("stat")).ok().flatten();
    let seen = pids.into_iter().take(PROCESSES_MAX).filter_map(|pid| rests(&text(pid)?));
    seen.max_by_key(|rests| rests.pages)?.processor
}

/// A process, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
struct Rests {
    pages: u64,
    /// Where it last ran, if it does not run.
    processor: Option<usize>,
}

/// Fields 3, 24 and 39 of a `stat` file. The name before them may hold anything.
fn rests(text: &str) -> Option<Rests> {
    let (_, tail) = text.rsplit_once(')')?;
    let mut words = tail.split_ascii_whitespace();
    let state = words.next()?;
    let pages = words.nth(20)?.parse().ok()?;
    let processor = words.nth(14)?.parse().ok().filter(|_| state != "R");
    Some(Rests { pages, processor })
}

/// Runs `work` on that processor; wherever it is, if this thread may not go there.
pub fn on<T>(processor: Option<usize>, work: impl FnOnce() -> T) -> T {
    // Kept to the end.
    let _stay = processor.and_then(|processor| sys::stay_on(processor).ok());
    work()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    const STAT: &str = "77 (a) b) S 1 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 900 4096000 512 18446744073709551615 1 2 3 4 5 6 7 8 9 10 11 12 17 3 0 0";

    /// The processor that the calling thread is on.
    fn here() -> io::Result<usize> {
        let text = std::fs::read_to_string("/proc/thread-self/stat")?;
        // This one runs.
        let words = text.rsplit_once(')').map_or("", |(_, tail)| tail).split_ascii_whitespace();
        words.skip(36).find_map(|w| w.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    #[test]
    fn a_process_that_runs_is_nowhere_for_long() {
        assert_eq!(rests(STAT), Some(Rests { pages: 512, processor: Some(3) }));
        assert_eq!(rests(&STAT.replace(") S", ") R")), Some(Rests { pages: 512, processor: None }));
        assert_eq!(rests("77 (a) S 1"), None);
    }

    #[test]
    fn work_is_done_on_the_processor_and_the_thread_may_go_anywhere_afterwards() {
        let thread = std::thread::spawn(|| {
            let allowed = rustix::thread::sched_getaffinity(None).unwrap();
            for processor in (0..rustix::thread::CpuSet::MAX_CPU).filter(|&n| allowed.is_set(n)) {
                assert_eq!(on(Some(processor), here).unwrap(), processor);
                assert_eq!(rustix::thread::sched_getaffinity(None).unwrap(), allowed);
            }
            // Nobody is there.
            assert!(on(Some(usize::MAX), here).is_ok() && on(None, here).is_ok());
        });
        thread.join().unwrap();
    }
}
