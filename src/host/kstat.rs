//! Counters of ZFS: /proc/spl/kstat/zfs.
//!
//! Source: `module/os/linux/spl/spl-kstat.c` of OpenZFS.

use super::parse::{ParseError, lines, number};

/// One row of a table of named numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row<'a> {
    /// A number: its name and value.
    Number(&'a str, i128),
    /// A text: its name and value.
    Text(&'a str, &'a str),
}

/// The rows of a table that is headed `name type data`, as arcstats and objset-0x36 are.
pub fn rows(text: &str) -> Result<impl Iterator<Item = Result<Row<'_>, ParseError>>, ParseError> {
    let mut lines = lines(text);
    lines
        .find(|(_, line)| line.split_ascii_whitespace().eq(["name", "type", "data"]))
        .ok_or_else(|| ParseError::new(1, "a table with the head `name type data`"))?;
    Ok(lines.filter_map(|(n, line)| row(line, n).transpose()))
}

fn row(line: &str, n: usize) -> Result<Option<Row<'_>>, ParseError> {
    let mut words = line.split_ascii_whitespace();
    let (Some(name), Some(kind), Some(first)) = (words.next(), words.next(), words.next()) else {
        return Err(ParseError::new(n, "`name type data`"));
    };
    Ok(match kind {
        "3" => Some(Row::Number(name, number::<i64>(Some(first), n, "a whole number")?.into())),
        "4" => Some(Row::Number(name, number::<u64>(Some(first), n, "a whole number")?.into())),
        // Names of data sets may hold spaces.
        "7" => rest(line).map(|text| Row::Text(name, text)),
        _ => None,
    })
}

/// What stands behind the first two words.
fn rest(line: &str) -> Option<&str> {
    let (_, rest) = line.trim().split_once([' ', '\t'])?;
    let (_, rest) = rest.trim_start().split_once([' ', '\t'])?;
    Some(rest.trim_start())
}

/// The numbers of a pool's `io`, with their names: a line of names that begins with `nread`, a line of numbers.
pub fn io(text: &str) -> Result<Vec<(&str, u64)>, ParseError> {
    let mut lines = lines(text);
    let Some((_, names)) = lines.find(|(_, line)| line.starts_with("nread")) else {
        return Err(ParseError::new(1, "a line of names that begins with nread"));
    };
    let want = "as many whole numbers as there are names";
    let (n, numbers) = lines.next().ok_or_else(|| ParseError::new(2, want))?;
    let mut numbers = numbers.split_ascii_whitespace();
    let mut pair = |name| Ok((name, number(numbers.next(), n, want)?));
    names.split_ascii_whitespace().map(&mut pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_numbers_and_texts() {
        let text = "23 1 0x01 7 2160 2215 6665\nname                            type data\n\
                    dataset_name                    7    pool 7 a\nwrites   4    18446744073709551615\nneed 3 -5\nx 2 1\n";
        let all: Vec<_> = rows(text).unwrap().map(Result::unwrap).collect();
        let most = i128::from(u64::MAX);
        assert_eq!(
            all,
            [Row::Text("dataset_name", "pool 7 a"), Row::Number("writes", most), Row::Number("need", -5)]
        );
        assert!(rows("1 2 3\n").is_err());
        for broken in ["a 4", "a 4 -1", "a 3 x"] {
            let text = format!("name type data\n{broken}\n");
            let error = rows(&text).unwrap().next().unwrap().unwrap_err().to_string();
            assert!(error.starts_with("line 2:"), "{error}");
        }
    }

    #[test]
    fn the_numbers_of_a_pool_stand_below_their_names() {
        let text = "12 3 0x00 1 80 7 3\nnread    nwritten\n1884160  3206144\n";
        assert_eq!(io(text), Ok(vec![("nread", 1_884_160), ("nwritten", 3_206_144)]));
        for broken in ["", "nread nwritten\n", "nread nwritten\n1\n", "nread\nx\n"] {
            assert!(io(broken).is_err(), "{broken}");
        }
    }
}
