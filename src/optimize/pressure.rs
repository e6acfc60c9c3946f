//! The second way in: the kernel's own stall totals, polled, make runs in milliseconds, without any alert.
//!
//! Four threads, once there are rules: `pressure` polls and decides (it allocates nothing and waits for nobody), `desk`
//! writes the journal and admits, `pressure-run` carries out, `scene` looks up the targets' processes ahead while trouble
//! is near. Nothing is started, forked or searched for between a stall and its action.

mod alarm;
mod board;
mod desk;
pub mod metrics;
pub mod pace;
pub mod phases;
mod poll;
mod scene;
pub mod watch;

pub use alarm::Alarm;
pub use board::Board;
pub(super) use poll::start;

use super::policy::{Rung, Target};
use super::request::{Origin, Request};
use crate::host::stall::Kind;
use bytesize::ByteSize;
use serde::Deserialize;
use std::collections::HashSet;
use std::time::Duration;

/// The most rules: each costs a read in every poll.
pub const RULES_MAX: usize = 64;
/// The shortest time between two polls.
const FAST_MIN: Duration = Duration::from_millis(5);
/// The windows that a rule may have.
const WINDOWS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_mins(1));

/// What is polled, how often, and what follows.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Time between two polls while there is room.
    #[serde(with = "humantime_serde")]
    pub slow: Duration,
    /// Time between two polls while trouble is near.
    #[serde(with = "humantime_serde")]
    pub fast: Duration,
    /// Trouble is near if, at the present rate, nothing will be left within this time.
    #[serde(with = "humantime_serde")]
    pub exhaustion: Duration,
    /// What leads to which ladder on which target.
    pub rules: Vec<Rule>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            slow: Duration::from_millis(250),
            fast: Duration::from_millis(20),
            exhaustion: Duration::from_secs(30),
            rules: Vec::new(),
        }
    }
}

/// A rule from stalls to actions, configured like an alert.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Its name in the record, where an alert's name stands, and in metrics.
    pub name: String,
    /// The control group whose stalls count, as a path from the root of its hierarchy; the whole machine if not given.
    pub cgroup: Option<String>,
    /// Whether stalls of some tasks count, or only those of all.
    pub kind: Kind,
    /// So much stall within a window is trouble.
    #[serde(with = "humantime_serde")]
    pub stall: Option<Duration>,
    /// The window.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// Less than this share (0 to 1) of the machine's memory available is trouble.
    pub available_below_ratio: Option<f64>,
    /// Where both are given: whether both must be so. If not, either is enough.
    pub both: bool,
    /// The target, one of those that the configuration names.
    pub target: String,
    /// The actions, mildest first; those of the policy that leads to the target if there are none.
    pub ladder: Vec<Rung>,
    /// Time between a rung that was not enough and the next, where the rung does not say.
    #[serde(with = "humantime_serde")]
    pub wait: Duration,
    /// What each rung is asked for; a tenth of what the target holds if not given.
    pub bytes: Option<ByteSize>,
    /// How long the trouble must be away to be over; then, and not before, a next one makes a next run.
    #[serde(with = "humantime_serde")]
    pub calm: Duration,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            name: String::new(),
            cgroup: None,
            kind: Kind::Some,
            stall: None,
            window: Duration::from_secs(1),
            available_below_ratio: None,
            both: false,
            target: String::new(),
            ladder: Vec::new(),
            wait: Duration::ZERO,
            bytes: None,
            calm: Duration::from_secs(10),
        }
    }
}

impl Rule {
    fn limits(&self) -> watch::Limits {
        watch::Limits {
            stall: self.stall,
            window: self.window,
            available_below: self.available_below_ratio,
            all: self.both,
            calm: self.calm,
        }
    }

