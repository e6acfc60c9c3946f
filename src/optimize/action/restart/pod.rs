//! A pod of Kubernetes: it is evicted or deleted, and whoever made it makes another.
//!
//! Source: <https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/>.

use super::{Waiting, until};
use crate::optimize::action::kubernetes::{Api, Seen, words};
use crate::optimize::policy::kubernetes::Pod;
use hyper::{Method, StatusCode};
use serde_json::json;
use std::time::Duration;

/// Lets it end, and waits until it has gone and, where labels say who takes its place, as many are ready as before.
pub(super) fn restart(pod: &Pod, grace: Duration, waiting: &Waiting<'_>) -> Result<String, String> {
    let api = Api { server: pod.server(), watch: waiting.watch };
    let (old, ready) = find(&api, pod)?;
    end(&api, pod, &old, grace)?;
    let name = &old.name;
    let gone = Waiting { within: grace + waiting.within, ..*waiting };
    until(&gone, &format!("the pod {name} has gone and its place is taken"), || {
        let same = api.pod(&pod.namespace, name)?;
        if same.is_some_and(|p| p.uid == old.uid) {
            return Ok(None);
        }
        let enough = match &pod.selector {
            Some(selector) => count_ready(&api.pods(&pod.namespace, selector, None)?) >= ready,
            None => true,
        };
        Ok(enough.then(|| format!("the pod {name} was {}", if pod.evict { "evicted" } else { "deleted" })))
    })
}

/// The pod, and how many of its kind are ready.
fn find(api: &Api<'_>, pod: &Pod) -> Result<(Seen, usize), String> {
    if let Some(name) = &pod.pod {
        let found = api.pod(&pod.namespace, name)?;
        return found.map(|p| (p, 0)).ok_or_else(|| format!("there is no pod {name} in {}", pod.namespace));
    }
    let selector = pod.selector.as_deref().unwrap_or_default();
    let ready = count_ready(&api.pods(&pod.namespace, selector, None)?);
    let here = api.pods(&pod.namespace, selector, pod.node.as_deref())?;
    let oldest = here.into_iter().min_by(|a, b| a.started.cmp(&b.started));
    let oldest = oldest.ok_or_else(|| format!("no pod with {selector} runs in {}", pod.namespace))?;
    Ok((oldest, ready))
}

fn end(api: &Api<'_>, pod: &Pod, old: &Seen, grace: Duration) -> Result<(), String> {
    let path = format!("/api/v1/namespaces/{}/pods/{}", pod.namespace, old.name);
    // Only this one: another that took its name meanwhile is left alone.
    let (seconds, only) = (grace.as_secs(), json!({"uid": old.uid}));
    if !pod.evict {
        let body = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": seconds, "preconditions": only
        });
        return api.must(Method::DELETE, &path, Some((&body, "application/json"))).map(|_| ());
    }
    let body = json!({
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": old.name, "namespace": pod.namespace},
        "deleteOptions": {"gracePeriodSeconds": seconds, "preconditions": only}
    });
    let eviction = format!("{path}/eviction");
    match api.call(Method::POST, &eviction, Some((&body, "application/json")))? {
        (status, _) if status.is_success() => Ok(()),
        (status @ StatusCode::TOO_MANY_REQUESTS, answer) => {
            Err(format!("refused, as a disruption budget demands: {}", words(status, &answer)))
        }
        (status, answer) => Err(words(status, &answer)),
    }
}

fn count_ready(pods: &[Seen]) -> usize {
    pods.iter().filter(|p| p.ready).count()
}
