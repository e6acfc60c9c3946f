//! The collector of all processes and threads together: how many, and in which states (`node_processes_*`).

use super::{CollectError, Collector, Entry};
use crate::host::proc::{parsed, pids, stat};
use crate::host::{Host, Kept, Tree, children, system};
use crate::metric::{Desc, Sink, Value, single};
use std::collections::BTreeMap;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "processes",
    on: false,
    make: |host, _| {
        Ok(Box::new(Processes {
            tree: Tree::new(&host.procfs),
            threads_max: host.proc_file("sys/kernel/threads-max"),
            pid_max: host.proc_file("sys/kernel/pid_max"),
        }))
    },
};

const THREADS: Desc<'static> = Desc::gauge("node_processes_threads", "Allocated threads in system", &[]);
const MAX_THREADS: Desc<'static> =
    Desc::gauge("node_processes_max_threads", "Limit of threads in the system", &[]);
const STATE: Desc<'static> =
    Desc::gauge("node_processes_state", "Number of processes in each state.", &["state"]);
const THREADS_STATE: Desc<'static> =
    Desc::gauge("node_processes_threads_state", "Number of threads in each state.", &["thread_state"]);
const PIDS: Desc<'static> = Desc::gauge("node_processes_pids", "Number of PIDs", &[]);
const MAX_PROCESSES: Desc<'static> =
    Desc::gauge("node_processes_max_processes", "Number of max PIDs limit", &[]);

struct Processes {
    tree: Tree,
    threads_max: Kept,
    pid_max: Kept,
}

#[derive(Default)]
struct Counts {
    processes: u64,
    threads: u64,
    states: BTreeMap<char, u64>,
    thread_states: BTreeMap<char, u64>,
}

impl Collector for Processes {
    fn collect(&mut self, host: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let threads_max = self.threads_max.parse(system::whole)?;
        let pid_max = self.pid_max.parse(system::whole)?;
        let counts = self.count(host)?;
        single(out, &THREADS, counts.threads);
        limit(out, &MAX_THREADS, threads_max);
        write_states(out, &STATE, &counts.states);
        write_states(out, &THREADS_STATE, &counts.thread_states);
        single(out, &PIDS, counts.processes);
        limit(out, &MAX_PROCESSES, pid_max);
        Ok(())
    }
}

impl Processes {
    fn count(&mut self, host: &Host) -> Result<Counts, CollectError> {
        let mut out = Counts::default();
        for pid in pids(host)? {
            let pid = pid.to_string();
            // A process that ended between the list and its file is as if it had not been there.
            let Some(process) = parsed(&mut self.tree, &[&pid, "stat"], stat)? else { continue };
            out.processes += 1;
            out.threads += process.threads;
            *out.states.entry(process.state).or_default() += 1;
            for thread in children(self.tree.path(&[&pid, "task"]))?.unwrap_or_default() {
                let state = if thread == pid {
                    Some(process.state)
                } else {
                    parsed(&mut self.tree, &[&pid, "task", &thread, "stat"], stat)?.map(|thread| thread.state)
                };
                if let Some(state) = state {
                    *out.thread_states.entry(state).or_default() += 1;
                }
            }
        }
        Ok(out)
    }
}

fn limit(out: &mut dyn Sink, desc: &Desc<'_>, value: Option<u64>) {
    if let Some(value) = value {
        single(out, desc, value);
    }
}

fn write_states(out: &mut dyn Sink, desc: &Desc<'_>, states: &BTreeMap<char, u64>) {
    if states.is_empty() {
        return;
    }
    out.family(desc);
    for (state, count) in states {
        out.sample(&[state.encode_utf8(&mut [0; 4])], Value::U64(*count));
    }
}
