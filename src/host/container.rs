//! What each control group uses of CPU, memory, I/O and tasks, as cAdvisor's metrics have it, over v1, v2 and both.
//!
//! Sources: `Documentation/admin-guide/cgroup-v2.rst`, `Documentation/admin-guide/cgroup-v1/`.

pub(crate) mod files;
pub mod names;
mod path;
mod processes;
mod shelf;
pub(crate) mod socket;

use super::cgroup::{Hierarchies, Version};
use super::counted;
use super::memory::{Pressure, pressure};
use super::proc::clock_ticks_per_second;
use super::{Host, HostError, ParseError, Tree, read_once};
pub use path::{container_around, container_id, pod_uid};
pub use processes::{Interface, Processes};
use shelf::{Kept, Shelf};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// What a group and all groups below it use; what the kernel does not say is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU time, and what holds the group back.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// I/O, device by device.
    pub devices: Vec<Device>,
    /// Processes in the group itself, without those of groups below.
    pub processes: Option<u64>,
    /// Their numbers; those of another name space have none.
    pub pids: Vec<u32>,
    /// Files that they hold open, where somebody looked.
    pub open_files: Option<u64>,
    /// Devices of the network that only this container or pod has; of the root, the host's.
    pub interfaces: Vec<Interface>,
    /// Tasks, which are threads.
    pub threads: Option<u64>,
    /// How many tasks there may be; 0 for any number.
    pub threads_max: Option<u64>,
    /// How long tasks waited for a CPU.
    pub cpu_pressure: Pressure,
    /// How long tasks waited for memory.
    pub memory_pressure: Pressure,
    /// How long tasks waited for I/O.
    pub io_pressure: Pressure,
    /// When the group was made, in whole seconds since 1970, as far as the kernel still knows.
    pub start_seconds: Option<u64>,
}

/// CPU time of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cpu {
    /// All of it.
    pub usage_seconds: Option<f64>,
    /// In programs.
    pub user_seconds: Option<f64>,
    /// In the kernel.
    pub system_seconds: Option<f64>,
    /// Periods in which a quota was watched.
    pub periods: Option<u64>,
    /// Periods in which the quota was used up.
    pub throttled_periods: Option<u64>,
    /// How long tasks were held back.
    pub throttled_seconds: Option<f64>,
    /// Periods in which more than the quota was used, from what was saved.
    pub burst_periods: Option<u64>,
    /// How much more.
    pub burst_seconds: Option<f64>,
    /// The period of the quota.
    pub period_micros: Option<u64>,
    /// The quota in each period; absent where there is none.
    pub quota_micros: Option<u64>,
    /// The weight, as v1's shares.
    pub shares: Option<u64>,
}

/// Memory of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// All that is charged; of the root of a v2 hierarchy, anonymous memory and page cache.
    pub usage_bytes: Option<u64>,
    /// The most that ever was.
    pub peak_bytes: Option<u64>,
    /// Anonymous memory.
    pub rss_bytes: Option<u64>,
    /// Page cache, tmpfs and shared memory included.
    pub cache_bytes: Option<u64>,
    /// Files that are mapped.
    pub mapped_file_bytes: Option<u64>,
    /// Memory of the kernel.
    pub kernel_bytes: Option<u64>,
    /// Page cache that was not used for long.
    pub inactive_file_bytes: Option<u64>,
    /// Page cache that was used lately.
    pub active_file_bytes: Option<u64>,
    /// What was swapped out.
    pub swap_bytes: Option<u64>,
    /// The hard limit; 0 where there is none.
    pub limit_bytes: Option<u64>,
    /// The limit of swap (v1: of memory and swap together); 0 where there is none.
    pub swap_limit_bytes: Option<u64>,
    /// What is protected (v2: memory.min, v1: the soft limit); 0 where nothing is.
    pub reservation_bytes: Option<u64>,
    /// How often the limit was reached.
    pub limit_hits: Option<u64>,
    /// How many processes were killed because the limit was reached.
    pub oom_kills: Option<u64>,
    /// How often tasks were held back because memory.high was reached; v2 only.
    pub high_events: Option<u64>,
    /// Page cache that is to be written to disk.
    pub dirty_bytes: Option<u64>,
    /// Page cache that is being written to disk.
    pub writeback_bytes: Option<u64>,
    /// Pages that reclaim looked at; v2 only.
    pub scanned_pages: Option<u64>,
    /// Pages that reclaim took; v2 only.
    pub reclaimed_pages: Option<u64>,
    /// Anonymous pages that were taken and soon needed again.
    pub refault_anon: Option<u64>,
    /// Pages of files that were taken and soon needed again.
    pub refault_file: Option<u64>,
    /// Page faults (v1: of the group alone).
    pub faults: Option<u64>,
    /// Page faults that waited for I/O (v1: of the group alone).
    pub major_faults: Option<u64>,
    /// Page faults of the group and all below it, where v1 tells them apart.
    pub hierarchy_faults: Option<u64>,
    /// Page faults of the group and all below it that waited for I/O, where v1 tells them apart.
    pub hierarchy_major_faults: Option<u64>,
}

