//! The keys of a mapping file, and what of them is a mistake.

use super::{
    AGE_BUCKETS, AGE_BUCKETS_MAX, BUCKETS, Kind, MAX_AGE, MappingError, Observing, QUANTILES, Summary,
};
use crate::apps::held::BUCKETS_MAX;
use serde::{Deserialize, Deserializer};
use serde_yaml::Spanned;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) defaults: Defaults,
    pub(super) mappings: Option<Vec<Spanned<Entry>>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Defaults {
    #[serde(alias = "timer_type")]
    pub(super) observer_type: Option<Observer>,
    pub(super) match_type: Matching,
    pub(super) glob_disable_ordering: bool,
    #[serde(deserialize_with = "duration")]
    pub(super) ttl: Option<Duration>,
    summary_options: Option<SummaryOptions>,
    histogram_options: Option<HistogramOptions>,
    buckets: Option<Vec<f64>>,
    quantiles: Option<Vec<Objective>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Entry {
    #[serde(rename = "match")]
    pub(super) matched: String,
    pub(super) name: String,
    labels: Option<BTreeMap<String, Text>>,
    pub(super) honor_labels: bool,
    #[serde(alias = "timer_type")]
    observer_type: Option<Observer>,
    pub(super) match_type: Option<Matching>,
    pub(super) help: String,
    pub(super) action: Action,
    match_metric_type: Option<MetricType>,
    #[serde(deserialize_with = "duration")]
    pub(super) ttl: Option<Duration>,
    summary_options: Option<SummaryOptions>,
    histogram_options: Option<HistogramOptions>,
    pub(super) scale: Option<f64>,
    buckets: Option<Vec<f64>>,
    quantiles: Option<Vec<Objective>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SummaryOptions {
    quantiles: Option<Vec<Objective>>,
    #[serde(deserialize_with = "duration")]
    max_age: Option<Duration>,
    age_buckets: Option<u32>,
    buf_cap: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HistogramOptions {
    buckets: Option<Vec<f64>>,
    native_histogram_bucket_factor: Option<f64>,
    native_histogram_max_buckets: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Objective {
    quantile: f64,
    error: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Observer {
    #[default]
    #[serde(alias = "")]
    Summary,
    Histogram,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Matching {
    #[default]
    #[serde(alias = "")]
    Glob,
    Regex,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    #[default]
    #[serde(alias = "")]
    Map,
    Drop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum MetricType {
    Counter,
    Gauge,
    #[serde(alias = "timer")]
    Observer,
}

/// A label's value, which may be written as a number or as true or false.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Text {
    Word(String),
    Whole(i64),
    Number(f64),
    Truth(bool),
}

impl Text {
    fn text(&self) -> String {
        match self {
            Self::Word(text) => text.clone(),
            Self::Whole(number) => number.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Truth(truth) => truth.to_string(),
        }
    }
}

/// Reads a file; one with nothing but comments is empty.
pub(super) fn read(text: &str) -> Result<File, MappingError> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(File::default());
    }
    serde_yaml::from_str(text).map_err(|e| MappingError::Text(Box::new(e)))
}

impl File {
    /// Keys that are there and change nothing.
    pub(super) fn unused(&self) -> Vec<&'static str> {
        let entries = || self.mappings.iter().flatten().map(|entry| &entry.value);
        let histograms = entries().map(|e| &e.histogram_options).chain([&self.defaults.histogram_options]);
        let summaries = entries().map(|e| &e.summary_options).chain([&self.defaults.summary_options]);
        let mut out = Vec::new();
        if histograms
            .flatten()
            .any(|o| o.native_histogram_bucket_factor.is_some() || o.native_histogram_max_buckets.is_some())
        {
            out.push("histogram_options.native_histogram_*");
        }
        if summaries.flatten().any(|options| options.buf_cap.is_some()) {
            out.push("summary_options.buf_cap");
        }
        out
    }
}

impl Defaults {
    pub(super) fn quantiles(&self) -> Option<&[Objective]> {
        let options = self.summary_options.as_ref().and_then(|options| options.quantiles.as_deref());
        options.or(self.quantiles.as_deref()).filter(|quantiles| !quantiles.is_empty())
    }

    pub(super) fn buckets(&self) -> Option<&[f64]> {
        let options = self.histogram_options.as_ref().and_then(|options| options.buckets.as_deref());
        options.or(self.buckets.as_deref()).filter(|buckets| !buckets.is_empty())
    }

    /// The summary of a mapping with these options.
    pub(super) fn summary(&self, own: Option<&Entry>) -> Summary {
        let quantiles = own.and_then(Entry::quantiles).or_else(|| self.quantiles());
        let mut quantiles: Vec<(f64, f64)> = match quantiles {
            Some(all) => all.iter().map(|objective| (objective.quantile, objective.error)).collect(),
            None => QUANTILES.to_vec(),
        };
        quantiles.sort_by(|a, b| a.0.total_cmp(&b.0));
        quantiles.dedup_by(|a, b| a.0.total_cmp(&b.0).is_eq());
        let options = [own.and_then(|own| own.summary_options.as_ref()), self.summary_options.as_ref()];
        let options = || options.into_iter().flatten();
        let max_age = options().find_map(|o| o.max_age.filter(|age| !age.is_zero())).unwrap_or(MAX_AGE);
        let age_buckets = options().find_map(|o| o.age_buckets.filter(|n| *n > 0)).unwrap_or(AGE_BUCKETS);
        Summary { quantiles, max_age, age_buckets: age_buckets.min(AGE_BUCKETS_MAX) }
    }

    /// The bounds of a histogram of a mapping.
    pub(super) fn bounds(&self, own: Option<&Entry>) -> Vec<f64> {
        own.and_then(Entry::buckets).or_else(|| self.buckets()).unwrap_or(&BUCKETS).to_vec()
    }
}

impl Entry {
    fn quantiles(&self) -> Option<&[Objective]> {
        let options = self.summary_options.as_ref().and_then(|options| options.quantiles.as_deref());
        options.or(self.quantiles.as_deref()).filter(|quantiles| !quantiles.is_empty())
    }

    fn buckets(&self) -> Option<&[f64]> {
        let options = self.histogram_options.as_ref().and_then(|options| options.buckets.as_deref());
        options.or(self.buckets.as_deref()).filter(|buckets| !buckets.is_empty())
    }

    pub(super) fn labels(&self) -> impl Iterator<Item = (String, String)> {
        self.labels.iter().flatten().map(|(name, value)| (name.clone(), value.text()))
    }

    pub(super) fn kind(&self) -> Option<Kind> {
        self.match_metric_type.map(|kind| match kind {
            MetricType::Counter => Kind::Counter,
            MetricType::Gauge => Kind::Gauge,
            MetricType::Observer => Kind::Observer,
        })
    }

    /// What observations become; options of the one kind beside the other are a mistake.
    pub(super) fn observing(&self, defaults: &Defaults) -> Result<Observing, String> {
        let observer = self.observer_type.or(defaults.observer_type);
        match observer {
            Some(Observer::Histogram) if self.summary_options.is_some() => {
                Err("has summary_options and observes by a histogram".into())
            }
            Some(Observer::Summary) if self.histogram_options.is_some() => {
                Err("has histogram_options and observes by a summary".into())
            }
            Some(Observer::Histogram) => Ok(Observing::Histogram(defaults.bounds(Some(self)))),
            _ => Ok(Observing::Summary(defaults.summary(Some(self)))),
        }
    }

    /// What is wrong with it by itself.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.name.is_empty() {
            return Err("has no `name`".into());
        }
        // What a place is filled with may be anything; it is escaped then.
        let letter = |c: char| c.is_ascii_alphanumeric() || ['_', '$', '{', '}'].contains(&c);
        let digit = self.name.starts_with(|c: char| c.is_ascii_digit());
        if digit || !self.name.chars().all(letter) {
            return Err(format!(
                "`{}` is no name: letters, digits, underscores, and places such as ${{1}}",
                self.name
            ));
        }
        for (label, _) in self.labels() {
            let good = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if label.is_empty() || !good || label.starts_with(|c: char| c.is_ascii_digit()) {
                return Err(format!("`{label}` is no name of a label"));
            }
        }
        if self.scale.is_some_and(|scale| !scale.is_finite()) {
            return Err("has a `scale` that is no number".into());
        }
        let age_buckets = self.summary_options.as_ref().and_then(|options| options.age_buckets);
        check_options(self.quantiles(), self.buckets(), age_buckets)
    }
}

/// What is wrong with quantiles and buckets.
pub(super) fn check_options(
    quantiles: Option<&[Objective]>,
    buckets: Option<&[f64]>,
    age_buckets: Option<u32>,
) -> Result<(), String> {
    let share = |value: f64| (0.0..=1.0).contains(&value);
    let quantiles = quantiles.unwrap_or_default();
    if quantiles.len() > BUCKETS_MAX || !quantiles.iter().all(|o| share(o.quantile) && share(o.error)) {
        return Err("has a quantile, or an error of one, that is not from 0 to 1".into());
    }
    let buckets = buckets.unwrap_or_default();
    if buckets.len() > BUCKETS_MAX
        || buckets.iter().any(|b| b.is_nan())
        || !buckets.is_sorted_by(|a, b| a < b)
    {
        return Err(format!("has buckets that do not ascend, or more than {BUCKETS_MAX}"));
    }
    if age_buckets.is_some_and(|count| count > AGE_BUCKETS_MAX) {
        return Err(format!("has more than {AGE_BUCKETS_MAX} age_buckets"));
    }
    Ok(())
}

/// A duration as Go writes it: `1h30m`, `1.5s`, `300ms`; a number alone is in nanoseconds.
fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Nanos(u64),
        Text(String),
    }
    match Option::<Either>::deserialize(from)? {
        None => Ok(None),
        Some(Either::Nanos(nanos)) => Ok(Some(Duration::from_nanos(nanos))),
        Some(Either::Text(text)) => go_duration(&text).map(Some).ok_or_else(|| {
            serde::de::Error::custom(format!("`{text}` is no duration, such as 30s or 1h30m"))
        }),
    }
}

fn go_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("μs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut seconds, mut rest) = (0.0, text);
    while !rest.is_empty() || text.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at_checked(digits)?;
        let end = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, after) = behind.split_at_checked(end)?;
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        seconds += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_s() {
        for (text, millis) in
            [("30s", 30_000), ("1h30m", 5_400_000), ("1.5s", 1500), ("300ms", 300), ("0", 0)]
        {
            assert_eq!(go_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "5", "s", "1x", "-1s", "1 s", "1..2s"] {
            assert_eq!(go_duration(bad), None, "{bad}");
        }
    }
}
