//! Everything out: one pass an interval, as requests of OTLP and of Prometheus's remote write, by way of bounded queues.

mod conventions;
mod line;
pub mod metrics;
pub mod otlp;
mod pass;
pub mod passes;
pub mod queue;
pub mod remote_write;
mod resource;
mod sender;

use crate::exporter::scrapes::ScrapeThread;
use crate::host::Host;
use crate::otlp::{Options as Connection, OtlpError, Variable};
use metrics::{Counts, Metrics};
use pass::{History, Pass};
use queue::{Queue, QueueError, Record};
use sender::{Sender, Way};
use serde::Deserialize;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often, if nobody says: OpenTelemetry's default.
const INTERVAL: Duration = Duration::from_mins(1);
/// A pass that hangs is given up after that.
const PATIENCE: Duration = Duration::from_secs(25);

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
        if self.interval.is_some_and(|interval| interval < Duration::from_secs(1)) {
            return Err(("interval".into(), "at least 1s".into()));
        }
        self.queue.check().map_err(|(key, why)| (format!("queue.{key}"), why))?;
        self.otlp.check().map_err(|(key, why)| (format!("otlp.{key}"), why))?;
        remote_write::check(&self.remote_write)
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

/// What a destination is made of.
struct Destination {
    name: String,
    form: Box<dyn Form>,
    /// What the bodies of its records are.
    body: &'static str,
    way: Box<dyn Way>,
}

/// What a destination's records go through on the thread that makes them.
struct Filled {
    name: String,
    form: Box<dyn Form>,
    queue: Arc<Queue>,
    counts: Counts,
    disk_fails: bool,
}

/// What surrounds it all.
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
    queues: Vec<Arc<Queue>>,
    threads: Vec<JoinHandle<()>>,
}

impl Exports {
    /// Begins, if anything is to be sent; the metrics of it go to `registry`.
    pub fn start(
        options: &Options,
        around: &Around<'_>,
        scrapes: &ScrapeThread,
        registry: &prometheus::Registry,
    ) -> Result<Self, ExportError> {
        let destinations = destinations(options, around)?;
        if destinations.is_empty() {
            return Ok(Self::default());
        }
        let metrics = Metrics::new(registry)?;
        let (mut out, mut filled) = (Self::default(), Vec::new());
        for Destination { name, form, body, way } in destinations {
            let (queue, lost) = Queue::open(&options.queue, &name, body)?;
            let (queue, counts) = (Arc::new(queue), metrics.of(&name));
            counts.held(queue.held());
            counts.dropped("queue_full", lost.full);
            if lost.damaged > 0 {
                tracing::warn!(
                    to = name,
                    files = lost.damaged,
                    "files of the queue were damaged, or of another form"
                );
            }
            let retry = (options.queue.retry_min, options.queue.retry_max);
            tracing::info!(to = name, on_disk = queue.is_on_disk(), "metrics go out");
            let sender = Sender {
                name: name.clone(),
                queue: Arc::clone(&queue),
                way,
                counts: counts.clone(),
                retry,
                now_millis: around.now_millis,
            };
            out.threads.push(spawn("send", move || sender.run())?);
            out.queues.push(Arc::clone(&queue));
            filled.push(Filled { name, form, queue, counts, disk_fails: false });
        }
        let said = (around.variable)("OTEL_METRIC_EXPORT_INTERVAL").and_then(|v| v.trim().parse().ok());
        let said = said.map(Duration::from_millis).filter(|said| !said.is_zero());
        let interval = options.interval.or(said).unwrap_or(INTERVAL);
        let (scrapes, now_millis) = (scrapes.clone(), around.now_millis);
        // It is not waited for at the end: it may hang in a pass.
        spawn("export", move || export(&mut filled, &scrapes, interval, now_millis))?;
        Ok(out)
    }

    /// Sends what waits, if that does not take longer than `grace`, and ends. What is on disk stays there.
    pub fn stop(self, grace: Duration) {
        let end = Instant::now() + grace;
        for queue in &self.queues {
            queue.drained(end.saturating_duration_since(Instant::now()));
        }
        for queue in &self.queues {
            queue.stop();
        }
        for thread in self.threads {
            // A thread that panicked has said so.
            _ = thread.join();
        }
    }
}

fn spawn(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, ExportError> {
    let spawned = std::thread::Builder::new().name(name.into()).spawn(work);
    spawned.map_err(|source| ExportError::Thread { name, source })
}

fn destinations(options: &Options, around: &Around<'_>) -> Result<Vec<Destination>, ExportError> {
    let resource = resource::detect(around.host, around.variable, &options.otlp.attributes, around.port);
    let mut out = Vec::new();
    for (at, remote) in options.remote_write.iter().enumerate() {
        let (form, way) = remote.start(&resource)?;
        let (name, body) = (remote.name(at), form.name());
        out.push(Destination { name, form: Box::new(form), body, way: Box::new(way) });
    }
    if options.otlp.is_on(around.connection, around.variable) {
        let (form, way) = options.otlp.start(around.connection, around.variable, resource)?;
        let body = form.name();
        out.push(Destination { name: "otlp".into(), form: Box::new(form), body, way: Box::new(way) });
    }
    Ok(out)
}

/// Makes a pass each interval, or takes that of a scrape that falls into the last fifth of it, for as long as there is a
/// scrape thread. The first one may come at any time of the interval, so that both have one beat where they have one period.
fn export(filled: &mut [Filled], scrapes: &ScrapeThread, interval: Duration, now_millis: fn() -> i64) {
    let mut history = History::default();
    let mut share = interval.min(INTERVAL);
    loop {
        let begun = Instant::now();
        let next = match scrapes.record(share, PATIENCE) {
            Ok(recorded) => {
                let made = recorded.begun;
                let pass = history.next(recorded, now_millis());
                for destination in &mut *filled {
                    destination.fill(&pass);
                }
                made + interval
            }
            Err(e) => {
                tracing::warn!(error = %e, "no pass for what is sent");
                for destination in &*filled {
                    destination.counts.dropped("no_pass", 1);
                }
                begun + interval
            }
        };
        share = interval / 5;
        let now = Instant::now();
        std::thread::sleep(next.saturating_duration_since(now).saturating_sub(share));
        share = share.min(next.saturating_duration_since(now));
    }
}

impl Filled {
    fn fill(&mut self, pass: &Pass) {
        for record in self.form.records(pass) {
            let (lost, failed) = self.queue.push(record);
            self.counts.dropped("queue_full", lost);
            let fails = failed.is_some();
            match (failed, std::mem::replace(&mut self.disk_fails, fails)) {
                (Some(e), false) => {
                    tracing::error!(to = self.name, error = %e, "the queue cannot be written; records wait in memory");
                }
                (None, true) => tracing::info!(to = self.name, "the queue can be written again"),
                _ => {}
            }
        }
        self.counts.held(self.queue.held());
    }
}
