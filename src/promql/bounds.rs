//! What is looked at before an expression is read: the tree of a hostile one would be too deep for any stack.

use super::error::Error;

/// Longer texts are no expressions of people.
const BYTES_MAX: usize = 64 << 10;
/// Open parentheses, brackets and braces at once.
const DEPTH_MAX: usize = 64;
/// Operators and signs: a chain of them is as deep a tree.
const OPERATORS_MAX: usize = 500;
/// Digits of a number in a duration.
const DIGITS_MAX: usize = 10;

/// Refuses what is too long or too deep, and durations that are none.
pub(super) fn check(text: &str) -> Result<(), Error> {
    if text.len() > BYTES_MAX {
        return Err(Error::TooMuch(format!("{BYTES_MAX} bytes of an expression")));
    }
    let (mut depth, mut operators) = (0_usize, 0_usize);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let mut taken = first.len_utf8();
        match first {
            '"' | '\'' | '`' => taken = quoted(rest, first),
            '#' => taken = rest.find('\n').unwrap_or(rest.len()),
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth = depth.saturating_sub(1),
            '+' | '-' | '*' | '/' | '%' | '^' | '=' | '<' | '>' | '!' => operators += 1,
            _ if first.is_ascii_alphabetic() || first == '_' => {
                taken = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                let word = rest.get(..taken).unwrap_or_default();
                operators += usize::from(
                    ["and", "or", "unless", "atan2"].iter().any(|o| word.eq_ignore_ascii_case(o)),
                );
                if word.eq_ignore_ascii_case("offset") {
                    duration(rest.get(taken..).unwrap_or_default())?;
                }
            }
            _ => {}
        }
        if first == '[' {
            let inside = rest.get(1..).unwrap_or_default();
            let inside = inside.split(']').next().unwrap_or_default();
            inside.split(':').try_for_each(duration)?;
        }
        if depth > DEPTH_MAX {
            return Err(Error::TooMuch(format!("{DEPTH_MAX} levels of parentheses")));
        }
        if operators > OPERATORS_MAX {
            return Err(Error::TooMuch(format!("{OPERATORS_MAX} operators")));
        }
        rest = rest.get(taken..).unwrap_or_default();
    }
    Ok(())
}

/// The length of a quoted text with its quotes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if letter == '\\' && quote != '`' {
            escaped = true;
        } else if letter == quote {
            return at + letter.len_utf8();
        }
    }
    text.len()
}

/// Refuses a duration in front that is a number without a unit, which Prometheus 2 refuses too, or one that no clock has.
fn duration(text: &str) -> Result<(), Error> {
    let text = text.trim_start().trim_start_matches('-').trim_start();
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Ok(());
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(text.len());
    let text = text.get(..end).unwrap_or_default();
    let units = text.split(|c: char| c.is_ascii_digit()).filter(|unit| !unit.is_empty());
    let numbers = text.split(|c: char| !c.is_ascii_digit());
    let good = text.ends_with(|c: char| c.is_ascii_alphabetic())
        && units.into_iter().all(|unit| ["ms", "s", "m", "h", "d", "w", "y"].contains(&unit))
        && numbers.into_iter().all(|number| number.len() <= DIGITS_MAX);
    if good { Ok(()) } else { Err(Error::Syntax(format!("not a valid duration: {text:?}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_stack_holds_is_refused_before_it_is_read() {
        let good = |text: &str| check(text).is_ok();
        assert!(good("sum by (a) (rate(up{b=\"(((((\"}[5m:30s] offset -1h30m)) > 1 # ((((\n and x"));
        assert!(good(&format!("up{{a=~\"{}\"}}", "((((".repeat(100))));
        assert!(!good(&format!("{}1{}", "(".repeat(1500), ")".repeat(1500))));
        assert!(!good(&format!("{}1", "-".repeat(1500))));
        assert!(!good(&format!("1{}", "+1".repeat(1500))));
        assert!(!good(&format!("a{}", " or a".repeat(1500))));
        assert!(!good(&"a".repeat(BYTES_MAX + 1)));
        for text in [
            "up[1e30]",
            "up[1e300]",
            "up offset 1e30",
            "up offset - 5",
            "up[5]",
            "up[99999999999y]",
            "up[5m:1e9]",
        ] {
            assert!(!good(text), "{text}");
            assert!(super::super::Query::parse(text).is_err(), "{text}");
        }
    }
}
