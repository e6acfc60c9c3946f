//! The groups that exist: their totals, which outlive their processes, and what their members hold now.

use super::counts::Counts;
use super::reading::Reading;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

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
    count_max: usize,
    /// Groups that none of the known processes is in, and that the user did not name.
    idle: usize,
    cut: HashSet<u64>,
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
}

/// What the members of a group hold, summed up in this pass.
#[derive(Clone, Copy, Debug, Default)]
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
}

impl Groups {
    /// The groups that the user named; more are made as processes turn up.
    pub(super) fn new<'a>(named: impl Iterator<Item = &'a str>, count_max: usize) -> Self {
        let mut groups = Self {
            all: Vec::new(),
            by_name: HashMap::new(),
            order: Vec::new(),
            count_max,
            idle: 0,
            cut: HashSet::new(),
        };
        for name in named {
            groups.insert(name, true);
        }
        groups
    }

    /// Forgets what the members held in the last pass; the totals stay.
    pub(super) fn begin(&mut self) {
        self.cut.clear();
        for group in &mut self.all {
            group.now = Now::default();
        }
    }

    /// Whether one more group can be made.
    pub(super) fn has_room(&self) -> bool {
        self.all.len() < self.count_max || self.idle > 0
    }

    /// Puts a process into the group `name`, which is made if there is room.
    pub(super) fn enter(&mut self, name: &str) -> Place {
        let at = match self.by_name.get(name) {
            Some(&at) => at,
            None if self.all.len() < self.count_max => self.insert(name, false),
            None => match self.replace_idle(name) {
                Some(at) => at,
                None => return Place::Cut(BuildHasherDefault::<DefaultHasher>::default().hash_one(name)),
            },
        };
        if let Some(group) = self.all.get_mut(at) {
            self.idle -= usize::from(group.known == 0 && !group.named);
            group.known += 1;
        }
        Place::Group(at)
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
        group.now.add(reading);
    }

    /// Remembers that a process was met whose group has no room.
    pub(super) fn count_cut(&mut self, name: u64) {
        self.cut.insert(name);
    }

    /// How many groups had no room in this pass.
    pub(super) fn cut(&self) -> u64 {
        self.cut.len() as u64
    }

    /// The groups in the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Group> {
        self.order.iter().filter_map(|&at| self.all.get(at))
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
        Self { name: name.to_owned(), named, known: 0, totals: Counts::default(), now: Now::default() }
    }
}

impl Now {
    fn add(&mut self, reading: &Reading) {
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
        let [running, sleeping, waiting, zombies, others] = &mut self.states;
        *match reading.state {
            'R' => running,
            'S' => sleeping,
            'D' => waiting,
            'Z' => zombies,
            _ => others,
        } += 1;
    }
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

    fn names(groups: &Groups) -> Vec<&str> {
        groups.iter().map(|g| g.name.as_str()).collect()
    }

    #[test]
    fn groups_over_the_limit_are_counted_and_get_room_when_another_is_empty() {
        let mut groups = Groups::new(["named"].into_iter(), 3);
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
        let mut groups = Groups::new(["named"].into_iter(), 1);
        assert!(matches!(groups.enter("other"), Place::Cut(_)));
        assert_eq!(groups.enter("named"), Place::Group(0));
        groups.leave(Place::Group(0));
        assert!(matches!(groups.enter("other"), Place::Cut(_)));
    }

    #[test]
    fn a_group_that_comes_back_goes_on_from_its_totals() {
        let mut groups = Groups::new([].into_iter(), 9);
        let place = groups.enter("a");
        groups.leave(place);
        assert_eq!(groups.enter("a"), place);
        assert_eq!(names(&groups), ["a"]);
    }
}
