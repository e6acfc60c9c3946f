//! The small words of kernel text: numbers, lines with a name, and an error that says the line.

use std::str::FromStr;

/// A line of a kernel file that is not what its documentation promises.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: expected {want}")]
pub struct ParseError {
    line: usize,
    want: String,
}

impl ParseError {
    /// An error in line `line` (from 1), where `want` was expected.
    pub fn new(line: usize, want: impl Into<String>) -> Self {
        Self { line, want: want.into() }
    }
}

/// The number in `token`, or an error that says what it should have been.
pub fn number<T: FromStr>(token: Option<&str>, line: usize, want: &str) -> Result<T, ParseError> {
    token.and_then(|t| t.parse().ok()).ok_or_else(|| ParseError::new(line, want))
}

/// The lines of `text` as [`str::lines`] has them, which looks for their ends byte by byte: to find lines took a sixth of
/// all instructions of a pass.
pub fn plain_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (line, behind) = split_at_byte(rest, b'\n')
            .map_or((rest, ""), |(line, behind)| (line.strip_suffix('\r').unwrap_or(line), behind));
        rest = behind;
        Some(line)
    })
}

/// What stands before and behind the first `byte` of ASCII, as [`str::split_once`].
pub fn split_at_byte(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = memchr::memchr(byte, text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// The lines of `text` with their numbers from 1, empty ones left out.
pub fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    plain_lines(text)
        .enumerate()
        .map(|(i, line)| (i + 1, line))
        .filter(|(_, line)| line.bytes().any(|byte| !byte.is_ascii_whitespace()))
}

/// `name value` pairs, a line each, as in /proc/vmstat and memory.stat.
pub fn pairs(text: &str) -> Result<Vec<(&str, u64)>, ParseError> {
    pair_lines(text).collect()
}

/// The same, one after the other.
pub fn pair_lines(text: &str) -> impl Iterator<Item = Result<(&str, u64), ParseError>> {
    lines(text).map(|(n, line)| {
        let mut words = line.split_ascii_whitespace();
        let name = words.next().unwrap_or_default();
        Ok((name, number(words.next(), n, "a name and a whole number")?))
    })
}

/// A whole number as drivers write it: decimal, or hexadecimal after `0x`.
pub fn integer(text: &str) -> Option<i128> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let number = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => digits.parse::<u64>(),
    };
    Some(sign * i128::from(number.ok().filter(|_| !digits.starts_with('+'))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lines_and_parts_are_those_of_the_standard_library(text in "([a:é]{0,3}\r?\n?){0,8}") {
            prop_assert!(plain_lines(&text).eq(text.lines()));
            prop_assert_eq!(split_at_byte(&text, b':'), text.split_once(':'));
        }
    }

    #[test]
    fn whole_numbers_may_be_negative_or_hexadecimal() {
        for (text, want) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("0x1003", Some(0x1003)),
            ("18446744073709551615", Some(i128::from(u64::MAX))),
            ("", None),
            ("-", None),
            ("+1", None),
            ("0x", None),
            ("1.5", None),
            ("18446744073709551616", None),
        ] {
            assert_eq!(integer(text), want, "{text}");
        }
    }

    #[test]
    fn pairs_say_where_a_number_is_missing() {
        assert_eq!(pairs("a 1\n\nb 2\n"), Ok(vec![("a", 1), ("b", 2)]));
        assert_eq!(pairs("a 1\nb\n").unwrap_err().to_string(), "line 2: expected a name and a whole number");
        assert!(pairs("a -1").is_err());
    }
}
