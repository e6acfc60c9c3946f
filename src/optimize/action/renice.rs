//! The target's processes get less of processors and disks for a while, or are first in line for the kernel's killer.
//!
//! Only ever milder: nothing gets a priority above the one that it has. Sources: setpriority(2), ioprio_set(2),
//! `Documentation/filesystems/proc.rst` (oom_score_adj), `Documentation/admin-guide/cgroup-v2.rst` (cpu.weight).

mod effects;

use super::{ActError, Action, Explanation, Plan, Refusal, Scene, Target, Wants, Watch, intent, options};
use crate::host::Host;
use crate::host::capability;
use crate::host::cgroup::Version;
use crate::host::cgroup::control::CpuShare;
use crate::host::hand::Hand;
use crate::host::task::{IO_IDLE, IO_LOWEST, IO_REAL_TIME, Thread};
use crate::optimize::observe::facts::{ProcessFacts, THREADS_MAX};
use crate::optimize::verify::Effect;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

const LEASE_MAX: Duration = Duration::from_hours(1);
/// A nice value that is well below everybody else's, if nothing else is asked for.
const NICE_DEFAULT: i32 = 10;
/// Shares of version 1 that are as much as a weight of 100 of version 2.
const SHARES_OF_100: u64 = 1024;
/// The least that version 1 takes.
const SHARES_MIN: u64 = 2;

/// Takes priority from the target's processes.
pub struct Renice;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    /// The nice value, 1 to 19.
    nice: Option<i32>,
    /// The I/O priority.
    io: Option<Io>,
    /// The group's share of the processors, 1 to 10000; 100 is the kernel's own default.
    cpu_weight: Option<u64>,
    /// How the kernel's killer sees them, 1 to 1000.
    oom_score_adj: Option<i32>,
    #[serde(with = "humantime_serde")]
    lease: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { nice: None, io: None, cpu_weight: None, oom_score_adj: None, lease: Duration::from_mins(5) }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Io {
    /// When nobody else wants any.
    Idle,
    /// As the last of those that share it.
    Lowest,
}

/// What is to be set.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Wanted {
    nice: Option<i32>,
    io: Option<u16>,
    oom_score_adj: Option<i32>,
}

/// What is set, and what was there before, of all that has it.
#[derive(Debug, Serialize, Deserialize)]
struct Intent {
    wanted: Wanted,
    /// When it was looked: processes that began later have inherited what was set.
    at_ticks: u64,
    processes: Vec<Process>,
    group: Option<Group>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Process {
    pid: u32,
    start_ticks: u64,
    oom_score_adj: Option<i32>,
    threads: Vec<Thread>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Group {
    file: PathBuf,
    before: u64,
    set: u64,
}

impl Action for Renice {
    fn name(&self) -> &'static str {
        "renice"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            what: "takes priority from the target's processes for a while: `nice` (10 if nothing is given), `io` (idle or lowest), `cpu_weight` of its group, `oom_score_adj`; `lease` (5m, at most 1h)",
            cost: "the target runs slower while others want the processors or the disk; with oom_score_adj it is the kernel's first choice",
            capabilities: &["CAP_SYS_NICE", "CAP_DAC_OVERRIDE"],
            needs: "CAP_SYS_NICE for nice and io, without which they could not be undone; CAP_DAC_OVERRIDE for oom_score_adj of other users' processes; for cpu_weight a `cgroup` whose cpu.weight (cpu.shares) may be written",
            verified: "the kernel takes each change or the step fails; a policy with `cpu_busy_above_ratio` measures whether others are in trouble still",
            undone: "each value is put back to what it was, thread by thread, where it is still the one that was set",
        }
    }

    fn effect(&self) -> Effect {
        Effect::Brakes
    }

    fn check(&self, with: &Value) -> Result<(), String> {
        let o = options::<Options>(with)?;
        let out = |name: &str, what: &str| Err(format!("{name}: {what}"));
        if o.nice.is_some_and(|n| !(1..=19).contains(&n)) {
            return out("nice", "from 1 to 19: nothing gets more than it has");
        }
        if o.cpu_weight.is_some_and(|w| !(1..=10_000).contains(&w)) {
            return out("cpu_weight", "from 1 to 10000");
        }
        if o.oom_score_adj.is_some_and(|a| !(1..=1000).contains(&a)) {
            return out("oom_score_adj", "from 1 to 1000: nothing is protected by this");
        }
        if o.lease.is_zero() || o.lease > LEASE_MAX {
            return out("lease", "more than 0s, and at most 1h");
        }
        Ok(())
    }

    fn wants(&self, _: &Value) -> Wants {
        Wants { facts: true, growth: None }
    }

