//! The process that runs: its time, memory and files, under the names that all client libraries use.

use crate::collect::applications::Source;
use crate::host::proc::{self, OpenFiles, Stat};
use crate::host::{Host, HostError, Kept, Tree};
use crate::metric::{Desc, Sink};

const CPU: Desc<'static> =
    Desc::counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", &[]);
const OPEN_FDS: Desc<'static> = Desc::gauge("process_open_fds", "Number of open file descriptors.", &[]);
const MAX_FDS: Desc<'static> =
    Desc::gauge("process_max_fds", "Maximum number of open file descriptors.", &[]);
const VIRTUAL: Desc<'static> =
    Desc::gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", &[]);
const VIRTUAL_MAX: Desc<'static> = Desc::gauge(
    "process_virtual_memory_max_bytes",
    "Maximum amount of virtual memory available in bytes.",
    &[],
);
const RESIDENT: Desc<'static> =
    Desc::gauge("process_resident_memory_bytes", "Resident memory size in bytes.", &[]);
const START: Desc<'static> =
    Desc::gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", &[]);

/// All of them.
pub(super) const ALL: [Desc<'static>; 7] = [CPU, OPEN_FDS, MAX_FDS, VIRTUAL, VIRTUAL_MAX, RESIDENT, START];

/// Reads /proc/self: the real one, for the host's, mounted elsewhere, may be of another name space.
pub(super) struct Process {
    tree: Tree,
    stat: Kept,
    open_files: OpenFiles,
    boot_seconds: Option<u64>,
}

/// What was read; absent is what this system does not have.
pub(super) struct Reading {
    stat: Option<Stat>,
    open_fds: Option<u64>,
    max_fds: Option<u64>,
    max_virtual_bytes: u64,
    boot_seconds: Option<u64>,
}

impl Process {
    pub(super) fn new() -> Self {
        let host = Host::default();
        let open_files = OpenFiles::detect(&host);
        let stat = host.proc_file("self/stat");
        Self { tree: Tree::new(&host.procfs), stat, open_files, boot_seconds: None }
    }

    pub(super) fn read(&mut self) -> Result<Reading, HostError> {
        if self.boot_seconds.is_none() {
            self.boot_seconds = proc::parsed(&mut self.tree, &["stat"], proc::boot_time)?;
        }
        // The name of the program may be of any bytes.
        let stat = self.stat.read_bytes()?.map(|bytes| proc::stat(&String::from_utf8_lossy(bytes)));
        Ok(Reading {
            stat: stat.transpose().map_err(|e| HostError::parse(self.stat.path(), e))?,
            open_fds: self.open_files.count(&mut self.tree, "self")?,
            max_fds: proc::own_open_files_limit(),
            max_virtual_bytes: proc::own_virtual_memory_limit(),
            boot_seconds: self.boot_seconds,
        })
    }
}

impl Reading {
    pub(super) fn write(&self, with: &Source, out: &mut dyn Sink) {
        let ticks = proc::clock_ticks_per_second() as f64;
        if let Some(stat) = &self.stat {
            with.write_with(&CPU, (stat.user_ticks + stat.system_ticks) as f64 / ticks, out);
            with.write_with(&VIRTUAL, stat.virtual_bytes, out);
            // Without a limit all client libraries say the largest number there is.
            with.write_with(&VIRTUAL_MAX, self.max_virtual_bytes, out);
            with.write_with(&RESIDENT, stat.resident_bytes, out);
            if let Some(boot) = self.boot_seconds {
                with.write_with(&START, boot as f64 + stat.start_ticks as f64 / ticks, out);
            }
        }
        if let Some(count) = self.open_fds {
            with.write_with(&OPEN_FDS, count, out);
        }
        if let Some(count) = self.max_fds {
            with.write_with(&MAX_FDS, count, out);
        }
    }
}
