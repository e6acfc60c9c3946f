//! A whole request: its resources, scopes and metrics, and how many of their points were not taken, and why.

use super::attributes::{Resource, scope, text};
use super::naming::{self, Sort};
use super::point::{Frame, Series};
use super::wire::{Fields, Malformed, Wire};
use super::{Names, schema};
use crate::apps::limits::Refusal;
use crate::apps::store::{About, Labels, Point, Sender, Store};
use crate::apps::{Applications, Input};
use crate::metric::{Kind, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::MutexGuard;
use std::time::Instant;

/// What is done of a request before the store is left to others for a moment: bytes that are read, and a cost for each
/// message and each label, so that what is many and small counts as well.
const TURN_COST: usize = 64 << 10;
const COST: usize = 32;

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
    /// How many resources have no `target_info`, by reason; these are no points.
    pub unshown: BTreeMap<Refusal, u64>,
}

impl Outcome {
    /// How many points were not taken.
    pub fn rejected(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Whether all was taken.
    pub fn is_whole(&self) -> bool {
        self.refused.is_empty() && self.unshown.is_empty()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let points = self.refused.iter().map(|all| ("not taken", all));
        let resources = self.unshown.iter().map(|all| ("without target_info", all));
        for (at, (what, (refusal, count))) in points.chain(resources).enumerate() {
            let between = if at > 0 { "; " } else { "" };
            write!(f, "{between}{count} {what}: {refusal}")?;
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
    let mut turn = Turn { applications, store: None, left: TURN_COST };
    let labels_max = turn.store().labels_max();
    let mut receiving = Receiving { turn, names, arrival, labels_max, outcome: Outcome::default() };
    for resource in messages(request, 1) {
        receiving.resource(resource);
    }
    Ok(receiving.outcome)
}

/// The store, for a part of a request at a time: a page need not wait for all of it.
struct Turn<'s> {
    applications: &'s Applications,
    store: Option<MutexGuard<'s, Store>>,
    left: usize,
}

impl Turn<'_> {
    /// Leaves the store to others if what comes costs more than is left of this turn.
    fn spend(&mut self, cost: usize) {
        if let Some(left) = self.left.checked_sub(cost) {
            self.left = left;
        } else {
            self.store = None;
            self.left = TURN_COST;
        }
    }

    fn store(&mut self) -> &mut Store {
        self.store.get_or_insert_with(|| self.applications.lock())
    }
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
    turn: Turn<'s>,
    names: Names,
    arrival: Arrival,
    labels_max: usize,
    outcome: Outcome,
}

impl Receiving<'_> {
    fn resource(&mut self, bytes: &[u8]) {
        let resource = messages(bytes, 1).last().unwrap_or_default();
        self.turn.spend(COST + resource.len());
        let resource = Resource::read(self.names, resource, self.labels_max);
        let application = self.turn.store().application(&resource.job, &resource.instance, self.arrival.now);
        let application = match application {
            Ok(application) => application,
            Err(refusal) => return self.refuse_all(refusal, messages(bytes, 2)),
        };
        let Arrival { now, wall_nanos } = self.arrival;
        let sender = Sender { application, input: Input::Otlp, now, wall_nanos };
        for bytes in messages(bytes, 2) {
            self.scope(&sender, bytes);
        }
        self.target_info(&sender, &resource);
    }

    fn scope(&mut self, sender: &Sender, bytes: &[u8]) {
        let labels = messages(bytes, 1).last().unwrap_or_default();
        self.turn.spend(COST + labels.len());
        let labels = match scope(self.names, labels, text_of(bytes, 3), self.labels_max) {
            Ok(labels) => labels,
            Err(refusal) => return self.refuse_all(refusal, std::iter::once(bytes)),
        };
        let labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (n.as_ref(), v.as_ref())).collect();
        for metric in messages(bytes, 2) {
            self.metric(sender, &labels, metric);
        }
    }

    /// What is known of the application besides: a series without which its other labels would be on none.
    fn target_info(&mut self, sender: &Sender, resource: &Resource<'_>) {
        if resource.others.is_empty() {
            return;
        }
        let labels: Vec<(&str, &str)> =
            resource.others.iter().map(|(n, v)| (n.as_ref(), v.as_ref())).collect();
        let about = About { name: "target_info", help: "Target metadata.", kind: Kind::Gauge };
        // It is no point of the request's own: the answer says why it is not there, and does not count it. One for each
        // application: what a process said before it began anew is not true any more.
        let point = Point::new(&labels, Value::U64(1));
        if let Err(refusal) = self.turn.store().put_only(sender, &about, &point) {
            *self.outcome.unshown.entry(refusal).or_default() += 1;
        }
    }

    fn metric(&mut self, sender: &Sender, scope: &Labels<'_>, bytes: &[u8]) {
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
        self.turn.spend(COST + name.len() + unit.len());
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
            self.turn.spend(COST * (1 + scope.len()) + point.len());
            match frame.put(self.turn.store(), point) {
                Ok(()) => self.outcome.taken += 1,
                Err(refusal) => *self.outcome.refused.entry(refusal).or_default() += 1,
            }
        }
    }

    /// Refuses all points of these scopes.
    fn refuse_all<'a>(&mut self, refusal: Refusal, scopes: impl Iterator<Item = &'a [u8]>) {
        self.turn.store = None;
        self.refuse(refusal, scopes.flat_map(|scope| messages(scope, 2)).map(points_of).sum());
    }

    fn refuse(&mut self, refusal: Refusal, points: u64) {
        if points > 0 {
            self.turn.store().refuse(Input::Otlp, refusal, points);
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
