//! HTTP out: one request, one connection, a deadline over all of it and a bounded answer.

pub mod apart;
pub mod names;
pub mod trust;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::http::response::Parts;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use names::Names;
use rustls::pki_types::ServerName;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use trust::{Files, Trust};

/// The largest answer that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Between two looks whether an answer is still waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A request that got no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is not one that can be called.
    #[error("`{url}` is not an address that can be called: {why}")]
    Url {
        /// The address.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nobody answers there.
    #[error("cannot connect to {to}: {source}")]
    Connect {
        /// Host and port.
        to: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// No TLS was agreed on: whom to trust is not known, or this one is not trusted.
    #[error("no TLS with {to}: {why}")]
    Tls {
        /// Host and port.
        to: String,
        /// What went wrong.
        why: String,
    },
    /// The other side broke the protocol, or its answer is too long.
    #[error("no usable answer from {to}: {why}")]
    Answer {
        /// Host and port.
        to: String,
        /// What went wrong.
        why: String,
    },
    /// The deadline passed.
    #[error("no answer within {}", humantime::format_duration(*after))]
    Deadline {
        /// The time that was given.
        after: Duration,
    },
    /// Whoever sent it did not want to wait any longer.
    #[error("no answer was waited for: {why}")]
    Stopped {
        /// Why.
        why: String,
    },
}

/// What to send.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// `http://host:port/path?query`, or `https://`.
    pub url: String,
    /// The value of the `Authorization` header.
    pub authorization: Option<HeaderValue>,
    /// More headers; they stand over those that are sent anyway, such as that the body is JSON.
    pub headers: HeaderMap,
    /// The body.
    pub body: Option<Vec<u8>>,
    /// Whom to trust over TLS; without it, whom the system trusts.
    pub trust: Option<Trust>,
    /// The time for everything, from the connection to the last byte of the answer.
    pub deadline: Duration,
    /// The socket (AF_UNIX) that is called in place of host and port.
    pub unix: Option<PathBuf>,
    /// The longest answer that is taken.
    pub answer_bytes_max: usize,
    /// Whether HTTP/2 is spoken, as gRPC wants it; what follows the answer's body then stands among its headers.
    pub http2: bool,
    /// Who looks up the host's name, for those on a runtime that serves others; its own pool of threads does without it.
    pub names: Option<Names>,
}

impl Call {
    /// A GET without a token, with ten seconds.
    pub fn get(url: impl Into<String>) -> Self {
        let deadline = Duration::from_secs(10);
        Self {
            method: Method::GET,
            url: url.into(),
            authorization: None,
            headers: HeaderMap::new(),
            body: None,
            trust: None,
            deadline,
            unix: None,
            answer_bytes_max: ANSWER_BYTES_MAX,
            http2: false,
            names: None,
        }
    }
}

/// Checks that an address can be called, without calling it.
pub fn check(url: &str) -> Result<(), ClientError> {
    address(url).map(|_| ())
}

/// The same for what is called without TLS.
pub fn check_plain(url: &str) -> Result<(), ClientError> {
    let why = "it does not begin with http://";
    if address(url)?.secure { Err(ClientError::Url { url: shown(url), why }) } else { Ok(()) }
}

/// Sends the call and reads the answer.
pub async fn send(call: Call) -> Result<(StatusCode, Bytes), ClientError> {
    let answer = send_whole(call).await?;
    Ok((answer.status(), answer.into_body()))
}

/// The same, with the answer's headers.
pub async fn send_whole(call: Call) -> Result<Response<Bytes>, ClientError> {
    let after = call.deadline;
    match tokio::time::timeout(after, exchange(call)).await {
        Ok(result) => result,
        Err(_) => Err(ClientError::Deadline { after }),
    }
}

/// [`send`] from a thread that has no runtime of its own.
pub fn send_blocking(call: Call) -> Result<(StatusCode, Bytes), ClientError> {
    let answer = send_whole_blocking(call)?;
    Ok((answer.status(), answer.into_body()))
}

/// [`send_whole`] from a thread that has no runtime of its own.
pub fn send_whole_blocking(call: Call) -> Result<Response<Bytes>, ClientError> {
    send_watched(call, &|| None)
}

