//! HTTP in: connections, limits, time-outs, bearer tokens and an orderly end.

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use std::borrow::Cow;
use std::convert::Infallible;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};

/// The largest token file that is read, in bytes.
const TOKEN_BYTES_MAX: usize = 4096;

/// What a listener allows its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; more are answered 503 and closed.
    pub connections: usize,
    /// Time to send a request's head, and the longest silence between two requests.
    pub head: Duration,
    /// Time to send a request's body.
    pub body: Duration,
    /// The largest body, in bytes.
    pub body_bytes: usize,
    /// The longest that a client may leave bytes of an answer unread or unacknowledged.
    pub unread: Duration,
    /// Time that requests in flight have to finish once the listener stops.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            head: Duration::from_secs(20),
            body: Duration::from_secs(10),
            body_bytes: 4 << 20,
            unread: Duration::from_secs(30),
            shutdown: Duration::from_millis(4500),
        }
    }
}

/// An answer to a request, and which of the listener's pages gave it (for the counter).
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// The `handler` label: a constant, never the client's text.
    pub handler: &'static str,
    /// The content type.
    pub content_type: Cow<'static, str>,
    /// The body.
    pub body: Bytes,
    /// One more header.
    pub header: Option<(hyper::header::HeaderName, HeaderValue)>,
}

impl Answer {
    /// A page of the given content type.
    pub fn page(
        handler: &'static str,
        content_type: impl Into<Cow<'static, str>>,
        body: impl Into<Bytes>,
    ) -> Self {
        let (status, content_type) = (StatusCode::OK, content_type.into());
        Self { status, handler, content_type, body: body.into(), header: None }
    }

    /// A line of text with a status.
    pub fn text(handler: &'static str, status: StatusCode, line: impl Into<String>) -> Self {
        let mut body = line.into();
        body.push('\n');
        let content_type = Cow::Borrowed("text/plain; charset=utf-8");
        Self { status, handler, content_type, body: body.into(), header: None }
    }

    /// A value as JSON; a value that has no JSON is a server error.
    pub fn json(handler: &'static str, value: &impl serde::Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::page(handler, "application/json", body),
            Err(e) => Self::text(
                handler,
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("cannot encode the answer: {e}"),
            ),
        }
    }

    /// 404.
    pub fn not_found() -> Self {
        Self::text("none", StatusCode::NOT_FOUND, "no such page; see /")
    }

    /// 405 with the methods that the page has.
    pub fn wrong_method(handler: &'static str, allow: &'static str) -> Self {
        let mut answer = Self::text(handler, StatusCode::METHOD_NOT_ALLOWED, format!("use {allow} here"));
        answer.header = Some((ALLOW, HeaderValue::from_static(allow)));
        answer
    }

    /// 401 for a request without the right token.
    pub fn unauthorized(handler: &'static str) -> Self {
        let mut answer =
            Self::text(handler, StatusCode::UNAUTHORIZED, "a bearer token is needed, or this one is wrong");
        answer.header = Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        answer
    }

    /// 503: not now, but perhaps in a few seconds.
    pub fn unavailable(handler: &'static str, why: impl Into<String>) -> Self {
        let mut answer = Self::text(handler, StatusCode::SERVICE_UNAVAILABLE, why);
        answer.header = Some((RETRY_AFTER, HeaderValue::from_static("5")));
        answer
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let content_type = match self.content_type {
            Cow::Borrowed(text) => Ok(HeaderValue::from_static(text)),
            Cow::Owned(text) => HeaderValue::try_from(text),
        };
        // Texts of our own are good values; without this header the answer would be as good.
        if let Ok(content_type) = content_type {
            response.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Answers the requests of one listener.
pub trait Handler: Send + Sync + 'static {
    /// The answer to a request.
    fn handle(&self, request: Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// Counters of the HTTP listeners of this process.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: IntCounterVec,
    rejected: IntCounterVec,
}

impl Metrics {
    /// Makes the counters and puts them into `registry`.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let requests = IntCounterVec::new(
            Opts::new("headroom_http_requests_total", "HTTP requests by listener, page and status code."),
            &["listener", "handler", "code"],
        )?;
        let rejected = IntCounterVec::new(
            Opts::new(
                "headroom_http_connections_rejected_total",
                "Connections beyond the listener's limit, answered 503.",
            ),
            &["listener"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(rejected.clone()))?;
        Ok(Self { requests, rejected })
    }
}

/// A listener: where it listens, its name in metrics, and its rules.
pub struct Listener {
    /// The bound socket.
    pub socket: TcpListener,
    /// The `listener` label.
    pub name: &'static str,
    /// What clients may do.
    pub limits: Limits,
    /// The counters.
    pub metrics: Metrics,
}

impl Listener {
    /// Serves until `stop` becomes true, then gives requests in flight their time to finish.
    pub async fn run(self, handler: Arc<impl Handler>, mut stop: watch::Receiver<bool>) {
        let graceful = GracefulShutdown::new();
        let permits = Arc::new(Semaphore::new(self.limits.connections));
        let rejected = self.metrics.rejected.with_label_values(&[self.name]);
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let Ok((stream, _)) = accepted else {
                // Out of descriptors, most likely: what is open must end first, so do not spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                refuse(&stream, &rejected);
                continue;
            };
            end_if_unread(&stream, self.limits.unread);
            let (handler, metrics, name) = (Arc::clone(&handler), self.metrics.clone(), self.name);
            let service = service_fn(move |request| {
                let (handler, metrics) = (Arc::clone(&handler), metrics.clone());
                async move {
                    let answer = handler.handle(request).await;
                    let code = answer.status.as_str().to_owned();
                    metrics.requests.with_label_values(&[name, answer.handler, &code]).inc();
                    Ok::<_, Infallible>(answer.into_response())
                }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.limits.head)
                .max_buf_size(64 << 10)
                .serve_connection(TokioIo::new(stream), service);
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                if let Err(e) = connection.await {
                    tracing::debug!(listener = name, error = %e, "connection ended early");
                }
                drop(permit);
            });
        }
        drop(self.socket);
        if tokio::time::timeout(self.limits.shutdown, graceful.shutdown()).await.is_err() {
            tracing::warn!(
                listener = self.name,
                "requests were still in flight when the time to stop was over"
            );
        }
    }
}

