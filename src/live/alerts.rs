//! The alerts of this machine, as whoever evaluates the rules tells them.

use crate::client::{self, Call};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

/// It answers from memory, on this machine.
const ANSWER_TIME: Duration = Duration::from_millis(800);
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Alerts that the page is sent, firing ones first.
const ALERTS_MAX: usize = 200;

/// What was told last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Told {
    /// A list; `None` if nobody was asked, or gave an answer.
    pub(super) alerts: Option<Value>,
    /// Why there is none, where somebody should have answered.
    pub(super) error: Option<String>,
}

#[derive(Deserialize)]
struct Body {
    data: Alerts,
}

#[derive(Deserialize)]
struct Alerts {
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    state: String,
    #[serde(default, rename = "activeAt")]
    active_at: String,
}

/// Asks for them, at the base of Prometheus's HTTP API.
pub(super) fn ask(base: &str) -> Told {
    let url = format!("{base}/api/v1/alerts");
    let call = Call { deadline: ANSWER_TIME, answer_bytes_max: ANSWER_BYTES_MAX, ..Call::get(url) };
    let answer = match client::send_blocking(call) {
        Ok((status, body)) if status.is_success() => read(&body),
        Ok((status, _)) => Err(format!("{base} answers {status}")),
        Err(e) => Err(e.to_string()),
    };
    match answer {
        Ok(alerts) => Told { alerts: Some(alerts), error: None },
        Err(error) => Told { alerts: None, error: Some(error) },
    }
}

fn read(body: &[u8]) -> Result<Value, String> {
    let body: Body = serde_json::from_slice(body).map_err(|e| format!("not Prometheus's alerts: {e}"))?;
    let mut alerts = body.data.alerts;
    // Firing first, and of these the newest.
    alerts.sort_by(|a, b| (a.state != "firing", &b.active_at).cmp(&(b.state != "firing", &a.active_at)));
    Ok(alerts.into_iter().take(ALERTS_MAX).map(shown).collect())
}

fn shown(mut alert: Alert) -> Value {
    let since = humantime::parse_rfc3339(&alert.active_at).ok();
    let since = since.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map(|since| since.as_secs_f64());
    json!({
        "name": alert.labels.remove("alertname"),
        "severity": alert.labels.remove("severity"),
        "state": alert.state,
        "since": since,
        "summary": alert.annotations.remove("summary"),
        "labels": alert.labels,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firing_alerts_come_first_and_what_is_not_there_is_null() {
        let alert = |name: &str, state: &str, at: &str| {
            json!({"labels": {"alertname": name, "job": "node"}, "annotations": {"summary": "It is so."},
                "state": state, "activeAt": at, "value": "1e+00"})
        };
        let body = json!({"status": "success", "data": {"alerts": [
            alert("Old", "firing", "2026-01-01T00:00:00.123456789Z"),
            alert("Soon", "pending", "2026-01-01T00:02:00Z"),
            alert("New", "firing", "2026-01-01T00:01:00Z"),
            alert("Odd", "pending", "yesterday"),
        ]}});
        let told = read(body.to_string().as_bytes()).unwrap();
        let names: Vec<&str> =
            told.as_array().unwrap().iter().map(|alert| alert["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["New", "Old", "Odd", "Soon"]);
        assert_eq!(told[0]["since"], 1_767_225_660.0);
        assert_eq!((&told[0]["severity"], &told[2]["since"]), (&Value::Null, &Value::Null));
        assert_eq!(told[0]["labels"], json!({"job": "node"}));
    }

    #[test]
    fn what_is_no_list_of_alerts_is_an_error_that_says_so() {
        for body in ["", "[]", "{\"status\": \"error\"}"] {
            assert!(read(body.as_bytes()).unwrap_err().contains("Prometheus's alerts"), "{body}");
        }
        let told = ask("http://127.0.0.1:1");
        assert!(told.alerts.is_none() && told.error.unwrap().contains("127.0.0.1:1"));
    }
}
