//! What the scheduler counted by processor: /proc/schedstat.
//!
//! Source: `Documentation/scheduler/sched-stats.rst`.

use super::parse::{ParseError, lines, number};

/// One processor's counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduled<'a> {
    /// The processor's number, as the kernel writes it.
    pub cpu: &'a str,
    /// Nanoseconds that tasks ran.
    pub running_nanoseconds: u64,
    /// Nanoseconds that tasks waited.
    pub waiting_nanoseconds: u64,
    /// Time slices that were run.
    pub time_slices: u64,
}

/// The processors of /proc/schedstat, one after the other.
pub fn processors(text: &str) -> impl Iterator<Item = Result<Scheduled<'_>, ParseError>> {
    const WANT: &str = "`cpuN` and at least nine whole numbers";
    lines(text).filter_map(|(n, line)| Some((n, line.strip_prefix("cpu")?))).map(|(n, line)| {
        let mut words = line.split_ascii_whitespace();
        let cpu = words.next().filter(|cpu| cpu.bytes().all(|byte| byte.is_ascii_digit()));
        let cpu = cpu.ok_or_else(|| ParseError::new(n, WANT))?;
        // The first six count calls of the scheduler.
        let mut words = words.skip(6);
        let mut next = || number(words.next(), n, WANT);
        Ok(Scheduled {
            cpu,
            running_nanoseconds: next()?,
            waiting_nanoseconds: next()?,
            time_slices: next()?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_behind_the_calls() {
        let text = "version 15\ntimestamp 1\ncpu12 1 2 3 4 5 6 70 80 90\ndomain0 3 1 2\n";
        let all: Vec<_> = processors(text).map(Result::unwrap).collect();
        let [cpu] = all[..] else { panic!("{all:?}") };
        assert_eq!((cpu.cpu, cpu.running_nanoseconds, cpu.waiting_nanoseconds), ("12", 70, 80));
        assert_eq!(cpu.time_slices, 90);
        for broken in ["cpu0 1 2 3 4 5 6 7 8", "cpu", "cpux 1 2 3 4 5 6 7 8 9", "cpu0 1 2 3 4 5 6 x 8 9"] {
            let text = format!("version 15\n{broken}\n");
            let error = processors(&text).next().unwrap().unwrap_err().to_string();
            assert!(error.starts_with("line 2:"), "{error}");
        }
    }
}
