//! The collector of processors: the time of each in each mode, throttling, isolation, models (`node_cpu_*`).

mod info;
mod topology;

use super::{CollectError, Collector, Entry, cpufreq};
use crate::host::Host;
use crate::host::cpuinfo::cpuinfo;
use crate::host::stat::{self, CpuTimes, TICKS_PER_SECOND};
use crate::metric::{Desc, Sink, Value};
use info::Info;
use serde::Deserialize;
use topology::Topology;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "cpu",
    on: true,
    make: |host, options| {
        Ok(Box::new(Cpu {
            guest: options.cpu.guest,
            read: Vec::new(),
            cpus: Vec::new(),
            topology: None,
            info: Info::new(host, &options.cpu, options.runs(&cpufreq::ENTRY))?,
        }))
    },
};

/// What is shown besides times.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Whether the time of guests (virtual machines) is shown.
    pub guest: bool,
    /// Whether /proc/cpuinfo is shown: models and frequencies.
    pub info: bool,
    /// Flags of the first processor that are shown, as a regular expression; none if empty. Implies `info`.
    pub info_flags_include: String,
    /// Bugs of the first processor that are shown, as a regular expression; none if empty. Implies `info`.
    pub info_bugs_include: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { guest: true, info: false, info_flags_include: String::new(), info_bugs_include: String::new() }
    }
}

const SECONDS: Desc<'static> =
    Desc::counter("node_cpu_seconds_total", "Seconds the CPUs spent in each mode.", &["cpu", "mode"]);
const GUEST: Desc<'static> = Desc::counter(
    "node_cpu_guest_seconds_total",
    "Seconds the CPUs spent in guests (VMs) for each mode.",
    &["cpu", "mode"],
);
/// The modes in the kernel's order; the last two are also part of the first two.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const GUEST_MODES: [&str; 2] = ["user", "nice"];
const IDLE: usize = 3;
/// If a CPU's idle time falls by so much, the CPU was taken away and came back, and counts anew.
const JUMP_BACK_TICKS: u64 = 300;

struct Cpu {
    guest: bool,
    /// What was read in this pass; kept for its memory only.
    read: Vec<CpuTimes>,
    cpus: Vec<Known>,
    topology: Option<Topology>,
    info: Option<Info>,
}

struct Known {
    label: String,
    times: CpuTimes,
}

impl Collector for Cpu {
    fn collect(&mut self, host: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let read = &mut self.read;
        host.stat(|text| {
            read.clear();
            stat::cpus(text).try_for_each(|times| times.map(|times| read.push(times)))
        })?
        .ok_or_else(|| CollectError::Absent("stat".into()))?;
        if read.is_empty() {
            return Err(CollectError::Absent("cpu in stat".into()));
        }
        if self.merge() {
            // Processors came or went: what belongs to them is looked for anew.
            self.topology = None;
        }
        let topology = match &mut self.topology {
            Some(topology) => topology,
            None => self.topology.insert(Topology::find(host)?),
        };
        topology.read()?;
        let info = match &mut self.info {
            Some(Info { file, shown }) => {
                let absent = || CollectError::Absent("cpuinfo".into());
                Some((shown, file.parse_lines(cpuinfo)?.ok_or_else(absent)?))
            }
            None => None,
        };
        write(&self.cpus, self.guest, out);
        topology.write(out);
        if let Some((shown, cpus)) = info {
            shown.write(&cpus, out);
        }
        Ok(())
    }
}

impl Cpu {
    /// Takes over what was read; whether the set of processors is another one than before.
    fn merge(&mut self) -> bool {
        let same = self.cpus.len() == self.read.len()
            && self.cpus.iter().zip(&self.read).all(|(known, now)| known.times.number == now.number);
        if same {
            for (known, now) in self.cpus.iter_mut().zip(&self.read) {
                known.times = forward(&known.times, now);
            }
            return false;
        }
        let mut before = std::mem::take(&mut self.cpus);
        for now in &self.read {
            let at = before.iter().position(|known| known.times.number == now.number);
            self.cpus.push(match at.map(|at| before.swap_remove(at)) {
                Some(known) => Known { times: forward(&known.times, now), ..known },
                None => Known { label: now.number.to_string(), times: *now },
            });
        }
        true
    }
}

/// The newer times, but none that is below the older one: the kernel computes idle and iowait anew at each
/// reading, and what came out smaller would look like a restarted counter.
fn forward(before: &CpuTimes, now: &CpuTimes) -> CpuTimes {
    let idle = |times: &CpuTimes| times.ticks.get(IDLE).copied().unwrap_or_default();
    let mut out = *now;
    if idle(before).saturating_sub(idle(now)) >= JUMP_BACK_TICKS {
        return out;
    }
    for (ticks, before) in out.ticks.iter_mut().zip(before.ticks) {
        *ticks = before.max(*ticks);
    }
    out
}

fn write(cpus: &[Known], guest: bool, out: &mut dyn Sink) {
    let seconds = |ticks: u64| Value::F64(ticks as f64 / TICKS_PER_SECOND);
    out.family(&SECONDS);
    for Known { label, times } in cpus {
        for (mode, ticks) in MODES.iter().zip(times.ticks).take(times.modes) {
            out.sample(&[label, mode], seconds(ticks));
        }
    }
    let guest_modes = |times: &CpuTimes| times.modes.saturating_sub(MODES.len());
    if guest && cpus.iter().any(|cpu| guest_modes(&cpu.times) > 0) {
        out.family(&GUEST);
        for Known { label, times } in cpus {
            let ticks = times.ticks.iter().skip(MODES.len());
            for (mode, ticks) in GUEST_MODES.iter().zip(ticks).take(guest_modes(times)) {
                out.sample(&[label, mode], seconds(*ticks));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(user: u64, idle: u64) -> CpuTimes {
        CpuTimes { number: 0, ticks: [user, 0, 0, idle, 0, 0, 0, 0, 0, 0], modes: 10 }
    }

    #[test]
    fn a_time_that_falls_a_little_stays_and_one_that_falls_far_begins_anew() {
        assert_eq!(forward(&times(10, 1000), &times(9, 1001)), times(10, 1001));
        assert_eq!(forward(&times(10, 1000), &times(11, 701)), times(11, 1000));
        assert_eq!(forward(&times(10, 1000), &times(3, 700)), times(3, 700));
    }
}
