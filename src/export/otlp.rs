//! Metrics by OTLP: where to and how, by configuration and environment; a request; and what an answer means.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/>.

mod request;

use super::conventions::{self, SCHEMA};
use super::line::lines;
use super::pass::Pass;
use super::queue::Record;
use super::resource::Attributes;
use super::sender::{Outcome, Way, retry_after};
use crate::client::trust::Trust;
use crate::client::{self, Call};
use crate::encode::compress::{Coding, Compressor};
use crate::otlp::{METRICS, Options as Connection, OtlpError, Variable, decoded};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode, Uri};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message;
use request::Builder;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The service of gRPC.
const METHOD: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Points of one request: receivers take 4 MiB unpacked, and few points have more than 500 bytes.
const POINTS_MAX: usize = 5000;

/// Options of metrics by OTLP. Whom to trust, headers and the time-out are those of the top level's `otlp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Whether metrics are sent; they are too where `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT` says where to.
    pub enabled: bool,
    /// The address without the signal's path; that of `otlp` without it.
    pub endpoint: Option<String>,
    /// How requests are sent; over HTTP without it.
    pub protocol: Option<Protocol>,
    /// How requests are packed; by gzip without it.
    pub compression: Option<Compression>,
    /// What totals say: all since their start without it.
    pub temporality: Option<Temporality>,
    /// What metrics are called.
    pub names: Names,
    /// What the resource says besides what is found out; it stands over that.
    pub attributes: BTreeMap<String, String>,
}

/// A form of OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Protocol {
    /// Protocol buffers over HTTP.
    #[default]
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
    /// gRPC.
    #[serde(rename = "grpc")]
    Grpc,
}

/// How a body is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// By gzip.
    #[default]
    Gzip,
    /// Not at all.
    None,
}

/// What totals say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Temporality {
    /// All since the start.
    #[default]
    Cumulative,
    /// What came since the last request.
    Delta,
}

/// What metrics are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Names {
    /// As on the page.
    #[default]
    Prometheus,
    /// By OpenTelemetry's semantic conventions, where they have a name.
    Otel,
}

