//! Which alert leads to which ladder of actions on which target.

pub mod endpoint;
pub mod handover;
pub mod hook;
pub mod kubernetes;
pub mod restart;

use super::observe::Observation;
use super::witness::Watched;
use crate::matching::{Labels, Matcher};
use bytesize::ByteSize;
use endpoint::Endpoint;
use handover::{Notify, Scale};
pub use hook::Hook;
use restart::Restart;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A rule from alerts to actions. The first policy whose matchers all match is taken.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Its name in the record.
    pub name: String,
    /// Alertmanager's matchers; all must match.
    #[serde(rename = "match")]
    pub matchers: Vec<Matcher>,
    /// The label whose value names the target.
    pub target_label: Option<String>,
    /// The target, where the alert's labels do not name one (an alert about the whole machine).
    pub target: Option<String>,
    /// The condition that is measured before each rung, where it is not the target's budget: available memory
    /// below this share (0 to 1) of the machine's.
    pub available_below_ratio: Option<f64>,
    /// The same, where the trouble is not memory: the machine's processors, over a second, are busier than this share
    /// (0 to 1). What niced tasks use does not count: others can have it at once.
    pub cpu_busy_above_ratio: Option<f64>,
    /// Time between a rung that was not enough and the next.
    #[serde(with = "humantime_serde")]
    pub wait: Duration,
    /// The actions, mildest first.
    pub ladder: Vec<Rung>,
}

impl Policy {
    /// What must be so before each rung.
    pub fn condition(&self) -> Condition {
        match (self.available_below_ratio, self.cpu_busy_above_ratio) {
            (Some(ratio), _) => Condition::AvailableBelow(ratio),
            (None, Some(ratio)) => Condition::CpuBusyAbove(ratio),
            (None, None) => Condition::OverBudget,
        }
    }
}

/// The part of a target that a stall asks for, where its rule names no bytes: a tenth.
const STALL_DIVISOR: u64 = 10;

/// What is wanted beyond a threshold that was crossed, as a part of it. Who asks for the very threshold gets a target that
/// stands at it, or a page above it, and an alert that goes on or comes back at once.
const MARGIN_DIVISOR: u64 = 10;

/// What is wanted of somebody who is `over_bytes` over `threshold_bytes`; 0 if nobody is.
const fn with_margin(over_bytes: u64, threshold_bytes: u64) -> u64 {
    if over_bytes == 0 { 0 } else { over_bytes.saturating_add(threshold_bytes / MARGIN_DIVISOR) }
}

/// What must be so, as Headroom itself measures it, for an action to begin; and by how much, which is what is wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// The target holds more than its budget.
    OverBudget,
    /// Less than this share of the machine's memory is available.
    AvailableBelow(f64),
    /// More than this share of the processors' time is in use.
    CpuBusyAbove(f64),
    /// Somebody asked for so many bytes.
    Asked(u64),
    /// Tasks stall for memory, by the evidence of the rule that asked for so many bytes; 0 for a share of the target.
    Stalled(u64),
}

impl Condition {
    /// The bytes that would end the trouble with a margin, `freed_bytes` of them being given back already; `None` if there
    /// is none.
    pub fn need(&self, seen: &Observation, target: &Target, freed_bytes: u64) -> Option<u64> {
        let bytes = match self {
            Self::OverBudget => {
                let (holds, budget) = (seen.target.as_ref()?.bytes, target.memory_budget?.as_u64());
                with_margin(holds.saturating_sub(budget), budget)
            }
            Self::AvailableBelow(ratio) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a cast keeps to the bounds, and 0 is no trouble"
                )]
                let least = (seen.machine.total_bytes as f64 * ratio) as u64;
                with_margin(least.saturating_sub(seen.machine.available_bytes), least)
            }
            // No bytes are wanted; the least that there is stands for it.
            Self::CpuBusyAbove(ratio) => u64::from(seen.machine.cpu_busy_ratio? > *ratio),
            Self::Asked(bytes) => bytes.saturating_sub(freed_bytes),
            // What was freed was not enough, if it stalls all the same: the next rung is asked for all of it again.
            Self::Stalled(bytes) => match (&seen.stall, bytes) {
                (Some(stall), 0) if stall.still => seen.target.as_ref()?.bytes / STALL_DIVISOR,
                (Some(stall), &bytes) if stall.still => bytes,
                _ => 0,
            },
        };
        Some(bytes).filter(|&b| b > 0)
    }
}

