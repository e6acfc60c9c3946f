//! Names as statsd_exporter makes them: what Prometheus did not always know becomes underscores.

use std::borrow::Cow;

/// The name in letters, digits and underscores; of two dashes that follow each other the second leaves nothing.
pub(super) fn escaped(name: &str) -> Cow<'_, str> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let digit = name.starts_with(|c: char| c.is_ascii_digit());
    if !digit && name.chars().all(is_good) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() + 1);
    if digit {
        out.push('_');
    }
    let mut before = ' ';
    for letter in name.chars() {
        if is_good(letter) {
            out.push(letter);
            before = letter;
        } else if !(letter == '-' && before == '-') {
            out.push('_');
            before = letter;
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_statsd_exporter_s() {
        for (name, want) in [
            ("clean", "clean"),
            ("0starts_with_digit", "_0starts_with_digit"),
            ("with.dot", "with_dot"),
            ("with🐈emoji", "with_emoji"),
            ("with.*.multiple", "with___multiple"),
            ("a--b---c", "a_b_c"),
            ("a-.-b", "a___b"),
            ("", ""),
        ] {
            assert_eq!(escaped(name), want, "{name}");
        }
    }
}
