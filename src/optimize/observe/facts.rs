//! What actions on single processes want to know of a target besides its memory, and how its processes grow.

use super::{Member, Observer};
use crate::host::cgroup::control::{self, CpuShare, Freezer, Unit};
use crate::host::task::{Thread, threads_of};
use crate::host::{HostError, proc, read_once};
use crate::optimize::policy::Target;
use std::path::PathBuf;
use std::time::Duration;

/// Threads of one process that are looked at; a process with more is not touched thread by thread.
pub const THREADS_MAX: usize = 4096;
/// Sightings of a run that are kept.
const SIGHTINGS_MAX: usize = 16;

/// What there is to know of a target's processes and brakes; not part of the record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// When, in clock ticks since boot: what began later is not in here.
    pub at_ticks: u64,
    /// Its processes.
    pub processes: Vec<ProcessFacts>,
    /// The groups of version 2 that its processes are in, each once.
    pub units: Vec<Unit>,
    /// The freezer of its control group.
    pub freezer: Option<Freezer>,
    /// Its control group's share of the processors.
    pub cpu: Option<CpuShare>,
    /// How many programs are connected to each socket that is served, whosoever.
    pub audience: Vec<(PathBuf, usize)>,
}

/// A process of the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Its number.
    pub pid: u32,
    /// When it began, in clock ticks since boot.
    pub start_ticks: u64,
    /// Its name.
    pub comm: String,
    /// Whether it is a thread of the kernel.
    pub kernel_thread: bool,
    /// `R`, `S`, `D`, `Z`, … as ps prints it.
    pub state: char,
    /// What its end gives back: anonymous memory, resident or in swap.
    pub size_bytes: u64,
    /// By how much that grew in a second, where it was looked at twice.
    pub growth_bytes: Option<u64>,
    /// How the kernel's own killer is to see it, from -1000 (never) to 1000; absent where it cannot be read.
    pub oom_score_adj: Option<i32>,
    /// The place in [`Facts::units`] of its group.
    pub unit: Option<usize>,
    /// Its threads, the first one first; at most one more than [`THREADS_MAX`].
    pub threads: Vec<Thread>,
}

impl Observer {
    /// The members of a target at this moment, what there is to know of them, and of the brakes of its group.
    pub fn facts(&self, target: &Target) -> Result<(Vec<Member>, Facts), HostError> {
        let host = &self.host;
        let mut facts = Facts { at_ticks: proc::uptime_ticks(host), ..Facts::default() };
        let members = self.members(target)?;
        for member in &members {
            let Some(stat) = proc::stat_of(host, member.pid)? else { continue };
            let Some(status) = proc::status_of(host, member.pid)? else { continue };
            if stat.start_ticks != member.start_ticks {
                continue;
            }
            let path = host.procfs.join(member.pid.to_string()).join("oom_score_adj");
            let unit = control::unit_of(host, member.pid)?.map(|unit| {
                let known = facts.units.iter().position(|u| u.directory == unit.directory);
                known.unwrap_or_else(|| {
                    facts.units.push(unit);
                    facts.units.len() - 1
                })
            });
            let anon = status.rss_anon_bytes.unwrap_or(stat.resident_bytes);
            facts.processes.push(ProcessFacts {
                pid: member.pid,
                start_ticks: member.start_ticks,
                comm: member.comm.clone(),
                kernel_thread: member.kernel_thread,
                state: stat.state,
                size_bytes: anon.saturating_add(status.swap_bytes.unwrap_or(0)),
                growth_bytes: None,
                oom_score_adj: read_once(&path).ok().flatten().and_then(|t| t.trim().parse().ok()),
                unit,
                threads: threads_of(host, member.pid, THREADS_MAX + 1)?,
            });
        }
        // Not the members': one that ended while this looked at it may stand in its group's list.
        let seen: Vec<u32> = facts.processes.iter().map(|p| p.pid).collect();
        for unit in &mut facts.units {
            self.leave_out_offspring(unit, seen.clone(), facts.at_ticks)?;
        }
        if let Some(group) = &target.cgroup {
            facts.freezer = control::freezer(host, group)?;
            facts.cpu = control::cpu_share(host, group)?;
        }
        Ok((members, facts))
    }

