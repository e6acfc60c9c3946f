//! What was usual before an action: a reading of the machine, of each target's group and of applications' own metrics
//! every few seconds, kept for some minutes.

mod own;

use super::executor::{Settings, Shared};
use super::harm::{Own, Span, Totals};
use super::policy::Target;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

pub use own::Watched;

/// Between two readings. A reading takes well under a millisecond.
const EVERY: Duration = Duration::from_secs(5);
/// Readings that are kept: ten minutes.
const READINGS_MAX: usize = 120;
/// How far back "before" reaches, in milliseconds.
pub const BEFORE_MILLIS: i64 = 60_000;

/// One reading.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The machine, and when.
    pub machine: Totals,
    /// Groups of targets, by the target's name.
    pub groups: Vec<(String, Totals)>,
    /// Applications' own metrics, by the target's name, and when each was there.
    pub own: Vec<(String, i64, f64)>,
}

/// The last readings, oldest first, and who makes them.
#[derive(Debug, Default)]
pub struct Board {
    readings: Mutex<VecDeque<Reading>>,
    pub(super) thread: OnceLock<Thread>,
}

impl Board {
    /// Keeps a reading. Those from after it were made before the clock was set back.
    pub fn note(&self, reading: Reading) {
        let mut kept = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|r| r.machine.at_millis < reading.machine.at_millis);
        if kept.len() >= READINGS_MAX {
            kept.pop_front();
        }
        kept.push_back(reading);
    }

    /// What was usual in the minute before `until`: of the machine, and of the target's group.
    pub fn before(&self, target: &str, until: i64, ends: [Option<Totals>; 2]) -> [Option<Span>; 2] {
        let kept = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let within = |at: i64| (until.saturating_sub(BEFORE_MILLIS)..until).contains(&at);
        let recent = || kept.iter().filter(|r| within(r.machine.at_millis));
        let group = |r: &Reading| r.groups.iter().find(|(name, _)| name == target).map(|(_, t)| *t);
        let [machine, own_group] = ends;
        [
            recent().next().zip(machine).and_then(|(r, end)| Span::between(&r.machine, &end)),
            recent().find_map(group).zip(own_group).and_then(|(then, end)| Span::between(&then, &end)),
        ]
    }

    /// The application's own metric before, during and after a step that began and ended then: medians.
    pub fn own(&self, target: &str, (begun, ended, now): (i64, i64, i64), harmful_above_ratio: f64) -> Own {
        let kept = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let median = |from: i64, to: i64| {
            let mut values: Vec<f64> = kept
                .iter()
                .filter_map(|r| r.own.iter().find(|(name, ..)| name == target))
                .filter(|(_, at, _)| (from..to).contains(at))
                .map(|(.., value)| *value)
                .collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied()
        };
        Own {
            before: median(begun.saturating_sub(BEFORE_MILLIS), begun),
            during: median(begun, ended),
            after: median(ended, now.saturating_add(1)),
            harmful_above_ratio,
        }
    }
}

/// Starts the thread. It ends with the process.
pub(super) fn start(shared: &Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let work = Arc::clone(shared);
    let thread = std::thread::Builder::new().name("witness".into()).spawn(move || {
        let mut troubles = own::Troubles::default();
        while !work.stopping() {
            let settings = work.settings();
            if !settings.options.targets.is_empty()
                && let Some(reading) = read(&settings, &work.clock, &mut troubles)
            {
                work.witness.note(reading);
            }
            // Woken by the end, and by other settings, which are no reason to look earlier.
            let due = Instant::now() + EVERY;
            while !work.stopping() && Instant::now() < due {
                std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
            }
        }
    })?;
    // It is the only one.
    let _first = shared.witness.thread.set(thread.thread().clone());
    Ok(thread)
}

fn read(settings: &Settings, clock: &dyn Fn() -> i64, troubles: &mut own::Troubles) -> Option<Reading> {
    let (targets, now) = (&settings.options.targets, clock());
    // What cannot be read is read again; what is missing is judged by nobody.
    let machine = settings.observer.totals(now).ok()?;
    let group = |t: &Target| Some((t.name.clone(), settings.observer.group_totals(t, now).ok()??));
    let groups = targets.iter().filter_map(group).collect();
    let own = troubles.round(targets, own::ROUND, clock);
    Some(Reading { machine, groups, own })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(seconds: i64, some: u64, own: Option<f64>) -> Reading {
        let totals =
            Totals { at_millis: seconds * 1000, some_micros: Some(some * 1_000_000), ..Totals::default() };
        Reading {
            machine: totals,
            groups: vec![("t".into(), totals)],
            own: own.map(|v| ("t".to_owned(), seconds * 1000, v)).into_iter().collect(),
        }
    }

    #[test]
    fn before_is_the_minute_before_and_not_more() {
        let board = Board::default();
        for (at, some) in [(10, 0), (50, 4), (100, 9)] {
            board.note(reading(at, some, None));
        }
        let end = reading(105, 15, None).machine;
        let [machine, group] = board.before("t", 105_000, [Some(end), Some(end)]);
        assert_eq!((machine.unwrap().seconds, machine.unwrap().some_ratio), (55.0, Some(0.2)));
        assert_eq!(machine, group);
        assert_eq!(board.before("u", 105_000, [None, Some(end)]), [None, None]);
        assert_eq!(board.before("t", 300_000, [Some(end), None]), [None, None], "nothing is that new");
    }

    #[test]
    fn an_applications_metric_is_the_median_of_each_time() {
        let board = Board::default();
        for (at, value) in [(1, 9.0), (50, 1.0), (55, 8.0), (58, 2.0), (70, 5.0), (120, 7.0)] {
            board.note(reading(at, 0, Some(value)));
        }
        let own = board.own("t", (62_000, 80_000, 130_000), 2.0);
        assert_eq!((own.before, own.during, own.after), (Some(2.0), Some(5.0), Some(7.0)));
        // What an application said late, in the round that began before the step, is from during the step.
        let mut late = reading(61, 0, Some(90.0));
        late.own[0].1 = 66_000;
        board.readings.lock().unwrap().insert(4, late);
        assert_eq!(board.own("t", (62_000, 80_000, 130_000), 2.0).during, Some(90.0));
        assert_eq!(board.own("u", (62_000, 80_000, 130_000), 2.0).before, None);
    }

    #[test]
    fn a_clock_set_back_makes_the_later_readings_void() {
        let board = Board::default();
        board.note(reading(1000, 0, None));
        board.note(reading(10, 0, None));
        let end = reading(20, 5, None).machine;
        assert_eq!(board.before("t", 20_000, [Some(end), None])[0].unwrap().some_ratio, Some(0.5));
    }

    #[test]
    fn readings_are_bounded() {
        let board = Board::default();
        for n in 0..500 {
            board.note(reading(n, 0, None));
        }
        assert_eq!(board.readings.lock().unwrap().len(), READINGS_MAX);
    }
}