impl Memory {
    /// What the kernel cannot simply drop: the usage without page cache that was not used for long.
    pub fn working_set_bytes(&self) -> Option<u64> {
        Some(self.usage_bytes?.saturating_sub(self.inactive_file_bytes?))
    }
}

/// What a group read from and wrote to a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Major and minor number.
    pub numbers: (u32, u32),
    /// Bytes read.
    pub read_bytes: Option<u64>,
    /// Bytes written.
    pub written_bytes: Option<u64>,
    /// Reads.
    pub reads: Option<u64>,
    /// Writes.
    pub writes: Option<u64>,
}

/// Groups below a container or pod that are looked at for a process.
const GROUPS_BELOW_MAX: usize = 16;

/// Where a controller's files are: the interface and the place among the roots.
type Place = (Version, usize);

/// Reads groups pass after pass, and keeps their files open.
#[derive(Debug)]
pub struct Reader {
    hierarchies: Hierarchies,
    memory: Option<Place>,
    cpu: Option<Place>,
    cpuacct: Option<Place>,
    io: Option<Place>,
    pids: Option<Place>,
    pressure: Option<usize>,
    shelf: Shelf,
    ticks_per_second: u64,
    boot_seconds: Option<u64>,
    devices: Devices,
}

impl Reader {
    /// A reader of this host's groups; `None` where there are none.
    pub fn open(host: &Host) -> Result<Option<Self>, HostError> {
        let hierarchies = Hierarchies::detect(host)?;
        let mut roots: Vec<PathBuf> = hierarchies.unified.iter().cloned().collect();
        let v1 = host.sysfs.join("fs/cgroup");
        let mut place = |name: &str| -> Option<Place> {
            let own = v1.join(name);
            // In a v2 hierarchy a directory of this name is a group like any other.
            let is_v1 = hierarchies.unified.as_ref() != Some(&v1) && counted::is_dir(&own);
            if !is_v1 {
                return hierarchies.unified.as_ref().map(|_| (Version::V2, 0));
            }
            roots.push(own);
            Some((Version::V1, roots.len() - 1))
        };
        let (memory, cpu, cpuacct) = (place("memory"), place("cpu"), place("cpuacct"));
        let (io, pids) = (place("blkio"), place("pids"));
        let pressure = hierarchies.unified.as_ref().map(|_| 0);
        if roots.is_empty() {
            return Ok(None);
        }
        let paths: Vec<&Path> = roots.iter().map(PathBuf::as_path).collect();
        let shelf = Shelf::new(&paths);
        let boot_seconds = super::proc::boot_seconds(host)?;
        let ticks_per_second = clock_ticks_per_second();
        Ok(Some(Self {
            hierarchies,
            memory,
            cpu,
            cpuacct,
            io,
            pids,
            pressure,
            shelf,
            ticks_per_second,
            boot_seconds,
            devices: Devices { blocks: Tree::new(&host.sysfs.join("dev/block")), names: HashMap::new() },
        }))
    }

    /// The groups of this pass, and how many more there are; see [`Hierarchies::groups`].
    pub fn groups(&mut self, depth_max: usize, count_max: usize) -> Result<(Vec<String>, usize), HostError> {
        self.shelf.begin();
        self.devices.names.clear();
        self.hierarchies.groups(depth_max, count_max)
    }

    /// What a group of the list uses; `None` if it is gone, or if no controller accounts for it.
    pub fn read(&mut self, group: &str) -> Result<Option<Usage>, HostError> {
        let (name, mut kept) = self.shelf.take(group);
        let mut usage = Usage::default();
        self.read_cpu(group, &mut kept, &mut usage.cpu)?;
        self.read_memory(group, &mut kept, &mut usage.memory)?;
        self.read_io(group, &mut kept, &mut usage.devices)?;
        self.read_tasks(group, &mut kept, &mut usage)?;
        self.read_pressure(group, &mut kept, &mut usage)?;
        if usage == Usage::default() {
            return Ok(None);
        }
        if kept.start_seconds.is_none() {
            kept.start_seconds = self.start_seconds(group);
        }
        usage.start_seconds = kept.start_seconds;
        self.shelf.put(name, kept);
        Ok(Some(usage))
    }

