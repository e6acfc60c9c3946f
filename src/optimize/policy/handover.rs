//! Who else can help a target: one who scales it, and people.

use super::endpoint::Endpoint;
use super::kubernetes::Workload;
use serde::Deserialize;
use std::time::Duration;

/// The name of the alert by which people hear of a target.
pub const ALERTNAME: &str = "HeadroomInvestigate";

/// A wrong key, and why it is wrong.
type Wrong = (String, String);

/// Who scales a target.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scale {
    /// Whom it is asked of by a POST,
    pub webhook: Option<Endpoint>,
    /// or the workload of Kubernetes that is to have more replicas.
    pub kubernetes: Option<Workload>,
    /// The shortest time between two times.
    #[serde(with = "humantime_serde")]
    pub at_most_every: Duration,
}

impl Default for Scale {
    fn default() -> Self {
        Self { webhook: None, kubernetes: None, at_most_every: Duration::from_mins(10) }
    }
}

/// How people hear that a target needs them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Notify {
    /// Who is told by a POST.
    pub webhook: Option<Endpoint>,
    /// The Alertmanager that gets an alert.
    pub alertmanager: Option<Endpoint>,
    /// The shortest time between two times; so long stands the alert.
    #[serde(with = "humantime_serde")]
    pub at_most_every: Duration,
}

impl Default for Notify {
    fn default() -> Self {
        Self { webhook: None, alertmanager: None, at_most_every: Duration::from_hours(1) }
    }
}

impl Scale {
    /// Whether it can be done so; or the key that is wrong, and why.
    pub fn check(&self) -> Result<(), Wrong> {
        match (&self.webhook, &self.kubernetes) {
            (Some(webhook), None) => below("webhook", webhook),
            (None, Some(workload)) => {
                workload.check().map_err(|(key, why)| (format!("kubernetes.{key}"), why))
            }
            _ => Err(("webhook".into(), "either `webhook` or `kubernetes`".into())),
        }
    }

    /// The servers that it calls.
    pub fn servers(&mut self) -> impl Iterator<Item = &mut Endpoint> {
        let workload = self.kubernetes.as_mut().and_then(|w| w.server.as_mut());
        self.webhook.iter_mut().chain(workload)
    }
}

impl Notify {
    /// Whether anybody can hear of it; or the key that is wrong, and why.
    pub fn check(&self) -> Result<(), Wrong> {
        if self.webhook.is_none() && self.alertmanager.is_none() {
            return Err(("webhook".into(), "give `webhook`, `alertmanager` or both".into()));
        }
        self.webhook.as_ref().map_or(Ok(()), |w| below("webhook", w))?;
        self.alertmanager.as_ref().map_or(Ok(()), |a| below("alertmanager", a))
    }

    /// The servers that it calls.
    pub fn servers(&mut self) -> impl Iterator<Item = &mut Endpoint> {
        self.webhook.iter_mut().chain(&mut self.alertmanager)
    }
}

fn below(place: &str, endpoint: &Endpoint) -> Result<(), Wrong> {
    endpoint.check().map_err(|(key, why)| (format!("{place}.{key}"), why))
}
