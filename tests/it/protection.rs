//! No plan of any action touches a protected process: random machines, all actions, the guard as the executor asks it.

use headroom::host::Host;
use headroom::host::cgroup::Version;
use headroom::host::cgroup::control::{CpuShare, Freezer, Unit};
use headroom::host::group::{Grouping, Rule};
use headroom::host::task::Thread;
use headroom::optimize::action::{Action, REGISTRY, Scene};
use headroom::optimize::guard::{self, protected};
use headroom::optimize::observe::facts::{Facts, ProcessFacts};
use headroom::optimize::observe::{CgroupMemory, Member, Observation, Observer, TargetMemory};
use headroom::optimize::policy::{Hook, Target};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;
const COMMS: [&str; 9] =
    ["cache", "worker", "leaker", "sshd", "systemd", "prometheus-aler", "headroom", "kthreadd", "dockerd"];
/// Groups and their parents, by place: `/a/x` is below `/a`.
const GROUPS: [&str; 5] = ["", "/a", "/a/x", "/b", "/b/y"];

/// A process of a random machine. Groups are places in [`GROUPS`], in the hierarchy of memory and in that of version 2.
#[derive(Clone, Debug)]
struct Process {
    pid: u32,
    comm: &'static str,
    kernel: bool,
    memory: usize,
    unified: usize,
    in_target: bool,
    adj: i32,
    state: char,
    mib: u64,
    growth: u64,
}

/// A random machine.
#[derive(Clone, Debug)]
struct World {
    processes: Vec<Process>,
    own: Vec<u32>,
    whole: Vec<bool>,
    /// The target's control group, if it has one; and whether it is a process group (too).
    cgroup: Option<usize>,
    by_name: bool,
}

impl World {
    fn is_below(group: usize, top: usize) -> bool {
        GROUPS[group] == GROUPS[top] || GROUPS[group].starts_with(&format!("{}/", GROUPS[top]))
    }

    /// The processes of a group and below, in the hierarchy of memory or that of version 2.
    fn inside(&self, top: usize, unified: bool) -> Vec<u32> {
        let place = |p: &Process| if unified { p.unified } else { p.memory };
        self.processes.iter().filter(|p| Self::is_below(place(p), top)).map(|p| p.pid).collect()
    }

    fn is_protected(&self, pid: u32) -> bool {
        let Some(p) = self.processes.iter().find(|p| p.pid == pid) else { return true };
        let named = matches!(p.comm, "sshd" | "systemd" | "prometheus-aler" | "headroom" | "dockerd");
        pid == 1 || p.kernel || named || self.own.contains(&pid)
    }

    fn target(&self) -> Target {
        Target {
            name: "t".into(),
            process_group: self.by_name.then(|| "held".into()),
            cgroup: self.cgroup.map(|g| if g == 0 { "/".to_owned() } else { GROUPS[g].to_owned() }),
            hook: Some(Hook {
                url: Some("http://127.0.0.1:1/".into()),
                timeout: std::time::Duration::ZERO,
                ..Hook::default()
            }),
            batch: true,
            ..Target::default()
        }
    }

    fn member(p: &Process) -> Member {
        Member {
            pid: p.pid,
            start_ticks: u64::from(p.pid),
            comm: p.comm.into(),
            kernel_thread: p.kernel,
            anon_bytes: Some(p.mib * MIB),
            container: None,
        }
    }

