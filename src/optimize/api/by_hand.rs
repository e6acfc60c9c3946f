//! What a person asks for: a run of their own, and the emergency stop.

use super::{Api, Right, STORE_WAIT};
use crate::optimize::policy::{Policy, Rung};
use crate::optimize::request::{Origin, Request as Wish};
use crate::optimize::trace::Arrival;
use crate::optimize::{Options, action};
use crate::serve::{Answer, body};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What the record shows where an alert's name stands.
const NAME: &str = "reclaim";
/// Rungs of a ladder that a request may have.
const RUNGS_MAX: usize = 16;

/// The body of `POST /api/v1/reclaim`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reclaim {
    /// The target's name.
    pub target: String,
    /// The bytes that are wanted.
    pub bytes: u64,
    /// Names of actions, where the ladder is not the configured one. Their options are the configuration's: a caller
    /// chooses among what its owner allows, and adds nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ladder: Vec<String>,
    /// Decide and record, but do nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// Its answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Queued {
    /// The run's number in the record.
    pub run: i64,
}

/// The body of `PUT /api/v1/pause`, which may be empty.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Why {
    reason: String,
}

/// The answer of all of `/api/v1/pause`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Held {
    /// Whether all actions are held.
    pub paused: bool,
    /// Why; null while nothing is held.
    pub reason: Option<String>,
}

impl Reclaim {
    /// The wish for a run that these options allow, or what is wrong with it.
    pub fn checked(self, options: &Options) -> Result<Wish, String> {
        let known = options.targets.iter().any(|t| t.name == self.target);
        let wish = self.wish(&options.policies, known)?;
        wish.decide(&options.policies, &options.targets)?;
        Ok(wish)
    }

    /// The wish for a run, or what is wrong with it.
    fn wish(self, policies: &[Policy], known: bool) -> Result<Wish, String> {
        if !known {
            return Err(format!("target: {:?} is not among the configured targets", self.target));
        }
        if self.bytes == 0 {
            return Err("bytes: more than 0".to_owned());
        }
        if self.ladder.len() > RUNGS_MAX {
            return Err(format!("ladder: at most {RUNGS_MAX} rungs"));
        }
        let ladder = self.ladder.iter().map(|name| rung(name, policies, &self.target));
        let ladder = ladder.collect::<Result<_, _>>()?;
        let Self { target, bytes, dry_run, .. } = self;
        Ok(Wish { origin: Origin::Hand, name: NAME.to_owned(), target, bytes, ladder, dry_run })
    }
}

/// The rung of an action as the configuration has it, on a ladder to this target if there is one.
fn rung(name: &str, policies: &[Policy], target: &str) -> Result<Rung, String> {
    let Some(action) = action::find(name) else {
        let known: Vec<&str> = action::REGISTRY.iter().map(|a| a.name()).collect();
        return Err(format!("ladder: {name:?} is no action; there are {}", known.join(", ")));
    };
    let its_own = policies.iter().filter(|p| p.target.as_deref() == Some(target));
    let mut rungs = its_own.chain(policies).flat_map(|p| &p.ladder);
    let rung = rungs.find(|r| r.action == name).cloned().unwrap_or_else(|| Rung::from(name));
    action.check(&rung.with).map_err(|why| format!("ladder: {name}: {why}"))?;
    Ok(rung)
}

impl Api {
    pub(super) async fn reclaim(&self, request: Request<Incoming>) -> Answer {
        if request.method() != Method::POST {
            return Answer::wrong_method(NAME, "POST");
        }
        if let Some(refusal) = self.refusal(NAME, &request, Right::Write) {
            return refusal;
        }
        let arrival = self.shared.traces.arrival(request.headers());
        let body = match body(NAME, request, self.limits).await {
            Ok(body) => body,
            Err(answer) => return answer,
        };
        let bad = |why: String| Answer::text(NAME, StatusCode::BAD_REQUEST, why);
        let asked: Reclaim = match serde_json::from_slice(&body) {
            Ok(asked) => asked,
            Err(e) => return bad(format!("the body is no request to reclaim: {e}")),
        };
        let wish = match asked.checked(&self.shared.settings().options) {
            Ok(wish) => wish,
            Err(why) => return bad(why),
        };
        match self.queue(wish, arrival).await {
            Ok(run) => {
                let answer = Answer::json(NAME, &Queued { run });
                Answer { status: StatusCode::ACCEPTED, ..answer }
            }
            Err(why) => Answer::unavailable(NAME, why),
        }
    }

