//! A layer for hyper and tower that measures requests: how many, how many of them failed, how long they took.

use crate::metrics::{MetricError, Metrics, SECONDS};
use hyper::body::{Body, Frame, SizeHint};
use hyper::{Method, Request, Response};
use pin_project_lite::pin_project;
use prometheus::{HistogramVec, IntCounterVec, IntGauge};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// Instead of a status: the service failed without an answer,
const FAILED: &str = "failed";
/// or nobody waited for the answer any more.
const CANCELLED: &str = "cancelled";

/// The families, and the layer that fills them; clones are the same ones.
///
/// `http_server_requests_total` and `http_server_request_duration_seconds`, by `method` and `code`, and
/// `http_server_active_requests`. A request ends with the last byte of its answer's body.
#[derive(Clone, Debug)]
pub struct Requests {
    total: IntCounterVec,
    seconds: HistogramVec,
    active: IntGauge,
}

impl Requests {
    /// The families among these metrics, once.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricError> {
        let labels = ["method", "code"];
        Ok(Self {
            total: metrics.counters(
                "http_server_requests_total",
                "Requests, by the answer's status.",
                &labels,
            )?,
            seconds: metrics.histograms(
                ("http_server_request_duration_seconds", "Time from a request to its answer's last byte."),
                &SECONDS,
                &labels,
            )?,
            active: metrics.gauge("http_server_active_requests", "Requests that are being answered.")?,
        })
    }

    /// A service whose requests are measured, for hyper and for tower.
    pub fn measured<S>(&self, service: S) -> Measured<S> {
        Measured { service, requests: self.clone() }
    }

    fn begin(&self, method: &Method) -> Measurement {
        self.active.inc();
        Measurement { requests: self.clone(), method: label(method), code: None, begun: Instant::now() }
    }
}

/// The label of a method; a client may send any word.
fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::CONNECT => "CONNECT",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

impl<S> tower_layer::Layer<S> for Requests {
    type Service = Measured<S>;

    fn layer(&self, service: S) -> Measured<S> {
        self.measured(service)
    }
}

/// A service whose requests are measured.
#[derive(Clone, Debug)]
pub struct Measured<S> {
    service: S,
    requests: Requests,
}

impl<S, I, O> tower_service::Service<Request<I>> for Measured<S>
where
    S: tower_service::Service<Request<I>, Response = Response<O>>,
{
    type Response = Response<MeasuredBody<O>>;
    type Error = S::Error;
    type Future = Measuring<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<I>) -> Self::Future {
        let mut measurement = self.requests.begin(request.method());
        // It stays so if the service panics.
        measurement.code = Some(FAILED.to_owned());
        let future = self.service.call(request);
        measurement.code = None;
        Measuring { future, measurement: Some(measurement) }
    }
}

impl<S, I, O> hyper::service::Service<Request<I>> for Measured<S>
where
    S: hyper::service::Service<Request<I>, Response = Response<O>>,
{
    type Response = Response<MeasuredBody<O>>;
    type Error = S::Error;
    type Future = Measuring<S::Future>;

    fn call(&self, request: Request<I>) -> Self::Future {
        let mut measurement = self.requests.begin(request.method());
        // It stays so if the service panics.
        measurement.code = Some(FAILED.to_owned());
        let future = self.service.call(request);
        measurement.code = None;
        Measuring { future, measurement: Some(measurement) }
    }
}

/// One request; its end, whatever that is, is when this is dropped.
#[derive(Debug)]
struct Measurement {
    requests: Requests,
    method: &'static str,
    /// The status; none while there is no answer.
    code: Option<String>,
    begun: Instant,
}

impl Drop for Measurement {
    fn drop(&mut self) {
        let labels = [self.method, self.code.as_deref().unwrap_or(CANCELLED)];
        self.requests.total.with_label_values(&labels).inc();
        self.requests.seconds.with_label_values(&labels).observe(self.begun.elapsed().as_secs_f64());
        self.requests.active.dec();
    }
}

pin_project! {
    /// An answer that is on its way.
    #[derive(Debug)]
    pub struct Measuring<F> {
        #[pin]
        future: F,
        measurement: Option<Measurement>,
    }
}

impl<F, O, E> Future for Measuring<F>
where
    F: Future<Output = Result<Response<O>, E>>,
{
    type Output = Result<Response<MeasuredBody<O>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(measurement) = this.measurement.as_mut() {
            // It stays so if the service panics.
            measurement.code = Some(FAILED.to_owned());
        }
        let Poll::Ready(answer) = this.future.poll(context) else {
            if let Some(measurement) = this.measurement.as_mut() {
                measurement.code = None;
            }
            return Poll::Pending;
        };
        let mut measurement = this.measurement.take();
        if let Some(measurement) = &mut measurement {
            let status = answer.as_ref().map(|response| response.status().as_str().to_owned());
            measurement.code = Some(status.unwrap_or_else(|_| FAILED.to_owned()));
        }
        Poll::Ready(
            answer.map(|response| response.map(|body| MeasuredBody { body, measurement, code: None })),
        )
    }
}

pin_project! {
    /// The body of an answer, with whose end the request ends.
    #[derive(Debug)]
    pub struct MeasuredBody<B> {
        #[pin]
        body: B,
        measurement: Option<Measurement>,
        // The status, kept here while the body is on its way: what is dropped before the body's end was cancelled.
        code: Option<String>,
    }
}

