//! One family of applications' series: its labels' names, its series, and how both are written.

use super::held::Held;
use super::limits::{Limits, Refusal};
use super::store::Labels;
use crate::encode::name::{Of, Scheme, is_legacy};
use crate::metric::{Besides, Desc, Exemplar, Kind, Sink, Value};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;

/// What one family takes, without its texts.
const FAMILY_BYTES: usize = 512;
/// What the name of a label takes, without its letters, which are there twice.
const NAME_BYTES: usize = 128;
/// What a series takes with its place in the map, without its key and what its value has elsewhere.
const SERIES_BYTES: usize = 224;
/// The longest help; a longer one is cut.
const HELP_BYTES_MAX: usize = 1024;
/// The labels of exemplars may have so many letters together, as OpenMetrics says.
pub(super) const EXEMPLAR_LETTERS_MAX: usize = 128;
/// Exemplars of one series: one for each of so many buckets. SDKs send as many by default: 16 buckets, or 20 of an
/// exponential histogram.
pub(super) const EXEMPLARS_MAX: usize = 20;
/// The first labels of every family: they belong to the application and are not in the key.
const OWN: [&str; 2] = ["job", "instance"];

/// A family of this name; its series belong to any number of applications.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) kind: Kind,
    help: Box<str>,
    /// The application that was the first to send it, which is charged for what all share.
    owner: u32,
    names: Vec<Name>,
    places: HashMap<Box<str>, u16>,
    /// By application and labels, in the form of [`Key`].
    pub(super) series: BTreeMap<Box<[u8]>, Series>,
    /// Whether series went since the names were last looked through.
    pub(super) is_thinned: bool,
}

/// The name of a label, and the application that brought it.
#[derive(Debug)]
struct Name {
    text: Box<str>,
    owner: u32,
}

/// One series.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) held: Held,
    /// When it came last, in milliseconds of the store's own clock.
    pub(super) seen_millis: u64,
    /// The time of its last point by the sender's clock, in nanoseconds; 0 if it did not say.
    pub(super) at_nanos: u64,
    pub(super) more: Option<Box<More>>,
    pub(super) bytes: usize,
}

/// What few series have.
#[derive(Debug, Default)]
pub(super) struct More {
    pub(super) at_millis: Option<i64>,
    pub(super) exemplars: Vec<Exemplar>,
}

/// A series' labels as bytes: the application's number, then for each label its place among the family's names, the
/// length of its value and the value. Equal labels have equal keys.
pub(super) struct Key<'a> {
    /// Names that the family does not have yet; their places follow those that it has.
    pub(super) fresh: Vec<&'a str>,
    labels: Vec<(u16, &'a str)>,
}

impl Family {
    pub(super) fn new(kind: Kind, help: &str, owner: u32) -> Self {
        let places = OWN.iter().zip(0..).map(|(name, place)| ((*name).into(), place)).collect();
        let names = OWN.iter().map(|name| Name { text: (*name).into(), owner }).collect();
        let (help, series) = (shown_help(help).into(), BTreeMap::new());
        Self { kind, help, owner, names, places, series, is_thinned: false }
    }

    /// What a new family of this name takes.
    pub(super) fn bytes_of(name: &str, help: &str) -> usize {
        FAMILY_BYTES + 2 * name.len() + shown_help(help).len()
    }

    /// What the family takes without its series, by the application that is charged for it.
    pub(super) fn shared(&self, name: &str) -> impl Iterator<Item = (u32, usize)> {
        let names = self.names.iter().skip(OWN.len());
        let own = (self.owner, Self::bytes_of(name, &self.help));
        std::iter::once(own).chain(names.map(|name| (name.owner, name_bytes(&name.text))))
    }

    /// Adds the names that a key of this application needs.
    pub(super) fn add_names(&mut self, fresh: &[&str], owner: u32) {
        for name in fresh {
            let Ok(place) = u16::try_from(self.names.len()) else { return };
            self.names.push(Name { text: (*name).into(), owner });
            self.places.insert((*name).into(), place);
        }
    }

    /// How many names of labels an application brought.
    pub(super) fn names_of(&self, application: u32) -> usize {
        self.names.iter().skip(OWN.len()).filter(|name| name.owner == application).count()
    }

