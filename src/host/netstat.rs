//! Counters of network protocols: /proc/net/netstat and /proc/net/snmp (a line of names, a line of numbers), and
//! /proc/net/snmp6 (a name and a number in each line).
//!
//! Sources: `Documentation/networking/snmp_counter.rst`, `net/ipv4/proc.c`, `net/ipv6/proc.c`.

use super::parse::{ParseError, lines, number, split_at_byte};

const WANT: &str = "a line of names and a line of as many numbers for the same protocol";

/// A line of names of netstat or snmp and the line of numbers below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    /// The line of names, `Protocol: name name …`: the same in each reading as long as the kernel runs.
    pub line: &'a str,
    protocol: &'a str,
    numbers: &'a str,
    number: usize,
}

/// The pairs of lines of netstat or snmp, one after the other.
pub fn pairs(text: &str) -> impl Iterator<Item = Result<Pair<'_>, ParseError>> {
    let mut lines = lines(text);
    std::iter::from_fn(move || {
        let (number, line) = lines.next()?;
        let numbers = lines.next();
        let pair = || {
            let (protocol, _) = split_at_byte(line, b':')?;
            let numbers = numbers?.1.strip_prefix(protocol)?.strip_prefix(':')?;
            Some(Pair { line, protocol, numbers, number: number + 1 })
        };
        Some(pair().ok_or_else(|| ParseError::new(number + 1, WANT)))
    })
}

impl<'a> Pair<'a> {
    /// The protocol and the name of each number.
    pub fn names(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let (protocol, names) = (self.protocol, self.line.get(self.protocol.len() + 1..).unwrap_or_default());
        names.split_ascii_whitespace().map(move |name| (protocol, name))
    }

    /// Gives the texts of the numbers to `take`, with their places; an error if there are more or fewer than `names`.
    pub fn numbers(
        &self,
        names: usize,
        mut take: impl FnMut(usize, &'a str) -> Result<(), ParseError>,
    ) -> Result<(), ParseError> {
        let mut count = 0;
        for number in self.numbers.split_ascii_whitespace() {
            take(count, number)?;
            count += 1;
        }
        if count == names { Ok(()) } else { Err(ParseError::new(self.number, WANT)) }
    }
}

/// Gives each counter of snmp6 to `take`: protocol, name, and the number's text. The protocol is what stands before and
/// with the first 6: `Ip6InReceives`.
pub fn counters6(
    text: &str,
    mut take: impl FnMut(&str, &str, &str) -> Result<(), ParseError>,
) -> Result<(), ParseError> {
    lines(text).try_for_each(|(n, line)| {
        let mut words = line.split_ascii_whitespace();
        let name = words.next().unwrap_or_default();
        let count = words.next().ok_or_else(|| ParseError::new(n, "a name and a number"))?;
        let six = name.bytes().position(|byte| byte == b'6');
        match six.and_then(|at| name.split_at_checked(at + 1)) {
            Some((protocol, name)) => take(protocol, name, count),
            None => Ok(()),
        }
    })
}

/// A counter's number; some, such as `Tcp MaxConn`, may be below zero.
pub fn count(text: &str) -> Result<i128, ParseError> {
    // Nearly all have 64 bits, which are read in a third of the time.
    text.parse::<u64>().map_or_else(|_| number(Some(text), 1, "a whole number"), |count| Ok(count.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, six: bool) -> Result<String, ParseError> {
        let mut found = Vec::new();
        let mut take = |protocol: &str, name: &str, value: &str| {
            found.push(format!("{protocol}.{name}={}", count(value)?));
            Ok(())
        };
        if six {
            counters6(text, take)?;
        } else {
            for pair in pairs(text) {
                let pair = pair?;
                let names: Vec<_> = pair.names().collect();
                pair.numbers(names.len(), |place, value| {
                    names.get(place).map_or(Ok(()), |(protocol, name)| take(protocol, name, value))
                })?;
            }
        }
        Ok(found.join(" "))
    }

    #[test]
    fn names_and_numbers_stand_in_two_lines() {
        let text = "Tcp: MaxConn InSegs\nTcp: -1 7\nUdp: NoPorts\nUdp: 2\n";
        assert_eq!(all(text, false).unwrap(), "Tcp.MaxConn=-1 Tcp.InSegs=7 Udp.NoPorts=2");
        for broken in
            ["Tcp: A B\n", "Tcp: A B\nTcp: 1\n", "Tcp: A\nTcp: 1 2\n", "Tcp: A\nUdp: 1\n", "Tcp\nTcp\n"]
        {
            let error = all(broken, false).unwrap_err().to_string();
            assert!(error.starts_with("line 2:"), "{broken}: {error}");
        }
        assert!(all("Tcp: A\nTcp: x\n", false).is_err());
    }

    #[test]
    fn the_protocols_of_snmp6_end_in_a_six() {
        let text = "Ip6InReceives  \t7\nIcmp6OutType133\t3\nNothing 5\n";
        assert_eq!(all(text, true).unwrap(), "Ip6.InReceives=7 Icmp6.OutType133=3");
        assert!(all("Ip6InReceives\n", true).is_err());
    }
}
