//! One event of `tracing` as a record of OTLP: its severity, text and fields, and the run whose work it is part of; and where
//! records wait until they are sent.

use super::SENDS;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Records that wait to become a request, and what they hold; more are dropped, and counted.
const RECORDS_MAX: usize = 2048;
const BYTES_MAX: usize = 1 << 20;
/// So many make a request at once.
const RECORDS_ENOUGH: usize = 512;
/// The longest text of a record or one of its fields, in bytes.
const TEXT_BYTES_MAX: usize = 4096;
/// Fields of a record.
const FIELDS_MAX: usize = 32;

/// A layer that keeps what is logged, and the way to what it keeps; `now_millis` is the time.
pub fn tap(now_millis: fn() -> i64) -> (Tap, Lines) {
    let lines = Lines(Arc::default());
    (Tap { lines: lines.clone(), now_millis }, lines)
}

/// The layer.
pub struct Tap {
    lines: Lines,
    now_millis: fn() -> i64,
}

/// What was logged and is not on its way yet.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    kept: Mutex<Kept>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Kept {
    records: Vec<LogRecord>,
    bytes: usize,
    dropped: u64,
    closed: bool,
}

impl<S: Subscriber> Layer<S> for Tap {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if std::thread::current().name() == Some(SENDS) {
            return;
        }
        let nanos = u64::try_from((self.now_millis)()).unwrap_or(0).saturating_mul(1_000_000);
        let (number, text) = severity(*event.metadata().level());
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut record = LogRecord {
            time_unix_nano: nanos,
            observed_time_unix_nano: nanos,
            severity_number: number,
            severity_text: text.to_owned(),
            body: fields.body,
            attributes: fields.attributes,
            dropped_attributes_count: fields.dropped,
            ..LogRecord::default()
        };
        let context = opentelemetry::Context::current();
        let span = context.span().span_context().clone();
        if span.is_valid() {
            record.trace_id = span.trace_id().to_bytes().to_vec();
            record.span_id = span.span_id().to_bytes().to_vec();
            record.flags = span.trace_flags().to_u8().into();
        }
        self.lines.push(record);
    }
}

/// A level as OpenTelemetry counts and calls it.
fn severity(level: Level) -> (i32, &'static str) {
    match level {
        Level::TRACE => (1, "TRACE"),
        Level::DEBUG => (5, "DEBUG"),
        Level::INFO => (9, "INFO"),
        Level::WARN => (13, "WARN"),
        Level::ERROR => (17, "ERROR"),
    }
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, record: LogRecord) {
        let bytes = record.encoded_len();
        let mut kept = self.lock();
        if kept.closed || kept.records.len() >= RECORDS_MAX || kept.bytes + bytes > BYTES_MAX {
            kept.dropped += 1;
            return;
        }
        kept.bytes += bytes;
        kept.records.push(record);
        if kept.records.len() == 1 || kept.records.len() == RECORDS_ENOUGH {
            self.0.changed.notify_all();
        }
    }

    /// The records so far, as soon as the first is so old or there are enough; and how many were dropped. None at the end.
    pub(super) fn take(&self, delay: Duration) -> Option<(Vec<LogRecord>, u64)> {
        let (mut kept, mut due) = (self.lock(), None::<Instant>);
        loop {
            let ready = kept.closed || kept.records.len() >= RECORDS_ENOUGH;
            let left = match due {
                _ if ready => Duration::ZERO,
                Some(due) => due.saturating_duration_since(Instant::now()),
                None if kept.records.is_empty() => Duration::MAX,
                None => {
                    due = Some(Instant::now() + delay);
                    delay
                }
            };
            if left.is_zero() {
                kept.bytes = 0;
                let (records, dropped) =
                    (std::mem::take(&mut kept.records), std::mem::take(&mut kept.dropped));
                let ends = kept.closed && records.is_empty() && dropped == 0;
                return (!ends).then_some((records, dropped));
            }
            kept = if left == Duration::MAX {
                self.0.changed.wait(kept).unwrap_or_else(PoisonError::into_inner)
            } else {
                let waited = self.0.changed.wait_timeout(kept, left);
                waited.map_or_else(|e| e.into_inner().0, |(kept, _)| kept)
            };
        }
    }

    /// Takes no more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.0.changed.notify_all();
    }
}

/// The fields of an event.
#[derive(Default)]
struct Fields {
    body: Option<AnyValue>,
    attributes: Vec<KeyValue>,
    dropped: u32,
}

