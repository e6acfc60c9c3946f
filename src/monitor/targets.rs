//! The parts of this process as Prometheus would scrape them: their samples taken, and whether they answer.

use super::history::History;
use super::lock;
use crate::client::{self, Call};
use crate::export::passes::Passes;
use crate::exporter::scrapes::{Recorded, ScrapeThread};
use crate::metric::Kind;
use crate::metric::batch::Batch;
use crate::promql::{NAME, Point, is_stale};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The jobs of the scrape configuration, whose names rules and dashboards know.
const EXPORTER: &str = "node";
const OPTIMIZER: &str = "headroom-optimizer";
/// A pass that hangs is given up after that.
const PATIENCE: Duration = Duration::from_secs(10);
/// The optimizer answers from memory, on this machine.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// What is looked at.
pub(super) struct Targets {
    scrapes: ScrapeThread,
    passes: Passes,
    exporter: String,
    optimizer: SocketAddr,
}

/// What is known of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Its job.
    pub job: &'static str,
    /// Its address.
    pub instance: String,
    /// The page that Prometheus would take.
    pub url: String,
    /// Why it does not answer, if it does not.
    pub error: Option<String>,
    /// When it was asked, in milliseconds since the epoch.
    pub at: i64,
    /// How long that took.
    pub took: Duration,
    samples: usize,
}

/// Kind and help of families, by name.
pub(super) type Families = BTreeMap<String, (Kind, String)>;

impl Targets {
    /// The exporter by its thread, and the optimizer by its address.
    pub(super) fn new(scrapes: ScrapeThread, exporter: SocketAddr, optimizer: SocketAddr) -> Self {
        let labels = [("job", EXPORTER.to_owned()), ("instance", exporter.to_string())];
        let passes = Passes::new(labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
        Self { scrapes, passes, exporter: exporter.to_string(), optimizer }
    }

    /// Takes the samples of a pass that somebody makes within `share`, or of one of its own. `time` says when one was made that
    /// began so long ago.
    pub(super) fn take(
        &mut self,
        history: &History,
        share: Duration,
        families: &Mutex<Families>,
        time: &dyn Fn(Instant) -> i64,
    ) -> [Target; 2] {
        let recorded = self.scrapes.record(share, PATIENCE);
        let (begun, result) = match recorded {
            Ok(recorded) => (recorded.begun, Ok(recorded)),
            Err(e) => (Instant::now(), Err(e.to_string())),
        };
        let (at, took) = (time(begun), begun.elapsed());
        let mut exporter = Target {
            job: EXPORTER,
            instance: self.exporter.clone(),
            url: format!("http://{}/metrics", self.exporter),
            error: None,
            at,
            took,
            samples: 0,
        };
        let recorded = result.unwrap_or_else(|why| {
            exporter.error = Some(why);
            // Of a machine that cannot be read nothing is known any more: all series end.
            Recorded { batch: Batch::default(), begun }
        });
        exporter.samples = self.keep(history, recorded, at, families);
        let targets = [exporter, self.ask_optimizer(at)];
        for target in &targets {
            target.tell(history);
        }
        targets
    }

    fn keep(&mut self, history: &History, recorded: Recorded, now: i64, families: &Mutex<Families>) -> usize {
        let mut about = |name: &str, kind: Kind, help: &str| {
            let mut families = lock(families);
            if !families.contains_key(name) {
                families.insert(name.to_owned(), (kind, help.to_owned()));
            }
        };
        let mut samples = 0;
        self.passes.next(recorded, now, &mut about, &mut |(labels, value, at)| {
            history.append_foreign(now, [(labels, Point { at, value })]);
            samples += usize::from(!is_stale(value));
        });
        samples
    }

    fn ask_optimizer(&self, at: i64) -> Target {
        let (begun, url) = (Instant::now(), format!("http://{}/-/healthy", self.optimizer));
        let call = Call { deadline: ANSWER_TIME, ..Call::get(url) };
        let error = match client::send_blocking(call) {
            Ok((status, _)) if status.is_success() => None,
            Ok((status, _)) => Some(format!("it answers {status}")),
            Err(e) => Some(e.to_string()),
        };
        let instance = self.optimizer.to_string();
        let url = format!("http://{instance}/metrics");
        Target { job: OPTIMIZER, instance, url, error, at, took: begun.elapsed(), samples: 0 }
    }
}

impl Target {
    /// What Prometheus tells of each scrape.
    fn tell(&self, history: &History) {
        let up = if self.error.is_none() { 1.0 } else { 0.0 };
        let all = [
            ("scrape_duration_seconds", self.took.as_secs_f64()),
            ("scrape_samples_scraped", self.samples as f64),
            ("up", up),
        ];
        for (name, value) in all {
            let labels = [(NAME, name), ("instance", self.instance.as_str()), ("job", self.job)];
            history.append([(&labels[..], Point { at: self.at, value })]);
        }
    }
}
