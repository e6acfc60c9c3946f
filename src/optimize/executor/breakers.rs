//! Which breakers are open, as a metric: derived from the record again every few seconds.

use super::Shared;
use crate::optimize::action;
use crate::optimize::guard::{breaker, millis};
use crate::optimize::store::StoreError;
use std::time::{Duration, Instant};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(5);

/// The breakers that were open when last looked at.
#[derive(Default)]
pub(super) struct Breakers {
    looked_at: Option<Instant>,
    open: Vec<(String, String)>,
}

impl Breakers {
    pub(super) fn go_on(&mut self, shared: &Shared) -> Result<(), StoreError> {
        if self.looked_at.is_some_and(|t| t.elapsed() < EVERY) {
            return Ok(());
        }
        self.looked_at = Some(Instant::now());
        let (now, settings) = ((shared.clock)(), shared.settings());
        let options = &settings.options.guards.breaker;
        // An open one was tried within its pause; a step ends some time after it began.
        let since = now.saturating_sub(millis(options.pause.saturating_mul(2)));
        let open = shared.store.with(|j| {
            let mut open = Vec::new();
            let judged = j.tried(since)?.into_iter().filter(|(action, ..)| action::is_judged(action));
            for (action, target, kind) in judged {
                let tries = j.tries(&action, &target, kind.as_deref(), breaker::depth(options))?;
                let is_open = matches!(breaker::state(&tries, now, options), breaker::State::Open { .. });
                if is_open && !open.contains(&(action.clone(), target.clone())) {
                    open.push((action, target));
                }
            }
            Ok(open)
        })?;
        let gauge = |(action, target): &(String, String), value| {
            shared.metrics.breaker_open.with_label_values(&[action, target]).set(value);
        };
        for pair in self.open.iter().filter(|pair| !open.contains(pair)) {
            gauge(pair, 0);
        }
        for pair in &open {
            gauge(pair, 1);
        }
        self.open = open;
        Ok(())
    }
}
