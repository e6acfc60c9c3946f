//! Prometheus's remote write, versions 1.0 and 2.0: where to, who asks, and what an answer means.
//!
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec/>, …`_2_0/`.

pub(super) mod message;
pub(super) mod series;

use super::pass::Pass;
use super::queue::Record;
use super::resource::Attributes;
use super::retry::retry_after;
use super::sender::{Outcome, Way};
use crate::client::trust::{Files, Trust};
use crate::client::{self, Call};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Series of one request: Prometheus's own number.
const SERIES_MAX: usize = 2000;
/// The longest file with a secret.
const SECRET_BYTES_MAX: usize = 64 << 10;

/// A body of version 1.0.
const ONE: &str = "prometheus.WriteRequest+snappy";
/// One of version 2.0.
const TWO: &str = "io.prometheus.write.v2.Request+snappy";
/// What bodies may be.
pub(super) const FORMS: &[&str] = &[ONE, TWO];
/// What a receiver of version 2.0 says of what it wrote.
const WRITTEN: [&str; 3] = [
    "x-prometheus-remote-write-samples-written",
    "x-prometheus-remote-write-histograms-written",
    "x-prometheus-remote-write-exemplars-written",
];

/// A receiver of remote write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Its name in metrics, logs and the queue's directory; `remote_write_0` and so on without it.
    pub name: Option<String>,
    /// The address, such as `http://127.0.0.1:9090/api/v1/write`.
    pub url: String,
    /// The version of the protocol.
    pub version: Version,
    /// A file with a header a line, `name: value`.
    pub headers_file: Option<PathBuf>,
    /// A user and a password.
    pub basic_auth: Option<BasicAuth>,
    /// A file with a token, sent as `Authorization: Bearer …`.
    pub bearer_token_file: Option<PathBuf>,
    /// Authorities to trust over https, in PEM form; the system's without it.
    pub ca_file: Option<PathBuf>,
    /// A certificate to show, and
    pub cert_file: Option<PathBuf>,
    /// its key.
    pub key_file: Option<PathBuf>,
    /// How long a request may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Option<Duration>,
    /// The label `job` of this machine's series; `headroom` without it.
    pub job: Option<String>,
    /// Their label `instance`; host and port without it.
    pub instance: Option<String>,
    /// Labels that all series get which have none of that name.
    pub external_labels: BTreeMap<String, String>,
}

/// A user and a password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// The user.
    pub username: String,
    /// The file with the password.
    pub password_file: PathBuf,
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Version {
    /// What every receiver takes.
    #[default]
    #[serde(rename = "1.0")]
    One,
    /// Each text once a request; with help, unit, kind and the start of totals.
    #[serde(rename = "2.0")]
    Two,
}

/// A receiver that nothing can be sent to.
#[derive(Debug, thiserror::Error)]
#[error("export.remote_write: {0}")]
pub struct RemoteWriteError(String);

/// What is wrong with the receivers, by the key, if anything is.
pub(super) fn check(all: &[Options]) -> Result<(), (String, String)> {
    for (at, options) in all.iter().enumerate() {
        let key = |key: &str| format!("remote_write[{at}].{key}");
        client::check(&options.url).map_err(|e| (key("url"), e.to_string()))?;
        let name = options.name(at);
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        let taken =
            name == "otlp" || all.iter().enumerate().any(|(i, other)| i < at && other.name(i) == name);
        if name.is_empty() || !name.chars().all(good) || taken {
            let why = "lower case letters, digits, `_` and `-`; not `otlp`, and no name twice".to_owned();
            return Err((key("name"), why));
        }
        if options.basic_auth.is_some() && options.bearer_token_file.is_some() {
            return Err((key("bearer_token_file"), "this or basic_auth, and not both".into()));
        }
        let is_label = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && !name.starts_with("__")
        };
        if let Some(name) = options.external_labels.keys().find(|name| !is_label(name)) {
            return Err((key("external_labels"), format!("`{name}` is no name of a label")));
        }
    }
    Ok(())
}

impl Options {
    /// What the receiver is called, which is the one at this place.
    pub(super) fn name(&self, at: usize) -> String {
        self.name.clone().unwrap_or_else(|| format!("remote_write_{at}"))
    }

    /// The files that the options name.
    pub fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let files = [&mut self.headers_file, &mut self.bearer_token_file, &mut self.ca_file];
        let shown = [&mut self.cert_file, &mut self.key_file];
        let password = self.basic_auth.as_mut().map(|auth| &mut auth.password_file);
        files.into_iter().chain(shown).filter_map(Option::as_mut).chain(password)
    }

    /// What a request is made of and sent by; `resource` says who this machine is.
    pub(super) fn start(&self, resource: &Attributes) -> Result<(Form, Post), RemoteWriteError> {
        let mut labels = self.external_labels.clone();
        let instance = self.instance.clone().or_else(|| resource.get("service.instance.id").cloned());
        labels.insert("job".into(), self.job.clone().unwrap_or_else(|| "headroom".into()));
        labels.extend(instance.map(|instance| ("instance".to_owned(), instance)));
        let form = Form { version: self.version, labels };
        let files = Files {
            ca_file: self.ca_file.clone(),
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
        };
        // Read now, so that a bad file stops the start; a plain address needs none.
        let trust = (files != Files::default()).then(|| Trust::new(&files)).transpose();
        let post = Post { options: self.clone(), trust: trust.map_err(|e| RemoteWriteError(e.to_string()))? };
        post.headers(ONE).map_err(RemoteWriteError)?;
        Ok((form, post))
    }
}

