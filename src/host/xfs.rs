//! Counters of XFS: /sys/fs/xfs/DEVICE/stats/stats.
//!
//! Sources: `fs/xfs/xfs_stats.c`, <https://xfs.wiki.kernel.org/> (runtime statistics).

use super::parse::{ParseError, lines, number};

/// The lines that are read: the word each begins with, how many numbers follow, and how many newer kernels may add.
const LINES: [(&str, usize, usize); 8] = [
    ("extent_alloc", 4, 0),
    ("abt", 4, 0),
    ("blk_map", 7, 0),
    ("bmbt", 4, 0),
    ("dir", 4, 0),
    ("ig", 7, 0),
    ("rw", 2, 0),
    ("vnodes", 7, 1),
];
/// The numbers of all lines together.
pub const COUNT: usize = 39;

/// The numbers of the lines `extent_alloc`, `abt`, `blk_map`, `bmbt`, `dir`, `ig`, `rw` and `vnodes`, one after the
/// other; those of a line that is not there are absent.
pub fn stats(text: &str) -> Result<[Option<u64>; COUNT], ParseError> {
    let mut out = [None; COUNT];
    for (n, line) in lines(text) {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        let mut slots = out.iter_mut();
        let known = LINES.iter().find(|(word, count, _)| {
            let found = *word == first;
            if !found {
                slots.by_ref().take(*count).for_each(drop);
            }
            found
        });
        let Some((_, count, more)) = known else { continue };
        let want = || format!("`{first}` and {count} whole numbers");
        for slot in slots.take(*count) {
            *slot = Some(number(words.next(), n, &want())?);
        }
        if words.count() > *more {
            return Err(ParseError::new(n, want()));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_at_their_line_s_place() {
        let text =
            "extent_alloc 1 872 0 0\nblk_map 61 29 1 1 1 91 0\nlog 9\nrw 28 5\nvnodes 4 0 0 0 1 1 7 0\n";
        let all = stats(text).unwrap();
        assert_eq!(LINES.iter().map(|(_, count, _)| count).sum::<usize>(), COUNT);
        assert_eq!((all[1], all[4], all[8], all[13]), (Some(872), None, Some(61), Some(91)));
        assert_eq!((all[30], all[31], all[38]), (Some(28), Some(5), Some(7)));
    }

    #[test]
    fn a_line_with_too_few_or_too_many_numbers_is_an_error() {
        for broken in ["abt 1 2 3", "abt 1 2 3 4 5", "rw 1 x", "vnodes 1 2 3 4 5 6 7 8 9", "dir"] {
            let error = stats(&format!("trans 1\n{broken}\n")).unwrap_err().to_string();
            assert!(error.starts_with("line 2:"), "{broken}: {error}");
        }
    }
}
