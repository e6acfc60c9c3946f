//! The neighbours of IPv4 as /proc/net/arp tells them.
//!
//! Source: `Documentation/filesystems/proc.rst`, `net/ipv4/arp.c`.

use super::parse::{ParseError, lines};

/// The device behind which each neighbour is, one after the other.
pub fn devices(text: &str) -> impl Iterator<Item = Result<&str, ParseError>> {
    // The head has nine words.
    lines(text).filter(|&(n, line)| n > 1 || line.split_ascii_whitespace().count() != 9).map(|(n, line)| {
        let mut words = line.split_ascii_whitespace();
        let device = words.nth(5).filter(|_| words.next().is_none());
        let flags = line.split_ascii_whitespace().nth(2).and_then(|word| word.strip_prefix("0x"));
        device
            .filter(|_| flags.is_some_and(|flags| u32::from_str_radix(flags, 16).is_ok()))
            .ok_or_else(|| ParseError::new(n, "address, type, flags, address, mask and device"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "IP address       HW type     Flags       HW address            Mask     Device\n";

    #[test]
    fn the_device_of_each_neighbour_is_its_last_word() {
        let text = format!(
            "{HEAD}192.0.2.1 0x1 0x2 02:fc:00:00:00:05 * eth0\n192.0.2.2 0x1 0x0 00:00:00:00:00:00 * br-1\n"
        );
        assert_eq!(devices(&text).collect::<Result<Vec<_>, _>>(), Ok(vec!["eth0", "br-1"]));
        assert_eq!(devices("").count(), 0);
    }

    #[test]
    fn a_broken_line_is_named() {
        for line in ["192.0.2.1 0x1 0x2 02:fc:00:00:00:05 *", "a b c d e f", "a 0x1 0x2 b * c d"] {
            let error = devices(&format!("{HEAD}{line}\n")).next().unwrap().unwrap_err().to_string();
            assert!(error.starts_with("line 2:"), "{error}");
        }
    }
}
