//! The application gives memory back by itself: HTTP POST to the hook that it serves.
//!
//! The protocol is in `docs/app-hook.md`. The application's own count is noted and never believed.

use super::{ActError, Action, Explanation, Plan, Refusal, Scene, Watch, intent};
use crate::client::{self, Call};
use crate::host::hand::Hand;
use crate::serve::token::Token;
use bytesize::ByteSize;
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// Above this share of what the target holds, the request is urgent.
const URGENT_SHARE: f64 = 0.5;
/// The longest part of an answer that is kept.
const NOTE_CHARS_MAX: usize = 200;

/// Asks an application to give memory back.
pub struct AppHook;

#[derive(Debug, Serialize, Deserialize)]
struct Intent {
    url: String,
    token_file: Option<PathBuf>,
    timeout_millis: u64,
    request: Request,
}

/// What the application is asked: give back so many bytes, at once or when convenient.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    bytes: u64,
    urgency: String,
}

#[derive(Debug, Deserialize)]
struct Answer {
    released_bytes: u64,
}

impl Action for AppHook {
    fn name(&self) -> &'static str {
        "app_hook"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            what: "asks the application to give memory back, and lets it choose what",
            cost: "what the application drops it must make or load again: a colder cache, a pause of its collector",
            capabilities: &[],
            needs: "a hook in the target's configuration; docs/app-hook.md has the protocol",
            verified: "the target's memory must fall and the machine's available memory rise; the application's own count is noted and never believed",
            undone: "not needed: the application fills up again by itself",
        }
    }

    fn plan(&self, scene: &Scene<'_>) -> Result<Plan, Refusal> {
        let hook =
            scene.target.hook.as_ref().ok_or_else(|| Refusal("the target has no hook configured".into()))?;
        let held = scene.before.target.as_ref().map_or(0, |t| t.bytes);
        let urgent = scene.want_bytes as f64 > held as f64 * URGENT_SHARE;
        let request =
            Request { bytes: scene.want_bytes, urgency: if urgent { "high" } else { "low" }.into() };
        let timeout_millis = u64::try_from(hook.timeout.as_millis()).unwrap_or(u64::MAX);
        let intent =
            Intent { url: hook.url.clone(), token_file: hook.token_file.clone(), timeout_millis, request };
        Plan::new(Some(held), &intent)
    }

    fn execute(&self, plan: &Value, _: &mut Hand, _: &Watch<'_>) -> Result<String, ActError> {
        let intent: Intent = intent(plan)?;
        let failed = |why: String| ActError::Failed(format!("the hook {}: {why}", intent.url));
        let token = intent.token_file.as_deref().map(Token::from_file).transpose();
        let call = Call {
            method: Method::POST,
            authorization: token.map_err(|e| failed(e.to_string()))?.and_then(|t| t.header()),
            body: Some(serde_json::to_vec(&intent.request).map_err(|e| failed(e.to_string()))?),
            deadline: Duration::from_millis(intent.timeout_millis),
            ..Call::get(intent.url.clone())
        };
        let (status, body) = client::send_blocking(call).map_err(|e| failed(e.to_string()))?;
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
}
