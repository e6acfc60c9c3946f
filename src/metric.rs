//! What a measurement is: family, kind, value, and the sink that takes them (the narrow waist).

pub mod batch;
mod exponential;

pub use exponential::{Exponential, Run};

/// The kind of a metric family, as Prometheus's text format names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A total that only grows, until its source restarts.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// Observations counted in cumulative buckets.
    Histogram,
    /// Observations summed up as quantiles.
    Summary,
    /// A number of which nothing more is known.
    Untyped,
}

/// The description of a metric family: what all its samples share.
#[derive(Clone, Copy, Debug)]
pub struct Desc<'a> {
    /// The name, with its unit and suffix (`node_memory_MemTotal_bytes`).
    pub name: &'a str,
    /// One sentence for people.
    pub help: &'a str,
    /// What kind of number the samples carry.
    pub kind: Kind,
    /// The names of the labels, in the order in which samples give their values.
    pub labels: &'a [&'a str],
    /// Whether labels of a sample that have no value are left out, rather than written empty.
    pub sparse: bool,
}

impl<'a> Desc<'a> {
    /// A counter's description.
    pub const fn counter(name: &'a str, help: &'a str, labels: &'a [&'a str]) -> Self {
        Self { name, help, kind: Kind::Counter, labels, sparse: false }
    }

    /// A gauge's description.
    pub const fn gauge(name: &'a str, help: &'a str, labels: &'a [&'a str]) -> Self {
        Self { name, help, kind: Kind::Gauge, labels, sparse: false }
    }

    /// The description of a number of unknown kind (client libraries say "untyped").
    pub const fn untyped(name: &'a str, help: &'a str, labels: &'a [&'a str]) -> Self {
        Self { name, help, kind: Kind::Untyped, labels, sparse: false }
    }

    /// The same family, whose samples leave out labels that have no value.
    #[must_use]
    pub const fn sparse(self) -> Self {
        Self { sparse: true, ..self }
    }
}

/// A histogram's state: cumulative buckets, the sum and the count of all observations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Upper bound (inclusive) and the number of observations at or below it, ascending.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all observations, if it is known.
    pub sum: Option<f64>,
    /// The number of all observations; what the `+Inf` bucket holds.
    pub count: u64,
}

/// The sum of two sums. One that is not known, or is no number any more, leaves nothing to be known.
pub fn sum_of(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    let sum = a? + b?;
    sum.is_finite().then_some(sum)
}

/// A summary's state: quantiles, the sum and the count of all observations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Quantile (0 to 1) and its value, ascending.
    pub quantiles: Vec<(f64, f64)>,
    /// The sum of all observations.
    pub sum: f64,
    /// The number of all observations.
    pub count: u64,
}

/// The value of one sample.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A whole number; written without going through a float.
    U64(u64),
    /// Any other number, NaN and the infinities included.
    F64(f64),
    /// Observations in buckets.
    Histogram(&'a Histogram),
    /// Observations in buckets that grow by a factor: native histograms where the format has them, others elsewhere.
    Exponential(&'a Exponential),
    /// Observations as quantiles.
    Summary(&'a Summary),
}

/// One observation, with labels that lead to where it came from: a trace, for example.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exemplar {
    /// Names and values.
    pub labels: Vec<(String, String)>,
    /// What was observed.
    pub value: f64,
    /// When, in milliseconds since the epoch.
    pub at_millis: Option<i64>,
}

/// What a sample may have besides its value. Formats that have no place for something leave it out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Besides<'a> {
    /// The time of the sample, in milliseconds since the epoch, where it is not that of the scrape.
    pub at_millis: Option<i64>,
    /// Examples of what was counted.
    pub exemplars: &'a [Exemplar],
}

impl From<u64> for Value<'_> {
    fn from(value: u64) -> Self {
        Self::U64(value)
    }
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Self::F64(value)
    }
}

/// A place in a sink's output to which it can be rewound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Bytes, or samples, written so far; only the sink that made the mark can read it.
    pub position: usize,
    /// Families opened so far.
    pub families: usize,
}

/// Takes the samples of one pass over the host.
///
/// A family is opened at most once in a pass, and its samples follow it at once: Prometheus's
/// text format allows nothing else.
pub trait Sink {
    /// Opens a family. Samples that follow belong to it.
    fn family(&mut self, desc: &Desc<'_>);

    /// Adds a sample; `label_values` stand in the order of the family's `labels`.
    fn sample(&mut self, label_values: &[&str], value: Value<'_>);

    /// [`Sink::sample`] with what it may have besides; a sink without a place for that writes the sample alone.
    fn sample_with(&mut self, label_values: &[&str], value: Value<'_>, _besides: &Besides<'_>) {
        self.sample(label_values, value);
    }

    /// Whether a family of this name was opened in this pass.
    fn has_family(&self, name: &str) -> bool;

    /// Whether a family of this name and kind would be one with a family of this pass: by its name, or by the one that it
    /// has in this format.
    fn is_taken(&self, name: &str, _kind: Kind) -> bool {
        self.has_family(name)
    }

    /// The present place, for [`Sink::rewind`]. It ends the open family: samples may follow only behind a new one.
    fn mark(&mut self) -> Mark;

    /// Forgets all that came after `to`: a collector that fails leaves nothing behind.
    fn rewind(&mut self, to: Mark);
}

/// Opens a family that has one sample without labels, and writes it.
pub fn single<'v>(out: &mut dyn Sink, desc: &Desc<'_>, value: impl Into<Value<'v>>) {
    out.family(desc);
    out.sample(&[], value.into());
}
