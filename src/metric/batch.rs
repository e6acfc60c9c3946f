//! The samples of one pass, kept: what every output that is not a page is made of.

use super::{Besides, Desc, Exemplar, Exponential, Histogram, Kind, Mark, Sink, Summary, Value};
use std::collections::HashSet;

/// The families of one pass, in the order in which they were written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// All families that have samples.
    pub families: Vec<Family>,
}

/// A family with its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Its name.
    pub name: Box<str>,
    /// One sentence for people.
    pub help: Box<str>,
    /// What kind of number the samples carry.
    pub kind: Kind,
    /// The names of the labels.
    pub labels: Box<[Box<str>]>,
    /// The samples.
    pub samples: Vec<Sample>,
}

/// A sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The values of the family's labels; one that is empty is a label that is not there.
    pub values: Box<[Box<str>]>,
    /// The value.
    pub value: Held,
    /// The time, in milliseconds since the epoch, where it is not that of the pass.
    pub at_millis: Option<i64>,
    /// Examples of what was counted.
    pub exemplars: Vec<Exemplar>,
}

/// [`Value`], held.
#[derive(Clone, Debug, PartialEq)]
pub enum Held {
    /// A whole number.
    U64(u64),
    /// Any other number.
    F64(f64),
    /// Observations in buckets.
    Histogram(Box<Histogram>),
    /// Observations in buckets that grow by a factor.
    Exponential(Box<Exponential>),
    /// Observations as quantiles.
    Summary(Box<Summary>),
}

impl From<Value<'_>> for Held {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::U64(value) => Self::U64(value),
            Value::F64(value) => Self::F64(value),
            Value::Histogram(value) => Self::Histogram(Box::new(value.clone())),
            Value::Exponential(value) => Self::Exponential(Box::new(value.clone())),
            Value::Summary(value) => Self::Summary(Box::new(value.clone())),
        }
    }
}

impl Held {
    /// The number, if it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::U64(value) => Some(*value as f64),
            Self::F64(value) => Some(*value),
            _ => None,
        }
    }
}

impl Family {
    /// The labels of a sample that are there, in the family's order.
    pub fn labels<'a>(&'a self, sample: &'a Sample) -> impl Iterator<Item = (&'a str, &'a str)> {
        let all = self.labels.iter().zip(&sample.values).map(|(name, value)| (&**name, &**value));
        all.filter(|(_, value)| !value.is_empty())
    }
}

impl Batch {
    /// The family of this name.
    pub fn family(&self, name: &str) -> Option<&Family> {
        self.families.iter().find(|family| &*family.name == name)
    }
}

/// A sink that keeps what it gets.
#[derive(Debug, Default)]
pub struct Recorder {
    batch: Batch,
    names: HashSet<Box<str>>,
    /// Whether samples may follow.
    open: bool,
    /// The families that are kept; all of them without it.
    only: Option<&'static [&'static str]>,
}

impl Recorder {
    /// One that keeps these families alone.
    pub fn only(names: &'static [&'static str]) -> Self {
        Self { only: Some(names), ..Self::default() }
    }

    /// What was recorded.
    pub fn finish(mut self) -> Batch {
        self.batch.families.retain(|family| !family.samples.is_empty());
        self.batch
    }
}

impl Sink for Recorder {
    fn family(&mut self, desc: &Desc<'_>) {
        self.open = self.only.is_none_or(|names| names.contains(&desc.name));
        if !self.open {
            return;
        }
        self.names.insert(desc.name.into());
        self.batch.families.push(Family {
            name: desc.name.into(),
            help: desc.help.into(),
            kind: desc.kind,
            labels: desc.labels.iter().map(|&label| label.into()).collect(),
            samples: Vec::new(),
        });
    }

    fn sample(&mut self, label_values: &[&str], value: Value<'_>) {
        self.sample_with(label_values, value, &Besides::default());
    }

    fn sample_with(&mut self, label_values: &[&str], value: Value<'_>, besides: &Besides<'_>) {
        let Some(family) = self.batch.families.last_mut().filter(|_| self.open) else { return };
        family.samples.push(Sample {
            values: label_values.iter().map(|&value| value.into()).collect(),
            value: value.into(),
            at_millis: besides.at_millis,
            exemplars: besides.exemplars.to_vec(),
        });
    }

