//! What Alertmanager's webhook (version 4) says, checked: a list of episodes, each firing or resolved.
//!
//! Source: <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>.

use crate::matching::Labels;
use jiff::Timestamp;
use serde::Deserialize;

/// The version of the webhook that is understood.
const VERSION: &str = "4";
/// Alerts in one notification; more are refused: no group that people made is so large.
pub const ALERTS_MAX: usize = 1000;
/// Labels and annotations of one alert, and the length of each name or value in bytes.
const PAIRS_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 16 << 10;
/// A fingerprint is 16 hexadecimal digits; some room for other senders.
const FINGERPRINT_BYTES_MAX: usize = 64;
/// What an error repeats of the body (an unknown status, say), in characters: it goes into the log and the answer.
const WHY_CHARS_MAX: usize = 300;

/// Whether an episode goes on. The group's status says nothing: it is `firing` if any of its alerts is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The alert fires.
    Firing,
    /// The alert has ended.
    Resolved,
}

/// One firing of one alert, as one notification tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Firing or resolved.
    pub status: Status,
    /// The hash of the labels; with `starts_at` the identity of the episode.
    pub fingerprint: String,
    /// When it began.
    pub starts_at: Timestamp,
    /// When it ended; absent while it fires.
    pub ends_at: Option<Timestamp>,
    /// The labels.
    pub labels: Labels,
    /// The annotations; kept for the record, never acted upon.
    pub annotations: Labels,
}

