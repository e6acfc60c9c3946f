//! Samples that are read thing by thing (a device, a zone) and written family by family.

use crate::metric::{Desc, Kind, Sink, Value};

/// One thing: its labels, and for each family a value or none.
pub(super) struct Row {
    pub labels: Vec<String>,
    pub values: Vec<Option<Value<'static>>>,
}

/// Writes each family with the rows that have a value for it; a family without any is left out.
pub(super) fn write(families: &[Desc<'_>], rows: &[Row], out: &mut dyn Sink) {
    for (i, desc) in families.iter().enumerate() {
        let mut open = false;
        for row in rows {
            let Some(value) = row.values.get(i).copied().flatten() else { continue };
            if !std::mem::replace(&mut open, true) {
                out.family(desc);
            }
            let labels: Vec<&str> = row.labels.iter().map(String::as_str).collect();
            out.sample(&labels, value);
        }
    }
}

/// A whole number that may be below zero.
pub(super) fn signed(value: i64) -> Value<'static> {
    u64::try_from(value).map_or(Value::F64(value as f64), Value::U64)
}

/// Families whose names are the kernel's, with their samples, in the order in which they were found.
pub(super) struct Found {
    labels: &'static [&'static str],
    families: Vec<Family>,
}

struct Family {
    name: String,
    help: String,
    kind: Kind,
    samples: Vec<(Vec<String>, Value<'static>)>,
}

impl Found {
    /// No families yet; those that come will have these labels.
    pub(super) fn new(labels: &'static [&'static str]) -> Self {
        Self { labels, families: Vec::new() }
    }

    /// Adds a sample to the family `name`, which is made if it is not there.
    pub(super) fn add(
        &mut self,
        (name, kind): (String, Kind),
        help: impl FnOnce() -> String,
        labels: Vec<String>,
        value: Value<'static>,
    ) {
        match self.families.iter_mut().find(|family| family.name == name) {
            // A second sample of the same labels would make the whole page unreadable.
            Some(family) if family.samples.iter().any(|(have, _)| *have == labels) => {}
            Some(family) => family.samples.push((labels, value)),
            None => {
                let samples = vec![(labels, value)];
                self.families.push(Family { name, help: help(), kind, samples });
            }
        }
    }

    /// Writes all families but those whose name another one has taken.
    pub(super) fn write(&self, out: &mut dyn Sink) {
        for Family { name, help, kind, samples } in &self.families {
            if out.has_family(name) {
                continue;
            }
            out.family(&Desc { name, help, kind: *kind, labels: self.labels, sparse: false });
            for (labels, value) in samples {
                let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
                out.sample(&labels, *value);
            }
        }
    }
}
