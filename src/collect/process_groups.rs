//! The collector of processes: what each group of them uses, under process-exporter's names (`namedprocess_*`).

mod counts;
mod families;
mod groups;
mod options;
mod reading;
mod sampler;
mod threads;

use super::{CollectError, Collector, Entry, OptionError};
use crate::host::group::{Grouping, Users};
use crate::host::proc::{self, Asked, Identity, Life, Stat};
use crate::host::{Host, HostError};
use crate::metric::Sink;
use counts::Counts;
use families::{Errors, View};
use groups::{Groups, Limits, Place};
pub use options::Options;
use reading::{Held, Reader};
use sampler::{Coverage, Sample, Sampler};
use std::collections::HashMap;
use std::io;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use threads::Threads;

/// In so many passes every process is read whole at least once, though it did not run: others can change its limits.
const WHOLE_PASSES: u64 = 64;
/// How far up a process's ancestors are looked for.
const ANCESTORS_MAX: usize = 64;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "process_groups",
    on: true,
    make: |host, options| Ok(Box::new(Processes::new(host, options.process_groups.clone())?)),
};

struct Processes {
    options: Options,
    grouping: Grouping,
    /// What the grouping wants to know of a process.
    asked: Asked,
    users: Option<Users>,
    reader: Reader,
    known: HashMap<u32, Box<Known>>,
    groups: Groups,
    sampler: Option<Sampler>,
    errors: Errors,
    boot_seconds: Option<u64>,
    /// Counts the passes, so that a process that was not met in one is known to have ended.
    pass: u64,
    /// Whether /etc/passwd was read again in this pass for a user without a name.
    users_reread: bool,
    /// Processes that no rule takes, met for the first time in this pass.
    orphans: Vec<u32>,
}

/// A process that was met before.
struct Known {
    start_ticks: u64,
    /// The name under which it was put into its group. It changes when the process runs another
    /// program, and then the group may be another one too.
    comm: String,
    parent: u32,
    /// Whether it had no arguments when it was first looked at: it may have been about to begin
    /// another program, so it is looked at once more.
    again: bool,
    place: Place,
    /// Its counters when they were last read; what they grew by since goes to the group.
    counts: Counts,
    pass: u64,
    /// Its signs of life before it was last read, if it was not running then: as long as they are
    /// the same, so is what was read.
    life: Option<Life>,
    held: Option<Held>,
    threads: Threads,
    sample: Option<Sample>,
}

impl Processes {
    fn new(host: &Host, options: Options) -> Result<Self, OptionError> {
        let grouping = Grouping::new(&options.rules)
            .map_err(|e| OptionError { key: "processes.rules".into(), why: e.to_string() })?;
        options.check()?;
        let named = grouping.budgets().map(|(name, _)| name);
        let limits = Limits {
            groups: options.groups_max,
            thread_names: options.thread_names_max,
            remove_empty: options.remove_empty_groups,
        };
        Ok(Self {
            groups: Groups::new(named, limits),
            asked: grouping.asked(),
            grouping,
            users: None,
            reader: Reader::new(host, options.open_files),
            known: HashMap::new(),
            sampler: options.gather_smaps.then(|| Sampler::new(options.smaps_cpu_ratio)),
            errors: Errors::default(),
            boot_seconds: None,
            pass: 0,
            users_reread: false,
            orphans: Vec::new(),
            options,
        })
    }

    fn read_all(&mut self, host: &Host) -> Result<(), CollectError> {
        if self.users.is_none() && self.asked.user {
            self.users = Some(Users::load(host)?);
        }
        if self.boot_seconds.is_none() {
            self.boot_seconds = proc::boot_seconds(host)?;
        }
        let pids = proc::pids(host)?;
        self.pass += 1;
        self.reader.looks_for_life = self.pass > 1;
        self.users_reread = false;
        self.orphans.clear();
        self.groups.begin();
        for pid in pids {
            self.meet(host, pid);
        }
        if self.options.children() {
            self.adopt(host);
        }
        let (pass, groups) = (self.pass, &mut self.groups);
        self.known.retain(|_, known| {
            let alive = known.pass == pass;
            if !alive {
                groups.leave(known.place);
            }
            alive
        });
        Ok(())
    }

