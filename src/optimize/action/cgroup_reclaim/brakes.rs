//! When to stop taking: what was taken is wanted again, tasks stall, or the machine has less than before.
//!
//! The kernel does not count the time of who reclaims on purpose as a stall, so what shows is what others wait for.

use super::Intent;
use crate::host::free::Free;
use crate::host::memory::{pressure, stalled_lately};
use crate::host::parse::pair_lines;
use crate::host::{Host, HostError, read_once};
use bytesize::ByteSize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Less than this was taken: too little to tell how much of it was wanted again.
const STOLEN_BYTES_MIN: u64 = 32 << 20;
/// A shorter time says nothing about stalls.
const STALL_WINDOW_MIN: Duration = Duration::from_millis(250);
/// Less than this in swap: too little to tell whether the machine gains.
const SWAPPED_BYTES_MIN: u64 = 16 << 20;
/// What other programs take at any time: this part of the machine's memory, and at least so much.
const NOISE_SHARE: u64 = 256;
const NOISE_BYTES_MIN: u64 = 16 << 20;

/// What was there when the action began.
pub(super) struct Brakes {
    begun: Instant,
    start: Seen,
    /// Share of time in which tasks stalled in the ten seconds before; of the group and the machine.
    lately: [f64; 2],
    files: [PathBuf; 2],
}

/// One look.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    refaulted_bytes: Option<u64>,
    stolen_bytes: Option<u64>,
    /// Microseconds in which at least one task stalled: of the group and the machine.
    stalled: [Option<u64>; 2],
    free: Free,
}

/// What is too much.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    refault_ratio_max: f64,
    pressure_ratio_max: f64,
}

impl Brakes {
    /// Looks before the first write.
    pub(super) fn begin(host: &Host, directory: &Path) -> Result<Self, HostError> {
        let files = [directory.join("memory.pressure"), host.procfs.join("pressure/memory")];
        let lately = files.each_ref().map(|f| text(f).and_then(|t| stalled_lately(&t)).unwrap_or(0.0));
        let start = Seen::look(host, directory, &files)?;
        Ok(Self { begun: Instant::now(), start, lately, files })
    }

    /// Why to stop after `taken` bytes; `None` while it may go on.
    pub(super) fn stop(&self, host: &Host, intent: &Intent, taken: u64) -> Result<Option<String>, HostError> {
        let now = Seen::look(host, &intent.directory, &self.files)?;
        let bounds = Bounds {
            refault_ratio_max: intent.refault_ratio_max,
            pressure_ratio_max: intent.pressure_ratio_max,
        };
        Ok(judge(&self.start, &now, self.lately, (taken, self.begun.elapsed()), &bounds))
    }
}

fn judge(
    start: &Seen,
    now: &Seen,
    lately: [f64; 2],
    (taken, time): (u64, Duration),
    bounds: &Bounds,
) -> Option<String> {
    let grown = |a: Option<u64>, b: Option<u64>| Some(b?.saturating_sub(a?));
    // Version 1 does not say what was taken from the group: then it is what we took.
    let stolen = grown(start.stolen_bytes, now.stolen_bytes).unwrap_or(taken);
    if stolen >= STOLEN_BYTES_MIN
        && let Some(back) = grown(start.refaulted_bytes, now.refaulted_bytes)
        && back as f64 > stolen as f64 * bounds.refault_ratio_max
    {
        let [back, stolen] = [back, stolen].map(|b| ByteSize::b(b).display().iec());
        return Some(format!("stopped: {back} of {stolen} that were taken were wanted again at once"));
    }
    for (n, who) in ["the group", "the machine"].into_iter().enumerate().filter(|_| time >= STALL_WINDOW_MIN)
    {
        let stalled = grown(start.stalled.get(n).copied()?, now.stalled.get(n).copied()?).unwrap_or(0);
        let ratio = Duration::from_micros(stalled).as_secs_f64() / time.as_secs_f64();
        if ratio - lately.get(n)? > bounds.pressure_ratio_max {
            let percent = ratio * 100.0;
            return Some(format!("stopped: tasks of {who} waited for memory in {percent:.0} % of the time"));
        }
    }
    // Page cache that is dropped costs no memory; what goes to swap may.
    let swapped = start.free.swap_free_bytes.saturating_sub(now.free.swap_free_bytes);
    let lost = start.free.reachable_bytes().saturating_sub(now.free.reachable_bytes());
    let noise = (start.free.total_bytes / NOISE_SHARE).max(NOISE_BYTES_MIN);
    (swapped >= SWAPPED_BYTES_MIN && lost > noise).then(|| {
        let [swapped, lost] = [swapped, lost].map(|b| ByteSize::b(b).display().iec());
        format!("stopped: {swapped} went to swap, and the machine has {lost} less available")
    })
}