    /// The name of a block device, `/dev/sda`; its numbers where the machine has no such device any more.
    pub fn device_name(&mut self, numbers: (u32, u32)) -> String {
        self.devices.name(numbers)
    }

    fn read_cpu(&mut self, group: &str, kept: &mut Kept, out: &mut Cpu) -> Result<(), HostError> {
        let mut files = Files { shelf: &mut self.shelf, group, kept };
        if let Some((version, root)) = self.cpu {
            files.parse(root, "cpu.stat", |text| files::cpu_stat(text, out))?;
            if version == Version::V2 {
                if let Some((quota, period)) = files.parse(root, "cpu.max", files::cpu_max)? {
                    (out.quota_micros, out.period_micros) = (quota, Some(period));
                }
                out.shares = files.parse(root, "cpu.weight", files::shares)?;
            } else {
                out.quota_micros = files.parse(root, "cpu.cfs_quota_us", files::cfs_quota)?.flatten();
                out.period_micros = files.parse(root, "cpu.cfs_period_us", files::amount)?;
                out.shares = files.parse(root, "cpu.shares", files::amount)?;
            }
        }
        if let Some((Version::V1, root)) = self.cpuacct {
            let ticks = self.ticks_per_second;
            files.parse(root, "cpuacct.stat", |text| files::cpuacct_stat(text, ticks, out))?;
            out.usage_seconds = files.parse(root, "cpuacct.usage", files::cpuacct_usage)?;
        }
        Ok(())
    }

    fn read_memory(&mut self, group: &str, kept: &mut Kept, out: &mut Memory) -> Result<(), HostError> {
        let mut files = Files { shelf: &mut self.shelf, group, kept };
        let Some((version, root)) = self.memory else { return Ok(()) };
        if files.parse(root, "memory.stat", |text| files::memory_stat(text, out))?.is_none() {
            return Ok(());
        }
        if version == Version::V1 {
            out.usage_bytes = files.parse(root, "memory.usage_in_bytes", files::amount)?;
            out.peak_bytes = files.parse(root, "memory.max_usage_in_bytes", files::amount)?;
            out.limit_bytes = files.parse(root, "memory.limit_in_bytes", files::limit)?;
            out.swap_limit_bytes = files.parse(root, "memory.memsw.limit_in_bytes", files::limit)?;
            out.reservation_bytes = files.parse(root, "memory.soft_limit_in_bytes", files::limit)?;
            out.limit_hits = files.parse(root, "memory.failcnt", files::amount)?;
            let killed = |text: &str| files::field(text, "oom_kill");
            out.oom_kills = files.parse(root, "memory.oom_control", killed)?.flatten();
            return Ok(());
        }
        out.usage_bytes = files.parse(root, "memory.current", files::amount)?;
        if out.usage_bytes.is_none() {
            // The root of the hierarchy has no other files. v1 counts the root like this, and so does cAdvisor.
            out.usage_bytes =
                out.rss_bytes.zip(out.cache_bytes).map(|(rss, cache)| rss.saturating_add(cache));
            return Ok(());
        }
        out.peak_bytes = files.parse(root, "memory.peak", files::amount)?;
        out.swap_bytes = files.parse(root, "memory.swap.current", files::amount)?;
        out.limit_bytes = files.parse(root, "memory.max", files::limit)?;
        out.swap_limit_bytes = files.parse(root, "memory.swap.max", files::limit)?;
        out.reservation_bytes = files.parse(root, "memory.min", files::limit)?;
        files.parse(root, "memory.events", |text| files::memory_events(text, out))?;
        Ok(())
    }

    fn read_io(&mut self, group: &str, kept: &mut Kept, out: &mut Vec<Device>) -> Result<(), HostError> {
        let mut files = Files { shelf: &mut self.shelf, group, kept };
        match self.io {
            Some((Version::V2, root)) => {
                *out = files.parse(root, "io.stat", files::io_stat)?.unwrap_or_default();
            }
            Some((Version::V1, root)) => {
                for (recursive, own, bytes) in [
                    ("blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes", true),
                    ("blkio.throttle.io_serviced_recursive", "blkio.throttle.io_serviced", false),
                ] {
                    // Kernels before 5.5 have no account of the groups below.
                    if files.parse(root, recursive, |text| files::blkio(text, bytes, out))?.is_none() {
                        files.parse(root, own, |text| files::blkio(text, bytes, out))?;
                    }
                }
            }
            None => {}
        }
        Ok(())
    }

