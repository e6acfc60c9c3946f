//! From datagrams to the store: which series a sample belongs to, and what becomes of it there.

use super::kept::{All, Kept, NoRoom, What as Keeping, read_key, write_key};
use super::line::{self, Sample, Take, What, Wrong};
use super::mapping::{Found, Kind as Matched, Mapping, Observing, Rule};
use super::metrics::Metrics;
use super::name::escaped;
use super::quantiles::Window;
use super::{Options, Tags};
use crate::apps::Input;
use crate::apps::held::Mode;
use crate::apps::store::{About, Labels, Point, Sender, Store};
use crate::metric::{Histogram, Kind, Summary, Value};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest datagram.
pub const PACKET_BYTES_MAX: usize = 65_535;
/// Quantiles are shown so often at most: to estimate them costs more than to observe.
const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// What StatsD sends, on its way into a store.
#[derive(Debug)]
pub struct Engine {
    forms: Arc<[Tags]>,
    job: String,
    instance: String,
    stale_after: Duration,
    set_interval: Duration,
    mapping: Arc<Mapping>,
    metrics: Metrics,
    kept: All,
    flushed_at: Option<Instant>,
    sets_at: Option<Instant>,
    /// The key of the sample that comes.
    key: Vec<u8>,
    /// One observation as a histogram.
    one: Histogram,
}

impl Engine {
    /// An engine without any series; those without a time to live of their own stay for `stale_after`.
    pub fn new(options: &Options, stale_after: Duration, metrics: Metrics) -> Self {
        let mut engine = Self {
            forms: Arc::default(),
            job: String::new(),
            instance: String::new(),
            stale_after,
            set_interval: Duration::ZERO,
            mapping: Arc::default(),
            metrics,
            kept: All::new(0),
            flushed_at: None,
            sets_at: None,
            key: Vec::new(),
            one: Histogram::default(),
        };
        engine.replace(options, stale_after);
        engine
    }

    /// Uses other options from now on. Sockets are not among them.
    pub fn replace(&mut self, options: &Options, stale_after: Duration) {
        self.forms = options.tags.clone().into();
        (self.job, self.instance) = (options.job.clone(), options.instance.clone());
        (self.stale_after, self.set_interval) = (stale_after, options.set_interval);
        self.mapping = Arc::clone(&options.mapping);
        self.kept.generation += 1;
        self.kept.bytes_max = usize::try_from(options.memory.as_u64()).unwrap_or(usize::MAX);
        self.metrics.rules.set(i64::try_from(self.mapping.len()).unwrap_or(i64::MAX));
        for key in &self.mapping.unused {
            tracing::warn!(key, "the mapping file has a key that changes nothing here");
        }
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Takes a datagram: lines with samples, each of which is taken or refused by itself.
    pub fn packet(&mut self, packet: &[u8], store: &mut Store, now: Instant) {
        let mut packet = packet;
        if packet.len() > PACKET_BYTES_MAX {
            // Its last line may be cut.
            self.metrics.refuse(Wrong::TooLong);
            let end = packet.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
            packet = packet.get(..end).unwrap_or_default();
        }
        let Some(sender) = self.sender(store, now) else { return };
        let (forms, mapping) = (Arc::clone(&self.forms), Arc::clone(&self.mapping));
        let mut taking = Taking { engine: self, store, mapping: &mapping, sender };
        for line in packet.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            taking.engine.metrics.lines.inc();
            line::read(line, &forms, &mut taking);
        }
    }

    /// Who all of it comes from; a store that has no room for another application has said so.
    fn sender(&self, store: &mut Store, now: Instant) -> Option<Sender> {
        match store.application(&self.job, &self.instance, now) {
            Ok(application) => Some(Sender { application, input: Input::Statsd, now, wall_nanos: 0 }),
            Err(refusal) => {
                store.refuse(Input::Statsd, refusal, 1);
                None
            }
        }
    }

    /// When [`Engine::flush`] has something to do.
    pub fn flush_at(&self, now: Instant) -> Option<Instant> {
        self.kept.is_dirty().then(|| self.flushed_at.map_or(now, |at| at + FLUSH_EVERY))
    }

    /// Shows the quantiles of what was observed.
    pub fn flush(&mut self, store: &mut Store, now: Instant) {
        // First: where the store has no room for the application, it is not asked again at once.
        self.flushed_at = Some(now);
        let Some(sender) = self.sender(store, now) else { return };
        self.kept.flush(|key, kept, may_grow| show(store, &sender, (key, kept), may_grow));
        self.tell();
    }

