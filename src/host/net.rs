//! Network devices as /proc/net/dev tells them, and the caches of /proc/net/stat.
//!
//! Sources: `net/core/net-procfs.c`, `net/core/neighbour.c`; there is no document.

use super::parse::{ParseError, lines, number};

/// One device's counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetDevice<'a> {
    /// The name (`eth0`).
    pub name: &'a str,
    /// Received: bytes, packets, errs, drop, fifo, frame, compressed, multicast; sent: bytes, packets, errs,
    /// drop, fifo, colls, carrier, compressed.
    pub counts: [u64; 16],
}

/// The devices of /proc/net/dev, one after the other.
pub fn devices(text: &str) -> impl Iterator<Item = Result<NetDevice<'_>, ParseError>> {
    // The two lines of the head are the only ones with a bar: a device's name may be nearly anything,
    // but a bar in a name would be followed by a colon and numbers.
    lines(text).filter(|&(n, line)| n > 2 || !line.contains('|')).map(|(n, line)| device(line, n))
}

fn device(line: &str, n: usize) -> Result<NetDevice<'_>, ParseError> {
    const WANT: &str = "`name:` and 16 whole numbers";
    // The last colon: names of aliases have one themselves.
    let (name, rest) = line.rsplit_once(':').ok_or_else(|| ParseError::new(n, WANT))?;
    let mut out = NetDevice { name: name.trim(), counts: [0; 16] };
    let mut words = rest.split_ascii_whitespace();
    for slot in &mut out.counts {
        *slot = number(words.next(), n, WANT)?;
    }
    if out.name.is_empty() { Err(ParseError::new(n, WANT)) } else { Ok(out) }
}

/// One column of a file in /proc/net/stat: its name, and the count of each processor.
pub fn cache_columns(text: &str) -> Result<Vec<(&str, Vec<u64>)>, ParseError> {
    const WANT: &str = "a hexadecimal number for each name in the head";
    let mut all = lines(text);
    let Some((_, head)) = all.next() else { return Ok(Vec::new()) };
    let mut out: Vec<(&str, Vec<u64>)> =
        head.split_ascii_whitespace().map(|name| (name, Vec::new())).collect();
    for (n, line) in all {
        let mut words = line.split_ascii_whitespace();
        for (_, counts) in &mut out {
            let count = words.next().and_then(|word| u64::from_str_radix(word, 16).ok());
            counts.push(count.ok_or_else(|| ParseError::new(n, WANT))?);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n";

    #[test]
    fn a_device_has_sixteen_counts() {
        let text = format!("{HEAD}  eth0:0:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n");
        let device = devices(&text).next().unwrap().unwrap();
        assert_eq!((device.name, device.counts[0], device.counts[15]), ("eth0:0", 1, 16));
        assert_eq!(devices(&text).count(), 1);
    }

    #[test]
    fn a_broken_line_is_an_error_with_its_number() {
        for line in ["eth0: 1 2 3", "eth0", ": 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16", "eth0: x"] {
            let text = format!("{HEAD}{line}\n");
            let error = devices(&text).next().unwrap().unwrap_err().to_string();
            assert!(error.starts_with("line 3:"), "{error}");
        }
    }

    #[test]
    fn caches_have_a_column_for_each_name_and_a_line_for_each_processor() {
        let text = "entries  allocs\n00000014  00000001\n00000014  0000000d\n";
        assert_eq!(cache_columns(text), Ok(vec![("entries", vec![20, 20]), ("allocs", vec![1, 13])]));
        assert_eq!(cache_columns(""), Ok(vec![]));
        assert!(cache_columns("a b\n1\n").unwrap_err().to_string().starts_with("line 2:"));
    }
}
