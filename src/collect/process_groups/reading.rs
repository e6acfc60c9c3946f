//! One process read: its counters and what it holds now, as far as the rights go.

use super::counts::Counts;
use super::families::Errors;
use super::refused;
use crate::host::proc::{self, Asked, Identity, Life, OpenFiles, Proportional, Stat};
use crate::host::{Host, HostError, Tree};
use std::collections::HashSet;
use std::sync::Arc;

/// What was read of a process in one pass.
pub(super) struct Reading {
    pub(super) counts: Counts,
    pub(super) held: Held,
}

/// What a process holds and where it stands; absent is what could not be read.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) state: char,
    /// The kernel's function in which the main thread waits.
    pub(super) wchan: Option<Arc<str>>,
    pub(super) threads: u64,
    pub(super) start_ticks: u64,
    pub(super) resident_bytes: u64,
    pub(super) virtual_bytes: u64,
    pub(super) swapped_bytes: Option<u64>,
    pub(super) open_files: Option<u64>,
    /// Open files over how many may be, 0 to 1.
    pub(super) open_files_ratio: Option<f64>,
}

/// What was read of a thread.
pub(super) struct ThreadReading {
    pub(super) counts: Counts,
    pub(super) name: String,
    pub(super) state: char,
    pub(super) wchan: Option<Arc<str>>,
    pub(super) start_ticks: u64,
}

/// Reads the files of processes through one buffer.
pub(super) struct Reader {
    tree: Tree,
    open_files: Option<OpenFiles>,
    /// The functions that were met; the kernel has so many, and no more.
    functions: HashSet<Arc<str>>,
    /// Whether signs of life are looked for. In the first pass there is nothing to compare them with, and somebody waits
    /// for its page: there they are spared, and all is read once more in the second one.
    pub(super) looks_for_life: bool,
}

impl Reader {
    pub(super) fn new(host: &Host, open_files: bool) -> Self {
        Self {
            tree: Tree::new(&host.procfs),
            open_files: open_files.then(|| OpenFiles::detect(host)),
            functions: HashSet::new(),
            looks_for_life: true,
        }
    }

    pub(super) fn counts_open_files(&self) -> bool {
        self.open_files.is_some()
    }

    pub(super) fn stat(&mut self, pid: &str) -> Result<Option<Stat>, HostError> {
        proc::record(&mut self.tree, &[pid, "stat"], proc::stat)
    }

    pub(super) fn identity(
        &mut self,
        pid: u32,
        stat: &Stat,
        asked: Asked,
    ) -> Result<Option<Identity>, HostError> {
        proc::identify(&mut self.tree, pid, stat, asked)
    }

    /// The process's signs of life; none where they cannot be read, and then all is to be read.
    pub(super) fn life(&mut self, pid: &str) -> Option<Life> {
        let looked = self.looks_for_life.then(|| Life::of_process(&mut self.tree, pid));
        looked?.ok().flatten()
    }

    pub(super) fn thread_life(&mut self, pid: &str, thread: &str) -> Option<Life> {
        let looked = self.looks_for_life.then(|| Life::of_thread(&mut self.tree, pid, thread));
        looked?.ok().flatten()
    }

    /// The threads of a process; none where they cannot be listed.
    pub(super) fn threads(&mut self, pid: &str, errors: &mut Errors) -> Vec<u32> {
        let listed = proc::threads(&mut self.tree, pid);
        errors.partial += u64::from(listed.is_err());
        listed.ok().flatten().unwrap_or_default()
    }

    /// Reads one thread; `None` when it went away meanwhile, as threads do, or cannot be read.
    pub(super) fn thread(&mut self, pid: &str, thread: &str) -> Option<ThreadReading> {
        let tree = &mut self.tree;
        let of = |file| [pid, "task", thread, file];
        let stat = proc::record(tree, &of("stat"), proc::stat).ok()??;
        let status = proc::record(tree, &of("status"), proc::status).ok()??;
        let io = proc::record(tree, &of("io"), proc::io).ok().flatten();
        let wchan =
            proc::wchan(tree, &of("wchan")).ok().flatten().map(|name| known(&mut self.functions, &name));
        Some(ThreadReading {
            counts: Counts::new(&stat, &status, io),
            state: stat.state,
            wchan,
            start_ticks: stat.start_ticks,
            name: stat.comm,
        })
    }

    /// Reads what `stat` does not say; `None` when the process went away meanwhile.
    pub(super) fn rest(
        &mut self,
        pid: &str,
        stat: &Stat,
        errors: &mut Errors,
    ) -> Result<Option<Reading>, HostError> {
        let tree = &mut self.tree;
        let Some(status) = proc::record(tree, &[pid, "status"], proc::status)? else {
            return Ok(None);
        };
        let io = permitted(proc::record(tree, &[pid, "io"], proc::io), &mut errors.partial)?;
        let open_files = match self.open_files {
            Some(way) => permitted(way.count(tree, pid), &mut errors.partial)?,
            None => None,
        };
        let open_files_ratio = match open_files {
            Some(count) => ratio(tree, pid, count, errors)?,
            None => None,
        };
        let wchan = permitted(proc::wchan(tree, &[pid, "wchan"]), &mut errors.partial)?;
        let wchan = wchan.map(|name| known(&mut self.functions, &name));
        let held = Held {
            state: stat.state,
            wchan,
            threads: stat.threads,
            start_ticks: stat.start_ticks,
            resident_bytes: stat.resident_bytes,
            virtual_bytes: stat.virtual_bytes,
            swapped_bytes: status.swap_bytes,
            open_files,
            open_files_ratio,
        };
        Ok(Some(Reading { counts: Counts::new(stat, &status, io), held }))
    }

    /// The memory of a process by class; `None` where it went away, or this kernel or the rights do not give it.
    pub(super) fn memory(&mut self, pid: &str, errors: &mut Errors) -> Option<Box<[Proportional; 5]>> {
        let read = proc::parsed(&mut self.tree, &[pid, "smaps"], proc::proportional_by_class);
        errors.partial += u64::from(read.is_err());
        read.ok().flatten().map(Box::new)
    }
}

fn ratio(tree: &mut Tree, pid: &str, open: u64, errors: &mut Errors) -> Result<Option<f64>, HostError> {
    let limit = proc::record(tree, &[pid, "limits"], proc::open_files_limit);
    Ok(permitted(limit, &mut errors.partial)?.map(|limit| match limit {
        Some(limit) => open as f64 / limit.max(1) as f64,
        None => 0.0,
    }))
}

/// The name of a function, which all that wait in it share.
fn known(functions: &mut HashSet<Arc<str>>, name: &str) -> Arc<str> {
    if let Some(function) = functions.get(name) {
        return Arc::clone(function);
    }
    let function: Arc<str> = name.into();
    functions.insert(Arc::clone(&function));
    function
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