    /// The keys of an application's series.
    pub(super) fn keys_of(&self, application: u32) -> impl Iterator<Item = &[u8]> {
        let first = application.to_be_bytes();
        let from = (Bound::Included(&first[..]), Bound::Unbounded);
        self.series
            .range::<[u8], _>(from)
            .map(|(key, _)| &**key)
            .take_while(move |key| key.starts_with(&first))
    }

    /// Forgets names of labels that no series has any more, so that there is room for others; what they took, by the
    /// application that was charged for it.
    pub(super) fn forget_unused_names(&mut self) -> Vec<(u32, usize)> {
        if !std::mem::take(&mut self.is_thinned) {
            return Vec::new();
        }
        let mut used: HashSet<usize> = (0..OWN.len()).collect();
        for key in self.series.keys() {
            let mut rest = key.get(4..).unwrap_or_default();
            while let Some((place, _, behind)) = next_label(rest) {
                used.insert(place);
                rest = behind;
            }
        }
        if used.len() == self.names.len() {
            return Vec::new();
        }
        // Names keep their order, and so do labels within a key and keys among each other.
        let (mut moved, mut kept, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for (place, name) in std::mem::take(&mut self.names).into_iter().enumerate() {
            moved.push(u16::try_from(kept.len()).unwrap_or(u16::MAX));
            if used.contains(&place) {
                kept.push(name);
            } else {
                gone.push((name.owner, name_bytes(&name.text)));
            }
        }
        self.places = kept.iter().map(|name| name.text.clone()).zip(0..).collect();
        self.names = kept;
        let series = std::mem::take(&mut self.series).into_iter().map(|(mut key, series)| {
            renumber(&mut key, &moved);
            (key, series)
        });
        self.series = series.collect();
        gone
    }

    /// Writes the series; each label's value goes to its place among those of all that are written together.
    fn write_series<'a>(
        &'a self,
        places: &[usize],
        values: &mut [&'a str],
        application: &impl Fn(u32) -> (&'a str, &'a str),
        out: &mut dyn Sink,
    ) {
        for (key, series) in &self.series {
            values.fill("");
            let (number, mut rest) = key
                .split_first_chunk()
                .map_or((0, &[][..]), |(number, rest)| (u32::from_be_bytes(*number), rest));
            let (job, instance) = application(number);
            for (value, own) in values.iter_mut().zip([job, instance]) {
                *value = own;
            }
            while let Some((place, value, behind)) = next_label(rest) {
                if let Some(slot) = places.get(place).and_then(|place| values.get_mut(*place)) {
                    *slot = value;
                }
                rest = behind;
            }
            let more = series.more.as_deref();
            let besides = Besides {
                at_millis: more.and_then(|more| more.at_millis),
                exemplars: more.map_or(&[], |more| &more.exemplars),
            };
            out.sample_with(values, series.held.value(), &besides);
        }
    }
}

/// Families that are written as one.
pub(super) struct Together<'a> {
    pub(super) name: &'a str,
    pub(super) kind: Kind,
    pub(super) families: &'a [&'a Family],
}

impl<'a> Together<'a> {
    /// Writes them: a sample without labels if there is one, and their series. `application` knows job and instance of each
    /// number.
    pub(super) fn write(
        &self,
        own: Option<(&str, Value<'_>)>,
        application: impl Fn(u32) -> (&'a str, &'a str),
        out: &mut dyn Sink,
    ) {
        let mut labels: Vec<&str> = OWN.to_vec();
        let mut places: Vec<Vec<usize>> = Vec::with_capacity(self.families.len());
        for (at, family) in self.families.iter().enumerate() {
            let place = |name: &'a Name| {
                // The labels of the first are in their places.
                let known = labels.iter().position(|label| at > 0 && *label == &*name.text);
                known.unwrap_or_else(|| {
                    labels.push(&name.text);
                    labels.len() - 1
                })
            };
            let others = family.names.iter().skip(OWN.len()).map(place);
            let own: Vec<usize> = (0..OWN.len()).collect();
            places.push(own.into_iter().chain(others).collect());
        }
        let help = own.map(|(help, _)| help).or_else(|| Some(&*self.families.first()?.help));
        let help = help.unwrap_or_default();
        out.family(&Desc { name: self.name, help, kind: self.kind, labels: &labels, sparse: true });
        let mut values = vec![""; labels.len()];
        if let Some((_, value)) = own {
            out.sample(&values, value);
        }
        for (family, places) in self.families.iter().zip(&places) {
            family.write_series(places, &mut values, &application, out);
        }
    }
}