/// The same, until `stop` says why it is not to be waited for any longer.
pub fn send_watched(call: Call, stop: &dyn Fn() -> Option<String>) -> Result<Response<Bytes>, ClientError> {
    let to = shown(&call.url);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| ClientError::Connect { to, source })?;
    let answer = runtime.block_on(async {
        let mut answer = std::pin::pin!(send_whole(call));
        loop {
            if let Ok(answer) = tokio::time::timeout(LOOK_EVERY, &mut answer).await {
                return answer;
            }
            if let Some(why) = stop() {
                return Err(ClientError::Stopped { why });
            }
        }
    });
    runtime.shutdown_background();
    answer
}

/// An address in its parts.
struct Address {
    uri: Uri,
    /// Host and port.
    to: String,
    secure: bool,
}

fn address(url: &str) -> Result<Address, ClientError> {
    let error = |why| ClientError::Url { url: shown(url), why };
    let uri: Uri = url.parse().map_err(|_| error("it has no valid form"))?;
    let secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(error("it does not begin with http:// or https://")),
    };
    if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
        return Err(error("it holds a user or a password; a secret belongs into a token_file"));
    }
    let host = uri.host().ok_or_else(|| error("it names no host"))?;
    let to = format!("{host}:{}", uri.port_u16().unwrap_or(if secure { 443 } else { 80 }));
    Ok(Address { uri, to, secure })
}

/// An address for messages and records: scheme, host and port. A path or a query may be a secret, as those of webhooks are,
/// and so is what stands before the host.
pub fn shown(url: &str) -> String {
    let whole = url.parse::<Uri>().ok();
    if let Some((scheme, authority)) = whole.as_ref().and_then(|u| u.scheme_str().zip(u.authority()))
        && !authority.as_str().contains('@')
        && (authority.port_u16().is_some() || authority.as_str() == authority.host())
    {
        return format!("{scheme}://{authority}");
    }
    // Of no form that is known: what stands before the last `@` may all be a password.
    let host = |rest: &str| rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned();
    match (url.split_once("//"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}//…@{}", host(rest)),
        (Some((scheme, rest)), None) => format!("{scheme}//{}", host(rest)),
        (None, Some((_, rest))) => format!("…@{}", host(rest)),
        (None, None) => host(url),
    }
}

/// What bytes come and go through.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn exchange(call: Call) -> Result<Response<Bytes>, ClientError> {
    if call.http2 {
        let address = address(&call.url)?;
        return talk_http2(connect(&call, &address).await?, call, &address).await;
    }
    let limit = call.answer_bytes_max;
    let Opened { head, body, to, _driver } = open(call).await?;
    let whole = Limited::new(body, limit).collect().await;
    let whole = whole.map_err(|e| ClientError::Answer { to, why: e.to_string() })?;
    Ok(Response::from_parts(head, whole.to_bytes()))
}

async fn connect(call: &Call, address: &Address) -> Result<Box<dyn Stream>, ClientError> {
    let Address { uri, to, secure } = address;
    if let Some(path) = &call.unix {
        let stream = UnixStream::connect(path).await;
        let to = || path.display().to_string();
        return Ok(Box::new(stream.map_err(|source| ClientError::Connect { to: to(), source })?));
    }
    let stream = match &call.names {
        Some(names) => names.connect(to).await,
        None => TcpStream::connect(to).await,
    };
    let stream = stream.map_err(|source| ClientError::Connect { to: to.clone(), source })?;
    if !secure {
        return Ok(Box::new(stream));
    }
    let broken = |why: String| ClientError::Tls { to: to.clone(), why };
    let trust = match &call.trust {
        Some(trust) => trust.clone(),
        None => Trust::new(&Files::default()).map_err(|e| broken(e.to_string()))?,
    };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(|e| broken(e.to_string()))?;
    let trust = if call.http2 { trust.http2() } else { trust };
    let stream = TlsConnector::from(trust.0).connect(name, stream).await;
    Ok(Box::new(stream.map_err(|e| broken(e.to_string()))?))
}

/// An answer by HTTP/1.1 whose body is still to come. The connection ends with it.
#[derive(Debug)]
pub struct Opened {
    /// Status and headers.
    pub head: Parts,
    body: Incoming,
    to: String,
    _driver: Driver,
}

