//! Mounted bcachefs file systems: the files below /sys/fs/bcachefs/UUID.
//!
//! Source: `fs/bcachefs/sysfs.c`; there is no document.

use super::parse::{ParseError, lines, number};

/// An amount as bcachefs prints it for people: `2.05G` is 2.05 × 2^30, cut to a whole number.
pub fn amount(text: &str) -> Option<f64> {
    let text = text.trim();
    let unit = text.chars().next_back()?.to_ascii_lowercase();
    let power = "kmgtpe".find(unit).and_then(|place| i32::try_from(place + 1).ok());
    let digits = if power.is_some() { text.get(..text.len() - 1)? } else { text };
    let value: f64 = digits.trim().parse().ok()?;
    let whole = (value * 1024_f64.powi(power.unwrap_or(0))).trunc();
    (whole.is_finite() && whole >= 0.0).then_some(whole)
}

/// The amount that is all of a file.
pub fn one_amount(text: &str) -> Result<f64, ParseError> {
    amount(text).ok_or_else(|| ParseError::new(1, AMOUNT))
}

const AMOUNT: &str = "an amount such as 2.05G";

/// `compression_stats`: each algorithm with its bytes, compressed and not.
pub fn compression(text: &str) -> Result<Vec<(&str, f64, f64)>, ParseError> {
    table(text, |n, words| match words {
        [name, compressed, plain, ..] => {
            let bytes = amount(compressed).zip(amount(plain)).ok_or_else(|| ParseError::new(n, AMOUNT))?;
            Ok(Some((name.trim_end_matches(':'), bytes.0, bytes.1)))
        }
        _ => Ok(None),
    })
}

/// `btree_write_stats`: each kind of write with its number and average size in bytes.
pub fn btree_writes(text: &str) -> Result<Vec<(&str, u64, f64)>, ParseError> {
    table(text, |n, words| match words {
        [name, count, size, ..] => {
            let size = amount(size).ok_or_else(|| ParseError::new(n, AMOUNT))?;
            Ok(Some((name.trim_end_matches(':'), number(Some(count), n, "a whole number")?, size)))
        }
        _ => Ok(None),
    })
}

/// The lines below the first, which names the columns.
fn table<'a, T>(
    text: &'a str,
    row: impl Fn(usize, &[&'a str]) -> Result<Option<T>, ParseError>,
) -> Result<Vec<T>, ParseError> {
    let mut out = Vec::new();
    for (n, line) in lines(text).filter(|(n, _)| *n > 1) {
        out.extend(row(n, &line.split_ascii_whitespace().collect::<Vec<_>>())?);
    }
    Ok(out)
}

/// `errors`: how often each error was found.
pub fn errors(text: &str) -> Result<Vec<(&str, u64)>, ParseError> {
    let mut out = Vec::new();
    for (n, line) in lines(text) {
        let mut words = line.split_ascii_whitespace();
        if let (Some(name), Some(count)) = (words.next(), words.next()) {
            out.push((name, number(Some(count), n, "an error and a whole number")?));
        }
    }
    Ok(out)
}

/// The count since the file system was made in a file of `counters`; `None` where only the one since the mount is given.
pub fn counter(text: &str) -> Result<Option<f64>, ParseError> {
    let mut known = false;
    for (n, line) in lines(text) {
        if let Some(count) = line.strip_prefix("since filesystem creation:") {
            return amount(count).map(Some).ok_or_else(|| ParseError::new(n, AMOUNT));
        }
        known |= line.starts_with("since mount:");
    }
    if known { Ok(None) } else { Err(ParseError::new(1, "`since filesystem creation:` and an amount")) }
}

/// `io_done` of a device: operation, kind of data, bytes.
pub fn io_done(text: &str) -> Result<Vec<(&str, &str, u64)>, ParseError> {
    let (mut out, mut operation) = (Vec::new(), None);
    for (n, line) in lines(text) {
        match (line.trim(), operation) {
            ("read:", _) => operation = Some("read"),
            ("write:", _) => operation = Some("write"),
            (line, Some(operation)) => {
                let Some((data, bytes)) = line.split_once(':') else { continue };
                out.push((operation, data.trim(), number(Some(bytes.trim()), n, "bytes")?));
            }
            _ => {}
        }
    }
    Ok(out)
}

/// `io_errors` of a device since the file system was made.
pub fn io_errors(text: &str) -> Result<Vec<(&str, u64)>, ParseError> {
    let (mut out, mut inside) = (Vec::new(), false);
    for (n, line) in lines(text) {
        if line.starts_with("IO errors since filesystem creation") {
            inside = true;
        } else if line.starts_with("IO errors since ") {
            break;
        } else if let (true, Some((kind, count))) = (inside, line.split_once(':')) {
            out.push((kind.trim(), number(Some(count.trim()), n, "a whole number")?));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_powers_of_two_cut_to_whole_numbers() {
        for (text, bytes) in
            [("0", 0.0), (" 697\n", 697.0), ("512k", 524_288.0), ("1.26k", 1290.0), ("2.00M", 2_097_152.0)]
        {
            assert_eq!(amount(text), Some(bytes), "{text}");
        }
        for text in ["", "k", "x", "-1", "nan", "inf", "1.0Gé"] {
            assert_eq!(amount(text), None, "{text}");
        }
    }

    #[test]
    fn tables_have_a_head() {
        assert_eq!(compression("type  a b c\nlz4: 1k 2k 62.5k\n"), Ok(vec![("lz4", 1024.0, 2048.0)]));
        assert_eq!(btree_writes("nr size\ninitial: 7 1k\n"), Ok(vec![("initial", 7, 1024.0)]));
        assert!(compression("head\nlz4 x 1\n").unwrap_err().to_string().starts_with("line 2:"));
        assert!(btree_writes("head\na: x 1\n").is_err());
    }

    #[test]
    fn counts_are_those_since_the_file_system_was_made() {
        assert_eq!(counter("since mount: 1\nsince filesystem creation:  1.00k\n"), Ok(Some(1024.0)));
        assert_eq!(counter("since mount: 1\n"), Ok(None));
        assert!(counter("x\n").is_err() && counter("since filesystem creation: x\n").is_err());
        let text = "IO errors since filesystem creation\n  read:    1\n checksum:5\nIO errors since 8 y ago\n read: 9\n";
        assert_eq!(io_errors(text), Ok(vec![("read", 1), ("checksum", 5)]));
        assert_eq!(errors("bad_csum  2  17\n"), Ok(vec![("bad_csum", 2)]));
        let done = "read:\nsb          :       86016\nwrite:\nuser:3\n";
        assert_eq!(io_done(done), Ok(vec![("read", "sb", 86016), ("write", "user", 3)]));
    }
}