/// Puts new places into a key.
fn renumber(key: &mut [u8], moved: &[u16]) {
    let mut rest = key.get_mut(4..).unwrap_or_default();
    while let Some((place, behind)) = std::mem::take(&mut rest).split_first_chunk_mut::<2>() {
        if let Some(now) = moved.get(usize::from(u16::from_be_bytes(*place))) {
            *place = now.to_be_bytes();
        }
        let Some((length, behind)) = behind.split_first_chunk_mut::<2>() else { return };
        let length = usize::from(u16::from_be_bytes(*length));
        rest = behind.get_mut(length..).unwrap_or_default();
    }
}

fn next_label(bytes: &[u8]) -> Option<(usize, &str, &[u8])> {
    let (place, rest) = bytes.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (value, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    Some((u16::from_be_bytes(*place).into(), std::str::from_utf8(value).ok()?, rest))
}

/// What the name of a label takes.
pub(super) fn name_bytes(name: &str) -> usize {
    NAME_BYTES + 2 * name.len()
}

impl Series {
    /// Takes note of what it takes, and returns that.
    pub(super) fn measure(&mut self, key: &[u8]) -> usize {
        let text = |text: &String| text.capacity() + 48;
        let of =
            |e: &Exemplar| 64 + e.labels.iter().map(|(name, value)| text(name) + text(value)).sum::<usize>();
        let more = self.more.as_ref().map_or(0, |m| 80 + m.exemplars.iter().map(of).sum::<usize>());
        self.bytes = SERIES_BYTES + key.len() + self.held.bytes() + more;
        self.bytes
    }

    /// Takes the time and the exemplars of the last point. An exemplar stays until another one of its bucket comes.
    pub(super) fn take_more(&mut self, at_millis: Option<i64>, exemplars: &[Exemplar]) {
        if at_millis.is_none() && exemplars.is_empty() && self.more.is_none() {
            return;
        }
        let held = &self.held;
        let more = self.more.get_or_insert_default();
        more.at_millis = at_millis;
        for exemplar in exemplars.iter().rev().take(EXEMPLARS_MAX).rev().filter(|e| is_shown(e)) {
            let bucket = held.bucket(exemplar.value);
            let former = more.exemplars.iter().position(|e| held.bucket(e.value).total_cmp(&bucket).is_eq());
            if let Some(at) = former.or_else(|| (more.exemplars.len() >= EXEMPLARS_MAX).then_some(0)) {
                more.exemplars.remove(at);
            }
            more.exemplars.push(exemplar.clone());
        }
    }
}

fn is_shown(exemplar: &Exemplar) -> bool {
    let letters = |(name, value): &(String, String)| name.chars().count() + value.chars().count();
    let names: HashSet<_> = exemplar.labels.iter().map(|(name, _)| name).collect();
    exemplar.value.is_finite()
        && names.len() == exemplar.labels.len()
        && exemplar.labels.iter().map(letters).sum::<usize>() <= EXEMPLAR_LETTERS_MAX
        && exemplar.labels.iter().all(|(name, _)| is_legacy(name, Of::Label))
}

fn shown_help(help: &str) -> &str {
    help.get(..help.floor_char_boundary(HELP_BYTES_MAX)).unwrap_or(help)
}

impl<'a> Key<'a> {
    /// The key of these labels in a family, or of a new one; labels without a value are none.
    pub(super) fn new(
        kind: Kind,
        family: Option<&Family>,
        labels: &'a Labels<'a>,
        limits: &Limits,
    ) -> Result<Self, Refusal> {
        let mut key = Self { fresh: Vec::new(), labels: Vec::with_capacity(labels.len()) };
        let known = family.map_or(OWN.len(), |family| family.names.len());
        for &(name, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
            let name = free(kind, name);
            if name.is_empty() || name.len() > limits.name_bytes {
                return Err(Refusal::Name);
            }
            if value.len() > limits.value_bytes.min(u16::MAX.into()) {
                return Err(Refusal::LabelValue);
            }
            let place = family.and_then(|family| family.places.get(name).copied());
            let place = match place.or_else(|| key.fresh_place(name, known)) {
                Some(place) => place,
                None => key.add(name, known)?,
            };
            key.labels.push((place, value));
        }
        if key.labels.len() > limits.labels {
            return Err(Refusal::Labels);
        }
        key.labels.sort_unstable_by_key(|(place, _)| *place);
        Ok(key)
    }

    fn fresh_place(&self, name: &str, known: usize) -> Option<u16> {
        let at = self.fresh.iter().position(|fresh| *fresh == name)?;
        u16::try_from(known + at).ok()
    }

    fn add(&mut self, name: &'a str, known: usize) -> Result<u16, Refusal> {
        let place = known + self.fresh.len();
        if place >= Limits::LABELS_MAX + OWN.len() {
            return Err(Refusal::Labels);
        }
        self.fresh.push(name);
        u16::try_from(place).map_err(|_| Refusal::Labels)
    }

    /// Whether a label is there twice.
    pub(super) fn has_doubles(&self) -> bool {
        self.labels.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0))
    }

    /// The key as bytes.
    pub(super) fn write(&self, application: u32, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&application.to_be_bytes());
        for (place, value) in &self.labels {
            out.extend_from_slice(&place.to_be_bytes());
            out.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
            out.extend_from_slice(value.as_bytes());
        }
    }
}

