//! A page of an application: its lines, relabelled one by one, put together to series again.
//!
//! Relabelling sees series as Prometheus does, each bucket by itself; so histograms are put together behind it.

mod behind;
mod types;

use super::relabel::{Labels, Relabelling};
use crate::collect::textfile::line::{Line, Sample, any_line};
use crate::collect::textfile::parse;
use crate::metric::{Exemplar, Histogram, Kind, Summary};
use std::collections::HashMap;
use types::{FAMILIES_MAX, Owner, Part, Types};

/// The form of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Prometheus's text.
    Text,
    /// OpenMetrics.
    OpenMetrics,
}

impl Form {
    /// The form of a content type.
    pub fn named(content_type: &str) -> Self {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let open = kind.eq_ignore_ascii_case("application/openmetrics-text");
        if open { Self::OpenMetrics } else { Self::Text }
    }
}

/// Why a page is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// It is no such page.
    #[error("line {line}: expected {want}")]
    Line {
        /// From 1.
        line: usize,
        /// What should have stood there.
        want: String,
    },
    /// There are too many samples.
    #[error("more than {0} samples (sample_limit)")]
    TooMany(usize),
    /// Families are named without end.
    #[error("more than {FAMILIES_MAX} families")]
    Families,
}

/// How a page is read.
#[derive(Debug)]
pub struct Reading<'r> {
    /// Its form.
    pub form: Form,
    /// The labels of the target.
    pub job: &'r str,
    /// The same.
    pub instance: &'r str,
    /// Whether `job` and `instance` of a sample count.
    pub honor_labels: bool,
    /// Whether times of samples are kept.
    pub honor_timestamps: bool,
    /// The rules.
    pub rules: &'r Relabelling,
    /// The most samples; 0 is any number.
    pub sample_limit: usize,
}

/// The value of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Number {
    /// One number.
    One(f64),
    /// Buckets.
    Histogram(Histogram),
    /// Quantiles.
    Summary(Summary),
}

/// A series.
#[derive(Debug, PartialEq)]
pub struct Series {
    /// Its labels, `job` and `instance` among them.
    pub labels: Labels,
    /// Its value.
    pub number: Number,
    /// When that was, in milliseconds since the epoch.
    pub at_millis: Option<i64>,
    /// Examples.
    pub exemplars: Vec<Exemplar>,
}

/// A family with its series.
#[derive(Debug)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// Its help.
    pub help: String,
    /// Its kind.
    pub kind: Kind,
    /// Its series.
    pub series: Vec<Series>,
    places: HashMap<Labels, usize>,
}

/// A page.
#[derive(Debug, Default)]
pub struct Page {
    /// All families.
    pub families: Vec<Family>,
    /// How many samples there were.
    pub scraped: usize,
    /// How many of them the rules left.
    pub kept: usize,
    /// How many of those made no sense.
    pub odd: u64,
    places: HashMap<(String, Kind), usize>,
}

/// Reads a page.
pub fn read(text: &str, reading: &Reading<'_>) -> Result<Page, PageError> {
    let (mut page, mut types) = (Page::default(), Types::default());
    let mut ended = reading.form == Form::Text;
    for (at, raw) in text.lines().enumerate() {
        let wrong = |want: &str| PageError::Line { line: at + 1, want: want.to_owned() };
        if reading.form == Form::OpenMetrics {
            if ended {
                return Err(wrong("nothing behind # EOF"));
            }
            if raw == "# EOF" {
                ended = true;
                continue;
            }
        }
        if types.is_full() {
            return Err(PageError::Families);
        }
        if types.comment(raw, reading.form) {
            continue;
        }
        match any_line(raw).map_err(wrong)? {
            Line::Nothing => {}
            Line::Help(name, help) => types.help(&name, &help),
            Line::Type(name, kind) => types.kind(&name, kind),
            Line::Sample(sample) => {
                page.scraped += 1;
                page.sample(&sample, &types, reading).map_err(wrong)?;
                if reading.sample_limit > 0 && page.kept > reading.sample_limit {
                    return Err(PageError::TooMany(reading.sample_limit));
                }
            }
        }
    }
    if !ended {
        return Err(PageError::Line { line: text.lines().count(), want: "# EOF at the end".into() });
    }
    if !text.is_empty() && !text.ends_with('\n') {
        return Err(PageError::Line { line: text.lines().count(), want: "a line feed at the end".into() });
    }
    page.finish();
    Ok(page)
}