/// Why a notification was not understood, with the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlertError {
    /// The body is no JSON of the webhook's shape.
    #[error("the body is not an Alertmanager notification: {0}")]
    Json(String),
    /// Another version of the webhook, or a payload template.
    #[error("version is `{0}`; only version \"4\" of Alertmanager's webhook is understood")]
    Version(String),
    /// More alerts than a notification may hold.
    #[error("{0} alerts in one notification; at most {ALERTS_MAX} are taken: use `group_by` or `max_alerts`")]
    TooMany(usize),
    /// One alert is not what it should be.
    #[error("alerts[{index}].{field}: {why}")]
    Field {
        /// Which alert, from 0.
        index: usize,
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

#[derive(Deserialize)]
struct Payload {
    version: String,
    alerts: Vec<RawAlert>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAlert {
    status: Status,
    labels: Labels,
    #[serde(default)]
    annotations: Labels,
    starts_at: String,
    #[serde(default)]
    ends_at: Option<String>,
    fingerprint: String,
}

/// Parses and checks a notification. Nothing of it is taken if anything of it is wrong: Alertmanager
/// does not send such a thing.
pub fn parse(body: &[u8]) -> Result<Vec<Alert>, AlertError> {
    let payload: Payload = serde_json::from_slice(body).map_err(|e| not_understood(body, &e))?;
    if payload.version != VERSION {
        return Err(other_version(&payload.version));
    }
    if payload.alerts.len() > ALERTS_MAX {
        return Err(AlertError::TooMany(payload.alerts.len()));
    }
    payload.alerts.into_iter().enumerate().map(|(index, raw)| raw.check(index)).collect()
}

/// Why a body is not of our shape: one of another version is called by its name.
fn not_understood(body: &[u8], error: &serde_json::Error) -> AlertError {
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    match serde_json::from_slice::<Version>(body) {
        Ok(Version { version }) if version != VERSION => other_version(&version),
        _ => AlertError::Json(cut(error)),
    }
}

fn other_version(version: &str) -> AlertError {
    AlertError::Version(version.chars().take(32).collect())
}

/// The text of an error; a long one is cut, and keeps its place.
fn cut(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.char_indices().nth(WHY_CHARS_MAX) {
        Some((end, _)) => {
            let start = text.get(..end).unwrap_or_default();
            format!("{start}… at line {} column {}", error.line(), error.column())
        }
        None => text,
    }
}

impl RawAlert {
    fn check(self, index: usize) -> Result<Alert, AlertError> {
        let error = |field, why: &str| AlertError::Field { index, field, why: why.to_owned() };
        let time = |field, text: &str| {
            text.parse::<Timestamp>().map_err(|_| error(field, "not a time as RFC 3339 writes it"))
        };
        let hex = self.fingerprint.bytes().all(|b| b.is_ascii_hexdigit());
        if self.fingerprint.is_empty() || self.fingerprint.len() > FINGERPRINT_BYTES_MAX || !hex {
            return Err(error("fingerprint", "not a short hexadecimal number"));
        }
        for (field, pairs) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            if pairs.len() > PAIRS_MAX {
                return Err(error(field, &format!("more than {PAIRS_MAX}")));
            }
            if pairs.iter().any(|(k, v)| k.len() > NAME_BYTES_MAX || v.len() > VALUE_BYTES_MAX) {
                return Err(error(
                    field,
                    &format!("a name above {NAME_BYTES_MAX} or a value above {VALUE_BYTES_MAX} bytes"),
                ));
            }
        }
        let starts_at = time("startsAt", &self.starts_at)?;
        // A firing alert carries the zero time as its end.
        let ends_at = match (self.status, self.ends_at.as_deref()) {
            (Status::Resolved, Some(text)) => Some(time("endsAt", text)?),
            _ => None,
        };
        let Self { status, labels, annotations, fingerprint, .. } = self;
        Ok(Alert { status, fingerprint, starts_at, ends_at, labels, annotations })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(change: impl FnOnce(&mut serde_json::Value)) -> Result<Vec<Alert>, AlertError> {
        let mut body = json!({
            "version": "4", "status": "firing", "receiver": "r", "groupKey": "k", "truncatedAlerts": 0,
            "alerts": [{
                "status": "firing", "labels": {"alertname": "A"}, "annotations": {},
                "startsAt": "2026-11-21T04:28:00.123456789+01:00", "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://p", "fingerprint": "00112233aabbccdd"
            }]
        });
        change(&mut body);
        parse(body.to_string().as_bytes())
    }

    #[test]
    fn a_firing_alert_has_no_end() {
        let alerts = one(|_| ()).unwrap();
        assert_eq!(alerts[0].status, Status::Firing);
        assert_eq!(alerts[0].starts_at, "2026-11-21T03:28:00.123456789Z".parse().unwrap());
        assert_eq!(alerts[0].ends_at, None);
    }

    #[test]
    fn the_groups_status_is_not_the_alerts() {
        let alerts = one(|b| {
            b["alerts"][0]["status"] = "resolved".into();
            b["alerts"][0]["endsAt"] = "2026-11-21T04:29:00Z".into();
        });
        let alert = alerts.unwrap().remove(0);
        assert_eq!(
            (alert.status, alert.ends_at),
            (Status::Resolved, Some("2026-11-21T04:29:00Z".parse().unwrap()))
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let text = |r: Result<_, AlertError>| r.map(|_: Vec<Alert>| ()).unwrap_err().to_string();
        assert!(text(one(|b| b["version"] = "5".into())).contains("`5`"));
        assert!(
            text(one(|b| b["alerts"][0]["startsAt"] = "yesterday".into())).starts_with("alerts[0].startsAt")
        );
        assert!(
            text(one(|b| b["alerts"][0]["fingerprint"] = "../x".into())).starts_with("alerts[0].fingerprint")
        );
        assert!(
            text(one(|b| b["alerts"][0]["labels"]["x"] = "v".repeat(20_000).into()))
                .starts_with("alerts[0].labels")
        );
        assert!(text(one(|b| b["alerts"][0]["status"] = "maybe".into())).contains("line 1 column"));
        assert!(
            text(one(|b| b["alerts"] = vec![b["alerts"][0].clone(); 1001].into())).starts_with("1001 alerts")
        );
        assert!(text(parse(b"{")).contains("EOF"));
        assert!(text(parse(b"{\"version\":\"5\",\"alarms\":{}}")).contains("version is `5`"));
        let long = text(one(|b| b["alerts"][0]["status"] = "ü".repeat(1 << 20).into()));
        assert!(long.chars().count() < 400 && long.contains("… at line 1 column"), "{} bytes", long.len());
        for deep in ["{\"version\":\"4\",\"alerts\":", "{\"version\":\"4\",\"more\":"] {
            assert!(
                text(parse(&[deep.as_bytes(), &b"[".repeat(100_000)].concat())).contains("line 1 column")
            );
        }
    }

    #[test]
    fn a_body_cut_at_any_byte_is_an_error_and_no_panic() {
        let body = json!({"version": "4", "alerts": [{"status": "firing", "labels": {"a": "ü\n"}, "startsAt":
            "2026-11-21T04:28:00Z", "fingerprint": "ab"}]})
        .to_string();
        assert!(parse(body.as_bytes()).is_ok());
        for end in 0..body.len() {
            assert!(parse(&body.as_bytes()[..end]).is_err(), "{end}");
        }
    }
}
