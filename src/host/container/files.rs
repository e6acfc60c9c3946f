//! The texts of a control group's files about CPU, memory, I/O and tasks, v1 and v2, as far as cAdvisor's metrics go.

use super::{Cpu, Device, Memory};
use crate::host::ParseError;
use crate::host::parse::{lines, number, pair_lines};

/// More devices than this are not kept of one group.
const DEVICES_MAX: usize = 128;
const MICROS: f64 = 1e6;
const NANOS: f64 = 1e9;

/// cAdvisor's word for "no limit".
const UNLIMITED: u64 = 0;
/// From here on a number is the kernel's way to say that there is no limit.
const UNLIMITED_FROM: u64 = 1 << 62;

/// A file that holds one whole number.
pub(crate) fn amount(text: &str) -> Result<u64, ParseError> {
    number(Some(text.trim()), 1, "a whole number")
}

/// A limit of either version: a number, or 0 where there is none, as cAdvisor shows it.
pub(crate) fn limit(text: &str) -> Result<u64, ParseError> {
    match text.trim() {
        "max" | "-1" => Ok(UNLIMITED),
        digits => {
            let limit = number(Some(digits), 1, "a whole number or `max`")?;
            Ok(if limit >= UNLIMITED_FROM { UNLIMITED } else { limit })
        }
    }
}

/// How many processes cgroup.procs lists, and their numbers; those of another name space have 0, which is none.
pub(crate) fn processes(text: &str) -> (u64, Vec<u32>) {
    let (mut count, mut pids) = (0, Vec::new());
    for (_, line) in lines(text) {
        count += 1;
        pids.extend(line.trim().parse::<u32>().ok().filter(|&pid| pid > 0));
    }
    (count, pids)
}

/// Fills in what v2's memory.events says.
pub(crate) fn memory_events(text: &str, out: &mut Memory) -> Result<(), ParseError> {
    for pair in pair_lines(text) {
        let (name, count) = pair?;
        match name {
            "high" => out.high_events = Some(count),
            "max" => out.limit_hits = Some(count),
            "oom_kill" => out.oom_kills = Some(count),
            _ => {}
        }
    }
    Ok(())
}

/// Fills in what cpu.stat says: all in v2, throttling alone in v1.
pub(crate) fn cpu_stat(text: &str, out: &mut Cpu) -> Result<(), ParseError> {
    for pair in pair_lines(text) {
        let (name, value) = pair?;
        let scaled = |by: f64| Some(value as f64 / by);
        match name {
            "usage_usec" => out.usage_seconds = scaled(MICROS),
            "user_usec" => out.user_seconds = scaled(MICROS),
            "system_usec" => out.system_seconds = scaled(MICROS),
            "nr_periods" => out.periods = Some(value),
            "nr_throttled" => out.throttled_periods = Some(value),
            "throttled_usec" => out.throttled_seconds = scaled(MICROS),
            "throttled_time" => out.throttled_seconds = scaled(NANOS),
            "nr_bursts" => out.burst_periods = Some(value),
            "burst_usec" => out.burst_seconds = scaled(MICROS),
            "burst_time" => out.burst_seconds = scaled(NANOS),
            _ => {}
        }
    }
    Ok(())
}

/// v1's cpuacct.stat, in clock ticks.
pub(crate) fn cpuacct_stat(text: &str, ticks_per_second: u64, out: &mut Cpu) -> Result<(), ParseError> {
    for pair in pair_lines(text) {
        let (name, ticks) = pair?;
        let seconds = Some(ticks as f64 / ticks_per_second.max(1) as f64);
        match name {
            "user" => out.user_seconds = seconds,
            "system" => out.system_seconds = seconds,
            _ => {}
        }
    }
    Ok(())
}

/// v1's cpuacct.usage, in nanoseconds.
pub(crate) fn cpuacct_usage(text: &str) -> Result<f64, ParseError> {
    amount(text).map(|nanos| nanos as f64 / NANOS)
}

/// v2's cpu.max: quota, absent for `max`, and period, both in microseconds.
pub(crate) fn cpu_max(text: &str) -> Result<(Option<u64>, u64), ParseError> {
    const WANT: &str = "a quota or `max`, and a period";
    let mut words = text.split_ascii_whitespace();
    let quota = match words.next() {
        Some("max") => None,
        word => Some(number(word, 1, WANT)?),
    };
    Ok((quota, number(words.next(), 1, WANT)?))
}

/// v1's cpu.cfs_quota_us: absent for -1.
pub(crate) fn cfs_quota(text: &str) -> Result<Option<u64>, ParseError> {
    let quota: i64 = number(Some(text.trim()), 1, "microseconds or -1")?;
    Ok(u64::try_from(quota).ok())
}

