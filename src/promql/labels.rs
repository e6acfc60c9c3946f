//! Functions that change labels.

use super::error::Error;
use super::eval::unique;
use super::value::{Sample, Value};
use regex_lite::Regex;

/// Whether a label may have this name.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn named(name: &str) -> Result<(), Error> {
    if is_name(name) { Ok(()) } else { Err(Error::Evaluation(format!("no name for a label: {name:?}"))) }
}

/// `label_replace`: where all of `source`'s value fits the expression, `to` gets what `with` makes of it.
pub(super) fn replace(
    samples: Vec<Sample>,
    to: &str,
    with: &str,
    source: &str,
    pattern: &str,
) -> Result<Value, Error> {
    named(to)?;
    let fits = Regex::new(&format!("^(?s:{pattern})$"))
        .map_err(|e| Error::Evaluation(format!("no regular expression: {pattern:?}: {e}")))?;
    unique(samples.into_iter().map(|sample| {
        let Some(found) = fits.captures(sample.labels.get(source)) else { return sample };
        let mut value = String::new();
        found.expand(with, &mut value);
        let mut labels = sample.labels.edit();
        labels.set(to, &value);
        Sample { labels: labels.labels(), ..sample }
    }))
}

/// `label_join`: `to` gets the values of `sources`, with `between` between them.
pub(super) fn join(
    samples: Vec<Sample>,
    to: &str,
    between: &str,
    sources: &[String],
) -> Result<Value, Error> {
    sources.iter().map(String::as_str).chain([to]).try_for_each(named)?;
    unique(samples.into_iter().map(|sample| {
        let values: Vec<&str> = sources.iter().map(|name| sample.labels.get(name)).collect();
        let mut labels = sample.labels.edit();
        labels.set(to, &values.join(between));
        Sample { labels: labels.labels(), ..sample }
    }))
}
