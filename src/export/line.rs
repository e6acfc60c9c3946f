//! One point as OpenTelemetry sees it: a name, a unit, attributes, and whose it is.

use super::pass::{Pass, Seen, origin};
use crate::encode::unit;
use crate::metric::batch::{Family, Held, Sample};
use crate::metric::{Exemplar, Kind};
use std::borrow::Cow;

/// What kind of number a point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// A total that only grows: a number, or observations.
    Total,
    /// What is there in all, summed over attributes: it goes up and down.
    Amount,
    /// Any number.
    Gauge,
    /// Any number of which nothing more is known.
    Unknown,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Attribute<'a> {
    Text(Cow<'a, str>),
    Whole(i64),
}

/// A point.
#[derive(Clone, Debug)]
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) help: &'a str,
    pub(super) unit: &'static str,
    pub(super) sort: Sort,
    pub(super) attributes: Vec<(&'a str, Attribute<'a>)>,
    pub(super) value: Cow<'a, Held>,
    pub(super) seen: Option<&'a Seen>,
    pub(super) at_millis: i64,
    pub(super) exemplars: &'a [Exemplar],
    /// Application and instance, where it is not this machine's.
    pub(super) origin: Option<(&'a str, &'a str)>,
    /// Whether the series has vanished, and this says so.
    pub(super) gone: bool,
}

impl<'a> Line<'a> {
    fn new(family: &'a Family, sample: &'a Sample, at_millis: i64) -> Self {
        let origin = origin(family, sample);
        let own = |name: &str| origin.is_some() && (name == "job" || name == "instance");
        let attributes = family.labels(sample).filter(|(name, _)| !own(name));
        Self {
            name: &family.name,
            help: &family.help,
            unit: ucum(&family.name),
            sort: match family.kind {
                Kind::Counter | Kind::Histogram | Kind::Summary => Sort::Total,
                Kind::Gauge => Sort::Gauge,
                Kind::Untyped => Sort::Unknown,
            },
            attributes: attributes.map(|(name, value)| (name, Attribute::Text(value.into()))).collect(),
            value: Cow::Borrowed(&sample.value),
            seen: None,
            at_millis: sample.at_millis.unwrap_or(at_millis),
            exemplars: &sample.exemplars,
            origin,
            gone: false,
        }
    }
}

/// All points of a pass under Prometheus's names, those that vanished last.
pub(super) fn lines(pass: &Pass) -> Vec<Line<'_>> {
    let mut out = Vec::new();
    for (family, seen) in pass.batch.families.iter().zip(&pass.seen) {
        let mut seen = seen.iter();
        for sample in &family.samples {
            out.push(Line { seen: seen.next(), ..Line::new(family, sample, pass.at_millis) });
        }
    }
    for family in &pass.gone {
        for sample in &family.samples {
            out.push(Line { gone: true, exemplars: &[], ..Line::new(family, sample, pass.at_millis) });
        }
    }
    out
}

/// The unit that a name of Prometheus says, in UCUM's words.
fn ucum(name: &str) -> &'static str {
    match unit(name.strip_suffix("_total").unwrap_or(name)) {
        Some("seconds") => "s",
        Some("bytes") => "By",
        Some("ratio") => "1",
        Some("celsius") => "Cel",
        Some("volts") => "V",
        Some("amperes") => "A",
        Some("joules") => "J",
        Some("watts") => "W",
        Some("hertz") => "Hz",
        Some("meters") => "m",
        Some("grams") => "g",
        _ => "",
    }
}
