//! Everything out: one pass an interval, as requests of OTLP and of Prometheus's remote write, by way of bounded queues.

mod beat;
mod conventions;
mod destination;
#[cfg(any(test, feature = "fuzzing"))]
#[expect(clippy::panic, reason = "a finding is a panic")]
pub(crate) mod fuzzed;
mod line;
pub mod logs;
pub mod metrics;
pub mod otlp;
mod pass;
pub mod passes;
pub mod queue;
pub mod remote_write;
mod resource;
mod retry;
mod sender;

use crate::exporter::scrapes::ScrapeThread;
use crate::host::Host;
use crate::otlp::{Options as Connection, OtlpError, Variable};
use beat::{Beat, Plan};
use destination::{Destination, Running};
use metrics::Metrics;
use pass::Pass;
use queue::{QueueError, Record, Store};
use serde::Deserialize;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often, if nobody says: OpenTelemetry's default.
const INTERVAL: Duration = Duration::from_mins(1);
/// The least that it may be, whoever says it.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Options of what is sent by itself.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How often; each minute without it.
    #[serde(with = "humantime_serde")]
    pub interval: Option<Duration>,
    /// What waits for a destination that does not answer.
    pub queue: queue::Options,
    /// OpenTelemetry's protocol.
    pub otlp: otlp::Options,
    /// Prometheus's remote write, to each of these.
    pub remote_write: Vec<remote_write::Options>,
}

impl Options {
    /// What is wrong with the options, by its key below `export`, if anything is.
    pub fn check(&self) -> Result<(), (String, String)> {
        if self.interval.is_some_and(|interval| interval < INTERVAL_MIN) {
            return Err(("interval".into(), "at least 1s".into()));
        }
        self.queue.check().map_err(|(key, why)| (format!("queue.{key}"), why))?;
        self.otlp.check().map_err(|(key, why)| (format!("otlp.{key}"), why))?;
        remote_write::check(&self.remote_write)
    }

