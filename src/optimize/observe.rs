//! What is measured before and after an action: the target's memory and the machine's.

pub mod facts;

use super::harm::Totals;
use super::policy::Target;
use crate::host::cgroup::{GroupMemory, Hierarchies, Version, control};
use crate::host::container;
use crate::host::free::Free;
use crate::host::group::{Grouping, is_member, members};
use crate::host::memory::{Pressure, free_in_large_blocks, pressure};
use crate::host::parse::pairs;
use crate::host::stat::cpus;
use crate::host::{Host, HostError, ParseError, proc, read_once};
use facts::Facts;
use serde::{Deserialize, Serialize};

/// A look at target and machine at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// When, in milliseconds since the epoch.
    pub at_millis: i64,
    /// The machine.
    pub machine: Machine,
    /// The target; absent if it could not be found.
    pub target: Option<TargetMemory>,
    /// The stall that a run by pressure is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall: Option<Stall>,
}

impl Observation {
    /// The counters of the machine, and of the target's control group.
    pub fn totals(&self) -> (Totals, Option<Totals>) {
        let machine = &self.machine;
        let refaults = [machine.refault_anon, machine.refault_file];
        let totals = Totals {
            major_faults: machine.major_faults,
            ..Totals::new(self.at_millis, machine.pressure, refaults)
        };
        let group = self.target.as_ref().and_then(|t| t.cgroup.as_ref());
        (totals, group.map(|g| Totals::new(self.at_millis, g.pressure, g.refaults)))
    }
}

/// What was seen of a stall, by the rule that asked for the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stall {
    /// Time that tasks waited,
    pub micros: u64,
    /// within this time. After an action only what came later counts.
    pub span_micros: u64,
    /// Whether that is still trouble by the rule.
    pub still: bool,
}

/// The machine's memory and what its tasks wait for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// All memory.
    pub total_bytes: u64,
    /// What can be had without swapping, by the kernel's own estimate (MemAvailable).
    pub available_bytes: u64,
    /// What lies free on the processors' own lists, which the estimate leaves out.
    pub per_cpu_free_bytes: Option<u64>,
    /// What is written to swap and still lies in memory, until the kernel needs it.
    #[serde(default)]
    pub swap_cached_bytes: u64,
    /// Free swap.
    pub swap_free_bytes: u64,
    /// All swap.
    #[serde(default)]
    pub swap_total_bytes: u64,
    /// Page cache of files and slab that can be reclaimed.
    #[serde(default)]
    pub cache_bytes: u64,
    /// What lies free in blocks of at least a huge page.
    #[serde(default)]
    pub large_free_bytes: Option<u64>,
    /// Stall totals of memory.
    pub pressure: Option<Pressure>,
    /// Pages that were evicted and read in again, anonymous and of files (counters).
    pub refault_anon: Option<u64>,
    /// The same, of files.
    pub refault_file: Option<u64>,
    /// Faults that had to wait for a disk (a counter).
    pub major_faults: Option<u64>,
    /// The share of processor time that was used by other than niced tasks, where a condition is about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_busy_ratio: Option<f64>,
}

impl Machine {
    /// What can be had, wherever it lies: what an action gives back, the kernel first keeps on a processor's own list.
    pub fn reachable_bytes(&self) -> u64 {
        self.available_bytes.saturating_add(self.per_cpu_free_bytes.unwrap_or(0))
    }
}

/// What a target holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetMemory {
    /// The size that its budget is about: resident bytes of a process group, current bytes of a control group.
    pub bytes: u64,
    /// Processes.
    pub processes: u64,
    /// Proportional share of its processes, where they may be read.
    pub pss_bytes: Option<u64>,
    /// What of it lies in swap.
    pub swap_bytes: Option<u64>,
    /// Its control group.
    pub cgroup: Option<CgroupMemory>,
    /// Resident bytes of each process, by its number: what one of them takes along when it ends is no action's doing.
    #[serde(skip)]
    pub resident_by_pid: Vec<(u32, u64)>,
    /// What actions on single processes want to know, where one stands on the ladder.
    #[serde(skip)]
    pub facts: Facts,
}