    /// What the observer would say.
    fn seen(&self) -> (Vec<Member>, Vec<Member>, Observation) {
        let of = |pids: BTreeSet<u32>| -> Vec<Member> {
            self.processes.iter().filter(|p| pids.contains(&p.pid)).map(Self::member).collect()
        };
        let group = |unified| self.cgroup.map(|g| self.inside(g, unified)).unwrap_or_default();
        let members: BTreeSet<u32> = if self.by_name {
            self.processes.iter().filter(|p| p.in_target).map(|p| p.pid).collect()
        } else {
            group(false).into_iter().collect()
        };
        let touched = members.iter().copied().chain(group(false)).chain(group(true)).collect();
        let units: Vec<Unit> = (0..GROUPS.len())
            .map(|g| Unit { directory: unified(g), whole: self.whole[g], processes: self.inside(g, true) })
            .collect();
        let thread = |p: &Process| Thread { tid: p.pid, start_ticks: u64::from(p.pid), nice: 0, io: Some(0) };
        let facts = self.processes.iter().filter(|p| members.contains(&p.pid)).map(|p| ProcessFacts {
            pid: p.pid,
            start_ticks: u64::from(p.pid),
            comm: p.comm.into(),
            kernel_thread: p.kernel,
            state: p.state,
            size_bytes: p.mib * MIB,
            growth_bytes: Some(p.growth * MIB),
            oom_score_adj: Some(p.adj),
            unit: (p.unified > 0).then_some(p.unified),
            threads: vec![thread(p)],
        });
        let frozen = self.cgroup.map(|g| (unified(g), self.inside(g, true)));
        let facts = Facts {
            at_ticks: 1 << 40,
            processes: facts.collect(),
            units,
            freezer: frozen.map(|(directory, processes)| Freezer {
                version: Version::V2,
                directory,
                frozen: false,
                processes,
            }),
            cpu: self.cgroup.map(|g| CpuShare {
                file: unified(g).join("cpu.weight"),
                version: Version::V2,
                value: 100,
            }),
            audience: Vec::new(),
        };
        let memory = self.cgroup.map(|g| CgroupMemory {
            version: 2,
            directory: format!("/memory{}", GROUPS[g]),
            current_bytes: 900 * MIB,
            limit_bytes: None,
            distance_bytes: None,
            anon_bytes: Some(300 * MIB),
            file_bytes: Some(600 * MIB),
            inactive_file_bytes: Some(600 * MIB),
            high_bytes: None,
            pressure: None,
            refaults: [None, None],
            protected_bytes: 0,
        });
        let mut before = Observation::default();
        before.machine.total_bytes = 8 << 30;
        before.machine.available_bytes = 100 * MIB;
        before.machine.swap_free_bytes = 1 << 30;
        let processes = members.len() as u64;
        before.target = Some(TargetMemory {
            bytes: 900 * MIB,
            processes,
            cgroup: memory,
            facts,
            ..TargetMemory::default()
        });
        (of(members), of(touched), before)
    }

    /// All processes that a plan names, by number or by a directory that is their group's.
    fn named(&self, plan: &Value) -> BTreeSet<u32> {
        let mut out = BTreeSet::new();
        let pids = plan["processes"].as_array().map(Vec::as_slice).unwrap_or_default();
        for pid in pids {
            let number = pid.as_u64().or(pid[0].as_u64()).or(pid["pid"].as_u64()).unwrap();
            out.insert(u32::try_from(number).unwrap());
        }
        for place in
            [&plan["directory"], &plan["group"], &plan["group"]["file"]].into_iter().filter_map(Value::as_str)
        {
            let place = place.trim_end_matches("/cpu.weight");
            let (unified, group) = match (place.strip_prefix("/unified"), place.strip_prefix("/memory")) {
                (Some(group), _) => (true, group),
                (_, Some(group)) => (false, group),
                _ => panic!("what is {place}?"),
            };
            let top = GROUPS.iter().position(|g| *g == group).unwrap();
            out.extend(self.inside(top, unified));
        }
        out
    }
}

fn unified(group: usize) -> PathBuf {
    PathBuf::from(format!("/unified{}", GROUPS[group]))
}

/// What is drawn of a process.
type Drawn = ((usize, usize, usize, bool), (i32, char), (u64, u64), bool);

fn worlds() -> impl Strategy<Value = World> {
    let process = (
        (0..COMMS.len(), 0..GROUPS.len(), 0..GROUPS.len(), prop::bool::weighted(0.6)),
        (
            prop::sample::select(vec![-1000, -17, 0, 0, 0, 900]),
            prop::sample::select(vec!['S', 'R', 'D', 'Z']),
        ),
        (1_u64..500, 0_u64..50),
        // Most machines have few protected processes, or no plan would ever be made.
        prop::bool::weighted(0.15),
    );
    let processes = prop::collection::vec(process, 1..12);
    let own = prop::collection::vec(2_u32..14, 0..3);
    let whole = prop::collection::vec(any::<bool>(), GROUPS.len());
    (processes, own, whole, prop::option::of(0..GROUPS.len()), any::<bool>()).prop_map(
        |(processes, own, whole, cgroup, by_name)| {
            let each = |(n, p): (usize, Drawn)| {
                let ((comm, memory, unified, in_target), (adj, state), (mib, growth), special) = p;
                let comm = if special { COMMS[comm] } else { COMMS[comm % 3] };
                let pid = u32::try_from(n).unwrap() + 1 + u32::from(comm == "worker");
                (
                    pid,
                    Process {
                        pid,
                        comm,
                        kernel: comm == "kthreadd",
                        memory,
                        unified,
                        in_target,
                        adj,
                        state,
                        mib,
                        growth,
                    },
                )
            };
            let mut seen = BTreeSet::new();
            let processes = processes
                .into_iter()
                .enumerate()
                .map(each)
                .filter(|(pid, _)| seen.insert(*pid))
                .map(|(_, p)| p);
            World { processes: processes.collect(), own, whole, by_name: by_name || cgroup.is_none(), cgroup }
        },
    )
}