    /// The wish for a run.
    fn request(&self) -> Request {
        let waits = |rung: &Rung| Rung { wait: rung.wait.or(Some(self.wait)), ..rung.clone() };
        Request {
            origin: Origin::Pressure,
            name: self.name.clone(),
            target: self.target.clone(),
            bytes: self.bytes.map_or(0, |b| b.as_u64()),
            ladder: self.ladder.iter().map(waits).collect(),
            dry_run: false,
        }
    }

    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let stall = self.stall.unwrap_or(self.window);
        if self.name.is_empty() {
            return Err(("name", "a name, which the record shows"));
        }
        if self.stall.is_none() && self.available_below_ratio.is_none() {
            return Err(("stall", "give `stall`, `available_below_ratio` or both"));
        }
        if self.window < WINDOWS.0 || self.window > WINDOWS.1 {
            return Err(("window", "from 100ms to 1m"));
        }
        if stall.is_zero() || stall > self.window {
            return Err(("stall", "more than nothing, and no more than the window"));
        }
        if self.available_below_ratio.is_some_and(|r| !(0.0..=1.0).contains(&r)) {
            return Err(("available_below_ratio", "a share from 0 to 1, such as 0.05"));
        }
        if self
            .cgroup
            .as_deref()
            .is_some_and(|g| !g.starts_with('/') || g.split('/').any(|part| part == ".."))
        {
            return Err(("cgroup", "a path from the root of the hierarchy, without `..`"));
        }
        Ok(())
    }
}

impl Options {
    /// What is wrong with these options, and where.
    pub fn check(&self, targets: &[Target]) -> Result<(), (String, String)> {
        let error = |key: &str, why: &str| Err((format!("optimizer.pressure.{key}"), why.to_owned()));
        if self.fast < FAST_MIN || self.slow < self.fast {
            return error("fast", "at least 5ms, and no more than `slow`");
        }
        if self.rules.len() > RULES_MAX {
            return error("rules", "at most 64");
        }
        let mut names = HashSet::new();
        for (i, rule) in self.rules.iter().enumerate() {
            let key = |field: &str| format!("rules[{i}].{field}");
            rule.check().or_else(|(field, why)| error(&key(field), why))?;
            if !names.insert(&rule.name) {
                return error(&key("name"), "is the name of another rule");
            }
            if !targets.iter().any(|t| t.name == rule.target) {
                return error(&key("target"), "the name of one of optimizer.targets");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_cannot_work_is_refused_with_its_key() {
        let good = Rule {
            name: "a".into(),
            target: "t".into(),
            stall: Some(Duration::from_millis(100)),
            ..Rule::default()
        };
        let targets = [Target { name: "t".into(), ..Target::default() }];
        let check = |rules: Vec<Rule>| Options { rules, ..Options::default() }.check(&targets);
        assert_eq!(check(vec![good.clone()]), Ok(()));
        let cases: [(&str, Rule); 6] = [
            ("rules[0].stall", Rule { stall: None, ..good.clone() }),
            ("rules[0].stall", Rule { stall: Some(Duration::from_secs(2)), ..good.clone() }),
            ("rules[0].window", Rule { window: Duration::ZERO, ..good.clone() }),
            ("rules[0].cgroup", Rule { cgroup: Some("/a/../b".into()), ..good.clone() }),
            (
                "rules[0].available_below_ratio",
                Rule { available_below_ratio: Some(f64::NAN), ..good.clone() },
            ),
            ("rules[0].target", Rule { target: "x".into(), ..good.clone() }),
        ];
        for (key, rule) in cases {
            assert_eq!(check(vec![rule]).unwrap_err().0, format!("optimizer.pressure.{key}"));
        }
        assert_eq!(
            check(vec![good.clone(), good.clone()]).unwrap_err().0,
            "optimizer.pressure.rules[1].name"
        );
        let fast = Options { fast: Duration::from_millis(300), ..Options::default() };
        assert_eq!(fast.check(&[]).unwrap_err().0, "optimizer.pressure.fast");
    }

    #[test]
    fn the_wish_carries_ladder_and_waits() {
        let wait = Duration::from_secs(2);
        let own = Rung { wait: Some(Duration::ZERO), ..Rung::from("b") };
        let rule = Rule { ladder: vec!["a".into(), own], wait, ..Rule::default() };
        let waits: Vec<_> = rule.request().ladder.iter().map(|r| r.wait).collect();
        assert_eq!(waits, [Some(wait), Some(Duration::ZERO)]);
        assert_eq!((rule.request().origin, rule.request().bytes), (Origin::Pressure, 0));
    }
}
