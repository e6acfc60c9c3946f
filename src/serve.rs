//! HTTP in: what a listener allows, what an answer is, and the pages that all listeners have.

pub mod addresses;
mod attempts;
mod client_cert;
mod connection;
mod door;
pub mod listener;
pub mod local;
pub mod metrics;
pub mod query;
mod reply;
mod san;
mod tls;
pub mod token;
mod users;
pub mod web;
mod web_config;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use reply::Reply;
use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// What a listener allows its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; more are answered 503 and closed.
    pub connections: usize,
    /// Time for the handshake of TLS, to send a request's head, and the longest silence between two requests.
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
    /// More headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// More of the body, as it comes, until its sender is dropped; then its length is not known.
    pub stream: Option<mpsc::Receiver<Bytes>>,
    /// What follows the body, over HTTP/2.
    pub trailers: Option<Box<HeaderMap>>,
    /// Whether somebody is refused who is known and has not this right. It is counted; other answers 403 are not.
    pub forbids: bool,
}

impl Answer {
    /// A page of the given content type.
    pub fn page(
        handler: &'static str,
        content_type: impl Into<Cow<'static, str>>,
        body: impl Into<Bytes>,
    ) -> Self {
        let (status, content_type) = (StatusCode::OK, content_type.into());
        Self {
            status,
            handler,
            content_type,
            body: body.into(),
            headers: Vec::new(),
            stream: None,
            trailers: None,
            forbids: false,
        }
    }

    /// A line of text with a status.
    pub fn text(handler: &'static str, status: StatusCode, line: impl Into<String>) -> Self {
        let mut body = line.into();
        body.push('\n');
        let content_type = Cow::Borrowed("text/plain; charset=utf-8");
        Self {
            status,
            handler,
            content_type,
            body: body.into(),
            headers: Vec::new(),
            stream: None,
            trailers: None,
            forbids: false,
        }
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
        Self::text(handler, StatusCode::METHOD_NOT_ALLOWED, format!("use {allow} here"))
            .with(ALLOW, HeaderValue::from_static(allow))
    }

    /// 401 for a request without the right token.
    pub fn unauthorized(handler: &'static str) -> Self {
        Self::text(handler, StatusCode::UNAUTHORIZED, "a bearer token is needed, or this one is wrong")
            .with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 403 for a request whose token, user or certificate is known and does not reach so far.
    pub fn forbidden(handler: &'static str) -> Self {
        let why = "this token, user or certificate may not do that here";
        let answer = Self::text(handler, StatusCode::FORBIDDEN, why);
        Self { forbids: true, ..answer }
    }

    /// 503: not now, but perhaps in a few seconds.
    pub fn unavailable(handler: &'static str, why: impl Into<String>) -> Self {
        Self::text(handler, StatusCode::SERVICE_UNAVAILABLE, why)
            .with(RETRY_AFTER, HeaderValue::from_static("5"))
    }

    /// The answer with one more header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The answer, whose body goes on.
    #[must_use]
    pub fn followed_by(self, stream: mpsc::Receiver<Bytes>) -> Self {
        Self { stream: Some(stream), ..self }
    }

    fn into_response(self) -> Response<Reply> {
        let mut response = Response::new(Reply::new(self.body, self.stream, self.trailers));
        *response.status_mut() = self.status;
        let content_type = match self.content_type {
            Cow::Borrowed(text) => Ok(HeaderValue::from_static(text)),
            Cow::Owned(text) => HeaderValue::try_from(text),
        };
        // Texts of our own are good values; without this header the answer would be as good.
        if let Ok(content_type) = content_type {
            response.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        response.headers_mut().extend(self.headers);
        response
    }
}

/// Who sends a request, as far as it is known: among the request's extensions, for pages that look who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The user of the web configuration whose password was right.
    pub user: Option<String>,
    /// The names in the certificate that was shown and verified.
    pub sans: Arc<[String]>,
}

/// Answers the requests of one listener.
pub trait Handler: Send + Sync + 'static {
    /// The answer to a request.
    fn handle(&self, request: Request<Incoming>) -> impl Future<Output = Answer> + Send;

    /// Whether the pages see to it themselves who sent this request, so that no user and password are asked besides.
    fn admits(&self, _request: &Request<Incoming>) -> bool {
        false
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

/// Asks for the configuration to be read again; the answer says what became of it.
pub type Reload = mpsc::Sender<oneshot::Sender<Result<(), String>>>;

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