impl Page {
    fn sample(
        &mut self,
        sample: &Sample<'_>,
        types: &Types,
        reading: &Reading<'_>,
    ) -> Result<(), &'static str> {
        let more = behind::read(sample.behind, reading.form)?;
        let Some(owner) = types.owner(&sample.name, reading.form) else { return Ok(()) };
        let mut labels = reading.labels(sample);
        if !reading.rules.apply(&mut labels) {
            return Ok(());
        }
        self.kept += 1;
        let Some(name) = labels.remove("__name__") else {
            self.odd += 1;
            return Ok(());
        };
        let owner = if name == *sample.name { owner } else { owner.renamed(&name) };
        let at_millis = more.at_millis.filter(|_| reading.honor_timestamps);
        match self.put(&owner, labels, sample.value) {
            Some(series) => {
                series.at_millis = series.at_millis.max(at_millis);
                series.exemplars.extend(more.exemplar);
            }
            None => self.odd += 1,
        }
        Ok(())
    }

    /// Puts a number where it belongs; `None` if it makes no sense there, or is there already.
    fn put(&mut self, owner: &Owner<'_>, mut labels: Labels, value: f64) -> Option<&mut Series> {
        let bound = match owner.part {
            Part::Bucket => Some(labels.remove("le")?.parse::<f64>().ok().filter(|bound| !bound.is_nan())?),
            Part::Quantile => Some(labels.remove("quantile")?.parse::<f64>().ok()?),
            _ => None,
        };
        let series = self.series(owner, labels);
        match (&mut series.number, owner.part, bound) {
            (Number::One(number), Part::Own, _) if number.is_nan() => *number = value,
            // NaN stands for a number that did not come; one that did is the same.
            (Number::Histogram(to), Part::Sum, _) if to.sum.is_none() => to.sum = Some(value),
            (Number::Summary(to), Part::Sum, _) if to.sum.is_nan() => to.sum = value,
            (Number::Histogram(to), Part::Count, _) => to.count = count(value)?,
            (Number::Summary(to), Part::Count, _) => to.count = count(value)?,
            (Number::Histogram(to), Part::Bucket, Some(bound)) => {
                to.buckets.push((bound, count(value)?));
            }
            (Number::Summary(to), Part::Quantile, Some(quantile)) => to.quantiles.push((quantile, value)),
            _ => return None,
        }
        Some(series)
    }

    fn series(&mut self, owner: &Owner<'_>, labels: Labels) -> &mut Series {
        let fresh = self.families.len();
        let key = (owner.name.to_string(), owner.kind);
        let at = *self.places.entry(key).or_insert(fresh);
        if at == fresh {
            self.families.push(Family {
                name: owner.name.to_string(),
                help: owner.help.to_owned(),
                kind: owner.kind,
                series: Vec::new(),
                places: HashMap::new(),
            });
        }
        #[expect(clippy::indexing_slicing, reason = "the place of one that is there, or was pushed above")]
        let family = &mut self.families[at];
        let fresh = family.series.len();
        let at = *family.places.entry(labels.clone()).or_insert(fresh);
        if at == fresh {
            let number = match owner.kind {
                Kind::Histogram => Number::Histogram(Histogram::default()),
                Kind::Summary => Number::Summary(Summary { sum: f64::NAN, ..Summary::default() }),
                _ => Number::One(f64::NAN),
            };
            family.series.push(Series { labels, number, at_millis: None, exemplars: Vec::new() });
        }
        #[expect(clippy::indexing_slicing, reason = "the place of one that is there, or was pushed above")]
        let series = &mut family.series[at];
        series
    }

    /// Lets buckets and quantiles ascend, and says how many observations there were where only the buckets did.
    fn finish(&mut self) {
        for series in self.families.iter_mut().flat_map(|family| &mut family.series) {
            match &mut series.number {
                Number::One(_) => {}
                Number::Histogram(histogram) => {
                    histogram.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                    histogram.buckets.dedup_by(|a, b| a.0.total_cmp(&b.0).is_eq());
                    let last = histogram.buckets.last().map_or(0, |(_, count)| *count);
                    histogram.count = histogram.count.max(last);
                    if let Some((_, count)) =
                        histogram.buckets.last_mut().filter(|(bound, _)| bound.is_infinite())
                    {
                        *count = histogram.count;
                    }
                }
                Number::Summary(summary) => {
                    summary.quantiles.sort_by(|a, b| a.0.total_cmp(&b.0));
                    summary.quantiles.dedup_by(|a, b| a.0.total_cmp(&b.0).is_eq());
                }
            }
        }
        self.places = HashMap::new();
    }
}

/// A number of observations; a part of one cannot be shown.
fn count(value: f64) -> Option<u64> {
    parse::count(value).ok().filter(|_| value.fract() == 0.0)
}

impl Reading<'_> {
    /// The labels of a sample with those of its target, as relabelling sees them.
    fn labels(&self, sample: &Sample<'_>) -> Labels {
        let plain = |(name, value): &(std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
            (name.to_string(), value.to_string())
        };
        let mut labels: Labels = sample.labels.iter().filter(|(_, v)| !v.is_empty()).map(plain).collect();
        for (name, value) in [("job", self.job), ("instance", self.instance)] {
            if !self.honor_labels
                && let Some(own) = labels.remove(name)
            {
                let mut exported = format!("exported_{name}");
                while labels.contains_key(&exported) {
                    exported.insert_str(0, "exported_");
                }
                labels.insert(exported, own);
            }
            if !value.is_empty() {
                labels.entry(name.to_owned()).or_insert_with(|| value.to_owned());
            }
        }
        labels.insert("__name__".to_owned(), sample.name.to_string());
        labels
    }
}

#[cfg(test)]
mod tests;