/// The options with which an action reaches furthest.
fn furthest(action: &dyn Action) -> Vec<Value> {
    match action.name() {
        "kill" => vec![
            Value::Null,
            json!({ "whole_group": true, "only_growing": false }),
            json!({ "prefer": ["sshd"] }),
        ],
        "renice" => {
            vec![Value::Null, json!({ "nice": 19, "io": "idle", "oom_score_adj": 1000, "cpu_weight": 1 })]
        }
        _ => vec![Value::Null],
    }
}

/// What the executor does with a rung, up to the plan; and who would be touched.
fn check(
    world: &World,
    (members, touched, before): &(Vec<Member>, Vec<Member>, Observation),
) -> Result<u32, TestCaseError> {
    let guards = guard::Options::default();
    let who = touched.iter().map(|m| (m.pid, m.comm.as_str(), m.kernel_thread));
    if protected(who, &world.own, &guards).is_some() {
        return Ok(0);
    }
    let (target, mut plans) = (world.target(), 0);
    for action in REGISTRY {
        for with in furthest(*action) {
            prop_assert_eq!(action.check(&with), Ok(()));
            let history = headroom::optimize::journal::History::default();
            let scene = Scene {
                target: &target,
                members,
                before,
                want_bytes: 400 * MIB,
                with: &with,
                labels: &std::collections::BTreeMap::new(),
                history: &history,
            };
            let Ok(plan) = action.plan(&scene) else { continue };
            plans += 1;
            for pid in world.named(&plan.intent) {
                prop_assert!(!world.is_protected(pid), "{} touches {pid}: {}", action.name(), plan.intent);
                let p = world.processes.iter().find(|p| p.pid == pid).unwrap();
                let outside = action.name() == "kill" && !members.iter().any(|m| m.pid == pid);
                prop_assert!(!outside, "kill: {pid} is not the target's: {}", plan.intent);
                let exempt = action.name() == "kill" && (p.adj == -1000);
                prop_assert!(!exempt, "kill: {pid} is exempt: {}", plan.intent);
            }
        }
    }
    Ok(plans)
}

#[test]
fn no_plan_of_any_action_touches_a_protected_process() {
    const CASES: u32 = 20_000;
    let plans = Cell::new(0);
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&worlds(), |world| {
            plans.set(plans.get() + check(&world, &world.seen())?);
            Ok(())
        })
        .unwrap();
    eprintln!("{CASES} machines, {} plans", plans.get());
    assert!(plans.get() > CASES / 2, "hardly a plan was made: {}", plans.get());
}