impl Options {
    /// What is wrong, by its key, if anything is.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let Some(endpoint) = &self.endpoint else { return Ok(()) };
        client::check(endpoint).map_err(|e| ("endpoint".to_owned(), e.to_string()))
    }

    /// Whether anything is to be sent.
    pub(super) fn is_on(&self, connection: &Connection, variable: Variable<'_>) -> bool {
        let said = |name: &str| variable(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let off = said("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"))
            || said("OTEL_METRICS_EXPORTER").as_deref() == Some("none");
        let own = said("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT").is_some();
        let asked = said("OTEL_METRICS_EXPORTER").as_deref() == Some("otlp")
            && (connection.endpoint.is_some() || said("OTEL_EXPORTER_OTLP_ENDPOINT").is_some());
        !off && (self.enabled || own || asked)
    }

    /// What a request is made of and sent by.
    pub(super) fn start(
        &self,
        connection: &Connection,
        variable: Variable<'_>,
        resource: Attributes,
    ) -> Result<(Form, Post), OtlpError> {
        let said = |name: &str| {
            let of = |start: &str| variable(&format!("{start}_{name}")).filter(|v| !v.trim().is_empty());
            of("OTEL_EXPORTER_OTLP_METRICS").or_else(|| of("OTEL_EXPORTER_OTLP"))
        };
        let grpc = match (self.protocol, said("PROTOCOL").as_deref()) {
            (Some(protocol), _) => protocol == Protocol::Grpc,
            (None, said) => said == Some("grpc"),
        };
        let gzip = match (self.compression, said("COMPRESSION").as_deref()) {
            (Some(compression), _) => compression == Compression::Gzip,
            (None, said) => said != Some("none"),
        };
        let preference = variable("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE").unwrap_or_default();
        let temporality = self.temporality.unwrap_or(match preference.to_lowercase().as_str() {
            "delta" | "lowmemory" => Temporality::Delta,
            _ => Temporality::Cumulative,
        });
        let form = Form { resource, temporality, names: self.names, gzip, compressor: Compressor::default() };
        let timeout =
            said("TIMEOUT").and_then(|millis| millis.trim().parse().ok()).map(Duration::from_millis);
        let post = Post {
            url: self.url(connection, variable, grpc)?,
            grpc,
            gzip,
            headers: connection.variable_headers(METRICS, variable),
            headers_file: connection.headers_file.clone(),
            trust: connection.trust(METRICS, variable)?,
            deadline: connection.timeout.or(timeout).unwrap_or(Duration::from_secs(10)),
        };
        // Read now, so that a bad file stops the start.
        post.all_headers().map_err(|why| OtlpError::new("otlp.headers_file", why))?;
        Ok((form, post))
    }

    /// Where to: what is said for metrics is the whole address, over HTTP; what is said for all has none of their paths.
    fn url(&self, connection: &Connection, variable: Variable<'_>, grpc: bool) -> Result<String, OtlpError> {
        let said = |name: &str| variable(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let configured = self.endpoint.clone().or_else(|| connection.endpoint.clone());
        let whole = said("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT").filter(|_| configured.is_none());
        let base = configured.or_else(|| said("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let url = match (whole, base, grpc) {
            (Some(whole), _, false) => whole,
            (Some(base), _, true) | (None, Some(base), true) => {
                let uri: Uri =
                    base.parse().map_err(|_| OtlpError::new("export.otlp.endpoint", "no address"))?;
                let host = uri.authority().map_or("", |authority| authority.as_str());
                format!("{}://{host}{METHOD}", uri.scheme_str().unwrap_or("http"))
            }
            (None, Some(base), false) => format!("{}/v1/metrics", base.trim_end_matches('/')),
            (None, None, _) => {
                let why = "give an address here, in otlp.endpoint or in OTEL_EXPORTER_OTLP_ENDPOINT";
                return Err(OtlpError::new("export.otlp.endpoint", why));
            }
        };
        client::check(&url).map_err(|e| OtlpError::new("export.otlp.endpoint", e))?;
        Ok(url)
    }
}

/// Makes records of passes.
pub(super) struct Form {
    resource: Attributes,
    temporality: Temporality,
    names: Names,
    gzip: bool,
    compressor: Compressor,
}

impl Form {
    /// What the bodies of records are.
    pub(super) fn name(&self) -> &'static str {
        if self.gzip { "otlp+gzip" } else { "otlp" }
    }
}

impl super::Form for Form {
    fn records(&mut self, pass: &Pass) -> Vec<Record> {
        let (lines, schema) = match self.names {
            Names::Prometheus => (lines(pass), ""),
            Names::Otel => (conventions::convert(lines(pass)), SCHEMA),
        };
        let how = (self.temporality, schema);
        let requests = Builder::new(&self.resource, how, pass.before_millis, POINTS_MAX).build(&lines);
        let pack = |(request, points): (_, usize)| {
            let body = prost::Message::encode_to_vec(&request);
            let coding = if self.gzip { Coding::Gzip } else { Coding::Identity };
            // What cannot be packed can be sent by nobody: the coding stands in the queue's form.
            let body = self.compressor.compress(coding, &body).ok()?;
            Some(Record { body, points: points as u64 })
        };
        requests.into_iter().filter_map(pack).collect()
    }
}

/// Sends records.
pub(super) struct Post {
    url: String,
    grpc: bool,
    gzip: bool,
    headers: HeaderMap,
    headers_file: Option<PathBuf>,
    trust: Option<Trust>,
    deadline: Duration,
}

impl Post {
    /// The headers; the file is read for each request, so that a key may be changed.
    fn all_headers(&self) -> Result<HeaderMap, String> {
        let mut out = self.headers.clone();
        if let Some(file) = &self.headers_file {
            out.extend(crate::otlp::headers_of(file)?);
        }
        Ok(out)
    }

