//! A run gone through once ahead, up to its action and on a journal in memory: what a run needs of the program is in memory
//! then, and stays there.

use super::intent::{Asked, intend};
use super::{Climb, json};
use crate::client::{Call, send_blocking};
use crate::host::HostError;
use crate::optimize::action::{self, Action, Scene};
use crate::optimize::executor::Shared;
use crate::optimize::guard::{self, breaker};
use crate::optimize::journal::{Ended, Journal, JournalError, NewStep, Outcome};
use crate::optimize::observe::facts::Facts;
use crate::optimize::policy::Rung;
use crate::optimize::record::StepState;
use hyper::Method;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

/// The longest that the rehearsed call may take.
const CALL: Duration = Duration::from_secs(5);

/// Why a rehearsal went no further. Nothing depends on it but the time that the first run takes.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Cut(String);

impl From<HostError> for Cut {
    fn from(e: HostError) -> Self {
        Self(e.to_string())
    }
}

impl From<JournalError> for Cut {
    fn from(e: JournalError) -> Self {
        Self(e.to_string())
    }
}

impl From<std::io::Error> for Cut {
    fn from(e: std::io::Error) -> Self {
        Self(e.to_string())
    }
}

impl Climb {
    /// Goes through each rung but for its action. The record, the metrics and the target stay as they are. Returns the number
    /// of intents that would have been written.
    pub fn rehearse(&self, shared: &Shared) -> Result<usize, Cut> {
        let mut scratch = Journal::scratch()?;
        let now = (shared.clock)();
        let mut intents = 0;
        let request = self.run.request.clone().unwrap_or_default();
        for (number, rung) in self.policy.ladder.iter().enumerate() {
            let Some(action) = action::find(&rung.action) else { continue };
            let run = scratch.request_acting(&request, (&self.policy.name, &self.target.name), now)?;
            intents += usize::from(self.rehearse_rung(shared, &mut scratch, (run, number, action, rung))?);
            let ended = Ended { result: "dry_run", reason: "a rehearsal", policy: None };
            scratch.resolve(run, now)?;
            scratch.end_run(run, &ended, now)?;
        }
        if self.target.hook.iter().chain(&self.target.hooks).any(|hook| hook.url.is_some()) {
            call_oneself()?;
        }
        Ok(intents)
    }

    fn rehearse_rung(
        &self,
        shared: &Shared,
        scratch: &mut Journal,
        (run, number, action, rung): (i64, usize, &'static dyn Action, &Rung),
    ) -> Result<bool, Cut> {
        let (name, target) = (rung.action.as_str(), self.target.name.as_str());
        let (guards, now) = (&self.settings.options.guards, (shared.clock)());
        // The real journal is read, so that its pages and statements are there, too.
        let read = shared.store.with(|j| {
            let _past = j.past(run, target, &guard::windows(now, guards))?;
            let _tries = j.tries(name, target, None, breaker::depth(&guards.breaker))?;
            j.history(name, target)
        });
        let history = read.map_err(|e| Cut(e.to_string()))?;
        let (members, mut before) = self.look(shared)?;
        let (members, facts) = if action.wants(&rung.with).facts {
            self.settings.observer.facts(&self.target)?
        } else {
            (members, Facts::default())
        };
        if let Some(seen) = &mut before.target {
            seen.facts = facts;
            seen.facts.audience = shared.audience.counts();
        }
        let _touched = self.touched(&members)?;
        let scene = Scene {
            target: &self.target,
            members: &members,
            before: &before,
            want_bytes: guards.min_gain.as_u64(),
            with: &rung.with,
            labels: const { &BTreeMap::new() },
            history: &history,
        };
        let permitted = |plan: action::Plan| action.permit(&plan.intent, &self.settings.host).map(|()| plan);
        // What cannot be done now may be possible when it is needed.
        let Ok(plan) = action.plan(&scene).and_then(permitted) else { return Ok(false) };
        let (text, seen) = (plan.intent.to_string(), json(&before));
        let step = NewStep {
            rung: number,
            action: name,
            target,
            plan: &text,
            before: seen.as_deref().unwrap_or("{}"),
        };
        let asked = Asked { run, step, limit: action.limit(), goes_on: true, guards, pause: &shared.pause };
        let Ok(step) = intend(scratch, &asked, now)? else { return Ok(false) };
        let outcome = Outcome {
            state: StepState::Done,
            verdict: "unknown",
            freed_bytes: 0,
            detail: None,
            after: seen,
            aftermath_due: None,
            lease_until: None,
        };
        scratch.end_step(step, &outcome, now)?;
        Ok(true)
    }
}

/// One call to a listener of its own, and its answer: no application is to hear of a rehearsal.
fn call_oneself() -> Result<(), Cut> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/", listener.local_addr()?);
    let answers = std::thread::Builder::new().name("rehearsal".into()).spawn(move || {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(CALL))?;
        let _request = stream.read(&mut [0; 4096])?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
    })?;
    let call = Call { method: Method::POST, body: Some(b"{}".to_vec()), deadline: CALL, ..Call::get(url) };
    send_blocking(call).map_err(|e| Cut(e.to_string()))?;
    // It has answered.
    let _answered = answers.join();
    Ok(())
}
