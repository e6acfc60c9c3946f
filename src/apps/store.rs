//! The store of what applications send: every limit is looked at before anything is kept, and all that is kept is counted.

mod expiry;
mod forget;
mod hidden;
mod room;

use super::Input;
use super::families::{Families, kind_of, shown};
use super::family::{Family, Key, Series, Together, clash, joined, name_bytes};
use super::held::{self, Held, Mode};
use super::limits::{Limits, Refusal};
use super::taken::{is_taken, parts_of};
use crate::collect::own::is_shared;
use crate::metric::{Desc, Exemplar, Kind, Sink, Value, single};
use hidden::Hidden;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

/// What an application takes, without its texts.
const APPLICATION_BYTES: usize = 256;
/// A clock that is this far ahead is wrong: what it says does not make others old.
const SKEW_NANOS_MAX: u64 = 600_000_000_000;
/// More than a value, a series' time and its exemplars can take.
const MORE_BYTES_MAX: usize = 256 << 10;
/// How long it takes at least until what is stale is looked for again because there is no room.
const EXPIRE_MILLIS_MIN: u64 = 1000;

/// The names and values of a sample's labels.
pub type Labels<'a> = [(&'a str, &'a str)];

/// Who sends, by what way, and when that is.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    /// Its number, from [`Store::application`].
    pub application: u32,
    /// The way.
    pub input: Input,
    /// The time that makes series stale.
    pub now: Instant,
    /// The time of the day, in nanoseconds since the epoch, to tell clocks that are wrong; 0 if nobody wants to know.
    pub wall_nanos: u64,
}

/// What a point says of its family.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The name, with unit and suffix.
    pub name: &'a str,
    /// One sentence for people.
    pub help: &'a str,
    /// The kind.
    pub kind: Kind,
}

/// One value of one series.
#[derive(Clone, Copy, Debug)]
pub struct Point<'a> {
    /// The labels, without `job` and `instance`, in any order.
    pub labels: &'a Labels<'a>,
    /// The value.
    pub value: Value<'a>,
    /// What it does to the one before.
    pub mode: Mode,
    /// When what was counted began, by the sender's clock, in nanoseconds since the epoch; 0 if it did not say.
    pub start_nanos: u64,
    /// When the value was taken, by the same clock; 0 if it did not say.
    pub at_nanos: u64,
    /// The time that the page is to show, in milliseconds since the epoch.
    pub at_millis: Option<i64>,
    /// Examples of what was counted.
    pub exemplars: &'a [Exemplar],
}

impl<'a> Point<'a> {
    /// A value without anything else.
    pub fn new(labels: &'a Labels<'a>, value: Value<'a>) -> Self {
        Self { labels, value, mode: Mode::Set, start_nanos: 0, at_nanos: 0, at_millis: None, exemplars: &[] }
    }
}

/// An application: who sends.
#[derive(Debug)]
struct Application {
    job: Box<str>,
    instance: Box<str>,
    series: usize,
    bytes: usize,
    seen_millis: u64,
}

/// What is held of all applications.
#[derive(Debug)]
pub struct Store {
    limits: Limits,
    stale_after: Duration,
    begun: Instant,
    families: Families,
    applications: HashMap<u32, Application>,
    numbers: HashMap<(Box<str>, Box<str>), u32>,
    next_number: u32,
    series: usize,
    bytes: usize,
    expired_at_millis: u64,
    pub(super) counts: Counts,
    hidden: Hidden,
    /// The key of the point that comes.
    key: Vec<u8>,
}

/// What happened so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) points: BTreeMap<Input, u64>,
    pub(super) refused: BTreeMap<(Input, Refusal), u64>,
    pub(super) expired: u64,
}

/// What is held now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Applications.
    pub applications: usize,
    /// Series, as Prometheus counts them.
    pub series: usize,
    /// Bytes.
    pub bytes: usize,
}

impl Store {
    /// An empty store.
    pub fn new(limits: Limits, stale_after: Duration, now: Instant) -> Self {
        Self {
            limits,
            stale_after,
            begun: now,
            families: Families::default(),
            applications: HashMap::new(),
            numbers: HashMap::new(),
            next_number: 0,
            series: 0,
            bytes: 0,
            expired_at_millis: 0,
            counts: Counts::default(),
            hidden: Hidden::default(),
            key: Vec::new(),
        }
    }