    fn has_family(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    fn mark(&mut self) -> Mark {
        self.open = false;
        let families = self.batch.families.len();
        Mark { position: families, families }
    }

    fn rewind(&mut self, to: Mark) {
        self.open = false;
        for family in self.batch.families.drain(to.families.min(self.batch.families.len())..) {
            self.names.remove(&family.name);
        }
    }
}

/// Writes the same to a page and to a recorder, so that one pass serves both. What the page says about families counts.
pub struct Tee<'a> {
    page: &'a mut dyn Sink,
    recorder: &'a mut Recorder,
    marks: Vec<(Mark, Mark)>,
}

impl<'a> Tee<'a> {
    /// A sink for both.
    pub fn new(page: &'a mut dyn Sink, recorder: &'a mut Recorder) -> Self {
        Self { page, recorder, marks: Vec::new() }
    }
}

impl Sink for Tee<'_> {
    fn family(&mut self, desc: &Desc<'_>) {
        self.page.family(desc);
        self.recorder.family(desc);
    }

    fn sample(&mut self, label_values: &[&str], value: Value<'_>) {
        self.page.sample(label_values, value);
        self.recorder.sample(label_values, value);
    }

    fn sample_with(&mut self, label_values: &[&str], value: Value<'_>, besides: &Besides<'_>) {
        self.page.sample_with(label_values, value, besides);
        self.recorder.sample_with(label_values, value, besides);
    }

    fn has_family(&self, name: &str) -> bool {
        self.page.has_family(name)
    }

    fn is_taken(&self, name: &str, kind: Kind) -> bool {
        self.page.is_taken(name, kind)
    }

    fn mark(&mut self) -> Mark {
        let mark = self.page.mark();
        self.marks.push((mark, self.recorder.mark()));
        mark
    }

    fn rewind(&mut self, to: Mark) {
        self.page.rewind(to);
        if let Some(&(_, recorded)) = self.marks.iter().rev().find(|(mark, _)| *mark == to) {
            self.recorder.rewind(recorded);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_back_is_not_kept_and_families_without_samples_are_not_there() {
        let (mut page, mut recorder) = (Recorder::default(), Recorder::default());
        let mut out = Tee::new(&mut page, &mut recorder);
        out.family(&Desc::gauge("a", "A.", &["x", "y"]));
        out.sample(&["1", ""], Value::U64(1));
        out.family(&Desc::gauge("empty", "E.", &[]));
        let mark = out.mark();
        out.sample(&["2", ""], Value::U64(2));
        out.family(&Desc::gauge("b", "B.", &[]));
        out.sample(&[], Value::F64(0.5));
        assert!(out.has_family("b"));
        out.rewind(mark);
        assert!(!out.has_family("b") && out.has_family("a"));
        out.family(&Desc::gauge("b", "B.", &[]));
        out.sample(&[], Value::F64(1.5));
        let (batch, same) = (recorder.finish(), page.finish());
        assert_eq!(batch, same);
        let names: Vec<&str> = batch.families.iter().map(|f| &*f.name).collect();
        assert_eq!(names, ["a", "b"]);
        let a = batch.family("a").unwrap();
        assert_eq!(a.samples.len(), 1, "what came behind a mark has no family");
        assert_eq!(a.labels(&a.samples[0]).collect::<Vec<_>>(), [("x", "1")]);
        assert_eq!(batch.family("b").unwrap().samples[0].value.number(), Some(1.5));
    }

    #[test]
    fn of_families_that_nobody_wants_nothing_is_kept() {
        let (mut page, mut recorder) = (Recorder::default(), Recorder::only(&["b"]));
        let mut out = Tee::new(&mut page, &mut recorder);
        for (name, value) in [("a", 1), ("b", 2), ("c", 3)] {
            out.family(&Desc::gauge(name, "Help.", &[]));
            out.sample(&[], Value::U64(value));
        }
        let mark = out.mark();
        out.family(&Desc::gauge("d", "D.", &[]));
        out.rewind(mark);
        let batch = recorder.finish();
        assert_eq!(batch.families.len(), 1);
        assert_eq!(batch.family("b").unwrap().samples[0].value.number(), Some(2.0));
        assert_eq!(page.finish().families.len(), 3);
    }
}
