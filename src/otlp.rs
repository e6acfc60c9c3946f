//! OpenTelemetry out: where to send, what to say to be let in, and a queue that is bounded and counted.
//!
//! The exporters are OpenTelemetry's own; what they send goes through `client`. The configuration stands over the
//! variables of OpenTelemetry's specification, as there. Nothing is made unless one of both names an endpoint.
//! Source: <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>.

use crate::client::trust::{Files, Trust};
use crate::client::{self, Call};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol as Wire, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor,
};
use prometheus::{IntCounterVec, Opts, Registry};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Spans that wait, or are being sent; more are dropped.
const QUEUE_MAX: usize = 2048;
/// Spans in one request.
const BATCH_MAX: usize = 512;
/// The longest that a span waits for others.
const DELAY: Duration = Duration::from_secs(2);
/// How long a request may take, with its repeats, if nobody says.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Attributes and events of a span.
const PER_SPAN_MAX: u32 = 64;
/// The longest file of headers that is read, in bytes.
const HEADERS_BYTES_MAX: usize = 64 << 10;
/// What can become of a record.
const RESULTS: [&str; 3] = ["sent", "failed", "dropped"];

/// Where telemetry goes by OTLP, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The address without the signal's path, such as `http://127.0.0.1:4318`; without it nothing is sent, unless the
    /// environment says so.
    pub endpoint: Option<String>,
    /// How records are written and sent.
    pub protocol: Protocol,
    /// A file with a header a line, `name: value`: keys of who may send.
    pub headers_file: Option<PathBuf>,
    /// Authorities to trust over https, in PEM form; the system's without it.
    pub ca_file: Option<PathBuf>,
    /// A certificate to show, and
    pub cert_file: Option<PathBuf>,
    /// its key.
    pub key_file: Option<PathBuf>,
    /// How long a request may take, with its repeats.
    #[serde(with = "humantime_serde")]
    pub timeout: Option<Duration>,
}

/// A form of OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Protocol {
    /// Protocol buffers over HTTP.
    #[default]
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
}

