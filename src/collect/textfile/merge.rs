//! Families of the same name in several files become one; what does not fit together is refused and said.

use super::Errors;
use super::families::{Families, Family, Number, Places, small};
use super::line::LABELS_MAX;
use crate::collect::later::is_later;
use crate::metric::{Desc, Kind, Sink, Value};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::hash::Hash;
use std::ops::Range;

/// What the labels that a sample lacks, and the others of its family have, may add to the page, in bytes.
const PADDING_BYTES_MAX: usize = 64 << 20;

/// A file that was read: its path, and what it holds.
pub(super) type Source<'a> = (&'a str, &'a Families);

/// The families of all files together. What they say stays where it is; this knows only where.
#[derive(Debug, Default)]
pub(super) struct Merged {
    families: Vec<Together>,
    /// The metrics, those of one family together.
    metrics: Vec<Place>,
}

/// Where something is: which file, and which of its families or metrics.
#[derive(Clone, Copy, Debug)]
struct Place {
    file: u32,
    at: u32,
}

#[derive(Debug)]
struct Together {
    /// The first, which has the name and the kind.
    first: Place,
    /// One that has a help.
    help: Option<Place>,
    /// The names of all labels, sorted.
    labels: Box<[Box<str>]>,
    metrics: Range<usize>,
}

/// What one file says of a family.
struct Piece<'a> {
    place: Place,
    path: &'a str,
    families: &'a Families,
    family: &'a Family,
}

impl<'a> Piece<'a> {
    fn name(&self) -> &'a str {
        self.families.name(self.family)
    }

    fn labels(&self) -> impl Iterator<Item = &'a str> {
        let metrics = self.families.metrics.get(self.family.metrics()).unwrap_or_default();
        metrics.iter().flat_map(|metric| self.families.labels(metric)).map(|(name, _)| name)
    }
}

/// Puts the families of the files together, and says what is refused.
pub(super) fn merge(files: &[Source<'_>], errors: &mut Errors) -> Merged {
    let mut pieces = Vec::new();
    for (file, &(path, families)) in files.iter().enumerate() {
        let with_metrics = |(_, family): &(usize, &Family)| !family.metrics().is_empty();
        for (at, family) in families.all.iter().enumerate().filter(with_metrics) {
            let place = Place { file: small(file), at: small(at) };
            pieces.push(Piece { place, path, families, family });
        }
    }
    // Pieces of one name stay in the order of the files. A name stands before those that begin with it, so that all
    // parts of histograms and summaries are known when a family comes that might have the name of one.
    pieces.sort_by_key(Piece::name);
    let mut out = Merged::default();
    let mut parts: HashSet<String> = HashSet::new();
    let mut padding_bytes_left = PADDING_BYTES_MAX;
    let mut odd = OddNames::new(&pieces);
    for pieces in pieces.chunk_by(|a, b| a.name() == b.name()) {
        let Some(first) = pieces.first() else { continue };
        if parts.contains(first.name()) {
            for piece in pieces {
                errors.add(format!(
                    "{}: {}: a histogram or summary has series of this name",
                    piece.path,
                    piece.name()
                ));
            }
            continue;
        }
        if odd.clashes(first.name()) {
            errors.add(format!("{}: {}: {CLASH}", first.path, first.name()));
            continue;
        }
        if let Err(why) = out.add(files, pieces, &mut padding_bytes_left, errors) {
            errors.add(format!("{}: {}: {why}", first.path, first.name()));
            continue;
        }
        parts.extend(parts_of(first.family.kind).iter().map(|part| format!("{}{part}", first.name())));
    }
    out.families.shrink_to_fit();
    out.metrics.shrink_to_fit();
    out
}

const CLASH: &str = "old readers cannot tell its name from another";

/// Names that old readers get with underscores, where those might be the names of others.
struct OddNames(HashSet<String>);

impl OddNames {
    fn new(pieces: &[Piece<'_>]) -> Self {
        if pieces.iter().all(|piece| legacy(piece.name()) == piece.name()) {
            return Self(HashSet::new());
        }
        let names = pieces.iter().map(Piece::name).filter(|name| legacy(name) == *name);
        Self(names.map(str::to_owned).collect())
    }

    /// Whether another family has this name already, for old readers.
    fn clashes(&mut self, name: &str) -> bool {
        let legacy = legacy(name);
        legacy != name && !self.0.insert(legacy.into_owned())
    }
}

/// A name as it is read by those who know no others than letters, digits, underscores and colons.
fn legacy(name: &str) -> Cow<'_, str> {
    let good = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    if name.chars().all(good) && !name.starts_with(|first: char| first.is_ascii_digit()) {
        return Cow::Borrowed(name);
    }
    let letters = name.char_indices();
    let keep = |(at, letter): (usize, char)| good(letter) && !(at == 0 && letter.is_ascii_digit());
    Cow::Owned(letters.map(|(at, letter)| if keep((at, letter)) { letter } else { '_' }).collect())
}

/// Whether two of the labels are one for old readers; Prometheus refuses the whole page for such a sample.
fn labels_clash(labels: &BTreeSet<&str>) -> bool {
    let read: HashSet<String> = labels.iter().map(|label| legacy(label).replace(':', "_")).collect();
    read.len() < labels.len()
}

/// What the series of a family have behind its name.
fn parts_of(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Histogram => &["_bucket", "_sum", "_count"],
        Kind::Summary => &["_sum", "_count"],
        _ => &[],
    }
}

