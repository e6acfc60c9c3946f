//! A brake on one control group: `memory.high` lowered for a time, so that the group gives back before it takes.
//!
//! Source: `Documentation/admin-guide/cgroup-v2.rst`. Version 1 has nothing like it: its only limit ends in kills.

use super::{ActError, Action, Explanation, Plan, Refusal, Scene, Target, Watch, intent, options};
use crate::host::hand::Hand;
use crate::host::{Host, may_write, read_once};
use crate::optimize::verify::Effect;
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most that one step takes from what the group holds, as a part of it.
const STEP_SHARE: u64 = 10;
/// The longest lease.
const LEASE_MAX: Duration = Duration::from_mins(1);
/// How long the write may reclaim before the run goes on without it. The brake holds from its first moment.
const DEADLINE: Duration = Duration::from_secs(2);
/// The kernel keeps whole pages; this is a multiple of every page's size.
const ROUND_BYTES: u64 = 64 << 10;

/// Lowers the target's `memory.high` for a time.
pub struct Squeeze;

/// What a ladder may say about it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    /// How long it holds, at most a minute.
    #[serde(with = "humantime_serde")]
    lease: Duration,
    /// It is never lower than this.
    floor: ByteSize,
}

impl Default for Options {
    fn default() -> Self {
        Self { lease: Duration::from_secs(30), floor: ByteSize::mib(32) }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Intent {
    directory: PathBuf,
    high_bytes: u64,
    /// As found; absent for `max`.
    before_bytes: Option<u64>,
}

impl Action for Squeeze {
    fn name(&self) -> &'static str {
        "squeeze"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            what: "lowers the target's memory.high for up to a minute, by at most a tenth of what it holds: the group gives back, and is slowed down while it grows",
            cost: "the group's tasks wait while they take more memory; the stalls stay within the group",
            capabilities: &[],
            needs: "control groups of version 2, and the right to write the group's memory.high: chown of that one file is enough",
            verified: "that it is set is its effect; what the group gives back and the machine gains counts besides",
            undone: "by itself: when its lease or the trouble is over, when Headroom ends, and at the next start after a crash; not if somebody else has changed memory.high meanwhile",
        }
    }

    fn effect(&self) -> Effect {
        Effect::Brakes
    }

    fn check(&self, with: &Value) -> Result<(), String> {
        let lease = options::<Options>(with)?.lease;
        if lease.is_zero() || lease > LEASE_MAX {
            return Err(format!("`lease` is above 0 and at most {LEASE_MAX:?}"));
        }
        Ok(())
    }

    fn plan(&self, scene: &Scene<'_>) -> Result<Plan, Refusal> {
        let refuse = |why: &str| Refusal(why.to_owned());
        let o: Options = options(scene.with).map_err(Refusal)?;
        let target = scene.before.target.as_ref().ok_or_else(|| refuse("the target is not there"))?;
        let group = target
            .cgroup
            .as_ref()
            .ok_or_else(|| refuse("the target has no control group with a memory controller"))?;
        if scene.target.cgroup.as_deref().is_none_or(|g| g.trim_matches('/').is_empty()) {
            return Err(refuse("the root group is everybody's memory"));
        }
        if group.version != 2 {
            return Err(refuse("version 1 of control groups has no brake, only a limit whose end is a kill"));
        }
        // A group that is held and held again would be lower each time. It may have the names of several targets.
        let held =
            |plan: &Value| intent::<Intent>(plan).is_ok_and(|i| i.directory == Path::new(&group.directory));
        if scene.history.standing.iter().any(held) {
            return Err(refuse("it is held already, until the lease is over"));
        }
        let floor = group.protected_bytes.max(o.floor.as_u64());
        let step = scene.want_bytes.min(group.current_bytes / STEP_SHARE);
        let high = group.current_bytes.saturating_sub(step).max(floor);
        let high = high.checked_next_multiple_of(ROUND_BYTES).unwrap_or(u64::MAX);
        if high >= group.current_bytes {
            return Err(Refusal(format!(
                "the group holds {}, and its floor is {}",
                ByteSize::b(group.current_bytes).display().iec(),
                ByteSize::b(floor).display().iec()
            )));
        }
        if group.high_bytes.is_some_and(|h| h <= high) {
            return Err(refuse("its memory.high is as low already"));
        }
        let intent = Intent {
            directory: PathBuf::from(&group.directory),
            high_bytes: high,
            before_bytes: group.high_bytes,
        };
        Ok(Plan::new(None, &intent)?.leased(o.lease.min(LEASE_MAX)))
    }

    fn permit(&self, plan: &Value, _: &Host) -> Result<(), Refusal> {
        let intent: Intent = intent(plan).map_err(|e| Refusal(e.to_string()))?;
        let path = intent.file();
        may_write(&path).map_err(|e| Refusal(format!("{} cannot be written: {e}", path.display())))
    }

    fn execute(&self, plan: &Value, _: &Target, hand: &mut Hand, _: &Watch<'_>) -> Result<String, ActError> {
        let intent: Intent = intent(plan)?;
        let (path, high) = (intent.file(), ByteSize::b(intent.high_bytes).display().iec());
        let failed = |e: &dyn std::fmt::Display| ActError::Failed(format!("{}: {e}", path.display()));
        let mut apart = hand
            .apart(&path)
            .map_err(|e| failed(&e))?
            .ok_or_else(|| failed(&"an earlier write has not returned"))?;
        let (file, text) = (path.clone(), intent.high_bytes.to_string());
        match apart.run(DEADLINE, move |hand| hand.write(&file, &text)) {
            Some(Ok(())) => Ok(format!("held at {high}")),
            Some(Err(e)) => Err(failed(&e)),
            // The kernel sets it first, and then reclaims down to it.
            None => Ok(format!(
                "held at {high}; the write still reclaims after {DEADLINE:?} and is left to end by itself"
            )),
        }
    }

