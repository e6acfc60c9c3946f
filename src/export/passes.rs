//! Passes as Prometheus's series, for who keeps them on this machine.

use super::pass::History;
use super::remote_write::series;
use crate::exporter::scrapes::Recorded;
use std::collections::BTreeMap;

/// Series that are made at once.
const SERIES_MAX: usize = 500;

/// A series' labels, the name among them, sorted; its value; its time in milliseconds since the epoch.
pub type Told<'a> = (&'a [(&'a str, &'a str)], f64, i64);

/// One pass after the other, with a mark where a series has ended.
pub struct Passes {
    history: History,
    labels: BTreeMap<String, String>,
}

impl Passes {
    /// No pass yet; these labels are for series that have none of the name.
    pub fn new(labels: BTreeMap<String, String>) -> Self {
        Self { history: History::default(), labels }
    }

    /// Takes the next pass, made at this time, and tells all of its series to `each`; and each family, its kind and help to
    /// `about`.
    pub fn next(
        &mut self,
        recorded: Recorded,
        at_millis: i64,
        about: &mut dyn FnMut(&str, crate::metric::Kind, &str),
        each: &mut dyn FnMut(Told<'_>),
    ) {
        let pass = self.history.follow(recorded.batch, at_millis);
        for family in &pass.batch.families {
            about(&family.name, family.kind, &family.help);
        }
        let mut take = |part: &[series::Series<'_>]| {
            for one in part {
                let labels: Vec<(&str, &str)> =
                    one.labels.iter().map(|(name, value)| (&**name, &**value)).collect();
                each((&labels, one.value, one.at_millis));
            }
        };
        series::series(&pass, &self.labels, (SERIES_MAX, &mut take));
    }
}
