//! One process read: its counters and what it holds now, as far as the rights go.

use super::counts::Counts;
use super::families::Errors;
use super::refused;
use crate::host::proc::{self, Identity, OpenFiles, Stat};
use crate::host::{Host, HostError, Tree};

/// What was read of a process in one pass; absent is what could not be read.
pub(super) struct Reading {
    pub(super) counts: Counts,
    pub(super) state: char,
    pub(super) threads: u64,
    pub(super) start_ticks: u64,
    pub(super) resident_bytes: u64,
    pub(super) virtual_bytes: u64,
    pub(super) swapped_bytes: Option<u64>,
    pub(super) open_files: Option<u64>,
    /// Open files over how many may be, 0 to 1.
    pub(super) open_files_ratio: Option<f64>,
}

/// Reads the files of processes through one buffer.
pub(super) struct Reader {
    tree: Tree,
    open_files: Option<OpenFiles>,
}

impl Reader {
    pub(super) fn new(host: &Host, open_files: bool) -> Self {
        Self { tree: Tree::new(&host.procfs), open_files: open_files.then(|| OpenFiles::detect(host)) }
    }

    pub(super) fn counts_open_files(&self) -> bool {
        self.open_files.is_some()
    }

    pub(super) fn stat(&mut self, pid: &str) -> Result<Option<Stat>, HostError> {
        proc::parsed(&mut self.tree, &[pid, "stat"], proc::stat)
    }

    pub(super) fn identity(&mut self, pid: u32) -> Result<Option<Identity>, HostError> {
        proc::identity_in(&mut self.tree, pid)
    }

    /// Reads what `stat` does not say; `None` when the process went away meanwhile.
    pub(super) fn rest(
        &mut self,
        pid: &str,
        stat: &Stat,
        errors: &mut Errors,
    ) -> Result<Option<Reading>, HostError> {
        let Some(status) = proc::parsed(&mut self.tree, &[pid, "status"], proc::status)? else {
            return Ok(None);
        };
        let io = proc::parsed(&mut self.tree, &[pid, "io"], proc::io);
        let io = permitted(io, &mut errors.partial)?;
        let open_files = match self.open_files {
            Some(way) => permitted(way.count(&mut self.tree, pid), &mut errors.partial)?,
            None => None,
        };
        let open_files_ratio = match open_files {
            Some(count) => self.ratio(pid, count, errors)?,
            None => None,
        };
        Ok(Some(Reading {
            counts: Counts::new(stat, &status, io),
            state: stat.state,
            threads: stat.threads,
            start_ticks: stat.start_ticks,
            resident_bytes: stat.resident_bytes,
            virtual_bytes: stat.virtual_bytes,
            swapped_bytes: status.swap_bytes,
            open_files,
            open_files_ratio,
        }))
    }

    fn ratio(&mut self, pid: &str, open: u64, errors: &mut Errors) -> Result<Option<f64>, HostError> {
        let limit = proc::parsed(&mut self.tree, &[pid, "limits"], proc::open_files_limit);
        Ok(permitted(limit, &mut errors.partial)?.map(|limit| match limit {
            Some(limit) => open as f64 / limit.max(1) as f64,
            None => 0.0,
        }))
    }
}

/// What was read; absent, and counted, where the rights do not suffice.
fn permitted<T>(read: Result<Option<T>, HostError>, refusals: &mut u64) -> Result<Option<T>, HostError> {
    match read {
        Err(e) if refused(&e) => {
            *refusals += 1;
            Ok(None)
        }
        other => other,
    }
}