/// The machine as files, to be seen by the observer itself.
fn build(world: &World, root: &Path) {
    let put = |name: String, text: &str| {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("proc/meminfo".into(), "MemTotal: 8388608 kB\nMemAvailable: 102400 kB\nSwapFree: 1048576 kB\n");
    put("proc/vmstat".into(), "pgmajfault 1\n");
    put("proc/uptime".into(), "1000.0 1.0\n");
    for p in &world.processes {
        let (pid, comm) = (p.pid, p.comm);
        let stat = format!(
            "{pid} ({comm}) {} 1 0 0 0 0 {} 0 0 0 0 0 0 0 0 20 0 1 0 {pid} 4096 {} 0\n",
            p.state,
            if p.kernel { 0x0020_0000 } else { 0 },
            p.mib * MIB / 4096
        );
        put(format!("proc/{pid}/stat"), &stat);
        put(format!("proc/{pid}/task/{pid}/stat"), &stat);
        let status = format!(
            "Name:\t{comm}\nState:\t{}\nUid:\t0\t0\t0\t0\nRssAnon:\t{} kB\nVmSwap:\t0 kB\n",
            p.state,
            p.mib << 10
        );
        put(format!("proc/{pid}/status"), &status);
        put(format!("proc/{pid}/cmdline"), if p.in_target { "held\0" } else { "other\0" });
        let group = |g: usize| if g == 0 { "/" } else { GROUPS[g] };
        put(
            format!("proc/{pid}/cgroup"),
            &format!("4:memory:{}\n0::{}\n", group(p.memory), group(p.unified)),
        );
        put(format!("proc/{pid}/oom_score_adj"), &format!("{}\n", p.adj));
    }
    for (g, name) in GROUPS.iter().enumerate() {
        for (tree, here) in [("memory", false), ("unified", true)] {
            let pids = world.processes.iter().filter(|p| g == if here { p.unified } else { p.memory });
            let procs = pids.map(|p| p.pid.to_string()).collect::<Vec<_>>().join("\n");
            put(format!("sys/fs/cgroup/{tree}{name}/cgroup.procs"), &procs);
        }
        put(format!("sys/fs/cgroup/unified{name}/cgroup.controllers"), "");
        put(format!("sys/fs/cgroup/unified{name}/cgroup.freeze"), "0\n");
        put(format!("sys/fs/cgroup/unified{name}/cgroup.kill"), "");
        put(format!("sys/fs/cgroup/unified{name}/cpu.weight"), "100\n");
        put(
            format!("sys/fs/cgroup/unified{name}/memory.oom.group"),
            if world.whole[g] { "1\n" } else { "0\n" },
        );
        put(format!("sys/fs/cgroup/memory{name}/memory.stat"), "cache 629145600\nrss 314572800\n");
        put(format!("sys/fs/cgroup/memory{name}/memory.usage_in_bytes"), "943718400\n");
        put(format!("sys/fs/cgroup/memory{name}/memory.limit_in_bytes"), "9223372036854771712\n");
    }
}

#[test]
fn nor_does_what_the_observer_sees_of_such_a_machine_lead_to_one() {
    const FILES: u32 = 60;
    let plans = Cell::new(0);
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let config = Config { cases: FILES, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&worlds(), |world| {
            let dir = tempfile::tempdir_in(&place).unwrap();
            build(&world, dir.path());
            let host =
                Host { procfs: dir.path().join("proc"), sysfs: dir.path().join("sys"), ..Host::default() };
            let rule = Rule { name: "held".into(), cmdline: vec!["^held".into()], ..Rule::default() };
            let observer = Observer::new(host, Grouping::new(&[rule]).unwrap());
            let target = world.target();
            let (members, mut facts) = observer.facts(&target).unwrap();
            let touched = observer.touched(&target, &members).unwrap();
            let mut before = observer.observe(&target, &members, 0).unwrap();
            for p in &mut facts.processes {
                p.growth_bytes = world.processes.iter().find(|w| w.pid == p.pid).map(|w| w.growth * MIB);
            }
            let Some(seen) = &mut before.target else { return Ok(()) };
            seen.facts = facts;
            // The plans name files below the directory; the model names groups alone.
            let text = serde_json::to_string(&dir.path().join("sys/fs/cgroup")).unwrap();
            let prefix = text.trim_matches('"').to_owned();
            let strip = |path: &mut PathBuf| {
                *path = path.to_str().unwrap().replace(&prefix, "").into();
            };
            seen.facts.units.iter_mut().for_each(|u| strip(&mut u.directory));
            seen.facts.freezer.iter_mut().for_each(|f| strip(&mut f.directory));
            seen.facts.cpu.iter_mut().for_each(|c| strip(&mut c.file));
            seen.cgroup.iter_mut().for_each(|c| c.directory = c.directory.replace(&prefix, ""));
            plans.set(plans.get() + check(&world, &(members, touched, before))?);
            Ok(())
        })
        .unwrap();
    eprintln!("{FILES} machines of files, {} plans", plans.get());
    assert!(plans.get() > FILES / 2, "hardly a plan was made: {}", plans.get());
}
