//! A pass as outputs see it: its samples with their time, since when they count, and which series have vanished.

use crate::exporter::scrapes::Recorded;
use crate::metric::Kind;
use crate::metric::batch::{Batch, Family, Held, Sample};
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// A series that was not seen for so many passes is forgotten: if it comes back, it is a new one.
const PASSES_KEPT: u64 = 10;
/// The family that says since when the kernel counts, and what begins the names of what it counts.
const BOOT: &str = "node_boot_time_seconds";
const OF_KERNEL: [&str; 3] = ["node_", "container_", "headroom_cgroup_"];
/// The family that says since when this process counts, and what begins the names of what it counts.
const BEGUN: &str = "process_start_time_seconds";
const OF_PROCESS: [&str; 2] = ["process_", "headroom_"];

/// Samples, and what the passes before say about them.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) batch: Arc<Batch>,
    pub(super) at_millis: i64,
    /// The time of the pass before; none if this is the first.
    pub(super) before_millis: Option<i64>,
    /// For each sample of a family that counts, in the order of the families.
    pub(super) seen: Vec<Vec<Seen>>,
    /// Families with the samples that the last pass had and this one has not.
    pub(super) gone: Vec<Family>,
}

/// What is known about a sample that counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// Since when it counts: since the start of who counts, or since the pass before it began anew.
    pub(super) start_millis: Option<i64>,
    /// How much more it is than in the last pass. None if it was not there then, or cannot be compared.
    pub(super) more: Option<Held>,
}

struct Former {
    value: Held,
    start_millis: Option<i64>,
    pass: u64,
}

/// What is remembered from pass to pass.
#[derive(Default)]
pub(super) struct History {
    series: HashMap<u64, Former>,
    /// When the machine and this process began.
    starts: (Option<i64>, Option<i64>),
    passes: u64,
    last: Option<(Arc<Batch>, i64)>,
}

impl History {
    /// Takes the next pass; `now_millis` is the time now.
    pub(super) fn next(&mut self, recorded: Recorded, now_millis: i64) -> Pass {
        let late = i64::try_from(recorded.begun.elapsed().as_millis()).unwrap_or(0);
        self.follow(recorded.batch, now_millis.saturating_sub(late))
    }

    /// Takes the next pass, made at this time.
    pub(super) fn follow(&mut self, batch: Batch, at_millis: i64) -> Pass {
        self.passes += 1;
        let said = |name| batch.family(name).and_then(|family| family.samples.first()?.value.number());
        // They wander a little as the clock is set; the first ones stay, so that no counter seems to begin anew.
        let (machine, process) = self.starts;
        self.starts = (machine.or(said(BOOT).map(millis)), process.or(said(BEGUN).map(millis)));
        let last = self.last.take();
        let before_millis = last.as_ref().map(|(_, at)| *at);
        let mut keys = HashSet::new();
        let mut seen = Vec::with_capacity(batch.families.len());
        for family in &batch.families {
            let mut all = Vec::new();
            for sample in &family.samples {
                let key = key(family, sample);
                keys.insert(key);
                if counts(family.kind) {
                    all.push(self.compare(key, (family, sample), before_millis));
                }
            }
            seen.push(all);
        }
        let gone = last.map_or_else(Vec::new, |(last, _)| vanished(&last, &keys));
        let passes = self.passes;
        self.series.retain(|_, former| former.pass + PASSES_KEPT >= passes);
        let batch = Arc::new(batch);
        self.last = Some((Arc::clone(&batch), at_millis));
        Pass { batch, at_millis, before_millis, seen, gone }
    }

    /// Since when a series counts that is new here. Of what others count (applications, files, processes that ran before this
    /// one) nobody knows.
    fn start(&self, family: &Family, sample: &Sample) -> Option<i64> {
        let (machine, process) = self.starts;
        if origin(family, sample).is_some() {
            return None;
        }
        if begins(&family.name, &OF_KERNEL) {
            return machine;
        }
        process.filter(|_| begins(&family.name, &OF_PROCESS))
    }

