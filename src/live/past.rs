//! The last hour in steps of half a minute, for sparklines: a few lines of the machine, and one of each of the largest groups.

use super::now::Pair;
use super::picture::Maybe;
use serde::ser::{Serialize, SerializeSeq, SerializeStruct, Serializer};
use std::collections::BTreeMap;
use std::time::Duration;

/// Between two points.
pub(super) const STEP: Duration = Duration::from_secs(30);
/// An hour of them.
const POINTS: usize = 120;
/// Groups of a kind that get a point: the largest.
const GROUPS_MAX: usize = 64;
/// Lines of a kind that are kept: groups that were among the largest in the last hour.
const LINES_MAX: usize = 2 * GROUPS_MAX;
/// The machine's lines, by their names in the event.
const MACHINE: [&str; 11] = [
    "memory_available",
    "swap_used",
    "cpu_busy",
    "memory_some",
    "memory_full",
    "io_some",
    "cpu_some",
    "disk_read",
    "disk_written",
    "network_received",
    "network_sent",
];

/// One number at each point; NaN where it was not known.
type Line = Box<[f32; POINTS]>;
type Groups = BTreeMap<Box<str>, Line>;

/// The last hour.
pub(super) struct Past {
    /// Seconds since the epoch.
    at: Box<[f64; POINTS]>,
    /// Where the next point comes, and how many there are.
    next: usize,
    points: usize,
    machine: [Line; MACHINE.len()],
    groups: Groups,
    cgroups: Groups,
}

impl Default for Past {
    fn default() -> Self {
        Self {
            at: Box::new([0.0; POINTS]),
            next: 0,
            points: 0,
            machine: std::array::from_fn(|_| line()),
            groups: Groups::new(),
            cgroups: Groups::new(),
        }
    }
}

fn line() -> Line {
    Box::new([f32::NAN; POINTS])
}

/// A point of a group's line: its memory.
type Point<'a> = (&'a str, Maybe);

impl Past {
    /// Takes a point.
    pub(super) fn take(&mut self, pair: Pair<'_>) {
        let newest = self.places().last().and_then(|place| self.at.get(place));
        if newest.is_some_and(|at| pair.now.at < *at) {
            // The clock was set back: lines cannot go on before their end.
            *self = Self::default();
        }
        let (now, place) = (pair.now, self.next);
        let (cpu, pressure, [read, written, received, sent]) = (pair.cpu(), pair.pressure(), pair.totals());
        let memory = &now.memory;
        let swap_used = memory.swap_total.zip(memory.swap_free).map(|(total, free)| total - free);
        let values: [Maybe; MACHINE.len()] = [
            memory.available,
            swap_used,
            cpu.busy,
            pressure.memory_some,
            pressure.memory_full,
            pressure.io_some,
            pressure.cpu_some,
            read,
            written,
            received,
            sent,
        ];
        for (line, value) in self.machine.iter_mut().zip(values) {
            set(line, place, value);
        }
        if let Some(at) = self.at.get_mut(place) {
            *at = now.at;
        }
        let groups = now.groups.iter().map(|(name, group)| (&**name, group.memory));
        add(&mut self.groups, place, groups.collect());
        let cgroups = now.cgroups.iter().map(|(name, group)| (&**name, group.memory));
        add(&mut self.cgroups, place, cgroups.collect());
        self.next = (place + 1) % POINTS;
        self.points = (self.points + 1).min(POINTS);
    }

    /// The places of the points there are, oldest first.
    fn places(&self) -> impl Iterator<Item = usize> + Clone {
        let (points, next) = (self.points, self.next);
        (0..points).map(move |n| (next + POINTS - points + n) % POINTS)
    }
}

fn set(line: &mut Line, place: usize, value: Maybe) {
    if let Some(point) = line.get_mut(place) {
        #[expect(clippy::cast_possible_truncation, reason = "seven digits are enough for a line")]
        let value = value.unwrap_or(f64::NAN) as f32;
        *point = value;
    }
}

/// Adds a point to the line of each of the largest groups, and an empty one to all others.
fn add(lines: &mut Groups, place: usize, mut now: Vec<Point<'_>>) {
    for line in lines.values_mut() {
        set(line, place, None);
    }
    now.sort_by(|(_, a), (_, b)| f64::total_cmp(&b.unwrap_or(0.0), &a.unwrap_or(0.0)));
    for (name, value) in now.into_iter().take(GROUPS_MAX) {
        if !lines.contains_key(name) {
            lines.insert(name.into(), line());
        }
        if let Some(line) = lines.get_mut(name) {
            set(line, place, value);
        }
    }
    lines.retain(|_, line| line.iter().any(|point| !point.is_nan()));
    if lines.len() > LINES_MAX {
        lines.retain(|_, line| line.get(place).is_some_and(|point| !point.is_nan()));
    }
}

