//! What the kernel's connection tracking counts, in /proc/net/stat/nf_conntrack.
//!
//! Source: `net/netfilter/nf_conntrack_standalone.c`; there is no document.

use super::parse::{ParseError, lines};

/// Counts of connection tracking, summed up over all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conntrack {
    /// found, invalid, ignore, insert, insert_failed, drop, early_drop.
    pub counts: [u64; 7],
    /// Lookups that began anew; kernels before 2.6.35 do not count them.
    pub search_restart: Option<u64>,
}

/// The columns of [`Conntrack::counts`], and that of `search_restart`.
const COLUMNS: [usize; 7] = [2, 4, 5, 8, 9, 10, 11];
const SEARCH_RESTART: usize = 16;

/// The counts of the file: a head, then a line of hexadecimal numbers for each CPU.
pub fn conntrack(text: &str) -> Result<Conntrack, ParseError> {
    const WANT: &str = "16 or 17 hexadecimal numbers";
    let mut out = Conntrack::default();
    for (n, line) in lines(text).skip(1) {
        let wrong = || ParseError::new(n, WANT);
        let mut row = [0_u64; 17];
        let mut given = 0;
        for word in line.split_ascii_whitespace() {
            *row.get_mut(given).ok_or_else(wrong)? = u64::from_str_radix(word, 16).map_err(|_| wrong())?;
            given += 1;
        }
        if given < 16 {
            return Err(wrong());
        }
        for (sum, column) in out.counts.iter_mut().zip(COLUMNS) {
            *sum = sum.wrapping_add(row.get(column).copied().unwrap_or_default());
        }
        if let Some(restarts) = row.get(SEARCH_RESTART).filter(|_| given > SEARCH_RESTART) {
            out.search_restart = Some(out.search_restart.unwrap_or_default().wrapping_add(*restarts));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_all_cpus_are_summed_up() {
        let row = "21 0 1 0 3 88a 0 0 4 5 6 7 0 0 0 0 a";
        let sums = conntrack(&format!("entries searched …\n{row}\n{row}\n")).unwrap();
        assert_eq!(sums.counts, [2, 6, 2 * 0x88a, 8, 10, 12, 14]);
        assert_eq!(sums.search_restart, Some(20));
    }

    #[test]
    fn an_old_kernel_has_a_column_less_and_a_cut_line_is_an_error() {
        let old = conntrack("head\n0 0 1 0 2 3 0 0 4 5 6 7 0 0 0 0\n").unwrap();
        assert_eq!((old.counts, old.search_restart), ([1, 2, 3, 4, 5, 6, 7], None));
        for line in ["0 1 2", "x 0 1 0 2 3 0 0 4 5 6 7 0 0 0 0", "0 0 1 0 2 3 0 0 4 5 6 7 0 0 0 0 0 0"] {
            let error = conntrack(&format!("head\n{line}\n")).unwrap_err().to_string();
            assert!(error.starts_with("line 2: expected 16 or 17"), "{error}");
        }
    }
}