    fn compare(&mut self, key: u64, (family, sample): (&Family, &Sample), before: Option<i64>) -> Seen {
        let (value, pass) = (sample.value.clone(), self.passes);
        let Some(former) = self.series.get_mut(&key) else {
            let start_millis = self.start(family, sample);
            self.series.insert(key, Former { value, start_millis, pass });
            return Seen { start_millis, more: None };
        };
        let direct = former.pass + 1 == pass;
        let more = if let Some(more) = more(&former.value, &value) {
            direct.then_some(more)
        } else {
            former.start_millis = before;
            direct.then(|| value.clone())
        };
        (former.value, former.pass) = (value, pass);
        Seen { start_millis: former.start_millis, more }
    }
}

/// Whether a name begins so.
fn begins(name: &str, with: &[&str]) -> bool {
    with.iter().any(|start| name.starts_with(start))
}

/// Whether samples of this kind are totals, or may be.
fn counts(kind: Kind) -> bool {
    kind != Kind::Gauge
}

/// Application and instance, where a sample says that it is not this machine's.
pub(super) fn origin<'a>(family: &'a Family, sample: &'a Sample) -> Option<(&'a str, &'a str)> {
    let label = |wanted| family.labels(sample).find(|(name, _)| *name == wanted).map(|(_, value)| value);
    Some((label("job")?, label("instance").unwrap_or("")))
}

/// Seconds as milliseconds.
pub(super) fn millis(seconds: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a float beyond the range becomes its end")]
    let millis = (seconds * 1000.0) as i64;
    millis
}

fn key(family: &Family, sample: &Sample) -> u64 {
    let mut hasher = DefaultHasher::new();
    family.name.hash(&mut hasher);
    let mut labels: Vec<_> = family.labels(sample).collect();
    labels.sort_unstable();
    labels.hash(&mut hasher);
    hasher.finish()
}

/// The samples that are not there any more. Those with a time of their own end by their age.
fn vanished(last: &Batch, keys: &HashSet<u64>) -> Vec<Family> {
    let gone = |family: &Family| -> Vec<Sample> {
        let is_gone = |sample: &&Sample| sample.at_millis.is_none() && !keys.contains(&key(family, sample));
        family.samples.iter().filter(is_gone).cloned().collect()
    };
    let families = last.families.iter().map(|family| (family, gone(family)));
    let families = families.filter(|(_, samples)| !samples.is_empty());
    let with = |family: &Family, samples| Family {
        name: family.name.clone(),
        help: family.help.clone(),
        kind: family.kind,
        labels: family.labels.clone(),
        samples,
    };
    families.map(|(family, samples)| with(family, samples)).collect()
}

