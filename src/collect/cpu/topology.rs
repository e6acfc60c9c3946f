//! What /sys/devices/system/cpu tells besides times: throttling by core and package, isolated and online processors.

use crate::host::counted::exists;
use crate::host::system::{CPU_NUMBER_MAX, cpu_list, whole};
use crate::host::{Host, HostError, Kept, children};
use crate::metric::{Desc, Sink, Value};
use std::ops::RangeInclusive;

const CORE: Desc<'static> = Desc::counter(
    "node_cpu_core_throttles_total",
    "Number of times this CPU core has been throttled.",
    &["core", "package"],
);
const PACKAGE: Desc<'static> = Desc::counter(
    "node_cpu_package_throttles_total",
    "Number of times this CPU package has been throttled.",
    &["package"],
);
const ISOLATED: Desc<'static> = Desc::gauge(
    "node_cpu_isolated",
    "Whether each core is isolated, information from /sys/devices/system/cpu/isolated.",
    &["cpu"],
);
const ONLINE: Desc<'static> =
    Desc::gauge("node_cpu_online", "CPUs that are online and being scheduled.", &["cpu"]);

/// The files to read, found once for a set of processors.
pub(super) struct Topology {
    cores: Vec<Throttled>,
    packages: Vec<Throttled>,
    /// Fixed by the kernel's command line.
    isolated: Vec<String>,
    online: Option<Online>,
}

/// A core or a package: all its processors show the same count, so one file is enough.
struct Throttled {
    core: String,
    package: String,
    file: Kept,
    count: Option<u64>,
}

/// Which processors are online; only kernels that can switch the first one off tell (x86 cannot).
struct Online {
    file: Kept,
    list: Vec<RangeInclusive<u32>>,
    cpus: Vec<(u32, String)>,
}

impl Topology {
    pub(super) fn find(host: &Host) -> Result<Self, HostError> {
        let names = children(&host.sysfs.join("devices/system/cpu"))?.unwrap_or_default();
        let number = |name: &String| name.strip_prefix("cpu").and_then(|n| n.parse::<u32>().ok());
        let numbers: Vec<u32> = names.iter().filter_map(number).filter(|n| *n <= CPU_NUMBER_MAX).collect();
        let mut out = Self { cores: vec![], packages: vec![], isolated: vec![], online: None };
        for number in &numbers {
            out.add(host, *number)?;
        }
        let mut isolated = host.sys_file("devices/system/cpu/isolated");
        let isolated = isolated.parse(cpu_list)?.unwrap_or_default();
        out.isolated = isolated.into_iter().flatten().map(|cpu| cpu.to_string()).collect();
        if exists(&host.sysfs.join("devices/system/cpu/cpu0/online")) {
            let cpus = numbers.iter().map(|cpu| (*cpu, cpu.to_string())).collect();
            let file = host.sys_file("devices/system/cpu/online");
            out.online = Some(Online { file, list: Vec::new(), cpus });
        }
        Ok(out)
    }

    fn add(&mut self, host: &Host, number: u32) -> Result<(), HostError> {
        let file = |name: &str| host.sys_file(&format!("devices/system/cpu/cpu{number}/{name}"));
        let package = file("topology/physical_package_id").parse(id)?;
        let core = file("topology/core_id").parse(id)?;
        // A processor without a place belongs to no core that could be throttled.
        let (Some(package), Some(core)) = (package, core) else { return Ok(()) };
        let new = |core: String, package: String, name: &str| {
            let mut file = file(name);
            let count = file.parse(whole)?;
            Ok::<_, HostError>(count.map(|_| Throttled { core, package, file, count }))
        };
        if !self.cores.iter().any(|t| t.package == package && t.core == core) {
            self.cores.extend(new(core, package.clone(), "thermal_throttle/core_throttle_count")?);
        }
        if !self.packages.iter().any(|t| t.package == package) {
            self.packages.extend(new(String::new(), package, "thermal_throttle/package_throttle_count")?);
        }
        Ok(())
    }

    pub(super) fn read(&mut self) -> Result<(), HostError> {
        for throttled in self.cores.iter_mut().chain(&mut self.packages) {
            throttled.count = throttled.file.parse(whole)?;
        }
        if let Some(online) = &mut self.online {
            online.list = online.file.parse(cpu_list)?.unwrap_or_default();
        }
        Ok(())
    }

    pub(super) fn write(&self, out: &mut dyn Sink) {
        if self.cores.iter().any(|t| t.count.is_some()) {
            out.family(&CORE);
            for t in &self.cores {
                if let Some(count) = t.count {
                    out.sample(&[&t.core, &t.package], Value::U64(count));
                }
            }
        }
        if self.packages.iter().any(|t| t.count.is_some()) {
            out.family(&PACKAGE);
            for t in &self.packages {
                if let Some(count) = t.count {
                    out.sample(&[&t.package], Value::U64(count));
                }
            }
        }
        if !self.isolated.is_empty() {
            out.family(&ISOLATED);
            for cpu in &self.isolated {
                out.sample(&[cpu], Value::U64(1));
            }
        }
        if let Some(online) = self.online.as_ref().filter(|online| !online.list.is_empty()) {
            out.family(&ONLINE);
            for (number, label) in &online.cpus {
                let on = online.list.iter().any(|range| range.contains(number));
                out.sample(&[label], Value::U64(u64::from(on)));
            }
        }
    }
}

/// A number that may be -1: virtual machines have processors without a package.
fn id(text: &str) -> Result<String, crate::host::ParseError> {
    crate::host::parse::number::<i64>(Some(text.trim()), 1, "one whole number").map(|id| id.to_string())
}
