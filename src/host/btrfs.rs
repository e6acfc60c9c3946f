//! The texts of btrfs, and how much space its layouts take for a byte of data.
//!
//! Source: `fs/btrfs/sysfs.c`, btrfs(5).

use super::parse::{ParseError, pair_lines};

/// What `commit_stats` counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commits {
    /// How many there were.
    pub commits: Option<u64>,
    /// How long the last one took.
    pub last_millis: Option<u64>,
    /// How long the slowest one took.
    pub max_millis: Option<u64>,
    /// How long all of them took.
    pub total_millis: Option<u64>,
}

/// The counts of `commit_stats`.
pub fn commits(text: &str) -> Result<Commits, ParseError> {
    let mut out = Commits::default();
    for pair in pair_lines(text) {
        let (name, value) = pair?;
        match name {
            "commits" => out.commits = Some(value),
            "last_commit_ms" => out.last_millis = Some(value),
            "max_commit_ms" => out.max_millis = Some(value),
            "total_commit_ms" => out.total_millis = Some(value),
            _ => {}
        }
    }
    Ok(out)
}

/// How many bytes on disks a layout takes for one of data; `None` for a layout that is not known.
pub fn ratio(layout: &str, devices: usize) -> Option<f64> {
    let with_parity = |parity: f64| {
        let devices = devices as f64;
        (devices > parity).then(|| devices / (devices - parity))
    };
    match layout {
        "single" | "raid0" => Some(1.0),
        "dup" | "raid1" | "raid10" => Some(2.0),
        "raid1c3" => Some(3.0),
        "raid1c4" => Some(4.0),
        "raid5" => with_parity(1.0),
        "raid6" => with_parity(2.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_that_are_not_counted_are_absent() {
        let text = "commits 5\nlast_commit_ms 7\nmax_commit_ms 9\ntotal_commit_ms 11";
        let all =
            Commits { commits: Some(5), last_millis: Some(7), max_millis: Some(9), total_millis: Some(11) };
        assert_eq!(commits(text), Ok(all));
        assert_eq!(commits("commits 5\nnew 1\n").unwrap().max_millis, None);
        assert!(commits("commits\n").is_err());
    }

    #[test]
    fn parity_is_spread_over_the_devices() {
        assert_eq!(
            (ratio("raid1", 2), ratio("raid5", 4), ratio("raid6", 4)),
            (Some(2.0), Some(4.0 / 3.0), Some(2.0))
        );
        assert_eq!((ratio("raid5", 1), ratio("raid7", 9)), (None, None));
    }
}
