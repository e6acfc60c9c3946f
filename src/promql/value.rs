//! What expressions are about: label sets, samples, series.

use std::fmt;
use std::sync::Arc;

/// The label that is a series' name.
pub const NAME: &str = "__name__";
/// The bits of the value that says that a series ended; it is not a number.
/// Source: <https://prometheus.io/docs/specs/prw/remote_write_spec/#stale-markers>.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Whether a value says that its series ended.
pub const fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE
}

/// The value that says that a series ended.
pub const fn stale() -> f64 {
    f64::from_bits(STALE)
}

/// Names and values, sorted by name, none of them empty. Copies share their memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// From pairs in any order; an empty value is no label, and of two with the same name the last counts.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut out = Builder::default();
        for (name, value) in pairs {
            out.set(name.as_ref(), value.as_ref());
        }
        out.labels()
    }

    /// From pairs that are sorted by their names, of which no two are the same and no value is empty.
    pub(crate) fn sorted(pairs: Vec<(Arc<str>, Arc<str>)>) -> Self {
        Self(pairs.into())
    }

    /// A label's value; empty without it.
    pub fn get(&self, name: &str) -> &str {
        let at = self.0.binary_search_by(|(own, _)| (**own).cmp(name));
        at.ok().and_then(|at| self.0.get(at)).map_or("", |(_, value)| value)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same without the name, as most results are.
    #[must_use]
    pub fn without_name(&self) -> Self {
        if self.get(NAME).is_empty() { self.clone() } else { self.keep(|name| name != NAME) }
    }

    /// Those whose names are wanted.
    #[must_use]
    pub fn keep(&self, mut wanted: impl FnMut(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|(name, _)| wanted(name)).cloned().collect())
    }

    /// To make others of them.
    pub fn edit(&self) -> Builder {
        Builder(self.0.to_vec())
    }
}

/// As in an expression: `name{a="b"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get(NAME))?;
        let mut others = self.iter().filter(|(name, _)| *name != NAME).peekable();
        if others.peek().is_none() && !self.get(NAME).is_empty() {
            return Ok(());
        }
        f.write_str("{")?;
        for (n, (name, value)) in others.enumerate() {
            write!(f, "{}{name}={value:?}", if n == 0 { "" } else { ", " })?;
        }
        f.write_str("}")
    }
}

/// Labels that are being made.
#[derive(Clone, Debug, Default)]
pub struct Builder(Vec<(Arc<str>, Arc<str>)>);

impl Builder {
    /// Sets a label; with an empty value, takes it away.
    pub fn set(&mut self, name: &str, value: &str) {
        match (self.0.binary_search_by(|(own, _)| (**own).cmp(name)), value.is_empty()) {
            (Ok(at), true) => drop(self.0.remove(at)),
            (Ok(at), false) => {
                if let Some((_, own)) = self.0.get_mut(at) {
                    *own = value.into();
                }
            }
            (Err(_), true) => {}
            (Err(at), false) => self.0.insert(at, (name.into(), value.into())),
        }
    }

    /// What was made.
    pub fn labels(self) -> Labels {
        Labels(self.0.into())
    }
}

/// A value at a time, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When, in milliseconds since the epoch.
    pub at: i64,
    /// What.
    pub value: f64,
}

/// One series and its points, in the order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Who it is.
    pub labels: Labels,
    /// What it was.
    pub points: Vec<Point>,
}

/// What one series is at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Who it is.
    pub labels: Labels,
    /// What it is.
    pub value: f64,
}

/// What an expression says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Scalar(f64),
    /// Samples, each of another series.
    Vector(Vec<Sample>),
    /// Series over a time.
    Matrix(Vec<Series>),
    /// A text.
    Text(String),
}

/// Seconds of milliseconds.
pub(super) const fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_none_is_empty() {
        let labels = Labels::new([("b", "2"), ("a", "1"), ("c", ""), ("b", "3"), (NAME, "up")]);
        assert_eq!(labels.to_string(), r#"up{a="1", b="3"}"#);
        assert_eq!((labels.get("b"), labels.get("c"), labels.get(NAME)), ("3", "", "up"));
        assert_eq!(labels.without_name().to_string(), r#"{a="1", b="3"}"#);
        let mut edit = labels.edit();
        edit.set("a", "");
        edit.set("d", "4");
        assert_eq!(edit.labels(), Labels::new([("d", "4"), ("b", "3"), (NAME, "up")]));
        assert_eq!((Labels::default().to_string().as_str(), Labels::default().is_empty()), ("{}", true));
    }

    #[test]
    fn a_stale_value_is_not_a_number_and_no_other_is_stale() {
        assert!(stale().is_nan() && is_stale(stale()) && !is_stale(f64::NAN));
    }
}
