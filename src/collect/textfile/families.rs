//! The families of one file in little memory: one text, and where in it each name, help and value stands.

use super::line::Labels;
use crate::metric::{Histogram, Kind, Summary};
use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};

/// All families of a file. Those without samples are among them, and have no metrics.
#[derive(Debug, Default)]
pub(super) struct Families {
    /// All texts, one behind the other.
    text: String,
    /// The names of labels, each once.
    label_names: Vec<Span>,
    labels: Vec<Label>,
    pub(super) all: Vec<Family>,
    /// The metrics, those of one family together (once [`Families::finish`] was called).
    pub(super) metrics: Vec<Metric>,
    /// How many samples the file has.
    pub(super) samples: usize,
}

/// A part of a text or of a list.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

#[derive(Clone, Copy, Debug)]
struct Label {
    /// Which of the names.
    name: u32,
    value: Span,
}

/// A family as a file has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    name: Span,
    help: Option<Span>,
    pub(super) kind: Kind,
    metrics: Span,
}

/// One sample, or all that make up a histogram or a summary.
#[derive(Debug)]
pub(super) struct Metric {
    family: u32,
    /// Its labels, sorted by name.
    labels: Span,
    pub(super) number: Number,
}

/// What a metric says; boxes keep the common case small.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Number {
    Float(f64),
    Histogram(Box<Histogram>),
    Summary(Box<Summary>),
}

impl Span {
    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    fn of(start: usize, end: usize) -> Self {
        Self { start: small(start), end: small(end) }
    }
}

impl Family {
    /// The places of its metrics.
    pub(super) fn metrics(&self) -> std::ops::Range<usize> {
        self.metrics.range()
    }
}

/// A place in a file's texts and lists, which are shorter than the longest file that is read (16 MiB).
pub(super) fn small(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

impl Families {
    pub(super) fn name(&self, family: &Family) -> &str {
        self.at(family.name)
    }

    pub(super) fn help(&self, family: &Family) -> Option<&str> {
        family.help.map(|help| self.at(help))
    }

    /// Names and values of a metric's labels, sorted by name.
    pub(super) fn labels(&self, metric: &Metric) -> impl Iterator<Item = (&str, &str)> {
        let labels = self.labels.get(metric.labels.range()).unwrap_or_default();
        labels.iter().map(|label| {
            let name = self.label_names.get(label.name as usize).copied().unwrap_or_default();
            (self.at(name), self.at(label.value))
        })
    }

    fn at(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or_default()
    }

    fn keep(&mut self, text: &str) -> Span {
        let start = self.text.len();
        self.text.push_str(text);
        Span::of(start, self.text.len())
    }

    /// Adds a family; the place where it is.
    pub(super) fn add_family(&mut self, name: &str) -> usize {
        let family =
            Family { name: self.keep(name), help: None, kind: Kind::Untyped, metrics: Span::default() };
        self.all.push(family);
        self.all.len() - 1
    }

    /// Gives the family at `at` its help; false if it has one.
    pub(super) fn add_help(&mut self, at: usize, help: &str) -> bool {
        let help = Some(self.keep(help));
        self.all.get_mut(at).is_some_and(|family| {
            let first = family.help.is_none();
            family.help = help;
            first
        })
    }

    /// Adds the name of a label; the place where it is.
    pub(super) fn add_label_name(&mut self, name: &str) -> u32 {
        let name = self.keep(name);
        self.label_names.push(name);
        small(self.label_names.len() - 1)
    }

    /// Adds a metric of the family at `family`; `name_at` knows the place of each label's name.
    pub(super) fn add_metric(&mut self, family: usize, labels: &Labels<'_>, name_at: &[u32], number: Number) {
        let start = self.labels.len();
        for ((_, value), name) in labels.iter().zip(name_at) {
            let value = self.keep(value);
            self.labels.push(Label { name: *name, value });
        }
        let labels = Span::of(start, self.labels.len());
        self.metrics.push(Metric { family: small(family), labels, number });
    }

    /// Whether the metric at `at` is of this family and has these labels.
    pub(super) fn is(&self, at: u32, family: usize, labels: &Labels<'_>) -> bool {
        self.metrics.get(at as usize).is_some_and(|metric| {
            let theirs = labels.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
            metric.family == small(family) && self.labels(metric).eq(theirs)
        })
    }

    /// Puts the metrics of each family together, lets buckets and quantiles ascend, and gives back spare memory.
    pub(super) fn finish(mut self) -> Self {
        self.metrics.sort_by_key(|metric| metric.family);
        let mut start = 0;
        for metrics in self.metrics.chunk_by(|a, b| a.family == b.family) {
            let end = start + metrics.len();
            let at = metrics.first().map_or(usize::MAX, |metric| metric.family as usize);
            if let Some(family) = self.all.get_mut(at) {
                family.metrics = Span::of(start, end);
            }
            start = end;
        }
        for metric in &mut self.metrics {
            match &mut metric.number {
                Number::Float(_) => {}
                Number::Histogram(histogram) => {
                    histogram.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                    histogram.buckets.shrink_to_fit();
                }
                Number::Summary(summary) => {
                    summary.quantiles.sort_by(|a, b| a.0.total_cmp(&b.0));
                    summary.quantiles.shrink_to_fit();
                }
            }
        }
        self.text.shrink_to_fit();
        self.label_names.shrink_to_fit();
        self.labels.shrink_to_fit();
        self.all.shrink_to_fit();
        self.metrics.shrink_to_fit();
        self
    }
}

/// Finds again what is kept elsewhere, by its hash: a map with the things themselves as keys would hold them twice.
#[derive(Default)]
pub(super) struct Places {
    state: RandomState,
    by_hash: HashMap<u64, u32>,
}

impl Places {
    /// The place of what `hash` writes, if `same` says so of it; otherwise `fresh`, which is its place from now on.
    pub(super) fn find_or_add(
        &mut self,
        hash: impl FnOnce(&mut DefaultHasher),
        fresh: u32,
        same: impl Fn(u32) -> bool,
    ) -> u32 {
        let mut hasher = self.state.build_hasher();
        hash(&mut hasher);
        let mut key = hasher.finish();
        // Two different things may have one hash: the second takes the next one that is free.
        loop {
            match self.by_hash.get(&key) {
                Some(&at) if same(at) => return at,
                Some(_) => key = key.wrapping_add(1),
                None => {
                    self.by_hash.insert(key, fresh);
                    return fresh;
                }
            }
        }
    }
}