    /// What time brings, once a second: windows move on, sets begin anew, and series that lived long enough go.
    pub fn tick(&mut self, store: &mut Store, now: Instant) {
        let sets_turn = self.sets_at.is_none_or(|at| now >= at);
        if sets_turn {
            self.sets_at = Some(now + self.set_interval);
        }
        if self.kept.is_empty() {
            return;
        }
        let Some(sender) = self.sender(store, now) else { return };
        let stale_after = self.stale_after;
        self.kept.retain(|key, kept| {
            let silent = now.saturating_duration_since(kept.seen);
            if silent > kept.ttl.unwrap_or(stale_after) {
                let (kind, name, labels) = read_key(key);
                let about = About { name, help: "", kind };
                // A series whose limits changed meanwhile goes by itself, when it is stale.
                let _gone = store.remove(&sender, &about, &labels);
                return false;
            }
            let turned = match &mut kept.what {
                Keeping::Summary(window) => window.turn(now),
                Keeping::Set(_) => sets_turn,
                Keeping::Nothing => false,
            };
            if turned {
                return show(store, &sender, (key, kept), false);
            }
            // Those whose time to live is longer than the store's stay by being told of.
            if kept.ttl.is_some_and(|ttl| ttl > stale_after) && !silent.is_zero() {
                let (kind, name, labels) = read_key(key);
                return store.touch(&sender, &About { name, help: "", kind }, &labels);
            }
            true
        });
        self.tell();
    }

    fn tell(&self) {
        self.metrics.held_bytes.set(i64::try_from(self.kept.bytes()).unwrap_or(i64::MAX));
    }
}

/// Puts the present value of a summary or a set into the store; whether it is there.
fn show(store: &mut Store, sender: &Sender, (key, kept): (&[u8], &mut Kept), may_grow: bool) -> bool {
    let (kind, name, labels) = read_key(key);
    let about = About { name, help: &kept.help, kind };
    match &mut kept.what {
        Keeping::Nothing => true,
        Keeping::Summary(window) => {
            let quantiles = window.quantiles(may_grow);
            let value = Summary { quantiles, sum: window.sum, count: window.count };
            store.put(sender, &about, &Point::new(&labels, Value::Summary(&value))).is_ok()
        }
        Keeping::Set(members) => {
            let value = Value::F64(members.len() as f64);
            *members = HashSet::new();
            store.put(sender, &about, &Point::new(&labels, value)).is_ok()
        }
    }
}

/// A datagram that is being taken.
struct Taking<'p> {
    engine: &'p mut Engine,
    store: &'p mut Store,
    mapping: &'p Mapping,
    sender: Sender,
}

/// The series of a sample, and its rule.
struct Series<'s> {
    rule: &'s Rule,
    name: &'s str,
    labels: &'s Labels<'s>,
}

impl Take for Taking<'_> {
    fn wrong(&mut self, wrong: Wrong) {
        self.engine.metrics.refuse(wrong);
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        let matched = match sample.what {
            What::Count(_) => Matched::Counter,
            What::Gauge(_) | What::Step(_) | What::Member(_) => Matched::Gauge,
            What::Observe(..) => Matched::Observer,
        };
        let found = self.mapping.find(sample.name, matched);
        let metrics = &self.engine.metrics;
        match &found {
            Some(found) if found.rule.is_dropped => return metrics.dropped.inc(),
            Some(_) => metrics.mapped.inc(),
            None => metrics.unmapped.inc(),
        }
        let rule = found.as_ref().map_or(&self.mapping.default, |found| found.rule);
        let name = found.as_ref().map_or_else(|| escaped(sample.name), |found| escaped(&found.name));
        if name.is_empty() {
            return self.wrong(Wrong::EmptyName);
        }
        let labels = labels(sample, found.as_ref());
        if let Err(wrong) = self.put(&Series { rule, name: &name, labels: &labels }, sample.what) {
            self.wrong(wrong);
        }
    }
}