    fn call(&self, body: &[u8]) -> Result<Call, String> {
        let mut call = Call {
            method: Method::POST,
            headers: self.all_headers()?,
            trust: self.trust.clone(),
            deadline: self.deadline,
            answer_bytes_max: ANSWER_BYTES_MAX,
            http2: self.grpc,
            ..Call::get(self.url.clone())
        };
        let mut set = |name: HeaderName, value| call.headers.insert(name, HeaderValue::from_static(value));
        if self.grpc {
            set(CONTENT_TYPE, "application/grpc");
            set(HeaderName::from_static("te"), "trailers");
            if self.gzip {
                set(HeaderName::from_static("grpc-encoding"), "gzip");
            }
            let mut framed = vec![u8::from(self.gzip)];
            framed.extend_from_slice(&u32::try_from(body.len()).map_err(|e| e.to_string())?.to_be_bytes());
            framed.extend_from_slice(body);
            call.body = Some(framed);
        } else {
            set(CONTENT_TYPE, "application/x-protobuf");
            if self.gzip {
                set(CONTENT_ENCODING, "gzip");
            }
            call.body = Some(body.to_vec());
        }
        Ok(call)
    }
}

impl Way for Post {
    fn send(&self, body: &[u8], stop: &dyn Fn() -> Option<String>) -> Outcome {
        let call = match self.call(body) {
            Ok(call) => call,
            Err(why) => return Outcome::Later { reason: "error", after: None, why },
        };
        match client::send_watched(call, stop) {
            Ok(answer) if self.grpc => grpc(&answer),
            Ok(answer) => http(&answer),
            Err(e) => Outcome::Later { reason: "unreachable", after: None, why: e.to_string() },
        }
    }
}

/// What an answer over HTTP means.
fn http(answer: &Response<impl AsRef<[u8]>>) -> Outcome {
    let (status, after) = (answer.status(), retry_after(answer.headers()));
    let why = format!("the receiver answers {status}");
    match status {
        status if status.is_success() => taken(answer.body().as_ref()),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Outcome::Later { reason: "busy", after, why }
        }
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
            Outcome::Later { reason: "error", after, why }
        }
        _ => Outcome::Never { why },
    }
}

/// What an answer over gRPC means.
fn grpc(answer: &Response<impl AsRef<[u8]>>) -> Outcome {
    let text = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let Some(code) = text("grpc-status").and_then(|code| code.parse::<u8>().ok()) else {
        // A proxy answers in the receiver's place.
        return match http(answer) {
            Outcome::Taken { .. } => Outcome::Later {
                reason: "error",
                after: None,
                why: "the receiver does not speak gRPC".into(),
            },
            other => other,
        };
    };
    let why = format!("the receiver answers {code}: {}", decoded(text("grpc-message").unwrap_or_default()));
    let after = retry_after(answer.headers());
    match code {
        // Behind the sign that it is not packed, and its length.
        0 => taken(answer.body().as_ref().get(5..).unwrap_or_default()),
        14 => Outcome::Later { reason: "busy", after, why },
        // It may be too much for now, which then says so, or too long for ever.
        8 if says_when(text("grpc-status-details-bin").unwrap_or_default()) => {
            Outcome::Later { reason: "busy", after, why }
        }
        1 | 4 | 10 | 11 | 15 => Outcome::Later { reason: "error", after, why },
        _ => Outcome::Never { why },
    }
}

/// Whether the details of a status say when to come again.
fn says_when(details: &str) -> bool {
    const RETRY: &[u8] = b"google.rpc.RetryInfo";
    let details = STANDARD_NO_PAD.decode(details.trim_end_matches('=')).unwrap_or_default();
    details.windows(RETRY.len()).any(|part| part == RETRY)
}

/// How many points of a request that was taken were not.
fn taken(body: &[u8]) -> Outcome {
    let response = ExportMetricsServiceResponse::decode(body).unwrap_or_default();
    let refused = response.partial_success.map_or(0, |partial| partial.rejected_data_points);
    Outcome::Taken { refused: u64::try_from(refused).unwrap_or(0) }
}

#[cfg(test)]
mod tests;
