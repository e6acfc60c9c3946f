//! The listeners of OTLP: who may come in, how a body is read within what all together may hold, and who answers.

use super::answers::{self, Fault, Form};
use super::request::{Arrival, Outcome, receive};
use super::unpack::{Packing, UnpackError};
use super::{Options, json};
use crate::apps::Applications;
use crate::serve::token::Token;
use crate::serve::{Answer, Handler, Limits};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName};
use hyper::{Method, Request, StatusCode};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The path over HTTP.
const HTTP_PATH: &str = "/v1/metrics";
/// The path over gRPC.
const GRPC_PATH: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
/// What a permit of the bytes in flight stands for.
const PERMIT_BYTES: usize = 1024;
/// Flag and length before the message of gRPC.
const FRAME_BYTES: usize = 5;
/// Clients send every minute by default; who sends less often connects anew.
const IDLE: Duration = Duration::from_secs(90);

/// The wall clock, in milliseconds since the epoch.
pub type Clock = fn() -> i64;

/// What the listeners share.
#[derive(Clone)]
pub struct Receiver {
    applications: Applications,
    options: Options,
    token: Option<Token>,
    clock: Clock,
    in_flight: Arc<Semaphore>,
    decoding: Arc<Semaphore>,
}

/// A body, and what it takes of the bytes in flight, which it gives back when it is dropped.
struct Body {
    bytes: Vec<u8>,
    _held: Option<OwnedSemaphorePermit>,
}

/// OTLP over HTTP.
pub struct Http(pub Receiver);

/// OTLP over gRPC.
pub struct Grpc(pub Receiver);

impl Receiver {
    /// A receiver that fills the store; with a token, only who has it may come in.
    pub fn new(applications: Applications, options: &Options, token: Option<Token>, clock: Clock) -> Self {
        let bytes = usize::try_from(options.in_flight_max.as_u64()).unwrap_or(usize::MAX);
        // What a frame has besides comes on top, so that a body that may be taken always can be.
        let permits = bytes.saturating_add(FRAME_BYTES).div_ceil(PERMIT_BYTES).min(Semaphore::MAX_PERMITS);
        let in_flight = Arc::new(Semaphore::new(permits));
        // One at a time: they would wait for the store, and each holds what it unpacked.
        let decoding = Arc::new(Semaphore::new(1));
        Self { applications, options: options.clone(), token, clock, in_flight, decoding }
    }

    /// What the listeners allow.
    pub fn limits(options: &Options) -> Limits {
        Limits { connections: options.connections, head: IDLE, ..Limits::default() }
    }

    fn admits(&self, request: &Request<Incoming>) -> bool {
        self.token.as_ref().is_some_and(|token| token.admits(request))
    }

    fn body_max(&self) -> usize {
        usize::try_from(self.options.body_max.as_u64()).unwrap_or(usize::MAX)
    }

