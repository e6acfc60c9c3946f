//! Quantiles of what was observed lately, each within the error that was asked for, in little memory.
//!
//! The sketch is that of Cormode, Korn, Muthukrishnan and Srivastava, "Effective Computation of Biased Quantiles over Data
//! Streams" (2005), for targeted quantiles; the window is made as in Prometheus's client for Go, so that the same errors
//! mean the same.

use super::mapping::Summary;
use std::time::{Duration, Instant};

/// Observations that wait until they are merged: so many are exact.
const BUFFER_MAX: usize = 64;
/// The most points of a sketch, whatever error was asked for.
const POINTS_MAX: usize = 1024;
/// A sketch that may not grow has at least so many.
const POINTS_MIN: usize = 16;

/// A point: a value, for how many observations it stands, and by how many its rank may be wrong.
#[derive(Clone, Copy, Debug)]
struct Point {
    value: f64,
    width: f64,
    doubt: f64,
}

/// What was observed since some moment.
#[derive(Debug, Default)]
struct Sketch {
    points: Vec<Point>,
    buffer: Vec<(f64, f64)>,
    /// How many observations the points stand for.
    count: f64,
}

impl Sketch {
    fn observe(&mut self, value: f64, times: f64, targets: &[(f64, f64)], may_grow: bool) {
        // The first of several stands by itself: a rank among them is not one of the value below.
        self.buffer.push((value, 1.0));
        if times > 1.0 {
            self.buffer.push((value, times - 1.0));
        }
        if self.buffer.len() >= BUFFER_MAX || (!may_grow && self.buffer.len() >= POINTS_MIN) {
            self.merge(targets, may_grow);
        }
    }

    /// By how much the rank `rank` may be wrong: the least that any target allows.
    fn allowed(&self, rank: f64, targets: &[(f64, f64)]) -> f64 {
        targets.iter().fold(f64::INFINITY, |least, (quantile, error)| {
            let allowed = if quantile * self.count <= rank {
                2.0 * error * rank / quantile
            } else {
                2.0 * error * (self.count - rank) / (1.0 - quantile)
            };
            // A target of 0 or 1 at its own end has no rank to divide by.
            if allowed.is_nan() { least } else { least.min(allowed) }
        })
    }

    fn merge(&mut self, targets: &[(f64, f64)], may_grow: bool) {
        let most = if may_grow { POINTS_MAX } else { self.points.len().max(POINTS_MIN) };
        self.buffer.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let mut fresh = self.buffer.drain(..).peekable();
        let mut merged: Vec<Point> = Vec::with_capacity(self.points.len() + fresh.len());
        let (mut rank, mut old) = (0.0, self.points.iter().copied().peekable());
        let total = self.count;
        loop {
            let next = match (fresh.peek(), old.peek()) {
                (Some((value, _)), Some(point)) if *value < point.value => {
                    let (value, width) = fresh.next().unwrap_or_default();
                    Point { value, width, doubt: f64::NAN }
                }
                (_, Some(_)) => match old.next() {
                    Some(point) => point,
                    None => break,
                },
                (Some(_), None) => {
                    let (value, width) = fresh.next().unwrap_or_default();
                    Point { value, width, doubt: 0.0 }
                }
                (None, None) => break,
            };
            rank += next.width;
            merged.push(next);
        }
        drop(fresh);
        self.count = rank.max(total);
        let mut rank = 0.0;
        for point in &mut merged {
            // A value between two others: its rank is as doubtful as is allowed there.
            if point.doubt.is_nan() {
                point.doubt = (self.allowed(rank, targets).floor() - 1.0).max(0.0);
            }
            rank += point.width;
        }
        self.points = self.compressed(merged, targets);
        if self.points.len() > most {
            self.coarsen(most);
        }
        self.points.shrink_to_fit();
    }

    /// The points with those joined that together are still exact enough.
    fn compressed(&self, points: Vec<Point>, targets: &[(f64, f64)]) -> Vec<Point> {
        let mut out: Vec<Point> = Vec::with_capacity(points.len());
        let mut rank = self.count - 1.0;
        for point in points.into_iter().rev() {
            match out.last_mut() {
                Some(above) if point.width + above.width + above.doubt <= self.allowed(rank, targets) => {
                    above.width += point.width;
                }
                _ => out.push(point),
            }
            rank -= point.width;
        }
        out.reverse();
        out
    }

    /// Joins neighbours until there are no more than `most`, each for about as many observations: where there is no room,
    /// what is exact enough does not matter.
    fn coarsen(&mut self, most: usize) {
        // Of two that follow each other in what comes out, the widths are more than this, so there are few enough.
        let width_max = 2.0 * self.count / most.saturating_sub(1).max(1) as f64;
        let mut out: Vec<Point> = Vec::with_capacity(most);
        for point in self.points.drain(..) {
            match out.last_mut() {
                Some(last) if last.width + point.width <= width_max => {
                    // The value of the one that stands for more: the upper one's, time and again, would creep upwards.
                    let value = if point.width >= last.width { point.value } else { last.value };
                    *last = Point { value, width: last.width + point.width, doubt: 0.0 };
                }
                _ => out.push(point),
            }
        }
        self.points = out;
    }