    /// Uses other limits from now on.
    pub fn replace(&mut self, limits: Limits, stale_after: Duration) {
        (self.limits, self.stale_after) = (limits, stale_after);
    }

    /// How many labels a series may have: nobody need read more of them.
    pub fn labels_max(&self) -> usize {
        self.limits.labels
    }

    /// What is held now.
    pub fn totals(&self) -> Totals {
        Totals { applications: self.applications.len(), series: self.series, bytes: self.bytes }
    }

    /// The number of an application, which it keeps for as long as it sends something.
    pub fn application(&mut self, job: &str, instance: &str, now: Instant) -> Result<u32, Refusal> {
        let now_millis = self.millis(now);
        let names = (Box::<str>::from(job), Box::<str>::from(instance));
        if let Some(number) = self.numbers.get(&names) {
            if let Some(application) = self.applications.get_mut(number) {
                application.seen_millis = now_millis;
            }
            return Ok(*number);
        }
        if job.len().max(instance.len()) > self.limits.value_bytes {
            return Err(Refusal::LabelValue);
        }
        let bytes = application_bytes(job, instance);
        if self.applications.len() >= self.limits.applications {
            self.expire_if_due(now_millis);
            if self.applications.len() >= self.limits.applications {
                return Err(Refusal::Applications);
            }
        }
        if self.bytes + bytes > self.limits.memory_bytes() {
            return Err(Refusal::Memory);
        }
        self.next_number = self.next_number.wrapping_add(1);
        let number = self.next_number;
        let (job, instance) = names.clone();
        self.numbers.insert(names, number);
        self.applications
            .insert(number, Application { job, instance, series: 0, bytes: 0, seen_millis: now_millis });
        self.bytes += bytes;
        Ok(number)
    }

    /// Keeps a point, or says why not. Both are counted.
    pub fn put(&mut self, sender: &Sender, about: &About<'_>, point: &Point<'_>) -> Result<(), Refusal> {
        let result = self.try_put(sender, about, point);
        self.counted(sender.input, result)
    }

    fn counted(&mut self, input: Input, result: Result<(), Refusal>) -> Result<(), Refusal> {
        match result {
            Ok(()) => *self.counts.points.entry(input).or_default() += 1,
            Err(refusal) => self.refuse(input, refusal, 1),
        }
        result
    }

    /// [`Store::put`] where an application has one series in a family: those with other labels disappear.
    pub fn put_only(&mut self, sender: &Sender, about: &About<'_>, point: &Point<'_>) -> Result<(), Refusal> {
        let mut result = self.try_put(sender, about, point);
        if let Some(family) = self.families.get(about.name, about.kind) {
            let keys: Vec<Box<[u8]>> = family.keys_of(sender.application).map(Into::into).collect();
            if keys.len() > usize::from(result.is_ok()) {
                for key in &keys {
                    self.drop_series(sender.application, about, key);
                }
                // What was there before may have been in its way.
                result = self.try_put(sender, about, point);
            }
        }
        self.counted(sender.input, result)
    }

    /// Counts points that were refused before they came to the store.
    pub fn refuse(&mut self, input: Input, refusal: Refusal, points: u64) {
        *self.counts.refused.entry((input, refusal)).or_default() += points;
    }

    fn try_put(&mut self, sender: &Sender, about: &About<'_>, point: &Point<'_>) -> Result<(), Refusal> {
        held::check(about.kind, point.value, point.mode)?;
        if about.name.is_empty() || about.name.len() > self.limits.name_bytes {
            return Err(Refusal::Name);
        }
        let family = self.families.get(about.name, about.kind);
        let key = Key::new(about.kind, family, point.labels, &self.limits)?;
        if key.has_doubles() {
            return self.put_joined(sender, about, point);
        }
        let mut bytes = std::mem::take(&mut self.key);
        key.write(sender.application, &mut bytes);
        let is_known =
            key.fresh.is_empty() && family.is_some_and(|f| f.series.contains_key(bytes.as_slice()));
        let result = if is_known {
            self.update(sender, about, point, &bytes)
        } else {
            match clash(point.labels) {
                Err(refusal) => Err(refusal),
                Ok(true) => self.put_joined(sender, about, point),
                Ok(false) => self.insert(sender, about, point, (&key.fresh, &bytes)),
            }
        };
        self.key = bytes;
        result
    }