    /// Reads one process, as far as it changed, and adds what it has to its group.
    fn meet(&mut self, host: &Host, pid: u32) {
        let mut digits = itoa::Buffer::new();
        let text = digits.format(pid);
        // The signs of life come first: whatever it does from here on changes them for the next pass.
        let life = self.reader.life(text);
        let whole = (self.pass.wrapping_add(u64::from(pid))).is_multiple_of(WHOLE_PASSES);
        if !whole && life.is_some() && self.unchanged(pid, text, life) {
            return;
        }
        let stat = match self.reader.stat(text) {
            Ok(Some(stat)) => stat,
            Ok(None) => return,
            Err(_) => {
                // It is there, and its counters go on: it must not be taken for a new one later.
                self.errors.process += 1;
                if let Some(known) = self.known.get_mut(&pid) {
                    known.pass = self.pass;
                    known.life = None;
                }
                return;
            }
        };
        let settled = self.known.get(&pid).is_some_and(|known| {
            let same = known.start_ticks == stat.start_ticks && known.comm == stat.comm;
            same && !known.again && !self.reconsiders(known)
        });
        if !settled && !self.place(host, pid, &stat) {
            return;
        }
        self.read(pid, &stat, Aim { life, whole });
    }

    /// Whether a process that did not run since the last pass is done with: it is in its place, and
    /// what it held then is what it holds.
    fn unchanged(&mut self, pid: u32, text: &str, life: Option<Life>) -> bool {
        let Some(known) = self.known.get(&pid) else { return false };
        if known.life != life
            || known.again
            || self.reconsiders(known)
            || !known.threads.rest(text, &mut self.reader)
        {
            return false;
        }
        match (known.place, &known.held) {
            (Place::Group(at), Some(held)) => {
                self.groups.hold(at, held);
                stand(&mut self.groups, at, held, &known.threads, false);
            }
            (Place::Group(_), None) => return false,
            (Place::Cut(name), _) => self.groups.count_cut(name),
            (Place::None, _) => {}
        }
        if let Some(known) = self.known.get_mut(&pid) {
            known.pass = self.pass;
        }
        true
    }

    /// Whether a process may find another place than the one that it has.
    fn reconsiders(&self, known: &Known) -> bool {
        match known.place {
            Place::Group(_) => false,
            Place::Cut(_) => self.groups.has_room(),
            Place::None => match self.options.recheck_with_time_limit {
                Some(limit) => self.age_seconds(known) < limit.as_secs_f64(),
                None => self.options.recheck,
            },
        }
    }

    fn age_seconds(&self, known: &Known) -> f64 {
        let ticks = proc::clock_ticks_per_second() as f64;
        let started = self.boot_seconds.unwrap_or(0) as f64 + known.start_ticks as f64 / ticks;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.as_secs_f64() - started
    }

    /// Reads what a process has beside its `stat`, and adds it to its group.
    fn read(&mut self, pid: u32, stat: &Stat, aim: Aim) {
        let mut digits = itoa::Buffer::new();
        let text = digits.format(pid);
        let Some(known) = self.known.get_mut(&pid) else { return };
        known.pass = self.pass;
        // Nobody tells what the threads of a process did unless each is asked.
        let asked = stat.threads <= 1 || self.options.threads;
        known.life = aim.life.filter(|_| stat.state != 'R' && asked);
        known.held = None;
        let group = match known.place {
            Place::Group(at) => at,
            Place::Cut(name) => return self.groups.count_cut(name),
            Place::None => return,
        };
        let mut reading = match self.reader.rest(text, stat, &mut self.errors) {
            Ok(Some(reading)) => reading,
            Ok(None) => return,
            Err(_) => {
                self.errors.process += 1;
                return;
            }
        };
        if self.options.threads && (stat.threads > 1 || !known.threads.is_empty()) {
            let of = threads::Process { id: pid, pid: text, counts: known.counts, all: aim.whole };
            known.threads.read(&of, &mut self.reader, &mut reading.counts, &mut self.errors);
        }
        self.groups.add(group, &reading, &known.counts);
        stand(&mut self.groups, group, &reading.held, &known.threads, true);
        known.counts.keep(&reading.counts);
        known.held = Some(reading.held);
    }

