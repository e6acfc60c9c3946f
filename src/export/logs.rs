//! What is logged, by OTLP: a layer of `tracing` that keeps records within bounds, and the thread that makes requests of them.

mod tap;

use super::otlp::post::{FORMS, How};
use super::otlp::{Compression, Protocol, packed};
use super::queue::{self, Queue, Store};
use super::resource::{self, Attributes};
use super::sender::{Route, Sender, Tally};
use super::{Around, ExportError, spawn};
use crate::encode::compress::Compressor;
use crate::otlp::{LOGS, Metrics, Options as Connection, Variable};
use bytesize::ByteSize;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde::Deserialize;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
pub use tap::{Lines, Tap, tap};

/// The longest that a record waits for others.
const DELAY: Duration = Duration::from_secs(1);
/// What waits for a receiver that does not answer, as it is sent.
const QUEUE_BYTES_MAX: ByteSize = ByteSize::mib(2);
const QUEUE_RECORDS_MAX: usize = 1000;
/// The name of the thread that sends: what is logged there is not sent, or each sending would lead to another.
const SENDS: &str = "send-logs";

/// Options of logs by OTLP. Whom to trust, headers and the time-out are those of the top level's `otlp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Whether logs are sent; they are too where `OTEL_EXPORTER_OTLP_LOGS_ENDPOINT` says where to.
    pub enabled: bool,
    /// The address without the signal's path; that of `otlp` without it.
    pub endpoint: Option<String>,
    /// How requests are sent; over HTTP without it.
    pub protocol: Option<Protocol>,
    /// How requests are packed; by gzip without it.
    pub compression: Option<Compression>,
}

impl Options {
    /// What is wrong, by its key, if anything is.
    pub fn check(&self) -> Result<(), (String, String)> {
        let Some(endpoint) = &self.endpoint else { return Ok(()) };
        crate::client::check(endpoint).map_err(|e| ("endpoint".to_owned(), e.to_string()))
    }

    /// Whether anything is to be sent.
    pub fn is_on(&self, connection: &Connection, variable: Variable<'_>) -> bool {
        super::otlp::wanted((LOGS, self.enabled), connection, variable)
    }
}

/// Logs that are sent.
pub struct Logs {
    lines: Lines,
    queue: Arc<Queue>,
    maker: JoinHandle<()>,
    sender: JoinHandle<()>,
}

impl Logs {
    /// Sends what `lines` hold; `attributes` is what the resource says besides what is found out.
    pub fn start(
        (options, attributes): (&Options, &Attributes),
        around: &Around<'_>,
        (lines, metrics): (Lines, &Metrics),
    ) -> Result<Self, ExportError> {
        let how = How {
            signal: LOGS,
            key: "log.otlp.endpoint",
            endpoint: options.endpoint.as_deref(),
            protocol: options.protocol,
            compression: options.compression,
        };
        let (post, form) = how.start(around.connection, around.variable)?;
        let limits = queue::Options {
            bytes_max: QUEUE_BYTES_MAX,
            records_max: QUEUE_RECORDS_MAX,
            ..queue::Options::default()
        };
        let (queue, _) = Queue::new(Store::open(&limits, "otlp_logs", FORMS, None)?);
        let (queue, tally) = (Arc::new(queue), Arc::new(Counted(metrics.clone())));
        metrics.show(LOGS);
        let resource = resource::detect(around.host, around.variable, attributes, around.port);
        let mut maker = Maker {
            lines: lines.clone(),
            resource: resource.iter().map(|(key, value)| pair(key, value)).collect(),
            queue: Arc::clone(&queue),
            tally: Arc::<Counted>::clone(&tally),
            form,
            compressor: Compressor::default(),
        };
        let route = Route { way: Arc::new(post), retry: (limits.retry_min, limits.retry_max) };
        let sender = Sender {
            name: "otlp_logs".into(),
            queue: Arc::clone(&queue),
            route: Arc::new(Mutex::new(route)),
            tally,
            now_millis: around.now_millis,
        };
        tracing::info!("logs go out by OTLP");
        let sender = spawn(SENDS, move || sender.run())?;
        let maker = spawn("logs", move || maker.run())?;
        Ok(Self { lines, queue, maker, sender })
    }

    /// Sends what there is, if that does not take longer than `grace`, and ends.
    pub fn stop(self, grace: Duration) {
        let end = Instant::now() + grace;
        self.lines.close();
        _ = self.maker.join();
        self.queue.drained(end.saturating_duration_since(Instant::now()));
        self.queue.stop();
        _ = self.sender.join();
    }
}

/// Makes requests of records.
struct Maker {
    lines: Lines,
    resource: Vec<KeyValue>,
    queue: Arc<Queue>,
    tally: Arc<Counted>,
    form: &'static str,
    compressor: Compressor,
}

impl Maker {
    fn run(&mut self) {
        while let Some((records, dropped)) = self.lines.take(DELAY) {
            self.tally.dropped("queue_full", dropped);
            let count = records.len();
            if count == 0 {
                continue;
            }
            let request = self.request(records);
            match packed(&mut self.compressor, self.form, (&request, count)) {
                Some(record) => self.tally.dropped("queue_full", self.queue.push(record).0),
                None => self.tally.dropped("refused", count as u64),
            }
        }
    }

    fn request(&self, log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
        let scope = InstrumentationScope {
            name: "headroom".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            ..InstrumentationScope::default()
        };
        let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() }];
        let resource = Resource { attributes: self.resource.clone(), ..Resource::default() };
        let all = ResourceLogs { resource: Some(resource), scope_logs, ..ResourceLogs::default() };
        ExportLogsServiceRequest { resource_logs: vec![all] }
    }
}

fn pair(key: &str, value: &str) -> KeyValue {
    let value = any_value::Value::StringValue(value.to_owned());
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// The counter of all records that go by OTLP.
struct Counted(Metrics);

impl Tally for Counted {
    fn taken(&self, records: u64, _: i64) {
        self.0.count(LOGS, "sent", records);
    }

    fn dropped(&self, reason: &'static str, records: u64) {
        self.0.count(LOGS, if reason == "queue_full" { "dropped" } else { "failed" }, records);
    }

    // A request that is sent again is still on its way.
    fn failed(&self, _: &'static str) {}

    fn held(&self, _: (u64, usize)) {}
}

#[cfg(test)]
mod tests;
