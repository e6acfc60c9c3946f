//! What a request of Prometheus's API asks for: its parameters as values.

use super::super::{Shared, rules};
use super::answer::Failure;
use crate::promql::{Labels, Window, matchers};
use crate::serve::query::query;
use jiff::Timestamp;

/// Parameters of an address or a form.
pub(super) struct Parameters {
    pairs: String,
    label: String,
}

impl Parameters {
    /// Pairs as they stand in an address.
    pub(super) fn new(pairs: String) -> Self {
        Self { pairs, label: String::new() }
    }

    /// With the label of the path.
    pub(super) fn with_label(self, label: Option<&str>) -> Self {
        Self { label: label.unwrap_or_default().to_owned(), ..self }
    }

    /// The label of the path.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// All values of a parameter.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = String> + 'a {
        query(Some(&self.pairs), name)
    }

    /// The first value of a parameter that is not empty.
    pub(super) fn first(&self, name: &str) -> Option<String> {
        self.all(name).find(|value| !value.is_empty())
    }

    /// A parameter that must be there.
    pub(super) fn needed(&self, name: &'static str) -> Result<String, Failure> {
        self.first(name).ok_or_else(|| Failure::bad(name, "it is missing"))
    }

    /// A time in milliseconds since the epoch: seconds, or RFC 3339.
    pub(super) fn time(&self, name: &'static str) -> Result<Option<i64>, Failure> {
        let read = |text: String| {
            match text.parse::<f64>() {
                Ok(seconds) => millis(seconds),
                Err(_) => text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond),
            }
            .ok_or_else(|| Failure::bad(name, &format!("cannot parse {text:?} to a valid timestamp")))
        };
        self.first(name).map(read).transpose()
    }

    /// A duration in milliseconds: seconds, or such as `5m`.
    pub(super) fn duration(&self, name: &'static str) -> Result<Option<i64>, Failure> {
        let read = |text: String| {
            match text.parse::<f64>() {
                Ok(seconds) => millis(seconds),
                Err(_) => rules::duration(&text).ok().and_then(|d| i64::try_from(d.as_millis()).ok()),
            }
            .ok_or_else(|| Failure::bad(name, &format!("cannot parse {text:?} to a valid duration")))
        };
        self.first(name).map(read).transpose()
    }

    /// The labels of the series that one of the selectors fits, each once; nothing without a selector.
    pub(super) fn matching(&self, shared: &Shared) -> Result<Option<Vec<Labels>>, Failure> {
        let window = Window {
            from: self.time("start")?.unwrap_or(i64::MIN),
            to: self.time("end")?.unwrap_or(i64::MAX),
        };
        let mut out: Option<Vec<Labels>> = None;
        for selector in self.all("match[]") {
            let matchers = matchers(&selector).map_err(|e| Failure::bad("match[]", &e.to_string()))?;
            out.get_or_insert_default().extend(shared.history.labels(&matchers, window));
        }
        if let Some(all) = &mut out {
            all.sort_unstable();
            all.dedup();
        }
        Ok(out)
    }

    /// The same, of all series without a selector.
    pub(super) fn matching_or_all(&self, shared: &Shared) -> Result<Vec<Labels>, Failure> {
        let window = Window {
            from: self.time("start")?.unwrap_or(i64::MIN),
            to: self.time("end")?.unwrap_or(i64::MAX),
        };
        Ok(self.matching(shared)?.unwrap_or_else(|| shared.history.labels(&[], window)))
    }
}

/// Seconds as milliseconds, if they are a time.
fn millis(seconds: f64) -> Option<i64> {
    let millis = (seconds * 1000.0).round();
    #[expect(clippy::cast_possible_truncation, reason = "within the bounds that are looked at first")]
    (millis.abs() < 9e15).then_some(millis as i64)
}
