//! What asks for a run besides an alert: the kernel's pressure, or a person.

use super::policy::{Condition, Policy, Rung, Target};
use serde::{Deserialize, Serialize};

/// Who asked for a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Alertmanager's webhook.
    #[default]
    Alert,
    /// Stalls that the optimizer saw by itself.
    Pressure,
    /// A person, by the API or the command line.
    Hand,
}

impl Origin {
    /// The word in the journal and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Pressure => "pressure",
            Self::Hand => "hand",
        }
    }
}

/// A wish for a run, as the journal keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Who asks.
    pub origin: Origin,
    /// What the record shows where an alert's name stands.
    pub name: String,
    /// The target's name.
    pub target: String,
    /// The bytes that are wanted.
    pub bytes: u64,
    /// The ladder, where it is not that of the first policy that may lead to this target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ladder: Vec<Rung>,
    /// Decide and record, but do nothing.
    #[serde(default)]
    pub dry_run: bool,
}

impl Request {
    /// Policy, target and condition of this wish; or why it leads nowhere.
    pub fn decide(
        &self,
        policies: &[Policy],
        targets: &[Target],
    ) -> Result<(Policy, Target, Condition), String> {
        let Some(target) = targets.iter().find(|t| t.name == self.target) else {
            return Err(format!("{:?} is not among the configured targets", self.target));
        };
        let usual = policies
            .iter()
            .find(|p| p.target.as_ref() == Some(&self.target))
            .or_else(|| policies.iter().find(|p| p.target_label.is_some()));
        let (wait, ladder) = match usual {
            _ if !self.ladder.is_empty() => {
                (usual.map_or_else(Default::default, |p| p.wait), self.ladder.clone())
            }
            Some(policy) => (policy.wait, policy.ladder.clone()),
            None => return Err("no policy leads to this target, and the request has no ladder".to_owned()),
        };
        let policy = Policy { name: self.name.clone(), wait, ladder, ..Policy::default() };
        let condition = match self.origin {
            Origin::Pressure => Condition::Stalled(self.bytes),
            Origin::Alert | Origin::Hand => Condition::Asked(self.bytes),
        };
        Ok((policy, target.clone(), condition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_takes_its_own_ladder_or_that_of_the_policy_that_leads_to_its_target() {
        let target = |name: &str| Target { name: name.into(), ..Target::default() };
        let policy = |target: Option<&str>, label: Option<&str>, action: &str| Policy {
            target: target.map(Into::into),
            target_label: label.map(Into::into),
            ladder: vec![action.into()],
            ..Policy::default()
        };
        let policies = [policy(None, Some("groupname"), "app_hook"), policy(Some("b"), None, "pageout")];
        let targets = [target("a"), target("b")];
        let ladder = |target: &str, ladder: Vec<Rung>| {
            let request = Request { target: target.into(), bytes: 7, ladder, ..Request::default() };
            request.decide(&policies, &targets).map(|(p, t, c)| {
                assert_eq!((t.name.as_str(), c), (target, Condition::Asked(7)));
                p.ladder[0].action.clone()
            })
        };
        assert_eq!(ladder("a", vec![]).unwrap(), "app_hook");
        assert_eq!(ladder("b", vec![]).unwrap(), "pageout");
        assert_eq!(ladder("b", vec!["cgroup_reclaim".into()]).unwrap(), "cgroup_reclaim");
        assert!(ladder("c", vec![]).unwrap_err().contains("not among"));
    }
}
