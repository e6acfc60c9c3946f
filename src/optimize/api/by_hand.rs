//! What a person asks for: a run of their own, and the emergency stop.

use super::access::Right;
use super::{Api, STORE_WAIT};
use crate::optimize::policy::{Policy, Rung};
use crate::optimize::request::{Origin, Request as Wish};
use crate::optimize::trace::Arrival;
use crate::optimize::{Options, action};
use crate::serve::{Answer, body, only_get};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
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

/// The answer of `GET /api/v1/targets`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Targets {
    /// All configured targets.
    pub targets: Vec<Reachable>,
}

/// A target, and what may be asked for there.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reachable {
    /// Its name.
    pub name: String,
    /// Actions on ladders that lead to it, in the order of the first that has them.
    pub actions: Vec<String>,
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
        let wish = self.wish(options, known)?;
        wish.decide(&options.policies, &options.targets)?;
        Ok(wish)
    }

    /// The wish for a run, or what is wrong with it.
    fn wish(self, options: &Options, known: bool) -> Result<Wish, String> {
        if !known {
            return Err(format!("target: {:?} is not among the configured targets", self.target));
        }
        if self.bytes == 0 {
            return Err("bytes: more than 0".to_owned());
        }
        if self.ladder.len() > RUNGS_MAX {
            return Err(format!("ladder: at most {RUNGS_MAX} rungs"));
        }
        let ladder = self.ladder.iter().map(|name| rung(name, options, &self.target));
        let ladder = ladder.collect::<Result<_, _>>()?;
        let Self { target, bytes, dry_run, .. } = self;
        Ok(Wish { origin: Origin::Hand, name: NAME.to_owned(), target, bytes, ladder, dry_run })
    }
}

/// The rung of an action as the configuration has it on a ladder to this target. What is on none of these is nobody's to ask
/// for: the owner of the configuration has not allowed it there.
fn rung(name: &str, options: &Options, target: &str) -> Result<Rung, String> {
    let Some(action) = action::find(name) else {
        let known: Vec<&str> = action::REGISTRY.iter().map(|a| a.name()).collect();
        return Err(format!("ladder: {name:?} is no action; there are {}", known.join(", ")));
    };
    let rungs: Vec<&Rung> = ladders(options, target).flatten().collect();
    let Some(rung) = rungs.iter().find(|r| r.action == name) else {
        let allowed: BTreeSet<&str> = rungs.iter().map(|r| r.action.as_str()).collect();
        let allowed = Vec::from_iter(allowed).join(", ");
        let there = if allowed.is_empty() { "is none".to_owned() } else { format!("are {allowed}") };
        return Err(format!("ladder: {name} is on no ladder that leads to {target:?}; there {there}"));
    };
    action.check(&rung.with).map_err(|why| format!("ladder: {name}: {why}"))?;
    Ok(Rung::clone(rung))
}

/// The ladders that may lead to a target: first those of policies for it alone, then those of policies whose alerts may name
/// any, then those of its stalls.
fn ladders<'a>(options: &'a Options, target: &str) -> impl Iterator<Item = &'a Vec<Rung>> {
    let its_own = |p: &&Policy| p.target.as_deref() == Some(target);
    let of_any = |p: &&Policy| p.target.is_none() && p.target_label.is_some();
    let stalls = options.pressure.rules.iter().filter(|r| r.target == target).map(|r| &r.ladder);
    let own: Vec<_> = options.policies.iter().filter(its_own).map(|p| &p.ladder).collect();
    let any: Vec<_> = options.policies.iter().filter(of_any).map(|p| &p.ladder).collect();
    let stalls: Vec<_> = stalls.collect();
    own.into_iter().chain(any).chain(stalls)
}

/// All targets with what may be asked for there.
fn reachable(options: &Options) -> Targets {
    let of = |name: &str| {
        let mut actions: Vec<String> = Vec::new();
        for rung in ladders(options, name).flatten() {
            if !actions.contains(&rung.action) {
                actions.push(rung.action.clone());
            }
        }
        actions
    };
    let all = options.targets.iter();
    Targets { targets: all.map(|t| Reachable { name: t.name.clone(), actions: of(&t.name) }).collect() }
}