/// The points of a line, oldest first. What is not known is null.
struct Points<'a>(&'a Past, &'a Line);

impl Serialize for Points<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self(past, line) = self;
        let mut all = to.serialize_seq(Some(past.points))?;
        for place in past.places() {
            all.serialize_element(line.get(place).unwrap_or(&f32::NAN))?;
        }
        all.end()
    }
}

struct Machine<'a>(&'a Past);

impl Serialize for Machine<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let lines = MACHINE.iter().zip(&self.0.machine);
        to.collect_map(lines.map(|(name, line)| (name, Points(self.0, line))))
    }
}

struct Lines<'a>(&'a Past, &'a Groups);

#[derive(serde::Serialize)]
struct GroupLines<'a> {
    memory: Points<'a>,
}

impl Serialize for Lines<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self(past, groups) = self;
        to.collect_map(groups.iter().map(|(name, line)| (name, GroupLines { memory: Points(past, line) })))
    }
}

impl Serialize for Past {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut all = to.serialize_struct("Past", 4)?;
        let at: Vec<f64> = self.places().filter_map(|place| self.at.get(place).copied()).collect();
        all.serialize_field("at", &at)?;
        all.serialize_field("machine", &Machine(self))?;
        all.serialize_field("groups", &Lines(self, &self.groups))?;
        all.serialize_field("cgroups", &Lines(self, &self.cgroups))?;
        all.end()
    }
}

#[cfg(test)]
mod tests {
    use super::super::picture::{Group, Picture};
    use super::*;

    fn picture(at: f64, groups: impl IntoIterator<Item = (String, f64)>) -> Picture {
        let group = |(name, memory): (String, f64)| {
            (name.into(), Group { memory: Some(memory), cpu: Some(at * 0.5), ..Group::default() })
        };
        Picture { at, beat: at, groups: groups.into_iter().map(group).collect(), ..Picture::default() }
    }

    fn take(past: &mut Past, before: &Picture, now: &Picture) {
        past.take(Pair { before: Some(before), now });
    }

    #[test]
    fn an_hour_is_kept_and_a_group_that_was_not_there_has_no_number() {
        let mut past = Past::default();
        let mut before = picture(0.0, []);
        for n in 1..=130_u32 {
            let at = f64::from(n) * 30.0;
            let late = (n > 128).then(|| ("late".to_owned(), 7.0));
            let now = picture(at, [("a".to_owned(), at)].into_iter().chain(late));
            take(&mut past, &before, &now);
            before = now;
        }
        let json = serde_json::to_value(&past).unwrap();
        let at = json["at"].as_array().unwrap();
        assert_eq!((at.len(), &at[0], &at[119]), (120, &330.0.into(), &3900.0.into()));
        assert_eq!(json["groups"]["a"]["memory"][119], 3900.0);
        let late = json["groups"]["late"]["memory"].as_array().unwrap();
        assert!(late[..118].iter().all(serde_json::Value::is_null));
        assert_eq!((&late[118], &late[119]), (&7.0.into(), &7.0.into()));
        assert!(json["machine"]["cpu_busy"][119].is_null(), "it was not known");
    }

    #[test]
    fn groups_that_come_and_go_take_no_more_room_than_the_largest_of_an_hour() {
        let mut past = Past::default();
        let mut before = picture(0.0, []);
        for n in 1..=60_u32 {
            let at = f64::from(n) * 30.0;
            let now = picture(at, (0..200).map(|g| (format!("{n}-{g}"), f64::from(g))));
            take(&mut past, &before, &now);
            assert!(past.groups.len() <= LINES_MAX, "{} lines", past.groups.len());
            assert!(past.groups.contains_key(&*format!("{n}-199")), "the largest is there");
            assert!(!past.groups.contains_key(&*format!("{n}-0")), "the smallest is not");
            before = now;
        }
    }

    #[test]
    fn lines_begin_anew_where_the_clock_was_set_back() {
        let mut past = Past::default();
        let at = |at| picture(at, [("a".to_owned(), 1.0)]);
        for now in [at(1000.0), at(1030.0), at(500.0), at(530.0)] {
            take(&mut past, &at(0.0), &now);
        }
        assert_eq!(serde_json::to_value(&past).unwrap()["at"], serde_json::json!([500.0, 530.0]));
    }

    #[test]
    fn a_group_that_has_gone_for_an_hour_is_forgotten() {
        let mut past = Past::default();
        let (first, empty) = (picture(0.0, [("a".to_owned(), 1.0)]), picture(30.0, []));
        take(&mut past, &empty, &first);
        for _ in 0..POINTS - 1 {
            take(&mut past, &first, &empty);
        }
        assert!(past.groups.contains_key("a"));
        take(&mut past, &first, &empty);
        assert!(past.groups.is_empty());
    }
}