/// A kind of telemetry: its name in variables, paths and metrics.
#[derive(Clone, Copy, Debug)]
pub struct Signal(&'static str);

impl Signal {
    /// Its name.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// What the names of its own variables begin with.
    pub fn variable(self) -> String {
        format!("OTEL_EXPORTER_OTLP_{}", self.0.to_uppercase())
    }

    /// The path of its service in gRPC.
    pub fn method(self) -> String {
        // The service has the name of one record: LogsService, MetricsService, TraceService.
        let service = match self.0 {
            "traces" => "trace",
            other => other,
        };
        let (first, rest) = service.split_at_checked(1).unwrap_or((service, ""));
        let upper = first.to_uppercase();
        format!("/opentelemetry.proto.collector.{service}.v1.{upper}{rest}Service/Export")
    }
}

/// What is done, as spans.
pub const TRACES: Signal = Signal("traces");

/// What is measured.
pub const METRICS: Signal = Signal("metrics");

/// What is said.
pub const LOGS: Signal = Signal("logs");

/// A variable of the environment.
pub type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {why}")]
pub struct OtlpError {
    key: &'static str,
    why: String,
}

impl OtlpError {
    /// What is wrong with the value of a key.
    pub fn new(key: &'static str, why: impl std::fmt::Display) -> Self {
        Self { key, why: why.to_string() }
    }
}

impl Options {
    /// Whether anything is to be sent.
    pub fn is_on(&self, signal: Signal, variable: Variable<'_>) -> bool {
        let said = |name: &str| variable(name).filter(|v| !v.trim().is_empty());
        let name = signal.0.to_uppercase();
        let off = said("OTEL_SDK_DISABLED").is_some_and(|v| v.trim().eq_ignore_ascii_case("true"))
            || said(&format!("OTEL_{name}_EXPORTER")).is_some_and(|v| v.trim() == "none");
        let place = self.endpoint.is_some()
            || ["OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), format!("OTEL_EXPORTER_OTLP_{name}_ENDPOINT")]
                .iter()
                .any(|name| said(name).is_some());
        place && !off
    }

    /// What is wrong with the endpoint, if anything is.
    pub fn bad_endpoint(&self) -> Option<String> {
        let endpoint = self.endpoint.as_deref()?;
        let with_query = endpoint.contains(['?', '#']).then(|| "an address without a query".to_owned());
        client::check(endpoint).err().map(|e| e.to_string()).or(with_query)
    }

    /// What makes spans and sends them; `version` is this program's.
    pub fn traces(
        &self,
        variable: Variable<'_>,
        metrics: &Metrics,
        version: &'static str,
    ) -> Result<SdkTracerProvider, OtlpError> {
        let signal = TRACES;
        let caller = Arc::new(self.caller(variable)?);
        let mut builder = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(Wire::HttpBinary)
            .with_shared_http_client(Arc::clone(&caller) as Arc<dyn HttpClient>)
            .with_headers(self.headers()?);
        if let Some(endpoint) = &self.endpoint {
            let endpoint = endpoint.trim_end_matches('/');
            builder = builder.with_endpoint(format!("{endpoint}/v1/{}", signal.0));
        }
        if let Some(timeout) = self.timeout {
            builder = builder.with_timeout(timeout);
        }
        let exporter = builder.build().map_err(|e| OtlpError { key: "otlp.endpoint", why: e.to_string() })?;
        let gate = Arc::new(Gate::new(signal, metrics));
        let exporter =
            Reported { inner: exporter, caller, gate: Arc::clone(&gate), fails: AtomicBool::new(false) };
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_MAX)
            .with_max_export_batch_size(BATCH_MAX)
            .with_scheduled_delay(DELAY);
        let inner = BatchSpanProcessor::builder(exporter).with_batch_config(config.build()).build();
        Ok(SdkTracerProvider::builder()
            .with_span_processor(Bounded { inner, gate })
            .with_max_attributes_per_span(PER_SPAN_MAX)
            .with_max_events_per_span(PER_SPAN_MAX)
            .with_resource(resource(variable, version))
            .build())
    }

    fn caller(&self, variable: Variable<'_>) -> Result<Caller, OtlpError> {
        let deadline = self.timeout.or_else(|| told_timeout(variable)).unwrap_or(TIMEOUT);
        Ok(Caller { trust: self.trust(TRACES, variable)?, deadline, said: Mutex::default() })
    }

    /// Whom to trust, if anybody in particular, and the certificate to show.
    pub fn trust(&self, signal: Signal, variable: Variable<'_>) -> Result<Option<Trust>, OtlpError> {
        let signal = signal.0.to_uppercase();
        let named = |name: &str| {
            let of = |name: String| variable(&name).filter(|v| !v.is_empty()).map(PathBuf::from);
            of(format!("OTEL_EXPORTER_OTLP_{signal}_{name}"))
                .or_else(|| of(format!("OTEL_EXPORTER_OTLP_{name}")))
        };
        let files = Files {
            ca_file: self.ca_file.clone().or_else(|| named("CERTIFICATE")),
            cert_file: self.cert_file.clone().or_else(|| named("CLIENT_CERTIFICATE")),
            key_file: self.key_file.clone().or_else(|| named("CLIENT_KEY")),
        };
        // Read now, so that a bad file stops the start; a plain address needs none.
        let trust = (files != Files::default()).then(|| Trust::new(&files)).transpose();
        trust.map_err(|e| OtlpError::new("otlp.ca_file", e))
    }

    fn headers(&self) -> Result<HashMap<String, String>, OtlpError> {
        let Some(file) = &self.headers_file else { return Ok(HashMap::new()) };
        let headers = headers_of(file).map_err(|why| OtlpError::new("otlp.headers_file", why))?;
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Ok(headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect())
    }

    /// The headers that the environment asks for; those of the signal stand over those of all.
    pub fn variable_headers(&self, signal: Signal, variable: Variable<'_>) -> HeaderMap {
        let own = format!("{}_HEADERS", signal.variable());
        let mut out = HeaderMap::new();
        for name in ["OTEL_EXPORTER_OTLP_HEADERS", &own] {
            for pair in variable(name).unwrap_or_default().split(',') {
                let pair =
                    pair.split_once('=').map(|(name, value)| format!("{name}:{}", decoded(value.trim())));
                if let Some((name, value)) = pair.as_deref().and_then(header) {
                    out.insert(name, value);
                }
            }
        }
        out
    }
}

/// How long a request may take by the environment, in milliseconds; the signal's own variable comes first.
fn told_timeout(variable: Variable<'_>) -> Option<Duration> {
    ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"]
        .iter()
        .filter_map(|name| variable(name))
        .find_map(|text| text.trim().parse().ok().filter(|&millis| millis > 0))
        .map(Duration::from_millis)
}

/// The headers in a file, one a line.
pub fn headers_of(file: &Path) -> Result<HeaderMap, String> {
    let error = |why: &str| format!("{}: {why}", file.display());
    let text = std::fs::read_to_string(file).map_err(|e| error(&e.to_string()))?;
    if text.len() > HEADERS_BYTES_MAX {
        return Err(error("too long"));
    }
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    // No message shows a line: it holds a secret.
    lines.map(|line| header(line).ok_or_else(|| error("a line is not of the form `name: value`"))).collect()
}

fn header(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    let mut value = HeaderValue::try_from(value.trim()).ok()?;
    value.set_sensitive(true);
    Some((HeaderName::try_from(name.trim()).ok()?, value))
}

/// `%41` as `A`, as values in variables are written; what is no such code stays as it is.
pub fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, more)) = rest.split_first() {
        let code = more.get(..2).filter(|_| first == b'%').and_then(|two| std::str::from_utf8(two).ok());
        let code = code.and_then(|two| u8::from_str_radix(two, 16).ok());
        out.push(code.unwrap_or(first));
        rest = if code.is_some() { more.get(2..).unwrap_or_default() } else { more };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Who sends; the environment may say it otherwise.
fn resource(variable: Variable<'_>, version: &'static str) -> Resource {
    let builder = Resource::builder().with_attribute(KeyValue::new("service.version", version));
    let said = variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|v| v.contains("service.name="));
    if said || variable("OTEL_SERVICE_NAME").is_some_and(|v| !v.is_empty()) {
        return builder.build();
    }
    builder.with_service_name("headroom").build()
}

