//! The tasks that fetch pages and put them into the store, one for each target.

use super::Target;
use super::metrics::{Metrics, Samples, Went};
use super::page::{self, Form, Number, Page, PageError, Reading, Series};
use super::relabel::Relabelling;
use crate::apps::limits::Refusal;
use crate::apps::store::{About, Point, Sender, Store};
use crate::apps::{Applications, Input};
use crate::client::apart::Apart;
use crate::client::names::Names;
use crate::client::trust::{Files, Kept, Trust, plain};
use crate::client::{self, Call, ClientError, Opened};
use crate::metric::Value;
use crate::serve::token::Token;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// So many series are put into the store at once: a page waits for them.
const BATCH: usize = 500;
const FORMS: HeaderValue = HeaderValue::from_static(
    "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
);
/// So much of a page is read without asking: nearly all pages are no longer.
const SHORT_BYTES: usize = 128 << 10;
/// What longer pages may hold together, in pieces, while they are received and read. A single page that is longer has all of it.
const ROOM_PIECES: u32 = 512;
const PIECE_BYTES: usize = 64 << 10;
/// The largest file with a token that is read.
const TOKEN_BYTES_MAX: u64 = 64 << 10;
const TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// The tasks of all targets. They end with it.
#[derive(Debug)]
pub struct Scraping {
    applications: Applications,
    metrics: Metrics,
    targets: Vec<Target>,
    stop: watch::Sender<bool>,
    names: Names,
    bounds: Bounds,
}

/// What all targets have together.
#[derive(Clone, Debug)]
struct Bounds {
    /// For what is received of long pages.
    room: Arc<Semaphore>,
    /// One page is read at a time.
    reading: Arc<Semaphore>,
}

impl Default for Bounds {
    fn default() -> Self {
        let places = |count: u32| Arc::new(Semaphore::new(usize::try_from(count).unwrap_or(1)));
        Self { room: places(ROOM_PIECES), reading: places(1) }
    }
}

/// Why a page is not there.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Setup(String),
    #[error("the answer is {0}")]
    Status(hyper::StatusCode),
    #[error("the page is longer than {0} (body_max)")]
    TooLong(bytesize::ByteSize),
    #[error("the page is not text in UTF-8")]
    Text,
    #[error("the target is another one now")]
    Over,
    #[error(transparent)]
    Page(#[from] PageError),
    #[error("the application is refused: {0}")]
    Refused(Refusal),
}

impl FetchError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Client(ClientError::Deadline { .. }) => "timeout",
            Self::Client(ClientError::Answer { .. }) | Self::TooLong(_) => "answer",
            Self::Client(_) => "connect",
            Self::Setup(_) => "setup",
            Self::Status(_) => "status",
            Self::Text | Self::Over | Self::Page(PageError::Line { .. }) => "malformed",
            Self::Page(PageError::TooMany(_)) => "sample_limit",
            Self::Page(PageError::Families) | Self::Refused(_) => "limits",
        }
    }
}

impl Scraping {
    /// Begins to fetch all targets; to be called on the runtime that serves.
    pub fn start(targets: &[Target], applications: Applications, metrics: Metrics, names: Names) -> Self {
        let (stop, bounds) = (watch::channel(false).0, Bounds::default());
        let mut out = Self { applications, metrics, targets: Vec::new(), stop, names, bounds };
        out.begin(targets);
        out
    }

    /// Fetches other targets from now on, if they are others.
    pub fn replace(&mut self, targets: &[Target]) {
        if self.targets != targets {
            self.stop = watch::channel(false).0;
            self.metrics.reset();
            self.begin(targets);
        }
    }

    fn begin(&mut self, targets: &[Target]) {
        self.targets = targets.to_vec();
        for target in targets {
            let task = Task::new(target, self.applications.clone(), self.names.clone(), self.bounds.clone());
            tokio::spawn(run(Arc::new(task), self.metrics.clone(), self.stop.subscribe()));
        }
    }
}

/// One target.
#[derive(Debug)]
struct Task {
    target: Target,
    instance: String,
    rules: Relabelling,
    applications: Applications,
    names: Names,
    bounds: Bounds,
    /// Its files are read on a thread of its own, whatever disk they are on; and one that hangs is not asked again.
    apart: Apart,
    trust: Kept,
}

/// One try to have a page: what it put into the store, and whether it still may. Both change while the store is locked, so
/// that nothing comes behind what forgets it.
#[derive(Debug, Default)]
struct Round {
    is_over: AtomicBool,
    /// The numbers of the applications that its samples belong to.
    applications: Mutex<HashSet<u32>>,
}

