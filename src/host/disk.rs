//! Block devices: /proc/diskstats, and what udev wrote down about each.
//!
//! Sources: `Documentation/admin-guide/iostats.rst`, udev's `src/libsystemd/sd-device` for its database.

use super::parse::{ParseError, lines, number};

/// One device's counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk<'a> {
    /// The number of its kind.
    pub major: u32,
    /// The number among its kind.
    pub minor: u32,
    /// The name (`sda1`).
    pub name: &'a str,
    /// Reads completed, merged, sectors, milliseconds; the same for writes; in progress, milliseconds,
    /// weighted milliseconds; discards completed, merged, sectors, milliseconds; flushes, milliseconds.
    pub counts: [u64; 17],
    /// How many of the counts this kernel tells: 11, 15 (since 4.18) or 17 (since 5.5).
    pub counted: usize,
}

/// The devices of /proc/diskstats, one after the other.
pub fn disks(text: &str) -> impl Iterator<Item = Result<Disk<'_>, ParseError>> {
    lines(text).map(|(n, line)| disk(line, n))
}

fn disk(line: &str, n: usize) -> Result<Disk<'_>, ParseError> {
    const WANT: &str = "major, minor, name and 11, 15 or at least 17 whole numbers";
    let mut words = line.split_ascii_whitespace();
    let (major, minor) = (number(words.next(), n, WANT)?, number(words.next(), n, WANT)?);
    let name = words.next().ok_or_else(|| ParseError::new(n, WANT))?;
    let mut out = Disk { major, minor, name, counts: [0; 17], counted: 0 };
    for (slot, word) in out.counts.iter_mut().zip(words) {
        *slot = number(Some(word), n, WANT)?;
        out.counted += 1;
    }
    if matches!(out.counted, 11 | 15 | 17) { Ok(out) } else { Err(ParseError::new(n, WANT)) }
}

/// The value of one property of a device in udev's database.
pub fn udev_property<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix("E:")?.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_of_three_ages_are_understood() {
        for (line, counted) in [
            ("8 0 sda 1 2 3 4 5 6 7 8 9 10 11", 11),
            ("8 0 sda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15", 15),
            ("8 0 sda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17", 17),
            ("8 0 sda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18", 17),
        ] {
            let disk = disks(line).next().unwrap().unwrap();
            assert_eq!((disk.major, disk.minor, disk.name, disk.counted), (8, 0, "sda", counted));
            assert_eq!(disk.counts[counted - 1], counted as u64);
        }
    }

    #[test]
    fn a_cut_line_is_an_error_with_its_number() {
        let whole = "8 0 sda 1 2 3 4 5 6 7 8 9 10 11";
        for cut in ["8", "8 0", "8 0 sda", "8 0 sda 1 2", "8 0 sda 1 2 3 4 5 6 7 8 9 10 11 12", "8 0 sda 1 x"]
        {
            let text = format!("{whole}\n{cut}\n");
            let error = disks(&text).nth(1).unwrap().unwrap_err().to_string();
            assert!(error.starts_with("line 2:"), "{error}");
        }
    }

    #[test]
    fn a_property_is_found_by_its_whole_name() {
        let text = "S:disk/by-id/x\nE:ID_SERIAL_SHORT=s\nE:ID_SERIAL=long=er\nE:EMPTY=\n";
        assert_eq!(udev_property(text, "ID_SERIAL"), Some("long=er"));
        assert_eq!(udev_property(text, "EMPTY"), Some(""));
        assert_eq!(udev_property(text, "ID"), None);
    }
}
