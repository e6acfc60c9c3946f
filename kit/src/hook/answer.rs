//! What is asked of the hook, and how it is answered: the protocol of docs/app-hook.md.

use super::{ARRIVAL, token::Token};
use crate::Kit;
use crate::metrics::CONTENT_TYPE as PAGE;
use crate::part::Urgency;
use crate::reclaim::{ReclaimError, Wish};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

/// What a request may say; a few dozen bytes are expected.
const BODY_BYTES_MAX: usize = 64 << 10;
/// What is read and forgotten of a request that is refused: a connection that is closed with unread bytes is reset, and the
/// answer may be lost with it.
const LINGER_BYTES_MAX: usize = 1 << 20;
const LINGER: Duration = Duration::from_secs(1);
const JSON: &str = "application/json";

/// What is asked.
#[derive(Debug, Deserialize)]
struct Asked {
    bytes: u64,
    #[serde(default)]
    urgency: Urgency,
    kind: Option<String>,
}

/// Who answers.
pub(super) struct Desk {
    pub(super) kit: Kit,
    pub(super) token: Token,
    pub(super) path: String,
    pub(super) timeout: Duration,
}

/// A status, and a sentence for a person.
#[derive(Debug)]
struct Refused(StatusCode, String);

type Answer = Response<Full<Bytes>>;

impl Desk {
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, mut body) = request.into_parts();
        let request = Request::from_parts(head, ());
        let result = match (request.method(), request.uri().path()) {
            (&Method::GET, path) => self.get(path, &request).await,
            (&Method::POST, _) => self.post(&request, &mut body).await,
            _ => Err(Refused(StatusCode::METHOD_NOT_ALLOWED, "wanted GET or POST".into())),
        };
        match result {
            Ok(answer) => answer,
            Err(Refused(status, why)) => {
                let _rest =
                    tokio::time::timeout(LINGER, Limited::new(body, LINGER_BYTES_MAX).collect()).await;
                let mut answer = reply(status, JSON, json!({ "error": why }).to_string());
                if status == StatusCode::UNAUTHORIZED {
                    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                }
                answer
            }
        }
    }

    async fn get(&self, path: &str, request: &Request<()>) -> Result<Answer, Refused> {
        let kit = self.kit.clone();
        match path {
            "/metrics" => {
                let page = apart(move || kit.metrics().page()).await?;
                let page = page.map_err(|e| Refused(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
                Ok(reply(StatusCode::OK, PAGE, page))
            }
            "/health" => {
                let report = apart(move || kit.health().report()).await?;
                let status = if report.serves() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                Ok(reply(status, JSON, json!(report).to_string()))
            }
            #[cfg(feature = "jemalloc-profile")]
            "/debug/pprof/heap" => {
                self.authorize(request)?;
                let profile = crate::profile::heap().await;
                let profile = profile.map_err(|e| Refused(StatusCode::NOT_IMPLEMENTED, e.to_string()))?;
                Ok(reply(StatusCode::OK, "application/octet-stream", profile))
            }
            path if path == self.path => {
                self.authorize(request)?;
                let parts = apart(move || kit.reclaim().state()).await?;
                let held = parts.iter().filter_map(|part| part.held_bytes).fold(0, u64::saturating_add);
                Ok(reply(StatusCode::OK, JSON, json!({ "held_bytes": held, "parts": parts }).to_string()))
            }
            _ => {
                Err(Refused(StatusCode::NOT_FOUND, format!("there are /metrics, /health and {}", self.path)))
            }
        }
    }

    async fn post(&self, request: &Request<()>, body: &mut Incoming) -> Result<Answer, Refused> {
        let by_path = self.kind(request.uri().path())?;
        self.authorize(request)?;
        let Asked { bytes, urgency, kind } = asked(request, body).await?;
        let (kit, timeout, kind) = (self.kit.clone(), self.timeout, kind.or(by_path));
        let outcome = apart(move || {
            let kind = kind.as_deref();
            kit.reclaim().reclaim(&Wish { target_bytes: bytes, urgency, kind, timeout, origin: "http" })
        })
        .await?;
        match outcome {
            Ok(outcome) => Ok(reply(StatusCode::OK, JSON, json!(outcome).to_string())),
            Err(e @ ReclaimError::UnknownKind { .. }) => Err(Refused(StatusCode::NOT_FOUND, e.to_string())),
            Err(e @ ReclaimError::Busy(_)) => Err(Refused(StatusCode::SERVICE_UNAVAILABLE, e.to_string())),
        }
    }

    /// The kind that a path names: `/headroom/gc` beside `/headroom/reclaim`.
    fn kind(&self, path: &str) -> Result<Option<String>, Refused> {
        if path == self.path {
            return Ok(None);
        }
        let siblings = self.path.rsplit_once('/').map_or("", |(before, _)| before);
        let kind = path.strip_prefix(siblings).and_then(|rest| rest.strip_prefix('/'));
        let taken = ["/metrics", "/health"].contains(&path);
        match kind.filter(|kind| !kind.is_empty() && !kind.contains('/') && !taken) {
            Some(kind) => Ok(Some(kind.into())),
            None => Err(Refused(StatusCode::NOT_FOUND, format!("memory is asked for at {}", self.path))),
        }
    }

    fn authorize(&self, request: &Request<()>) -> Result<(), Refused> {
        match self.token.admits(request.headers()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refused(StatusCode::UNAUTHORIZED, "the token is missing or wrong".into())),
            Err(error) => {
                tracing::error!(%error, "nobody is let in");
                Err(Refused(StatusCode::SERVICE_UNAVAILABLE, "the token cannot be read".into()))
            }
        }
    }
}

async fn asked(request: &Request<()>, body: &mut Incoming) -> Result<Asked, Refused> {
    let refused = |status, why: &str| Err(Refused(status, why.into()));
    // A page in a browser can send other types to loopback without asking anybody.
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(JSON) {
        return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wanted Content-Type: application/json");
    }
    let too_large = format!("more than {BODY_BYTES_MAX} bytes");
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, &too_large);
    }
    let body = match tokio::time::timeout(ARRIVAL, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return refused(StatusCode::PAYLOAD_TOO_LARGE, &too_large);
        }
        Ok(Err(error)) => return refused(StatusCode::BAD_REQUEST, &format!("the body broke off: {error}")),
        Err(_) => return refused(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
    };
    serde_json::from_slice(&body).map_err(|e| {
        let wanted = r#"wanted {"bytes": number, "urgency": "low" or "high"}"#;
        Refused(StatusCode::BAD_REQUEST, format!("{wanted}: {e}"))
    })
}

/// Runs what may take long where nobody waits for it.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refused> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Refused(StatusCode::INTERNAL_SERVER_ERROR, format!("it panicked: {e}")))
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