    /// Writes the wish, off the runtime's thread.
    async fn queue(&self, wish: Wish, arrival: Arrival) -> Result<i64, String> {
        let Ok(permit) = Arc::clone(&self.writers).try_acquire_owned() else {
            return Err("too many requests wait for the disk".to_owned());
        };
        let shared = Arc::clone(&self.shared);
        let written = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let run = shared.store.with(|j| {
                let run = j.request(&wish, (shared.clock)())?;
                shared.traces.queued(run, &arrival, &[("headroom.origin", "hand")]);
                Ok(run)
            })?;
            tracing::info!(run, target = wish.target, bytes = wish.bytes, "a run was asked for by hand");
            shared.wake();
            Ok::<_, crate::optimize::store::StoreError>(run)
        });
        match tokio::time::timeout(STORE_WAIT, written).await {
            Ok(Ok(Ok(run))) => Ok(run),
            Ok(Ok(Err(e))) => Err(format!("not stored: {e}")),
            Ok(Err(e)) => Err(format!("not stored: {e}")),
            Err(_) => Err("the disk does not answer; the record shows whether it was stored later".into()),
        }
    }

    pub(super) async fn pause(&self, request: Request<Incoming>) -> Answer {
        const NAME: &str = "pause";
        let method = request.method().clone();
        let reads = method == Method::GET || method == Method::HEAD;
        if let Some(refusal) = self.refusal(NAME, &request, if reads { Right::Read } else { Right::Write }) {
            return refusal;
        }
        let mut reason = None;
        if method == Method::PUT {
            let body = match body(NAME, request, self.limits).await {
                Ok(body) => body,
                Err(answer) => return answer,
            };
            let why =
                if body.trim_ascii().is_empty() { Ok(Why::default()) } else { serde_json::from_slice(&body) };
            match why {
                Ok(Why { reason: why }) => reason = Some(why),
                Err(e) => {
                    let why = format!("the body is neither empty nor {{\"reason\": …}}: {e}");
                    return Answer::text(NAME, StatusCode::BAD_REQUEST, why);
                }
            }
        } else if !reads && method != Method::DELETE {
            return Answer::wrong_method(NAME, "GET, PUT, DELETE");
        }
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || {
            if let Some(reason) = &reason {
                shared.pause.set(reason)?;
                tracing::warn!(reason, "all actions are held");
            } else if method == Method::DELETE && shared.pause.clear()? {
                tracing::warn!("actions may begin again");
            }
            shared.wake();
            let reason = shared.pause.why();
            Ok::<_, std::io::Error>(Held { paused: reason.is_some(), reason })
        });
        match done.await {
            Ok(Ok(held)) => Answer::json(NAME, &held),
            Ok(Err(e)) => {
                let why = format!("{}: {e}", self.shared.pause.file().display());
                Answer::unavailable(NAME, why)
            }
            Err(e) => Answer::unavailable(NAME, e.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_chooses_among_configured_rungs_and_adds_no_options() {
        let text = |json: &str| -> Result<Wish, String> {
            let policy = Policy {
                ladder: vec![Rung { with: 7.into(), ..Rung::from("pageout") }],
                ..Policy::default()
            };
            let asked: Reclaim = serde_json::from_str(json).map_err(|e| e.to_string())?;
            asked.wish(&[policy], true)
        };
        let wish = text(r#"{"target": "a", "bytes": 5, "ladder": ["app_hook"]}"#).unwrap();
        assert_eq!((wish.origin, wish.bytes, wish.ladder), (Origin::Hand, 5, vec!["app_hook".into()]));
        // The configuration's options are taken, and checked.
        assert!(
            text(r#"{"target": "a", "bytes": 5, "ladder": ["pageout"]}"#).unwrap_err().contains("pageout")
        );
        assert!(text(r#"{"target": "a", "bytes": 5, "ladder": ["rm"]}"#).unwrap_err().contains("no action"));
        assert!(text(r#"{"target": "a", "bytes": 0}"#).unwrap_err().contains("bytes"));
        for bad in [
            r#"{"target": "a"}"#,
            r#"{"target": "a", "bytes": -1}"#,
            r#"{"target": "a", "bytes": 1, "x": 1}"#,
        ] {
            assert!(text(bad).is_err(), "{bad}");
        }
        let rung = r#"{"target": "a", "bytes": 1, "ladder": [{"action": "pageout", "with": {}}]}"#;
        assert!(text(rung).is_err());
    }
}
