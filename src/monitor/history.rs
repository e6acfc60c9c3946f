//! The samples of the last hours in memory, within a limit of bytes: what is oldest goes.

use super::chunk::Chunk;
use crate::promql::{Labels, NAME, Point, Series, Source, Window};
use promql_parser::label::{MatchOp, Matcher};
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock};

/// Points of a series that are kept as they are before they are packed together.
const HEAD: usize = 120;
/// A series with nothing but its head, its labels and its place in the tables, in bytes.
const SERIES_BYTES: usize = HEAD * size_of::<Point>() + 1024;
/// So much of the time that is held is given up at once when there is no more room.
const SHARE_GIVEN_UP: i64 = 32;

/// A sample as it is told: the labels, the name among them, sorted.
pub type Told<'a> = (&'a [(&'a str, &'a str)], Point);

/// Samples, by series.
#[derive(Debug)]
pub struct History {
    held: RwLock<Held>,
}

/// What is held, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Series.
    pub series: usize,
    /// Bytes, with what it takes to find them.
    pub bytes: usize,
    /// Points taken.
    pub points: u64,
    /// Points refused because they were not newer than what their series has.
    pub late: u64,
    /// Points refused because their series would have been one too many.
    pub over: u64,
    /// The oldest time of which something is known, in milliseconds since the epoch.
    pub oldest: Option<i64>,
}

#[derive(Debug)]
struct Held {
    bytes_max: usize,
    hasher: RandomState,
    series: HashMap<u64, One>,
    /// By a hash of the labels.
    places: HashMap<u64, Vec<u64>>,
    by_name: HashMap<Arc<str>, Vec<u64>>,
    /// Texts of labels, each once.
    texts: HashSet<Arc<str>>,
    next: u64,
    packed: usize,
    counts: Counts,
}

/// A series.
#[derive(Debug)]
struct One {
    labels: Labels,
    packed: VecDeque<Chunk>,
    head: Vec<Point>,
}

impl History {
    /// Nothing yet, and never more than about so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        let held = Held {
            bytes_max,
            hasher: RandomState::new(),
            series: HashMap::new(),
            places: HashMap::new(),
            by_name: HashMap::new(),
            texts: HashSet::new(),
            next: 0,
            packed: 0,
            counts: Counts::default(),
        };
        Self { held: RwLock::new(held) }
    }

    /// Takes samples.
    pub fn append<'a>(&self, samples: impl IntoIterator<Item = Told<'a>>) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        for (labels, point) in samples {
            held.take(labels, point);
        }
        held.make_room();
    }

    /// What is held, and what was not.
    pub fn counts(&self) -> Counts {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        Counts { series: held.series.len(), bytes: held.bytes(), oldest: held.oldest(), ..held.counts }
    }

    /// The labels of all series that the matchers fit and that have a point within the window; all series' without matchers.
    pub fn labels(&self, matchers: &[Matcher], window: Window) -> Vec<Labels> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.fitting(matchers).filter(|one| one.is_within(window)).map(|one| one.labels.clone()).collect()
    }
}

impl Source for History {
    fn select(&self, matchers: &[Matcher], window: Window) -> Vec<Series> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let fitting = held
            .fitting(matchers)
            .map(|one| Series { labels: one.labels.clone(), points: one.points(window) });
        fitting.filter(|series| !series.points.is_empty()).collect()
    }
}

impl Held {
    fn take(&mut self, labels: &[(&str, &str)], point: Point) {
        let hash = self.hasher.hash_one(labels);
        let place = match self.find(hash, labels) {
            Some(place) => place,
            // The heads alone must leave half of the room to what is packed.
            None if (self.series.len() + 1) * SERIES_BYTES > self.bytes_max / 2 => {
                self.counts.over += 1;
                return;
            }
            None => self.begin(hash, labels),
        };
        let Some(one) = self.series.get_mut(&place) else { return };
        if one.newest().is_some_and(|newest| newest >= point.at) {
            self.counts.late += 1;
            return;
        }
        self.counts.points += 1;
        one.head.push(point);
        if one.head.len() >= HEAD {
            self.packed += one.pack();
        }
    }