impl Fields {
    fn put(&mut self, field: &Field, value: any_value::Value) {
        let value = Some(AnyValue { value: Some(value) });
        if field.name() == "message" {
            self.body = value;
        } else if self.attributes.len() < FIELDS_MAX {
            let key = field.name().to_owned();
            self.attributes.push(KeyValue { key, value, ..KeyValue::default() });
        } else {
            self.dropped += 1;
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, any_value::Value::DoubleValue(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, any_value::Value::IntValue(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        let whole = i64::try_from(value)
            .map_or_else(|_| any_value::Value::StringValue(value.to_string()), any_value::Value::IntValue);
        self.put(field, whole);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, any_value::Value::BoolValue(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, any_value::Value::StringValue(cut(value).to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = Short(String::new());
        // An error says that there is more than is kept.
        _ = write!(text, "{value:?}");
        self.put(field, any_value::Value::StringValue(text.0));
    }
}

/// As much of a text as is kept.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default()
}

/// A text that takes no more than is kept.
struct Short(String);

impl Write for Short {
    fn write_str(&mut self, more: &str) -> std::fmt::Result {
        self.0.push_str(more);
        if self.0.len() <= TEXT_BYTES_MAX {
            return Ok(());
        }
        self.0.truncate(cut(&self.0).len());
        Err(std::fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    fn logged(work: impl FnOnce()) -> Lines {
        let (tap, lines) = tap(|| 1500);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(tap), work);
        lines
    }

    fn text(value: Option<&AnyValue>) -> String {
        match value.and_then(|any| any.value.as_ref()) {
            Some(any_value::Value::StringValue(text)) => text.clone(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn an_event_has_its_severity_its_fields_and_its_time() {
        let lines = logged(|| {
            tracing::warn!(to = "a", points = 7_u64, big = u64::MAX, ratio = 0.5, is = true, why = ?Some(1), "said {}", 1);
            tracing::error!("x");
        });
        let (records, dropped) = lines.take(Duration::ZERO).unwrap();
        assert_eq!((records.len(), dropped), (2, 0));
        let first = &records[0];
        assert_eq!((first.severity_number, first.severity_text.as_str()), (13, "WARN"));
        assert_eq!((first.time_unix_nano, text(first.body.as_ref()).as_str()), (1_500_000_000, "said 1"));
        let of = |key: &str| {
            first.attributes.iter().find(|a| a.key == key).and_then(|a| a.value.clone()?.value).unwrap()
        };
        assert_eq!(of("to"), any_value::Value::StringValue("a".into()));
        assert_eq!(of("points"), any_value::Value::IntValue(7));
        assert_eq!(of("big"), any_value::Value::StringValue(u64::MAX.to_string()));
        assert_eq!(of("ratio"), any_value::Value::DoubleValue(0.5));
        assert_eq!(of("is"), any_value::Value::BoolValue(true));
        assert_eq!(of("why"), any_value::Value::StringValue("Some(1)".into()));
        assert_eq!(records[1].severity_number, 17);
        assert!(records[1].trace_id.is_empty(), "part of no run");
    }

    #[test]
    fn what_is_kept_has_bounds_and_what_is_over_is_counted() {
        let long = "ä".repeat(TEXT_BYTES_MAX);
        let lines = logged(|| tracing::info!(text = long, debug = ?long, "{long}"));
        let (records, _) = lines.take(Duration::ZERO).unwrap();
        let all = records[0].attributes.iter().map(|a| text(a.value.as_ref()));
        for text in all.chain([text(records[0].body.as_ref())]) {
            assert!(text.len() <= TEXT_BYTES_MAX && text.len() > TEXT_BYTES_MAX - 4, "{}", text.len());
        }
        let lines = logged(|| (0..=RECORDS_MAX).for_each(|n| tracing::info!(n)));
        assert_eq!(lines.take(Duration::ZERO).map(|(r, dropped)| (r.len(), dropped)), Some((RECORDS_MAX, 1)));
        let bytes = "x".repeat(TEXT_BYTES_MAX);
        let lines = logged(|| (0..1000).for_each(|_| tracing::info!("{bytes}")));
        let (records, dropped) = lines.take(Duration::ZERO).unwrap();
        assert!(records.len() < BYTES_MAX / TEXT_BYTES_MAX && records.len() as u64 + dropped == 1000);
    }

    #[test]
    fn what_the_sending_itself_logs_is_not_sent() {
        let lines = logged(|| {
            let dispatch = tracing::dispatcher::get_default(Clone::clone);
            for name in [SENDS, "send"] {
                let dispatch = dispatch.clone();
                let log = move || tracing::dispatcher::with_default(&dispatch, || tracing::info!("there"));
                std::thread::Builder::new().name(name.into()).spawn(log).unwrap().join().unwrap();
            }
        });
        assert_eq!(lines.take(Duration::ZERO).unwrap().0.len(), 1);
        lines.close();
        assert!(lines.take(Duration::ZERO).is_none());
    }

    #[test]
    fn what_is_logged_in_a_run_is_part_of_its_trace() {
        use opentelemetry::trace::{Tracer, TracerProvider};
        let tracer = opentelemetry_sdk::trace::SdkTracerProvider::builder().build().tracer("test");
        let mut expected = None;
        let lines = logged(|| {
            let context = opentelemetry::Context::new().with_span(tracer.start("act"));
            expected = Some(context.span().span_context().clone());
            let _act = context.attach();
            tracing::info!("freed");
        });
        let (expected, record) = (expected.unwrap(), lines.take(Duration::ZERO).unwrap().0.remove(0));
        assert_eq!(record.trace_id, expected.trace_id().to_bytes());
        assert_eq!(record.span_id, expected.span_id().to_bytes());
        assert_eq!(record.flags, 1);
    }
}
