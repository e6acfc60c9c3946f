//! The counters of a process, and how a group's totals grow by them without ever going back.

use crate::host::proc::{Io, Stat, Status};

/// Counters of one process, or the totals of a group; absent where none could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) user_ticks: Option<u64>,
    pub(super) system_ticks: Option<u64>,
    pub(super) minor_faults: Option<u64>,
    pub(super) major_faults: Option<u64>,
    pub(super) voluntary_switches: Option<u64>,
    pub(super) nonvoluntary_switches: Option<u64>,
    pub(super) read_bytes: Option<u64>,
    pub(super) write_bytes: Option<u64>,
}

impl Counts {
    /// The counters as a process's files tell them.
    pub(super) fn new(stat: &Stat, status: &Status, io: Option<Io>) -> Self {
        Self {
            user_ticks: Some(stat.user_ticks),
            system_ticks: Some(stat.system_ticks),
            minor_faults: Some(stat.minor_faults),
            major_faults: Some(stat.major_faults),
            voluntary_switches: status.voluntary_switches,
            nonvoluntary_switches: status.nonvoluntary_switches,
            read_bytes: io.map(|io| io.read_bytes),
            write_bytes: io.map(|io| io.write_bytes),
        }
    }

    /// Adds to a group's totals what a process used since it was last read.
    pub(super) fn grow(&mut self, now: &Self, before: &Self) {
        let now = now.all();
        for ((total, now), before) in self.all_mut().into_iter().zip(now).zip(before.all()) {
            if let Some(now) = now {
                // The kernel's own sums may step back a little; a counter must not.
                let grown = now.saturating_sub(before.unwrap_or(0));
                *total = Some(total.unwrap_or(0).saturating_add(grown));
            }
        }
    }

    /// Keeps what was read for the next time; what was not read stays as it was, and so does what
    /// stepped back.
    pub(super) fn keep(&mut self, now: &Self) {
        for (kept, now) in self.all_mut().into_iter().zip(now.all()) {
            *kept = (*kept).max(now);
        }
    }

    fn all(&self) -> [Option<u64>; 8] {
        [
            self.user_ticks,
            self.system_ticks,
            self.minor_faults,
            self.major_faults,
            self.voluntary_switches,
            self.nonvoluntary_switches,
            self.read_bytes,
            self.write_bytes,
        ]
    }

    fn all_mut(&mut self) -> [&mut Option<u64>; 8] {
        [
            &mut self.user_ticks,
            &mut self.system_ticks,
            &mut self.minor_faults,
            &mut self.major_faults,
            &mut self.voluntary_switches,
            &mut self.nonvoluntary_switches,
            &mut self.read_bytes,
            &mut self.write_bytes,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(ticks: u64) -> Counts {
        Counts { user_ticks: Some(ticks), ..Counts::default() }
    }

    #[test]
    fn totals_grow_by_what_was_used_since_and_never_go_back() {
        let mut total = Counts::default();
        let mut kept = Counts::default();
        for (now, expected) in [(10, 10), (25, 25), (24, 25), (26, 26)] {
            total.grow(&user(now), &kept);
            kept.keep(&user(now));
            assert_eq!(total.user_ticks, Some(expected), "at {now}");
        }
        assert_eq!(total.read_bytes, None, "never read, so absent");
    }

    #[test]
    fn what_could_not_be_read_for_a_while_is_not_counted_twice() {
        let (mut total, mut kept) = (Counts::default(), Counts::default());
        for now in [user(10), Counts::default(), user(12)] {
            total.grow(&now, &kept);
            kept.keep(&now);
        }
        assert_eq!(total.user_ticks, Some(12));
    }
}
