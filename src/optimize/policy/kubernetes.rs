//! What of Kubernetes is a target's: a pod that may be restarted, a workload that may be scaled.

use super::endpoint::Endpoint;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What every pod has: the API's address, a token, and the authority that signed the API's certificate.
const SERVER: &str = "https://kubernetes.default.svc";
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The longest selector.
const SELECTOR_BYTES_MAX: usize = 1024;

/// A pod, by its name or by its labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name, where that lasts (a StatefulSet's).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Or the labels of its kind (`app=cache`): of those that run, the oldest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Only those on this node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Whether disruption budgets are asked (the Eviction API); without, it is deleted.
    pub evict: bool,
    /// The API, if it is not the one of the cluster that Headroom runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Endpoint>,
}

impl Default for Pod {
    fn default() -> Self {
        Self { namespace: "default".into(), pod: None, selector: None, node: None, evict: true, server: None }
    }
}

impl Pod {
    /// Whether it can be found so; or the key that is wrong, and why.
    pub fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, why: &str| Err((key.to_owned(), why.to_owned()));
        if !word(&self.namespace, "-") {
            return wrong("namespace", "a name of letters, digits and `-`");
        }
        let names = [("pod", &self.pod), ("node", &self.node)];
        if let Some((key, _)) = names.iter().find(|(_, n)| n.as_ref().is_some_and(|n| !word(n, "-."))) {
            return wrong(key, "a name of letters, digits, `-` and `.`");
        }
        if self.pod.is_some() == self.selector.is_some() {
            return wrong("pod", "either `pod` or `selector`");
        }
        if self.selector.as_ref().is_some_and(|s| s.trim().is_empty() || s.len() > SELECTOR_BYTES_MAX) {
            return wrong("selector", "labels, such as app=cache");
        }
        check_server(self.server.as_ref())
    }

    /// The API that it is asked of.
    pub fn server(&self) -> Endpoint {
        self.server.clone().unwrap_or_else(in_cluster)
    }
}

/// The API as every pod reaches it.
pub fn in_cluster() -> Endpoint {
    let file = |name: &str| Some(PathBuf::from(ACCOUNT).join(name));
    Endpoint { url: SERVER.into(), token_file: file("token"), ca_file: file("ca.crt"), ..Endpoint::default() }
}

/// Whether an API that is given can be called.
pub fn check_server(server: Option<&Endpoint>) -> Result<(), (String, String)> {
    server.map_or(Ok(()), |s| s.check().map_err(|(key, why)| (format!("server.{key}"), why)))
}

/// Whether it is one word: a letter or digit first, then these besides.
pub(super) fn word(text: &str, besides: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(plain) && text.len() <= 255 && text.chars().all(|c| plain(c) || besides.contains(c))
}

/// What has replicas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// So many replicas more at a time,
    pub by: u32,
    /// and never more than so many.
    pub max: u32,
    /// The API, if it is not the one of the cluster that Headroom runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Endpoint>,
}

/// A kind of workload that can be scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A Deployment.
    #[default]
    Deployment,
    /// A StatefulSet.
    StatefulSet,
}

impl Kind {
    /// Its word in the API's paths.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
        }
    }
}

impl Default for Workload {
    fn default() -> Self {
        let (namespace, name) = ("default".to_owned(), String::new());
        Self { namespace, kind: Kind::default(), name, by: 1, max: 0, server: None }
    }
}

impl Workload {
    /// Whether it can be scaled so; or the key that is wrong, and why.
    pub fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, why: &str| Err((key.to_owned(), why.to_owned()));
        if !word(&self.namespace, "-") {
            return wrong("namespace", "a name of letters, digits and `-`");
        }
        if !word(&self.name, "-.") {
            return wrong("name", "the workload's name");
        }
        if self.by == 0 {
            return wrong("by", "at least 1");
        }
        if self.max == 0 {
            return wrong("max", "the most replicas that it may get; without a limit it would grow for ever");
        }
        check_server(self.server.as_ref())
    }

    /// The API that it is asked of.
    pub fn server(&self) -> Endpoint {
        self.server.clone().unwrap_or_else(in_cluster)
    }
}
