//! The part of Go's templates that labels and annotations of alerts are written in. What is left out is an error when the
//! rule is read.
//!
//! Source: <https://prometheus.io/docs/prometheus/latest/configuration/template_reference/>, text/template of Go.

mod fill;
mod number;

use crate::promql::{Labels, Sample};
use std::collections::BTreeMap;

/// The deepest nesting of `if` and `with`.
const DEPTH_MAX: usize = 20;

/// A text with places.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

/// What the places are filled with.
#[derive(Clone, Copy)]
pub struct About<'a> {
    /// The labels of the sample, with its name.
    pub labels: &'a Labels,
    /// Its value.
    pub value: f64,
    /// Labels that all alerts of this machine get.
    pub external: &'a BTreeMap<String, String>,
    /// Answers an expression, at the time of the evaluation.
    pub query: &'a dyn Fn(&str) -> Result<Vec<Sample>, String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Say(Pipeline),
    If { of: Pipeline, then: Vec<Part>, otherwise: Vec<Part> },
    With { of: Pipeline, then: Vec<Part>, otherwise: Vec<Part> },
}

/// Calls, each of which gets the answer of the one before as its last argument.
type Pipeline = Vec<Call>;

#[derive(Clone, Debug, PartialEq)]
struct Call {
    what: What,
    arguments: Vec<What>,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    /// `.`: what `with` has put there.
    Dot,
    Value,
    Label(String),
    External(String),
    Text(String),
    Number(f64),
    Function(&'static str),
    Inner(Pipeline),
}

/// A value within a template.
#[derive(Clone, Debug, PartialEq)]
enum Item {
    Text(String),
    Number(f64),
    Truth(bool),
    Samples(Vec<Sample>),
    /// Nothing has been put into `.`.
    Nothing,
}

/// Functions, and the least and most arguments of each.
const FUNCTIONS: [(&str, usize, usize); 21] = [
    ("humanize", 1, 1),
    ("humanize1024", 1, 1),
    ("humanizeDuration", 1, 1),
    ("humanizePercentage", 1, 1),
    ("query", 1, 1),
    ("first", 1, 1),
    ("value", 1, 1),
    ("label", 2, 2),
    ("toUpper", 1, 1),
    ("toLower", 1, 1),
    ("printf", 1, 9),
    ("print", 1, 9),
    ("not", 1, 1),
    ("and", 1, 9),
    ("or", 1, 9),
    ("eq", 2, 2),
    ("ne", 2, 2),
    ("lt", 2, 2),
    ("le", 2, 2),
    ("gt", 2, 2),
    ("ge", 2, 2),
];

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = pieces(text)?.into_iter();
        let (parts, end) = block(&mut pieces, 0)?;
        match end {
            None => Ok(Self { text: text.to_owned(), parts }),
            Some(word) => Err(format!("`{word}` without its `if` or `with`")),
        }
    }

    /// A text without places, whatever stands in it.
    pub fn plain(text: &str) -> Self {
        Self { text: text.to_owned(), parts: vec![Part::Text(text.to_owned())] }
    }

    /// As it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text with its places filled.
    pub fn fill(&self, about: &About<'_>) -> Result<String, String> {
        let mut out = String::new();
        fill::write(&self.parts, about, &Item::Nothing, &mut out)?;
        Ok(out)
    }
}

/// Plain text, or what stands between braces.
enum Piece<'a> {
    Text(&'a str),
    Code(&'a str),
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some((before, from)) = rest.split_once("{{") {
        let (code, after) = from.split_once("}}").ok_or("`{{` without its `}}`")?;
        let trims_before = code.starts_with("- ");
        let trims_after = code.ends_with(" -");
        out.push(Piece::Text(if trims_before { before.trim_end() } else { before }));
        let code = if trims_before { code.get(1..).unwrap_or_default() } else { code };
        let code = if trims_after { code.get(..code.len() - 1).unwrap_or_default() } else { code };
        out.push(Piece::Code(code.trim()));
        rest = if trims_after { after.trim_start() } else { after };
    }
    out.push(Piece::Text(rest));
    Ok(out)
}

/// Parts up to an `end` or `else`, which is given back too.
fn block<'a>(
    pieces: &mut std::vec::IntoIter<Piece<'a>>,
    depth: usize,
) -> Result<(Vec<Part>, Option<&'a str>), String> {
    if depth > DEPTH_MAX {
        return Err(format!("more than {DEPTH_MAX} nested blocks"));
    }
    let mut parts = Vec::new();
    while let Some(piece) = pieces.next() {
        let code = match piece {
            Piece::Text("") => continue,
            Piece::Text(text) => {
                parts.push(Part::Text(text.to_owned()));
                continue;
            }
            Piece::Code(code) => code,
        };
        let (word, of) = code.split_once(char::is_whitespace).unwrap_or((code, ""));
        match word {
            "end" | "else" => return Ok((parts, Some(code))),
            "if" | "with" => parts.push(branch(word, of, pieces, depth)?),
            "range" | "define" | "template" | "block" | "break" | "continue" => {
                return Err(format!("not supported here: `{word}`"));
            }
            _ if code.starts_with("/*") && code.ends_with("*/") => {}
            _ => parts.push(Part::Say(pipeline(code)?)),
        }
    }
    Ok((parts, None))
}