/// v2's cpu.weight (1 to 10000) as v1's shares (2 to 262144): runtimes turn the one into the other like this, and
/// cAdvisor turns it back.
pub(crate) fn shares(text: &str) -> Result<u64, ParseError> {
    let weight = amount(text)?;
    if !(1..=10_000).contains(&weight) {
        return Err(ParseError::new(1, "a weight from 1 to 10000"));
    }
    Ok(2 + (weight - 1) * 262_142 / 9_999)
}

/// Fills in what memory.stat says. v1 has each field twice: of the group alone, and with `total_` of all below it too.
pub(crate) fn memory_stat(text: &str, out: &mut Memory) -> Result<(), ParseError> {
    for pair in pair_lines(text) {
        let (name, value) = pair?;
        let field = match name {
            "anon" | "total_rss" => &mut out.rss_bytes,
            "file" | "total_cache" => &mut out.cache_bytes,
            "file_mapped" | "total_mapped_file" => &mut out.mapped_file_bytes,
            "kernel" => &mut out.kernel_bytes,
            "file_dirty" | "total_dirty" => &mut out.dirty_bytes,
            "file_writeback" | "total_writeback" => &mut out.writeback_bytes,
            "pgscan" => &mut out.scanned_pages,
            "pgsteal" => &mut out.reclaimed_pages,
            "workingset_refault_anon" | "total_workingset_refault_anon" => &mut out.refault_anon,
            "workingset_refault_file" | "total_workingset_refault_file" => &mut out.refault_file,
            "pgfault" => &mut out.faults,
            "pgmajfault" => &mut out.major_faults,
            "total_pgfault" => &mut out.hierarchy_faults,
            "total_pgmajfault" => &mut out.hierarchy_major_faults,
            "total_swap" => &mut out.swap_bytes,
            "inactive_file" | "total_inactive_file" => &mut out.inactive_file_bytes,
            "active_file" | "total_active_file" => &mut out.active_file_bytes,
            _ => continue,
        };
        // In v1 the fields with `total_` come last, so they stand over those of the same name without it.
        *field = Some(value);
    }
    Ok(())
}

