//! Families of the same name in several files become one; what does not fit together is refused and said.

use super::parse::{Family, Metric, Number};
use crate::metric::{Desc, Kind, Sink, Value};
use std::collections::{BTreeSet, HashMap, HashSet};

/// A family of all files together.
pub(super) struct Merged {
    pub(super) name: String,
    help: String,
    kind: Kind,
    labels: Vec<String>,
    /// The values of all labels, empty where the file gave none, and the number.
    metrics: Vec<(Vec<String>, Number)>,
}

/// Puts the families of the files (path, families) together, and says what is refused.
pub(super) fn merge<'a>(
    files: impl Iterator<Item = (&'a str, &'a [Family])>,
    errors: &mut Vec<String>,
) -> Vec<Merged> {
    let mut all: Vec<Part<'a>> = Vec::new();
    let mut places = HashMap::new();
    for (path, families) in files {
        for family in families {
            let place = *places.entry(family.name.as_str()).or_insert(all.len());
            let Some(part) = all.get_mut(place) else {
                all.push(Part::new(path, family));
                continue;
            };
            if let Err(why) = part.add(path, family) {
                errors.push(format!("{path}: {}: {why}", family.name));
            }
        }
    }
    all.sort_by(|a, b| a.first.name.cmp(&b.first.name));
    all.into_iter().filter_map(|part| part.finish(errors)).collect()
}

struct Part<'a> {
    first: &'a Family,
    help: Option<&'a str>,
    files: Vec<&'a str>,
    metrics: Vec<&'a Metric>,
}

impl<'a> Part<'a> {
    fn new(path: &'a str, family: &'a Family) -> Self {
        let help = family.help.as_deref();
        Self { first: family, help, files: vec![path], metrics: family.metrics.iter().collect() }
    }

    fn add(&mut self, path: &'a str, family: &'a Family) -> Result<(), String> {
        match (self.help, family.help.as_deref()) {
            (Some(ours), Some(theirs)) if ours != theirs => {
                return Err(format!("another help than in {}", self.files.join(", ")));
            }
            (None, theirs) => self.help = theirs,
            _ => {}
        }
        if family.kind != self.first.kind {
            return Err(format!("another type than in {}", self.files.join(", ")));
        }
        self.files.push(path);
        self.metrics.extend(&family.metrics);
        Ok(())
    }

    fn finish(self, errors: &mut Vec<String>) -> Option<Merged> {
        let Self { first, help, files, metrics } = self;
        let names: BTreeSet<&str> =
            metrics.iter().flat_map(|metric| &metric.labels).map(|(name, _)| name.as_str()).collect();
        // Prometheus refuses the whole page if a label stands twice in a sample.
        if names.iter().map(|name| legacy(name)).collect::<BTreeSet<_>>().len() < names.len() {
            let files = files.join(", ");
            errors.push(format!("{files}: {}: two labels that old readers cannot tell apart", first.name));
            return None;
        }
        let mut seen = HashSet::new();
        let mut out = Vec::with_capacity(metrics.len());
        for metric in metrics {
            let value = |name: &&str| {
                let found = metric.labels.iter().find(|(label, _)| label == name);
                found.map(|(_, value)| value.clone()).unwrap_or_default()
            };
            let values: Vec<String> = names.iter().map(value).collect();
            if seen.insert(values.clone()) {
                out.push((values, metric.number.clone()));
            } else {
                errors.push(format!("{}: {}: the same series twice", files.join(", "), first.name));
            }
        }
        let help = help.filter(|help| !help.is_empty()).map(str::to_owned);
        Some(Merged {
            name: first.name.clone(),
            help: help.unwrap_or_else(|| format!("Metric read from {}", files.join(", "))),
            kind: first.kind,
            labels: names.into_iter().map(str::to_owned).collect(),
            metrics: out,
        })
    }
}

/// A name as it is read by those who know no others than letters, digits and underscores.
fn legacy(name: &str) -> String {
    name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_")
}

impl Merged {
    /// Whether another collector has this name, or one that a part of this family would have.
    pub(super) fn is_taken(&self, out: &dyn Sink) -> bool {
        // What is written after this collector cannot be seen yet.
        const LATER: [&str; 3] = ["headroom_", "node_scrape_collector_", "node_textfile_"];
        let parts: &[&str] = match self.kind {
            Kind::Histogram => &["_bucket", "_sum", "_count"],
            Kind::Summary => &["_sum", "_count"],
            _ => &[],
        };
        let name = legacy(&self.name);
        LATER.iter().any(|prefix| name.starts_with(prefix))
            || out.has_family(&self.name)
            || parts.iter().any(|part| out.has_family(&format!("{}{part}", self.name)))
    }

    pub(super) fn write(&self, out: &mut dyn Sink) {
        let labels: Vec<&str> = self.labels.iter().map(String::as_str).collect();
        out.family(&Desc { name: &self.name, help: &self.help, kind: self.kind, labels: &labels });
        let mut values: Vec<&str> = Vec::with_capacity(labels.len());
        for (own, number) in &self.metrics {
            values.clear();
            values.extend(own.iter().map(String::as_str));
            out.sample(
                &values,
                match number {
                    Number::Float(value) => Value::F64(*value),
                    Number::Histogram(histogram) => Value::Histogram(histogram),
                    Number::Summary(summary) => Value::Summary(summary),
                },
            );
        }
    }
}