#[derive(Debug)]
struct Driver(JoinHandle<hyper::Result<()>>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Opened {
    /// How long the body is, if the answer says so.
    pub fn length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// The next part of the body; `None` behind the last.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|e| ClientError::Answer { to: self.to.clone(), why: e.to_string() })?;
            // Trailers say nothing that anybody asks for.
            if let Ok(part) = frame.into_data() {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }
}

/// Sends a call by HTTP/1.1 and reads the head of the answer. The deadline, and how much of the body is read, are the
/// caller's.
pub async fn open(call: Call) -> Result<Opened, ClientError> {
    let address = address(&call.url)?;
    let stream = connect(&call, &address).await?;
    let Address { uri, to, .. } = address;
    let broken = |why: String| ClientError::Answer { to: to.clone(), why };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| broken(e.to_string()))?;
    let driver = Driver(tokio::spawn(connection));
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let host = HeaderValue::from_str(&to).map_err(|e| broken(e.to_string()))?;
    let mut request = request(call, Some(host));
    *request.uri_mut() = path.parse().map_err(|_| broken("the path has no valid form".into()))?;
    let response = sender.send_request(request).await.map_err(|e| broken(why(&e)))?;
    let (head, body) = response.into_parts();
    Ok(Opened { head, body, to, _driver: driver })
}

async fn talk_http2(
    stream: Box<dyn Stream>,
    call: Call,
    address: &Address,
) -> Result<Response<Bytes>, ClientError> {
    let broken = |why: String| ClientError::Answer { to: address.to.clone(), why };
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|e| broken(e.to_string()))?;
    let driver = tokio::spawn(connection);
    let limit = call.answer_bytes_max;
    let mut request = request(call, None);
    *request.uri_mut() = address.uri.clone();
    let response = sender.send_request(request).await.map_err(|e| broken(why(&e)))?;
    let (mut head, body) = response.into_parts();
    let whole = Limited::new(body, limit).collect().await.map_err(|e| broken(e.to_string()))?;
    driver.abort();
    head.headers.extend(whole.trailers().cloned().unwrap_or_default());
    Ok(Response::from_parts(head, whole.to_bytes()))
}

/// The request without its address; the host stands first where it is no part of that.
fn request(call: Call, host: Option<HeaderValue>) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(Bytes::from(call.body.unwrap_or_default())));
    *request.method_mut() = call.method;
    let headers = request.headers_mut();
    headers.extend(host.map(|host| (HOST, host)));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("headroom/", env!("CARGO_PKG_VERSION"))));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, */*;q=0.1"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.extend(call.headers);
    if let Some(value) = call.authorization {
        headers.insert(AUTHORIZATION, value);
    }
    request
}

/// An error with what caused it: of TLS 1.3, a refused certificate shows only in the first answer.
fn why(e: &hyper::Error) -> String {
    match std::error::Error::source(e) {
        Some(source) => format!("{e}: {source}"),
        None => e.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_for_those_who_may_speak_it() {
        assert!(check("https://[::1]:80/a").is_ok() && check_plain("http://h/").is_ok());
        assert!(check_plain("https://h/").unwrap_err().to_string().contains("http://"));
        assert!(check("ftp://h/").is_err());
    }

    #[test]
    fn an_address_with_a_secret_is_refused_without_saying_it() {
        assert!(check("http://127.0.0.1:80/a@b?c@d").is_ok());
        for url in [
            "http://user:s3cret@host/x",
            "http://s3cret@host",
            "https://u:s3cret@host/",
            "http://u:s3 cret@h",
        ] {
            let error = check(url).unwrap_err().to_string();
            assert!(!error.contains("s3") && error.contains("…@h"), "{error}");
        }
        assert!(check("http://user:s3cret@host/x").unwrap_err().to_string().contains("token_file"));
    }

    #[test]
    fn of_an_address_only_scheme_host_and_port_are_shown() {
        for (url, want) in [
            ("https://hooks.slack.com/services/T/B/s3cret", "https://hooks.slack.com"),
            ("http://[::1]:80?key=s3cret", "http://[::1]:80"),
            ("http://127.0.0.1:80/a@b?c@d", "http://127.0.0.1:80"),
            ("htps://hooks.slack.com/s3cret s3cret", "htps://hooks.slack.com"),
            ("https://u:s3/cret@h/s3cret", "https://…@h"),
            ("hooks.slack.com/s3cret", "hooks.slack.com"),
            ("", ""),
        ] {
            assert_eq!(shown(url), want);
        }
        let refused = check_plain("https://h/s3cret").unwrap_err().to_string();
        assert!(refused.contains("`https://h`") && !refused.contains("s3cret"), "{refused}");
    }
}
