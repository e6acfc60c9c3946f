//! A whole request: its resources, scopes and metrics, and how many of their points were not taken, and why.

use super::attributes::{Label, Resource, scope, text};
use super::naming::{self, Sort};
use super::point::{Frame, Series};
use super::wire::{Fields, Malformed, Wire};
use super::{Names, schema};
use crate::apps::limits::Refusal;
use crate::apps::store::{About, Point, Sender, Store};
use crate::apps::{Applications, Input};
use crate::metric::{Kind, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

/// When a request comes, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The time that makes series stale.
    pub now: Instant,
    /// The time of the day, in nanoseconds since the epoch.
    pub wall_nanos: u64,
}

/// What became of a request's points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many were taken.
    pub taken: u64,
    /// How many were not, by reason.
    pub refused: BTreeMap<Refusal, u64>,
}

impl Outcome {
    /// How many points were not taken.
    pub fn rejected(&self) -> u64 {
        self.refused.values().sum()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (refusal, points)) in self.refused.iter().enumerate() {
            let between = if at > 0 { "; " } else { "" };
            write!(f, "{between}{points} not taken: {refusal}")?;
        }
        Ok(())
    }
}

/// Takes the points of a request. One that is no request is refused as a whole, and nothing of it is kept.
pub fn receive(
    applications: &Applications,
    names: Names,
    request: &[u8],
    arrival: Arrival,
) -> Result<Outcome, Malformed> {
    schema::check(request)?;
    let mut outcome = Outcome::default();
    for resource in messages(request, 1) {
        // Locked for one resource at a time, so that a page need not wait for all of them.
        let mut store = applications.lock();
        Receiving { store: &mut store, names, arrival, outcome: &mut outcome }.resource(resource);
    }
    Ok(outcome)
}

/// The messages in a field.
pub(super) fn messages(bytes: &[u8], field: u32) -> impl Iterator<Item = &[u8]> {
    Fields(bytes).flatten().filter_map(move |(number, wire)| match wire {
        Wire::Bytes(bytes) if number == field => Some(bytes),
        _ => None,
    })
}

/// The text of a field; the last one counts.
fn text_of(bytes: &[u8], field: u32) -> &str {
    messages(bytes, field).last().map(text).unwrap_or_default()
}

struct Receiving<'s> {
    store: &'s mut Store,
    names: Names,
    arrival: Arrival,
    outcome: &'s mut Outcome,
}

impl Receiving<'_> {
    fn resource(&mut self, bytes: &[u8]) {
        let resource = messages(bytes, 1).last().unwrap_or_default();
        let resource = Resource::read(self.names, resource);
        let application = self.store.application(&resource.job, &resource.instance, self.arrival.now);
        let application = match application {
            Ok(application) => application,
            Err(refusal) => {
                let scopes = messages(bytes, 2);
                let points = scopes.flat_map(|scope| messages(scope, 2)).map(points_of).sum();
                self.refuse(refusal, points);
                return;
            }
        };
        let Arrival { now, wall_nanos } = self.arrival;
        let sender = Sender { application, input: Input::Otlp, now, wall_nanos };
        for bytes in messages(bytes, 2) {
            let labels = messages(bytes, 1).last().unwrap_or_default();
            let labels = scope(self.names, labels, text_of(bytes, 3));
            for metric in messages(bytes, 2) {
                self.metric(&sender, &labels, metric);
            }
        }
        self.target_info(&sender, &resource);
    }

    /// What is known of the application besides: a series without which its other labels would be on none.
    fn target_info(&mut self, sender: &Sender, resource: &Resource<'_>) {
        if resource.others.is_empty() {
            return;
        }
        let labels: Vec<(&str, &str)> =
            resource.others.iter().map(|(n, v)| (n.as_ref(), v.as_ref())).collect();
        let about = About { name: "target_info", help: "Target metadata.", kind: Kind::Gauge };
        // It is no point of the request's own: the store counts it if it is refused, the answer does not.
        _ = self.store.put(sender, &about, &Point::new(&labels, Value::U64(1)));
    }

    fn metric(&mut self, sender: &Sender, scope: &[Label<'_>], bytes: &[u8]) {
        let (mut name, mut help, mut unit, mut data) = ("", "", "", None);
        for (number, wire) in Fields(bytes).flatten() {
            match (number, wire) {
                (1, Wire::Bytes(bytes)) => name = text(bytes),
                (2, Wire::Bytes(bytes)) => help = text(bytes),
                (3, Wire::Bytes(bytes)) => unit = text(bytes),
                (5 | 7 | 9 | 10 | 11, Wire::Bytes(bytes)) => data = Some((number, bytes)),
                _ => {}
            }
        }
        let Some((number, data)) = data else { return };
        let series = match Series::read(number, data) {
            Ok(series) => series,
            Err(refusal) => return self.refuse(refusal, points_of(bytes)),
        };
        let (kind, sort) = match series {
            Series::Sum(_) => (Kind::Counter, Sort::Counter),
            Series::Gauge(_) => (Kind::Gauge, Sort::Gauge),
            Series::Histogram(_) | Series::Exponential(_) => (Kind::Histogram, Sort::Other),
            Series::Summary => (Kind::Summary, Sort::Other),
        };
        // A sum that also falls is a gauge, but no ratio.
        let sort = if number == 7 && sort == Sort::Gauge { Sort::Other } else { sort };
        let name = naming::metric(self.names, name, unit, sort);
        let frame =
            Frame { sender, about: About { name: &name, help, kind }, names: self.names, scope, series };
        for point in messages(data, 1) {
            match frame.put(self.store, point) {
                Ok(()) => self.outcome.taken += 1,
                Err(refusal) => *self.outcome.refused.entry(refusal).or_default() += 1,
            }
        }
    }

    fn refuse(&mut self, refusal: Refusal, points: u64) {
        if points > 0 {
            self.store.refuse(Input::Otlp, refusal, points);
            *self.outcome.refused.entry(refusal).or_default() += points;
        }
    }
}

/// How many points a metric has.
fn points_of(metric: &[u8]) -> u64 {
    [5, 7, 9, 10, 11]
        .into_iter()
        .flat_map(|field| messages(metric, field))
        .map(|data| messages(data, 1).count() as u64)
        .sum()
}

#[cfg(test)]
mod tests;