    fn query(&self, quantile: f64, targets: &[(f64, f64)]) -> f64 {
        let mut wanted = (quantile * self.count).ceil();
        wanted += (self.allowed(wanted, targets) / 2.0).ceil();
        let mut rank = 0.0;
        let mut points = self.points.iter();
        let Some(mut before) = points.next() else { return f64::NAN };
        for point in points {
            rank += before.width;
            if rank + point.width + point.doubt > wanted {
                return before.value;
            }
            before = point;
        }
        before.value
    }

    /// The values of all targets. Few observations are exact.
    fn values(&mut self, targets: &[(f64, f64)], may_grow: bool) -> Vec<(f64, f64)> {
        if self.points.is_empty() {
            self.buffer.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
            let all: f64 = self.buffer.iter().map(|(_, times)| times).sum();
            return targets
                .iter()
                .map(|(quantile, _)| (*quantile, self.exact((quantile * all).ceil())))
                .collect();
        }
        self.merge(targets, may_grow);
        targets.iter().map(|(quantile, _)| (*quantile, self.query(*quantile, targets))).collect()
    }

    fn exact(&self, wanted: f64) -> f64 {
        let mut rank = 0.0;
        for (value, times) in &self.buffer {
            rank += times;
            if rank >= wanted {
                return *value;
            }
        }
        f64::NAN
    }

    fn bytes(&self) -> usize {
        self.points.capacity() * size_of::<Point>() + self.buffer.capacity() * size_of::<(f64, f64)>()
    }
}

/// What was observed within the last `max_age`: sketches that begin one after the other, of which the oldest answers.
#[derive(Debug)]
pub(super) struct Window {
    sketches: Vec<Sketch>,
    oldest: usize,
    step: Duration,
    next_at: Instant,
    options: Summary,
    /// The sum and the count of all that was ever observed.
    pub(super) sum: f64,
    pub(super) count: u64,
}

impl Window {
    pub(super) fn new(options: &Summary, now: Instant) -> Self {
        let step = options.max_age / options.age_buckets.max(1);
        let sketches = (0..options.age_buckets.max(1)).map(|_| Sketch::default()).collect();
        let options = options.clone();
        Self { sketches, oldest: 0, step, next_at: now + step, options, sum: 0.0, count: 0 }
    }

    /// Begins anew with other options, if they are others; sum and count go on.
    pub(super) fn fit(&mut self, options: &Summary, now: Instant) {
        if self.options != *options {
            *self = Self { sum: self.sum, count: self.count, ..Self::new(options, now) };
        }
    }

    /// Forgets what is too old; whether anything was.
    pub(super) fn turn(&mut self, now: Instant) -> bool {
        let mut turned = false;
        for _ in 0..self.sketches.len() {
            if now < self.next_at {
                break;
            }
            if let Some(oldest) = self.sketches.get_mut(self.oldest) {
                *oldest = Sketch::default();
            }
            self.oldest = (self.oldest + 1) % self.sketches.len().max(1);
            self.next_at += self.step;
            turned = true;
        }
        // After a long silence all of them are empty, and begin now.
        if now >= self.next_at {
            self.next_at = now + self.step;
        }
        turned
    }

    pub(super) fn observe(&mut self, value: f64, times: u64, may_grow: bool) {
        self.sum += value * times as f64;
        self.count = self.count.saturating_add(times);
        for sketch in &mut self.sketches {
            sketch.observe(value, times as f64, &self.options.quantiles, may_grow);
        }
    }

    /// Each quantile with its value; NaN if nothing was observed lately, as in Prometheus's clients.
    pub(super) fn quantiles(&mut self, may_grow: bool) -> Vec<(f64, f64)> {
        let targets = &self.options.quantiles;
        self.sketches.get_mut(self.oldest).map(|s| s.values(targets, may_grow)).unwrap_or_default()
    }

