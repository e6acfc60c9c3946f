//! One line of Prometheus's text format: a remark, a help, a type or a sample.

use crate::metric::Kind;
use std::borrow::Cow;

/// The most labels that a sample may have.
pub(crate) const LABELS_MAX: usize = 64;

pub(crate) enum Line<'a> {
    /// Empty, or a remark.
    Nothing,
    Help(Cow<'a, str>, Cow<'a, str>),
    Type(Cow<'a, str>, Kind),
    Sample(Sample<'a>),
}

pub(crate) struct Sample<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) labels: Labels<'a>,
    pub(crate) value: f64,
    /// What stands behind the value: a time, or an exemplar.
    pub(crate) behind: &'a str,
}

/// Names and values.
pub(crate) type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;
pub(crate) type Wrong = &'static str;

/// What a line of a file says, or what should have stood there.
pub(crate) fn line(text: &str) -> Result<Line<'_>, Wrong> {
    match any_line(text)? {
        // What Prometheus scrapes has the time of the scrape; an old time would stand for ever.
        Line::Sample(sample) if !sample.behind.is_empty() => {
            Err("nothing behind the value (times are not supported here)")
        }
        line => Ok(line),
    }
}

/// The same, with whatever stands behind a value.
pub(crate) fn any_line(text: &str) -> Result<Line<'_>, Wrong> {
    let text = text.trim_start_matches(BLANK);
    if text.is_empty() {
        return Ok(Line::Nothing);
    }
    match text.strip_prefix('#') {
        Some(remark) => comment(remark.trim_start_matches(BLANK)),
        None => sample(text).map(Line::Sample),
    }
}

pub(crate) const BLANK: [char; 2] = [' ', '\t'];

fn comment(text: &str) -> Result<Line<'_>, Wrong> {
    let (word, rest) = text.split_once(BLANK).unwrap_or((text, ""));
    if !matches!(word, "HELP" | "TYPE") {
        return Ok(Line::Nothing);
    }
    let (name, rest) = any_name(rest.trim_start_matches(BLANK), true)?;
    let behind = rest.strip_prefix(BLANK);
    let is_name = !name.is_empty() && (behind.is_some() || rest.is_empty());
    let rest = behind.unwrap_or_default();
    match word {
        _ if !is_name => Err("the name of a family behind HELP or TYPE"),
        // A help without a text says nothing.
        "HELP" if rest.is_empty() && !text.ends_with(BLANK) => Ok(Line::Nothing),
        "HELP" => Ok(Line::Help(name, unescaped(rest.trim_start_matches(BLANK), false)?)),
        _ => {
            let kind = match rest.trim_matches(BLANK).to_ascii_lowercase().as_str() {
                "counter" => Kind::Counter,
                "gauge" => Kind::Gauge,
                "histogram" => Kind::Histogram,
                "summary" => Kind::Summary,
                "untyped" => Kind::Untyped,
                _ => return Err("counter, gauge, histogram, summary or untyped"),
            };
            Ok(Line::Type(name, kind))
        }
    }
}

fn sample(text: &str) -> Result<Sample<'_>, Wrong> {
    let (before, rest) = name(text, true);
    let (inside, labels, rest) = match rest.trim_start_matches(BLANK).strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None if rest.starts_with(BLANK) => (Cow::Borrowed(""), Vec::new(), rest),
        None if before.is_empty() => return Err("the name of a metric"),
        None => return Err("a blank behind the name of a metric"),
    };
    let name = match (before.is_empty(), inside.is_empty()) {
        (true, true) => return Err("the name of a metric"),
        (true, false) => inside,
        (false, true) => Cow::Borrowed(before),
        (false, false) => return Err("the name of a metric once"),
    };
    let rest = rest.trim_matches(BLANK);
    let (value, behind) = rest.split_once(BLANK).unwrap_or((rest, ""));
    let value = value.parse().map_err(|_| "a number behind the name and labels")?;
    Ok(Sample { name, labels, value, behind: behind.trim_start_matches(BLANK) })
}

/// The name that a text begins with, and the rest; those of labels have no colons.
fn name(text: &str, colons: bool) -> (&str, &str) {
    let good = |(i, c): (usize, char)| {
        c.is_ascii_alphabetic() || c == '_' || (c == ':' && colons) || (i > 0 && c.is_ascii_digit())
    };
    let end = text.char_indices().find(|at| !good(*at)).map_or(text.len(), |(i, _)| i);
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// A name as it is, or one of any letters in quotes; and the rest.
fn any_name(text: &str, colons: bool) -> Result<(Cow<'_, str>, &str), Wrong> {
    if text.starts_with('"') {
        return quoted(text).ok_or("a `\"` at the end of a name that begins with one")?;
    }
    let (name, rest) = name(text, colons);
    Ok((Cow::Borrowed(name), rest))
}

/// What stands in quotes at the beginning of a text, without its escapes, and the rest; `None` if no quotes do.
fn quoted(text: &str) -> Option<Result<(Cow<'_, str>, &str), Wrong>> {
    let inside = text.strip_prefix('"')?;
    let (inside, rest) = inside.split_at_checked(closing_quote(inside)?)?;
    Some(unescaped(inside, true).map(|inside| (inside, rest.strip_prefix('"').unwrap_or_default())))
}

/// The name of the metric if it stands in the braces, the labels up to the closing brace, and what follows it.
pub(crate) fn labels(mut text: &str) -> Result<(Cow<'_, str>, Labels<'_>, &str), Wrong> {
    let mut metric = Cow::Borrowed("");
    let mut out: Labels<'_> = Vec::new();
    loop {
        text = text.trim_start_matches(BLANK);
        if let Some(rest) = text.strip_prefix('}') {
            return Ok((metric, out, rest));
        }
        let is_quoted = text.starts_with('"');
        let (label, rest) = any_name(text, false)?;
        if label.is_empty() || label == "__name__" {
            return Err("the name of a label, or `}`");
        }
        text = rest.trim_start_matches(BLANK);
        if is_quoted && metric.is_empty() && out.is_empty() && !text.starts_with('=') {
            metric = label;
        } else {
            const WANT: &str = "`=\"value\"` behind the name of a label";
            let value = text.strip_prefix('=').map(|rest| rest.trim_start_matches(BLANK)).ok_or(WANT)?;
            let (value, rest) = match quoted(value) {
                Some(value) => value?,
                None if value.starts_with('"') => return Err("a `\"` at the end of a label's value"),
                None => return Err(WANT),
            };
            if out.iter().any(|(known, _)| *known == label) || out.len() == LABELS_MAX {
                return Err("each label once, and no more than 64");
            }
            out.push((label, value));
            text = rest.trim_start_matches(BLANK);
        }
        text = match text.strip_prefix(',') {
            Some(rest) => rest,
            None if text.starts_with('}') => text,
            None => return Err("`,` or `}` behind a label"),
        };
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

/// The text without its escapes. A help may have others, which stay as they are.
fn unescaped(text: &str, strict: bool) -> Result<Cow<'_, str>, Wrong> {
    if !text.contains('\\') {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('\\') => out.push('\\'),
            Some('n') => out.push('\n'),
            Some('"') if strict => out.push('"'),
            _ if strict => return Err("`\\\\`, `\\\"` or `\\n` behind a backslash"),
            other => {
                out.push('\\');
                out.extend(other);
            }
        }
    }
    Ok(Cow::Owned(out))
}
