//! Small files about the machine as a whole: load, open files, lists of CPUs.
//!
//! Sources: `Documentation/filesystems/proc.rst`, `Documentation/admin-guide/sysctl/fs.rst`,
//! `Documentation/admin-guide/cputopology.rst`.

use super::parse::{ParseError, number};
use std::ops::RangeInclusive;

/// The largest number of a CPU (x86 can be built for 8,192 of them; nothing else for more).
pub const CPU_NUMBER_MAX: u32 = 8191;

/// The load averages of one, five and fifteen minutes (/proc/loadavg).
pub fn load_averages(text: &str) -> Result<[f64; 3], ParseError> {
    const WANT: &str = "three load averages";
    let mut out = [0.0; 3];
    let mut words = text.split_ascii_whitespace();
    for slot in &mut out {
        let load: f64 = number(words.next(), 1, WANT)?;
        if !load.is_finite() || load < 0.0 {
            return Err(ParseError::new(1, WANT));
        }
        *slot = load;
    }
    Ok(out)
}

/// How many files are open, and how many may be (/proc/sys/fs/file-nr).
pub fn open_files(text: &str) -> Result<(u64, u64), ParseError> {
    const WANT: &str = "three whole numbers";
    let mut words = text.split_ascii_whitespace();
    let allocated = number(words.next(), 1, WANT)?;
    // Always 0 since 2.6; it was the number of free handles.
    let _free: u64 = number(words.next(), 1, WANT)?;
    Ok((allocated, number(words.next(), 1, WANT)?))
}

/// A list of CPUs such as `0-3,8`; empty where there are none.
pub fn cpu_list(text: &str) -> Result<Vec<RangeInclusive<u32>>, ParseError> {
    const WANT: &str = "a list of CPUs such as 0-3,8";
    let text = text.trim();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(Some(first), 1, WANT)?, number(Some(last), 1, WANT)?);
            if first > last || last > CPU_NUMBER_MAX {
                Err(ParseError::new(1, WANT))
            } else {
                Ok(first..=last)
            }
        })
        .collect()
}

/// A file that holds one whole number.
pub fn whole(text: &str) -> Result<u64, ParseError> {
    number(Some(text.trim()), 1, "one whole number")
}

/// A file that holds one whole number, decimal or, behind `0x`, hexadecimal.
pub fn prefixed(text: &str) -> Result<u64, ParseError> {
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(digits) => {
            u64::from_str_radix(digits, 16).map_err(|_| ParseError::new(1, "one hexadecimal number"))
        }
        None => whole(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_loads_or_an_error() {
        assert_eq!(load_averages("0.21 0.37 0.39 1/719 19737\n"), Ok([0.21, 0.37, 0.39]));
        for text in ["", "0.1 0.2", "0.1 x 0.3", "nan 1 1", "-1 1 1", "inf 1 1"] {
            assert!(load_averages(text).is_err(), "{text}");
        }
    }

    #[test]
    fn open_files_are_the_first_and_the_third_number() {
        assert_eq!(open_files("1024\t0\t9223372036854775807\n"), Ok((1024, i64::MAX as u64)));
        assert!(open_files("1024\t0\n").is_err() && open_files("a\t0\t1").is_err());
    }

    #[test]
    fn a_list_of_cpus_is_bounded() {
        assert_eq!(cpu_list("0-3,8\n"), Ok(vec![0..=3, 8..=8]));
        assert_eq!(cpu_list("\n"), Ok(vec![]));
        for text in ["3-1", "0-4294967295", "x", "1,", "-1"] {
            assert!(cpu_list(text).is_err(), "{text}");
        }
        assert_eq!(whole("7\n"), Ok(7));
        assert!(whole("").is_err());
        assert_eq!((prefixed("0x1F\n"), prefixed("17\n")), (Ok(31), Ok(17)));
        assert!(prefixed("0x").is_err() && prefixed("x1").is_err() && prefixed("0x-1").is_err());
    }
}
