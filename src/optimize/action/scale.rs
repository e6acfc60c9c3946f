//! More of the target: somebody who can is asked for it, or Kubernetes makes more replicas.
//!
//! Source: <https://kubernetes.io/docs/reference/kubernetes-api/> (Scale).

use super::kubernetes::{Api, words};
use super::message::{Message, post};
use super::{ActError, Action, Explanation, Plan, Refusal, Scene, Target, Watch, backoff, intent};
use crate::host::hand::Hand;
use crate::optimize::policy::endpoint::Endpoint;
use crate::optimize::policy::kubernetes::Workload;
use crate::optimize::verify::Effect;
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

/// Asks for more of the target.
pub struct Scale;

/// What the record has: who is asked stands in the target's configuration.
#[derive(Serialize)]
struct Intent<'a> {
    message: Message,
    webhook: Option<&'a Endpoint>,
    kubernetes: Option<&'a Workload>,
}

/// What is read back.
#[derive(Deserialize)]
struct Said {
    message: Message,
}

impl Action for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            what: "asks for more of the target: a POST to a webhook, or more replicas of a Deployment or StatefulSet of Kubernetes, up to `max`",
            cost: "what more replicas cost; nothing to those that run",
            capabilities: &[],
            needs: "`scale` in the target's configuration; at most once in 10 minutes on a target; in Kubernetes get and patch on the workload's scale",
            verified: "it is accepted (2xx); the gain shows later, if at all",
            undone: "not undone: who scales up decides when to scale down",
        }
    }

    fn effect(&self) -> Effect {
        Effect::HandsOver
    }

    fn time_max(&self) -> Duration {
        Duration::from_mins(2)
    }

    fn plan(&self, scene: &Scene<'_>) -> Result<Plan, Refusal> {
        let scale = scene.target.scale.as_ref();
        let scale = scale.ok_or_else(|| Refusal("the target has no `scale` configured".into()))?;
        backoff::spaced(scene.history, scale.at_most_every, scene.before.at_millis)?;
        let intent = Intent {
            message: Message::new(self.name(), scene),
            webhook: scale.webhook.as_ref(),
            kubernetes: scale.kubernetes.as_ref(),
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
        let Said { message } = intent(plan)?;
        let scale = target.scale.as_ref();
        match scale.map(|s| (&s.webhook, &s.kubernetes)) {
            Some((Some(webhook), _)) => post(webhook, "", &message, watch),
            Some((None, Some(workload))) => replicas(workload, watch),
            Some((None, None)) | None => Err("nobody is configured to be asked".to_owned()),
        }
        .map_err(ActError::Failed)
    }
}

/// Sets the number of replicas, if nobody else has changed it since it was read.
fn replicas(of: &Workload, watch: &Watch<'_>) -> Result<String, String> {
    let api = Api { server: of.server(), watch };
    let path = format!("/apis/apps/v1/namespaces/{}/{}/{}/scale", of.namespace, of.kind.plural(), of.name);
    let scale = api.must(Method::GET, &path, None)?;
    // An absent number is 0, as everywhere in the API.
    let has = scale.pointer("/spec/replicas").map_or(Some(0), Value::as_u64);
    let has = has.ok_or("Kubernetes answered without a number of replicas")?;
    if has >= of.max.into() {
        return Err(format!("{} has {has} replicas, and {} is the most that it may get", of.name, of.max));
    }
    let wants = has.saturating_add(of.by.into()).min(of.max.into());
    let version = scale.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
    let wish = json!({"metadata": {"resourceVersion": version}, "spec": {"replicas": wants}});
    match api.call(Method::PATCH, &path, Some((&wish, "application/merge-patch+json")))? {
        (status, _) if status.is_success() => Ok(format!("{} gets {wants} replicas, of {has}", of.name)),
        (StatusCode::CONFLICT, _) => Err(format!("somebody else has just scaled {}", of.name)),
        (status, answer) => Err(words(status, &answer)),
    }
}
