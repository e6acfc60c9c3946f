//! One connection from its first byte to its last: the handshake of TLS, HTTP/1.1 or HTTP/2, and when it has to end.

use super::door::{Admitted, Door, Visit};
use super::metrics::Metrics;
use super::reply::Reply;
use super::web_config::ClientAuth;
use super::{Caller, Handler, Limits, san};
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Requests at once on one connection of HTTP/2.
const STREAMS_MAX: u32 = 16;
/// What Go's server says to who speaks HTTP where TLS is wanted.
const NOT_TLS: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// What all connections of a listener share.
pub(super) struct Shared<H> {
    pub(super) name: &'static str,
    pub(super) limits: Limits,
    pub(super) metrics: Metrics,
    pub(super) handler: Arc<H>,
    pub(super) door: Door,
    /// Whether HTTP/2 is what is spoken without TLS.
    pub(super) http2_plain: bool,
}

/// A connection that was accepted.
pub(super) struct Connection<H> {
    shared: Arc<Shared<H>>,
    visit: Visit,
    /// The names in the client's certificate, if it was verified.
    sans: OnceLock<Arc<[String]>>,
    /// Requests that are being answered, and when the last one was.
    in_flight: AtomicUsize,
    last: Mutex<Instant>,
}

impl<H: Handler> Connection<H> {
    pub(super) fn new(shared: Arc<Shared<H>>, peer: SocketAddr) -> Arc<Self> {
        let (visit, in_flight) = (Visit::new(peer.ip()), AtomicUsize::new(0));
        let last = Mutex::new(Instant::now());
        Arc::new(Self { shared, visit, sans: OnceLock::new(), in_flight, last })
    }

