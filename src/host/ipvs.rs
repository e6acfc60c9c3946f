//! The kernel's load balancer: /proc/net/ip_vs and ip_vs_stats.
//!
//! Sources: `net/netfilter/ipvs/ip_vs_ctl.c`, ipvsadm(8).

use super::parse::{ParseError, lines, number};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Connections made, packets in and out, bytes in and out (ip_vs_stats).
pub fn totals(text: &str) -> Result<[u64; 5], ParseError> {
    const WANT: &str = "five hexadecimal numbers";
    // Two lines of head, then the totals, then rates.
    let line = text.lines().nth(2).unwrap_or_default();
    let mut words = line.split_ascii_whitespace();
    let mut out = [0; 5];
    for slot in &mut out {
        let number = words.next().and_then(|word| u64::from_str_radix(word, 16).ok());
        *slot = number.ok_or_else(|| ParseError::new(3, WANT))?;
    }
    if words.next().is_some() { Err(ParseError::new(3, WANT)) } else { Ok(out) }
}

/// A server behind a virtual service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend<'a> {
    /// `TCP`, `UDP`, `SCTP`, or `FWM` for packets with a mark of the firewall.
    pub protocol: &'a str,
    /// Where the service is reached; absent for a mark.
    pub local: Option<(IpAddr, u16)>,
    /// The firewall's mark; empty where there is none.
    pub mark: &'a str,
    /// Where the server is.
    pub remote: (IpAddr, u16),
    /// Its share of new connections.
    pub weight: u64,
    /// Connections that are open, and that are being closed.
    pub connections: (u64, u64),
}

/// The servers of ip_vs, in its order.
pub fn backends(text: &str) -> Result<Vec<Backend<'_>>, ParseError> {
    const SERVICE: &str = "`PROTOCOL ADDRESS:PORT …` or `FWM MARK …`";
    const SERVER: &str = "`-> ADDRESS:PORT forward weight active inactive` behind a service";
    let mut out = Vec::new();
    let mut service = None;
    // Three lines of head.
    for (n, line) in lines(text).filter(|(n, _)| *n > 3) {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        let second = words.next();
        if first != "->" {
            let wrong = || ParseError::new(n, SERVICE);
            let second = second.ok_or_else(wrong)?;
            service = Some(match first {
                "FWM" => (first, None, second),
                _ => (first, Some(endpoint(second).ok_or_else(wrong)?), ""),
            });
            continue;
        }
        let wrong = || ParseError::new(n, SERVER);
        let (protocol, local, mark) = service.ok_or_else(wrong)?;
        let remote = second.and_then(endpoint).ok_or_else(wrong)?;
        let mut words = words.skip(1);
        let mut next = || number(words.next(), n, SERVER);
        let (weight, connections) = (next()?, (next()?, next()?));
        out.push(Backend { protocol, local, mark, remote, weight, connections });
    }
    Ok(out)
}

/// `C0A80016:0CEA` or `[fe80:…]:0CEA`.
fn endpoint(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let address = match address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => IpAddr::V6(address.parse::<Ipv6Addr>().ok()?).to_canonical(),
        None => IpAddr::V4(Ipv4Addr::from_bits(u32::from_str_radix(address, 16).ok()?)),
    };
    Some((address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n  \
                        -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n";

    #[test]
    fn servers_belong_to_the_service_above_them() {
        let text = format!(
            "{HEAD}TCP  C0A80016:0CEA wlc\n  -> C0A85216:0CEB      Tunnel  100    248        2\n\
             UDP  [fd00:0000:0000:0000:0000:0000:0000:0001]:0035 rr\n  \
             -> [fd00:0000:0000:0000:0000:0000:0000:0002]:0035 Route 1 0 0\nFWM  10001000 wlc\n  \
             -> C0A8321A:0CEA      Tunnel  20     64         1\n"
        );
        let all = backends(&text).unwrap();
        let [tcp, udp, mark] = &all[..] else { panic!("{all:?}") };
        assert_eq!(tcp.local, Some(("192.168.0.22".parse().unwrap(), 3306)));
        assert_eq!(tcp.remote, ("192.168.82.22".parse().unwrap(), 3307));
        assert_eq!((tcp.protocol, tcp.weight, tcp.connections), ("TCP", 100, (248, 2)));
        assert_eq!(udp.remote, ("fd00::2".parse().unwrap(), 53));
        assert_eq!((mark.local, mark.mark), (None, "10001000"));
        assert_eq!(backends(HEAD), Ok(vec![]));
    }

    #[test]
    fn a_broken_line_is_an_error_with_its_number() {
        for broken in [
            "TCP x wlc",
            "TCP",
            "-> C0A85216:0CEA Tunnel 1 2 3",
            "FWM",
            "TCP C0A80016:0CEA\n-> C0A85216:0CEA T 1 2",
        ] {
            let error = backends(&format!("{HEAD}{broken}\n")).unwrap_err().to_string();
            assert!(error.starts_with("line 4:") || error.starts_with("line 5:"), "{error}");
        }
    }

    #[test]
    fn totals_are_hexadecimal() {
        let text = "  Total Incoming Outgoing  Incoming Outgoing\n  Conns Packets\n 16AA370 E33656E5 0 51D8C8883AB3 0\n\n";
        assert_eq!(totals(text), Ok([23_765_872, 3_811_989_221, 0, 89_991_519_156_915, 0]));
        for broken in ["", "a\nb\n", "a\nb\n1 2 3 4\n", "a\nb\n1 2 3 4 5 6\n", "a\nb\n1 2 3 4 x\n"] {
            assert!(totals(broken).is_err(), "{broken}");
        }
    }
}
