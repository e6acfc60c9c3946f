//! statsd_exporter's mapping file, read as it is: which names become which, with what labels, and how times are observed.

mod file;

use super::glob::Globs;
use super::template::Template;
use file::{Action, Entry, Matching, Observer};
use regex_lite::Regex;
use std::sync::Arc;
use std::time::Duration;

/// What is said of a series of which its mapping says nothing.
const HELP: &str = "A metric that came by StatsD.";
/// Buckets where none are given: those of Prometheus's client for Go.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Quantiles where none are given, each with the error that its rank may have.
const QUANTILES: [(f64, f64); 3] = [(0.5, 0.05), (0.9, 0.01), (0.99, 0.001)];
const MAX_AGE: Duration = Duration::from_mins(10);
const AGE_BUCKETS: u32 = 5;
/// The most age buckets: each is a sketch of its own.
const AGE_BUCKETS_MAX: u32 = 60;

/// Why a text is no mapping file.
#[derive(Debug, thiserror::Error)]
pub enum MappingError {
    /// A key or a value is not what stands there in such a file.
    #[error("{0}")]
    Text(Box<serde_yaml::Error>),
    /// A mapping is a mistake, with line and column where they are known.
    #[error("{1}")]
    At(Option<(u64, u64)>, String),
}

/// What a sample is to a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Observer,
}

const KINDS: [Kind; 3] = [Kind::Counter, Kind::Gauge, Kind::Observer];

/// How a summary's quantiles are estimated.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Summary {
    /// Quantile and the error of its rank, ascending.
    pub(super) quantiles: Vec<(f64, f64)>,
    pub(super) max_age: Duration,
    pub(super) age_buckets: u32,
}

/// What observations become.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Observing {
    Summary(Summary),
    /// The upper bounds of buckets, ascending.
    Histogram(Vec<f64>),
}

/// What is done with the samples of a name.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) is_dropped: bool,
    pub(super) help: Arc<str>,
    pub(super) honor_labels: bool,
    pub(super) scale: Option<f64>,
    /// How long a series stays after its last sample, if the mapping says so.
    pub(super) ttl: Option<Duration>,
    pub(super) observing: Observing,
    how: How,
    kind: Option<Kind>,
}

#[derive(Debug)]
enum How {
    Nothing,
    Glob(Template, Vec<(String, Template)>),
    Regex(Regex, String, Vec<(String, String)>),
}

/// A rule that a name is under, and what it makes of it.
pub(super) struct Found<'m> {
    pub(super) rule: &'m Rule,
    pub(super) name: String,
    pub(super) labels: Vec<(&'m str, String)>,
}

/// A whole file.
#[derive(Debug)]
pub struct Mapping {
    rules: Vec<Rule>,
    globs: [Globs; 3],
    has_regexes: bool,
    is_ordered: bool,
    /// For what no rule is there.
    pub(super) default: Rule,
    /// What the file asks for that is not done, for the log.
    pub unused: Vec<&'static str>,
    file: file::File,
}

impl PartialEq for Mapping {
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file
    }
}

impl Default for Mapping {
    fn default() -> Self {
        let file = file::File::default();
        let default = Rule::new(How::Nothing, None, Observing::of(&file.defaults));
        let (globs, rules) = (Default::default(), Vec::new());
        Self { rules, globs, has_regexes: false, is_ordered: true, default, unused: Vec::new(), file }
    }
}