/// The number of a field in a file of `name number` lines.
pub(crate) fn field(text: &str, wanted: &str) -> Result<Option<u64>, ParseError> {
    for pair in pair_lines(text) {
        let (name, value) = pair?;
        if name == wanted {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// v2's io.stat: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`. A device that was never used has a line without numbers.
pub(crate) fn io_stat(text: &str) -> Result<Vec<Device>, ParseError> {
    let mut devices: Vec<Device> = Vec::new();
    for (n, line) in lines(text) {
        let mut words = line.split_ascii_whitespace();
        let numbers = device(words.next(), n)?;
        let mut found = Device { numbers, ..Device::default() };
        for word in words {
            let Some((name, value)) = word.split_once('=') else { continue };
            let field = match name {
                "rbytes" => &mut found.read_bytes,
                "wbytes" => &mut found.written_bytes,
                "rios" => &mut found.reads,
                "wios" => &mut found.writes,
                _ => continue,
            };
            *field = Some(number(Some(value), n, "`name=number`")?);
        }
        if found.read_bytes.is_some() && devices.len() < DEVICES_MAX {
            devices.push(found);
        }
    }
    Ok(devices)
}

/// v1's blkio.throttle.io_service_bytes and io_serviced: `8:0 Read 4096`, and a last line `Total 4096`.
pub(crate) fn blkio(text: &str, bytes: bool, devices: &mut Vec<Device>) -> Result<(), ParseError> {
    const WANT: &str = "`major:minor operation number`";
    for (n, line) in lines(text) {
        let mut words = line.split_ascii_whitespace();
        let first = words.next();
        if first == Some("Total") {
            continue;
        }
        let numbers = device(first, n)?;
        let operation = words.next();
        let value = Some(number(words.next(), n, WANT)?);
        let place = match devices.iter().position(|d| d.numbers == numbers) {
            Some(place) => place,
            None if devices.len() < DEVICES_MAX => {
                devices.push(Device { numbers, ..Device::default() });
                devices.len() - 1
            }
            None => continue,
        };
        let Some(found) = devices.get_mut(place) else { continue };
        match operation {
            Some("Read") if bytes => found.read_bytes = value,
            Some("Write") if bytes => found.written_bytes = value,
            Some("Read") => found.reads = value,
            Some("Write") => found.writes = value,
            _ => {}
        }
    }
    Ok(())
}

/// A device's numbers, `8:0`.
fn device(word: Option<&str>, line: usize) -> Result<(u32, u32), ParseError> {
    const WANT: &str = "a device's numbers, such as 8:0";
    let (major, minor) = word.and_then(|w| w.split_once(':')).ok_or_else(|| ParseError::new(line, WANT))?;
    Ok((number(Some(major), line, WANT)?, number(Some(minor), line, WANT)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_panics(text in "([a-z_]{0,12}[ \n=:]?[0-9-]{0,21}[ \n]?){0,6}|.{0,40}") {
            _ = limit(&text);
            _ = processes(&text);
            _ = cpu_stat(&text, &mut Cpu::default());
            _ = cpuacct_stat(&text, 100, &mut Cpu::default());
            _ = cpuacct_usage(&text);
            _ = cpu_max(&text);
            _ = cfs_quota(&text);
            _ = shares(&text);
            _ = memory_stat(&text, &mut Memory::default());
            _ = field(&text, "oom_kill");
            _ = io_stat(&text);
            _ = blkio(&text, true, &mut Vec::new());
        }
    }

    #[test]
    fn throttling_is_in_microseconds_in_v2_and_in_nanoseconds_in_v1() {
        let mut cpu = Cpu::default();
        cpu_stat("usage_usec 2500000\nnr_periods 7\nnr_throttled 3\nthrottled_usec 1500000\n", &mut cpu)
            .unwrap();
        assert_eq!((cpu.usage_seconds, cpu.throttled_seconds), (Some(2.5), Some(1.5)));
        assert_eq!((cpu.periods, cpu.throttled_periods, cpu.burst_periods), (Some(7), Some(3), None));
        cpu_stat("throttled_time 500000000\nnr_bursts 2\nburst_time 1000\n", &mut cpu).unwrap();
        assert_eq!(
            (cpu.throttled_seconds, cpu.burst_periods, cpu.burst_seconds),
            (Some(0.5), Some(2), Some(1e-6))
        );
        cpuacct_stat("user 150\nsystem 50\n", 100, &mut cpu).unwrap();
        assert_eq!((cpu.user_seconds, cpu.system_seconds), (Some(1.5), Some(0.5)));
    }

    #[test]
    fn no_limit_is_zero_as_in_cadvisor() {
        assert_eq!(limit("max\n"), Ok(0));
        assert_eq!(limit("9223372036854771712\n"), Ok(0));
        assert_eq!(limit("4096\n"), Ok(4096));
        assert!(limit("many\n").is_err());
        assert_eq!(cpu_max("max 100000\n"), Ok((None, 100_000)));
        assert_eq!(cpu_max("50000 100000\n"), Ok((Some(50_000), 100_000)));
        assert!(cpu_max("max\n").is_err());
        assert_eq!(cfs_quota("-1\n"), Ok(None));
        assert_eq!(cfs_quota("50000\n"), Ok(Some(50_000)));
    }

    #[test]
    fn a_weight_becomes_the_shares_that_it_was_made_of() {
        for (weight, expected) in [("1", 2), ("39", 998), ("100", 2597), ("10000", 262_144)] {
            assert_eq!(shares(weight), Ok(expected));
        }
        assert!(shares("0").is_err() && shares("10001").is_err());
    }

    #[test]
    fn of_v1s_memory_the_hierarchy_counts_but_both_kinds_of_faults_are_kept() {
        let mut memory = Memory::default();
        let text = "cache 1\nrss 2\npgfault 3\ninactive_file 4\ntotal_cache 10\ntotal_rss 20\ntotal_pgfault 30\n\
                    total_inactive_file 40\n";
        memory_stat(text, &mut memory).unwrap();
        assert_eq!((memory.cache_bytes, memory.rss_bytes), (Some(10), Some(20)));
        assert_eq!((memory.faults, memory.hierarchy_faults), (Some(3), Some(30)));
        assert_eq!((memory.inactive_file_bytes, memory.active_file_bytes), (Some(40), None));
    }

    #[test]
    fn devices_without_numbers_are_absent_and_totals_are_no_device() {
        let devices = io_stat("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n7:0 \n").unwrap();
        assert_eq!(devices.len(), 1);
        assert_eq!(devices[0].numbers, (8, 0));
        assert_eq!((devices[0].read_bytes, devices[0].writes), (Some(1), Some(4)));
        let mut devices = Vec::new();
        let text = "8:0 Read 5\n8:0 Write 6\n8:0 Total 11\n8:16 Read 7\n8:16 Write 0\nTotal 18\n";
        blkio(text, true, &mut devices).unwrap();
        blkio(&text.replace('5', "1"), false, &mut devices).unwrap();
        assert_eq!(devices.iter().map(|d| d.read_bytes).collect::<Vec<_>>(), [Some(5), Some(7)]);
        assert_eq!((devices[0].reads, devices[0].writes), (Some(1), Some(6)));
        assert!(io_stat("eight rbytes=1\n").is_err());
        assert!(blkio("8:0 Read\n", true, &mut devices).is_err());
    }

    #[test]
    fn devices_beyond_the_bound_are_left_out() {
        let lines: Vec<String> = (0..DEVICES_MAX + 5).map(|i| format!("8:{i} Read {i}")).collect();
        let mut devices = Vec::new();
        blkio(&lines.join("\n"), true, &mut devices).unwrap();
        assert_eq!(devices.len(), DEVICES_MAX);
        assert_eq!(devices.last().unwrap().read_bytes, Some(DEVICES_MAX as u64 - 1));
    }
}