/// The counter of what was to be sent.
#[derive(Clone, Debug)]
pub struct Metrics(IntCounterVec);

impl Metrics {
    /// Makes the counter and puts it into `registry`; it shows nothing before a signal is sent.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let opts = Opts::new(
            "headroom_otlp_records_total",
            "Spans and other records for OTLP by what became of them: sent, failed (after repeats) or dropped (the queue was full).",
        );
        let records = IntCounterVec::new(opts, &["signal", "result"])?;
        registry.register(Box::new(records.clone()))?;
        Ok(Self(records))
    }

    /// Counts records of a signal by what became of them: one of `sent`, `failed` and `dropped`.
    pub fn count(&self, signal: Signal, result: &'static str, count: u64) {
        self.0.with_label_values(&[signal.0, result]).inc_by(count);
    }

    /// Gives the signal's results their zeros.
    pub fn show(&self, signal: Signal) {
        for result in RESULTS {
            self.0.with_label_values(&[signal.0, result]);
        }
    }
}

/// How many records are on their way, and what became of the others.
#[derive(Debug)]
struct Gate {
    pending: AtomicUsize,
    signal: Signal,
    metrics: Metrics,
}

impl Gate {
    fn new(signal: Signal, metrics: &Metrics) -> Self {
        metrics.show(signal);
        Self { pending: AtomicUsize::new(0), signal, metrics: metrics.clone() }
    }

    /// Whether there is room for one more.
    fn enter(&self) -> bool {
        let room = |n: usize| (n < QUEUE_MAX).then_some(n + 1);
        let entered = self.pending.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).is_ok();
        if !entered {
            self.count("dropped", 1);
        }
        entered
    }

    fn leave(&self, count: usize, result: &'static str) {
        self.pending.fetch_sub(count, Ordering::AcqRel);
        self.count(result, count);
    }

    fn count(&self, result: &'static str, count: usize) {
        self.metrics.count(self.signal, result, count as u64);
    }
}

/// Lets no more spans to the queue than it has room for, so that each that is lost is counted.
#[derive(Debug)]
struct Bounded {
    inner: BatchSpanProcessor,
    gate: Arc<Gate>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        // What is not sampled is not sent either.
        if span.span_context.is_sampled() && self.gate.enter() {
            self.inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// An exporter whose outcomes are counted, and logged when they change.
#[derive(Debug)]
struct Reported<E> {
    inner: E,
    caller: Arc<Caller>,
    gate: Arc<Gate>,
    fails: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Reported<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let result = self.inner.export(batch).await;
        self.gate.leave(count, if result.is_ok() { "sent" } else { "failed" });
        let said = self.caller.said.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (&result, self.fails.swap(result.is_err(), Ordering::AcqRel)) {
            (Err(e), false) => {
                tracing::warn!(
                    error = said.unwrap_or_else(|| e.to_string()),
                    "telemetry cannot be sent by OTLP"
                );
            }
            (Ok(()), true) => tracing::info!("telemetry is sent by OTLP again"),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Our HTTP client for OpenTelemetry's exporters. They call it on a thread of their own, which may wait.
#[derive(Debug)]
struct Caller {
    trust: Option<Trust>,
    deadline: Duration,
    /// Why the last call got no answer: the exporters do not say it.
    said: Mutex<Option<String>>,
}

impl HttpClient for Caller {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let answer = client::send_whole_blocking(Call {
                method: head.method,
                headers: head.headers,
                body: Some(body.into()),
                trust: self.trust.clone(),
                deadline: self.deadline,
                ..Call::get(head.uri.to_string())
            });
            let said = match &answer {
                Ok(answer) if answer.status().is_success() => None,
                Ok(answer) => Some(format!("the receiver answers {}", answer.status())),
                Err(e) => Some(e.to_string()),
            };
            *self.said.lock().unwrap_or_else(PoisonError::into_inner) = said;
            Ok(answer?)
        })
    }
}

#[cfg(test)]
mod tests;
