//! The collector of processors' frequencies: what they run at, their bounds, their governors (`node_cpu_scaling_*`).

use super::board::{Board, Cell, Found, Unreadable, put};
use super::{CollectError, Collector, Entry};
use crate::host::attribute::{Attribute, Reader, Reading};
use crate::host::counted::is_dir;
use crate::host::system::{CPU_NUMBER_MAX, cpu_list, whole};
use crate::host::{Host, HostError, Kept, ParseError, open_once};
use crate::metric::{Desc, Sink, Value};
use std::ops::RangeInclusive;
use std::path::Path;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "cpufreq",
    on: true,
    make: |host, _| {
        Ok(Box::new(Cpufreq {
            board: Board::new(host.sysfs.join("devices/system/cpu"), Unreadable::IsAbsent)
                .told_by(&host.arrivals),
            offline: host.sys_file("devices/system/cpu/offline"),
            offline_before: Vec::new(),
            policies: Policies::default(),
        }))
    },
};

const FREQUENCY: &str = "node_cpu_frequency_hertz";
/// In node_exporter's order, which is that of the names.
const FREQUENCIES: [(Desc<'static>, &str); 7] = [
    (
        Desc::gauge("node_cpu_frequency_avg_hertz", "Average CPU thread frequency in hertz.", &["cpu"]),
        "cpuinfo_avg_freq",
    ),
    (Desc::gauge(FREQUENCY, "Current CPU thread frequency in hertz.", &["cpu"]), "cpuinfo_cur_freq"),
    (
        Desc::gauge("node_cpu_frequency_max_hertz", "Maximum CPU thread frequency in hertz.", &["cpu"]),
        "cpuinfo_max_freq",
    ),
    (
        Desc::gauge("node_cpu_frequency_min_hertz", "Minimum CPU thread frequency in hertz.", &["cpu"]),
        "cpuinfo_min_freq",
    ),
    (
        Desc::gauge(
            "node_cpu_scaling_frequency_hertz",
            "Current scaled CPU thread frequency in hertz.",
            &["cpu"],
        ),
        "scaling_cur_freq",
    ),
    (
        Desc::gauge(
            "node_cpu_scaling_frequency_max_hertz",
            "Maximum scaled CPU thread frequency in hertz.",
            &["cpu"],
        ),
        "scaling_max_freq",
    ),
    (
        Desc::gauge(
            "node_cpu_scaling_frequency_min_hertz",
            "Minimum scaled CPU thread frequency in hertz.",
            &["cpu"],
        ),
        "scaling_min_freq",
    ),
];
const GOVERNOR: Desc<'static> =
    Desc::gauge("node_cpu_scaling_governor", "Current enabled CPU frequency governor.", &["cpu", "governor"]);

struct Cpufreq {
    board: Board,
    offline: Kept,
    offline_before: Vec<RangeInclusive<u32>>,
    policies: Policies,
}

/// The governor of each processor, which is a text and so no value of a file.
#[derive(Default)]
struct Policies {
    all: Vec<Policy>,
}

struct Policy {
    cpu: String,
    available: Vec<String>,
    file: Attribute,
    /// The present governor; empty if it is not known.
    present: String,
}

impl Collector for Cpufreq {
    fn collect(&mut self, host: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let absent = || CollectError::Absent("devices/system/cpu".into());
        let offline = self.offline.parse(cpu_list)?.ok_or_else(absent)?;
        if offline != self.offline_before {
            self.board.forget();
        }
        // The information of /proc/cpuinfo has the same name, and was asked for: the collector `cpu` wrote it.
        let frequency = !out.has_family(FREQUENCY);
        let policies = &mut self.policies;
        let there = self.board.look(|directory, names, found| {
            *policies = Policies::default();
            for name in names {
                let number = name.strip_prefix("cpu").and_then(|n| n.parse::<u32>().ok());
                let Some(number) = number.filter(|n| *n <= CPU_NUMBER_MAX) else { continue };
                if !offline.iter().any(|range| range.contains(&number)) {
                    find(
                        &directory.join(name).join("cpufreq"),
                        &number.to_string(),
                        frequency,
                        found,
                        policies,
                    )?;
                }
            }
            Ok::<_, HostError>(())
        })?;
        if !there {
            return Err(absent());
        }
        self.offline_before = offline;
        if policies.all.len() > 1 {
            // Before 5.18, x86 lets each reading of a frequency wait 10 ms for a measurement, one processor after the
            // other. Opening this file measures all of them at once.
            open_once(&host.procfs.join("cpuinfo"));
        }
        self.board.read()?;
        policies.read();
        self.board.write(out);
        policies.write(out);
        Ok(())
    }
}

fn find(
    directory: &Path,
    cpu: &str,
    frequency: bool,
    found: &mut Found,
    policies: &mut Policies,
) -> Result<(), HostError> {
    if !is_dir(directory) {
        return Ok(());
    }
    for (desc, file) in &FREQUENCIES {
        if frequency || desc.name != FREQUENCY {
            found.one(desc, &[cpu], directory.join(file), kilohertz);
        }
    }
    policies.add(directory, cpu)
}

impl Policies {
    fn add(&mut self, directory: &Path, cpu: &str) -> Result<(), HostError> {
        let mut available = Attribute::new(directory.join("scaling_available_governors"));
        let mut reader = Reader::default();
        let Reading::Text(names) = reader.read(&mut available)? else { return Ok(()) };
        self.all.push(Policy {
            cpu: cpu.to_owned(),
            available: names.split_ascii_whitespace().map(str::to_owned).collect(),
            file: Attribute::new(directory.join("scaling_governor")),
            present: String::new(),
        });
        Ok(())
    }

    fn read(&mut self) {
        let mut reader = Reader::default();
        for policy in &mut self.all {
            // As with frequencies, a processor that is just going off line answers with errors.
            policy.present.clear();
            if let Ok(Reading::Text(name)) = reader.read(&mut policy.file) {
                policy.present.push_str(name.trim());
            }
        }
    }

    fn write(&self, out: &mut dyn Sink) {
        let shown = |policy: &&Policy| !policy.present.is_empty() && !policy.available.is_empty();
        if self.all.iter().any(|policy| shown(&policy)) {
            out.family(&GOVERNOR);
        }
        for policy in self.all.iter().filter(shown) {
            for governor in &policy.available {
                out.sample(&[&policy.cpu, governor], Value::U64(u64::from(*governor == policy.present)));
            }
        }
    }
}

/// A frequency as the kernel gives it. A driver that does not know writes `<unknown>`.
fn kilohertz(text: &str, cells: &mut [Cell]) -> Result<(), ParseError> {
    if text.trim() != "<unknown>" {
        put(cells, 0, whole(text)?.checked_mul(1000).map(Value::U64));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frequency_that_the_driver_does_not_know_is_absent() {
        let mut cells = [None];
        kilohertz("<unknown>", &mut cells).unwrap();
        assert!(cells[0].is_none());
        kilohertz("800000", &mut cells).unwrap();
        assert!(matches!(cells[0], Some(Value::U64(800_000_000))));
        assert!(kilohertz("fast", &mut cells).is_err());
    }
}
