//! The groups that exist: their totals, which outlive their processes, and what their members hold now.

use super::counts::Counts;
use super::reading::{Held, Reading};
use crate::host::proc::Proportional;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

/// Where a process belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the group at this position.
    Group(usize),
    /// In a group for which there is no room; the hash of its name.
    Cut(u64),
    /// In no group.
    None,
}

/// All groups.
#[derive(Debug)]
pub(super) struct Groups {
    all: Vec<Group>,
    by_name: HashMap<String, usize>,
    /// Positions in the order of the names, as they are written.
    order: Vec<usize>,
    limits: Limits,
    /// Groups that none of the known processes is in, and that the user did not name.
    idle: usize,
    cut: HashSet<u64>,
    /// Names of threads, over all groups, and those for which there is no room.
    thread_names: usize,
    cut_threads: HashSet<u64>,
}

/// How much there may be, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) groups: usize,
    pub(super) thread_names: usize,
    /// Whether a group without processes is forgotten.
    pub(super) remove_empty: bool,
}

/// One group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    /// Whether the user named it: it is shown before it has members, and never makes room.
    named: bool,
    /// The known processes in it, those that could not be read in this pass included.
    known: usize,
    pub(super) totals: Counts,
    pub(super) now: Now,
    /// By name. A name that no thread has any more keeps its totals as long as there is room.
    pub(super) threads: BTreeMap<String, Named>,
}

/// The threads of a group that have one name.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) count: u64,
    pub(super) totals: Counts,
}

/// What the members of a group hold, summed up in this pass.
#[derive(Clone, Debug, Default)]
pub(super) struct Now {
    pub(super) processes: u64,
    pub(super) threads: u64,
    pub(super) resident_bytes: u64,
    pub(super) virtual_bytes: u64,
    pub(super) swapped_bytes: Option<u64>,
    pub(super) open_files: Option<u64>,
    pub(super) worst_ratio: Option<f64>,
    pub(super) oldest_ticks: Option<u64>,
    /// Running, sleeping, waiting, zombies, others.
    pub(super) states: [u64; 5],
    /// How many wait in each of the kernel's functions.
    pub(super) wchans: BTreeMap<Arc<str>, u64>,
    /// By class; of those that were read.
    pub(super) memory: Option<[Proportional; 5]>,
    /// Members whose memory is still to be read for the first time.
    pub(super) unread: u64,
}