    fn put_joined(&mut self, sender: &Sender, about: &About<'_>, point: &Point<'_>) -> Result<(), Refusal> {
        let labels = joined(point.labels);
        let labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let family = self.families.get(about.name, about.kind);
        let key = Key::new(about.kind, family, &labels, &self.limits)?;
        // `job` and `exported_job` at once: there is no third name.
        if key.has_doubles() || clash(&labels)? {
            return Err(Refusal::Name);
        }
        self.try_put(sender, about, &Point { labels: &labels, ..*point })
    }

    fn update(
        &mut self,
        sender: &Sender,
        about: &About<'_>,
        point: &Point<'_>,
        key: &[u8],
    ) -> Result<(), Refusal> {
        let now_millis = self.millis(sender.now);
        let room = self.room(sender.application);
        let family = self.families.get_mut(about.name, about.kind);
        let Some(series) = family.and_then(|family| family.series.get_mut(key)) else {
            return Err(Refusal::Malformed);
        };
        if is_old(series, sender, point) {
            return Err(Refusal::Old);
        }
        let before = (series.held.series(), series.bytes);
        if series.held.fits(point.value, point.mode) {
            series.held.take(point.value, point.mode);
        } else {
            let mut next = Held::new(series.held.value());
            next.take(point.value, point.mode);
            next.shrink();
            let bytes = next.bytes().saturating_sub(series.held.bytes());
            room.check(next.series().saturating_sub(before.0), bytes)?;
            series.held = next;
        }
        // Exemplars and times are a gift: where there is little room, they are left out.
        if room.bytes.min(room.own_bytes) > MORE_BYTES_MAX {
            series.take_more(point.at_millis, point.exemplars);
        }
        if before.0 > 1 || series.more.is_some() {
            series.measure(key);
        }
        (series.seen_millis, series.at_nanos) = (now_millis, point.at_nanos);
        let after = (series.held.series(), series.bytes);
        self.count(sender.application, before, after);
        Ok(())
    }

    fn insert(
        &mut self,
        sender: &Sender,
        about: &About<'_>,
        point: &Point<'_>,
        (fresh, key): (&[&str], &[u8]),
    ) -> Result<(), Refusal> {
        let (now_millis, owner) = (self.millis(sender.now), sender.application);
        if self.families.has_other(about.name, about.kind, owner) {
            // What it was before may be stale.
            return if self.expire_if_due(now_millis) {
                self.try_put(sender, about, point)
            } else {
                Err(Refusal::Kind)
            };
        }
        let mut series = Series {
            held: Held::new(point.value),
            seen_millis: now_millis,
            at_nanos: point.at_nanos,
            more: None,
            bytes: 0,
        };
        series.held.shrink();
        let room = self.room(sender.application);
        if room.bytes.min(room.own_bytes) > MORE_BYTES_MAX {
            series.take_more(point.at_millis, point.exemplars);
        }
        let (lines, bytes) = (series.held.series(), series.measure(key));
        let is_new = self.families.get(about.name, about.kind).is_none();
        let shared = fresh.iter().map(|name| name_bytes(name)).sum::<usize>()
            + if is_new { Family::bytes_of(about.name, about.help) } else { 0 };
        // What all share is charged to the first who sends it: otherwise long names would be free.
        let bytes = bytes + shared;
        if let Err(refusal) = room.check(lines, bytes) {
            if !self.expire_if_due(now_millis) {
                return Err(refusal);
            }
            // The family may have gone with what was stale, and with it the places of its labels.
            return self.try_put(sender, about, point);
        }
        let family = self.families.get(about.name, about.kind);
        let brought = family.map_or(0, |family| family.names_of(owner));
        if !fresh.is_empty() && brought + fresh.len() > self.limits.names_per_application() {
            return Err(Refusal::Labels);
        }
        let new = || Family::new(about.kind, about.help, owner);
        if let Some(family) = self.families.get_or_add(about.name, about.kind, new) {
            family.add_names(fresh, owner);
            family.series.insert(key.into(), series);
        }
        self.count(sender.application, (0, 0), (lines, bytes));
        Ok(())
    }