impl Mapping {
    /// Reads the text of a mapping file.
    pub fn parse(text: &str) -> Result<Self, MappingError> {
        let file = file::read(text)?;
        let mut out = Self { is_ordered: !file.defaults.glob_disable_ordering, ..Self::default() };
        let defaults = &file.defaults;
        file::check_options(defaults.quantiles(), defaults.buckets(), None)
            .map_err(|why| MappingError::At(None, format!("defaults: {why}")))?;
        out.default = Rule::new(How::Nothing, None, Observing::of(defaults));
        out.default.ttl = defaults.ttl.filter(|ttl| !ttl.is_zero());
        for (at, entry) in file.mappings.iter().flatten().enumerate() {
            out.add(&entry.value, &file).map_err(|why| {
                let place = (entry.referenced.line(), entry.referenced.column());
                MappingError::At(Some(place), format!("mappings[{at}] {why}"))
            })?;
        }
        out.unused = file.unused();
        out.file = file;
        Ok(out)
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    fn add(&mut self, entry: &Entry, file: &file::File) -> Result<(), String> {
        entry.check()?;
        let at = self.rules.len();
        let how = match entry.match_type.unwrap_or(file.defaults.match_type) {
            Matching::Glob => {
                if !Globs::is_good(&entry.matched) {
                    return Err(format!(
                        "`{}` is no match: words with dots between them, or stars",
                        entry.matched
                    ));
                }
                let captures = entry.matched.split('.').filter(|word| *word == "*").count();
                for kind in KINDS.iter().filter(|kind| entry.kind().is_none_or(|of| of == **kind)) {
                    if let Some(globs) = self.globs.get_mut(*kind as usize) {
                        globs.add(&entry.matched, at);
                    }
                }
                let labels = entry.labels().map(|(name, value)| (name, Template::new(&value, captures)));
                How::Glob(Template::new(&entry.name, captures), labels.collect())
            }
            Matching::Regex => {
                let regex = Regex::new(&entry.matched).map_err(|e| format!("`{}`: {e}", entry.matched))?;
                self.has_regexes = true;
                How::Regex(regex, entry.name.clone(), entry.labels().collect())
            }
        };
        let mut rule = Rule::new(how, entry.kind(), entry.observing(&file.defaults)?);
        rule.is_dropped = entry.action == Action::Drop;
        if !entry.help.is_empty() {
            rule.help = entry.help.as_str().into();
        }
        (rule.honor_labels, rule.scale) = (entry.honor_labels, entry.scale);
        rule.ttl = entry.ttl.filter(|ttl| !ttl.is_zero()).or(self.default.ttl);
        self.rules.push(rule);
        Ok(())
    }

    /// The rule for a name: the first one whose match has the name's words, or else the first whose regular expression
    /// is in it.
    pub(super) fn find(&self, name: &str, kind: Kind) -> Option<Found<'_>> {
        let glob = self.globs.get(kind as usize).and_then(|globs| globs.find(name, self.is_ordered));
        if let Some((at, captures)) = glob {
            let rule = self.rules.get(at)?;
            let How::Glob(to, labels) = &rule.how else { return None };
            let labels = labels.iter().map(|(label, value)| (label.as_str(), value.fill(&captures)));
            return Some(Found { rule, name: to.fill(&captures), labels: labels.collect() });
        }
        if !self.has_regexes {
            return None;
        }
        self.rules.iter().filter(|rule| rule.kind.is_none_or(|of| of == kind)).find_map(|rule| {
            let How::Regex(regex, to, labels) = &rule.how else { return None };
            let captures = regex.captures(name)?;
            let fill = |template: &str| {
                let mut out = String::new();
                captures.expand(template, &mut out);
                out
            };
            let labels = labels.iter().map(|(label, value)| (label.as_str(), fill(value))).collect();
            Some(Found { rule, name: fill(to), labels })
        })
    }
}

impl Rule {
    fn new(how: How, kind: Option<Kind>, observing: Observing) -> Self {
        let help = HELP.into();
        Self { is_dropped: false, help, honor_labels: false, scale: None, ttl: None, observing, how, kind }
    }
}

impl Observing {
    fn of(defaults: &file::Defaults) -> Self {
        match defaults.observer_type.unwrap_or_default() {
            Observer::Summary => Self::Summary(defaults.summary(None)),
            Observer::Histogram => Self::Histogram(defaults.bounds(None)),
        }
    }
}

#[cfg(test)]
mod tests;