impl Groups {
    /// The groups that the user named; more are made as processes turn up.
    pub(super) fn new<'a>(named: impl Iterator<Item = &'a str>, limits: Limits) -> Self {
        let mut groups = Self {
            all: Vec::new(),
            by_name: HashMap::new(),
            order: Vec::new(),
            limits,
            idle: 0,
            cut: HashSet::new(),
            thread_names: 0,
            cut_threads: HashSet::new(),
        };
        for name in named {
            groups.insert(name, true);
        }
        groups
    }

    /// Forgets what the members held in the last pass; the totals stay.
    pub(super) fn begin(&mut self) {
        self.cut.clear();
        self.cut_threads.clear();
        for group in &mut self.all {
            group.now = Now::default();
            group.threads.values_mut().for_each(|named| named.count = 0);
        }
    }

    /// Whether one more group can be made.
    pub(super) fn has_room(&self) -> bool {
        self.all.len() < self.limits.groups || self.idle > 0
    }

    /// Puts a process into the group `name`, which is made if there is room.
    pub(super) fn enter(&mut self, name: &str) -> Place {
        let at = match self.by_name.get(name) {
            Some(&at) => at,
            None if self.all.len() < self.limits.groups => self.insert(name, false),
            None => match self.replace_idle(name) {
                Some(at) => at,
                None => return Place::Cut(hash(name)),
            },
        };
        self.join(Place::Group(at))
    }

    /// Puts a process where another one is.
    pub(super) fn join(&mut self, place: Place) -> Place {
        let Place::Group(at) = place else { return place };
        if let Some(group) = self.all.get_mut(at) {
            if group.known == 0 && self.limits.remove_empty {
                self.thread_names -= group.threads.len();
                group.threads.clear();
                group.totals = Counts::default();
            }
            self.idle -= usize::from(group.known == 0 && !group.named);
            group.known += 1;
        }
        place
    }

    /// Takes a process out of its group; what it used stays in the totals.
    pub(super) fn leave(&mut self, place: Place) {
        let Place::Group(at) = place else { return };
        if let Some(group) = self.all.get_mut(at) {
            group.known -= 1;
            self.idle += usize::from(group.known == 0 && !group.named);
        }
    }

    /// Adds what was read of a member.
    pub(super) fn add(&mut self, at: usize, reading: &Reading, before: &Counts) {
        let Some(group) = self.all.get_mut(at) else { return };
        group.totals.grow(&reading.counts, before);
        group.now.add(&reading.held);
    }

    /// Adds what a member holds that used nothing since it was last read.
    pub(super) fn hold(&mut self, at: usize, held: &Held) {
        if let Some(group) = self.all.get_mut(at) {
            group.now.add(held);
        }
    }

    /// Adds where a thread stands, or a process whose threads are not told apart.
    pub(super) fn stand(&mut self, at: usize, state: char, wchan: Option<&Arc<str>>) {
        let Some(group) = self.all.get_mut(at) else { return };
        let [running, sleeping, waiting, zombies, others] = &mut group.now.states;
        *match state {
            'R' => running,
            'S' => sleeping,
            'D' => waiting,
            'Z' => zombies,
            _ => others,
        } += 1;
        if let Some(wchan) = wchan {
            match group.now.wchans.get_mut(wchan) {
                Some(count) => *count += 1,
                None => _ = group.now.wchans.insert(Arc::clone(wchan), 1),
            }
        }
    }

    /// Adds a thread to those of its name, and what it used since it was last read.
    pub(super) fn add_thread(&mut self, at: usize, name: &str, used: Option<(&Counts, &Counts)>) {
        let Some(group) = self.all.get_mut(at) else { return };
        if !group.threads.contains_key(name) {
            if self.thread_names >= self.limits.thread_names {
                let before = group.threads.len();
                group.threads.retain(|_, named| named.count > 0);
                self.thread_names -= before - group.threads.len();
            }
            if self.thread_names >= self.limits.thread_names {
                self.cut_threads.insert(hash((&group.name, name)));
                return;
            }
            group.threads.insert(name.to_owned(), Named::default());
            self.thread_names += 1;
        }
        let Some(named) = group.threads.get_mut(name) else { return };
        named.count += 1;
        if let Some((now, before)) = used {
            named.totals.grow(now, before);
        }
    }

    /// Notes that a member's memory is still to be read for the first time.
    pub(super) fn await_memory(&mut self, at: usize) {
        if let Some(group) = self.all.get_mut(at) {
            group.now.unread += 1;
        }
    }

    /// Adds what was last seen of a member's memory.
    pub(super) fn add_memory(&mut self, at: usize, memory: &[Proportional; 5]) {
        let Some(group) = self.all.get_mut(at) else { return };
        let sums = group.now.memory.get_or_insert_default();
        sums.iter_mut().zip(memory).for_each(|(sum, more)| sum.add(*more));
    }

    /// Remembers that a process was met whose group has no room.
    pub(super) fn count_cut(&mut self, name: u64) {
        self.cut.insert(name);
    }

    /// How many groups had no room in this pass.
    pub(super) fn cut(&self) -> u64 {
        self.cut.len() as u64
    }

    /// How many names of threads had no room in this pass.
    pub(super) fn cut_threads(&self) -> u64 {
        self.cut_threads.len() as u64
    }

    /// The groups in the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Group> {
        let shown = |group: &&Group| group.known > 0 || group.named || !self.limits.remove_empty;
        self.order.iter().filter_map(|&at| self.all.get(at)).filter(shown)
    }

    fn insert(&mut self, name: &str, named: bool) -> usize {
        let at = self.all.len();
        self.all.push(Group::new(name, named));
        self.idle += usize::from(!named);
        self.by_name.insert(name.to_owned(), at);
        let place = self.order_of(name);
        self.order.insert(place, at);
        at
    }

    /// Makes the group `name` in the place of one that has no processes any more, if there is one.
    fn replace_idle(&mut self, name: &str) -> Option<usize> {
        let at = self.all.iter().position(|group| group.known == 0 && !group.named)?;
        let old = std::mem::replace(self.all.get_mut(at)?, Group::new(name, false));
        self.by_name.remove(&old.name);
        self.thread_names -= old.threads.len();
        self.by_name.insert(name.to_owned(), at);
        self.order.retain(|&other| other != at);
        let place = self.order_of(name);
        self.order.insert(place, at);
        Some(at)
    }

    fn order_of(&self, name: &str) -> usize {
        self.order.partition_point(|&at| self.all.get(at).is_some_and(|group| group.name.as_str() < name))
    }
}