/// The tags of a sample and the labels of its mapping; of two with one name the mapping's counts, unless it says otherwise.
fn labels<'s>(sample: &Sample<'s>, found: Option<&'s Found<'s>>) -> Vec<(&'s str, &'s str)> {
    let plain = |(name, value): &'s (Cow<'s, str>, &'s str)| (name.as_ref(), *value);
    let mut out: Vec<(&str, &str)> = sample.labels.iter().map(plain).collect();
    let Some(found) = found else { return out };
    for (name, value) in &found.labels {
        match out.iter_mut().find(|(known, _)| known == name) {
            Some(_) if found.rule.honor_labels => {}
            Some((_, known)) => *known = value,
            None => out.push((name, value)),
        }
    }
    out
}

impl Taking<'_> {
    /// What the store refuses is counted there.
    fn put(&mut self, series: &Series<'_>, what: What<'_>) -> Result<(), Wrong> {
        let scale = series.rule.scale.unwrap_or(1.0);
        match what {
            What::Count(value) if value * scale < 0.0 => Err(Wrong::NegativeCounter),
            What::Count(value) => self.number(series, Kind::Counter, (value * scale, Mode::Add)),
            What::Gauge(value) => self.number(series, Kind::Gauge, (value * scale, Mode::Set)),
            What::Step(value) => self.number(series, Kind::Gauge, (value * scale, Mode::Add)),
            What::Observe(_, 0) => Ok(()),
            What::Observe(value, times) => match &series.rule.observing {
                Observing::Histogram(bounds) => self.histogram(series, bounds, (value * scale, times)),
                Observing::Summary(options) => {
                    let (value, now) = (value * scale, self.sender.now);
                    if !value.is_finite() {
                        return Err(Wrong::Value);
                    }
                    self.note(series, Kind::Summary, || {
                        Keeping::Summary(Box::new(Window::new(options, now)))
                    })?;
                    self.engine.kept.observe(&self.engine.key, now, (value, times), options);
                    Ok(())
                }
            },
            What::Member(member) => {
                self.note(series, Kind::Gauge, || Keeping::Set(HashSet::new()))?;
                self.engine.kept.add(&self.engine.key, member).map_err(|NoRoom| Wrong::Memory)
            }
        }
    }

    fn number(&mut self, series: &Series<'_>, kind: Kind, (value, mode): (f64, Mode)) -> Result<(), Wrong> {
        let point = Point { mode, ..Point::new(series.labels, Value::F64(value)) };
        self.store(series, kind, &point)
    }

    fn histogram(
        &mut self,
        series: &Series<'_>,
        bounds: &[f64],
        (value, times): (f64, u64),
    ) -> Result<(), Wrong> {
        let mut one = std::mem::take(&mut self.engine.one);
        one.buckets.clear();
        let within = |bound: &f64| (*bound, if value <= *bound { times } else { 0 });
        one.buckets.extend(bounds.iter().map(within));
        (one.sum, one.count) = (Some(value * times as f64), times);
        let point = Point { mode: Mode::Add, ..Point::new(series.labels, Value::Histogram(&one)) };
        let result = self.store(series, Kind::Histogram, &point);
        self.engine.one = one;
        result
    }

    fn store(&mut self, series: &Series<'_>, kind: Kind, point: &Point<'_>) -> Result<(), Wrong> {
        let about = About { name: series.name, help: &series.rule.help, kind };
        // Room for its time to live first: without it a series would stay for another time than it should.
        if series.rule.ttl.is_some() {
            self.note(series, kind, || Keeping::Nothing)?;
        } else if self.engine.kept.has_numbers() {
            self.write_key(series, kind);
            self.engine.kept.outlive(&self.engine.key, self.sender.now);
        }
        let _counted = self.store.put(&self.sender, &about, point);
        Ok(())
    }

    /// Takes note of a series of which more is kept than its value.
    fn note(&mut self, series: &Series<'_>, kind: Kind, make: impl FnOnce() -> Keeping) -> Result<(), Wrong> {
        self.write_key(series, kind);
        let engine = &mut *self.engine;
        let when = (self.sender.now, series.rule.ttl);
        engine
            .kept
            .note(&engine.key, when, &series.rule.help, make)
            .map(|_| ())
            .map_err(|NoRoom| Wrong::Memory)
    }

    fn write_key(&mut self, series: &Series<'_>, kind: Kind) {
        let mut labels: Vec<(&str, &str)> = series.labels.to_vec();
        labels.sort_unstable();
        write_key(kind, series.name, &labels, &mut self.engine.key);
    }
}

#[cfg(test)]
mod tests;
