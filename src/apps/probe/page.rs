//! The page of all components: for people and for programs, with a status that says whether all of them serve.

use super::board::{Board, Component};
use super::judge::State;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::time::Instant;

/// How all components are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// The worst state of all; unhealthy is worse than unknown, unknown than degraded.
    pub status: State,
    /// Each of them, by name.
    pub components: Vec<Shown>,
}

/// How a component is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// Its name.
    pub component: String,
    /// Its state.
    pub state: State,
    /// How long the last try took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<f64>,
    /// When a try last succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success_timestamp_seconds: Option<f64>,
    /// By what the last try failed, if it did,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
    /// and how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Board {
    /// How all components are now; none if there are none.
    pub fn health(&self, now: Instant) -> Option<Health> {
        let components: Vec<Shown> = self.components().iter().map(|c| shown(c, now)).collect();
        let badness = |state: &State| match state {
            State::Healthy => 0,
            State::Degraded => 1,
            State::Unknown => 2,
            State::Unhealthy => 3,
        };
        let status = components.iter().map(|c| c.state).max_by_key(badness)?;
        Some(Health { status, components })
    }
}

fn shown(component: &Component, now: Instant) -> Shown {
    Shown {
        component: component.probe.component.clone(),
        state: component.state(now),
        duration_seconds: component.duration.map(|took| took.as_secs_f64()),
        last_success_timestamp_seconds: component.last_success_millis.map(super::board::seconds),
        reason: component.failure.as_ref().map(|failure| failure.reason.as_str().into()),
        why: component.failure.as_ref().map(|failure| failure.why.clone()),
    }
}

impl Health {
    /// Whether all of them serve, be it slowly.
    pub fn serves(&self) -> bool {
        self.status.serves()
    }

    /// A line for each component, and before them one for all.
    pub fn text(&self) -> String {
        let width = self.components.iter().map(|c| c.component.chars().count()).max().unwrap_or_default();
        let mut lines = vec![format!("status: {}", self.status.as_str())];
        for c in &self.components {
            let took = c.duration_seconds.map_or_else(|| "-".to_owned(), |s| format!("{:.1} ms", s * 1000.0));
            let why = c.reason.as_ref().map_or_else(String::new, |reason| {
                format!("  {reason}: {}", c.why.as_deref().unwrap_or_default())
            });
            let line = format!("{:width$}  {:9}  {took:>10}{why}", c.component, c.state.as_str());
            lines.push(line.trim_end().to_owned());
        }
        lines.join("\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(states: &[State]) -> Health {
        let board = Board::default();
        assert_eq!(board.health(Instant::now()), None);
        let one = |(i, state): (usize, &State)| Shown {
            component: format!("c{i}"),
            state: *state,
            duration_seconds: Some(0.0123),
            last_success_timestamp_seconds: None,
            reason: (*state == State::Unhealthy).then_some("status".into()),
            why: Some("the answer is 500".into()),
        };
        let components: Vec<Shown> = states.iter().enumerate().map(one).collect();
        Health { status: *states.last().unwrap(), components }
    }

    #[test]
    fn a_person_reads_what_is_wrong_in_one_line() {
        let text = health(&[State::Healthy, State::Unhealthy]).text();
        assert_eq!(
            text,
            "status: unhealthy\nc0  healthy       12.3 ms\nc1  unhealthy     12.3 ms  status: the answer is 500\n"
        );
    }

    #[test]
    fn degraded_serves_and_unknown_does_not() {
        let serves = |state| health(&[state]).serves();
        assert!(serves(State::Healthy) && serves(State::Degraded));
        assert!(!serves(State::Unhealthy) && !serves(State::Unknown));
    }
}