/// A rung of a ladder: in a file the action's name alone, or with its options.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rung {
    /// The action's name.
    pub action: String,
    /// Time after this rung, if it was not enough; the policy's if not given.
    #[serde(skip_serializing_if = "Option::is_none", with = "humantime_serde")]
    pub wait: Option<Duration>,
    /// The action's own options; null without.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub with: serde_json::Value,
}

impl From<&str> for Rung {
    fn from(action: &str) -> Self {
        Self { action: action.to_owned(), ..Self::default() }
    }
}

impl<'de> Deserialize<'de> for Rung {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = Rung;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an action's name, or `action`, `wait` and `with`")
            }
            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Rung, E> {
                Ok(Rung::from(name))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Rung, A::Error> {
                let Full { action, wait, with } =
                    Full::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Rung { action, wait, with })
            }
        }
        from.deserialize_any(Either)
    }
}

/// A rung with its options, as a file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Full {
    action: String,
    #[serde(default, with = "humantime_serde")]
    wait: Option<Duration>,
    #[serde(default)]
    with: serde_json::Value,
}

/// Something that the user allows Headroom to touch.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Target {
    /// The name that alerts give.
    pub name: String,
    /// The process group (of `process_groups`) that it is.
    pub process_group: Option<String>,
    /// The control group that it is, as a path from the root of the hierarchy.
    pub cgroup: Option<String>,
    /// The memory that it should stay below. A process group's `memory_budget` if not given.
    pub memory_budget: Option<ByteSize>,
    /// Whether all of it may stand still for a while: only such a target is ever frozen.
    pub batch: bool,
    /// Where the application takes requests to give memory back.
    pub hook: Option<Hook>,
    /// More of them, each with a `kind` that a rung names.
    pub hooks: Vec<Hook>,
    /// Whether its process group may lie in several containers, or in one and beside it.
    pub across_containers: bool,
    /// Where it shows how its application is doing: what gets worse after an action makes that harmful.
    pub watch: Option<Watched>,
    /// How it is started again.
    pub restart: Option<Restart>,
    /// Who can make more of it.
    pub scale: Option<Scale>,
    /// How people hear of it.
    pub notify: Option<Notify>,
}

impl Target {
    /// The servers that actions on it call.
    pub fn servers(&mut self) -> impl Iterator<Item = &mut Endpoint> {
        let restart = self.restart.as_mut().and_then(Restart::server);
        let scale = self.scale.iter_mut().flat_map(Scale::servers);
        let notify = self.notify.iter_mut().flat_map(Notify::servers);
        restart.into_iter().chain(scale).chain(notify)
    }

    /// Whether what lies outside of it can be called; or the key that is wrong, and why.
    pub fn check_outside(&self) -> Result<(), (String, String)> {
        let below = |place: &str, checked: Option<Result<(), (String, String)>>| match checked {
            Some(Err((key, why))) => Err((format!("{place}.{key}"), why)),
            _ => Ok(()),
        };
        below("restart", self.restart.as_ref().map(Restart::check))?;
        below("scale", self.scale.as_ref().map(Scale::check))?;
        below("notify", self.notify.as_ref().map(Notify::check))
    }
}

/// What the policies say about an alert.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision<'a> {
    /// Nothing is to be done; `policy` is the one that matched, if any did.
    Nothing {
        /// The policy that matched, though it leads nowhere.
        policy: Option<&'a str>,
        /// Why it leads nowhere.
        reason: String,
    },
    /// The alert is about another machine.
    OtherHost {
        /// Its `instance` label.
        instance: String,
    },
    /// The target of `policy`.
    Act {
        /// The policy.
        policy: &'a Policy,
        /// The target.
        target: &'a Target,
    },
}