impl Merged {
    /// Adds a family out of its pieces; an error refuses all of it.
    fn add(
        &mut self,
        files: &[Source<'_>],
        pieces: &[Piece<'_>],
        padding_bytes_left: &mut usize,
        errors: &mut Errors,
    ) -> Result<(), &'static str> {
        let Some(first) = pieces.first() else { return Ok(()) };
        let mut help: Option<&Piece<'_>> = None;
        let mut labels: BTreeSet<&str> = BTreeSet::new();
        let start = self.metrics.len();
        let mut places = Places::default();
        for piece in pieces {
            let new: BTreeSet<&str> = piece.labels().filter(|name| !labels.contains(name)).collect();
            let theirs = piece.families.help(piece.family);
            let ours = help.and_then(|piece| piece.families.help(piece.family));
            let refused = if ours.is_some() && theirs.is_some() && ours != theirs {
                Some(format!("another help than in {}", first.path))
            } else if piece.family.kind != first.family.kind {
                Some(format!("another type than in {}", first.path))
            } else if labels.len() + new.len() > LABELS_MAX {
                Some(format!("more than {LABELS_MAX} labels in one family"))
            } else {
                None
            };
            if let Some(why) = refused {
                errors.add(format!("{}: {}: {why}", piece.path, piece.name()));
                continue;
            }
            labels.extend(new);
            help = help.or_else(|| theirs.is_some().then_some(piece));
            if self.add_metrics(files, piece, start, &mut places) {
                errors.add(format!("{}: {}: the same series twice", piece.path, piece.name()));
            }
        }
        let metrics = start..self.metrics.len();
        let added = self.padding_bytes(files, metrics.clone(), &labels);
        let Some(left) = padding_bytes_left.checked_sub(added) else {
            self.metrics.truncate(start);
            return Err("its samples have too different labels");
        };
        *padding_bytes_left = left;
        if labels_clash(&labels) {
            self.metrics.truncate(start);
            return Err("old readers cannot tell two of its labels from one another");
        }
        if metrics.is_empty() {
            return Ok(());
        }
        let help =
            help.filter(|piece| piece.families.help(piece.family).is_some_and(|help| !help.is_empty()));
        self.families.push(Together {
            first: first.place,
            help: help.map(|piece| piece.place),
            labels: labels.into_iter().map(Box::from).collect(),
            metrics,
        });
        Ok(())
    }

    /// Adds the metrics of a piece to those from `start` on; whether one of them was there before.
    fn add_metrics(
        &mut self,
        files: &[Source<'_>],
        piece: &Piece<'_>,
        start: usize,
        places: &mut Places,
    ) -> bool {
        let mut twice = false;
        for at in piece.family.metrics() {
            let place = Place { file: piece.place.file, at: small(at) };
            let fresh = small(self.metrics.len() - start);
            // A label without a value is as good as none.
            let labels = |place| labels(files, place).filter(|(_, value)| !value.is_empty());
            let hash = |hasher: &mut _| labels(place).for_each(|label| label.hash(hasher));
            let found = places.find_or_add(hash, fresh, |at| {
                let other = self.metrics.get(start + at as usize);
                other.is_some_and(|other| labels(*other).eq(labels(place)))
            });
            if found == fresh {
                self.metrics.push(place);
            }
            twice |= found != fresh;
        }
        twice
    }

    /// What the labels that are not a metric's own add to its line, over all these metrics.
    fn padding_bytes(&self, files: &[Source<'_>], metrics: Range<usize>, labels: &BTreeSet<&str>) -> usize {
        // `name="",`
        let width = |name: &str| name.len() + 4;
        let all: usize = labels.iter().map(|name| width(name)).sum();
        let metrics = self.metrics.get(metrics).unwrap_or_default();
        metrics
            .iter()
            .map(|place| all - self::labels(files, *place).map(|(n, _)| width(n)).sum::<usize>())
            .sum()
    }

    /// Writes the families whose names are free, and says which are not.
    pub(super) fn write(&self, files: &[Source<'_>], out: &mut dyn Sink, errors: &mut Errors) {
        let known = |together: &Together| {
            let (_, families) = files.get(together.first.file as usize)?;
            let family = families.all.get(together.first.at as usize)?;
            Some((families.name(family), family.kind))
        };
        // All are looked up before the first is written: then there are only the names of other collectors.
        let free: Vec<bool> = self
            .families
            .iter()
            .map(|together| known(together).is_some_and(|(name, kind)| !is_taken(name, kind, out)))
            .collect();
        for (together, free) in self.families.iter().zip(free) {
            let Some((name, kind)) = known(together) else { continue };
            if !free {
                errors.add(format!("{name}: another collector has this name"));
                continue;
            }
            let metrics = self.metrics.get(together.metrics.clone()).unwrap_or_default();
            together.write(files, (name, kind), metrics, out);
        }
    }
}

/// Whether another collector has this name, or one that a part of such a family would have.
fn is_taken(name: &str, kind: Kind, out: &dyn Sink) -> bool {
    is_later(&legacy(name))
        || out.is_taken(name, kind)
        || parts_of(kind).iter().any(|part| out.has_family(&format!("{name}{part}")))
}

impl Together {
    fn write(&self, files: &[Source<'_>], (name, kind): (&str, Kind), metrics: &[Place], out: &mut dyn Sink) {
        let names: Vec<&str> = self.labels.iter().map(AsRef::as_ref).collect();
        let help = self.help.and_then(|place| {
            let (_, families) = files.get(place.file as usize)?;
            families.help(families.all.get(place.at as usize)?)
        });
        let from = || {
            let files = metrics
                .chunk_by(|a, b| a.file == b.file)
                .filter_map(|same| files.get(same.first()?.file as usize));
            let paths: Vec<&str> = files.map(|(path, _)| *path).collect();
            format!("Metric read from {}", paths.join(", "))
        };
        let help = help.map_or_else(from, str::to_owned);
        out.family(&Desc { name, help: &help, kind, labels: &names, sparse: false });
        let mut values: Vec<&str> = Vec::with_capacity(names.len());
        for place in metrics {
            let metric = files.get(place.file as usize).and_then(|(_, f)| f.metrics.get(place.at as usize));
            let Some(metric) = metric else { continue };
            values.clear();
            let mut own = labels(files, *place).peekable();
            values.extend(
                names.iter().map(|name| own.next_if(|(n, _)| n == name).map_or("", |(_, value)| value)),
            );
            out.sample(
                &values,
                match &metric.number {
                    Number::Float(value) => Value::F64(*value),
                    Number::Histogram(histogram) => Value::Histogram(histogram),
                    Number::Summary(summary) => Value::Summary(summary),
                },
            );
        }
    }
}

/// The labels of a metric, sorted by name.
fn labels<'a>(files: &[Source<'a>], place: Place) -> impl Iterator<Item = (&'a str, &'a str)> {
    let families = files.get(place.file as usize).map(|(_, families)| *families);
    let metric = families.and_then(|families| Some((families, families.metrics.get(place.at as usize)?)));
    metric.into_iter().flat_map(|(families, metric)| families.labels(metric))
}