    fn collides(&self, plan: &Value, other: &Value) -> bool {
        let of = |plan| intent::<Intent>(plan).ok().map(|i| i.directory);
        of(plan) == of(other)
    }

    fn undo(&self, plan: &Value, hand: &mut Hand) -> Result<Option<String>, ActError> {
        let intent: Intent = intent(plan)?;
        let path = intent.file();
        let Some(now) = read_once(&path)?.map(|t| t.trim().to_owned()) else { return Ok(None) };
        let before = intent.before_bytes.map_or_else(|| "max".to_owned(), |b| b.to_string());
        if now == before {
            return Ok(None);
        }
        if now != intent.high_bytes.to_string() {
            return Ok(Some(format!("memory.high is {now} by somebody else's doing, and stays so")));
        }
        hand.write(&path, &before).map_err(|e| ActError::Failed(format!("{}: {e}", path.display())))?;
        Ok(Some(format!("memory.high is {before} as before")))
    }
}

impl Intent {
    fn file(&self) -> PathBuf {
        self.directory.join("memory.high")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimize::action::scenes::Stage;
    use crate::optimize::observe::CgroupMemory;
    use serde_json::json;

    const MIB: u64 = 1 << 20;

    fn stage(change: impl FnOnce(&mut CgroupMemory)) -> Stage {
        let mut stage = Stage::group(2, 500 * MIB);
        change(stage.group_mut());
        stage
    }

    fn high(stage: &Stage) -> u64 {
        let plan = Squeeze.plan(&stage.scene()).unwrap();
        assert_eq!(plan.lease, Some(Duration::from_secs(30)));
        plan.intent["high_bytes"].as_u64().unwrap()
    }

    #[test]
    fn a_step_is_at_most_a_tenth_and_keeps_to_the_floor() {
        assert_eq!(high(&stage(|_| {})), 450 * MIB);
        let mut little = stage(|_| {});
        little.want_bytes = 8 * MIB;
        assert_eq!(high(&little), 492 * MIB);
        assert_eq!(high(&stage(|g| g.protected_bytes = 480 * MIB)), 480 * MIB);
        let mut floor = stage(|_| {});
        floor.with = json!({"floor": "470MiB"});
        assert_eq!(high(&floor), 470 * MIB);
    }

    #[test]
    fn it_is_refused_where_it_would_lower_nothing_or_would_not_be_put_back() {
        let refused = |stage: &Stage| Squeeze.plan(&stage.scene()).unwrap_err().0;
        assert!(refused(&stage(|g| g.protected_bytes = u64::MAX)).contains("floor"));
        assert!(refused(&stage(|g| g.current_bytes = 20 * MIB)).contains("floor is 32.0 MiB"));
        assert!(refused(&stage(|g| g.high_bytes = Some(450 * MIB))).contains("as low already"));
        assert!(refused(&stage(|g| g.version = 1)).contains("version 1"));
        let mut held = stage(|_| {});
        let plan = |directory: &str| json!({"directory": directory, "high_bytes": 1, "before_bytes": null});
        held.history.standing = vec![plan("/sys/fs/cgroup/other")];
        assert!(Squeeze.plan(&held.scene()).is_ok(), "another group's brake");
        // Whatever the name of the target with which it was held.
        held.history.standing.push(plan("/sys/fs/cgroup/shop"));
        assert!(refused(&held).contains("held already"));
        let mut root = stage(|_| {});
        root.target.cgroup = Some("/".into());
        assert!(refused(&root).contains("everybody"));
    }

    #[test]
    fn the_lease_has_a_limit() {
        assert_eq!(Squeeze.check(&json!({"lease": "1m"})), Ok(()));
        for bad in [json!({"lease": "61s"}), json!({"lease": "0s"}), json!({"leese": "1s"})] {
            assert!(Squeeze.check(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_longer_lease_from_wherever_is_cut() {
        let mut stage = stage(|_| {});
        stage.with = json!({"lease": "10h"});
        assert_eq!(Squeeze.plan(&stage.scene()).unwrap().lease, Some(LEASE_MAX));
    }

    #[test]
    fn what_somebody_else_has_set_meanwhile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("memory.high");
        // Values of the same length: a write to a file that is no kernel file leaves the rest of it.
        let plan = json!({"directory": dir.path(), "high_bytes": 471_859_200, "before_bytes": 524_288_000});
        let mut hand = Hand::new(Host::default());
        assert_eq!(Squeeze.undo(&plan, &mut hand).unwrap(), None, "the group has gone");
        for (now, then) in
            [("471859200\n", "524288000\n"), ("524288000\n", "524288000\n"), ("max\n", "max\n")]
        {
            std::fs::write(&file, now).unwrap();
            let note = Squeeze.undo(&plan, &mut hand).unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), then);
            assert_eq!(note.is_some_and(|n| n.contains("somebody else")), now == "max\n");
        }
    }
}