    async fn body(&self, request: Request<Incoming>) -> Result<Body, Fault> {
        let most = self.body_max() + FRAME_BYTES;
        let read = async {
            let (mut body, mut out, mut held) = (request.into_body(), Vec::new(), None);
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|e| Fault::Malformed(e.to_string()))?;
                let Ok(bytes) = frame.into_data() else { continue };
                if out.len() + bytes.len() > most {
                    return Err(Fault::TooLong(self.body_max()));
                }
                self.hold(&mut held, out.len() + bytes.len())?;
                out.extend_from_slice(&bytes);
            }
            Ok(Body { bytes: out, _held: held })
        };
        tokio::time::timeout(Limits::default().body, read).await.unwrap_or(Err(Fault::TooSlow))
    }

    /// Holds as much as so many bytes take, whatever the pieces in which they came.
    fn hold(&self, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), Fault> {
        let before = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let permits = bytes.div_ceil(PERMIT_BYTES).saturating_sub(before);
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.in_flight).try_acquire_many_owned(permits).map_err(|_| Fault::Busy)?;
        match held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
        Ok(())
    }

    /// Does what takes long with a body on a thread for that: scrapes and other requests are answered meanwhile.
    async fn apart(
        &self,
        body: Body,
        work: impl FnOnce(&Self, &[u8]) -> Result<Outcome, Fault> + Send + 'static,
    ) -> Result<Outcome, Fault> {
        let turn = Arc::clone(&self.decoding).acquire_owned().await.map_err(|_| Fault::Busy)?;
        let receiver = self.clone();
        let work = move || {
            let _turn = turn;
            work(&receiver, &body.bytes)
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| {
            Err(if e.is_panic() { Fault::Malformed("it could not be read".into()) } else { Fault::Busy })
        })
    }

    fn receive(&self, form: Form, packing: Packing, body: &[u8]) -> Result<Outcome, Fault> {
        let most = self.body_max();
        let whole = packing.unpack(body, most).map_err(|e| match e {
            UnpackError::TooLong => Fault::TooLong(most),
            UnpackError::Broken(e) => Fault::Malformed(e.to_string()),
        })?;
        let wall_nanos = u64::try_from((self.clock)()).unwrap_or(0).saturating_mul(1_000_000);
        let arrival = Arrival { now: Instant::now(), wall_nanos };
        let take = |bytes: &[u8]| {
            receive(&self.applications, self.options.names, bytes, arrival)
                .map_err(|e| Fault::Malformed(e.to_string()))
        };
        match form {
            Form::Protobuf => take(&whole),
            Form::Json => take(&json::request(&whole, most).map_err(Fault::Malformed)?),
        }
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

impl Handler for Http {
    async fn handle(&self, request: Request<Incoming>) -> Answer {
        if request.uri().path() != HTTP_PATH {
            return Answer::text(answers::NAME, StatusCode::NOT_FOUND, format!("metrics go to {HTTP_PATH}"));
        }
        if request.method() != Method::POST {
            return Answer::wrong_method(answers::NAME, "POST");
        }
        if self.0.token.is_some() && !self.0.admits(&request) {
            return Answer::unauthorized(answers::NAME);
        }
        let Some(form) = Form::named(header(request.headers(), &CONTENT_TYPE)) else {
            let why = "the content type is to be application/x-protobuf or application/json";
            return answers::refusal(Form::Json, (StatusCode::UNSUPPORTED_MEDIA_TYPE, 3), why);
        };
        let Some(packing) = Packing::named(header(request.headers(), &CONTENT_ENCODING)) else {
            return answers::http(form, &Err(Fault::Packing));
        };
        let result = match self.0.body(request).await {
            Ok(body) => self.0.apart(body, move |own, bytes| own.receive(form, packing, bytes)).await,
            Err(fault) => Err(fault),
        };
        answers::http(form, &result)
    }

    fn admits(&self, request: &Request<Incoming>) -> bool {
        self.0.admits(request)
    }
}

impl Handler for Grpc {
    async fn handle(&self, request: Request<Incoming>) -> Answer {
        let content_type = header(request.headers(), &CONTENT_TYPE);
        let is_grpc = content_type
            .strip_prefix("application/grpc")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("+proto") || rest.starts_with(';'));
        if !is_grpc || request.method() != Method::POST {
            let why = "gRPC alone is spoken here; HTTP has a port of its own (applications.otlp.http)";
            return Answer::text(answers::NAME, StatusCode::UNSUPPORTED_MEDIA_TYPE, why);
        }
        if self.0.token.is_some() && !self.0.admits(&request) {
            return Answer::unauthorized(answers::NAME);
        }
        if request.uri().path() != GRPC_PATH {
            return answers::grpc_refusal(12, "metrics alone are taken here");
        }
        let encoding = header(request.headers(), &HeaderName::from_static("grpc-encoding"));
        let packing = Packing::named(encoding);
        let result = match self.0.body(request).await {
            Ok(body) => {
                let work = move |own: &Receiver, bytes: &[u8]| {
                    let (packing, message) = message(bytes, packing)?;
                    own.receive(Form::Protobuf, packing, message)
                };
                self.0.apart(body, work).await
            }
            Err(fault) => Err(fault),
        };
        answers::grpc(&result)
    }

    fn admits(&self, request: &Request<Incoming>) -> bool {
        self.0.admits(request)
    }
}