/// A name that stands for nothing else: job and instance are the application's, `le` and `quantile` the format's. The
/// names are those that Prometheus itself gives to labels that are in the way.
fn free(kind: Kind, name: &str) -> &str {
    match (name, kind) {
        ("job", _) => "exported_job",
        ("instance", _) => "exported_instance",
        ("le", Kind::Histogram) => "exported_le",
        ("quantile", Kind::Summary) => "exported_quantile",
        _ => name,
    }
}

/// Whether readers could not tell two of these labels from each other, or from what Prometheus keeps for itself.
pub(super) fn clash(labels: &Labels<'_>) -> Result<bool, Refusal> {
    let names = || labels.iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| *name);
    if names().any(|name| Scheme::Underscores.escape(name, Of::Label).starts_with("__")) {
        return Err(Refusal::Name);
    }
    if names().all(|name| is_legacy(name, Of::Label)) {
        return Ok(false);
    }
    let clashes = |scheme: Scheme| {
        let mut seen: HashSet<Cow<'_, str>> = HashSet::new();
        !names().all(|name| seen.insert(scheme.escape(name, Of::Label)))
    };
    if clashes(Scheme::Underscores) {
        return Ok(true);
    }
    if clashes(Scheme::Dots) || clashes(Scheme::Values) { Err(Refusal::Name) } else { Ok(false) }
}

/// Labels of which no two are the same to any reader: the values of those that were are joined by semicolons, in the
/// order of their names, as OpenTelemetry's rules say.
pub(super) fn joined(labels: &Labels<'_>) -> BTreeMap<String, String> {
    let mut sorted: Vec<_> = labels.iter().filter(|(_, value)| !value.is_empty()).collect();
    sorted.sort_unstable();
    let mut out: BTreeMap<String, String> = BTreeMap::new();
    let mut by_escaped: HashMap<Cow<'_, str>, usize> = HashMap::new();
    for (name, _) in &sorted {
        *by_escaped.entry(Scheme::Underscores.escape(name, Of::Label)).or_default() += 1;
    }
    for (name, value) in sorted {
        let escaped = Scheme::Underscores.escape(name, Of::Label);
        let alone = by_escaped.get(&escaped).is_some_and(|count| *count == 1);
        let name = if alone { (*name).to_owned() } else { escaped.into_owned() };
        let slot = out.entry(name).or_default();
        if !slot.is_empty() {
            slot.push(';');
        }
        slot.push_str(value);
    }
    out
}
