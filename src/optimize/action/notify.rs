//! People hear that a target needs them: nothing milder has helped.
//!
//! Source: Alertmanager's API v2, `api/v2/openapi.yaml`.

use super::message::{Message, post};
use super::{ActError, Action, Explanation, Plan, Refusal, Scene, Target, Watch, backoff, intent};
use crate::host::hand::Hand;
use crate::optimize::policy::endpoint::Endpoint;
use crate::optimize::policy::handover::ALERTNAME;
use crate::optimize::verify::Effect;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

/// Hands over to people.
pub struct Notify;

/// What the record has: who is told stands in the target's configuration.
#[derive(Serialize)]
struct Intent<'a> {
    message: Message,
    webhook: Option<&'a Endpoint>,
    alertmanager: Option<&'a Endpoint>,
    /// Until when the alert stands, in milliseconds since the epoch.
    ends_at_millis: i64,
}

/// What is read back.
#[derive(Deserialize)]
struct Said {
    message: Message,
    ends_at_millis: i64,
}

impl Action for Notify {
    fn name(&self) -> &'static str {
        "notify"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            what: "tells people: a POST to a webhook, an alert HeadroomInvestigate in Alertmanager, or both",
            cost: "nothing but a person's time",
            capabilities: &[],
            needs: "`notify` in the target's configuration; at most once an hour on a target",
            verified: "it is accepted (2xx); what people do shows later, if at all",
            undone: "not needed: the alert ends by itself after `at_most_every`",
        }
    }

    fn effect(&self) -> Effect {
        Effect::HandsOver
    }

    fn time_max(&self) -> Duration {
        Duration::from_mins(2)
    }

    fn plan(&self, scene: &Scene<'_>) -> Result<Plan, Refusal> {
        let notify = scene.target.notify.as_ref();
        let notify = notify.ok_or_else(|| Refusal("the target has no `notify` configured".into()))?;
        let now = scene.before.at_millis;
        backoff::spaced(scene.history, notify.at_most_every, now)?;
        let intent = Intent {
            message: Message::new(self.name(), scene),
            webhook: notify.webhook.as_ref(),
            alertmanager: notify.alertmanager.as_ref(),
            ends_at_millis: now.saturating_add(super::guard::millis(notify.at_most_every)),
        };
        Plan::new(None, &intent)
    }

    fn execute(
        &self,
        plan: &Value,
        target: &Target,
        _: &mut Hand,
        watch: &Watch<'_>,
    ) -> Result<String, ActError> {
        let Said { message, ends_at_millis } = intent(plan)?;
        let notify = target.notify.as_ref();
        let webhook = notify.and_then(|n| n.webhook.as_ref()).map(|to| post(to, "", &message, watch));
        let alertmanager = notify.and_then(|n| n.alertmanager.as_ref());
        let alert =
            alertmanager.map(|to| post(to, "/api/v2/alerts", &alert(&message, ends_at_millis), watch));
        // One of two that hears it is enough for a person to come; what failed is said all the same.
        let all: Vec<_> = [webhook, alert].into_iter().flatten().collect();
        let heard = all.iter().any(Result::is_ok);
        let words: Vec<String> = all.into_iter().map(|r| r.unwrap_or_else(|why| why)).collect();
        let words = words.join("; ");
        if heard { Ok(words) } else { Err(ActError::Failed(words)) }
    }
}

/// The alert. The labels of the run's own alert are text in it and not labels: with them it could match the policy that
/// led here, and call for itself.
fn alert(message: &Message, ends_at_millis: i64) -> Value {
    let mut labels = json!({"alertname": ALERTNAME, "severity": "critical", "target": message.target});
    for (name, from) in [("cause", "alertname"), ("instance", "instance")] {
        if let (Some(labels), Some(value)) = (labels.as_object_mut(), message.labels.get(from)) {
            labels.insert(name.to_owned(), value.as_str().into());
        }
    }
    let [want, available] =
        [message.want_bytes, message.available_bytes].map(|b| bytesize::ByteSize::b(b).display().iec());
    let target = &message.target;
    let mut alert = json!([{
        "labels": labels,
        "annotations": {
            "summary": format!("{target} needs a person: what Headroom may do has not been enough."),
            "description": format!("{want} more are wanted from {target}; the machine has {available} available."),
            "labels": serde_json::to_string(&message.labels).unwrap_or_default()
        }
    }]);
    if let (Ok(at), Some(alert)) = (
        jiff::Timestamp::from_millisecond(ends_at_millis),
        alert.pointer_mut("/0").and_then(Value::as_object_mut),
    ) {
        alert.insert("endsAt".to_owned(), at.to_string().into());
    }
    alert
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alert_cannot_call_for_itself_and_ends() {
        let labels = [("alertname", "Over"), ("headroom_action", "reclaim"), ("instance", "web1:9177")];
        let message = Message {
            action: "notify".into(),
            target: "cache".into(),
            want_bytes: 2 << 20,
            held_bytes: None,
            available_bytes: 1 << 30,
            labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        };
        let alert = alert(&message, 1_800_000_000_000);
        let want = json!({"alertname": ALERTNAME, "severity": "critical", "target": "cache", "cause": "Over",
            "instance": "web1:9177"});
        assert_eq!(alert[0]["labels"], want);
        assert_eq!(alert[0]["endsAt"], "2027-01-15T08:00:00Z");
        assert!(alert[0]["annotations"]["labels"].as_str().unwrap().contains("headroom_action"));
    }
}
