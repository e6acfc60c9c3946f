//! The samples of the last hours in memory, within a limit of bytes: what is oldest goes.

use super::chunk::Chunk;
use crate::promql::{Labels, NAME, Point, Series, Source, Window, is_stale};
use promql_parser::label::{MatchOp, Matcher};
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock};

/// Points of a series that are kept as they are before they are packed together.
const HEAD: usize = 120;
/// The head of a series that lives, in bytes.
const HEAD_BYTES: usize = HEAD * size_of::<Point>();
/// A series' labels and its place in the tables.
const SERIES_BYTES: usize = 1024;
/// A sample is no later than this after the time of its pass, in milliseconds: Prometheus's own bound.
const AHEAD_MAX: i64 = 10 * 60 * 1000;
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
    /// Points refused because of their time, which is yet to come.
    pub ahead: u64,
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
    /// Series with a head.
    living: usize,
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
            living: 0,
            packed: 0,
            counts: Counts::default(),
        };
        Self { held: RwLock::new(held) }
    }

    /// Takes samples of what is looked at, in a pass made at `now`.
    pub fn append_foreign<'a>(&self, now: i64, samples: impl IntoIterator<Item = Told<'a>>) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        for (labels, point) in samples {
            if point.at > now.saturating_add(AHEAD_MAX) {
                held.counts.ahead += 1;
            } else {
                held.take(labels, point, 2);
            }
        }
        held.make_room();
    }

    /// Takes samples of the monitor's own making: there is room for them when there is none for others, since they say what is
    /// wrong.
    pub fn append<'a>(&self, samples: impl IntoIterator<Item = Told<'a>>) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        for (labels, point) in samples {
            held.take(labels, point, 3);
        }
        held.make_room();
    }

    /// Forgets what is newer than a time: the clock was set back, and what is told now would be refused as late.
    pub fn forget_after(&self, at: i64) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.cut(&|one| {
            one.head.retain(|point| point.at <= at);
            while one.packed.back().is_some_and(|chunk| chunk.window().to > at) {
                one.packed.pop_back();
            }
        });
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
    fn select(&self, matchers: &[Matcher], window: Window, points_max: usize) -> Option<Vec<Series>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let (mut out, mut left) = (Vec::new(), points_max);
        for one in held.fitting(matchers) {
            // Before they are unpacked: a value that stays the same for days takes no room packed.
            left = left.checked_sub(one.points_at_most(window))?;
            let points = one.points(window);
            if !points.is_empty() {
                out.push(Series { labels: one.labels.clone(), points });
            }
        }
        Some(out)
    }
}

impl Held {
    /// Takes a point. The heads of living series may fill `quarters` of the room; the rest is for what is packed.
    fn take(&mut self, labels: &[(&str, &str)], point: Point, quarters: usize) {
        let hash = self.hasher.hash_one(labels);
        let known = self.find(hash, labels);
        let lives = known.and_then(|place| self.series.get(&place)).is_some_and(One::lives);
        if !lives {
            if is_stale(point.value) {
                return;
            }
            if (self.living + 1) * (HEAD_BYTES + SERIES_BYTES) > self.bytes_max / 4 * quarters {
                self.counts.over += 1;
                return;
            }
        }
        let place = known.unwrap_or_else(|| self.begin(hash, labels));
        let Some(one) = self.series.get_mut(&place) else { return };
        if one.newest().is_some_and(|newest| newest >= point.at) {
            self.counts.late += 1;
            return;
        }
        self.counts.points += 1;
        if !lives {
            one.head.reserve_exact(HEAD);
            self.living += 1;
        }
        one.head.push(point);
        let ends = is_stale(point.value);
        if ends || one.head.len() >= HEAD {
            self.packed += one.pack();
        }
        if ends {
            // What has ended is kept packed, and leaves its place to others.
            one.head = Vec::new();
            self.living -= 1;
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
        self.series.insert(place, One { labels, packed: VecDeque::new(), head: Vec::new() });
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
        self.packed + self.living * HEAD_BYTES + self.series.len() * SERIES_BYTES
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
        self.cut(&|one| {
            while one.packed.front_mut().is_some_and(|chunk| !chunk.cut(before)) {
                one.packed.pop_front();
            }
            if one.head.last().is_some_and(|last| last.at < before) {
                one.head = Vec::new();
            }
        });
    }

    /// Takes something from each series, and forgets those of which nothing is left.
    fn cut(&mut self, each: &dyn Fn(&mut One)) {
        let (mut packed, mut living) = (0, 0);
        self.series.retain(|_, one| {
            each(one);
            packed += one.packed.iter().map(|chunk| chunk.bytes() + size_of::<Chunk>()).sum::<usize>();
            let is_left = !(one.packed.is_empty() && one.head.is_empty());
            living += usize::from(is_left && one.lives());
            is_left
        });
        (self.packed, self.living) = (packed, living);
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
    /// Whether points are still added: it has room for them.
    fn lives(&self) -> bool {
        self.head.capacity() > 0
    }

    /// No less than the points within a window.
    fn points_at_most(&self, window: Window) -> usize {
        let chunks = self.packed.iter().map(|chunk| chunk.points_at_most(window));
        chunks.sum::<usize>() + self.head.len()
    }

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
    use crate::promql::stale;

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
            history.append_foreign(point.at, labels.iter().map(|labels| (&labels[..], point)));
        }
    }