impl Group {
    fn new(name: &str, named: bool) -> Self {
        let (totals, now, threads) = (Counts::default(), Now::default(), BTreeMap::new());
        Self { name: name.to_owned(), named, known: 0, totals, now, threads }
    }
}

impl Now {
    fn add(&mut self, reading: &Held) {
        self.processes += 1;
        self.threads += reading.threads;
        self.resident_bytes += reading.resident_bytes;
        self.virtual_bytes = self.virtual_bytes.saturating_add(reading.virtual_bytes);
        sum(&mut self.swapped_bytes, reading.swapped_bytes);
        sum(&mut self.open_files, reading.open_files);
        if let Some(ratio) = reading.open_files_ratio {
            self.worst_ratio = Some(self.worst_ratio.map_or(ratio, |worst| worst.max(ratio)));
        }
        let start = reading.start_ticks;
        self.oldest_ticks = Some(self.oldest_ticks.map_or(start, |oldest| oldest.min(start)));
    }
}

fn hash(name: impl std::hash::Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(name)
}

/// Adds what was read; nothing that was read is no zero.
fn sum(total: &mut Option<u64>, more: Option<u64>) {
    if let Some(more) = more {
        *total = Some(total.unwrap_or(0).saturating_add(more));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn limits(groups: usize) -> Limits {
        Limits { groups, thread_names: 2, remove_empty: false }
    }

    fn names(groups: &Groups) -> Vec<&str> {
        groups.iter().map(|g| g.name.as_str()).collect()
    }

    #[test]
    fn groups_over_the_limit_are_counted_and_get_room_when_another_is_empty() {
        let mut groups = Groups::new(["named"].into_iter(), limits(3));
        let b = groups.enter("b");
        assert_eq!(groups.enter("a"), Place::Group(2));
        let Place::Cut(c) = groups.enter("c") else { panic!("there are three already") };
        groups.count_cut(c);
        groups.count_cut(c);
        assert_eq!((groups.cut(), groups.has_room()), (1, false));
        assert_eq!(names(&groups), ["a", "b", "named"]);
        groups.leave(b);
        assert!(groups.has_room());
        assert_eq!(groups.enter("c"), b);
        assert_eq!(names(&groups), ["a", "c", "named"]);
        assert!(!groups.has_room());
        groups.begin();
        assert_eq!(groups.cut(), 0);
    }

    #[test]
    fn a_group_that_the_user_named_never_makes_room() {
        let mut groups = Groups::new(["named"].into_iter(), limits(1));
        assert!(matches!(groups.enter("other"), Place::Cut(_)));
        assert_eq!(groups.enter("named"), Place::Group(0));
        groups.leave(Place::Group(0));
        assert!(matches!(groups.enter("other"), Place::Cut(_)));
    }

    #[test]
    fn a_group_that_comes_back_goes_on_from_its_totals() {
        let mut groups = Groups::new([].into_iter(), limits(9));
        let place = groups.enter("a");
        groups.leave(place);
        assert_eq!(groups.enter("a"), place);
        assert_eq!(names(&groups), ["a"]);
    }

    #[test]
    fn names_of_threads_over_the_limit_are_counted_and_idle_ones_make_room() {
        let mut groups = Groups::new(["g"].into_iter(), limits(9));
        for name in ["a", "b", "c", "c", "a"] {
            groups.add_thread(0, name, None);
        }
        assert_eq!(groups.cut_threads(), 1);
        let counts = |groups: &Groups| -> Vec<(String, u64)> {
            groups.iter().flat_map(|g| g.threads.iter().map(|(n, t)| (n.clone(), t.count))).collect()
        };
        assert_eq!(counts(&groups), [("a".into(), 2), ("b".into(), 1)]);
        groups.begin();
        for name in ["a", "c"] {
            groups.add_thread(0, name, None);
        }
        assert_eq!((counts(&groups), groups.cut_threads()), (vec![("a".into(), 1), ("c".into(), 1)], 0));
    }

    #[test]
    fn an_empty_group_is_forgotten_if_that_is_asked_for() {
        let mut groups = Groups::new([].into_iter(), Limits { remove_empty: true, ..limits(9) });
        let place = groups.enter("a");
        groups.all[0].totals.user_ticks = Some(7);
        groups.leave(place);
        assert!(names(&groups).is_empty());
        groups.join(place);
        assert_eq!((names(&groups), groups.all[0].totals.user_ticks), (vec!["a"], None));
    }
}