    /// Takes from a unit who has gone meanwhile, and whom one of the known has started since: groups in which short-lived
    /// processes come and go would never look the same twice.
    fn leave_out_offspring(&self, unit: &mut Unit, mut known: Vec<u32>, since: u64) -> Result<(), HostError> {
        let mut young = Vec::new();
        let strangers: Vec<u32> = unit.processes.iter().copied().filter(|pid| !known.contains(pid)).collect();
        for pid in strangers {
            match proc::stat_of(&self.host, pid)? {
                Some(stat) if stat.start_ticks >= since => young.push((stat.start_ticks, pid, stat.parent)),
                None if pid != 0 => unit.processes.retain(|p| *p != pid),
                _ => {}
            }
        }
        young.sort_unstable();
        for (_, pid, parent) in young {
            if known.contains(&parent) {
                known.push(pid);
                unit.processes.retain(|p| *p != pid);
            }
        }
        Ok(())
    }
}

/// How large the processes of a target were at moments of a run, by the time since the run's begin.
#[derive(Debug, Default)]
pub struct Trend {
    sightings: Vec<(Duration, Vec<Sighted>)>,
}

/// A process by number and start, and its size.
type Sighted = (u32, u64, u64);

impl Trend {
    /// Notes how large they are now, `at` after the run's begin.
    pub fn note(&mut self, at: Duration, facts: &Facts) {
        if self.sightings.len() >= SIGHTINGS_MAX {
            self.sightings.remove(0);
        }
        let sizes = facts.processes.iter().map(|p| (p.pid, p.start_ticks, p.size_bytes)).collect();
        self.sightings.push((at, sizes));
    }

    /// How long ago, at `now`, they were first noted.
    pub fn age(&self, now: Duration) -> Option<Duration> {
        self.sightings.first().map(|(at, _)| now.saturating_sub(*at))
    }

    /// Says by how much each grew in a second: since the last sighting that is at least `span` old. One that was not there
    /// then has grown from nothing; without such a sighting nothing is said.
    pub fn grow(&self, now: Duration, span: Duration, facts: &mut Facts) {
        let old = self.sightings.iter().rev().find(|(at, _)| now.saturating_sub(*at) >= span);
        let Some((at, sizes)) = old else { return };
        let millis = u64::try_from(now.saturating_sub(*at).as_millis()).unwrap_or(u64::MAX).max(1);
        for p in &mut facts.processes {
            let then = sizes.iter().find(|(pid, start, _)| (*pid, *start) == (p.pid, p.start_ticks));
            let grown = p.size_bytes.saturating_sub(then.map_or(0, |(_, _, size)| *size));
            p.growth_bytes = Some(grown.saturating_mul(1000) / millis);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(sizes: &[(u32, u64)]) -> Facts {
        let process = |&(pid, size_bytes)| ProcessFacts { pid, size_bytes, ..ProcessFacts::default() };
        Facts { processes: sizes.iter().map(process).collect(), ..Facts::default() }
    }

    #[test]
    fn growth_is_told_from_the_last_sighting_that_is_old_enough() {
        let at = Duration::from_millis;
        let mut trend = Trend::default();
        assert_eq!(trend.age(at(5)), None);
        trend.note(at(0), &facts(&[(1, 9000), (2, 10)]));
        trend.note(at(1000), &facts(&[(1, 100), (2, 10)]));
        let mut now = facts(&[(1, 300), (2, 5), (3, 50)]);
        trend.grow(at(1500), at(2000), &mut now);
        assert!(now.processes.iter().all(|p| p.growth_bytes.is_none()), "nothing is old enough");
        trend.grow(at(1500), at(500), &mut now);
        let grown: Vec<_> = now.processes.iter().map(|p| p.growth_bytes.unwrap()).collect();
        assert_eq!(grown, [400, 0, 100], "shrinking is no growth, and a new process grew from nothing");
        assert_eq!(trend.age(at(1500)), Some(at(1500)));
    }

    #[test]
    fn a_number_that_was_given_again_is_another_process() {
        let mut trend = Trend::default();
        trend.note(Duration::ZERO, &facts(&[(1, 1000)]));
        let mut now = facts(&[(1, 1000)]);
        now.processes[0].start_ticks = 7;
        trend.grow(Duration::from_secs(1), Duration::from_secs(1), &mut now);
        assert_eq!(now.processes[0].growth_bytes, Some(1000));
    }

    #[test]
    fn sightings_are_bounded() {
        let mut trend = Trend::default();
        for n in 0..100 {
            trend.note(Duration::from_secs(n), &facts(&[]));
        }
        assert_eq!(trend.sightings.len(), SIGHTINGS_MAX);
    }
}