    /// Forgets a series: its application says that there is no value any more.
    pub fn remove(&mut self, sender: &Sender, about: &About<'_>, labels: &Labels<'_>) -> Result<(), Refusal> {
        let Some(family) = self.families.get(about.name, about.kind) else { return Ok(()) };
        let key = Key::new(about.kind, Some(family), labels, &self.limits)?;
        if !key.fresh.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        key.write(sender.application, &mut bytes);
        self.drop_series(sender.application, about, &bytes);
        Ok(())
    }

    fn drop_series(&mut self, application: u32, about: &About<'_>, key: &[u8]) {
        let Some(family) = self.families.get_mut(about.name, about.kind) else { return };
        if let Some(series) = family.series.remove(key) {
            family.is_thinned = true;
            self.count(application, (series.held.series(), series.bytes), (0, 0));
        }
    }

    /// Writes all that is held and not stale. Families whose names others have are left out, and so are those of a kind that
    /// cannot be one with that of most series of the name.
    pub fn write(&mut self, now: Instant, out: &mut dyn Sink) {
        self.expire(self.millis(now));
        let mut hidden = std::mem::take(&mut self.hidden);
        hidden.begin();
        let mut parts: HashSet<String> = HashSet::new();
        let mut all: Vec<(&str, &Family)> = self.families.iter().collect();
        all.sort_by_key(|(name, _)| *name);
        for same in all.chunk_by(|a, b| a.0 == b.0) {
            let Some((name, _)) = same.first() else { continue };
            let (families, others) = shown(same);
            let kind = kind_of(&families);
            for family in others {
                hidden.add(name, family.kind);
            }
            if !parts.contains(*name) && !is_taken(out, name, kind) {
                parts.extend(parts_of(kind).iter().map(|part| format!("{name}{part}")));
                let together = Together { name, kind, families: &families };
                together.write(None, |number| names_of(&self.applications, number), out);
            } else if !(is_shared(name, kind) && out.has_family(name)) {
                for family in families {
                    hidden.add(name, family.kind);
                }
            }
        }
        let count = hidden.end();
        self.hidden = hidden;
        super::own::write(self, count, out);
    }

    /// Writes a family of this process, a number without labels, together with those of this name that applications have.
    pub fn write_with(&mut self, now: Instant, (desc, value): (&Desc<'_>, Value<'_>), out: &mut dyn Sink) {
        self.expire_if_due(self.millis(now));
        let families: Vec<&Family> = self.families.numbers(desc.name).collect();
        if families.is_empty() {
            return single(out, desc, value);
        }
        let together = Together { name: desc.name, kind: desc.kind, families: &families };
        together.write(Some((desc.help, value)), |number| names_of(&self.applications, number), out);
    }

    /// Whether a family was left out of the last page.
    pub fn hides(&self, name: &str, kind: Kind) -> bool {
        self.hidden.has(name, kind)
    }

    fn count(&mut self, application: u32, before: (usize, usize), after: (usize, usize)) {
        let step = |total: &mut usize, before: usize, after: usize| {
            *total = (*total + after).saturating_sub(before);
        };
        step(&mut self.series, before.0, after.0);
        step(&mut self.bytes, before.1, after.1);
        if let Some(application) = self.applications.get_mut(&application) {
            step(&mut application.series, before.0, after.0);
            step(&mut application.bytes, before.1, after.1);
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.begun).as_millis()).unwrap_or(u64::MAX)
    }
}

fn names_of(applications: &HashMap<u32, Application>, number: u32) -> (&str, &str) {
    applications.get(&number).map_or(("", ""), |a| (&a.job, &a.instance))
}

fn application_bytes(job: &str, instance: &str) -> usize {
    APPLICATION_BYTES + 2 * (job.len() + instance.len())
}

/// Whether a point is from before the one that is held, or counts again what that counted. A sender whose clock once was
/// far ahead is believed anew.
fn is_old(series: &Series, sender: &Sender, point: &Point<'_>) -> bool {
    let held = series.at_nanos;
    let believed = sender.wall_nanos == 0 || held <= sender.wall_nanos.saturating_add(SKEW_NANOS_MAX);
    if held == 0 || point.at_nanos == 0 || !believed {
        return false;
    }
    match point.mode {
        Mode::Set => point.at_nanos < held,
        Mode::Add if point.start_nanos > 0 => point.start_nanos < held,
        Mode::Add => point.at_nanos <= held,
    }
}

#[cfg(test)]
mod tests;