impl<B: Body> Body for MeasuredBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        if let Some(measurement) = this.measurement.as_mut().filter(|_| this.code.is_none()) {
            *this.code = measurement.code.take();
        }
        let frame = ready!(this.body.as_mut().poll_frame(context));
        let end = match &frame {
            Some(Err(_)) => Some(FAILED.to_owned()),
            None => this.code.take(),
            Some(Ok(_)) if this.body.is_end_stream() => this.code.take(),
            Some(Ok(_)) => return Poll::Ready(frame),
        };
        if let Some(mut measurement) = this.measurement.take() {
            measurement.code = end;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Empty, Full};
    use hyper::body::Bytes;
    use hyper::service::{Service, service_fn};
    use std::convert::Infallible;

    fn page(metrics: &Metrics) -> String {
        String::from_utf8(metrics.page().unwrap()).unwrap()
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
    }

    async fn serve(request: Request<Empty<Bytes>>) -> Result<Response<Full<Bytes>>, &'static str> {
        match request.uri().path() {
            "/fails" => Err("no answer"),
            "/never" => std::future::pending().await,
            "/error" => Ok(Response::builder().status(500).body(Full::default()).unwrap()),
            _ => Ok(Response::new(Full::from("hello"))),
        }
    }

    fn request(method: &str, path: &str) -> Request<Empty<Bytes>> {
        Request::builder().method(method).uri(path).body(Empty::new()).unwrap()
    }

    #[test]
    fn each_request_is_counted_once_by_its_end() {
        let metrics = Metrics::default();
        let service = Requests::new(&metrics).unwrap().measured(service_fn(serve));
        run(async {
            let answer = service.call(request("GET", "/")).await.unwrap();
            assert!(page(&metrics).contains("http_server_active_requests 1\n"), "its body is not read yet");
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
            drop(service.call(request("BREW", "/error")).await.unwrap());
            assert_eq!(service.call(request("GET", "/fails")).await.unwrap_err(), "no answer");
            let never = service.call(request("POST", "/never"));
            assert!(tokio::time::timeout(std::time::Duration::from_millis(5), never).await.is_err());
        });
        let page = page(&metrics);
        for labels in [
            "{code=\"200\",method=\"GET\"}",
            "{code=\"500\",method=\"other\"}",
            "{code=\"failed\",method=\"GET\"}",
            "{code=\"cancelled\",method=\"POST\"}",
        ] {
            for family in ["http_server_requests_total", "http_server_request_duration_seconds_count"] {
                assert!(page.contains(&format!("{family}{labels} 1\n")), "{family}{labels}: {page}");
            }
        }
        assert!(page.contains("http_server_active_requests 0\n"), "{page}");
    }

    /// A body that breaks off after its first part.
    struct Breaks(bool);

    impl Body for Breaks {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            let first = !std::mem::replace(&mut self.0, true);
            Poll::Ready(Some(if first { Ok(Frame::data(Bytes::from("a"))) } else { Err("gone") }))
        }
    }

    #[test]
    fn a_panic_and_a_body_that_breaks_off_have_failed_and_one_that_is_dropped_was_cancelled() {
        let metrics = Metrics::default();
        let service = Requests::new(&metrics).unwrap().measured(service_fn(
            |request: Request<Empty<Bytes>>| async move {
                assert_ne!(request.uri().path(), "/panics");
                Ok::<_, Infallible>(Response::new(Breaks(false)))
            },
        ));
        let panics = std::panic::AssertUnwindSafe(|| {
            run(async { drop(service.call(request("GET", "/panics")).await) });
        });
        assert!(std::panic::catch_unwind(panics).is_err());
        run(async {
            let broken = service.call(request("PUT", "/")).await.unwrap().into_body();
            assert!(broken.collect().await.is_err());
            let mut left = service.call(request("POST", "/")).await.unwrap().into_body();
            assert!(left.frame().await.unwrap().is_ok());
        });
        let page = page(&metrics);
        for labels in [
            "code=\"failed\",method=\"GET\"",
            "code=\"failed\",method=\"PUT\"",
            "code=\"cancelled\",method=\"POST\"",
        ] {
            assert!(
                page.contains(&format!("http_server_requests_total{{{labels}}} 1\n")),
                "{labels}: {page}"
            );
        }
    }

    #[test]
    fn it_is_a_layer_for_tower_too() {
        #[derive(Clone)]
        struct Tower;
        impl tower_service::Service<Request<Empty<Bytes>>> for Tower {
            type Response = Response<Full<Bytes>>;
            type Error = Infallible;
            type Future = std::future::Ready<Result<Self::Response, Infallible>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
                std::future::ready(Ok(Response::builder().status(404).body(Full::default()).unwrap()))
            }
        }
        let metrics = Metrics::default();
        let layer = Requests::new(&metrics).unwrap();
        let mut service = tower_layer::Layer::layer(&layer, Tower);
        run(async {
            let answer = tower_service::Service::call(&mut service, request("PUT", "/")).await.unwrap();
            assert_eq!(answer.status(), 404);
        });
        assert!(page(&metrics).contains("http_server_requests_total{code=\"404\",method=\"PUT\"} 1\n"));
    }
}