/// Finds policy and target for an alert's labels. `own_names` are the host names and addresses of this machine,
/// and whole `instance` values that mean it.
pub fn decide<'a>(
    policies: &'a [Policy],
    targets: &'a [Target],
    own_names: &[String],
    labels: &Labels,
) -> Decision<'a> {
    // Whatever the policies match: what asks for people must not be answered by another run, which may ask for them again.
    if labels.get("alertname").is_some_and(|name| name == handover::ALERTNAME) {
        return Decision::Nothing { policy: None, reason: "it is Headroom's own call for people".into() };
    }
    let Some(policy) = policies.iter().find(|p| p.matchers.iter().all(|m| m.matches(labels))) else {
        return Decision::Nothing { policy: None, reason: "no policy matches the alert's labels".into() };
    };
    if let Some(instance) = labels.get("instance").filter(|i| !is_own(i, own_names)) {
        return Decision::OtherHost { instance: instance.clone() };
    }
    let nothing = |reason| Decision::Nothing { policy: Some(&policy.name), reason };
    let name = match (&policy.target, &policy.target_label) {
        (Some(name), _) => name,
        (None, Some(label)) => match labels.get(label) {
            Some(name) => name,
            None => return nothing(format!("the alert has no label {label}, which names the target")),
        },
        (None, None) => return nothing("the policy names no target".into()),
    };
    match targets.iter().find(|t| t.name == *name) {
        Some(target) => Decision::Act { policy, target },
        None => nothing(format!("{name:?} is not among the configured targets")),
    }
}

/// Whether an `instance` label (usually `host:port`) means this machine.
pub(super) fn is_own(instance: &str, own_names: &[String]) -> bool {
    let host = host_of(instance);
    own_names.iter().any(|own| own.eq_ignore_ascii_case(host) || own.eq_ignore_ascii_case(instance))
}

