//! The machine's memory as /proc/meminfo, /proc/zoneinfo, /proc/pressure and /proc/vmstat tell it.
//!
//! Sources: `Documentation/filesystems/proc.rst`, `Documentation/accounting/psi.rst`.

use super::parse::{ParseError, lines, number, plain_lines, split_at_byte};

/// One line of /proc/meminfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemField<'a> {
    /// The name as the kernel writes it, `Active(anon)` for example.
    pub name: &'a str,
    /// The value; in bytes where the kernel says kB.
    pub value: u64,
    /// Whether the value is an amount of memory; if not, it is a count of huge pages.
    pub bytes: bool,
}

/// The fields of /proc/meminfo, in its order.
pub fn meminfo(text: &str) -> Result<Vec<MemField<'_>>, ParseError> {
    lines(text)
        .map(|(n, line)| {
            let want = "`Name: number` or `Name: number kB`";
            let (name, rest) = split_at_byte(line, b':').ok_or_else(|| ParseError::new(n, want))?;
            let mut words = rest.split_ascii_whitespace();
            let value: u64 = number(words.next(), n, want)?;
            match words.next() {
                None => Ok(MemField { name, value, bytes: false }),
                Some("kB") => {
                    let value = value.checked_mul(1024).ok_or_else(|| ParseError::new(n, want))?;
                    Ok(MemField { name, value, bytes: true })
                }
                Some(_) => Err(ParseError::new(n, want)),
            }
        })
        .collect()
}

/// The value of one field of /proc/meminfo, in bytes.
pub fn meminfo_bytes(text: &str, name: &str) -> Option<u64> {
    let line = plain_lines(text).find(|l| l.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')))?;
    line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Pages that lie free on the processors' own lists, by /proc/zoneinfo. The kernel counts them neither as free nor as
/// available. Since 6.7 it lets these lists grow to hundreds of MiB, so what was just given back may stay there for
/// seconds (`mm/page_alloc.c`, pcp high auto-tuning).
pub fn free_per_cpu_pages(text: &str) -> Result<u64, ParseError> {
    let mut pages = 0_u64;
    for (n, line) in lines(text) {
        if let Some(count) = line.trim_start().strip_prefix("count:") {
            pages = pages.saturating_add(number(Some(count.trim()), n, "`count:` and a number")?);
        }
    }
    Ok(pages)
}

/// The stall totals of a pressure file, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Pressure {
    /// Time in which at least one task stalled.
    pub some_micros: Option<u64>,
    /// Time in which all tasks stalled; older kernels have none for the CPU.
    pub full_micros: Option<u64>,
}

/// The totals of a pressure file (/proc/pressure/*, memory.pressure).
pub fn pressure(text: &str) -> Result<Pressure, ParseError> {
    let mut out = Pressure::default();
    for (n, line) in lines(text) {
        let total = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("total="));
        let total = Some(number(total, n, "`some …` or `full …` with `total=number`")?);
        match line.split_ascii_whitespace().next() {
            Some("some") => out.some_micros = total,
            Some("full") => out.full_micros = total,
            _ => return Err(ParseError::new(n, "a line that begins with `some` or `full`")),
        }
    }
    Ok(out)
}

/// The share of the last ten seconds in which at least one task stalled, 0 to 1: `avg10` of a pressure file.
pub fn stalled_lately(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|l| l.strip_prefix("some "))?;
    let percent: f64 = line.split_ascii_whitespace().find_map(|w| w.strip_prefix("avg10="))?.parse().ok()?;
    Some(percent / 100.0)
}

/// Bytes that lie free in blocks of at least a huge page (order 9 and above), by /proc/buddyinfo.
pub fn free_in_large_blocks(text: &str, page_bytes: u64) -> Option<u64> {
    const ORDER: usize = 9;
    let mut bytes = 0_u64;
    for line in text.lines() {
        // `Node 0, zone   Normal   4 3 2 …`: the counts of order 0, 1, 2 and so on.
        let counts = line.split_ascii_whitespace().skip(4).enumerate().skip(ORDER);
        for (order, count) in counts {
            let pages = count.parse::<u64>().ok()?.checked_shl(u32::try_from(order).ok()?)?;
            bytes = bytes.saturating_add(pages.saturating_mul(page_bytes));
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_converts_kilobytes_and_leaves_counts_alone() {
        let fields = meminfo("MemTotal:       16 kB\nHugePages_Total:  7\nActive(anon): 1 kB\n").unwrap();
        assert_eq!(fields[0], MemField { name: "MemTotal", value: 16384, bytes: true });
        assert_eq!(fields[1], MemField { name: "HugePages_Total", value: 7, bytes: false });
        assert_eq!(meminfo_bytes("MemTotal: 3 kB\nMemAvailable: 2 kB\n", "MemAvailable"), Some(2048));
        assert_eq!(meminfo_bytes("MemTotalX: 3 kB\n", "MemTotal"), None);
    }

    #[test]
    fn broken_meminfo_names_the_line() {
        for (text, line) in
            [("MemTotal 1 kB", 1), ("A: 1 kB\nB: x kB", 2), ("A: 1 MB", 1), ("A: 99999999999999999999 kB", 1)]
        {
            let error = meminfo(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("line {line}:")), "{error}");
        }
    }

    #[test]
    fn free_pages_of_all_processors_and_zones_are_summed_up() {
        let zone = "Node 0, zone   Normal\n  pages free     9\n        high     8\n  pagesets\n    cpu: 0\n              count:    261\n\
                    \x20             high:     5262\n    cpu: 1\n              count:    7\n              batch:    63\n";
        assert_eq!(free_per_cpu_pages(&zone.repeat(2)), Ok(536));
        assert_eq!(free_per_cpu_pages(""), Ok(0));
        assert!(free_per_cpu_pages("  count: many\n").is_err());
    }

    #[test]
    fn large_free_blocks_are_those_of_order_9_and_above() {
        let text = "Node 0, zone      DMA      9 9 9 9 9 9 9 9 9      1      3\n\
                    Node 0, zone    DMA32      7 7 7 7 7 7 7 7 7      0      2\n";
        assert_eq!(free_in_large_blocks(text, 4096), Some((512 + 5 * 1024) * 4096));
        assert_eq!(free_in_large_blocks("Node 0, zone DMA 1 1 1 1 1 1 1 1 1 x\n", 4096), None);
        assert_eq!(free_in_large_blocks("", 4096), Some(0));
    }

    #[test]
    fn the_last_ten_seconds_are_a_share() {
        let text = "some avg10=12.50 avg60=0.00 avg300=0.00 total=5\nfull avg10=1.00 total=3\n";
        assert_eq!(stalled_lately(text), Some(0.125));
        assert_eq!(stalled_lately("full avg10=1.00 total=3\n"), None);
    }

    #[test]
    fn pressure_has_the_totals_that_the_kernel_gave() {
        let both = "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n";
        assert_eq!(pressure(both), Ok(Pressure { some_micros: Some(5), full_micros: Some(3) }));
        assert_eq!(
            pressure("some avg10=0.00 total=5\n"),
            Ok(Pressure { some_micros: Some(5), full_micros: None })
        );
        assert!(pressure("some avg10=0.00\n").is_err());
        assert!(pressure("any total=1\n").is_err());
    }
}