    pub(super) fn bytes(&self) -> usize {
        let sketches: usize = self.sketches.iter().map(|s| size_of::<Sketch>() + s.bytes()).sum();
        size_of::<Self>() + sketches + 16 * self.options.quantiles.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: [(f64, f64); 3] = [(0.5, 0.05), (0.9, 0.01), (0.99, 0.001)];

    fn options() -> Summary {
        Summary { quantiles: TARGETS.to_vec(), max_age: Duration::from_secs(50), age_buckets: 5 }
    }

    /// 0 to `count` in an order that is none.
    fn shuffled(count: u64) -> impl Iterator<Item = f64> {
        (0..count).map(move |i| ((i * 7919) % count) as f64)
    }

    #[test]
    fn few_observations_are_exact_and_many_within_the_error() {
        let now = Instant::now();
        let mut window = Window::new(&options(), now);
        for value in [4.0, 1.0, 3.0, 2.0] {
            window.observe(value, 1, true);
        }
        assert_eq!(window.quantiles(true), [(0.5, 2.0), (0.9, 4.0), (0.99, 4.0)]);
        assert_eq!((window.sum, window.count), (10.0, 4));
        for count in [100, 1000, 20_000] {
            let mut window = Window::new(&options(), now);
            shuffled(count).for_each(|value| window.observe(value, 1, true));
            for ((quantile, value), (_, error)) in window.quantiles(true).into_iter().zip(TARGETS) {
                let off = (value / count as f64 - quantile).abs();
                assert!(off <= error + 1.0 / count as f64, "{quantile} of {count} is {value}");
            }
            assert!(window.bytes() < 100 << 10, "{count}: {} bytes", window.bytes());
        }
    }

    #[test]
    fn a_sampled_observation_counts_as_often_as_it_stands_for() {
        let mut window = Window::new(&options(), Instant::now());
        window.observe(1.0, 1, true);
        window.observe(2.0, 9, true);
        assert_eq!(window.quantiles(true), [(0.5, 2.0), (0.9, 2.0), (0.99, 2.0)]);
        assert_eq!((window.sum, window.count), (19.0, 10));
    }

    #[test]
    fn many_observations_of_different_weights_are_within_the_error() {
        // (value, weight) in this order; each quantile is to be the value of some rank within its error.
        let mixed = |i: u64| (((i * 7919) % 500) as f64, [1, 1, 7, 1, 40, 1000][(i % 6) as usize]);
        let rare: Vec<(f64, u64)> = (0..70).map(|_| (1.0, 1)).chain([(10_000.0, 1000)]).collect();
        let early = [(5.0, 300)].into_iter().chain((0..100).map(|i| (f64::from(i), 1)));
        for all in [rare, (0..500).map(mixed).collect(), early.collect()] {
            let mut window = Window::new(&options(), Instant::now());
            for (value, times) in &all {
                window.observe(*value, *times, true);
            }
            let mut sorted = all.clone();
            sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
            let count: u64 = all.iter().map(|(_, times)| times).sum();
            for ((quantile, got), (_, error)) in window.quantiles(true).into_iter().zip(TARGETS) {
                // The share of observations that are below the value, and that are not above it.
                let share = |within: &dyn Fn(f64) -> bool| {
                    let ranks = sorted.iter().filter(|(value, _)| within(*value)).map(|(_, times)| times);
                    ranks.sum::<u64>() as f64 / count as f64
                };
                let (below, up_to) = (share(&|value| value < got), share(&|value| value <= got));
                let slack = error + 1.0 / count as f64;
                assert!(
                    below <= quantile + slack && up_to >= quantile - slack,
                    "{quantile}: {got}, {below} to {up_to}"
                );
            }
        }
    }

    #[test]
    fn what_is_too_old_is_forgotten_and_sum_and_count_stay() {
        let begin = Instant::now();
        let mut window = Window::new(&options(), begin);
        window.observe(100.0, 1, true);
        assert!(!window.turn(begin + Duration::from_secs(9)));
        for second in [11, 21, 31, 41] {
            assert!(window.turn(begin + Duration::from_secs(second)));
            window.observe(1.0, 1, true);
            assert_eq!(window.quantiles(true)[2], (0.99, 100.0), "after {second} s");
        }
        assert!(window.turn(begin + Duration::from_secs(51)));
        assert_eq!(window.quantiles(true)[2], (0.99, 1.0));
        assert!(window.turn(begin + Duration::from_hours(1)));
        assert!(window.quantiles(true)[0].1.is_nan());
        assert_eq!((window.sum, window.count), (104.0, 5));
    }

    #[test]
    fn where_there_is_no_room_a_sketch_becomes_coarser_and_does_not_grow() {
        let mut window = Window::new(&options(), Instant::now());
        shuffled(20_000).for_each(|value| window.observe(value, 1, false));
        let values = window.quantiles(false);
        assert!(window.bytes() < 16 << 10, "{}", window.bytes());
        assert!((6_000.0..14_000.0).contains(&values[0].1) && values[2].1 > 16_000.0, "{values:?}");
        let exact = Summary { quantiles: vec![(0.0, 0.0), (0.5, 0.0), (1.0, 0.0)], ..options() };
        let mut window = Window::new(&exact, Instant::now());
        shuffled(20_000).for_each(|value| window.observe(value, 1, true));
        assert!(window.bytes() < 5 * (POINTS_MAX * 24 + BUFFER_MAX * 16) + 4096, "{}", window.bytes());
        assert!((9_500.0..10_500.0).contains(&window.quantiles(true)[1].1));
    }
}
