//! The request to an application that listens: over TCP or over a socket of the file system.

use super::{NOTE_CHARS_MAX, Request};
use crate::client::{self, Call};
use crate::optimize::action::Watch;
use crate::optimize::trace;
use crate::serve::token::Token;
use bytesize::ByteSize;
use hyper::Method;
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;

/// The longest answer that is read: one number is wanted.
const ANSWER_BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Deserialize)]
struct Answer {
    released_bytes: u64,
}

/// Where it listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) url: &'a str,
    pub(super) unix: Option<&'a Path>,
    pub(super) token_file: Option<&'a Path>,
}

/// Asks, and says what the application answered; or why there is no answer.
pub(super) fn ask(
    Place { url, unix, token_file }: Place<'_>,
    request: &Request,
    deadline: Duration,
    watch: &Watch<'_>,
) -> Result<String, String> {
    let shown = client::shown(url);
    let place = unix.map_or_else(|| shown.clone(), |p| format!("{shown} at {}", p.display()));
    let failed = |why: String| format!("the hook {place}: {why}");
    let token = token_file.map(Token::from_file).transpose().map_err(|e| failed(e.to_string()))?;
    let call = Call {
        method: Method::POST,
        authorization: token.and_then(|t| t.header()),
        body: Some(serde_json::to_vec(request).map_err(|e| failed(e.to_string()))?),
        headers: trace::onward(),
        deadline,
        unix: unix.map(Path::to_owned),
        answer_bytes_max: ANSWER_BYTES_MAX,
        ..Call::get(url)
    };
    let answer = client::send_watched(call, &|| watch.end()).map_err(|e| failed(e.to_string()))?;
    let (status, body) = (answer.status(), answer.into_body());
    let note: String = String::from_utf8_lossy(&body).chars().take(NOTE_CHARS_MAX).collect();
    if !status.is_success() {
        return Err(failed(format!("answered {status}: {note:?}")));
    }
    match serde_json::from_slice::<Answer>(&body) {
        Ok(answer) => {
            let released = ByteSize::b(answer.released_bytes).display().iec();
            Ok(format!("the application says that it released {released}"))
        }
        // It may have done its part all the same; the measurement tells.
        Err(e) => Ok(format!("the application's answer is not understood ({e}): {note:?}")),
    }
}
