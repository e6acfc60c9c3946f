//! What /proc/PID/status says: owner, kinds of resident memory, swap, context switches.

use crate::host::ParseError;
use crate::host::parse::{lines, number};

/// One process as its `status` file tells it; what this kernel does not say is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The effective user id.
    pub uid: Option<u32>,
    /// Resident anonymous memory.
    pub rss_anon_bytes: Option<u64>,
    /// Resident memory of files.
    pub rss_file_bytes: Option<u64>,
    /// Resident shared memory (tmpfs included).
    pub rss_shmem_bytes: Option<u64>,
    /// Anonymous memory that was swapped out.
    pub swap_bytes: Option<u64>,
    /// Times the main thread gave up the processor by itself.
    pub voluntary_switches: Option<u64>,
    /// Times the main thread had to give up the processor.
    pub nonvoluntary_switches: Option<u64>,
    /// The signals that it has a handler for; bit 0 is signal 1.
    pub caught_signals: Option<u64>,
}

/// Parses /proc/PID/status.
pub fn status(text: &str) -> Result<Status, ParseError> {
    let mut out = Status::default();
    let mut state_known = false;
    for (n, line) in lines(text) {
        let (name, value) =
            line.split_once(':').ok_or_else(|| ParseError::new(n, "`Name:` and its value"))?;
        match name {
            "State" => state_known = true,
            "Uid" => {
                out.uid = Some(number(value.split_ascii_whitespace().nth(1), n, "`Uid:` and four user ids")?);
            }
            "RssAnon" => out.rss_anon_bytes = Some(kilobytes(value, n)?),
            "RssFile" => out.rss_file_bytes = Some(kilobytes(value, n)?),
            "RssShmem" => out.rss_shmem_bytes = Some(kilobytes(value, n)?),
            "VmSwap" => out.swap_bytes = Some(kilobytes(value, n)?),
            "SigCgt" => {
                let set = u64::from_str_radix(value.trim(), 16);
                out.caught_signals =
                    Some(set.map_err(|_| ParseError::new(n, "a set of signals in hexadecimal"))?);
            }
            "voluntary_ctxt_switches" => out.voluntary_switches = Some(count(value, n)?),
            "nonvoluntary_ctxt_switches" => out.nonvoluntary_switches = Some(count(value, n)?),
            _ => {}
        }
    }
    if state_known { Ok(out) } else { Err(ParseError::new(1, "a `State:` line")) }
}

fn count(value: &str, line: usize) -> Result<u64, ParseError> {
    number(Some(value.trim()), line, "a whole number")
}

/// The bytes of `  123 kB`.
pub(super) fn kilobytes(value: &str, line: usize) -> Result<u64, ParseError> {
    let want = "a whole number and `kB`";
    let digits = value.trim().strip_suffix("kB").map(str::trim_end);
    number::<u64>(digits, line, want)?.checked_mul(1024).ok_or_else(|| ParseError::new(line, want))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_its_owner_memory_and_switches() {
        let text = "Name:\tcat\nState:\tS (sleeping)\nUid:\t1000\t1001\t1002\t1003\nKthread:\t0\nVmSize:\t    3060 kB\n\
                    RssAnon:\t     112 kB\nRssFile:\t    1560 kB\nRssShmem:\t       0 kB\nVmSwap:\t       4 kB\n\
                    Threads:\t1\nSigCgt:\t0000000000000a00\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t8\n";
        let expected = Status {
            uid: Some(1001),
            rss_anon_bytes: Some(112 << 10),
            rss_file_bytes: Some(1560 << 10),
            rss_shmem_bytes: Some(0),
            swap_bytes: Some(4 << 10),
            voluntary_switches: Some(7),
            nonvoluntary_switches: Some(8),
            caught_signals: Some(0xa00),
        };
        assert_eq!(status(text), Ok(expected));
    }

    #[test]
    fn what_the_kernel_does_not_say_is_absent() {
        let out = status("State:\tS (sleeping)\n").unwrap();
        assert_eq!((out.uid, out.swap_bytes, out.voluntary_switches), (None, None, None));
    }

    #[test]
    fn broken_text_names_the_line() {
        for (text, line) in [
            ("State:\tS\nnonsense\n", 2),
            ("State:\tS\nUid:\t0\n", 2),
            ("State:\tS\nVmSwap:\t5 MB\n", 2),
            ("State:\tS\nVmSwap:\t99999999999999999999 kB\n", 2),
            ("State:\tS\nvoluntary_ctxt_switches:\tx\n", 2),
            ("State:\tS\nSigCgt:\t0x1\n", 2),
            ("", 1),
        ] {
            let error = status(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("line {line}:")), "{text:?}: {error}");
        }
    }
}
