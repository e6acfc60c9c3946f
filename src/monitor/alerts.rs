//! The states of an alert: inactive, pending, firing, and for a while resolved, as Prometheus has them.
//!
//! Source: Prometheus's `rules/alerting.go`.

use super::rules::Alert as Rule;
use crate::promql::Labels;
use std::collections::BTreeMap;

/// So long a resolved alert is still told, in milliseconds.
const RESOLVED_KEPT: i64 = 15 * 60 * 1000;

/// Where an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is over.
    Inactive,
    /// It holds, and not for long enough.
    Pending,
    /// It holds.
    Firing,
}

impl State {
    /// The value of the label `alertstate`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// One alert. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Its labels, its name among them.
    pub labels: Labels,
    /// What people are told.
    pub annotations: BTreeMap<String, String>,
    /// The value of its expression.
    pub value: f64,
    /// Where it is.
    pub state: State,
    /// Since when it holds.
    pub active_at: i64,
    /// Since when it fires.
    pub fired_at: Option<i64>,
    /// Since when it is over.
    pub resolved_at: Option<i64>,
    /// Since when it fires only because the rule keeps it firing.
    pub kept_since: Option<i64>,
}

/// What an expression says of an alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// Its labels, its name among them.
    pub labels: Labels,
    /// What people are told.
    pub annotations: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// The alerts of one rule.
#[derive(Clone, Debug, Default)]
pub struct Alerts(BTreeMap<Labels, Alert>);

impl Alerts {
    /// Takes what the expression says at a time.
    pub fn take(&mut self, rule: &Rule, at: i64, all: Vec<Said>) {
        let mut said: Vec<Labels> = Vec::with_capacity(all.len());
        for Said { labels, annotations, value } in all {
            said.push(labels.clone());
            if let Some(known) = self.0.get_mut(&labels).filter(|known| known.state != State::Inactive) {
                (known.annotations, known.value) = (annotations, value);
                continue;
            }
            let new = Alert {
                labels: labels.clone(),
                annotations,
                value,
                state: State::Pending,
                active_at: at,
                fired_at: None,
                resolved_at: None,
                kept_since: None,
            };
            self.0.insert(labels, new);
        }
        said.sort_unstable();
        let (hold, keep) = (millis(rule.hold), millis(rule.keep_firing));
        self.0.retain(|labels, alert| alert.step(said.binary_search(labels).is_ok(), at, hold, keep));
    }

    /// All that hold, or are over and still told.
    pub fn iter(&self) -> impl Iterator<Item = &Alert> {
        self.0.values()
    }
}

impl Alert {
    /// The next state; false if it is to be forgotten.
    fn step(&mut self, holds: bool, at: i64, hold: i64, keep: i64) -> bool {
        if holds {
            self.kept_since = None;
        } else {
            let kept =
                self.state == State::Firing && keep > 0 && at - *self.kept_since.get_or_insert(at) < keep;
            if !kept {
                let told = self.resolved_at.is_none_or(|since| at - since <= RESOLVED_KEPT);
                if self.state == State::Pending || !told {
                    return false;
                }
                if self.state != State::Inactive {
                    (self.state, self.resolved_at) = (State::Inactive, Some(at));
                }
                return true;
            }
        }
        if self.state == State::Pending && at - self.active_at >= hold {
            (self.state, self.fired_at) = (State::Firing, Some(at));
        }
        true
    }
}

fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn rule(hold: u64, keep: u64) -> Rule {
        let (hold, keep_firing) = (Duration::from_millis(hold), Duration::from_millis(keep));
        Rule { hold, keep_firing, annotations: BTreeMap::new() }
    }

    fn said() -> Vec<Said> {
        vec![Said { labels: Labels::new([("alertname", "A")]), annotations: BTreeMap::new(), value: 1.0 }]
    }

    fn state(alerts: &Alerts) -> Option<State> {
        alerts.iter().next().map(|alert| alert.state)
    }

    #[test]
    fn it_waits_fires_is_kept_and_is_told_for_a_while_when_it_is_over() {
        let (rule, mut alerts) = (rule(10, 20), Alerts::default());
        let mut at = |time: i64, holds: bool| {
            alerts.take(&rule, time, if holds { said() } else { Vec::new() });
            state(&alerts)
        };
        assert_eq!([at(0, true), at(5, true)], [Some(State::Pending); 2]);
        assert_eq!(at(6, false), None, "it never fired");
        assert_eq!(
            [at(7, true), at(16, true), at(17, true)],
            [State::Pending, State::Pending, State::Firing].map(Some)
        );
        assert_eq!([at(18, false), at(37, false)], [Some(State::Firing); 2], "kept");
        assert_eq!(at(38, false), Some(State::Inactive));
        assert_eq!(at(39, true), Some(State::Pending), "anew");
        assert_eq!(
            [at(60, true), at(61, false), at(81, false)],
            [State::Firing, State::Firing, State::Inactive].map(Some)
        );
        assert_eq!(
            [at(81 + RESOLVED_KEPT, false), at(82 + RESOLVED_KEPT, false)],
            [Some(State::Inactive), None]
        );
    }

    #[test]
    fn without_a_wait_it_fires_at_once_and_its_times_are_told() {
        let mut alerts = Alerts::default();
        alerts.take(&rule(0, 0), 5, said());
        alerts.take(&rule(0, 0), 9, said());
        let alert = alerts.iter().next().unwrap();
        assert_eq!((alert.state, alert.active_at, alert.fired_at), (State::Firing, 5, Some(5)));
        alerts.take(&rule(0, 0), 12, Vec::new());
        assert_eq!(alerts.iter().next().unwrap().resolved_at, Some(12));
    }
}
