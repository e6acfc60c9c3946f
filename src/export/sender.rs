//! The thread of one destination: sends what its queue holds, one after the other, and tries again what failed.

use super::metrics::Counts;
use super::queue::Queue;
use std::sync::Arc;
use std::time::Duration;

/// The longest that a destination is waited for because it asks for it.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(10);

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was taken, but for so many points.
    Taken { refused: u64 },
    /// It may be taken later, and not before that time.
    Later { reason: &'static str, after: Option<Duration>, why: String },
    /// It will never be taken.
    Never { why: String },
}

/// How one request is sent.
pub(super) trait Way: Send {
    /// Sends it; `stop` says why it is not waited for any longer.
    fn send(&self, body: &[u8], stop: &dyn Fn() -> Option<String>) -> Outcome;
}

/// Who sends for one destination.
pub(super) struct Sender {
    pub(super) name: String,
    pub(super) queue: Arc<Queue>,
    pub(super) way: Box<dyn Way>,
    pub(super) counts: Counts,
    pub(super) retry: (Duration, Duration),
    pub(super) now_millis: fn() -> i64,
}

impl Sender {
    /// Sends until the queue is stopped.
    pub(super) fn run(self) {
        let (mut failures, mut said) = (0_u32, None::<&'static str>);
        let stop = || self.queue.is_stopped().then(|| "the process ends".to_owned());
        while let Some(first) = self.queue.first() {
            let (number, record) = match first {
                Ok(first) => first,
                Err(points) => {
                    self.counts.dropped("damaged", points);
                    continue;
                }
            };
            let outcome = self.way.send(&record.body, &stop);
            let now = match &outcome {
                Outcome::Taken { refused } => {
                    self.taken(record.points, *refused);
                    None
                }
                Outcome::Never { .. } => {
                    self.counts.dropped("refused", record.points);
                    Some("refused")
                }
                Outcome::Later { .. } if self.queue.is_stopped() => break,
                Outcome::Later { reason, .. } => {
                    self.counts.failed(reason);
                    Some(*reason)
                }
            };
            self.tell(&outcome, said, now);
            said = now;
            if let Outcome::Later { after, .. } = outcome {
                failures = failures.saturating_add(1);
                if !self.queue.wait(pause(failures, after, self.retry, (self.now_millis)())) {
                    break;
                }
            } else {
                failures = 0;
                self.queue.done(number);
            }
            self.counts.held(self.queue.held());
        }
    }

    fn taken(&self, points: u64, refused: u64) {
        let refused = refused.min(points);
        self.counts.sent.inc_by(points - refused);
        self.counts.dropped("partial", refused);
        self.counts.succeeded((self.now_millis)());
    }

    /// A line for each change, and not for each request.
    fn tell(&self, outcome: &Outcome, before: Option<&str>, now: Option<&str>) {
        let to = self.name.as_str();
        match outcome {
            Outcome::Taken { .. } if before.is_some() => tracing::info!(to, "metrics are sent again"),
            Outcome::Later { why, .. } if before != now => {
                tracing::warn!(to, error = why, "metrics cannot be sent; they wait");
            }
            Outcome::Never { why } if before != now => {
                tracing::error!(to, error = why, "metrics are refused; they are dropped");
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

/// What `Retry-After` says: seconds, or a date, which is not worth its rules here.
pub(super) fn retry_after(headers: &hyper::HeaderMap) -> Option<Duration> {
    let value = headers.get(hyper::header::RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::super::metrics::Metrics;
    use super::super::queue::{Options, Record};
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
        fn send(&self, body: &[u8], _: &dyn Fn() -> Option<String>) -> Outcome {
            self.1.lock().unwrap().push(body[0]);
            self.0.lock().unwrap().remove(0)
        }
    }

    #[test]
    fn what_failed_is_sent_again_and_what_is_refused_is_not() {
        let registry = prometheus::Registry::new();
        let counts = Metrics::new(&registry).unwrap().of("a");
        let (queue, _) = Queue::open(&Options::default(), "a", "f").unwrap();
        let queue = Arc::new(queue);
        for number in 1..=3 {
            queue.push(Record { body: vec![number], points: 10 });
        }
        let later = |reason| Outcome::Later { reason, after: None, why: "w".into() };
        let script = vec![
            later("unreachable"),
            later("busy"),
            Outcome::Taken { refused: 0 },
            Outcome::Never { why: "bad".into() },
            Outcome::Taken { refused: 4 },
        ];
        let tried = Arc::<Mutex<Vec<u8>>>::default();
        let sender = Sender {
            name: "a".into(),
            queue: Arc::clone(&queue),
            way: Box::new(Script(Mutex::new(script), Arc::clone(&tried))),
            counts,
            retry: (Duration::from_millis(1), Duration::from_millis(2)),
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
        assert_eq!(*tried.lock().unwrap(), [1, 1, 1, 2, 3]);
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "headroom_export_points_sent_total{to=\"a\"} 16",
            "headroom_export_points_dropped_total{reason=\"refused\",to=\"a\"} 10",
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
