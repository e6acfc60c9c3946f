//! The proactive mode: groups are kept at a small pressure by taking a little memory at a time, so that what they need
//! becomes visible.
//!
//! As senpai does (<https://github.com/facebookincubator/senpai>), with `memory.reclaim` instead of a lowered limit: what
//! is interrupted leaves nothing behind.

mod control;
mod drive;
mod phase;

pub(super) use drive::start;

use super::policy::Target;
use bytesize::ByteSize;
use serde::Deserialize;
use std::collections::HashSet;
use std::time::Duration;

/// The most of a group that one step takes.
const STEP_RATIO_MAX: f64 = 0.01;

/// A target whose control group is kept at a small pressure.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The target, one with a control group of version 2.
    pub target: String,
    /// The share of time (0 to 1) that some task of it may wait for memory.
    pub setpoint_ratio: f64,
    /// Time between two steps.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// The part of the group that one step takes at most; no more than a hundredth.
    pub step_ratio: f64,
    /// What the group is left with in any case, besides what memory.min and memory.low promise it.
    pub floor: ByteSize,
    /// Whether anonymous memory may go to swap as well.
    pub swap: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            target: String::new(),
            setpoint_ratio: 0.001,
            interval: Duration::from_secs(6),
            step_ratio: STEP_RATIO_MAX,
            floor: ByteSize::mib(64),
            swap: false,
        }
    }
}

/// What is wrong with these options, and where.
pub fn check(groups: &[Options], targets: &[Target]) -> Result<(), (String, String)> {
    let mut names = HashSet::new();
    for (i, group) in groups.iter().enumerate() {
        let error =
            |field: &str, why: &str| Err((format!("optimizer.proactive[{i}].{field}"), why.to_owned()));
        let target = targets.iter().find(|t| t.name == group.target);
        if target.and_then(|t| t.cgroup.as_deref()).is_none_or(|g| g.trim_matches('/').is_empty()) {
            return error(
                "target",
                "the name of one of optimizer.targets that has a `cgroup`, and not the root",
            );
        }
        if !names.insert(&group.target) {
            return error("target", "stands here twice");
        }
        if !(group.setpoint_ratio > 0.0 && group.setpoint_ratio <= 0.5) {
            return error("setpoint_ratio", "a share above 0 and up to 0.5, such as 0.001");
        }
        if !(group.step_ratio > 0.0 && group.step_ratio <= STEP_RATIO_MAX) {
            return error("step_ratio", "a share above 0 and up to 0.01");
        }
        if group.interval < Duration::from_secs(1) || group.interval > Duration::from_mins(10) {
            return error("interval", "from 1s to 10m");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_named_group_and_small_steps_are_allowed() {
        let target = |name: &str, cgroup: Option<&str>| Target {
            name: name.into(),
            cgroup: cgroup.map(Into::into),
            ..Target::default()
        };
        let targets = [target("a", Some("/a")), target("root", Some("/")), target("bare", None)];
        let on = |name: &str| Options { target: name.into(), ..Options::default() };
        assert_eq!(check(&[on("a")], &targets), Ok(()));
        let cases = [
            (vec![on("root")], "[0].target"),
            (vec![on("bare")], "[0].target"),
            (vec![on("a"), on("a")], "[1].target"),
            (vec![Options { step_ratio: 0.5, ..on("a") }], "[0].step_ratio"),
            (vec![Options { setpoint_ratio: f64::NAN, ..on("a") }], "[0].setpoint_ratio"),
            (vec![Options { interval: Duration::ZERO, ..on("a") }], "[0].interval"),
        ];
        for (groups, key) in cases {
            assert_eq!(check(&groups, &targets).unwrap_err().0, format!("optimizer.proactive{key}"));
        }
    }
}
