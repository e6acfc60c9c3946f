//! Sockets and packets that wait for processors: /proc/net/sockstat, softnet_stat and udp.
//!
//! Sources: `net/ipv4/proc.c`, `net/core/net-procfs.c`, `Documentation/networking/proc_net_tcp.rst`.

use super::parse::{ParseError, lines, number, split_at_byte};

/// Gives each number of sockstat or sockstat6 to `take`: protocol, name, number.
pub fn sockets(
    text: &str,
    mut take: impl FnMut(&str, &str, u64) -> Result<(), ParseError>,
) -> Result<(), ParseError> {
    const WANT: &str = "`PROTOCOL: name number …`";
    lines(text).try_for_each(|(n, line)| {
        let (protocol, rest) = split_at_byte(line, b':').ok_or_else(|| ParseError::new(n, WANT))?;
        let mut words = rest.split_ascii_whitespace();
        while let Some(name) = words.next() {
            take(protocol, name, number(words.next(), n, WANT)?)?;
        }
        Ok(())
    })
}

/// The size of a page of memory, in bytes: sockstat counts the memory of sockets in pages.
pub fn page_bytes() -> u64 {
    u64::try_from(rustix::param::page_size()).unwrap_or(4096)
}

/// What one processor did with packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Softnet {
    /// The processor's number.
    pub cpu: u32,
    /// Packets processed, packets dropped, times squeezed, collisions, wake-ups by receive packet steering, limited
    /// flows, packets in the backlog; what this kernel does not tell is absent.
    pub counts: [Option<u32>; 7],
}

/// The processors of softnet_stat, one after the other.
pub fn softnet(text: &str) -> impl Iterator<Item = Result<Softnet, ParseError>> {
    // All lines have as many numbers as the first, and all numbers eight digits: so a cut text is known.
    let width = text.lines().next().map_or(0, |line| line.split_ascii_whitespace().count());
    (0..).zip(lines(text)).map(move |(cpu, (n, line))| {
        const WANT: &str = "as many hexadecimal numbers of eight digits as in the first line, at least nine";
        let wrong = || ParseError::new(n, WANT);
        let mut words = [None; 13];
        let mut count = 0;
        for word in line.split_ascii_whitespace() {
            let number = u32::from_str_radix(word, 16).ok().filter(|_| word.len() == 8).ok_or_else(wrong)?;
            if let Some(slot) = words.get_mut(count) {
                *slot = Some(number);
            }
            count += 1;
        }
        // Columns 3 to 7 were counters once and are always 0.
        let [processed, dropped, squeezed, _, _, _, _, _, collisions, steered, limited, backlog, number] =
            words;
        if collisions.is_none() || count != width {
            return Err(wrong());
        }
        // Since 5.10 the kernel tells the processor's number, and the backlog in the column before. For older ones
        // node_exporter says 0, and so it stays here: its users know the series as always there.
        let backlog = backlog.filter(|_| number.is_some()).or(Some(0));
        let counts = [processed, dropped, squeezed, collisions, steered, limited, backlog];
        Ok(Softnet { cpu: number.unwrap_or(cpu), counts })
    })
}

/// The bytes that wait in all sockets of /proc/net/udp or udp6: to be sent, to be received.
pub fn queues(text: &str) -> Result<(u64, u64), ParseError> {
    const WANT: &str = "a socket with `tx_queue:rx_queue` in the fifth column";
    let mut sums = (0_u64, 0_u64);
    let mut lines = lines(text);
    lines.next().ok_or_else(|| ParseError::new(1, "the heads of the columns"))?;
    for (n, line) in lines {
        let queues = line.split_ascii_whitespace().nth(4).and_then(|word| word.split_once(':'));
        let bytes = |text| u64::from_str_radix(text, 16).ok();
        let both = queues.and_then(|(sent, received)| Some((bytes(sent)?, bytes(received)?)));
        let (sent, received) = both.ok_or_else(|| ParseError::new(n, WANT))?;
        sums = (sums.0.saturating_add(sent), sums.1.saturating_add(received));
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_sockstat_has_names_and_numbers() {
        let mut found = Vec::new();
        let mut take = |protocol: &str, name: &str, number: u64| {
            found.push(format!("{protocol}.{name}={number}"));
            Ok(())
        };
        sockets("sockets: used 229\nTCP: inuse 4 mem 1\nRAW:\n", &mut take).unwrap();
        for broken in ["TCP inuse 4\n", "TCP: inuse\n", "TCP: inuse x\n"] {
            assert!(sockets(broken, &mut take).is_err(), "{broken}");
        }
        assert_eq!(found.join(" "), "sockets.used=229 TCP.inuse=4 TCP.mem=1");
    }

    #[test]
    fn processors_of_old_kernels_are_numbered_by_their_lines() {
        let line =
            |numbers: &[u32]| numbers.iter().map(|n| format!("{n:08x}")).collect::<Vec<_>>().join(" ") + "\n";
        let all = |text: &str| softnet(text).collect::<Result<Vec<_>, _>>();
        let old = line(&[10, 1, 2, 0, 0, 0, 0, 0, 3]);
        let read = all(&(old.clone() + &old)).unwrap();
        assert_eq!(read.iter().map(|s| s.cpu).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(read[0].counts, [Some(10), Some(1), Some(2), Some(3), None, None, Some(0)]);
        let new = line(&[10, 1, 2, 0, 0, 0, 0, 0, 3, 4, 5, 6, 7, 0, 0]);
        let read = all(new.trim_end()).unwrap();
        assert_eq!((read[0].cpu, &read[0].counts[3..]), (7, &[Some(3), Some(4), Some(5), Some(6)][..]));
        for cut in 0..new.len() - 1 {
            assert!(all(&(new.clone() + &new[..cut])).is_err() || cut == 0, "{cut}");
        }
        assert!(all(&line(&[1, 2, 3])).is_err() && all(&old.replace('a', "x")).is_err());
    }

    #[test]
    fn the_queues_of_all_sockets_are_summed() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue\n";
        let socket = "   0: 00000000:0016 00000000:0000 0A 00000015:0000000A 00:00000000 00000000 0 0 2740\n";
        assert_eq!(queues(&format!("{head}{socket}{socket}")), Ok((42, 20)));
        assert_eq!(queues(head), Ok((0, 0)));
        assert!(queues("").is_err());
        for broken in ["   0: 0:0 0:0 0A 15\n", "   0: 0:0 0:0 0A x:0\n", "0\n"] {
            assert!(queues(&format!("{head}{broken}")).is_err(), "{broken}");
        }
    }
}
