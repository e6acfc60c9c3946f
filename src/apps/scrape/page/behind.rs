//! What stands behind a value: a time, and in OpenMetrics an exemplar.

use super::Form;
use crate::collect::textfile::line::{BLANK, labels};
use crate::metric::Exemplar;

type Wrong = &'static str;

#[derive(Debug, Default, PartialEq)]
pub(super) struct Behind {
    pub(super) at_millis: Option<i64>,
    pub(super) exemplar: Option<Exemplar>,
}

pub(super) fn read(text: &str, form: Form) -> Result<Behind, Wrong> {
    if text.is_empty() {
        return Ok(Behind::default());
    }
    if form == Form::Text {
        let at =
            text.trim_end_matches(BLANK).parse().map_err(|_| "a time in milliseconds behind the value")?;
        return Ok(Behind { at_millis: Some(at), exemplar: None });
    }
    let (time, exemplar) = text.split_once('#').map_or((text, None), |(time, rest)| (time, Some(rest)));
    let time = time.trim_matches(BLANK);
    let at_millis = if time.is_empty() { None } else { Some(millis(time)?) };
    Ok(Behind { at_millis, exemplar: exemplar.map(read_exemplar).transpose()? })
}

fn read_exemplar(text: &str) -> Result<Exemplar, Wrong> {
    const WANT: Wrong = "an exemplar: `# {labels} value`, and a time if there is one";
    let inside = text.trim_start_matches(BLANK).strip_prefix('{').ok_or(WANT)?;
    let (metric, labels, rest) = labels(inside)?;
    let mut words = rest.split(BLANK).filter(|word| !word.is_empty());
    let value = words.next().and_then(|word| word.parse().ok()).ok_or(WANT)?;
    let at_millis = words.next().map(millis).transpose()?;
    if words.next().is_some() || !metric.is_empty() {
        return Err(WANT);
    }
    let labels = labels.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    Ok(Exemplar { labels, value, at_millis })
}

/// A time in seconds, as milliseconds.
fn millis(text: &str) -> Result<i64, Wrong> {
    const WANT: Wrong = "a time in seconds";
    let seconds: f64 = text.parse().map_err(|_| WANT)?;
    if !(-1e12..1e12).contains(&seconds) {
        return Err(WANT);
    }
    #[expect(clippy::cast_possible_truncation, reason = "within the bounds above")]
    Ok((seconds * 1000.0).round() as i64)
}