fn branch(
    word: &str,
    of: &str,
    pieces: &mut std::vec::IntoIter<Piece<'_>>,
    depth: usize,
) -> Result<Part, String> {
    let of = pipeline(of)?;
    let (then, end) = block(pieces, depth + 1)?;
    let otherwise = match end {
        Some("end") => Vec::new(),
        Some("else") => match block(pieces, depth + 1)? {
            (otherwise, Some("end")) => otherwise,
            _ => return Err(format!("`{word}` without its `end`")),
        },
        // `else if` is an `if` within the `else` that shares its `end`.
        Some(more) => match more.strip_prefix("else").map(str::trim_start).and_then(|m| m.split_once(' ')) {
            Some((inner @ ("if" | "with"), of)) => vec![branch(inner, of, pieces, depth + 1)?],
            _ => return Err(format!("not understood: `{more}`")),
        },
        None => return Err(format!("`{word}` without its `end`")),
    };
    Ok(if word == "if" { Part::If { of, then, otherwise } } else { Part::With { of, then, otherwise } })
}

fn pipeline(code: &str) -> Result<Pipeline, String> {
    let mut words = words(code)?.into_iter().peekable();
    let out = calls(&mut words, 0)?;
    if words.next().is_some() { Err(format!("not understood: `{code}`")) } else { Ok(out) }
}

fn calls(
    words: &mut std::iter::Peekable<std::vec::IntoIter<String>>,
    depth: usize,
) -> Result<Pipeline, String> {
    if depth > DEPTH_MAX {
        return Err(format!("more than {DEPTH_MAX} nested parentheses"));
    }
    let mut out: Pipeline = Vec::new();
    let mut all = Vec::new();
    let close = |all: &mut Vec<What>, out: &mut Pipeline| {
        let mut parts = std::mem::take(all).into_iter();
        let call = Call {
            what: parts.next().ok_or("an empty pair of braces, or nothing beside a `|`")?,
            arguments: parts.collect(),
        };
        check(&call, !out.is_empty())?;
        out.push(call);
        Ok::<(), String>(())
    };
    while let Some(word) = words.next_if(|word| word != ")") {
        match word.as_str() {
            "|" => close(&mut all, &mut out)?,
            "(" => {
                all.push(What::Inner(calls(words, depth + 1)?));
                if words.next().as_deref() != Some(")") {
                    return Err("`(` without its `)`".into());
                }
            }
            word => all.push(what(word)?),
        }
    }
    close(&mut all, &mut out)?;
    Ok(out)
}

fn check(call: &Call, is_piped: bool) -> Result<(), String> {
    let given = call.arguments.len() + usize::from(is_piped);
    let What::Function(name) = call.what else {
        return if given == 0 { Ok(()) } else { Err("only functions have arguments".into()) };
    };
    match FUNCTIONS.iter().find(|(known, ..)| *known == name) {
        Some((_, least, most)) if (*least..=*most).contains(&given) => Ok(()),
        _ => Err(format!("`{name}` with {given} arguments")),
    }
}

