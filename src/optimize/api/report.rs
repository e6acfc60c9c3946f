//! What each action gained and cost here, target by target.

use super::{Api, Right};
use crate::optimize::action;
use crate::optimize::guard::breaker;
use crate::optimize::report::{Line, TRIES_MAX};
use crate::optimize::store::StoreError;
use crate::serve::{Answer, only_get};
use hyper::Request;
use hyper::body::Incoming;
use serde::Serialize;
use std::sync::Arc;

#[derive(Debug, Serialize)]
struct Report {
    lines: Vec<Line>,
}

impl Api {
    pub(super) async fn report(&self, request: &Request<Incoming>) -> Answer {
        const NAME: &str = "report";
        if let Some(refusal) = only_get(NAME, request.method()) {
            return refusal;
        }
        if let Some(refusal) = self.refusal(NAME, request, Right::Read) {
            return refusal;
        }
        let shared = Arc::clone(&self.shared);
        let read = tokio::task::spawn_blocking(move || {
            let (now, settings) = ((shared.clock)(), shared.settings());
            let options = &settings.options.guards.breaker;
            let never = breaker::Options { tries: 0, ..options.clone() };
            let mut lines = Vec::new();
            // One lock for each pair: whoever acts does not wait for all of them.
            let mut last = None;
            while let Some(next) = shared.store.with(|j| j.next_tried(last.as_ref()))? {
                let (action, target, kind) = next.clone();
                let tries = shared.store.with(|j| j.tries(&action, &target, kind.as_deref(), TRIES_MAX))?;
                let options = if action::is_judged(&action) { options } else { &never };
                let action = kind.map_or_else(|| action.clone(), |kind| format!("{action} ({kind})"));
                lines.extend(Line::new((action, target), &tries, now, options));
                last = Some(next);
            }
            Ok::<_, StoreError>(Answer::json(NAME, &Report { lines }))
        });
        match read.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(e)) => Answer::unavailable(NAME, e.to_string()),
            Err(e) => Answer::unavailable(NAME, e.to_string()),
        }
    }
}
