//! What /proc/stat tells: the time of each CPU, and counts since the boot.
//!
//! Source: `Documentation/filesystems/proc.rst`, "Miscellaneous kernel statistics in /proc/stat".

use super::parse::{ParseError, lines, number, split_at_byte};

/// Ticks in a second, as all of the kernel's interfaces count them (`USER_HZ`).
pub const TICKS_PER_SECOND: f64 = 100.0;

/// How long a CPU was in each mode, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// The CPU's number.
    pub number: u32,
    /// user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice.
    pub ticks: [u64; 10],
    /// How many of the modes this kernel tells; older ones have fewer.
    pub modes: usize,
}

/// The times of the CPUs that are online, one after the other.
pub fn cpus(text: &str) -> impl Iterator<Item = Result<CpuTimes, ParseError>> + '_ {
    lines(text).filter_map(|(n, line)| {
        let (number, times) = split_at_byte(line.strip_prefix("cpu")?, b' ')?;
        // The line without a number is the sum of the others.
        (!number.is_empty()).then(|| cpu(number, times, n))
    })
}

fn cpu(name: &str, times: &str, n: usize) -> Result<CpuTimes, ParseError> {
    const WANT: &str = "`cpuN` and at least 4 whole numbers";
    let mut out = CpuTimes { number: number(Some(name), n, WANT)?, ..CpuTimes::default() };
    for (slot, word) in out.ticks.iter_mut().zip(times.split_ascii_whitespace()) {
        *slot = number(Some(word), n, WANT)?;
        out.modes += 1;
    }
    if out.modes < 4 { Err(ParseError::new(n, WANT)) } else { Ok(out) }
}

/// Counts since the boot; what the kernel does not tell is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Interrupts serviced.
    pub interrupts: Option<u64>,
    /// Context switches.
    pub context_switches: Option<u64>,
    /// Processes and threads made.
    pub forks: Option<u64>,
    /// When the kernel started, in seconds since 1970.
    pub boot_time_seconds: Option<u64>,
    /// Tasks that run or could run.
    pub running: Option<u64>,
    /// Tasks that wait for I/O.
    pub blocked: Option<u64>,
    /// Soft interrupts by kind, in the kernel's order (`enum` in `include/linux/interrupt.h`).
    pub softirqs: Option<[u64; 10]>,
}

/// The counts of /proc/stat.
pub fn stat(text: &str) -> Result<Stat, ParseError> {
    let mut out = Stat::default();
    for (n, line) in lines(text) {
        let mut words = line.split_ascii_whitespace();
        let slot = match words.next() {
            Some("intr") => &mut out.interrupts,
            Some("ctxt") => &mut out.context_switches,
            Some("processes") => &mut out.forks,
            Some("btime") => &mut out.boot_time_seconds,
            Some("procs_running") => &mut out.running,
            Some("procs_blocked") => &mut out.blocked,
            Some("softirq") => {
                out.softirqs = softirqs(words, n)?;
                continue;
            }
            _ => continue,
        };
        *slot = Some(number(words.next(), n, "a name and a whole number")?);
    }
    Ok(out)
}

/// The counts behind their sum, which comes first; `None` from a kernel that knows fewer kinds.
fn softirqs<'a>(words: impl Iterator<Item = &'a str>, n: usize) -> Result<Option<[u64; 10]>, ParseError> {
    let (mut out, mut words) = ([0; 10], words.skip(1));
    for slot in &mut out {
        let Some(word) = words.next() else { return Ok(None) };
        *slot = number(Some(word), n, "`softirq` and 11 whole numbers")?;
    }
    Ok(Some(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_have_the_modes_that_the_kernel_tells() {
        let all: Result<Vec<_>, _> =
            cpus("cpu  9 9 9 9\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu7 1 2 3 4\nintr 5\n").collect();
        let all = all.unwrap();
        assert_eq!(all[0], CpuTimes { number: 0, ticks: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], modes: 10 });
        assert_eq!((all[1].number, all[1].modes, all.len()), (7, 4, 2));
    }

    #[test]
    fn a_broken_cpu_line_is_named() {
        for text in ["cpu0 1 2 3\n", "cpu0 1 2 x 4\n", "cpux 1 2 3 4\n", "cpu0 1 2 3 -4\n"] {
            let error = cpus(text).collect::<Result<Vec<_>, _>>().unwrap_err().to_string();
            assert!(error.starts_with("line 1: expected `cpuN`"), "{text}: {error}");
        }
    }

    #[test]
    fn counts_that_are_not_there_are_absent() {
        let out = stat("intr 5 1 2\nctxt 6\nbtime 7\nprocesses 8\nprocs_running 1\n").unwrap();
        assert_eq!(
            (out.interrupts, out.context_switches, out.boot_time_seconds),
            (Some(5), Some(6), Some(7))
        );
        assert_eq!((out.forks, out.running, out.blocked), (Some(8), Some(1), None));
        assert!(stat("ctxt\n").is_err() && stat("btime x\n").is_err());
        let soft = stat("softirq 55 1 2 3 4 5 6 7 8 9 10\n").unwrap().softirqs;
        assert_eq!((soft, out.softirqs), (Some([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), None));
        assert_eq!(stat("softirq 55 1 2 3\n").unwrap().softirqs, None);
        assert!(stat("softirq 55 1 2 3 x\n").is_err());
    }
}