/// The one message of a call, and how it is packed.
fn message(body: &[u8], packing: Option<Packing>) -> Result<(Packing, &[u8]), Fault> {
    let bad = |why: &str| Err(Fault::Malformed(why.to_owned()));
    let Some(([flag, length @ ..], message)) = body.split_first_chunk::<FRAME_BYTES>() else {
        return bad("the message ends too soon");
    };
    if usize::try_from(u32::from_be_bytes(*length)) != Ok(message.len()) {
        return bad("there is not one message of the length that it says");
    }
    match (flag, packing) {
        (0, _) => Ok((Packing::None, message)),
        (1, Some(packing)) => Ok((packing, message)),
        (1, None) => Err(Fault::Packing),
        _ => bad("a frame of an unknown kind"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A receiver without listeners.
    fn receiver(options: &Options) -> Receiver {
        let applications = Applications::new(&crate::apps::Options::default());
        Receiver::new(applications, options, None, || 0)
    }

    #[test]
    fn who_waits_for_the_store_leaves_all_else_to_go_on() {
        use std::sync::mpsc::channel;
        let receiver = receiver(&Options::default());
        let (other, told) = channel();
        let (begun, is_begun) = channel();
        let applications = receiver.applications.clone();
        let page = std::thread::spawn(move || {
            let _store = applications.lock();
            begun.send(()).unwrap();
            told.recv_timeout(Duration::from_secs(30)).is_ok()
        });
        is_begun.recv().unwrap();
        let json = br#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"x","gauge":{"dataPoints":[{"asInt":1}]}}]}]}]}"#;
        let body = Body { bytes: json.to_vec(), _held: None };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let outcome = runtime.block_on(async {
            let request = receiver.apart(body, |own, bytes| own.receive(Form::Json, Packing::None, bytes));
            tokio::join!(request, async { other.send(()).unwrap() }).0
        });
        assert_eq!(outcome.map(|outcome| outcome.taken), Ok(1));
        assert!(page.join().unwrap(), "nothing else was done while a request waited for the store");
    }

    #[test]
    fn a_body_in_many_pieces_takes_no_more_than_in_one() {
        let max = bytesize::ByteSize::kib(4);
        let receiver = receiver(&Options { body_max: max, in_flight_max: max, ..Options::default() });
        let (mut held, mut others) = (None, None);
        for bytes in 1..=2048 {
            assert_eq!(receiver.hold(&mut held, bytes), Ok(()), "{bytes} bytes");
        }
        assert_eq!(receiver.hold(&mut others, 2048), Ok(()));
        assert_eq!(receiver.hold(&mut others, 4096), Err(Fault::Busy));
        drop(held);
        assert_eq!(receiver.hold(&mut others, 4096 + FRAME_BYTES), Ok(()), "the largest, alone");
    }

    #[test]
    fn a_call_has_one_message() {
        let framed = |flag: u8, length: u8, message: &[u8]| [&[flag, 0, 0, 0, length][..], message].concat();
        assert_eq!(message(&framed(0, 2, b"ab"), None), Ok((Packing::None, &b"ab"[..])));
        assert_eq!(message(&framed(1, 1, b"a"), Some(Packing::Gzip)), Ok((Packing::Gzip, &b"a"[..])));
        assert_eq!(message(&framed(1, 1, b"a"), None), Err(Fault::Packing));
        for wrong in [framed(0, 3, b"ab"), framed(0, 1, b"ab"), framed(2, 0, b""), vec![0, 0, 0, 0]] {
            assert!(matches!(message(&wrong, None), Err(Fault::Malformed(_))), "{wrong:?}");
        }
    }
}
