//! Counters of network protocols: /proc/net/netstat and /proc/net/snmp (a line of names, a line of numbers), and
//! /proc/net/snmp6 (a name and a number in each line).
//!
//! Sources: `Documentation/networking/snmp_counter.rst`, `net/ipv4/proc.c`, `net/ipv6/proc.c`.

use super::parse::{ParseError, lines, number};

/// Gives each counter of netstat or snmp to `take`: protocol, name, and the number's text.
pub fn counters(
    text: &str,
    mut take: impl FnMut(&str, &str, &str) -> Result<(), ParseError>,
) -> Result<(), ParseError> {
    const WANT: &str = "a line of names and a line of as many numbers for the same protocol";
    let mut lines = lines(text);
    while let Some((n, names)) = lines.next() {
        let wrong = || ParseError::new(n + 1, WANT);
        let (protocol, names) = names.split_once(':').ok_or_else(wrong)?;
        let (_, numbers) = lines.next().ok_or_else(wrong)?;
        let numbers = numbers.strip_prefix(protocol).and_then(|rest| rest.strip_prefix(':'));
        let mut numbers = numbers.ok_or_else(wrong)?.split_ascii_whitespace();
        for name in names.split_ascii_whitespace() {
            take(protocol, name, numbers.next().ok_or_else(wrong)?)?;
        }
        if numbers.next().is_some() {
            return Err(wrong());
        }
    }
    Ok(())
}

/// The same for snmp6, where the protocol is what stands before and with the first 6: `Ip6InReceives`.
pub fn counters6(
    text: &str,
    mut take: impl FnMut(&str, &str, &str) -> Result<(), ParseError>,
) -> Result<(), ParseError> {
    lines(text).try_for_each(|(n, line)| {
        let mut words = line.split_ascii_whitespace();
        let name = words.next().unwrap_or_default();
        let count = words.next().ok_or_else(|| ParseError::new(n, "a name and a number"))?;
        match name.find('6').and_then(|at| name.split_at_checked(at + 1)) {
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
        let take = |protocol: &str, name: &str, value: &str| {
            found.push(format!("{protocol}.{name}={}", count(value)?));
            Ok(())
        };
        if six {
            counters6(text, take)?;
        } else {
            counters(text, take)?;
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