/// Has the kernel end the connection if its peer is gone, or does not read, for so long: hyper waits for ever to write.
#[cfg(target_os = "linux")]
fn end_if_unread(stream: &TcpStream, limit: Duration) {
    let millis = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
    if let Err(e) = rustix::net::sockopt::set_tcp_user_timeout(stream, millis) {
        tracing::debug!(error = %e, "a connection has no limit on unread answers");
    }
}

/// Only Linux has such a limit.
#[cfg(not(target_os = "linux"))]
fn end_if_unread(_: &TcpStream, _: Duration) {}

/// Tells a client beyond the limit why it is not served; it must not cost more than that.
fn refuse(stream: &TcpStream, rejected: &IntCounter) {
    rejected.inc();
    let answer = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 21\r\n\r\ntoo many connections\n";
    if let Err(e) = stream.try_write(answer) {
        tracing::debug!(error = %e, "a refused client did not wait for its answer");
    }
}

/// Reads a request's body within the limits, or gives the answer that says why not.
pub async fn body(
    handler: &'static str,
    request: Request<Incoming>,
    limits: Limits,
) -> Result<Bytes, Answer> {
    let body = Limited::new(request.into_body(), limits.body_bytes).collect();
    match tokio::time::timeout(limits.body, body).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => {
            let why = format!("the body is longer than {} bytes", limits.body_bytes);
            Err(Answer::text(handler, StatusCode::PAYLOAD_TOO_LARGE, why))
        }
        Ok(Err(e)) => {
            Err(Answer::text(handler, StatusCode::BAD_REQUEST, format!("the body could not be read: {e}")))
        }
        Err(_) => Err(Answer::text(handler, StatusCode::REQUEST_TIMEOUT, "the body took too long")),
    }
}

/// `Some(answer)` unless the request reads (GET or HEAD).
pub fn only_get(handler: &'static str, method: &Method) -> Option<Answer> {
    (method != Method::GET && method != Method::HEAD).then(|| Answer::wrong_method(handler, "GET"))
}

