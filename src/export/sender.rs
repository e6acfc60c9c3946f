//! The thread of one destination: sends what its queue holds, one after the other, and tries again what failed.

use super::queue::{Queue, Record};
use super::retry::After;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The longest that a destination is waited for because it asks for it.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(10);

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was taken, but for so many points.
    Taken { refused: u64 },
    /// It may be taken later, and not before that time.
    Later { reason: &'static str, after: Option<After>, why: String },
    /// It will never be taken, but for so many points that were.
    Never { taken: u64, why: String },
}

/// How one request is sent.
pub(super) trait Way: Send + Sync {
    /// Sends it; `stop` says why it is not waited for any longer.
    fn send(&self, record: &Record, stop: &dyn Fn() -> Option<String>) -> Outcome;
}

/// What counts what becomes of records.
pub(super) trait Tally: Send + Sync {
    /// The destination took points, at this time.
    fn taken(&self, points: u64, now_millis: i64);
    /// Points will not be sent.
    fn dropped(&self, reason: &'static str, points: u64);
    /// A request is sent again.
    fn failed(&self, reason: &'static str);
    /// What waits, in bytes and records.
    fn held(&self, held: (u64, usize));
}

/// Where the records of a destination go. A reload may change it between two tries.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) way: Arc<dyn Way>,
    /// The shortest and the longest pause after a failure.
    pub(super) retry: (Duration, Duration),
}

/// Who sends for one destination.
pub(super) struct Sender {
    pub(super) name: String,
    pub(super) queue: Arc<Queue>,
    pub(super) route: Arc<Mutex<Route>>,
    pub(super) tally: Arc<dyn Tally>,
    pub(super) now_millis: fn() -> i64,
}

impl Sender {
    /// Sends until the queue is stopped, or has been left and is empty.
    pub(super) fn run(self) {
        let (mut failures, mut said) = (0_u32, None::<&'static str>);
        let stop = || self.queue.is_stopped().then(|| "the process ends".to_owned());
        while let Some(first) = self.queue.first() {
            let (number, record) = match first {
                Ok(first) => first,
                Err(points) => {
                    self.tally.dropped("damaged", points);
                    continue;
                }
            };
            let route = self.route.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let outcome = route.way.send(&record, &stop);
            if matches!(outcome, Outcome::Later { .. }) && self.queue.is_stopped() {
                break;
            }
            let now = self.count(&outcome, record.points);
            self.tell(&outcome, said, now);
            said = now;
            if let Outcome::Later { after, .. } = outcome {
                failures = failures.saturating_add(1);
                let now = (self.now_millis)();
                if !self.queue.wait(pause(failures, after.map(|after| after.from(now)), route.retry, now)) {
                    break;
                }
            } else {
                failures = 0;
                self.queue.done(number);
            }
            self.tally.held(self.queue.held());
        }
        self.ends();
    }

    /// Counts what became of a request; why it was not taken, if so.
    fn count(&self, outcome: &Outcome, points: u64) -> Option<&'static str> {
        let now = (self.now_millis)();
        match outcome {
            Outcome::Taken { refused } => {
                let refused = *refused.min(&points);
                self.tally.taken(points - refused, now);
                self.tally.dropped("partial", refused);
                None
            }
            Outcome::Never { taken, .. } => {
                let taken = *taken.min(&points);
                if taken > 0 {
                    self.tally.taken(taken, now);
                }
                self.tally.dropped("refused", points - taken);
                Some("refused")
            }
            Outcome::Later { reason, .. } => {
                self.tally.failed(reason);
                Some(reason)
            }
        }
    }

    /// A destination that a reload took away loses what is in memory; at the end of the process there is nobody to tell.
    fn ends(&self) {
        let lost = if self.queue.is_left() { self.queue.in_memory() } else { 0 };
        if lost > 0 {
            tracing::warn!(to = self.name, points = lost, "the destination is gone, and what waited for it");
            self.tally.dropped("removed", lost);
            self.tally.held((0, 0));
        }
    }

