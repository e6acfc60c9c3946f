//! A scrape as a trace: the request, the pass that was made for it, and each collector; of those scrapes that are sampled.

use crate::collect::scraper::Timing;
use hyper::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

/// The header by which a caller says whether its trace is sampled.
const TRACEPARENT: &str = "traceparent";

/// Traces of scrapes, or nothing at all.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    tracer: SdkTracer,
    /// The share of scrapes that are sampled though nobody asks for it.
    ratio: f64,
    /// What of that is left over from the scrapes so far.
    share: Mutex<f64>,
}

/// A scrape that is sampled.
#[derive(Clone, Debug)]
pub struct Scrape {
    tracer: SdkTracer,
    context: Context,
}

impl Traces {
    /// Traces that this tracer makes; of scrapes without a trace of their caller's, this share.
    pub fn new(tracer: SdkTracer, ratio: f64) -> Self {
        Self(Some(Arc::new(Inner { tracer, ratio, share: Mutex::default() })))
    }

    /// The trace of a request with these headers, if it is sampled: the caller says whether, if it has a trace.
    pub fn scrape(&self, headers: &HeaderMap) -> Option<Scrape> {
        let inner = self.0.as_ref()?;
        let mut caller = Context::new();
        if headers.contains_key(TRACEPARENT) {
            let propagator = TraceContextPropagator::new();
            caller = propagator.extract_with_context(&caller, &HeaderExtractor(headers));
        }
        let known = caller.span().span_context().is_valid();
        let sampled = if known { caller.span().span_context().is_sampled() } else { inner.next() };
        sampled.then(|| {
            let span = inner.tracer.span_builder("scrape").with_kind(SpanKind::Server);
            let span = inner.tracer.build_with_context(span, &caller);
            Scrape { tracer: inner.tracer.clone(), context: Context::new().with_span(span) }
        })
    }
}

impl Inner {
    /// Whether the next scrape is one of the share.
    fn next(&self) -> bool {
        let mut share = self.share.lock().unwrap_or_else(PoisonError::into_inner);
        *share += self.ratio;
        let takes = *share >= 1.0;
        if takes {
            *share -= 1.0;
        }
        takes
    }
}

/// A pass that is made for a scrape.
pub(super) struct Pass {
    scrape: Scrape,
    begun: (Instant, SystemTime),
    /// How long each collector took, in the order in which they ran.
    pub(super) timings: Vec<Timing>,
}

impl Scrape {
    /// A pass for this scrape begins.
    pub(super) fn pass(&self) -> Pass {
        let begun = (Instant::now(), SystemTime::now());
        Pass { scrape: self.clone(), begun, timings: Vec::new() }
    }

    /// The scrape is answered, with so many bytes if all went well.
    pub(super) fn ends<E: std::fmt::Display>(self, page: Result<usize, E>) {
        let span = self.context.span();
        match page {
            Ok(bytes) => {
                let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
                span.set_attribute(KeyValue::new("http.response.body.size", bytes));
            }
            Err(e) => span.set_status(Status::error(e.to_string())),
        }
        span.end();
    }
}

impl Pass {
    /// The pass is over: it and its collectors become spans.
    pub(super) fn ends(self) {
        let Self { scrape: Scrape { tracer, context }, begun: (instant, wall), timings } = self;
        let at = |time: Instant| wall + time.saturating_duration_since(instant);
        let pass = tracer.span_builder("pass").with_start_time(wall);
        let pass = context.with_span(tracer.build_with_context(pass, &context));
        for Timing { name, begun, ended, success } in timings {
            let attributes = vec![KeyValue::new("headroom.collector", name)];
            let span = tracer.span_builder(format!("collect {name}")).with_start_time(at(begun));
            let span = tracer.build_with_context(span.with_attributes(attributes), &pass);
            let span = pass.with_span(span);
            if !success {
                span.span().set_status(Status::error("the collector failed or had nothing to say"));
            }
            span.span().end_with_timestamp(at(ended));
        }
        pass.span().end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;

    fn traces(ratio: f64) -> Traces {
        Traces::new(SdkTracerProvider::builder().build().tracer("test"), ratio)
    }

    fn of(parent: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(
            hyper::header::HeaderName::from_static(TRACEPARENT),
            HeaderValue::from_static(parent),
        )])
    }

    #[test]
    fn the_caller_says_whether_and_of_the_others_it_is_a_share() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let asked = of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let declined = of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
        let never = traces(0.0);
        let scrape = never.scrape(&asked).unwrap();
        assert_eq!(scrape.context.span().span_context().trace_id().to_string(), trace);
        assert!(never.scrape(&declined).is_none() && never.scrape(&HeaderMap::new()).is_none());
        let always = traces(1.0);
        assert!(always.scrape(&declined).is_none(), "who has a trace says it");
        assert!(always.scrape(&HeaderMap::new()).is_some() && always.scrape(&of("nonsense")).is_some());
        let some = traces(0.25);
        let taken = (0..100).filter(|_| some.scrape(&HeaderMap::new()).is_some()).count();
        assert_eq!(taken, 25);
        assert!(Traces::default().scrape(&asked).is_none());
    }
}
