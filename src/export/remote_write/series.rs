//! A pass as Prometheus's series: labels in order, one number each, and a mark where a series ends.

use super::super::pass::{Pass, Seen, origin};
use crate::encode::lines::bound as bound_text;
use crate::encode::name::{Of, Scheme};
use crate::metric::Kind;
use crate::metric::batch::{Family, Held, Sample};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// The not-a-number that says: this series has ended.
pub(super) const STALE: u64 = 0x7ff0_0000_0000_0002;

/// A series with one number.
#[derive(Clone, Debug)]
pub(in crate::export) struct Series<'a> {
    /// Sorted, the name among them.
    pub(in crate::export) labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    pub(in crate::export) value: f64,
    pub(in crate::export) at_millis: i64,
    /// Since when a total counts.
    pub(super) start_millis: Option<i64>,
    pub(super) kind: Kind,
    pub(super) help: &'a str,
}

/// Takes so many series at once, and at the end the rest.
type Parts<'p, 'a> = (usize, &'p mut dyn FnMut(&[Series<'a>]));

/// All series of a pass, those that vanished last; with these labels where they have none of the name.
pub(in crate::export) fn series<'a>(
    pass: &'a Pass,
    more: &'a BTreeMap<String, String>,
    (most, take): Parts<'_, 'a>,
) {
    let mut out = Vec::new();
    // Two names that become one are one: the second is left out, as on a page.
    let mut names: HashMap<String, &str> = HashMap::new();
    let here = pass.batch.families.iter().zip(&pass.seen).map(|(family, seen)| (family, &**seen, false));
    for (family, seen, gone) in here.chain(pass.gone.iter().map(|family| (family, &[][..], true))) {
        let name = Scheme::Underscores.escape(&family.name, Of::Family).into_owned();
        if *names.entry(name.clone()).or_insert(&family.name) != &*family.name {
            continue;
        }
        let mut seen = seen.iter();
        for sample in &family.samples {
            let one = One { family, sample, name: &name, seen: seen.next(), gone, at_millis: pass.at_millis };
            one.write(more, &mut out);
            while let Some(part) = out.get(..most) {
                take(part);
                out.drain(..most);
            }
        }
    }
    if !out.is_empty() {
        take(&out);
    }
}

struct One<'n, 'a> {
    family: &'a Family,
    sample: &'a Sample,
    name: &'n str,
    seen: Option<&'a Seen>,
    gone: bool,
    at_millis: i64,
}

impl<'a> One<'_, 'a> {
    /// A sample as its series: a number is one, observations are as many as they have lines in Prometheus's text.
    fn write(&self, more: &'a BTreeMap<String, String>, out: &mut Vec<Series<'a>>) {
        let base = self.labels(more);
        let mut put = |suffix: &str, label: Option<(&'static str, f64)>, value: f64| {
            let mut labels = base.clone();
            labels.push(("__name__".into(), format!("{}{suffix}", self.name).into()));
            labels.extend(label.map(|(key, bound)| (key.into(), bound_text(bound).into())));
            labels.sort_unstable();
            out.push(Series {
                labels,
                value: if self.gone { f64::from_bits(STALE) } else { value },
                at_millis: self.sample.at_millis.unwrap_or(self.at_millis),
                start_millis: self
                    .seen
                    .filter(|_| matches!(self.family.kind, Kind::Counter | Kind::Histogram | Kind::Summary))
                    .and_then(|seen| seen.start_millis),
                kind: self.family.kind,
                help: &self.family.help,
            });
        };
        let classic;
        let histogram = match &self.sample.value {
            Held::U64(value) => return put("", None, *value as f64),
            Held::F64(value) => return put("", None, *value),
            Held::Summary(summary) => {
                for &(quantile, value) in &summary.quantiles {
                    put("", Some(("quantile", quantile)), value);
                }
                put("_sum", None, summary.sum);
                return put("_count", None, summary.count as f64);
            }
            Held::Histogram(histogram) => &**histogram,
            Held::Exponential(exponential) => {
                classic = exponential.classic();
                &classic
            }
        };
        for &(bound, count) in histogram.buckets.iter().filter(|(bound, _)| bound.is_finite()) {
            put("_bucket", Some(("le", bound)), count as f64);
        }
        put("_bucket", Some(("le", f64::INFINITY)), histogram.count as f64);
        if let Some(sum) = histogram.sum {
            put("_sum", None, sum);
        }
        put("_count", None, histogram.count as f64);
    }

    /// The labels without the name. What an application says of its own stands over this machine's.
    fn labels(&self, more: &'a BTreeMap<String, String>) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
        let mut labels: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::new();
        for (key, value) in self.family.labels(self.sample) {
            let key = Scheme::Underscores.escape(key, Of::Label);
            if !labels.iter().any(|(known, _)| *known == key) {
                labels.push((key, value.into()));
            }
        }
        let foreign = origin(self.family, self.sample).is_some();
        for (key, value) in more {
            let own = foreign && key == "instance";
            if !own && !value.is_empty() && !labels.iter().any(|(known, _)| known == key) {
                labels.push((key.into(), value.into()));
            }
        }
        labels
    }
}