impl Api {
    pub(super) fn targets(&self, request: &Request<Incoming>) -> Answer {
        const NAME: &str = "targets";
        let refusal = only_get(NAME, request.method());
        refusal
            .or_else(|| self.refusal(NAME, request, Right::Read))
            .unwrap_or_else(|| Answer::json(NAME, &reachable(&self.shared.settings().options)))
    }

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
                ladder: vec![Rung { with: 7.into(), ..Rung::from("pageout") }, "freeze".into()],
                target_label: Some("groupname".into()),
                ..Policy::default()
            };
            let asked: Reclaim = serde_json::from_str(json).map_err(|e| e.to_string())?;
            asked.wish(&Options { policies: vec![policy], ..Options::default() }, true)
        };
        let wish = text(r#"{"target": "a", "bytes": 5, "ladder": ["freeze"]}"#).unwrap();
        assert_eq!((wish.origin, wish.bytes, wish.ladder), (Origin::Hand, 5, vec!["freeze".into()]));
        // What the configuration has on no ladder to the target.
        let refused = text(r#"{"target": "a", "bytes": 5, "ladder": ["restart"]}"#).unwrap_err();
        assert!(refused.ends_with("\"a\"; there are freeze, pageout"), "{refused}");
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

    #[test]
    fn only_what_is_on_a_ladder_that_may_lead_to_the_target_can_be_asked_for() {
        use crate::optimize::policy::Target;
        use crate::optimize::pressure::{self, Rule};
        let policy = |target: Option<&str>, label: Option<&str>, rung: Rung| Policy {
            target: target.map(Into::into),
            target_label: label.map(Into::into),
            ladder: vec![rung],
            ..Policy::default()
        };
        let with = |by: u64| Rung { with: serde_json::json!({"least": by}), ..Rung::from("pageout") };
        let rule = |target: &str, action: &str| Rule {
            target: target.into(),
            ladder: vec![action.into()],
            ..Rule::default()
        };
        let options = Options {
            policies: vec![
                policy(None, Some("groupname"), "app_hook".into()),
                policy(Some("b"), None, "kill".into()),
                policy(Some("b"), Some("groupname"), "restart".into()),
                // Leads nowhere.
                policy(None, None, "squeeze".into()),
            ],
            pressure: pressure::Options {
                rules: vec![rule("a", "freeze"), rule("b", "renice")],
                ..pressure::Options::default()
            },
            ..Options::default()
        };
        let allowed = |target: &str, options: &Options| {
            let may = action::REGISTRY.iter().filter(|a| rung(a.name(), options, target).is_ok());
            may.map(|a| a.name()).collect::<Vec<_>>()
        };
        assert_eq!(allowed("a", &options), ["app_hook", "freeze"]);
        assert_eq!(allowed("b", &options), ["app_hook", "renice", "restart", "kill"]);
        let target = |name: &str| Target { name: name.into(), ..Target::default() };
        let shown = reachable(&Options { targets: vec![target("a"), target("b")], ..options.clone() });
        let actions: Vec<_> = shown.targets.iter().map(|t| (t.name.as_str(), t.actions.join(" "))).collect();
        // In the order in which a run would come to them.
        assert_eq!(
            actions,
            [("a", "app_hook freeze".to_owned()), ("b", "kill restart app_hook renice".to_owned())]
        );
        let none = Options { policies: vec![], ..Options::default() };
        assert!(rung("kill", &none, "a").unwrap_err().ends_with("there is none"));
        // Of two policies with the same action, the options are those of the target's own.
        let two = Options {
            policies: vec![
                policy(None, Some("groupname"), with(1)),
                policy(Some("b"), None, "pageout".into()),
            ],
            ..Options::default()
        };
        assert_eq!(rung("pageout", &two, "b").unwrap().with, serde_json::Value::Null);
    }
}
