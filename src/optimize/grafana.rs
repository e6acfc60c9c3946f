//! Actions as annotations in Grafana: sent after the fact, from a queue that is bounded, by a thread that no run waits for.
//!
//! Source: <https://grafana.com/docs/grafana/latest/developers/http_api/annotations/>.

use super::metrics::Metrics;
use crate::client::trust::{Files, Trust, TrustError};
use crate::client::{self, Call};
use crate::serve::token::{Token, TokenError};
use hyper::Method;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Annotations that wait; more are dropped.
const QUEUE_MAX: usize = 64;
/// How long Grafana has for one.
const DEADLINE: Duration = Duration::from_secs(5);
/// The times between tries, for a Grafana that is away for a moment.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// Where Grafana is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Its address, as people open it.
    pub url: String,
    /// The file with a token of a service account that may write annotations.
    pub token_file: PathBuf,
    /// Authorities to trust over https, in PEM form; the system's without it.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// More tags: this machine's name, for example.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// An action that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Annotation {
    /// When it began, in milliseconds since the epoch.
    pub time: i64,
    /// When it ended.
    #[serde(rename = "timeEnd")]
    pub time_end: i64,
    /// What it is found by: `headroom`, action, target, result.
    pub tags: Vec<String>,
    /// What people read.
    pub text: String,
}

/// Why none can be sent.
#[derive(Debug, thiserror::Error)]
pub enum GrafanaError {
    /// The token's file cannot be used.
    #[error("optimizer.grafana.token_file: {0}")]
    Token(#[from] TokenError),
    /// The authorities' file cannot be used.
    #[error("optimizer.grafana.ca_file: {0}")]
    Trust(#[from] TrustError),
    /// The thread could not be started.
    #[error("cannot start the thread that writes annotations: {0}")]
    Thread(#[from] std::io::Error),
}

/// The way to Grafana, or nothing at all.
#[derive(Clone, Default)]
pub struct Annotations(Option<Arc<Way>>);

struct Way {
    queue: Mutex<Option<SyncSender<Annotation>>>,
    thread: JoinHandle<()>,
    tags: Vec<String>,
    metrics: Metrics,
}

impl Annotations {
    /// Begins, if Grafana is configured. What cannot be read is an error now, not later.
    pub fn start(options: Option<&Options>, metrics: &Metrics) -> Result<Self, GrafanaError> {
        let Some(options) = options else { return Ok(Self::default()) };
        Token::from_file(&options.token_file)?;
        let files = Files { ca_file: options.ca_file.clone(), ..Files::default() };
        let secure = options.url.starts_with("https://");
        let trust = if secure { Some(Trust::new(&files)?) } else { None };
        metrics.show_annotations();
        let (queue, inbox) = sync_channel(QUEUE_MAX);
        let call = Call {
            method: Method::POST,
            trust,
            deadline: DEADLINE,
            ..Call::get(format!("{}/api/annotations", options.url.trim_end_matches('/')))
        };
        let writer =
            Writer { call, token_file: options.token_file.clone(), metrics: metrics.clone(), fails: false };
        let thread = std::thread::Builder::new().name("grafana".into()).spawn(move || writer.run(&inbox))?;
        let (tags, metrics) = (options.tags.clone(), metrics.clone());
        Ok(Self(Some(Arc::new(Way { queue: Mutex::new(Some(queue)), thread, tags, metrics }))))
    }

    /// Takes it along, if there is room. Never waits.
    pub fn add(&self, annotation: impl FnOnce() -> Annotation) {
        let Some(way) = &self.0 else { return };
        let mut annotation = annotation();
        annotation.tags.extend(way.tags.iter().cloned());
        let queue = way.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.as_ref().is_none_or(|queue| queue.try_send(annotation).is_err()) {
            way.metrics.annotations.with_label_values(&["dropped"]).inc();
        }
    }

    /// Takes nothing more, and lets what waits be sent until the deadline.
    pub fn stop(&self, deadline: Instant) {
        let Some(way) = &self.0 else { return };
        drop(way.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        while !way.thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

struct Writer {
    call: Call,
    token_file: PathBuf,
    metrics: Metrics,
    fails: bool,
}

impl Writer {
    fn run(mut self, inbox: &Receiver<Annotation>) {
        while let Ok(annotation) = inbox.recv() {
            let mut result = self.send(&annotation);
            for wait in AGAIN {
                // While it is known to be away, the next ones are not to wait in line for it.
                let Err((_, true)) = result else { break };
                if self.fails {
                    break;
                }
                std::thread::sleep(wait);
                result = self.send(&annotation);
            }
            self.note(&result.map_err(|(why, _)| why));
        }
    }

    /// Sends it; an error says whether a later try may help.
    fn send(&self, annotation: &Annotation) -> Result<(), (String, bool)> {
        let token = Token::from_file(&self.token_file).map_err(|e| (e.to_string(), false))?;
        let body = serde_json::to_vec(annotation).map_err(|e| (e.to_string(), false))?;
        let call = Call { authorization: token.header(), body: Some(body), ..self.call.clone() };
        match client::send_blocking(call) {
            Ok((status, _)) if status.is_success() => Ok(()),
            Ok((status, _)) => Err((format!("Grafana answers {status}"), status.is_server_error())),
            Err(e) => Err((e.to_string(), true)),
        }
    }

    fn note(&mut self, result: &Result<(), String>) {
        let word = if result.is_ok() { "sent" } else { "failed" };
        self.metrics.annotations.with_label_values(&[word]).inc();
        match (result, self.fails) {
            (Err(error), false) => tracing::warn!(error, "an annotation could not be written in Grafana"),
            (Ok(()), true) => tracing::info!("annotations are written in Grafana again"),
            _ => {}
        }
        self.fails = result.is_err();
    }
}
