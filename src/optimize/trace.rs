//! One trace for each run, from the call that asked for it to its end: OpenTelemetry's spans, where they are wanted.
//!
//! A span is opened on the thread that does the work and is the child of the one around it there. The spans of runs that
//! have not ended are kept here, so that a run that waits stays one trace; a restart begins another.

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, ContextGuard, KeyValue, Value};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Runs whose traces are open; further ones have none.
const OPEN_MAX: usize = 4096;
/// What vendors keep along with a trace, and the longest of it that is passed on.
const TRACESTATE: &str = "tracestate";
const STATE_BYTES_MAX: usize = 512;

/// Traces of runs, or nothing at all.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    tracer: SdkTracer,
    open: Mutex<HashMap<i64, Open>>,
}

/// A run that has not ended.
#[derive(Clone, Debug)]
struct Open {
    context: Context,
    /// Since when it waits.
    waits_since: SystemTime,
}

/// Where a run came from: a call, and the trace of who called.
#[derive(Debug, Default)]
pub struct Arrival(Option<(SystemTime, Context)>);

/// Work under way; it ends with its scope.
#[derive(Default)]
pub struct Span(Option<(Context, ContextGuard)>);

impl Traces {
    /// Traces that this tracer makes.
    pub fn new(tracer: SdkTracer) -> Self {
        Self(Some(Arc::new(Inner { tracer, open: Mutex::default() })))
    }

    /// A call that may ask for runs. Its `traceparent` is honoured: the runs are part of the caller's trace.
    pub fn arrival(&self, headers: &HeaderMap) -> Arrival {
        let caller =
            || TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
        Arrival(self.0.as_ref().map(|_| (SystemTime::now(), caller())))
    }

    /// What was seen here, so long ago.
    pub fn seen(&self, ago: Duration) -> Arrival {
        let at = || SystemTime::now().checked_sub(ago).unwrap_or_else(SystemTime::now);
        Arrival(self.0.as_ref().map(|_| (at(), Context::new())))
    }

