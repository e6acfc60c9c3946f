//! One process of the target, or its whole control group, ends: SIGTERM, then SIGKILL, and its memory is taken back at once.
//!
//! Sources: pidfd_send_signal(2), process_mrelease(2), `Documentation/admin-guide/cgroup-v2.rst` (cgroup.kill,
//! memory.oom.group).

mod choice;
mod deed;

use super::{
    ActError, Action, Explanation, Limit, Plan, Refusal, Scene, Target, Wants, Watch, guard, intent, options,
};
use crate::host::Host;
use crate::host::capability;
use crate::host::hand::Hand;
use crate::optimize::verify::Effect;
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// The longest that a process may take to end by itself.
const GRACE_MAX: Duration = Duration::from_secs(5);
/// Growth is told from two looks at least so far apart, and at most so far.
const OBSERVE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Ends a process that grows.
pub struct Kill;

/// What a ladder may say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    /// Between SIGTERM and SIGKILL.
    #[serde(with = "humantime_serde")]
    grace: Duration,
    /// Names of processes (comm) that are taken before others.
    prefer: Vec<String>,
    /// Names of processes that are taken only if there is no other.
    avoid: Vec<String>,
    /// The control group of the process is one thing: all of it ends, or nothing.
    whole_group: bool,
    /// Over which time growth is measured, at least.
    #[serde(with = "humantime_serde")]
    observe: Duration,
    /// What counts as growth, in a second.
    min_growth: ByteSize,
    /// Only what grows is ended; without it, where nothing grows, the largest.
    only_growing: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            grace: GRACE_MAX,
            prefer: Vec::new(),
            avoid: Vec::new(),
            whole_group: false,
            observe: Duration::from_secs(1),
            min_growth: ByteSize::mib(1),
            only_growing: true,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Intent {
    /// Number, start and name of each process that is to end.
    processes: Vec<(u32, u64, String)>,
    /// The group, if all of it is to end.
    group: Option<PathBuf>,
    grace_millis: u64,
    /// Why this one.
    why: String,
}

impl Action for Kill {
    fn name(&self) -> &'static str {
        "kill"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            what: "ends the one process of the target that grows most for its size (growth × size; first those of `prefer`, last those of `avoid` or with a negative oom_score_adj), or its whole control group (`whole_group`, or memory.oom.group): SIGTERM, after `grace` (5s) SIGKILL; at most 3 times in 10 minutes",
            cost: "the process and what it had not saved are lost",
            capabilities: &["CAP_KILL", "CAP_SYS_PTRACE"],
            needs: "`guards.allow_kill: true`; CAP_KILL for other users' processes, and CAP_SYS_PTRACE to take their memory back at once (Linux 5.15)",
            verified: "the target, with whoever took the place of the ended, must hold less, and the machine's available memory rise",
            undone: "cannot be undone",
        }
    }

    fn effect(&self) -> Effect {
        Effect::Ends
    }

    fn check(&self, with: &Value) -> Result<(), String> {
        let o = options::<Options>(with)?;
        if o.grace > GRACE_MAX {
            return Err("grace: at most 5s".to_owned());
        }
        if !(OBSERVE.0..=OBSERVE.1).contains(&o.observe) {
            return Err("observe: from 100ms to 10s".to_owned());
        }
        if o.min_growth.as_u64() == 0 {
            return Err("min_growth: more than 0; `only_growing: false` takes what does not grow".to_owned());
        }
        Ok(())
    }

    fn wants(&self, with: &Value) -> Wants {
        let o = options::<Options>(with).unwrap_or_default();
        Wants { facts: true, growth: Some(o.observe.clamp(OBSERVE.0, OBSERVE.1)) }
    }

    fn allowed(&self, guards: &guard::Options) -> bool {
        guards.allow_kill
    }

    fn limit(&self) -> Option<Limit> {
        Some(Limit { most: 3, within: Duration::from_mins(10) })
    }

    fn plan(&self, scene: &Scene<'_>) -> Result<Plan, Refusal> {
        let o: Options = options(scene.with).map_err(Refusal)?;
        let target = scene.before.target.as_ref();
        let facts = &target.ok_or_else(|| Refusal("the target is not there".to_owned()))?.facts;
        let choice = choice::choose(facts, &o)?;
        let grace_millis = u64::try_from(o.grace.min(GRACE_MAX).as_millis()).unwrap_or(0);
        let bytes = choice.size_bytes;
        let processes = choice.processes.iter().map(|p| (p.pid, p.start_ticks, p.comm.clone())).collect();
        Plan::new(Some(bytes), &Intent { processes, group: choice.group, grace_millis, why: choice.why })
    }

    fn permit(&self, plan: &Value, host: &Host) -> Result<(), Refusal> {
        let intent: Intent = intent(plan).map_err(|e| Refusal(e.to_string()))?;
        if capability::has(host, capability::KILL) {
            return Ok(());
        }
        match intent.processes.iter().find(|(pid, ..)| capability::is_foreign(host, *pid)) {
            Some((pid, ..)) => {
                Err(Refusal(format!("process {pid} is another user's, and CAP_KILL is missing")))
            }
            None => Ok(()),
        }
    }

    fn execute(
        &self,
        plan: &Value,
        _: &Target,
        hand: &mut Hand,
        watch: &Watch<'_>,
    ) -> Result<String, ActError> {
        deed::end(&intent(plan)?, hand, watch)
    }
}