/// Makes records of passes.
pub(super) struct Form {
    version: Version,
    labels: BTreeMap<String, String>,
}

impl super::Form for Form {
    fn records(&mut self, pass: &Pass) -> Vec<Record> {
        let mut out = Vec::new();
        // Each part is packed before the next is made: series take much more room than their bodies.
        series::series(
            pass,
            &self.labels,
            (SERIES_MAX, &mut |part| {
                let (form, body) = match self.version {
                    Version::One => (ONE, message::one(part)),
                    Version::Two => (TWO, message::two(part)),
                };
                // Only what is longer than 4 GiB cannot be packed.
                let body = snap::raw::Encoder::new().compress_vec(&body).ok();
                out.extend(body.map(|body| Record { body, points: part.len() as u64, form }));
            }),
        );
        out
    }
}

/// Sends records.
pub(super) struct Post {
    options: Options,
    trust: Option<Trust>,
}

impl Post {
    /// The headers of a body of this form; files are read for each request, so that a secret may be changed.
    fn headers(&self, form: &str) -> Result<HeaderMap, String> {
        let mut out = match &self.options.headers_file {
            Some(file) => crate::otlp::headers_of(file)?,
            None => HeaderMap::new(),
        };
        let authorization = match (&self.options.basic_auth, &self.options.bearer_token_file) {
            (Some(BasicAuth { username, password_file }), _) => {
                let login = format!("{username}:{}", secret(password_file)?);
                Some(format!("Basic {}", STANDARD.encode(login)))
            }
            (None, Some(file)) => Some(format!("Bearer {}", secret(file)?)),
            (None, None) => None,
        };
        if let Some(text) = authorization {
            let mut value = HeaderValue::try_from(text).map_err(|_| "a secret that no header can hold")?;
            value.set_sensitive(true);
            out.insert(AUTHORIZATION, value);
        }
        let (kind, version) = if form == TWO {
            ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0")
        } else {
            ("application/x-protobuf", "0.1.0")
        };
        out.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        out.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        let name = HeaderName::from_static("x-prometheus-remote-write-version");
        out.insert(name, HeaderValue::from_static(version));
        Ok(out)
    }
}

/// What a file holds, without the end of its line.
fn secret(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let text = text.trim_end_matches(['\r', '\n']).to_owned();
    if text.is_empty() || text.len() > SECRET_BYTES_MAX {
        return Err(format!("{}: empty, or too long", file.display()));
    }
    Ok(text)
}

impl Way for Post {
    fn send(&self, record: &Record, stop: &dyn Fn() -> Option<String>) -> Outcome {
        let headers = match self.headers(record.form) {
            Ok(headers) => headers,
            Err(why) => return Outcome::Later { reason: "error", after: None, why },
        };
        let call = Call {
            method: Method::POST,
            headers,
            body: Some(record.body.clone()),
            trust: self.trust.clone(),
            deadline: self.options.timeout.unwrap_or(Duration::from_secs(30)),
            answer_bytes_max: ANSWER_BYTES_MAX,
            ..Call::get(self.options.url.clone())
        };
        match client::send_watched(call, stop) {
            Ok(answer) => outcome(&answer, record),
            Err(e) => Outcome::Later { reason: "unreachable", after: None, why: e.to_string() },
        }
    }
}

/// What an answer to a record means.
pub(super) fn outcome(answer: &Response<impl AsRef<[u8]>>, record: &Record) -> Outcome {
    let (status, after) = (answer.status(), retry_after(answer.headers()));
    let written = written(answer.headers()).filter(|_| record.form == TWO);
    if status.is_success() {
        return match written {
            _ if record.form != TWO => Outcome::Taken { refused: 0 },
            Some(written) => Outcome::Taken { refused: record.points.saturating_sub(written) },
            // One of version 1.0 that reads no Content-Type finds nothing in the body, and says that all is well.
            None => {
                let why = format!(
                    "the receiver answers {status} and not what it wrote: it does not know version 2.0"
                );
                Outcome::Never { taken: 0, why }
            }
        };
    }
    let text: String = String::from_utf8_lossy(answer.body().as_ref()).trim().chars().take(300).collect();
    let why = format!("the receiver answers {status}: {text}");
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Outcome::Later { reason: "busy", after, why }
        }
        status if status.is_server_error() => Outcome::Later { reason: "error", after, why },
        _ => Outcome::Never { taken: written.unwrap_or(0), why },
    }
}

/// How many samples were written, by a receiver that says it. One that says something else has written none.
fn written(headers: &HeaderMap) -> Option<u64> {
    WRITTEN.iter().any(|name| headers.contains_key(*name)).then(|| {
        let [samples, ..] = WRITTEN;
        headers.get(samples).and_then(|value| value.to_str().ok()?.trim().parse().ok()).unwrap_or(0)
    })
}

#[cfg(test)]
mod tests;
