//! A batch control group stands still for a while: the cgroup freezer, of version 2 or 1.
//!
//! Sources: `Documentation/admin-guide/cgroup-v2.rst` (cgroup.freeze),
//! `Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst`.

use super::{ActError, Action, Explanation, Plan, Refusal, Scene, Target, Wants, Watch, intent, options};
use crate::host::cgroup::Version;
use crate::host::cgroup::control::{is_frozen, stands_still};
use crate::host::hand::Hand;
use crate::host::{Host, may_write};
use crate::optimize::verify::Effect;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// The longest that a group may stand still.
const LEASE_MAX: Duration = Duration::from_mins(5);
/// How long the kernel may take until all tasks stand still.
const STILL_MAX: Duration = Duration::from_secs(2);
/// Between two looks whether they do.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Freezes the target's control group.
pub struct Freeze;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    /// How long.
    #[serde(with = "humantime_serde")]
    lease: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { lease: Duration::from_secs(30) }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Intent {
    version: u8,
    directory: PathBuf,
    processes: Vec<u32>,
}

impl Intent {
    fn version(&self) -> Version {
        if self.version == 2 { Version::V2 } else { Version::V1 }
    }

    fn file(&self) -> PathBuf {
        let name = if self.version() == Version::V2 { "cgroup.freeze" } else { "freezer.state" };
        self.directory.join(name)
    }

    /// Writes the switch.
    fn switch(&self, hand: &mut Hand, on: bool) -> std::io::Result<()> {
        let text = match (self.version(), on) {
            (Version::V2, true) => "1",
            (Version::V2, false) => "0",
            (Version::V1, true) => "FROZEN",
            (Version::V1, false) => "THAWED",
        };
        hand.write(&self.file(), text)
    }
}