    /// Serves the connection until it ends.
    pub(super) async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        watcher: Watcher,
        stop: watch::Receiver<bool>,
    ) {
        let name = self.shared.name;
        let loaded = self.shared.door.loaded();
        let Some((tls, http2)) =
            loaded.as_ref().and_then(|loaded| Some((loaded.tls.as_ref()?, loaded.http2)))
        else {
            return if self.shared.http2_plain {
                self.http2(stream, watcher).await;
            } else {
                self.http1(stream, watcher).await;
            };
        };
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
        let stream = match self.handshake(acceptor, stream, stop).await {
            Ok(stream) => stream,
            Err((reason, e)) => {
                self.shared.metrics.tls_failures.with_label_values(&[name, reason]).inc();
                tracing::debug!(listener = name, reason, error = %e, "no TLS was agreed on");
                return;
            }
        };
        // Other policies take any certificate, whatever it says.
        if tls.policy >= ClientAuth::VerifyIfGiven
            && let Some([certificate, ..]) = stream.get_ref().1.peer_certificates()
        {
            let _only_once = self.sans.set(san::names(certificate).into());
        }
        if http2 && stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            self.http2(stream, watcher).await;
        } else {
            self.http1(stream, watcher).await;
        }
    }

    async fn handshake(
        &self,
        acceptor: TlsAcceptor,
        stream: TcpStream,
        mut stop: watch::Receiver<bool>,
    ) -> Result<TlsStream<TcpStream>, (&'static str, io::Error)> {
        let agreed = async {
            let mut first = [0];
            stream.peek(&mut first).await.map_err(|e| ("handshake", e))?;
            // A record of TLS never begins with a letter, and a request always does.
            if first.iter().all(u8::is_ascii_alphabetic) {
                refuse_plain(stream).await;
                return Err(("plain_http", io::Error::other("the client speaks HTTP")));
            }
            acceptor.accept(stream).await.map_err(|e| (reason(&e), e))
        };
        tokio::select! {
            agreed = tokio::time::timeout(self.shared.limits.head, agreed) => {
                agreed.unwrap_or_else(|_| Err(("timeout", io::ErrorKind::TimedOut.into())))
            }
            _ = stop.wait_for(|stop| *stop) => Err(("handshake", io::Error::other("the listener stops"))),
        }
    }

    async fn http1(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        watcher: Watcher,
    ) {
        let (this, name, head) = (Arc::clone(&self), self.shared.name, self.shared.limits.head);
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(move |request| Arc::clone(&this).answer(request)),
            );
        if let Err(e) = watcher.watch(connection).await {
            tracing::debug!(listener = name, error = %e, "connection ended early");
        }
    }

    async fn http2(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        watcher: Watcher,
    ) {
        let (this, name) = (Arc::clone(&self), self.shared.name);
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
            .serve_connection(
                TokioIo::new(stream),
                service_fn(move |request| Arc::clone(&this).answer(request)),
            );
        tokio::select! {
            ended = watcher.watch(connection) => {
                if let Err(e) = ended {
                    tracing::debug!(listener = name, error = %e, "connection ended early");
                }
            }
            () = self.idle() => {}
        }
    }

    /// Ends when nothing was asked for as long as HTTP/1.1 would wait for the next request.
    async fn idle(&self) {
        let limit = self.shared.limits.head;
        loop {
            let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let busy = self.in_flight.load(Ordering::Acquire) > 0;
            match limit.checked_sub(last.elapsed()).filter(|left| !left.is_zero()) {
                None if !busy => return,
                None => tokio::time::sleep(limit).await,
                Some(left) => tokio::time::sleep(left).await,
            }
        }
    }

    async fn answer(self: Arc<Self>, mut request: Request<Incoming>) -> Result<Response<Reply>, Infallible> {
        let busy = Busy::new(Arc::clone(&self));
        let Shared { name, metrics, handler, door, .. } = &*self.shared;
        let head = request.method() == Method::HEAD && request.version() == Version::HTTP_2;
        let tried = request.headers().contains_key(AUTHORIZATION);
        let sans = self.sans.get().cloned();
        if let Some(sans) = sans.clone() {
            request.extensions_mut().insert(Caller { user: None, sans });
        }
        let admitted = door.admit(&self.visit, request.headers(), handler.admits(&request)).await;
        let answer = match admitted {
            Ok(Admitted::Anyone) => door.after(&self.visit, tried, handler.handle(request).await),
            Ok(Admitted::User(user)) => {
                let caller = Caller { user: Some(user), sans: sans.unwrap_or_default() };
                request.extensions_mut().insert(caller);
                door.after_user(handler.handle(request).await)
            }
            Err(refusal) => refusal,
        };
        metrics.requests.with_label_values(&[name, answer.handler, answer.status.as_str()]).inc();
        let mut response = answer.into_response();
        // What goes on is still being answered.
        response.body_mut().holding(busy);
        if head {
            // Over HTTP/2 hyper would send the body all the same, which is an error there.
            let length = HeaderValue::from(response.body().size_hint().lower());
            response.headers_mut().insert(CONTENT_LENGTH, length);
            *response.body_mut() = Reply::default();
        }
        if let Some(loaded) = door.in_use() {
            response.headers_mut().extend(loaded.headers.iter().cloned());
        }
        Ok(response)
    }
}

/// A request that is being answered.
struct Busy<H>(Arc<Connection<H>>);

impl<H> Busy<H> {
    fn new(connection: Arc<Connection<H>>) -> Self {
        connection.in_flight.fetch_add(1, Ordering::AcqRel);
        Self(connection)
    }
}

impl<H> Drop for Busy<H> {
    fn drop(&mut self) {
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Tells a client that speaks HTTP where TLS is wanted what is wrong.
async fn refuse_plain(mut stream: TcpStream) {
    let mut rest = [0; 4096];
    // What stays unread when a connection is closed makes the kernel throw away what was written.
    let _read = stream.try_read(&mut rest);
    if let Err(e) = stream.write_all(NOT_TLS).await.and(stream.shutdown().await) {
        tracing::debug!(error = %e, "a refused client did not wait for its answer");
    }
}

fn reason(e: &io::Error) -> &'static str {
    let cause = e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => "certificate",
        _ => "handshake",
    }
}
