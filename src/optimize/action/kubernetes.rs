//! Kubernetes's API, as far as two actions need it.
//!
//! Source: the API's reference, <https://kubernetes.io/docs/reference/kubernetes-api/>.

use super::Watch;
use crate::client;
use crate::optimize::policy::endpoint::{Endpoint, encoded};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};
use serde_json::Value;

/// The longest part of an answer's message that is kept.
const MESSAGE_CHARS_MAX: usize = 200;
/// The most pods that are listed.
const PODS_MAX: usize = 100;

/// The API of a cluster, and who may end the waiting for its answers.
pub(super) struct Api<'a> {
    pub(super) server: Endpoint,
    pub(super) watch: &'a Watch<'a>,
}

/// A pod, as far as it matters.
pub(super) struct Seen {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) started: String,
    pub(super) ready: bool,
}

impl Api<'_> {
    /// Calls it; what is no answer of the API's is an error, and what it refuses is not.
    pub(super) fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<(&Value, &'static str)>,
    ) -> Result<(StatusCode, Value), String> {
        let failed = |why: String| format!("Kubernetes at {}: {why}", self.server.shown());
        let mut call = self.server.call(path).map_err(failed)?;
        call.method = method;
        if let Some((body, content_type)) = body {
            call.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            call.body = Some(body.to_string().into_bytes());
        }
        let answer = client::send_watched(call, &|| self.watch.end()).map_err(|e| failed(e.to_string()))?;
        Ok((answer.status(), serde_json::from_slice(answer.body()).unwrap_or(Value::Null)))
    }

    /// The same, where anything but a success is an error with the API's own words.
    pub(super) fn must(
        &self,
        method: Method,
        path: &str,
        body: Option<(&Value, &'static str)>,
    ) -> Result<Value, String> {
        let (status, answer) = self.call(method, path, body)?;
        if status.is_success() { Ok(answer) } else { Err(words(status, &answer)) }
    }

    /// The pod of a name; `None` if there is none.
    pub(super) fn pod(&self, namespace: &str, name: &str) -> Result<Option<Seen>, String> {
        match self.call(Method::GET, &format!("/api/v1/namespaces/{namespace}/pods/{name}"), None)? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, pod) if status.is_success() => Ok(seen(&pod)),
            (status, answer) => Err(words(status, &answer)),
        }
    }

    /// Those with these labels that run and are not about to end.
    pub(super) fn pods(
        &self,
        namespace: &str,
        selector: &str,
        node: Option<&str>,
    ) -> Result<Vec<Seen>, String> {
        let node = node.map(|n| format!("&fieldSelector={}", encoded(&format!("spec.nodeName={n}"))));
        let path = format!(
            "/api/v1/namespaces/{namespace}/pods?limit={PODS_MAX}&labelSelector={}{}",
            encoded(selector),
            node.unwrap_or_default()
        );
        let list = self.must(Method::GET, &path, None)?;
        let items = list.pointer("/items").and_then(Value::as_array);
        let items = items.ok_or_else(|| "Kubernetes answered without a list of pods".to_owned())?;
        Ok(items.iter().filter(|pod| runs(pod)).filter_map(seen).collect())
    }
}

/// What the API says, and the number of the answer.
pub(super) fn words(status: StatusCode, answer: &Value) -> String {
    let message = answer.pointer("/message").and_then(Value::as_str).unwrap_or_default();
    let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
    format!("Kubernetes answered {status}: {message:?}")
}

fn runs(pod: &Value) -> bool {
    pod.pointer("/status/phase").and_then(Value::as_str) == Some("Running")
        && pod.pointer("/metadata/deletionTimestamp").is_none_or(Value::is_null)
}

/// `None` if it has no name that could stand in a path.
fn seen(pod: &Value) -> Option<Seen> {
    let text = |at: &str| pod.pointer(at).and_then(Value::as_str).map(str::to_owned);
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let is_ready = |c: &Value| {
        c.pointer("/type").and_then(Value::as_str) == Some("Ready")
            && c.pointer("/status").and_then(Value::as_str) == Some("True")
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    let name = text("/metadata/name").filter(|n| !n.is_empty() && n.bytes().all(plain))?;
    Some(Seen {
        name,
        uid: text("/metadata/uid")?,
        started: text("/status/startTime").unwrap_or_default(),
        ready: conditions.is_some_and(|all| all.iter().any(is_ready)),
    })
}