    /// A line for each change, and not for each request.
    fn tell(&self, outcome: &Outcome, before: Option<&str>, now: Option<&str>) {
        let to = self.name.as_str();
        match outcome {
            Outcome::Taken { .. } if before.is_some() => tracing::info!(to, "what waited is sent again"),
            Outcome::Later { why, .. } if before != now => {
                tracing::warn!(to, error = why, "it cannot be sent, and waits");
            }
            Outcome::Never { why, .. } if before != now => {
                tracing::error!(to, error = why, "it is refused, and dropped");
            }
            _ => {}
        }
    }
}

/// How long to wait after so many failures in a row: twice as long after each, and somewhere between half of that and all
/// of it, so that many machines do not come back at one moment. Whoever says how long is believed.
fn pause(failures: u32, after: Option<Duration>, (min, max): (Duration, Duration), seed: i64) -> Duration {
    let whole = min.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(max);
    let half = whole / 2;
    // The lowest bits of the clock are as good as chance.
    let share = seed.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44;
    let own = half + half * u32::try_from(share).unwrap_or(0) / (1 << 20);
    after.map_or(own, |after| after.min(RETRY_AFTER_MAX).max(own))
}

#[cfg(test)]
mod tests {
    use super::super::metrics::Metrics;
    use super::super::queue::{Options, Store};
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn pauses_grow_vary_and_heed_what_is_asked() {
        let of =
            |failures, seed| pause(failures, None, (Duration::from_secs(1), Duration::from_secs(30)), seed);
        for seed in [0, 7, 1_700_000_000_123, -1, i64::MIN, i64::MAX] {
            for (failures, most) in [(1, 1000), (2, 2000), (5, 16_000), (6, 30_000), (u32::MAX, 30_000)] {
                let millis = of(failures, seed).as_millis();
                assert!((most / 2..=most).contains(&millis), "{failures} {seed}: {millis}");
            }
        }
        let spread: std::collections::HashSet<Duration> = (0..100).map(|seed| of(6, seed)).collect();
        assert!(spread.len() > 90, "{spread:?}");
        let asked = |seconds| {
            pause(1, Some(Duration::from_secs(seconds)), (Duration::from_secs(1), Duration::from_secs(30)), 0)
        };
        assert_eq!((asked(120).as_secs(), asked(1 << 40)), (120, RETRY_AFTER_MAX));
        assert!(asked(0) >= Duration::from_millis(500));
    }

    struct Script(Mutex<Vec<Outcome>>, Arc<Mutex<Vec<u8>>>);
    impl Way for Script {
        fn send(&self, record: &Record, _: &dyn Fn() -> Option<String>) -> Outcome {
            self.1.lock().unwrap().push(record.body[0]);
            self.0.lock().unwrap().remove(0)
        }
    }

    #[test]
    fn what_failed_is_sent_again_and_what_is_refused_is_not() {
        let registry = prometheus::Registry::new();
        let counts = Metrics::new(&registry).unwrap().of("a");
        let (queue, _) = Queue::new(Store::open(&Options::default(), "a", &["f"], None).unwrap());
        let queue = Arc::new(queue);
        for number in 1..=4 {
            queue.push(Record { body: vec![number], points: 10, form: "f" });
        }
        let later = |reason| Outcome::Later { reason, after: None, why: "w".into() };
        let script = vec![
            later("unreachable"),
            later("busy"),
            Outcome::Taken { refused: 0 },
            Outcome::Never { taken: 0, why: "bad".into() },
            Outcome::Taken { refused: 4 },
            Outcome::Never { taken: 3, why: "some".into() },
        ];
        let tried = Arc::<Mutex<Vec<u8>>>::default();
        let sender = Sender {
            name: "a".into(),
            queue: Arc::clone(&queue),
            route: Arc::new(Mutex::new(Route {
                way: Arc::new(Script(Mutex::new(script), Arc::clone(&tried))),
                retry: (Duration::from_millis(1), Duration::from_millis(2)),
            })),
            tally: Arc::new(counts),
            now_millis: || 1500,
        };
        let thread = std::thread::spawn(move || sender.run());
        // While it fails, nobody waits for it.
        let end = std::time::Instant::now() + Duration::from_mins(1);
        while !queue.drained(Duration::from_mins(1)) {
            assert!(std::time::Instant::now() < end, "{queue:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        queue.stop();
        thread.join().unwrap();
        assert_eq!(*tried.lock().unwrap(), [1, 1, 1, 2, 3, 4]);
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "headroom_export_points_sent_total{to=\"a\"} 19",
            "headroom_export_points_dropped_total{reason=\"refused\",to=\"a\"} 17",
            "headroom_export_points_dropped_total{reason=\"partial\",to=\"a\"} 4",
            "headroom_export_points_dropped_total{reason=\"queue_full\",to=\"a\"} 0",
            "headroom_export_requests_failed_total{reason=\"unreachable\",to=\"a\"} 1",
            "headroom_export_requests_failed_total{reason=\"busy\",to=\"a\"} 1",
            "headroom_export_last_success_timestamp_seconds{to=\"a\"} 1.5",
            "headroom_export_queue_records{to=\"a\"} 0",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}:\n{text}");
        }
    }
}