    fn find(&self, hash: u64, labels: &[(&str, &str)]) -> Option<u64> {
        let places = self.places.get(&hash)?;
        let same = |place: &&u64| {
            self.series.get(place).is_some_and(|one| one.labels.iter().eq(labels.iter().copied()))
        };
        places.iter().find(same).copied()
    }

    fn begin(&mut self, hash: u64, labels: &[(&str, &str)]) -> u64 {
        let place = self.next;
        self.next += 1;
        let pairs: Vec<_> = labels.iter().map(|(name, value)| (self.text(name), self.text(value))).collect();
        let labels = Labels::sorted(pairs);
        self.places.entry(hash).or_default().push(place);
        let name = self.text(labels.get(NAME));
        self.by_name.entry(name).or_default().push(place);
        self.series.insert(place, One { labels, packed: VecDeque::new(), head: Vec::with_capacity(HEAD) });
        place
    }

    /// The text, as all who have it share it.
    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&new));
        new
    }

    /// The series that all matchers fit.
    fn fitting<'a>(&'a self, matchers: &'a [Matcher]) -> Box<dyn Iterator<Item = &'a One> + 'a> {
        let fits = |one: &&One| matchers.iter().all(|m| m.is_match(one.labels.get(&m.name)));
        match matchers.iter().find(|m| m.name == NAME && m.op == MatchOp::Equal) {
            Some(named) => {
                let places = self.by_name.get(named.value.as_str()).into_iter().flatten();
                Box::new(places.filter_map(|place| self.series.get(place)).filter(fits))
            }
            None => Box::new(self.series.values().filter(fits)),
        }
    }

    fn bytes(&self) -> usize {
        self.packed + self.series.len() * SERIES_BYTES
    }

    fn oldest(&self) -> Option<i64> {
        self.series.values().filter_map(One::oldest).min()
    }

    /// Gives up what is oldest until it all fits.
    fn make_room(&mut self) {
        while self.bytes() > self.bytes_max {
            let newest = self.series.values().filter_map(One::newest).max();
            let (Some(oldest), Some(newest)) = (self.oldest(), newest) else { return };
            // One chunk at least, for they are not cut.
            let chunk = self.series.values().filter_map(|one| Some(one.packed.front()?.window().to)).min();
            let before = (oldest + (newest - oldest) / SHARE_GIVEN_UP).max(chunk.unwrap_or(oldest) + 1);
            let bytes = self.bytes();
            self.forget(before);
            if self.bytes() >= bytes {
                // What is left are heads, for which there is room.
                return;
            }
        }
    }

    fn forget(&mut self, before: i64) {
        let mut packed = 0;
        self.series.retain(|_, one| {
            while one.packed.front_mut().is_some_and(|chunk| !chunk.cut(before)) {
                one.packed.pop_front();
            }
            if one.head.last().is_some_and(|last| last.at < before) {
                one.head.clear();
            }
            packed += one.packed.iter().map(|chunk| chunk.bytes() + size_of::<Chunk>()).sum::<usize>();
            !(one.packed.is_empty() && one.head.is_empty())
        });
        self.packed = packed;
        let series = &self.series;
        let is_left = |places: &mut Vec<u64>| {
            places.retain(|place| series.contains_key(place));
            !places.is_empty()
        };
        self.places.retain(|_, places| is_left(places));
        self.by_name.retain(|_, places| is_left(places));
        // Texts that nobody has but this table.
        self.texts.retain(|text| Arc::strong_count(text) > 1);
    }
}

impl One {
    fn oldest(&self) -> Option<i64> {
        self.packed.front().map(|chunk| chunk.window().from).or_else(|| Some(self.head.first()?.at))
    }

    fn newest(&self) -> Option<i64> {
        self.head.last().map(|p| p.at).or_else(|| Some(self.packed.back()?.window().to))
    }

    fn is_within(&self, window: Window) -> bool {
        self.oldest().is_some_and(|at| at <= window.to) && self.newest().is_some_and(|at| at >= window.from)
    }