impl Action for Freeze {
    fn name(&self) -> &'static str {
        "freeze"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            what: "lets all processes of a batch control group stand still for a while (option `lease`, 30s, at most 5m)",
            cost: "the group does nothing meanwhile; who waits for its answers waits",
            capabilities: &[],
            needs: "a target with a `cgroup` that says `batch: true`, and the right to write its cgroup.freeze (version 2) or freezer.state (version 1)",
            verified: "the kernel says that all tasks stand still; memory that comes free counts as measured",
            undone: "thawed when its time or the trouble is over, when Headroom ends, and at the next start after a crash",
        }
    }

    fn effect(&self) -> Effect {
        Effect::Brakes
    }

    fn time_max(&self) -> Duration {
        STILL_MAX
    }

    fn check(&self, with: &Value) -> Result<(), String> {
        let lease = options::<Options>(with)?.lease;
        let good = !lease.is_zero() && lease <= LEASE_MAX;
        if good { Ok(()) } else { Err("lease: more than 0s, and at most 5m".to_owned()) }
    }

    fn wants(&self, _: &Value) -> Wants {
        Wants { facts: true, growth: None }
    }

    fn plan(&self, scene: &Scene<'_>) -> Result<Plan, Refusal> {
        let refuse = |why: &str| Err(Refusal(why.to_owned()));
        let lease = options::<Options>(scene.with).map_err(Refusal)?.lease;
        if !scene.target.batch {
            return refuse("the target is not marked as `batch`: it may not stand still");
        }
        if scene.target.cgroup.as_deref().is_none_or(|g| g.trim_matches('/').is_empty()) {
            return refuse("the target has no control group of its own");
        }
        let Some(freezer) = scene.before.target.as_ref().and_then(|t| t.facts.freezer.as_ref()) else {
            return refuse("the group has no freezer here");
        };
        if freezer.frozen {
            return refuse(
                "the group stands still already, by somebody else's will or an earlier one of ours",
            );
        }
        if freezer.processes.is_empty() {
            return refuse("the group has no processes");
        }
        if freezer.processes.contains(&0) {
            return refuse("the group has processes that cannot be seen from here");
        }
        let intent = Intent {
            version: if freezer.version == Version::V2 { 2 } else { 1 },
            directory: freezer.directory.clone(),
            processes: freezer.processes.clone(),
        };
        Ok(Plan::new(None, &intent)?.leased(lease.min(LEASE_MAX)))
    }

    fn permit(&self, plan: &Value, _: &Host) -> Result<(), Refusal> {
        let intent: Intent = intent(plan).map_err(|e| Refusal(e.to_string()))?;
        let path = intent.file();
        may_write(&path).map_err(|e| Refusal(format!("{} cannot be written: {e}", path.display())))
    }

    fn execute(
        &self,
        plan: &Value,
        _: &Target,
        hand: &mut Hand,
        watch: &Watch<'_>,
    ) -> Result<String, ActError> {
        let intent: Intent = intent(plan)?;
        let (count, place) = (intent.processes.len(), intent.directory.display());
        intent.switch(hand, true).map_err(|e| ActError::Failed(format!("cannot freeze {place}: {e}")))?;
        while !stands_still(intent.version(), &intent.directory)? {
            if let Some(why) = watch.sleep(LOOK_EVERY) {
                return Ok(format!(
                    "{place} is to stand still, and not all of its {count} processes do: {why}"
                ));
            }
        }
        Ok(format!("{place} stands still, with {count} processes"))
    }

    fn collides(&self, plan: &Value, other: &Value) -> bool {
        let of = |plan| intent::<Intent>(plan).ok().map(|i| i.directory);
        of(plan) == of(other)
    }

    fn undo(&self, plan: &Value, hand: &mut Hand) -> Result<Option<String>, ActError> {
        let intent: Intent = intent(plan)?;
        if !is_frozen(intent.version(), &intent.directory)? {
            return Ok(None);
        }
        match intent.switch(hand, false) {
            Ok(()) => Ok(Some(format!("thawed {}", intent.directory.display()))),
            // The group was removed meanwhile.
            Err(_) if !intent.directory.exists() => Ok(None),
            Err(e) => Err(ActError::Failed(format!("cannot thaw {}: {e}", intent.directory.display()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cgroup::control::Freezer;
    use crate::optimize::journal::History;
    use crate::optimize::observe::{Observation, TargetMemory};
    use crate::optimize::policy::Target;
    use serde_json::json;

    fn plan(target: &Target, freezer: Option<Freezer>, with: &Value) -> Result<Plan, String> {
        let mut before = Observation { target: Some(TargetMemory::default()), ..Observation::default() };
        before.target.as_mut().unwrap().facts.freezer = freezer;
        let scene = Scene {
            target,
            members: &[],
            before: &before,
            want_bytes: 1,
            with,
            labels: &std::collections::BTreeMap::default(),
            history: &History::default(),
        };
        Freeze.plan(&scene).map_err(|r| r.0)
    }

    fn batch(cgroup: &str) -> Target {
        Target { cgroup: Some(cgroup.into()), batch: true, ..Target::default() }
    }

    fn freezer(frozen: bool, processes: &[u32]) -> Freezer {
        let processes = processes.to_vec();
        Freezer { version: Version::V2, directory: "/g".into(), frozen, processes }
    }

    #[test]
    fn a_batch_group_is_frozen_for_half_a_minute_or_as_long_as_it_says() {
        let planned = plan(&batch("/b"), Some(freezer(false, &[7])), &Value::Null).unwrap();
        assert_eq!(planned.lease, Some(Duration::from_secs(30)));
        let planned = plan(&batch("/b"), Some(freezer(false, &[7])), &json!({ "lease": "2m" })).unwrap();
        assert_eq!(planned.lease, Some(Duration::from_mins(2)));
        for bad in [json!({ "lease": "6m" }), json!({ "lease": "0s" }), json!({ "leese": "1s" })] {
            assert!(Freeze.check(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn without_the_right_to_write_the_switch_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for (version, file) in [(2, "cgroup.freeze"), (1, "freezer.state")] {
            let plan = json!({"version": version, "directory": dir.path(), "processes": [7]});
            let permit = || Freeze.permit(&plan, &Host::default()).map_err(|r| r.0);
            assert!(permit().unwrap_err().contains(&format!("{file} cannot be written")));
            std::fs::write(dir.path().join(file), "").unwrap();
            assert_eq!(permit(), Ok(()));
        }
    }

    #[test]
    fn what_may_not_stand_still_is_refused() {
        let live = Target { batch: false, ..batch("/b") };
        for (target, freezer, says) in [
            (live, Some(freezer(false, &[7])), "batch"),
            (batch("/"), Some(freezer(false, &[7])), "of its own"),
            (batch("/b"), None, "no freezer"),
            (batch("/b"), Some(freezer(true, &[7])), "already"),
            (batch("/b"), Some(freezer(false, &[])), "no processes"),
            (batch("/b"), Some(freezer(false, &[0, 7])), "cannot be seen"),
        ] {
            let why = plan(&target, freezer, &Value::Null).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
    }
}