    /// How often; the environment counts where the configuration says nothing, and no more often than that may.
    fn interval(&self, variable: Variable<'_>) -> Duration {
        let said = variable("OTEL_METRIC_EXPORT_INTERVAL").and_then(|v| v.trim().parse().ok());
        let said = said.map(Duration::from_millis).filter(|said| !said.is_zero());
        self.interval.or(said).unwrap_or(INTERVAL).max(INTERVAL_MIN)
    }
}

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// By OTLP.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// By remote write.
    #[error(transparent)]
    RemoteWrite(#[from] remote_write::RemoteWriteError),
    /// There is no queue.
    #[error("export.queue: {0}")]
    Queue(#[from] QueueError),
    /// There are no metrics.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
    /// There is no thread.
    #[error("cannot start the thread `{name}`: {source}")]
    Thread {
        /// Its name.
        name: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// Makes the records of one destination.
trait Form: Send {
    fn records(&mut self, pass: &Pass) -> Vec<Record>;
}

/// What surrounds it all.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// Where the machine is read.
    pub host: &'a Host,
    /// How OTLP is connected.
    pub connection: &'a Connection,
    /// The environment.
    pub variable: Variable<'a>,
    /// The exporter's port, which tells several of one machine apart.
    pub port: u16,
    /// Milliseconds since the epoch, now.
    pub now_millis: fn() -> i64,
}

/// What sends by itself, while it runs.
#[derive(Default)]
pub struct Exports {
    running: Vec<Running>,
    /// Destinations that a reload took away, and that still send what waited.
    leaving: Vec<Running>,
    metrics: Option<Metrics>,
    /// What tells the thread that makes passes; there is none before there is a destination.
    beat: Option<Arc<Beat>>,
}

/// What is to be sent from now on, with all files read and all directories taken.
pub struct Prepared {
    destinations: Vec<(Destination, Store)>,
    retry: (Duration, Duration),
    interval: Duration,
    now_millis: fn() -> i64,
}

impl Exports {
    /// Reads what the options name, and changes nothing yet.
    pub fn prepare(&self, options: &Options, around: &Around<'_>) -> Result<Prepared, ExportError> {
        let mut destinations = Vec::new();
        for destination in destination::all(options, around)? {
            let former = self.known(&destination.name).map(|running| &*running.queue);
            let store = Store::open(&options.queue, &destination.name, destination.forms, former)?;
            destinations.push((destination, store));
        }
        Ok(Prepared {
            destinations,
            retry: (options.queue.retry_min, options.queue.retry_max),
            interval: options.interval(around.variable),
            now_millis: around.now_millis,
        })
    }

    /// Sends that from now on, if it is anything. What waits in queues goes to where the destination of this name is now.
    pub fn send(
        &mut self,
        prepared: Prepared,
        scrapes: &ScrapeThread,
        registry: &prometheus::Registry,
    ) -> Result<(), ExportError> {
        let Prepared { destinations, retry, interval, now_millis } = prepared;
        self.leaving.retain(|running| !running.thread.is_finished());
        if destinations.is_empty() && self.beat.is_none() {
            return Ok(());
        }
        let metrics = match &self.metrics {
            Some(metrics) => metrics.clone(),
            None => self.metrics.insert(Metrics::new(registry)?).clone(),
        };
        let mut former: Vec<Running> = self.running.drain(..).chain(self.leaving.drain(..)).collect();
        let mut filled = Vec::new();
        for (destination, store) in destinations {
            let at = former.iter().position(|r| r.name == destination.name && r.queue.stay());
            let known = at.map(|at| former.swap_remove(at));
            let (running, fill) = destination.run((known, store), &metrics, (retry, now_millis))?;
            self.running.push(running);
            filled.push(fill);
        }
        for running in former {
            running.queue.leave();
            self.leaving.push(running);
        }
        let plan = Plan { filled, interval };
        if let Some(beat) = &self.beat {
            beat.change(plan);
            return Ok(());
        }
        let (beat, scrapes) = (Arc::new(Beat::new(plan)), scrapes.clone());
        self.beat = Some(Arc::clone(&beat));
        // It is not waited for at the end: it may hang in a pass.
        spawn("export", move || beat.run(&scrapes, now_millis))?;
        Ok(())
    }

    /// The destination of this name, as long as it has its queue.
    fn known(&self, name: &str) -> Option<&Running> {
        let all = self.running.iter().chain(&self.leaving);
        all.filter(|running| !running.thread.is_finished()).find(|running| running.name == name)
    }

    /// Sends what waits, if that does not take longer than `grace`, and ends. What is on disk stays there.
    pub fn stop(self, grace: Duration) {
        let end = Instant::now() + grace;
        if let Some(beat) = &self.beat {
            beat.stop();
        }
        let all = || self.running.iter().chain(&self.leaving);
        for running in all() {
            running.queue.drained(end.saturating_duration_since(Instant::now()));
        }
        for running in all() {
            running.queue.stop();
        }
        for running in self.running.into_iter().chain(self.leaving) {
            // A thread that panicked has said so.
            _ = running.thread.join();
        }
    }
}

fn spawn(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, ExportError> {
    let spawned = std::thread::Builder::new().name(name.into()).spawn(work);
    spawned.map_err(|source| ExportError::Thread { name, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_makes_passes_no_more_often_than_the_configuration_may() {
        let of = |configured: Option<u64>, said: &str| {
            let options = Options { interval: configured.map(Duration::from_secs), ..Options::default() };
            options.interval(&|_| Some(said.to_owned())).as_millis()
        };
        assert_eq!((of(None, ""), of(None, "0"), of(None, "soon")), (60_000, 60_000, 60_000));
        assert_eq!((of(None, " 5000 "), of(None, "1"), of(Some(10), "5000")), (5000, 1000, 10_000));
        let often = Options { interval: Some(Duration::from_millis(10)), ..Options::default() };
        assert!(often.check().is_err());
    }
}