/// The values of `key` in a query string, percent-decoded.
pub fn query<'a>(query: Option<&'a str>, key: &'a str) -> impl Iterator<Item = String> + 'a {
    query.unwrap_or_default().split('&').filter_map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name) == key).then(|| decode(value))
    })
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let hex = tail
            .get(..2)
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match (byte, hex) {
            (b'%', Some(value)) => {
                bytes.push(value);
                rest = tail.get(2..).unwrap_or_default();
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A bearer token from a file; it has no text form, so that no log can show it.
#[derive(Clone)]
pub struct Token(Arc<[u8]>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the token file {}: {why}", path.display())]
pub struct TokenError {
    path: PathBuf,
    why: String,
}

impl Token {
    /// Reads the token; white space around it does not count.
    pub fn from_file(path: &Path) -> Result<Self, TokenError> {
        let error = |why: String| TokenError { path: path.to_owned(), why };
        let text = std::fs::read(path).map_err(|e| error(e.to_string()))?;
        let token = text.trim_ascii();
        if token.is_empty() {
            return Err(error(
                "it is empty; put a long random text into it, such as `openssl rand -hex 32` prints".into(),
            ));
        }
        if token.len() > TOKEN_BYTES_MAX || token.iter().any(|b| !b.is_ascii_graphic()) {
            return Err(error(format!(
                "a token is at most {TOKEN_BYTES_MAX} printable ASCII characters without spaces"
            )));
        }
        Ok(Self(token.into()))
    }

    /// Whether the request carries this token; the comparison takes the same time for every wrong one.
    pub fn admits<B>(&self, request: &Request<B>) -> bool {
        let given = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let scheme = given.get(..7).is_some_and(|s| s.eq_ignore_ascii_case(b"bearer "));
        let given = given.get(7..).unwrap_or_default().trim_ascii();
        scheme & bool::from(given.ct_eq(&self.0))
    }

    /// The value of an `Authorization` header with this token, marked as sensitive.
    pub fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_bytes(&[b"Bearer ", &*self.0].concat()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Asks for the configuration to be read again; the answer says what became of it.
pub type Reload = tokio::sync::mpsc::Sender<oneshot::Sender<Result<(), String>>>;

/// The answer of `/-/reload`, which every listener has and which is off unless it is enabled.
pub async fn reload(way: Option<&Reload>, method: &Method) -> Answer {
    const NAME: &str = "reload";
    let Some(way) = way else {
        return Answer::text(
            NAME,
            StatusCode::FORBIDDEN,
            "reloading by HTTP is off; set `reload_endpoint: true`, or send SIGHUP",
        );
    };
    if method != Method::POST {
        return Answer::wrong_method(NAME, "POST");
    }
    let (reply, outcome) = oneshot::channel();
    if way.send(reply).await.is_err() {
        return Answer::unavailable(NAME, "shutting down");
    }
    match outcome.await {
        Ok(Ok(())) => Answer::text(NAME, StatusCode::OK, "reloaded"),
        Ok(Err(why)) => Answer::text(NAME, StatusCode::INTERNAL_SERVER_ERROR, why),
        Err(_) => Answer::unavailable(NAME, "shutting down"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_admits_only_its_own_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "s3cret\n").unwrap();
        let token = Token::from_file(&path).unwrap();
        let with = |value: &str| Request::builder().header(AUTHORIZATION, value).body(()).unwrap();
        assert!(token.admits(&with("Bearer s3cret")));
        assert!(token.admits(&with("bearer s3cret")));
        for wrong in ["Bearer s3cre", "Bearer s3cret2", "Basic s3cret", "s3cret", "", "Bearer "] {
            assert!(!token.admits(&with(wrong)), "{wrong}");
        }
        assert!(!token.admits(&Request::new(())));
        assert!(!format!("{token:?}").contains("s3cret"));
    }

    struct Long;

    impl Handler for Long {
        async fn handle(&self, _: Request<Incoming>) -> Answer {
            Answer::page("long", "text/plain", vec![b'x'; 1 << 20])
        }
    }

    #[tokio::test]
    async fn a_client_that_never_reads_loses_its_connection() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let limits = Limits { connections: 1, unread: Duration::from_millis(500), ..Limits::default() };
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let (stop, stopped) = watch::channel(false);
        let listener = Listener { socket, name: "test", limits, metrics };
        let served = tokio::spawn(listener.run(Arc::new(Long), stopped));
        let get = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(&get.repeat(64)).await.unwrap();
        let answered = async {
            loop {
                let mut next = TcpStream::connect(address).await.unwrap();
                next.write_all(get).await.unwrap();
                let mut start = [0; 12];
                match next.read_exact(&mut start).await {
                    Ok(_) if start.ends_with(b"200") => break,
                    // The only place is still taken; a refused client may not even see its 503.
                    _ => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(15), answered).await.expect("the place becomes free");
        drop(idle);
        stop.send(true).unwrap();
        served.await.unwrap();
    }

    #[test]
    fn an_unusable_token_file_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, " \n").unwrap();
        assert!(Token::from_file(&path).unwrap_err().to_string().contains("openssl rand"));
        std::fs::write(&path, "two words").unwrap();
        assert!(Token::from_file(&path).is_err());
        assert!(Token::from_file(&dir.path().join("none")).unwrap_err().to_string().contains("none"));
    }

    #[test]
    fn query_values_are_decoded() {
        let q = Some("a=1&b=x%20y+z&a=%zz&c");
        assert_eq!(query(q, "a").collect::<Vec<_>>(), ["1", "%zz"]);
        assert_eq!(query(q, "b").collect::<Vec<_>>(), ["x y z"]);
        assert_eq!(query(q, "c").collect::<Vec<_>>(), [""]);
        assert_eq!(query(None, "c").count(), 0);
    }
}