/// A control group's memory, and where its files are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CgroupMemory {
    /// 1 or 2.
    pub version: u8,
    /// The directory of its files.
    pub directory: String,
    /// All that is charged to it.
    pub current_bytes: u64,
    /// Its limit.
    pub limit_bytes: Option<u64>,
    /// What is left below the limit.
    pub distance_bytes: Option<u64>,
    /// Anonymous memory.
    pub anon_bytes: Option<u64>,
    /// Page cache.
    pub file_bytes: Option<u64>,
    /// Page cache that was not used lately.
    pub inactive_file_bytes: Option<u64>,
    /// What it is promised: the greater of memory.min and memory.low.
    pub protected_bytes: u64,
    /// Version 2: above this its tasks are slowed down; absent without.
    #[serde(default)]
    pub high_bytes: Option<u64>,
    /// How long its tasks waited for memory (counters).
    #[serde(default)]
    pub pressure: Option<Pressure>,
    /// Pages of it that were taken and read in again, anonymous and of files (counters).
    #[serde(default)]
    pub refaults: [Option<u64>; 2],
}

/// A process of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub pid: u32,
    /// When it began, in clock ticks since boot: with the number its identity.
    pub start_ticks: u64,
    /// Its name.
    pub comm: String,
    /// Whether it is a thread of the kernel.
    pub kernel_thread: bool,
    /// Its anonymous resident memory, where the kernel says so.
    pub anon_bytes: Option<u64>,
    /// The id of the container that it is in.
    pub container: Option<String>,
}

/// Looks at targets.
#[derive(Debug)]
pub struct Observer {
    host: Host,
    grouping: Grouping,
}

impl Observer {
    /// An observer of a host, with the rules that say which process belongs to which group.
    pub fn new(host: Host, grouping: Grouping) -> Self {
        Self { host, grouping }
    }

    /// The processes of a target: of its process group, else of its control group.
    pub fn members(&self, target: &Target) -> Result<Vec<Member>, HostError> {
        let Some(group) = &target.process_group else { return self.cgroup_members(target) };
        let mut out = Vec::new();
        for identity in members(&self.host, &self.grouping, group)? {
            out.extend(self.member(identity)?);
        }
        Ok(out)
    }

    /// Whether a process is one of the target's.
    pub fn is_member(&self, target: &Target, pid: u32) -> Result<bool, HostError> {
        match (&target.process_group, &target.cgroup) {
            (Some(group), _) => is_member(&self.host, &self.grouping, group, pid),
            (None, Some(cgroup)) => {
                Ok(Hierarchies::detect(&self.host)?.processes(cgroup)?.binary_search(&pid).is_ok())
            }
            (None, None) => Ok(false),
        }
    }

    /// All processes that an action on the target can touch: its members, and whoever else is in its control group, in
    /// whichever hierarchy: the freezer's or the processors' may hold others than that of memory.
    pub fn touched(&self, target: &Target, members: &[Member]) -> Result<Vec<Member>, HostError> {
        let mut all = members.to_vec();
        let Some(group) = &target.cgroup else { return Ok(all) };
        let mut pids = Vec::new();
        for directory in control::directories(&self.host, group)? {
            pids.extend(control::processes(&directory)?);
        }
        pids.sort_unstable();
        pids.dedup();
        for pid in pids.into_iter().filter(|pid| !members.iter().any(|m| m.pid == *pid)) {
            if let Some(identity) = proc::identity(&self.host, pid)? {
                all.extend(self.member(identity)?);
            }
        }
        Ok(all)
    }

    /// Of a target with a control group: those known already, as they were, and who is in the group now besides.
    pub fn joined(&self, target: &Target, known: &[Member]) -> Result<Vec<Member>, HostError> {
        let mut all = known.to_vec();
        let Some(cgroup) = &target.cgroup else { return Ok(all) };
        for pid in Hierarchies::detect(&self.host)?.processes(cgroup)? {
            if !known.iter().any(|m| m.pid == pid)
                && let Some(identity) = proc::identity(&self.host, pid)?
            {
                all.extend(self.member(identity)?);
            }
        }
        Ok(all)
    }

    fn cgroup_members(&self, target: &Target) -> Result<Vec<Member>, HostError> {
        let mut out = Vec::new();
        let Some(cgroup) = &target.cgroup else { return Ok(out) };
        for pid in Hierarchies::detect(&self.host)?.processes(cgroup)? {
            if let Some(identity) = proc::identity(&self.host, pid)? {
                out.extend(self.member(identity)?);
            }
        }
        Ok(out)
    }

