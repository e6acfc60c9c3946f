//! What is said about a text that is no configuration: the library's findings in our words, with the nearest name.

use super::{ConfigError, nearest};
use std::path::Path;

pub(super) fn text_error(e: &serde_yaml::Error, path: &Path) -> ConfigError {
    let e = e.without_snippet();
    let place = e.location().map(|l| (l.line(), l.column()));
    let why = match e {
        serde_yaml::Error::SerdeUnknownField { field, expected, .. } => {
            let near = nearest(field, expected.iter().copied());
            let hint = near.map_or_else(
                || format!("known here: {}", expected.join(", ")),
                |n| format!("did you mean `{n}`?"),
            );
            format!("unknown key `{field}`; {hint}")
        }
        other => plain(&other.to_string()),
    };
    ConfigError::Text { path: path.to_owned(), place, why }
}

/// The library's message in our words, without its own line and column, which stand in front already.
fn plain(message: &str) -> String {
    const WORDS: [(&str, &str); 9] = [
        ("invalid socket address syntax", "expected IP:PORT, such as 127.0.0.1:9177"),
        (", set DuplicateKeyPolicy in Options if acceptable", ""),
        ("expected sequence start", "expected a list, such as [a, b]"),
        ("expected integer overflow", "which is out of range"),
        ("invalid u64", "expected a whole number"),
        ("expected a duration", "expected a duration such as 30s"),
        ("expected parsable string", "expected a size such as 400MiB"),
        ("invalid boolean", "expected true or false"),
        ("expected mapping start", "expected keys with values, such as `key: value`"),
    ];
    let line = message.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    let rest = line.strip_prefix("line ").and_then(|l| l.split_once(": ")).map_or(line, |(_, rest)| rest);
    let rest = rest.rsplit_once(" at line ").map_or(rest, |(rest, _)| rest);
    WORDS.iter().fold(rest.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
}