    /// A run is in the journal: its trace begins with the arrival of who asked for it.
    pub fn queued(&self, run: i64, arrival: &Arrival, facts: &[(&'static str, &str)]) {
        let (Some(inner), Some((at, caller))) = (&self.0, &arrival.0) else { return };
        let facts = facts.iter().map(|(key, value)| KeyValue::new(*key, (*value).to_owned()));
        let Some(open) = inner.begin(run, (*at, caller), facts.collect()) else { return };
        let stored = inner.tracer.span_builder("store").with_start_time(*at);
        drop(inner.tracer.build_with_context(stored, &open.context));
    }

    /// The run's turn has come: what it waited is a span, and what follows on this thread is part of the run.
    pub fn resume(&self, run: i64) -> Span {
        let Some(inner) = &self.0 else { return Span::default() };
        let known = inner.lock().get(&run).cloned();
        let restarted = || {
            let facts = vec![KeyValue::new("headroom.run.resumed", true)];
            inner.begin(run, (SystemTime::now(), &Context::new()), facts)
        };
        let Some(open) = known.or_else(restarted) else { return Span::default() };
        let guards = inner.tracer.span_builder("guards").with_start_time(open.waits_since);
        drop(inner.tracer.build_with_context(guards, &open.context));
        let guard = open.context.clone().attach();
        Span(Some((Context::new(), guard)))
    }

    /// A guard, or the next rung's time, lets the run wait.
    pub fn waits(&self, run: i64, why: &str) {
        let Some(inner) = &self.0 else { return };
        if let Some(open) = inner.lock().get_mut(&run) {
            open.waits_since = SystemTime::now();
            let why = KeyValue::new("headroom.reason", why.to_owned());
            open.context.span().add_event("waits", vec![why]);
        }
    }

    /// The run has ended, and its trace with it.
    pub fn ended(&self, run: i64, result: &str, reason: &str) {
        let Some(inner) = &self.0 else { return };
        let Some(open) = inner.lock().remove(&run) else { return };
        let span = open.context.span();
        span.set_attribute(KeyValue::new("headroom.result", result.to_owned()));
        span.set_attribute(KeyValue::new("headroom.reason", reason.to_owned()));
        if result == "failed" {
            span.set_status(Status::error(reason.to_owned()));
        }
        span.end();
    }

    /// A part of what this thread is doing for a run.
    pub fn span(&self, name: &'static str) -> Span {
        let Some(inner) = &self.0 else { return Span::default() };
        let around = Context::current();
        if !around.has_active_span() {
            return Span::default();
        }
        let context = around.with_span(inner.tracer.start_with_context(name, &around));
        let guard = context.clone().attach();
        Span(Some((context, guard)))
    }

    /// Says something about the run as a whole.
    pub fn fact(&self, run: i64, key: &'static str, value: impl Into<Value>) {
        let Some(inner) = &self.0 else { return };
        if let Some(open) = inner.lock().get(&run) {
            open.context.span().set_attribute(KeyValue::new(key, value));
        }
    }
}

/// The headers by which a call that is made on this thread is part of its run's trace; none where there is no trace.
pub fn onward() -> HeaderMap {
    let mut headers = HeaderMap::new();
    TraceContextPropagator::new().inject_context(&Context::current(), &mut HeaderInjector(&mut headers));
    // What the caller's vendors put there is passed on while it is short, as the recommendation allows.
    let too_long = |state: &HeaderValue| state.is_empty() || state.len() > STATE_BYTES_MAX;
    if headers.get(TRACESTATE).is_some_and(too_long) {
        headers.remove(TRACESTATE);
    }
    headers
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run's trace; a new one if there is none yet, and room.
    fn begin(&self, run: i64, (at, caller): (SystemTime, &Context), facts: Vec<KeyValue>) -> Option<Open> {
        let mut all = self.lock();
        if let Some(open) = all.get(&run) {
            return Some(open.clone());
        }
        if all.len() >= OPEN_MAX {
            return None;
        }
        let builder = self.tracer.span_builder("run").with_kind(SpanKind::Server).with_start_time(at);
        let root = self.tracer.build_with_context(builder.with_attributes(facts), caller);
        let context = Context::new().with_span(root);
        context.span().set_attribute(KeyValue::new("headroom.run.id", run));
        let open = Open { context, waits_since: SystemTime::now() };
        all.insert(run, open.clone());
        Some(open)
    }
}

impl Span {
    /// Says something about this work.
    pub fn fact(&self, key: &'static str, value: impl Into<Value>) {
        if let Some((context, _)) = &self.0 {
            context.span().set_attribute(KeyValue::new(key, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;

    #[test]
    fn what_is_called_for_a_run_is_part_of_its_trace() {
        assert!(onward().is_empty(), "there is no run");
        let traces = Traces::new(SdkTracerProvider::builder().build().tracer("test"));
        let said = |run: i64, state: &str| {
            let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", HeaderValue::from_static(parent));
            headers.insert(TRACESTATE, HeaderValue::from_str(state).unwrap());
            traces.queued(run, &traces.arrival(&headers), &[]);
            let _run = traces.resume(run);
            let _act = traces.span("act");
            onward()
        };
        let headers = said(1, "a=b");
        let parent = headers["traceparent"].to_str().unwrap();
        assert!(
            parent.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && parent.ends_with("-01"),
            "{parent}"
        );
        assert!(!parent.contains("b7ad6b7169203331"), "of the work here, and not of who asked for it");
        assert_eq!(headers[TRACESTATE], "a=b");
        assert_eq!(said(2, &format!("a={}", "b".repeat(250))).len(), 2);
        let long = vec![format!("a={}", "b".repeat(250)); 3];
        let long: Vec<String> = long.into_iter().enumerate().map(|(n, s)| format!("k{n}{s}")).collect();
        for state in [String::new(), long.join(",")] {
            let headers = said(3, &state);
            assert!(headers.len() == 1 && headers.contains_key("traceparent"), "{headers:?}");
            traces.ended(3, "effective", "");
        }
        assert!(onward().is_empty(), "the run's work is over");
    }
}
