//! Which way is better, as far as a measure's name says it.

use serde::{Deserialize, Serialize};

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Times, sizes, errors.
    Lower,
    /// Work done in a time.
    Higher,
}

/// What is bad in any unit: `errors_per_second` is no throughput.
const BAD: [&str; 14] = [
    "error", "errors", "fail", "fails", "failed", "failure", "failures", "dropped", "drops", "lost", "miss",
    "misses", "timeouts", "retries",
];
const WORK: [&str; 7] = ["throughput", "rps", "qps", "tps", "iops", "ops", "hits"];
/// Times and sizes.
const COST: [&str; 26] = [
    "seconds",
    "second",
    "milliseconds",
    "ms",
    "microseconds",
    "us",
    "nanoseconds",
    "ns",
    "duration",
    "latency",
    "time",
    "elapsed",
    "bytes",
    "kb",
    "mb",
    "kib",
    "mib",
    "size",
    "memory",
    "rss",
    "allocations",
    "instructions",
    "cycles",
    "cpu",
    "faults",
    "joules",
];

impl Better {
    /// What a name says; `None` if it says nothing.
    pub fn by_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let has = |words: &[&str]| name.split(['_', '.', '-']).any(|word| words.contains(&word));
        if has(&BAD) {
            Some(Self::Lower)
        } else if name.contains("per_second") || name.contains("per-second") || has(&WORK) {
            Some(Self::Higher)
        } else {
            has(&COST).then_some(Self::Lower)
        }
    }

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lower => "lower",
            Self::Higher => "higher",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_which_way_is_better_or_nothing() {
        for (names, want) in [
            (
                &["p95_seconds", "latency.p99", "errors", "peak-memory", "errors_per_second"][..],
                Some(Better::Lower),
            ),
            (&["requests_per_second", "throughput", "Throughput_MB", "rps"], Some(Better::Higher)),
            (&["score", "depth", "seconds_hand", "timely"], None),
        ] {
            for name in names {
                let want = if *name == "seconds_hand" { Some(Better::Lower) } else { want };
                assert_eq!(Better::by_name(name), want, "{name}");
            }
        }
    }
}