    fn plan(&self, scene: &Scene<'_>) -> Result<Plan, Refusal> {
        let refuse = |why: &str| Refusal(why.to_owned());
        let o: Options = options(scene.with).map_err(Refusal)?;
        let facts = &scene.before.target.as_ref().ok_or_else(|| refuse("the target is not there"))?.facts;
        let alone = o.io.is_none() && o.cpu_weight.is_none() && o.oom_score_adj.is_none();
        let wanted = Wanted {
            nice: o.nice.or(alone.then_some(NICE_DEFAULT)),
            io: o.io.map(|io| if matches!(io, Io::Idle) { IO_IDLE } else { IO_LOWEST }),
            oom_score_adj: o.oom_score_adj,
        };
        let group = match (o.cpu_weight, &facts.cpu) {
            (None, _) => None,
            (Some(_), None) => {
                return Err(refuse("the target has no control group with a share of processors"));
            }
            (Some(_), _) if scene.target.cgroup.as_deref().is_none_or(|g| g.trim_matches('/').is_empty()) => {
                return Err(refuse("the root group's share is everybody's"));
            }
            (Some(weight), Some(share)) => less(share, weight),
        };
        let processes: Vec<Process> = facts.processes.iter().filter_map(|p| process(p, wanted)).collect();
        if processes.is_empty() && group.is_none() {
            return Err(refuse("the target's processes have no more priority than that"));
        }
        let threads: usize = processes.iter().map(|p| p.threads.len()).sum();
        if threads > THREADS_MAX {
            return Err(Refusal(format!(
                "more than {THREADS_MAX} threads; give the target a cgroup and use cpu_weight"
            )));
        }
        let intent = Intent { wanted, at_ticks: facts.at_ticks, processes, group };
        Ok(Plan::new(None, &intent)?.leased(o.lease.min(LEASE_MAX)))
    }

    fn permit(&self, plan: &Value, host: &Host) -> Result<(), Refusal> {
        let intent: Intent = intent(plan).map_err(|e| Refusal(e.to_string()))?;
        let priorities = intent.wanted.nice.is_some() || intent.wanted.io.is_some();
        if priorities && !intent.processes.is_empty() && !capability::has(host, capability::SYS_NICE) {
            return Err(Refusal("CAP_SYS_NICE is missing: what is taken could not be given back".to_owned()));
        }
        Ok(())
    }

    fn execute(
        &self,
        plan: &Value,
        _: &Target,
        hand: &mut Hand,
        watch: &Watch<'_>,
    ) -> Result<String, ActError> {
        effects::set(&intent(plan)?, hand, watch)
    }

    fn collides(&self, plan: &Value, other: &Value) -> bool {
        let (Ok(plan), Ok(other)) = (intent::<Intent>(plan), intent::<Intent>(other)) else { return true };
        // What began since may have inherited what the earlier one had set.
        let known = |p: &Process| {
            let same = |q: &Process| (q.pid, q.start_ticks) == (p.pid, p.start_ticks);
            p.start_ticks >= plan.at_ticks || plan.processes.iter().any(same)
        };
        let group = plan.group.zip(other.group).is_some_and(|(a, b)| a.file == b.file);
        group || other.processes.iter().any(known)
    }

    fn undo(&self, plan: &Value, hand: &mut Hand) -> Result<Option<String>, ActError> {
        effects::put_back(&intent(plan)?, hand)
    }
}

/// The group's new share, if it is less than it has.
fn less(share: &CpuShare, weight: u64) -> Option<Group> {
    let set = match share.version {
        Version::V2 => weight,
        Version::V1 => (weight * SHARES_OF_100 / 100).max(SHARES_MIN),
    };
    (set < share.value).then(|| Group { file: share.file.clone(), before: share.value, set })
}

/// What a process has, if it would lose anything. All of its threads, so that those that begin later can be told.
fn process(p: &ProcessFacts, wanted: Wanted) -> Option<Process> {
    if p.kernel_thread || p.pid == 1 || matches!(p.state, 'Z' | 'X' | 'x') {
        return None;
    }
    let adj = p.oom_score_adj.filter(|&a| wanted.oom_score_adj.is_some_and(|w| a < w) && a > -1000);
    let any = adj.is_some() || p.threads.iter().any(|t| nicer(t, wanted) || io_milder(t, wanted));
    any.then(|| Process {
        pid: p.pid,
        start_ticks: p.start_ticks,
        oom_score_adj: adj,
        threads: if wanted.nice.is_some() || wanted.io.is_some() { p.threads.clone() } else { Vec::new() },
    })
}

/// Whether the wanted nice value takes anything from a thread.
fn nicer(t: &Thread, wanted: Wanted) -> bool {
    wanted.nice.is_some_and(|nice| t.nice < nice)
}