    fn member(&self, identity: proc::Identity) -> Result<Option<Member>, HostError> {
        let Some(status) = proc::status_of(&self.host, identity.pid)? else { return Ok(None) };
        let proc::Identity { pid, start_ticks, comm, kernel_thread, .. } = identity;
        let container = container::of_process(&self.host, pid)?;
        let anon_bytes = status.rss_anon_bytes;
        Ok(Some(Member { pid, start_ticks, comm, kernel_thread, anon_bytes, container }))
    }

    /// The machine at `now`, in milliseconds since the epoch.
    pub fn machine(&self) -> Result<Machine, HostError> {
        let free = Free::read(&self.host)?;
        let psi = read_once(&self.host.procfs.join("pressure/memory")).ok().flatten();
        let buddies = read_once(&self.host.procfs.join("buddyinfo")).ok().flatten();
        let page_bytes = rustix::param::page_size() as u64;
        let vmstat = read_once(&self.host.procfs.join("vmstat"))?.unwrap_or_default();
        let vmstat = pairs(&vmstat).unwrap_or_default();
        let counter = |name| vmstat.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        Ok(Machine {
            total_bytes: free.total_bytes,
            available_bytes: free.available_bytes,
            per_cpu_free_bytes: free.per_cpu_bytes,
            swap_cached_bytes: free.swap_cached_bytes,
            swap_free_bytes: free.swap_free_bytes,
            swap_total_bytes: free.swap_total_bytes,
            cache_bytes: free.cache_bytes,
            large_free_bytes: buddies.and_then(|t| free_in_large_blocks(&t, page_bytes)),
            pressure: psi.and_then(|t| pressure(&t).ok()),
            refault_anon: counter("workingset_refault_anon"),
            refault_file: counter("workingset_refault_file"),
            major_faults: counter("pgmajfault"),
            cpu_busy_ratio: None,
        })
    }

    /// The machine's counters alone, at `now`.
    pub fn totals(&self, now: i64) -> Result<Totals, HostError> {
        let psi = read_once(&self.host.procfs.join("pressure/memory")).ok().flatten();
        let vmstat = read_once(&self.host.procfs.join("vmstat"))?.unwrap_or_default();
        let vmstat = pairs(&vmstat).unwrap_or_default();
        let counter = |name| vmstat.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        let refaults = [counter("workingset_refault_anon"), counter("workingset_refault_file")];
        let stalls = psi.and_then(|t| pressure(&t).ok());
        Ok(Totals { major_faults: counter("pgmajfault"), ..Totals::new(now, stalls, refaults) })
    }

    /// The counters of a target's control group; none if it has no group, or that has gone.
    pub fn group_totals(&self, target: &Target, now: i64) -> Result<Option<Totals>, HostError> {
        let Some(group) = &target.cgroup else { return Ok(None) };
        let memory = Hierarchies::detect(&self.host)?.read(group)?;
        Ok(memory.map(|m| Totals::new(now, m.pressure, [m.refault_anon, m.refault_file])))
    }

    /// Busy time and all time of the processors since boot, in ticks.
    pub fn cpu_ticks(&self) -> Result<(u64, u64), HostError> {
        let path = self.host.procfs.join("stat");
        let text = read_once(&path)?.unwrap_or_default();
        busy_ticks(&text).map_err(|e| HostError::parse(&path, e))
    }

    /// Target and machine at `now`, in milliseconds since the epoch.
    pub fn observe(&self, target: &Target, members: &[Member], now: i64) -> Result<Observation, HostError> {
        let target = self.target(target, members, true)?;
        Ok(Observation { at_millis: now, machine: self.machine()?, target, stall: None })
    }

    /// The same without what takes long: to sum up a process's mappings waits for its lock, which it holds while it
    /// stalls.
    pub fn lean(&self, target: &Target, members: &[Member], now: i64) -> Result<Observation, HostError> {
        let target = self.target(target, members, false)?;
        Ok(Observation { at_millis: now, machine: self.machine()?, target, stall: None })
    }