async fn run(task: Arc<Task>, metrics: Metrics, mut stopped: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(task.target.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let (mut known, mut said) = (HashSet::new(), None);
    loop {
        tokio::select! {
            biased;
            _ = stopped.changed() => break,
            _ = ticks.tick() => {}
        }
        let (begun, round) = (Instant::now(), Arc::new(Round::default()));
        let result = tokio::select! {
            biased;
            _ = stopped.changed() => {
                task.end(&round, &mut known);
                break;
            }
            result = tokio::time::timeout(task.target.timeout, task.fetch(&round)) => result,
        };
        let late = |_| Err(ClientError::Deadline { after: task.target.timeout }.into());
        let seconds = begun.elapsed().as_secs_f64();
        let samples = match result.unwrap_or_else(late) {
            Ok(samples) => {
                // What was there before and is no longer.
                task.forget(&known, begun);
                known = round.applications();
                Ok(samples)
            }
            Err(error) => {
                task.end(&round, &mut known);
                task.say(&error, &mut said);
                Err(error.reason())
            }
        };
        if samples.is_ok() && said.take().is_some() {
            tracing::info!(
                job = task.target.job,
                instance = task.instance,
                "the application's page is there again"
            );
        }
        metrics.tell([&task.target.job, &task.instance], Went { seconds, samples });
    }
    task.forget(&known, Instant::now() + Duration::from_millis(1));
}

impl Round {
    fn applications(&self) -> HashSet<u32> {
        self.applications.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Task {
    fn new(target: &Target, applications: Applications, names: Names, bounds: Bounds) -> Self {
        Self {
            instance: target.instance(),
            target: target.clone(),
            // What is wrong with the rules was told when the configuration was read.
            rules: Relabelling::new(&target.metric_relabel).unwrap_or_default(),
            applications,
            names,
            bounds,
            apart: Apart::new(1),
            trust: Kept::default(),
        }
    }

    /// Says why there is no page, once for each reason.
    fn say(&self, error: &FetchError, said: &mut Option<String>) {
        let text = error.to_string();
        if said.as_ref() != Some(&text) {
            let (job, instance) = (&self.target.job, &self.instance);
            tracing::warn!(job, instance, error = %text, "no page of an application");
            *said = Some(text);
        }
    }

    fn forget(&self, applications: &HashSet<u32>, since: Instant) {
        let mut store = self.applications.lock();
        for application in applications {
            store.forget(*application, since);
        }
    }

    /// Forgets all that is there, and what a round that failed has put there or still would.
    fn end(&self, round: &Round, known: &mut HashSet<u32>) {
        let mut store = self.applications.lock();
        round.is_over.store(true, Ordering::Relaxed);
        known.extend(round.applications());
        for application in known.drain() {
            store.forget(application, Instant::now() + Duration::from_millis(1));
        }
    }

    async fn fetch(self: &Arc<Self>, round: &Arc<Round>) -> Result<Samples, FetchError> {
        let mut answer = client::open(self.call().await?).await?;
        if answer.head.status != hyper::StatusCode::OK {
            return Err(FetchError::Status(answer.head.status));
        }
        let content_type = answer.head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let form = Form::named(content_type.unwrap_or_default());
        let (body, room) = self.body(&mut answer).await?;
        drop(answer);
        let reading = Arc::clone(&self.bounds.reading);
        let Ok(turn) = reading.acquire_owned().await else { return Err(FetchError::Over) };
        let (task, round) = (Arc::clone(self), Arc::clone(round));
        // Not on the thread that serves: a long page would keep others waiting. Turn and room are held to its end, also when
        // nobody waits for it any more.
        let taken = tokio::task::spawn_blocking(move || {
            let _held = (turn, room);
            let text = std::str::from_utf8(&body).map_err(|_| FetchError::Text)?;
            let page = page::read(text, &task.reading(form))?;
            task.put(&page, &round)
        });
        taken.await.unwrap_or(Err(FetchError::Text))
    }

    /// The page, with the room that it has if it is a long one.
    async fn body(&self, answer: &mut Opened) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), FetchError> {
        let most = usize::try_from(self.target.body_max.as_u64()).unwrap_or(usize::MAX);
        let said = answer.length().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        if said.is_some_and(|said| said > most) {
            return Err(FetchError::TooLong(self.target.body_max));
        }
        let (mut out, mut room) = (Vec::new(), None);
        while let Some(part) = answer.next().await? {
            let length = out.len() + part.len();
            if length > most {
                return Err(FetchError::TooLong(self.target.body_max));
            }
            if room.is_none() && length > SHORT_BYTES {
                // As long as it says that it is, or as long as it may be.
                let whole = said.unwrap_or(most);
                let pieces = u32::try_from(whole.div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX).min(ROOM_PIECES);
                room = Arc::clone(&self.bounds.room).acquire_many_owned(pieces).await.ok();
                out.reserve_exact(whole.saturating_sub(out.len()));
            }
            out.extend_from_slice(&part);
        }
        Ok((out, room))
    }

    async fn call(self: &Arc<Self>) -> Result<Call, FetchError> {
        let target = &self.target;
        let mut headers: HeaderMap = target.headers().map_err(FetchError::Setup)?;
        headers.entry(ACCEPT).or_insert(FORMS);
        if let Ok(seconds) = HeaderValue::try_from(target.timeout.as_secs_f64().to_string()) {
            headers.insert(TIMEOUT, seconds);
        }
        let task = Arc::clone(self);
        let secrets = if target.token_file.is_some() || target.is_secure() {
            let secrets = self.apart.run(move |_place| task.secrets()).await;
            secrets.unwrap_or_else(|e| Err(e.to_string())).map_err(FetchError::Setup)?
        } else {
            (None, None)
        };
        Ok(Call {
            authorization: secrets.0,
            trust: secrets.1,
            headers,
            unix: target.unix.clone(),
            names: Some(self.names.clone()),
            ..Call::get(target.url.clone())
        })
    }

    /// What the target's files hold. It may block for long.
    fn secrets(&self) -> Result<(Option<HeaderValue>, Option<Trust>), String> {
        let Target { token_file, ca_file, cert_file, key_file, .. } = self.target.clone();
        let read = |path: std::path::PathBuf| {
            plain(&path, TOKEN_BYTES_MAX).map_err(|e| e.to_string())?;
            Token::from_file(&path).map_err(|e| e.to_string())
        };
        let token = token_file.map(read).transpose()?;
        let files = Files { ca_file, cert_file, key_file };
        let trust = self.target.is_secure().then(|| self.trust.get(&files)).transpose();
        Ok((token.and_then(|token| token.header()), trust.map_err(|e| e.to_string())?))
    }

    fn reading(&self, form: Form) -> Reading<'_> {
        Reading {
            form,
            job: &self.target.job,
            instance: &self.instance,
            honor_labels: self.target.honor_labels,
            honor_timestamps: self.target.honor_timestamps,
            rules: &self.rules,
            sample_limit: self.target.sample_limit,
        }
    }

    /// Puts a page into the store, until the round is over. What the store refuses is counted there.
    fn put(&self, page: &Page, round: &Round) -> Result<Samples, FetchError> {
        let now = Instant::now();
        let mut numbers: HashMap<(&str, &str), Result<u32, Refusal>> = HashMap::new();
        if page.odd > 0 {
            self.applications.lock().refuse(Input::Scrape, Refusal::Number, page.odd);
        }
        let mut samples = Samples { scraped: page.scraped, kept: page.kept, ..Samples::default() };
        for family in &page.families {
            let about = About { name: &family.name, help: &family.help, kind: family.kind };
            for batch in family.series.chunks(BATCH) {
                let mut store = self.applications.lock();
                if round.is_over.load(Ordering::Relaxed) {
                    return Err(FetchError::Over);
                }
                if store.hides(&family.name, family.kind) {
                    samples.hidden += batch.len();
                }
                for series in batch {
                    let label = |name: &str| series.labels.get(name).map_or("", String::as_str);
                    let who = (label("job"), label("instance"));
                    let number = numbers.entry(who).or_insert_with(|| {
                        let number = store.application(who.0, who.1, now);
                        let mut known = round.applications.lock().unwrap_or_else(PoisonError::into_inner);
                        known.extend(number.ok());
                        number
                    });
                    samples.refused += usize::from(!put_series(&mut store, *number, now, (&about, series)));
                }
            }
        }
        match numbers.values().find_map(|number| number.err()) {
            Some(refusal) if round.applications().is_empty() => Err(FetchError::Refused(refusal)),
            _ => Ok(samples),
        }
    }
}

/// Puts a series into the store; whether that took it.
fn put_series(
    store: &mut Store,
    number: Result<u32, Refusal>,
    now: Instant,
    (about, series): (&About<'_>, &Series),
) -> bool {
    let application = match number {
        Ok(application) => application,
        Err(refusal) => {
            store.refuse(Input::Scrape, refusal, 1);
            return false;
        }
    };
    let sender = Sender { application, input: Input::Scrape, now, wall_nanos: 0 };
    let own = |(name, _): &(&String, &String)| *name != "job" && *name != "instance";
    let labels: Vec<(&str, &str)> =
        series.labels.iter().filter(own).map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let value = match &series.number {
        Number::One(value) => Value::F64(*value),
        Number::Histogram(value) => Value::Histogram(value),
        Number::Summary(value) => Value::Summary(value),
    };
    let (at_millis, exemplars) = (series.at_millis, series.exemplars.as_slice());
    let point = Point { at_millis, exemplars, ..Point::new(&labels, value) };
    store.put(&sender, about, &point).is_ok()
}

#[cfg(test)]
mod tests;
