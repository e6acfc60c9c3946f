//! The tasks that fetch pages and put them into the store, one for each target.

use super::Target;
use super::metrics::{Metrics, Went};
use super::page::{self, Form, Number, Page, PageError, Reading};
use super::relabel::Relabelling;
use crate::apps::limits::Refusal;
use crate::apps::store::{About, Point, Sender};
use crate::apps::{Applications, Input};
use crate::client::trust::{Files, Trust};
use crate::client::{Call, ClientError, send_whole};
use crate::metric::Value;
use crate::serve::token::Token;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};

/// So many series are put into the store at once: a page waits for them.
const BATCH: usize = 500;
const FORMS: HeaderValue = HeaderValue::from_static(
    "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
);
const TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// The tasks of all targets. They end with it.
#[derive(Debug)]
pub struct Scraping {
    applications: Applications,
    metrics: Metrics,
    targets: Vec<Target>,
    stop: watch::Sender<bool>,
    /// One page is read at a time.
    reading: Arc<Semaphore>,
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
    #[error("the page is not text in UTF-8")]
    Text,
    #[error(transparent)]
    Page(#[from] PageError),
    #[error("the application is refused: {0}")]
    Refused(Refusal),
}

impl FetchError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Client(ClientError::Deadline { .. }) => "timeout",
            Self::Client(ClientError::Answer { .. }) => "answer",
            Self::Client(_) => "connect",
            Self::Setup(_) => "setup",
            Self::Status(_) => "status",
            Self::Text | Self::Page(PageError::Line { .. }) => "malformed",
            Self::Page(PageError::TooMany(_)) => "sample_limit",
            Self::Refused(_) => "limits",
        }
    }
}

impl Scraping {
    /// Begins to fetch all targets; to be called on the runtime that serves.
    pub fn start(targets: &[Target], applications: Applications, metrics: Metrics) -> Self {
        let (stop, reading) = (watch::channel(false).0, Arc::new(Semaphore::new(1)));
        let mut out = Self { applications, metrics, targets: Vec::new(), stop, reading };
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
            // What is wrong with the rules was told when the configuration was read.
            let rules = Relabelling::new(&target.metric_relabel).unwrap_or_default();
            let task = Task {
                instance: target.instance(),
                target: target.clone(),
                rules,
                applications: self.applications.clone(),
                reading: Arc::clone(&self.reading),
            };
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
    reading: Arc<Semaphore>,
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
        let begun = Instant::now();
        let result = tokio::select! {
            biased;
            _ = stopped.changed() => break,
            result = task.fetch() => result,
        };
        let seconds = begun.elapsed().as_secs_f64();
        let samples = match result {
            Ok(taken) => {
                // What was there before and is no longer.
                task.forget(&known, begun);
                known = taken.applications;
                Ok((taken.scraped, taken.kept))
            }
            Err(error) => {
                task.forget(&known, Instant::now() + Duration::from_millis(1));
                known.clear();
                let text = error.to_string();
                if said.as_ref() != Some(&text) {
                    tracing::warn!(job = task.target.job, instance = task.instance, error = %text, "no page of an application");
                    said = Some(text);
                }
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

/// What became of a page.
struct Taken {
    scraped: usize,
    kept: usize,
    /// The numbers of the applications that its samples belong to.
    applications: HashSet<u32>,
}

impl Task {
    fn forget(&self, applications: &HashSet<u32>, since: Instant) {
        let mut store = self.applications.lock();
        for application in applications {
            store.forget(*application, since);
        }
    }

    async fn fetch(self: &Arc<Self>) -> Result<Taken, FetchError> {
        let answer = send_whole(self.call()?).await?;
        if answer.status() != hyper::StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let content_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let form = Form::named(content_type.unwrap_or_default());
        let body = answer.into_body();
        let Ok(_one) = self.reading.acquire().await else { return Err(FetchError::Text) };
        let task = Arc::clone(self);
        // Not on the thread that serves: a long page would keep others waiting.
        let taken = tokio::task::spawn_blocking(move || {
            let text = std::str::from_utf8(&body).map_err(|_| FetchError::Text)?;
            let page = page::read(text, &task.reading(form))?;
            task.put(&page)
        });
        taken.await.unwrap_or(Err(FetchError::Text))
    }

    fn call(&self) -> Result<Call, FetchError> {
        let setup = |why: String| FetchError::Setup(why);
        let target = &self.target;
        let mut headers: HeaderMap = target.headers().map_err(setup)?;
        headers.entry(ACCEPT).or_insert(FORMS);
        if let Ok(seconds) = HeaderValue::try_from(target.timeout.as_secs_f64().to_string()) {
            headers.insert(TIMEOUT, seconds);
        }
        let token = target.token_file.as_deref().map(Token::from_file).transpose();
        let token = token.map_err(|e| setup(e.to_string()))?;
        let files = Files {
            ca_file: target.ca_file.clone(),
            cert_file: target.cert_file.clone(),
            key_file: target.key_file.clone(),
        };
        let secure = target.url.starts_with("https:");
        let trust = secure.then(|| Trust::new(&files)).transpose().map_err(|e| setup(e.to_string()))?;
        Ok(Call {
            authorization: token.and_then(|token| token.header()),
            headers,
            trust,
            deadline: target.timeout,
            unix: target.unix.clone(),
            answer_bytes_max: usize::try_from(target.body_max.as_u64()).unwrap_or(usize::MAX),
            ..Call::get(target.url.clone())
        })
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

    /// Puts a page into the store. What that refuses is counted there.
    fn put(&self, page: &Page) -> Result<Taken, FetchError> {
        let now = Instant::now();
        let mut numbers: HashMap<(&str, &str), Result<u32, Refusal>> = HashMap::new();
        if page.odd > 0 {
            self.applications.lock().refuse(Input::Scrape, Refusal::Number, page.odd);
        }
        for family in &page.families {
            let about = About { name: &family.name, help: &family.help, kind: family.kind };
            for batch in family.series.chunks(BATCH) {
                let mut store = self.applications.lock();
                for series in batch {
                    let label = |name: &str| series.labels.get(name).map_or("", String::as_str);
                    let who = (label("job"), label("instance"));
                    let number = numbers.entry(who).or_insert_with(|| store.application(who.0, who.1, now));
                    let application = match *number {
                        Ok(application) => application,
                        Err(refusal) => {
                            store.refuse(Input::Scrape, refusal, 1);
                            continue;
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
                    let _counted = store.put(&sender, &about, &point);
                }
            }
        }
        let applications: HashSet<u32> = numbers.values().filter_map(|number| number.ok()).collect();
        match numbers.values().find_map(|number| number.err()) {
            Some(refusal) if applications.is_empty() => Err(FetchError::Refused(refusal)),
            _ => Ok(Taken { scraped: page.scraped, kept: page.kept, applications }),
        }
    }
}