fn what(word: &str) -> Result<What, String> {
    if let Some(name) = word.strip_prefix("$labels.").or_else(|| word.strip_prefix(".Labels.")) {
        return Ok(What::Label(name.to_owned()));
    }
    if let Some(name) =
        word.strip_prefix("$externalLabels.").or_else(|| word.strip_prefix(".ExternalLabels."))
    {
        return Ok(What::External(name.to_owned()));
    }
    if let Some(text) = word.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) {
        return Ok(What::Text(text.to_owned()));
    }
    if word.starts_with('"') {
        // Go's escapes that matter here are those of JSON.
        return serde_json::from_str(word).map(What::Text).map_err(|_| format!("no text: {word}"));
    }
    if let Ok(number) = word.parse() {
        return Ok(What::Number(number));
    }
    match word {
        "." => Ok(What::Dot),
        "$value" | ".Value" => Ok(What::Value),
        _ => match FUNCTIONS.iter().find(|(known, ..)| *known == word) {
            Some((name, ..)) => Ok(What::Function(name)),
            None => Err(format!("not supported here: `{word}`")),
        },
    }
}

/// The words of a piece of code: names, texts with their quotes, and the signs `|`, `(`, `)`.
fn words(code: &str) -> Result<Vec<String>, String> {
    let (mut out, mut letters) = (Vec::new(), code.chars().peekable());
    while let Some(letter) = letters.next() {
        match letter {
            _ if letter.is_whitespace() => {}
            '|' | '(' | ')' => out.push(letter.to_string()),
            '"' | '`' => {
                let mut word = letter.to_string();
                loop {
                    let next = letters.next().ok_or_else(|| format!("{letter} without its end"))?;
                    word.push(next);
                    if next == letter {
                        break;
                    }
                    if next == '\\' && letter == '"' {
                        word.extend(letters.next());
                    }
                }
                out.push(word);
            }
            _ => {
                let mut word = letter.to_string();
                while let Some(next) = letters.next_if(|c| !c.is_whitespace() && !"|()".contains(*c)) {
                    word.push(next);
                }
                out.push(word);
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<String, String> {
        let labels = Labels::new([("instance", "web1"), ("name", "a\"b")]);
        let external = BTreeMap::from([("site".to_owned(), "x".to_owned())]);
        let query = |text: &str| match text {
            "up{a=\"web1\"}" => Ok(vec![Sample { labels: Labels::new([("job", "j")]), value: 1500.0 }]),
            "nothing" => Ok(vec![]),
            _ => Err(format!("asked {text}")),
        };
        Template::parse(text)?.fill(&About {
            labels: &labels,
            value: 0.125,
            external: &external,
            query: &query,
        })
    }

    #[test]
    fn places_are_filled() {
        for (text, said) in [
            ("plain", "plain"),
            ("{{ $labels.instance }} at {{ $value | humanizePercentage }}", "web1 at 12.5%"),
            ("{{$labels.nothing}}|{{ $externalLabels.site }}", "|x"),
            ("{{ if $labels.nothing }}a{{ else }}b{{ end }}", "b"),
            ("{{ if $labels.nothing }}a{{ else if gt $value 0.1 }}b{{ else }}c{{ end }}", "b"),
            ("{{ with $labels.instance }} on {{ . }}{{ end }}", " on web1"),
            ("a {{- /* why */ -}} b", "ab"),
            (
                "{{ printf \"%.2f %s %q %d%%\" $value $labels.instance $labels.name 3.9 }}",
                "0.12 web1 \"a\\\"b\" 3%",
            ),
            ("{{ (or $labels.nothing $labels.instance) | toUpper }}", "WEB1"),
            (
                "{{ if and (eq $labels.instance \"web1\") (not false1) }}x{{ end }}",
                "!not supported here: `false1`",
            ),
            ("{{ printf \"up{a=%q}\" $labels.instance | query | first | value | humanize }}", "1.5k"),
            ("{{ with query `up{a=\"web1\"}` }}{{ . | first | label \"job\" }}{{ end }}", "j"),
            ("{{ with query \"nothing\" }}{{ . | first | value }}{{ else }}none{{ end }}", "none"),
            ("{{ query \"nothing\" | first | value }}", "!first() called on vector with no elements"),
            ("{{ query \"else\" }}", "!asked else"),
            ("{{ tmpl \"x\" }}", "!not supported here: `tmpl`"),
            ("{{ range $labels }}", "!not supported here: `range`"),
            ("{{ if $value }}", "!`if` without its `end`"),
            ("{{ end }}", "!`end` without its `if` or `with`"),
            ("{{ $value", "!`{{` without its `}}`"),
            ("{{ humanize }}", "!`humanize` with 0 arguments"),
            ("{{ $labels.instance | humanize }}", "!not a number: \"web1\""),
        ] {
            let said = said.strip_prefix('!').map_or(Ok(said), Err);
            assert_eq!(filled(text).as_deref().map_err(String::as_str), said, "{text}");
        }
    }
}