    fn points(&self, window: Window) -> Vec<Point> {
        let mut out = Vec::new();
        if !self.is_within(window) {
            return out;
        }
        let first = self.packed.partition_point(|chunk| chunk.window().to < window.from);
        for chunk in self.packed.range(first..).take_while(|chunk| chunk.window().from <= window.to) {
            chunk.unpack(window, &mut out);
        }
        let from = self.head.partition_point(|p| p.at < window.from);
        let to = self.head.partition_point(|p| p.at <= window.to);
        out.extend_from_slice(self.head.get(from..to).unwrap_or_default());
        out
    }

    /// Packs the head; how many bytes more that is.
    fn pack(&mut self) -> usize {
        let Some(chunk) = Chunk::pack(&self.head) else { return 0 };
        self.head.clear();
        if self.packed.back_mut().is_some_and(|last| last.extend(&chunk)) {
            return 0;
        }
        let bytes = chunk.bytes() + size_of::<Chunk>();
        self.packed.push_back(chunk);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Window = Window { from: i64::MIN, to: i64::MAX };

    fn named(name: &str) -> [Matcher; 1] {
        [Matcher::new(MatchOp::Equal, NAME, name)]
    }

    fn fill(history: &History, series: usize, passes: std::ops::Range<i64>) {
        for pass in passes {
            let names: Vec<String> = (0..series).map(|n| format!("m{n}")).collect();
            let labels: Vec<[(&str, &str); 2]> =
                names.iter().map(|n| [(NAME, n.as_str()), ("job", "j")]).collect();
            // Numbers that cannot be packed well.
            let point = Point { at: pass * 5000, value: (pass as f64).sin() };
            history.append(labels.iter().map(|labels| (&labels[..], point)));
        }
    }

    #[test]
    fn what_was_told_is_found_by_its_labels_and_its_time() {
        let history = History::new(64 << 20);
        fill(&history, 3, 1..500);
        let found = history.select(&named("m1"), ALL);
        assert_eq!((found.len(), found[0].points.len()), (1, 499));
        assert_eq!(found[0].labels.to_string(), r#"m1{job="j"}"#);
        assert!(
            found[0]
                .points
                .iter()
                .zip(1..)
                .all(|(p, n)| *p == Point { at: n * 5000, value: (n as f64).sin() })
        );
        let part = Window { from: 100 * 5000, to: 450 * 5000 };
        assert_eq!(history.select(&named("m1"), part)[0].points, found[0].points[99..450]);
        let job = Matcher::new(MatchOp::Equal, "job", "j");
        assert_eq!(history.select(&[job], part).len(), 3);
        assert_eq!(history.labels(&named("nothing"), ALL), []);
        let before = history.counts();
        history.append([(&[(NAME, "m1"), ("job", "j")][..], Point { at: 5000, value: 1.0 })]);
        assert_eq!(history.counts(), Counts { late: before.late + 1, ..before });
    }

    #[test]
    fn what_is_oldest_goes_and_the_limit_holds() {
        let bytes_max = 2 << 20;
        let history = History::new(bytes_max);
        fill(&history, 100, 0..5000);
        let counts = history.counts();
        assert!(counts.bytes <= bytes_max, "{counts:?}");
        assert!(counts.bytes > bytes_max / 2, "more was given up than had to be: {counts:?}");
        let all = &history.select(&named("m7"), ALL)[0].points;
        assert!(all.windows(2).all(|two| two[1].at - two[0].at == 5000), "a gap");
        assert_eq!(all.last().unwrap().at, 4999 * 5000);
        assert!(counts.oldest.unwrap() > 0);
    }

    #[test]
    fn series_that_would_be_too_many_are_refused_and_those_that_ended_make_room_in_the_end() {
        let history = History::new(200 * SERIES_BYTES);
        fill(&history, 500, 0..1);
        let counts = history.counts();
        assert_eq!((counts.series, counts.over), (100, 400));
        let one = [(NAME, "m1"), ("job", "j")];
        for pass in 1..200_000 {
            history.append([(&one[..], Point { at: pass * 5000, value: (pass as f64).sin() })]);
        }
        assert_eq!(history.counts().series, 1, "ended series have no memory for ever");
    }
}
