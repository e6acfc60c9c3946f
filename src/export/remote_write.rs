//! Prometheus's remote write, versions 1.0 and 2.0: where to, who asks, and what an answer means.
//!
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec/>, …`_2_0/`.

mod message;
pub(super) mod series;

use super::pass::Pass;
use super::queue::Record;
use super::resource::Attributes;
use super::sender::{Outcome, Way, retry_after};
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
        post.headers().map_err(RemoteWriteError)?;
        Ok((form, post))
    }
}

/// Makes records of passes.
pub(super) struct Form {
    version: Version,
    labels: BTreeMap<String, String>,
}

impl Form {
    /// What the bodies of records are.
    pub(super) fn name(&self) -> &'static str {
        match self.version {
            Version::One => "prometheus.WriteRequest+snappy",
            Version::Two => "io.prometheus.write.v2.Request+snappy",
        }
    }
}

impl super::Form for Form {
    fn records(&mut self, pass: &Pass) -> Vec<Record> {
        let all = series::series(pass, &self.labels);
        let pack = |part: &[series::Series<'_>]| {
            let body = match self.version {
                Version::One => message::one(part),
                Version::Two => message::two(part),
            };
            // Only what is longer than 4 GiB cannot be packed.
            let body = snap::raw::Encoder::new().compress_vec(&body).ok()?;
            Some(Record { body, points: part.len() as u64 })
        };
        all.chunks(SERIES_MAX).filter_map(pack).collect()
    }
}

/// Sends records.
pub(super) struct Post {
    options: Options,
    trust: Option<Trust>,
}

impl Post {
    /// The headers; files are read for each request, so that a secret may be changed.
    fn headers(&self) -> Result<HeaderMap, String> {
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
        let (kind, version) = match self.options.version {
            Version::One => ("application/x-protobuf", "0.1.0"),
            Version::Two => ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"),
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
    fn send(&self, body: &[u8], stop: &dyn Fn() -> Option<String>) -> Outcome {
        let headers = match self.headers() {
            Ok(headers) => headers,
            Err(why) => return Outcome::Later { reason: "error", after: None, why },
        };
        let call = Call {
            method: Method::POST,
            headers,
            body: Some(body.to_vec()),
            trust: self.trust.clone(),
            deadline: self.options.timeout.unwrap_or(Duration::from_secs(30)),
            answer_bytes_max: ANSWER_BYTES_MAX,
            ..Call::get(self.options.url.clone())
        };
        match client::send_watched(call, stop) {
            Ok(answer) => outcome(&answer),
            Err(e) => Outcome::Later { reason: "unreachable", after: None, why: e.to_string() },
        }
    }
}

/// What an answer means.
fn outcome(answer: &Response<impl AsRef<[u8]>>) -> Outcome {
    let (status, after) = (answer.status(), retry_after(answer.headers()));
    if status.is_success() {
        return Outcome::Taken { refused: 0 };
    }
    let text: String = String::from_utf8_lossy(answer.body().as_ref()).trim().chars().take(300).collect();
    let why = format!("the receiver answers {status}: {text}");
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Outcome::Later { reason: "busy", after, why }
        }
        status if status.is_server_error() => Outcome::Later { reason: "error", after, why },
        _ => Outcome::Never { why },
    }
}

#[cfg(test)]
mod tests;
