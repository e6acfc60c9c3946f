//! The threads of a process that has several: which of them ran since the last pass, and what they did.

use super::counts::Counts;
use super::families::Errors;
use super::groups::Groups;
use super::reading::{Reader, ThreadReading};
use crate::host::proc::Life;
use std::sync::Arc;

/// The threads of one process as they were last read; empty for a process that never had several.
#[derive(Debug, Default)]
pub(super) struct Threads {
    all: Vec<Thread>,
    /// Context switches of all threads, those that ended included.
    voluntary_switches: u64,
    nonvoluntary_switches: u64,
}

#[derive(Debug)]
struct Thread {
    id: u32,
    start_ticks: u64,
    name: String,
    /// Set if it was not running when it was read; as long as it is the same, so is all the rest.
    life: Option<Life>,
    state: char,
    wchan: Option<Arc<str>>,
    /// Its counters when they were last read, and by what they grew then.
    counts: Counts,
    before: Counts,
}

impl Threads {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether it is known of any of them when it last ran.
    #[cfg(test)]
    pub(super) fn have_signs(&self) -> bool {
        self.all.iter().any(|thread| thread.life.is_some())
    }

    /// Whether none of them ran since it was last read. Only a thread that runs can start another one.
    pub(super) fn rest(&self, pid: &str, reader: &mut Reader) -> bool {
        let mut digits = itoa::Buffer::new();
        self.all.iter().all(|t| t.life.is_some() && reader.thread_life(pid, digits.format(t.id)) == t.life)
    }

    /// Reads all threads of a process again, those that did not run excepted unless `all` is asked for. The process's
    /// counters, of which the kernel sums up all but the context switches, get those of all threads.
    pub(super) fn read(
        &mut self,
        of: &Process<'_>,
        reader: &mut Reader,
        process: &mut Counts,
        errors: &mut Errors,
    ) {
        let mut ids = reader.threads(of.pid, errors);
        // One that had several keeps its account of them.
        if ids.len() < 2 && self.all.is_empty() {
            ids.clear();
        }
        let main = Counts {
            voluntary_switches: of.counts.voluntary_switches,
            nonvoluntary_switches: of.counts.nonvoluntary_switches,
            ..Counts::default()
        };
        if self.all.is_empty() {
            self.voluntary_switches = of.counts.voluntary_switches.unwrap_or(0);
            self.nonvoluntary_switches = of.counts.nonvoluntary_switches.unwrap_or(0);
        }
        let first = self.all.is_empty();
        let mut old = std::mem::take(&mut self.all).into_iter().peekable();
        let mut digits = itoa::Buffer::new();
        for id in ids {
            while old.next_if(|t| t.id < id).is_some() {}
            let known = old.next_if(|t| t.id == id);
            let text = digits.format(id);
            let life = reader.thread_life(of.pid, text);
            if let Some(mut thread) = known {
                if !of.all && thread.life.is_some() && thread.life == life {
                    thread.before = thread.counts;
                    self.all.push(thread);
                    continue;
                }
                let Some(read) = reader.thread(of.pid, text) else { continue };
                let same = thread.start_ticks == read.start_ticks;
                let before = if same { thread.counts } else { Counts::default() };
                self.keep(Thread::new(id, life, read, before), &before);
            } else {
                let Some(read) = reader.thread(of.pid, text) else { continue };
                // What the main thread did while it was the only one is in the process's account already.
                let counted = if first && id == of.id { main } else { Counts::default() };
                self.keep(Thread::new(id, life, read, Counts::default()), &counted);
            }
        }
        if !self.all.is_empty() {
            process.voluntary_switches = process.voluntary_switches.map(|_| self.voluntary_switches);
            process.nonvoluntary_switches = process.nonvoluntary_switches.map(|_| self.nonvoluntary_switches);
        }
    }

    /// Keeps a thread that was read; `counted` is what the process's account has of it.
    fn keep(&mut self, thread: Thread, counted: &Counts) {
        let grown =
            |now: Option<u64>, before: Option<u64>| now.unwrap_or(0).saturating_sub(before.unwrap_or(0));
        self.voluntary_switches += grown(thread.counts.voluntary_switches, counted.voluntary_switches);
        self.nonvoluntary_switches +=
            grown(thread.counts.nonvoluntary_switches, counted.nonvoluntary_switches);
        self.all.push(thread);
    }

    /// Adds the threads to their group: what each did since the last pass if they were `read`, and where it stands.
    pub(super) fn add(&self, groups: &mut Groups, group: usize, read: bool) {
        let several = self.all.len() > 1;
        for thread in &self.all {
            groups.stand(group, thread.state, thread.wchan.as_ref());
            if several {
                groups.add_thread(group, &thread.name, read.then_some((&thread.counts, &thread.before)));
            }
        }
    }
}

/// The process whose threads are read.
pub(super) struct Process<'a> {
    pub(super) id: u32,
    pub(super) pid: &'a str,
    /// Its counters when they were last read.
    pub(super) counts: Counts,
    /// Whether threads that did not run are read too.
    pub(super) all: bool,
}

impl Thread {
    fn new(id: u32, life: Option<Life>, read: ThreadReading, before: Counts) -> Self {
        let ThreadReading { mut counts, name, state, wchan, start_ticks } = read;
        let now = counts;
        counts = before;
        counts.keep(&now);
        Self { id, start_ticks, name, life: life.filter(|_| state != 'R'), state, wchan, counts, before }
    }
}
