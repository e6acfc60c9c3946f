//! One destination: what makes its records, where they wait, and the thread that sends them.

use super::metrics::{Counts, Metrics};
use super::otlp::post;
use super::queue::{Queue, Store};
use super::sender::{Route, Sender, Tally, Way};
use super::{Around, ExportError, Form, Options, Pass, remote_write, resource, spawn};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a destination is made of.
pub(super) struct Destination {
    pub(super) name: String,
    form: Box<dyn Form>,
    /// What bodies may be that wait from an earlier run.
    pub(super) forms: &'static [&'static str],
    way: Arc<dyn Way>,
}

/// A destination that is sent to.
pub(super) struct Running {
    pub(super) name: String,
    pub(super) queue: Arc<Queue>,
    route: Arc<Mutex<Route>>,
    counts: Counts,
    pub(super) thread: JoinHandle<()>,
}

/// What a destination's records go through on the thread that makes them.
pub(super) struct Filled {
    name: String,
    form: Box<dyn Form>,
    queue: Arc<Queue>,
    pub(super) tally: Arc<dyn Tally>,
    disk_fails: bool,
}

/// All destinations that the options name.
pub(super) fn all(options: &Options, around: &Around<'_>) -> Result<Vec<Destination>, ExportError> {
    let resource = resource::detect(around.host, around.variable, &options.otlp.attributes, around.port);
    let mut out = Vec::new();
    for (at, remote) in options.remote_write.iter().enumerate() {
        let (form, way) = remote.start(&resource)?;
        let (form, forms) = (Box::new(form), remote_write::FORMS);
        out.push(Destination { name: remote.name(at), form, forms, way: Arc::new(way) });
    }
    if options.otlp.is_on(around.connection, around.variable) {
        let (form, way) = options.otlp.start(around.connection, around.variable, resource)?;
        let (form, forms) = (Box::new(form), post::FORMS);
        out.push(Destination { name: "otlp".into(), form, forms, way: Arc::new(way) });
    }
    Ok(out)
}

impl Destination {
    /// Sends to it from now on. What is known of this name goes on: its queue, with what waits there, and its thread.
    pub(super) fn run(
        self,
        (known, store): (Option<Running>, Store),
        metrics: &Metrics,
        (retry, now_millis): ((Duration, Duration), fn() -> i64),
    ) -> Result<(Running, Filled), ExportError> {
        let Self { name, form, way, .. } = self;
        let route = Route { way, retry };
        let (running, lost) = if let Some(running) = known {
            let lost = running.queue.keep(store);
            *running.route.lock().unwrap_or_else(PoisonError::into_inner) = route;
            running.queue.hurry();
            (running, lost)
        } else {
            let (queue, lost) = Queue::new(store);
            tracing::info!(to = name, on_disk = queue.is_on_disk(), "metrics go out");
            let (queue, route) = (Arc::new(queue), Arc::new(Mutex::new(route)));
            let counts = metrics.of(&name);
            let sender = Sender {
                name: name.clone(),
                queue: Arc::clone(&queue),
                route: Arc::clone(&route),
                tally: Arc::new(counts.clone()),
                now_millis,
            };
            let thread = spawn("send", move || sender.run())?;
            (Running { name: name.clone(), queue, route, counts, thread }, lost)
        };
        let tally = Arc::new(running.counts.clone());
        tally.held(running.queue.held());
        tally.dropped("queue_full", lost.full);
        tally.dropped("damaged", lost.damaged);
        if lost.damaged > 0 {
            tracing::warn!(
                to = name,
                points = lost.damaged,
                "files of the queue were damaged, or of another form"
            );
        }
        let filled = Filled { name, form, queue: Arc::clone(&running.queue), tally, disk_fails: false };
        Ok((running, filled))
    }
}

impl Filled {
    /// Puts a pass into the queue.
    pub(super) fn fill(&mut self, pass: &Pass) {
        for record in self.form.records(pass) {
            let (lost, failed) = self.queue.push(record);
            self.tally.dropped("queue_full", lost);
            let fails = failed.is_some();
            match (failed, std::mem::replace(&mut self.disk_fails, fails)) {
                (Some(e), false) => {
                    tracing::error!(to = self.name, error = %e, "the queue cannot be written; records wait in memory");
                }
                (None, true) => tracing::info!(to = self.name, "the queue can be written again"),
                _ => {}
            }
        }
        self.tally.held(self.queue.held());
    }
}