    #[test]
    fn what_was_told_is_found_by_its_labels_and_its_time() {
        let history = History::new(64 << 20);
        fill(&history, 3, 1..500);
        let found = history.select(&named("m1"), ALL, usize::MAX).unwrap();
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
        assert_eq!(
            history.select(&named("m1"), part, usize::MAX).unwrap()[0].points,
            found[0].points[99..450]
        );
        let job = Matcher::new(MatchOp::Equal, "job", "j");
        assert_eq!(history.select(&[job], part, usize::MAX).unwrap().len(), 3);
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
        let all = &history.select(&named("m7"), ALL, usize::MAX).unwrap()[0].points;
        assert!(all.windows(2).all(|two| two[1].at - two[0].at == 5000), "a gap");
        assert_eq!(all.last().unwrap().at, 4999 * 5000);
        assert!(counts.oldest.unwrap() > 0);
    }

    #[test]
    fn series_that_would_be_too_many_are_refused_until_others_end() {
        let history = History::new(400 * (HEAD_BYTES + SERIES_BYTES));
        fill(&history, 300, 0..2);
        let counts = history.counts();
        assert_eq!((counts.series, counts.over), (200, 200));
        // There is still room for what the monitor says itself.
        history.append([(&[(NAME, "up")][..], Point { at: 5000, value: 0.0 })]);
        assert_eq!(history.counts().over, 200);
        for n in 0..150 {
            let name = format!("m{n}");
            let ended = [(NAME, name.as_str()), ("job", "j")];
            history.append_foreign(10_000, [(&ended[..], Point { at: 10_000, value: stale() })]);
        }
        let newcomer = [(NAME, "new"), ("job", "j")];
        history.append_foreign(10_000, [(&newcomer[..], Point { at: 10_000, value: 1.0 })]);
        assert_eq!(history.select(&named("new"), ALL, usize::MAX).unwrap().len(), 1);
        let ended = history.select(&named("m7"), ALL, usize::MAX).unwrap();
        assert_eq!(ended[0].points.len(), 3, "what has ended is still known");
        history
            .append_foreign(15_000, [(&[(NAME, "m7"), ("job", "j")][..], Point { at: 15_000, value: 1.0 })]);
        assert_eq!(
            history.select(&named("m7"), ALL, usize::MAX).unwrap()[0].points.len(),
            4,
            "and may come back"
        );
    }

    #[test]
    fn a_time_that_is_yet_to_come_is_refused_and_after_the_clock_was_set_back_the_new_time_counts() {
        let history = History::new(16 << 20);
        fill(&history, 2, 1000..1200);
        let now = 1199 * 5000;
        history.append_foreign(
            now,
            [(&[(NAME, "m1"), ("job", "j")][..], Point { at: now + AHEAD_MAX + 1, value: 1.0 })],
        );
        assert_eq!(history.counts().ahead, 1);
        let back = 1050 * 5000;
        history.forget_after(back);
        fill(&history, 2, 1051..1053);
        assert_eq!(history.counts().late, 0);
        let points = &history.select(&named("m1"), ALL, usize::MAX).unwrap()[0].points;
        assert!(
            points.windows(2).all(|two| two[0].at < two[1].at) && points.last().unwrap().at == 1052 * 5000
        );
    }

    #[test]
    fn a_question_that_wants_too_much_is_not_even_unpacked() {
        let history = History::new(64 << 20);
        for pass in 1..3000 {
            history.append_foreign(
                pass * 5000,
                [(&[(NAME, "same")][..], Point { at: pass * 5000, value: 1.0 })],
            );
        }
        assert_eq!(history.select(&named("same"), ALL, 1000), None);
        let hour = Window { from: 1000 * 5000, to: 1719 * 5000 };
        assert_eq!(history.select(&named("same"), hour, 1000).unwrap()[0].points.len(), 720);
    }
}