/// What the second has more than the first; none if it has less of anything, so that it began anew.
fn more(first: &Held, second: &Held) -> Option<Held> {
    match (first, second) {
        (Held::U64(a), Held::U64(b)) => b.checked_sub(*a).map(Held::U64),
        (Held::Histogram(a), Held::Histogram(b)) => {
            let same = a.buckets.len() == b.buckets.len()
                && a.buckets.iter().zip(&b.buckets).all(|(x, y)| x.0.total_cmp(&y.0).is_eq());
            let mut out = b.clone();
            out.count = b.count.checked_sub(a.count).filter(|_| same)?;
            out.sum = b.sum.zip(a.sum).map(|(later, first)| later - first);
            for (bucket, (_, former)) in out.buckets.iter_mut().zip(&a.buckets) {
                bucket.1 = bucket.1.checked_sub(*former)?;
            }
            Some(Held::Histogram(out))
        }
        (Held::Exponential(a), Held::Exponential(b)) => {
            let mut former = a.clone();
            former.at_most(b.scale);
            let mut out = b.clone();
            out.count = b.count.checked_sub(a.count).filter(|_| former.scale == b.scale)?;
            out.zero_count = b.zero_count.checked_sub(a.zero_count)?;
            out.sum = b.sum.zip(a.sum).map(|(later, first)| later - first);
            out.positive = b.positive.less(&former.positive)?;
            out.negative = b.negative.less(&former.negative)?;
            Some(Held::Exponential(out))
        }
        // Quantiles have no difference.
        (Held::Summary(a), Held::Summary(b)) => (b.count >= a.count).then(|| second.clone()),
        _ => {
            let more = second.number()? - first.number()?;
            (more >= 0.0).then_some(Held::F64(more))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::batch::Recorder;
    use crate::metric::{Desc, Histogram, Sink, Value};

    /// A pass with the machine's start at 100 s, and these values of a counter.
    fn batch(values: &[(&str, u64)]) -> Batch {
        let mut out = Recorder::default();
        out.family(&Desc::gauge(BOOT, "B.", &[]));
        out.sample(&[], Value::F64(100.0));
        out.family(&Desc::counter("node_x_total", "X.", &["a", "job"]));
        for (job, value) in values {
            out.sample(&["1", job], Value::U64(*value));
        }
        out.finish()
    }

    fn counter(pass: &Pass) -> &[Seen] {
        pass.seen.get(1).map_or(&[], Vec::as_slice)
    }

    #[test]
    fn a_counter_counts_since_the_start_of_the_machine_or_since_it_began_anew() {
        let mut history = History::default();
        let first = history.follow(batch(&[("", 5), ("app", 7)]), 200_000);
        let seen = |start_millis, more: Option<u64>| Seen { start_millis, more: more.map(Held::U64) };
        assert_eq!(counter(&first), [seen(Some(100_000), None), seen(None, None)]);
        let second = history.follow(batch(&[("", 8), ("app", 2)]), 260_000);
        assert_eq!(counter(&second), [seen(Some(100_000), Some(3)), seen(Some(200_000), Some(2))]);
        let third = history.follow(batch(&[("", 8), ("app", 3)]), 320_000);
        assert_eq!(counter(&third), [seen(Some(100_000), Some(0)), seen(Some(200_000), Some(1))]);
        assert_eq!((third.before_millis, third.gone.len()), (Some(260_000), 0));
    }

    #[test]
    fn each_total_counts_since_the_start_of_who_counts_it() {
        let mut out = Recorder::default();
        for (name, value) in [(BOOT, 100.0), (BEGUN, 150.0)] {
            out.family(&Desc::gauge(name, "S.", &[]));
            out.sample(&[], Value::F64(value));
        }
        let expected = [
            ("node_cpu_seconds_total", Some(100_000)),
            ("headroom_cgroup_oom_kills_total", Some(100_000)),
            ("process_cpu_seconds_total", Some(150_000)),
            ("headroom_http_requests_total", Some(150_000)),
            ("namedprocess_namegroup_cpu_seconds_total", None),
            ("backup_runs_total", None),
        ];
        for (name, _) in expected {
            out.family(&Desc::counter(name, "C.", &[]));
            out.sample(&[], Value::U64(1));
        }
        let pass = History::default().follow(out.finish(), 200_000);
        for ((name, start), seen) in expected.into_iter().zip(&pass.seen[2..]) {
            assert_eq!(seen[0].start_millis, start, "{name}");
        }
    }

    #[test]
    fn what_vanishes_is_told_once_and_what_comes_back_has_no_difference() {
        let mut history = History::default();
        history.follow(batch(&[("", 5), ("app", 7)]), 1000);
        let pass = history.follow(batch(&[("", 6)]), 2000);
        assert_eq!((pass.gone.len(), &*pass.gone[0].name), (1, "node_x_total"));
        assert_eq!(&*pass.gone[0].samples[0].values[1], "app");
        assert!(history.follow(batch(&[("", 6)]), 3000).gone.is_empty());
        let back = history.follow(batch(&[("", 6), ("app", 9)]), 4000);
        assert_eq!(counter(&back)[1].more, None);
        for at in 0..12 {
            history.follow(batch(&[]), 5000 + at);
        }
        assert!(history.series.is_empty(), "all are forgotten");
    }

    #[test]
    fn histograms_are_compared_bucket_by_bucket() {
        let of = |buckets: &[(f64, u64)], sum, count| {
            Held::Histogram(Box::new(Histogram { buckets: buckets.to_vec(), sum: Some(sum), count }))
        };
        let first = of(&[(1.0, 2), (2.0, 3)], 3.0, 4);
        let difference = of(&[(1.0, 1), (2.0, 2)], 4.0, 3);
        assert_eq!(more(&first, &of(&[(1.0, 3), (2.0, 5)], 7.0, 7)), Some(difference));
        for other in [of(&[(1.0, 1), (2.0, 5)], 7.0, 7), of(&[(1.0, 3)], 7.0, 7), of(&[], 0.0, 0)] {
            assert_eq!(more(&first, &other), None, "{other:?}");
        }
    }
}
