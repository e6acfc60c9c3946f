//! Silences: whether Alertmanager has one for a run's alert, asked before each rung.
//!
//! Source: Alertmanager's API v2, `api/v2/openapi.yaml`. An Alertmanager that does not answer holds nothing up: a person
//! who wants all to stop has the emergency stop.

use super::policy::endpoint::{Endpoint, encoded};
use crate::client;
use crate::matching::Labels;
use serde::Deserialize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Who did not answer is not asked for so long: the time is the workload's.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// The longest question; what does not fit is compared here.
const QUESTION_BYTES_MAX: usize = 4096;

/// Asks Alertmanager, and knows whether it answers.
#[derive(Debug, Default)]
pub struct Silences {
    down_at: Mutex<Option<Instant>>,
}

/// An alert as Alertmanager sees it.
#[derive(Deserialize)]
struct Seen {
    labels: Labels,
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    silenced_by: Vec<String>,
}

impl Silences {
    /// The silence that the alert with these labels has, if Alertmanager says that it has one.
    pub fn of(&self, alertmanager: Option<&Endpoint>, labels: &Labels) -> Option<String> {
        let alertmanager = alertmanager?;
        let mut down_at = self.down_at.lock().unwrap_or_else(PoisonError::into_inner);
        if down_at.is_some_and(|at| at.elapsed() < ASK_AGAIN) {
            return None;
        }
        match ask(alertmanager, labels) {
            Ok(silence) => {
                if down_at.take().is_some() {
                    tracing::info!(url = alertmanager.shown(), "Alertmanager says again what is silenced");
                }
                silence
            }
            Err(why) => {
                if down_at.replace(Instant::now()).is_none() {
                    tracing::warn!(
                        url = alertmanager.shown(),
                        why,
                        "cannot ask Alertmanager for silences; runs go on without"
                    );
                }
                None
            }
        }
    }
}

fn ask(alertmanager: &Endpoint, labels: &Labels) -> Result<Option<String>, String> {
    let call = alertmanager.call(&question(labels))?;
    let (status, body) = client::send_blocking(call).map_err(|e| e.to_string())?;
    if !status.is_success() {
        return Err(format!("it answered {status}"));
    }
    let alerts: Vec<Seen> =
        serde_json::from_slice(&body).map_err(|e| format!("its answer is not understood: {e}"))?;
    // The labels are what the fingerprint is made from.
    let ours = alerts.into_iter().find(|a| a.labels == *labels);
    Ok(ours.and_then(|a| a.status.silenced_by.into_iter().next()))
}

/// The path that lists the alerts with these labels, whatever holds them back.
fn question(labels: &Labels) -> String {
    let mut path = "/api/v2/alerts?active=true&silenced=true&inhibited=true&unprocessed=true".to_owned();
    let plain = |n: &str| n.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric());
    for (name, value) in labels.iter().filter(|(name, _)| plain(name)) {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let filter = format!("&filter={}", encoded(&format!("{name}=\"{value}\"")));
        if path.len() + filter.len() <= QUESTION_BYTES_MAX {
            path += &filter;
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_names_the_alert_and_has_a_bound() {
        let labels = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Labels>()
        };
        let asked = question(&labels(&[("a", "x&\"\\\n=é"), ("not.plain", "y")]));
        assert!(asked.ends_with("&filter=a%3D%22x%26%5C%22%5C%5C%5Cn%3D%C3%A9%22"), "{asked}");
        let long = "y".repeat(QUESTION_BYTES_MAX);
        let asked = question(&labels(&[("long", &long), ("short", "z")]));
        assert!(asked.len() <= QUESTION_BYTES_MAX && asked.ends_with("short%3D%22z%22"), "{asked}");
    }
}
