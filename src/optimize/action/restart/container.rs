//! A container of Docker or Podman, by the API that both have.
//!
//! Source: Docker's Engine API, `ContainerRestart` and `ContainerInspect`.

use super::{Waiting, until};
use crate::client::{self, Call};
use crate::optimize::action::Watch;
use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;

/// A question's time; a restart has its own.
const ASK_TIME_MAX: Duration = Duration::from_secs(5);
/// The longest answer that is read, and the longest part of it that is kept.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const NOTE_CHARS_MAX: usize = 200;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    state: State,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    running: bool,
    started_at: String,
    #[serde(default)]
    health: Option<Health>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    status: String,
}

/// Restarts it, and waits until it runs and, if it has a check of its own, that says so.
pub(super) fn restart(
    name: &str,
    socket: &Path,
    grace: Duration,
    waiting: &Waiting<'_>,
) -> Result<String, String> {
    let engine = Engine { socket, watch: waiting.watch };
    let before = engine.inspect(name)?.started_at;
    let path = format!("/containers/{name}/restart?t={}", grace.as_secs());
    let (status, body) = engine.call(Method::POST, &path, grace + waiting.within)?;
    if !status.is_success() {
        return Err(refused(status, &body));
    }
    until(waiting, &format!("the container {name} runs again"), || {
        let state = engine.inspect(name)?;
        let health = state.health.map_or_else(|| "none".to_owned(), |h| h.status);
        if health == "unhealthy" {
            return Err(format!("the container {name} was restarted, and is unhealthy by its own check"));
        }
        let serves = matches!(health.as_str(), "healthy" | "none" | "");
        Ok((state.running && state.started_at != before && serves)
            .then(|| format!("the container {name} was restarted")))
    })
}

/// The engine, and who may end the waiting for its answers.
struct Engine<'a> {
    socket: &'a Path,
    watch: &'a Watch<'a>,
}

impl Engine<'_> {
    fn inspect(&self, name: &str) -> Result<State, String> {
        let (status, body) = self.call(Method::GET, &format!("/containers/{name}/json"), ASK_TIME_MAX)?;
        if !status.is_success() {
            return Err(refused(status, &body));
        }
        serde_json::from_slice::<Inspected>(&body)
            .map(|i| i.state)
            .map_err(|e| format!("the engine's answer about {name} is not understood: {e}"))
    }

    fn call(&self, method: Method, path: &str, deadline: Duration) -> Result<(StatusCode, Bytes), String> {
        let call = Call {
            method,
            deadline,
            unix: Some(self.socket.to_owned()),
            answer_bytes_max: ANSWER_BYTES_MAX,
            ..Call::get(format!("http://localhost{path}"))
        };
        let answer = client::send_watched(call, &|| self.watch.end());
        answer.map(|a| (a.status(), a.into_body())).map_err(|e| format!("the engine: {e}"))
    }
}

fn refused(status: StatusCode, body: &[u8]) -> String {
    let note: String = String::from_utf8_lossy(body).trim().chars().take(NOTE_CHARS_MAX).collect();
    format!("the engine answered {status}: {note:?}")
}