    fn target(
        &self,
        target: &Target,
        members: &[Member],
        mappings: bool,
    ) -> Result<Option<TargetMemory>, HostError> {
        let (mut resident, mut pss, mut swap, mut processes) = (0_u64, Some(0_u64), Some(0_u64), 0_u64);
        let mut resident_by_pid = Vec::with_capacity(members.len());
        for member in members {
            let Some(stat) = proc::stat_of(&self.host, member.pid)? else { continue };
            if stat.start_ticks != member.start_ticks {
                continue;
            }
            processes += 1;
            resident = resident.saturating_add(stat.resident_bytes);
            resident_by_pid.push((member.pid, stat.resident_bytes));
            // Another user's process may hide its mappings; then the sum is unknown, not smaller.
            let rollup = if mappings { proc::rollup_of(&self.host, member.pid).ok().flatten() } else { None };
            pss = pss.zip(rollup.as_ref().map(|r| r.pss_bytes)).map(|(a, b)| a.saturating_add(b));
            swap = swap.zip(rollup.map(|r| r.swap_bytes)).map(|(a, b)| a.saturating_add(b));
        }
        let cgroup = match &target.cgroup {
            Some(group) => self.cgroup(group)?,
            None => None,
        };
        let bytes = match (&target.process_group, &cgroup) {
            (Some(_), _) if processes > 0 => resident,
            (None, Some(cgroup)) => cgroup.current_bytes,
            _ => return Ok(None),
        };
        Ok(Some(TargetMemory {
            bytes,
            processes,
            pss_bytes: pss,
            swap_bytes: swap,
            cgroup,
            resident_by_pid,
            facts: Facts::default(),
        }))
    }

    fn cgroup(&self, group: &str) -> Result<Option<CgroupMemory>, HostError> {
        let hierarchies = Hierarchies::detect(&self.host)?;
        let Some((version, root)) = &hierarchies.memory else { return Ok(None) };
        let Some(memory) = hierarchies.read(group)? else { return Ok(None) };
        let GroupMemory { current_bytes: Some(current_bytes), limit_bytes, .. } = memory else {
            return Ok(None);
        };
        Ok(Some(CgroupMemory {
            version: if *version == Version::V2 { 2 } else { 1 },
            directory: root.join(group.trim_start_matches('/')).to_string_lossy().into_owned(),
            current_bytes,
            limit_bytes,
            distance_bytes: limit_bytes.map(|l| l.saturating_sub(current_bytes)),
            anon_bytes: memory.anon_bytes,
            file_bytes: memory.file_bytes,
            inactive_file_bytes: memory.inactive_file_bytes,
            high_bytes: hierarchies.high(group)?,
            protected_bytes: memory.min_bytes.unwrap_or(0).max(memory.low_bytes.unwrap_or(0)),
            pressure: memory.pressure,
            refaults: [memory.refault_anon, memory.refault_file],
        }))
    }
}

/// What counts as busy is what keeps others waiting: neither idle time, nor waiting for a disk, nor what niced tasks use,
/// which others can have at once.
fn busy_ticks(text: &str) -> Result<(u64, u64), ParseError> {
    let (mut busy, mut all) = (0_u64, 0_u64);
    for cpu in cpus(text) {
        // user, nice, system, idle, iowait, irq, softirq, steal; guests' time is in user and nice already.
        let [normal, nice, system, idle, iowait, irq, softirq, steal, ..] = cpu?.ticks;
        let used = [normal, system, irq, softirq, steal].into_iter().fold(0_u64, u64::saturating_add);
        busy = busy.saturating_add(used);
        all = [used, nice, idle, iowait].into_iter().fold(all, u64::saturating_add);
    }
    Ok((busy, all))
}

/// The busy share between two readings; none where no time went by.
pub fn busy_ratio(then: (u64, u64), now: (u64, u64)) -> Option<f64> {
    // The kernel lets waiting time fall sometimes.
    let (busy, all) = (now.0.saturating_sub(then.0), now.1.saturating_sub(then.1));
    (all > 0).then(|| (busy as f64 / all as f64).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_niced_tasks_and_of_waiting_for_disks_is_not_busy() {
        let text = "cpu  9 9 9 9\ncpu0 10 100 20 1000 50 3 4 5 7 8\ncpu1 1 0 0 9 0 0 0 0 0 0\nctxt 1\n";
        let first = busy_ticks(text).unwrap();
        assert_eq!(first, (43, 1202));
        assert_eq!(busy_ratio(first, (53, 1222)), Some(0.5));
        assert_eq!(busy_ratio(first, first), None);
        assert!(busy_ticks("cpu0 x\n").is_err());
    }
}
