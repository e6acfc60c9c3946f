//! What others are told of a run: facts as JSON values, and never a command.

use super::{Scene, Watch};
use crate::client;
use crate::matching::Labels;
use crate::optimize::policy::endpoint::Endpoint;
use crate::optimize::trace;
use hyper::Method;
use serde::{Deserialize, Serialize};

/// The longest part of an answer that is kept.
const NOTE_CHARS_MAX: usize = 200;

/// Who needs what.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Message {
    /// The action that says it.
    pub(super) action: String,
    /// The target.
    pub(super) target: String,
    /// The bytes that would end the trouble,
    pub(super) want_bytes: u64,
    /// that the target holds,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) held_bytes: Option<u64>,
    /// and that the machine has available.
    pub(super) available_bytes: u64,
    /// The labels of the run's alert; none if it was no alert.
    pub(super) labels: Labels,
}

impl Message {
    pub(super) fn new(action: &str, scene: &Scene<'_>) -> Self {
        Self {
            action: action.to_owned(),
            target: scene.target.name.clone(),
            want_bytes: scene.want_bytes,
            held_bytes: scene.before.target.as_ref().map(|t| t.bytes),
            available_bytes: scene.before.machine.available_bytes,
            labels: scene.labels.clone(),
        }
    }
}

/// Sends JSON to a server, which has to accept it, and does not wait for it once all is to stop.
pub(super) fn post(
    to: &Endpoint,
    path: &str,
    body: &impl Serialize,
    watch: &Watch<'_>,
) -> Result<String, String> {
    let failed = |why: String| format!("{}: {why}", to.shown());
    let mut call = to.call(path).map_err(failed)?;
    call.method = Method::POST;
    call.headers = trace::onward();
    call.body = Some(serde_json::to_vec(body).map_err(|e| failed(e.to_string()))?);
    let answer = client::send_watched(call, &|| watch.end()).map_err(|e| failed(e.to_string()))?;
    let (status, body) = (answer.status(), answer.into_body());
    if status.is_success() {
        return Ok(format!("{} accepted it ({status})", to.shown()));
    }
    let note: String = String::from_utf8_lossy(&body).trim().chars().take(NOTE_CHARS_MAX).collect();
    Err(failed(format!("answered {status}: {note:?}")))
}
