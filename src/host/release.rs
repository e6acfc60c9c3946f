//! The name and version of the operating system as os-release tells them.
//!
//! Source: os-release(5).

use super::parse::{ParseError, lines};

/// The assignments of an os-release file, unquoted, in its order.
pub fn os_release(text: &str) -> Result<Vec<(&str, String)>, ParseError> {
    lines(text)
        .filter(|(_, line)| !line.trim_start().starts_with('#'))
        .map(|(n, line)| {
            let wrong = || ParseError::new(n, "`NAME=value`, quoted as in a shell");
            let (name, value) = line.trim().split_once('=').ok_or_else(wrong)?;
            let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(good) {
                return Err(wrong());
            }
            Ok((name, unquoted(value).ok_or_else(wrong)?))
        })
        .collect()
}

/// The value of a shell word; `None` if a quote is not closed.
fn unquoted(word: &str) -> Option<String> {
    let mut out = String::with_capacity(word.len());
    let mut quote = None;
    let mut letters = word.chars();
    while let Some(c) = letters.next() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(q), c) if c == q => quote = None,
            (None | Some('"'), '\\') => out.push(letters.next()?),
            // What follows the word is a comment.
            (None, ' ' | '\t') => break,
            (_, c) => out.push(c),
        }
    }
    quote.is_none().then_some(out)
}

/// The leading `major.minor` (or `major`) of a version.
pub fn major_minor(version: &str) -> Option<f64> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let major = digits(version);
    if major == 0 {
        return None;
    }
    let minor = version.get(major..)?.strip_prefix('.').map_or(0, |rest| 1 + digits(rest));
    version.get(..major + minor)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_unquoted_as_a_shell_does() {
        let text = "# about\nNAME=\"Debian \\\"GNU\\\"\"\nID=debian\nX='a\\b'\nEMPTY=\nY=a # b\n";
        let all = os_release(text).unwrap();
        let values: Vec<&str> = all.iter().map(|(_, v)| v.as_str()).collect();
        assert_eq!(values, ["Debian \"GNU\"", "debian", "a\\b", "", "a"]);
    }

    #[test]
    fn what_is_no_assignment_is_an_error_with_its_line() {
        for bad in ["NAME", "=x", "A B=c", "A=\"open", "A=\"b\\"] {
            let error = os_release(&format!("ID=x\n{bad}\n")).unwrap_err().to_string();
            assert!(error.starts_with("line 2:"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_version_is_cut_to_two_numbers() {
        for (text, want) in
            [("20.04.2", Some(20.04)), ("12", Some(12.0)), ("12.", Some(12.0)), ("", None), ("rolling", None)]
        {
            assert_eq!(major_minor(text), want, "{text}");
        }
    }
}