    fn read_tasks(&mut self, group: &str, kept: &mut Kept, out: &mut Usage) -> Result<(), HostError> {
        let mut files = Files { shelf: &mut self.shelf, group, kept };
        if let Some((_, root)) = self.pids {
            out.threads = files.parse(root, "pids.current", files::amount)?;
            out.threads_max = files.parse(root, "pids.max", files::limit)?;
        }
        // A group may have been made for one of the controllers alone.
        for (_, root) in self.cpu.into_iter().chain(self.memory) {
            let listed = files.parse(root, "cgroup.procs", |text| Ok(files::processes(text)))?;
            if let Some((count, pids)) = listed {
                (out.processes, out.pids) = (Some(count), pids);
                break;
            }
        }
        Ok(())
    }

    /// A process of a group, or of one below it. Where containers have groups of their own inside, or pods have none but
    /// those of containers, it is some levels down.
    pub fn a_process(&mut self, group: &str, usage: &Usage) -> Result<Option<u32>, HostError> {
        let (Some((_, root)), None) = (self.cpu.or(self.memory), usage.pids.first()) else {
            return Ok(usage.pids.first().copied());
        };
        let mut pending = vec![self.shelf.path(root, group, "").to_owned()];
        for _ in 0..GROUPS_BELOW_MAX {
            let Some(directory) = pending.pop() else { break };
            let text = super::read_once(&directory.join("cgroup.procs")).ok().flatten().unwrap_or_default();
            if let Some(pid) = files::processes(&text).1.first() {
                return Ok(Some(*pid));
            }
            let listed = counted::entries(&directory, |entry| {
                if entry.kind.is_dir() {
                    pending.push(directory.join(entry.name));
                }
            });
            match listed {
                Err(e) if !super::tree::gone(&e) => return Err(HostError::read(&directory, e)),
                _ => {}
            }
        }
        Ok(None)
    }

    fn read_pressure(&mut self, group: &str, kept: &mut Kept, out: &mut Usage) -> Result<(), HostError> {
        let mut files = Files { shelf: &mut self.shelf, group, kept };
        let Some(root) = self.pressure else { return Ok(()) };
        out.cpu_pressure = files.parse(root, "cpu.pressure", pressure)?.unwrap_or_default();
        out.memory_pressure = files.parse(root, "memory.pressure", pressure)?.unwrap_or_default();
        out.io_pressure = files.parse(root, "io.pressure", pressure)?.unwrap_or_default();
        Ok(())
    }

    /// The oldest time on the group's directory and on a file in it that nobody writes; the directory's own changes when a
    /// group below comes or goes. Both can be newer than the group, so they are looked at once, and are never older
    /// than the machine's start.
    fn start_seconds(&mut self, group: &str) -> Option<u64> {
        let (version, root) = self.memory.or(self.cpu)?;
        let file = if version == Version::V1 { "cgroup.clone_children" } else { "cgroup.events" };
        let modified = |path: &Path| {
            let time = counted::metadata(path).and_then(|m| m.modified()).ok()?;
            Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
        };
        let own = modified(self.shelf.path(root, group, ""))?;
        let start = modified(self.shelf.path(root, group, file)).map_or(own, |of_file| own.min(of_file));
        Some(self.boot_seconds.map_or(start, |boot| start.max(boot)))
    }
}

/// The names of block devices, looked up once in a pass: numbers are given again.
#[derive(Debug)]
struct Devices {
    blocks: Tree,
    names: HashMap<(u32, u32), String>,
}

impl Devices {
    fn name(&mut self, numbers: (u32, u32)) -> String {
        let blocks = &mut self.blocks;
        let look_up = || {
            let numbers = format!("{}:{}", numbers.0, numbers.1);
            let uevent = blocks.read(&[&numbers, "uevent"]).ok().flatten();
            let name =
                uevent.and_then(|t| Some(t.lines().find_map(|l| l.strip_prefix("DEVNAME="))?.to_owned()));
            name.map_or(numbers, |name| format!("/dev/{name}"))
        };
        self.names.entry(numbers).or_insert_with(look_up).clone()
    }
}

/// The files of one group.
struct Files<'a> {
    shelf: &'a mut Shelf,
    group: &'a str,
    kept: &'a mut Kept,
}

impl Files<'_> {
    fn parse<T>(
        &mut self,
        root: usize,
        file: &'static str,
        parser: impl FnOnce(&str) -> Result<T, ParseError>,
    ) -> Result<Option<T>, HostError> {
        self.shelf.parse((self.group, self.kept), (root, file), parser)
    }
}

/// The id of the container that a process is in, by the group of any hierarchy; `None` outside of all, or once it is gone.
pub fn of_process(host: &Host, pid: u32) -> Result<Option<String>, HostError> {
    let text = read_once(&host.procfs.join(pid.to_string()).join("cgroup"))?.unwrap_or_default();
    let mut paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    Ok(paths.find_map(container_around).map(str::to_owned))
}