    /// Finds out who a process is and which group it belongs to; false when it went away meanwhile
    /// or cannot be looked at.
    fn place(&mut self, host: &Host, pid: u32, stat: &Stat) -> bool {
        let identity = match self.reader.identity(pid, stat, self.asked) {
            Ok(Some(identity)) => identity,
            Ok(None) => return false,
            Err(_) => {
                self.errors.process += 1;
                return false;
            }
        };
        self.look_up_user(host, &identity);
        let none = Users::default();
        let name = self.grouping.group_of(&identity, self.users.as_ref().unwrap_or(&none));
        let place = name.map_or(Place::None, |name| self.groups.enter(&name));
        if place == Place::None {
            self.orphans.push(pid);
        }
        let same = self.known.remove(&pid).inspect(|old| self.groups.leave(old.place));
        // Another program in the same process: what it used until now was counted already.
        let same = same.filter(|old| old.start_ticks == identity.start_ticks);
        let again = identity.cmdline.is_empty()
            && !identity.kernel_thread
            && !same.as_ref().is_some_and(|old| old.again);
        let (counts, threads) = same.map(|old| (old.counts, old.threads)).unwrap_or_default();
        let Identity { start_ticks, comm, parent, .. } = identity;
        let (pass, life, held, sample) = (self.pass, None, None, None);
        let known =
            Known { start_ticks, comm, parent, again, place, counts, pass, life, held, threads, sample };
        self.known.insert(pid, Box::new(known));
        true
    }

    /// Puts processes that no rule takes into the group of their nearest ancestor that is in one.
    fn adopt(&mut self, host: &Host) {
        for pid in std::mem::take(&mut self.orphans) {
            let mut at = pid;
            let place = (0..ANCESTORS_MAX).find_map(|_| {
                let known = self.known.get(&at)?;
                at = known.parent;
                (known.place != Place::None).then_some(known.place)
            });
            let (Some(place), Some(known)) = (place, self.known.get_mut(&pid)) else { continue };
            if known.place == Place::None {
                known.place = self.groups.join(place);
                known.life = None;
                let again = std::mem::take(&mut known.again);
                self.meet(host, pid);
                if let Some(known) = self.known.get_mut(&pid) {
                    known.again |= again;
                }
            }
        }
    }

    /// Reads the names of users again, at most once in a pass, when one turns up that has none.
    fn look_up_user(&mut self, host: &Host, identity: &Identity) {
        let unknown = |users: &Users| identity.uid.is_some_and(|uid| !users.knows(uid));
        if self.users_reread || !self.users.as_ref().is_some_and(unknown) {
            return;
        }
        self.users_reread = true;
        match Users::load(host) {
            Ok(users) => self.users = Some(users),
            Err(_) => self.errors.partial += 1,
        }
    }

    /// Reads mappings as far as the budget goes, and sums up what is known of them.
    fn sample(&mut self) -> Option<Coverage> {
        let now = Instant::now();
        self.sampler.as_mut()?.read(now, &mut self.known, &mut self.reader, &mut self.errors);
        Some(sampler::sum_up(now, &self.known, &mut self.groups))
    }
}

/// How a process is to be read.
#[derive(Clone, Copy)]
struct Aim {
    /// Its signs of life before.
    life: Option<Life>,
    /// Whether threads are read too that did not run.
    whole: bool,
}

/// Adds where a process stands: each of its threads if they are told apart.
fn stand(groups: &mut Groups, at: usize, held: &Held, threads: &Threads, read: bool) {
    if threads.is_empty() {
        groups.stand(at, held.state, held.wchan.as_ref());
    } else {
        threads.add(groups, at, read);
    }
}

impl Collector for Processes {
    fn collect(&mut self, host: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        if let Err(e) = self.read_all(host) {
            self.errors.scrape += 1;
            return Err(e);
        }
        let coverage = self.sample();
        View {
            groups: &self.groups,
            grouping: &self.grouping,
            boot_seconds: self.boot_seconds,
            open_files: self.reader.counts_open_files(),
            threads: self.options.threads,
            coverage,
        }
        .write(out);
        self.errors.write(out);
        Ok(())
    }
}

/// Whether the rights do not suffice.
fn refused(e: &HostError) -> bool {
    matches!(e, HostError::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_page_does_not_wait_for_signs_of_life_that_there_is_nothing_to_compare_with() {
        let host = Host::default();
        let mut processes = Processes::new(&host, Options::default()).unwrap();
        let mut with_signs = || {
            processes.read_all(&host).unwrap();
            let known = || processes.known.values();
            let threads = known().filter(|known| known.threads.have_signs()).count();
            (processes.known.len(), known().filter(|known| known.life.is_some()).count(), threads)
        };
        let (all, signs, threads) = with_signs();
        assert!(all > 0 && (signs, threads) == (0, 0), "{signs} and {threads} of {all}");
        // Where the kernel keeps an account of who ran, nearly all have signs in the second pass.
        let keeps = Life::of_process(&mut crate::host::Tree::new(&host.procfs), "self").unwrap().is_some();
        let (_, signs, threads) = with_signs();
        assert_eq!((signs > 0, threads > 0), (keeps, keeps));
    }
}