/// The host of an `instance` label, which usually is `host:port`.
pub(super) fn host_of(instance: &str) -> &str {
    match instance.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => instance,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> (Vec<Policy>, Vec<Target>) {
        let matcher = |m| vec![Matcher::parse(m).unwrap()];
        let policies = vec![
            Policy {
                name: "fixed".into(),
                matchers: matcher("alertname=Machine"),
                target: Some("b".into()),
                ..Policy::default()
            },
            Policy {
                name: "label".into(),
                matchers: matcher("headroom_action=reclaim"),
                target_label: Some("groupname".into()),
                ..Policy::default()
            },
            Policy { name: "lost".into(), matchers: matcher("alertname=Lost"), ..Policy::default() },
        ];
        let targets = ["a", "b"].map(|n| Target { name: n.into(), ..Target::default() }).to_vec();
        (policies, targets)
    }

    fn outcome(labels: &[(&str, &str)]) -> String {
        let (policies, targets) = setup();
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        match decide(&policies, &targets, &["localhost".into(), "127.0.0.1".into(), "web:1".into()], &labels)
        {
            Decision::Act { policy, target } => format!("{}>{}", policy.name, target.name),
            Decision::OtherHost { instance } => format!("other {instance}"),
            Decision::Nothing { policy, reason } => format!("{}: {reason}", policy.unwrap_or("-")),
        }
    }

    #[test]
    fn the_first_matching_policy_finds_its_target() {
        assert_eq!(outcome(&[("alertname", "Machine")]), "fixed>b");
        assert_eq!(outcome(&[("headroom_action", "reclaim"), ("groupname", "a")]), "label>a");
        assert_eq!(
            outcome(&[("headroom_action", "reclaim"), ("groupname", "a"), ("instance", "127.0.0.1:9177")]),
            "label>a"
        );
    }

    #[test]
    fn an_alert_that_leads_nowhere_says_why() {
        assert_eq!(outcome(&[]), "-: no policy matches the alert's labels");
        assert_eq!(
            outcome(&[("headroom_action", "reclaim")]),
            "label: the alert has no label groupname, which names the target"
        );
        assert_eq!(
            outcome(&[("headroom_action", "reclaim"), ("groupname", "a\n/../b")]),
            "label: \"a\\n/../b\" is not among the configured targets"
        );
        assert_eq!(outcome(&[("alertname", "Lost")]), "lost: the policy names no target");
    }

    #[test]
    fn headrooms_own_call_for_people_leads_to_no_run_whatever_a_policy_matches() {
        let all = Policy { name: "all".into(), target: Some("b".into()), ..Policy::default() };
        let decided = |name: &str| {
            let labels = [("alertname".to_owned(), name.to_owned())].into();
            matches!(decide(std::slice::from_ref(&all), &setup().1, &[], &labels), Decision::Act { .. })
        };
        assert_eq!((decided("HeadroomInvestigate"), decided("HeadroomInvestigation")), (false, true));
    }

    #[test]
    fn a_stall_asks_for_all_of_it_again_while_it_goes_on_and_for_nothing_without_evidence() {
        use crate::optimize::observe::{Stall, TargetMemory};
        let seen = |still: Option<bool>| Observation {
            target: Some(TargetMemory { bytes: 500, ..TargetMemory::default() }),
            stall: still.map(|still| Stall { still, ..Stall::default() }),
            ..Observation::default()
        };
        let need = |bytes, still| Condition::Stalled(bytes).need(&seen(still), &Target::default(), 70);
        assert_eq!((need(80, Some(true)), need(0, Some(true))), (Some(80), Some(50)));
        assert_eq!((need(80, Some(false)), need(80, None), need(0, None)), (None, None, None));
    }

    #[test]
    fn who_is_over_a_threshold_is_asked_for_a_margin_and_who_is_at_it_for_nothing() {
        use crate::optimize::observe::{Machine, TargetMemory};
        let seen = |bytes, available_bytes| Observation {
            target: Some(TargetMemory { bytes, ..TargetMemory::default() }),
            machine: Machine { total_bytes: 1000, available_bytes, ..Machine::default() },
            ..Observation::default()
        };
        let target = Target { memory_budget: Some(ByteSize::b(200)), ..Target::default() };
        let over = |bytes| Condition::OverBudget.need(&seen(bytes, 0), &target, 0);
        assert_eq!((over(200), over(201), over(300)), (None, Some(21), Some(120)));
        let short = |available| Condition::AvailableBelow(0.1).need(&seen(0, available), &target, 0);
        assert_eq!((short(100), short(99), short(0)), (None, Some(11), Some(110)));
    }

    #[test]
    fn of_two_machines_optimizers_that_get_the_same_alert_one_acts_by_its_instance() {
        let (policies, targets) = setup();
        let acts = |own: &str, instance: Option<&str>| {
            let mut labels: Labels = [("alertname".to_owned(), "Machine".to_owned())].into();
            labels.extend(instance.map(|i| ("instance".to_owned(), i.to_owned())));
            let own = ["localhost".to_owned(), own.to_owned()];
            matches!(decide(&policies, &targets, &own, &labels), Decision::Act { .. })
        };
        assert_eq!(["web1", "web2"].map(|own| acts(own, Some("web1:9177"))), [true, false]);
        assert_eq!(["web1", "web2"].map(|own| acts(own, Some("web2:9177"))), [false, true]);
        // Without the label both would: such an alert goes to one machine's receiver only.
        assert_eq!(["web1", "web2"].map(|own| acts(own, None)), [true, true]);
    }

    #[test]
    fn another_machines_alert_is_not_ours() {
        let act = |instance| outcome(&[("alertname", "Machine"), ("instance", instance)]);
        assert_eq!(act("db7:9177"), "other db7:9177");
        assert_eq!(act("LOCALHOST:9177"), "fixed>b");
        assert_eq!(act("web:1"), "fixed>b");
        assert_eq!(act("web:2"), "other web:2");
    }
}