impl Seen {
    fn look(host: &Host, directory: &Path, files: &[PathBuf; 2]) -> Result<Self, HostError> {
        let path = directory.join("memory.stat");
        let stat = read_once(&path)?.unwrap_or_default();
        let page = rustix::param::page_size() as u64;
        // Version 1 has its own figures and those of all below it, which begin with `total_`: the latter, then.
        let field = |name: &str| {
            let all = pair_lines(&stat).flatten();
            let ours = all.filter(|(n, _)| n.strip_prefix("total_").unwrap_or(n) == name);
            ours.map(|(_, value)| value).last()
        };
        let refaulted = match (field("workingset_refault_file"), field("workingset_refault_anon")) {
            (None, None) => None,
            (file, anon) => Some(file.unwrap_or(0).saturating_add(anon.unwrap_or(0))),
        };
        Ok(Self {
            refaulted_bytes: refaulted.map(|pages| pages.saturating_mul(page)),
            stolen_bytes: field("pgsteal").map(|pages| pages.saturating_mul(page)),
            stalled: files.each_ref().map(|f| text(f).and_then(|t| pressure(&t).ok()?.some_micros)),
            free: Free::read(host)?,
        })
    }
}

/// A pressure file, where the kernel has it and was not told to leave it.
fn text(path: &Path) -> Option<String> {
    read_once(path).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const BOUNDS: Bounds = Bounds { refault_ratio_max: 0.1, pressure_ratio_max: 0.3 };

    fn seen(refaulted: u64, stolen: Option<u64>) -> Seen {
        Seen {
            refaulted_bytes: Some(refaulted * MIB),
            stolen_bytes: stolen.map(|s| s * MIB),
            ..Seen::default()
        }
    }

    fn judged(start: &Seen, now: &Seen, taken: u64) -> Option<String> {
        judge(start, now, [0.0; 2], (taken, Duration::from_secs(1)), &BOUNDS)
    }

    #[test]
    fn what_is_wanted_again_at_once_is_not_taken() {
        let start = seen(5, Some(100));
        assert_eq!(judged(&start, &seen(9, Some(140)), 0), None, "a tenth");
        let why = judged(&start, &seen(10, Some(140)), 0).unwrap();
        assert!(why.contains("5.0 MiB of 40.0 MiB"), "{why}");
        assert_eq!(judged(&start, &seen(25, Some(131)), 0), None, "too little to tell");
        assert_eq!(judged(&seen(5, None), &seen(9, None), 40 * MIB), None);
        assert!(judged(&seen(5, None), &seen(10, None), 40 * MIB).is_some(), "version 1");
        assert_eq!(judged(&Seen::default(), &Seen::default(), 400 * MIB), None, "not said");
    }

    #[test]
    fn rising_stalls_stop_it_and_stalls_that_were_there_do_not() {
        let stalled = |group, machine| Seen { stalled: [group, machine], ..Seen::default() };
        let start = stalled(None, Some(1_000_000));
        let at = |now: &Seen, lately, millis| {
            judge(&start, now, [0.0, lately], (0, Duration::from_millis(millis)), &BOUNDS)
        };
        let now = stalled(None, Some(1_400_000));
        assert!(at(&now, 0.0, 1000).unwrap().contains("the machine waited for memory in 40 %"));
        assert_eq!(at(&now, 0.2, 1000), None, "no more than before");
        assert_eq!(at(&now, 0.0, 2000), None);
        assert_eq!(at(&stalled(None, Some(1_200_000)), 0.0, 200), None, "too short to tell");
        let (start, now) = (stalled(Some(0), None), stalled(Some(400_000), None));
        let why = judge(&start, &now, [0.0; 2], (0, Duration::from_secs(1)), &BOUNDS).unwrap();
        assert!(why.contains("the group"), "{why}");
    }

    #[test]
    fn a_machine_that_loses_while_it_swaps_is_left_alone() {
        let free = |swap, available, total| Seen {
            free: Free {
                swap_free_bytes: swap * MIB,
                available_bytes: available * MIB,
                total_bytes: total * MIB,
                ..Free::default()
            },
            ..Seen::default()
        };
        let start = free(500, 100, 768);
        assert_eq!(judged(&start, &free(400, 84, 768), 0), None, "others' doing");
        let why = judged(&start, &free(400, 83, 768), 0).unwrap();
        assert!(why.contains("100.0 MiB went to swap, and the machine has 17.0 MiB less"), "{why}");
        assert_eq!(judged(&start, &free(500, 20, 768), 0), None, "nothing went to swap");
        assert_eq!(judged(&free(500, 100, 24_000), &free(400, 10, 24_000), 0), None, "a large machine");
    }
}
