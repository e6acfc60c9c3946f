//! A request of OTLP: where to and how, by configuration and environment; and what an answer means. The same for each signal.

use super::super::queue::Record;
use super::super::retry::{retry_after, retry_info};
use super::super::sender::{Outcome, Way};
use super::{Compression, Protocol};
use crate::client::trust::Trust;
use crate::client::{self, Call};
use crate::otlp::{Options as Connection, OtlpError, Signal, Variable, decoded};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode, Uri};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message;
use std::path::PathBuf;
use std::time::Duration;

/// A packed body.
pub(in crate::export) const GZIP: &str = "otlp+gzip";
/// One that is not.
pub(in crate::export) const PLAIN: &str = "otlp";
/// What bodies may be.
pub(in crate::export) const FORMS: &[&str] = &[GZIP, PLAIN];
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What the configuration says about one signal; the environment counts where it says nothing.
#[derive(Clone, Copy, Debug)]
pub(in crate::export) struct How<'a> {
    pub(in crate::export) signal: Signal,
    /// The key below which it stands.
    pub(in crate::export) key: &'static str,
    pub(in crate::export) endpoint: Option<&'a str>,
    pub(in crate::export) protocol: Option<Protocol>,
    pub(in crate::export) compression: Option<Compression>,
}

impl How<'_> {
    /// What sends, and what bodies are to be.
    pub(in crate::export) fn start(
        &self,
        connection: &Connection,
        variable: Variable<'_>,
    ) -> Result<(Post, &'static str), OtlpError> {
        let own = self.signal.variable();
        let said = |name: &str| {
            let of = |start: &str| variable(&format!("{start}_{name}")).filter(|v| !v.trim().is_empty());
            of(&own).or_else(|| of("OTEL_EXPORTER_OTLP"))
        };
        let grpc = match (self.protocol, said("PROTOCOL").as_deref().map(str::trim)) {
            (Some(protocol), _) => protocol == Protocol::Grpc,
            (None, said) => said == Some("grpc"),
        };
        let gzip = match (self.compression, said("COMPRESSION").as_deref().map(str::trim)) {
            (Some(compression), _) => compression == Compression::Gzip,
            (None, said) => said != Some("none"),
        };
        let timeout =
            said("TIMEOUT").and_then(|millis| millis.trim().parse().ok()).filter(|millis| *millis > 0);
        let post = Post {
            url: self.url(connection, variable, grpc)?,
            grpc,
            headers: connection.variable_headers(self.signal, variable),
            headers_file: connection.headers_file.clone(),
            trust: connection.trust(self.signal, variable)?,
            deadline: connection
                .timeout
                .or(timeout.map(Duration::from_millis))
                .unwrap_or(Duration::from_secs(10)),
        };
        // Read now, so that a bad file stops the start.
        post.all_headers().map_err(|why| OtlpError::new("otlp.headers_file", why))?;
        Ok((post, if gzip { GZIP } else { PLAIN }))
    }

    /// Where to: what is said for the signal is the whole address, over HTTP; what is said for all has none of their paths.
    fn url(&self, connection: &Connection, variable: Variable<'_>, grpc: bool) -> Result<String, OtlpError> {
        let said = |name: &str| variable(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let configured = self.endpoint.map(str::to_owned).or_else(|| connection.endpoint.clone());
        let whole = said(&format!("{}_ENDPOINT", self.signal.variable())).filter(|_| configured.is_none());
        let base = configured.or_else(|| said("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let url = match (whole, base, grpc) {
            (Some(whole), _, false) => whole,
            (Some(base), _, true) | (None, Some(base), true) => {
                let uri: Uri = base.parse().map_err(|_| OtlpError::new(self.key, "no address"))?;
                let host = uri.authority().map_or("", |authority| authority.as_str());
                format!("{}://{host}{}", uri.scheme_str().unwrap_or("http"), self.signal.method())
            }
            (None, Some(base), false) => {
                format!("{}/v1/{}", base.trim_end_matches('/'), self.signal.name())
            }
            (None, None, _) => {
                let why = "give an address here, in otlp.endpoint or in OTEL_EXPORTER_OTLP_ENDPOINT";
                return Err(OtlpError::new(self.key, why));
            }
        };
        client::check(&url).map_err(|e| OtlpError::new(self.key, e))?;
        Ok(url)
    }
}

/// Sends records.
pub(in crate::export) struct Post {
    pub(super) url: String,
    grpc: bool,
    headers: HeaderMap,
    headers_file: Option<PathBuf>,
    trust: Option<Trust>,
    pub(super) deadline: Duration,
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

    fn call(&self, record: &Record) -> Result<Call, String> {
        let (body, gzip) = (&record.body, record.form == GZIP);
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
            if gzip {
                set(HeaderName::from_static("grpc-encoding"), "gzip");
            }
            let mut framed = vec![u8::from(gzip)];
            framed.extend_from_slice(&u32::try_from(body.len()).map_err(|e| e.to_string())?.to_be_bytes());
            framed.extend_from_slice(body);
            call.body = Some(framed);
        } else {
            set(CONTENT_TYPE, "application/x-protobuf");
            if gzip {
                set(CONTENT_ENCODING, "gzip");
            }
            call.body = Some(body.clone());
        }
        Ok(call)
    }
}

impl Way for Post {
    fn send(&self, record: &Record, stop: &dyn Fn() -> Option<String>) -> Outcome {
        let call = match self.call(record) {
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
pub(in crate::export) fn http(answer: &Response<impl AsRef<[u8]>>) -> Outcome {
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
        _ => Outcome::Never { taken: 0, why },
    }
}

/// What an answer over gRPC means.
pub(in crate::export) fn grpc(answer: &Response<impl AsRef<[u8]>>) -> Outcome {
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
    let info = retry_info(text("grpc-status-details-bin").unwrap_or_default());
    let after = info.or_else(|| retry_after(answer.headers()));
    match code {
        // Behind the sign that it is not packed, and its length.
        0 => taken(answer.body().as_ref().get(5..).unwrap_or_default()),
        14 => Outcome::Later { reason: "busy", after, why },
        // It may be too much for now, which then says so, or too long for ever.
        8 if info.is_some() => Outcome::Later { reason: "busy", after, why },
        1 | 4 | 10 | 11 | 15 => Outcome::Later { reason: "error", after, why },
        _ => Outcome::Never { taken: 0, why },
    }
}

/// How many points of a request that was taken were not. Answers of all signals have that number in the same place.
fn taken(body: &[u8]) -> Outcome {
    let response = ExportMetricsServiceResponse::decode(body).unwrap_or_default();
    let refused = response.partial_success.map_or(0, |partial| partial.rejected_data_points);
    Outcome::Taken { refused: u64::try_from(refused).unwrap_or(0) }
}

#[cfg(test)]
mod tests;
