//! Plays the scenarios in the virtual machine, one after the other, with one tool beside them; says what came of each.

use super::kernel::{Group, Swap, field, now_millis, read};
use super::sampler::{Sampler, gained, onset};
use super::scenario::{ALL, Kind, Part, Scenario, UNDISTURBED_MILLIS};
use super::tool::{ROOM, Tool};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const LOOK: Duration = Duration::from_millis(5);
/// What is seen of the service after the trouble is gone.
const AFTER: Duration = Duration::from_millis(1500);

/// A part that runs, or ran.
struct Player {
    part: Part,
    child: Child,
    output: BufReader<ChildStdout>,
    /// When it ended, and whether as it should.
    ended: Option<(u64, bool)>,
}

impl Player {
    fn start(part: Part) -> Self {
        let group = Group::make(part.group);
        let script = "echo 0 >$0/cgroup.procs && echo 0 >/proc/self/oom_score_adj && exec /bin/lab \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(&group.0).args(part.words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        if part.first {
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
        }
        Self { part, child, output, ended: None }
    }

    fn look(&mut self) -> bool {
        let Ok(Some(status)) = self.child.try_wait() else { return false };
        let news = self.ended.is_none();
        self.ended = self.ended.or(Some((now_millis(), status.success())));
        news && status.signal().is_some()
    }

    fn is_lost(&self) -> bool {
        match self.part.kind {
            Kind::Culprit => false,
            Kind::Lasting => self.ended.is_some(),
            Kind::Job => !matches!(self.ended, Some((_, true))),
        }
    }

    /// What it says when its input ends; nothing if it is gone.
    fn last_words(&mut self) -> String {
        drop(self.child.stdin.take());
        let mut text = String::new();
        // The dead say what they said before.
        if self.part.name == "service" || self.ended.is_some() {
            let _some = self.output.read_to_string(&mut text);
        }
        text
    }
}

/// Plays the scenarios of these names, or all.
pub fn play(tool: &str, repetition: &str, names: &[&str]) {
    // The laboratory itself is to see the end.
    let _allowed = fs::write("/proc/self/oom_score_adj", "-1000");
    let chosen = |s: &&Scenario| s.is_for(tool) && (names.is_empty() || names.contains(&s.name));
    for scenario in ALL.iter().filter(chosen) {
        let begun = Instant::now();
        let said = one(scenario, tool);
        println!(
            "RESULT tool={tool} repetition={repetition} scenario={} {said} took={:.0}",
            scenario.name,
            begun.elapsed().as_secs_f64()
        );
    }
}

/// What there is to clean up, whatever happened.
fn clean(scenario: &Scenario) {
    let mut tops: Vec<&str> = scenario.parts.iter().map(|p| p.group.split('/').nth(1).unwrap()).collect();
    tops.dedup();
    for top in tops {
        Group::make(top).end();
    }
    let _dropped = fs::write("/proc/sys/vm/drop_caches", "3");
}

fn one(scenario: &Scenario, name: &str) -> String {
    let _dropped = fs::write("/proc/sys/vm/drop_caches", "3");
    let mut pressure = "/proc/pressure/memory".into();
    if let Some((group, limit)) = scenario.limit {
        let group = Group::make(group);
        group.set("memory.max", if name == ROOM { "max" } else { limit });
        pressure = group.0.join("memory.pressure");
    }
    // Those that Headroom's rules watch are there from the beginning, as services are.
    for group in ["/app/service", "/app/cache", "/batch/job", "/tenant/cache"] {
        Group::make(group);
    }
    let swap = Swap::make(scenario.swap_mib);
    let mut tool = Tool::start(name);
    let mut players: Vec<Player> =
        scenario.parts.iter().filter(|p| p.first).map(|&p| Player::start(p)).collect();
    sleep(Duration::from_millis(500));
    let total_mib = field(&read("/proc/meminfo"), "MemTotal") as f64 / 1024.0;
    let oom = field(&read("/proc/vmstat"), "oom_kill");
    let sampler = Sampler::start(pressure);
    sleep(Duration::from_millis(300));
    if let Some(input) = &mut players[0].child.stdin {
        input.write_all(b"from\n").unwrap();
    }
    let begun = now_millis();
    players.extend(scenario.parts.iter().filter(|p| !p.first).map(|&p| Player::start(p)));
    let mut acts = watch(scenario, &mut players, oom, begun);
    sleep(AFTER);
    let seen = sampler.seen();
    for player in &mut players {
        player.look();
    }
    let killed = field(&read("/proc/vmstat"), "oom_kill") - oom;
    let lost: Vec<&str> = players.iter().filter(|p| p.is_lost()).map(|p| p.part.name).collect();
    let lost = if lost.is_empty() { "none".into() } else { lost.join("+") };
    let words: Vec<String> = players.iter_mut().map(Player::last_words).collect();
    let latency = words[0].lines().find_map(|l| l.strip_prefix("latency ")).unwrap_or("n=0").to_owned();
    acts.extend(tool.acts().into_iter().filter(|&at| at >= begun));
    acts.sort_unstable();
    let cpu = tool.cpu_seconds();
    let (tool_runs, phases) = (tool.runs(), tool.phases());
    if std::env::var_os("LAB_TELLS").is_some() {
        println!("{}\n{}\n{}", tool.log(), super::tool::record(), words.join(" "));
    }
    tool.end();
    clean(scenario);
    drop(swap);
    Group::make("/app").end();
    Group::make("/batch").end();
    Group::make("/tenant").end();
    let onset = onset(&seen, total_mib).map(|at| at.max(begun));
    let reaction = onset.and_then(|o| acts.first().map(|&act| act as i64 - o as i64));
    let (first, last) = (seen[0], seen[seen.len() - 1]);
    let least = seen.iter().map(|s| s.available).fold(f64::MAX, f64::min);
    format!(
        "tool_runs={tool_runs} oom={killed} lost={lost} {latency} full={:.0} some={:.0} least={least:.0} acts={} gained={:.0} cpu={cpu:.3} trouble={} reaction={} phases={phases}",
        last.full - first.full,
        last.some - first.some,
        acts.len(),
        gained(&seen, &acts),
        onset.is_some(),
        reaction.map_or_else(|| "none".into(), |r| r.to_string()),
    )
}

/// Until the jobs are done, the culprit is gone, or the time is over. When processes ended that the kernel did not kill.
fn watch(scenario: &Scenario, players: &mut [Player], oom: u64, begun: u64) -> Vec<u64> {
    let (mut dead, mut acts) = (0, Vec::new());
    let jobs = Group::make("/batch/job");
    let count = || jobs.read("pids.current").trim().parse::<u64>().unwrap_or(0);
    let mut most = count();
    while now_millis() < begun + scenario.seconds * 1000 {
        // The members of a swarm are none of ours.
        let now = count();
        let mut gone = players.iter_mut().filter_map(|p| p.look().then_some(())).count() as u64;
        if scenario.name == "swarm" && now < most && now_millis() < begun + UNDISTURBED_MILLIS {
            gone += most - now;
        }
        most = now;
        if gone > 0 {
            dead += gone;
            let killed = field(&read("/proc/vmstat"), "oom_kill") - oom;
            if dead > killed {
                acts.push(now_millis());
            }
        }
        let busy = players.iter().any(|p| p.part.kind != Kind::Lasting && p.ended.is_none());
        let none = players.iter().all(|p| p.part.kind == Kind::Lasting);
        if !busy && !none {
            break;
        }
        sleep(LOOK);
    }
    acts
}