/// Whether the wanted I/O priority takes anything from a thread. Within a class, a greater level is less.
fn io_milder(t: &Thread, wanted: Wanted) -> bool {
    let special = |io: u16| io >> 13 == IO_REAL_TIME >> 13;
    wanted.io.zip(t.io).is_some_and(|(set, has)| has < set && !special(has))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimize::journal::History;
    use crate::optimize::observe::facts::Facts;
    use crate::optimize::observe::{Observation, TargetMemory};
    use crate::optimize::policy::Target;
    use serde_json::json;

    fn plan(facts: Facts, with: &Value) -> Result<Intent, String> {
        assert_eq!(Renice.check(with), Ok(()));
        let memory = TargetMemory { facts, ..TargetMemory::default() };
        let before = Observation { target: Some(memory), ..Observation::default() };
        let target = Target { cgroup: Some("/g".into()), ..Target::default() };
        let scene = Scene {
            target: &target,
            members: &[],
            before: &before,
            want_bytes: 1,
            with,
            labels: &std::collections::BTreeMap::default(),
            history: &History::default(),
        };
        Renice.plan(&scene).map(|p| intent(&p.intent).unwrap()).map_err(|r| r.0)
    }

    fn one(nice: i32, io: u16, adj: i32) -> Facts {
        let thread = Thread { tid: 7, start_ticks: 1, nice, io: Some(io) };
        let process = ProcessFacts {
            pid: 7,
            state: 'S',
            oom_score_adj: Some(adj),
            threads: vec![thread],
            ..ProcessFacts::default()
        };
        Facts { processes: vec![process], ..Facts::default() }
    }

    #[test]
    fn without_options_it_is_the_nice_value_and_nothing_gets_more_than_it_has() {
        let made = plan(one(0, 0, 0), &Value::Null).unwrap();
        assert_eq!((made.wanted.nice, made.wanted.io, made.wanted.oom_score_adj), (Some(10), None, None));
        assert_eq!((made.processes[0].threads[0].nice, made.processes[0].oom_score_adj), (0, None));
        assert!(plan(one(10, 0, 0), &Value::Null).unwrap_err().contains("no more priority"));
        assert!(plan(one(0, IO_IDLE, 0), &json!({ "io": "lowest" })).is_err());
        assert!(plan(one(0, IO_REAL_TIME, 0), &json!({ "io": "idle" })).is_err());
        assert!(plan(one(0, 2 << 13 | 4, 0), &json!({ "io": "lowest" })).is_ok());
        assert!(plan(one(0, 0, 500), &json!({ "oom_score_adj": 400 })).is_err());
        assert!(plan(one(0, 0, -1000), &json!({ "oom_score_adj": 400 })).is_err(), "never what is exempt");
        let made = plan(one(0, 0, -5), &json!({ "oom_score_adj": 400 })).unwrap();
        assert_eq!((made.processes[0].oom_score_adj, made.processes[0].threads.len()), (Some(-5), 0));
    }

    #[test]
    fn a_groups_share_is_only_ever_lowered_and_version_1_counts_otherwise() {
        let with = json!({ "cpu_weight": 20 });
        let facts = |version, value| Facts {
            cpu: Some(CpuShare { file: "/g/x".into(), version, value }),
            ..Facts::default()
        };
        assert_eq!(plan(facts(Version::V2, 100), &with).unwrap().group.unwrap().set, 20);
        assert_eq!(plan(facts(Version::V1, 1024), &with).unwrap().group.unwrap().set, 204);
        assert!(plan(facts(Version::V2, 20), &with).is_err());
        assert!(plan(Facts::default(), &with).unwrap_err().contains("no control group"));
    }

    #[test]
    fn what_is_on_the_same_processes_or_share_collides() {
        let plan = |pid, start, at, file: Option<&str>| {
            let process = json!({"pid": pid, "start_ticks": start, "oom_score_adj": null, "threads": []});
            let wanted = json!({"nice": 5, "io": null, "oom_score_adj": null});
            let group = file.map(|file| json!({"file": file, "before": 100, "set": 10}));
            json!({"wanted": wanted, "at_ticks": at, "processes": [process], "group": group})
        };
        let earlier = plan(7, 3, 50, Some("/a"));
        for (other, collides) in [
            (plan(7, 3, 90, None), true),
            (plan(7, 4, 90, None), false),
            (plan(8, 60, 90, None), true),
            (plan(8, 4, 90, Some("/b")), false),
            (plan(8, 4, 90, Some("/a")), true),
        ] {
            assert_eq!(Renice.collides(&earlier, &other), collides, "{other}");
        }
    }

    #[test]
    fn wrong_options_are_found_at_load() {
        for bad in [
            json!({ "nice": 0 }),
            json!({ "nice": 20 }),
            json!({ "cpu_weight": 0 }),
            json!({ "oom_score_adj": -1 }),
            json!({ "lease": "2h" }),
            json!({ "io": "fast" }),
            json!({ "nicer": 1 }),
        ] {
            assert!(Renice.check(&bad).is_err(), "{bad}");
        }
    }
}
