//! TCP connections as the kernel tells them by sock_diag.
//!
//! Sources: sock_diag(7), `include/uapi/linux/inet_diag.h`.

use super::netlink::{Netlink, Question, u8_at, u32_at};
use crate::sys;
use std::collections::BTreeMap;
use std::io;

/// How many connections are in each state, and what waits in their queues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Connections by the number of their state (`TCP_ESTABLISHED` is 1).
    pub states: BTreeMap<u8, u64>,
    /// Bytes received that nobody has read; of a listening socket, the connections that nobody has accepted.
    pub received_bytes: u64,
    /// Bytes that the other side has not acknowledged; of a listening socket, the length of its queue.
    pub sent_bytes: u64,
}

/// The connections of one machine, over IPv4 and, if `six`, over IPv6.
pub fn connections(six: bool) -> io::Result<Connections> {
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const IPPROTO_TCP: u8 = 6;
    const IPV4: u8 = 2;
    const IPV6: u8 = 10;
    const ALL_STATES: u32 = 0xfff;
    let mut netlink = Netlink::open(sys::Netlink::SockDiag)?;
    let mut out = Connections::default();
    for family in [IPV4, IPV6].into_iter().take(1 + usize::from(six)) {
        let mut request = vec![family, IPPROTO_TCP, 0, 0];
        request.extend(ALL_STATES.to_ne_bytes());
        // No address, no port: all of them.
        request.resize(56, 0);
        netlink.ask(Question::All, SOCK_DIAG_BY_FAMILY, &request, |message| out.add(message))?;
    }
    Ok(out)
}

impl Connections {
    pub(crate) fn add(&mut self, message: &[u8]) {
        let fields = (u8_at(message, 1), u32_at(message, 56), u32_at(message, 60));
        let (Some(state), Some(received), Some(sent)) = fields else { return };
        *self.states.entry(state).or_default() += 1;
        self.received_bytes += u64::from(received);
        self.sent_bytes += u64::from(sent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_state() {
        let mut message = vec![0; 72];
        message[1] = 10;
        message[56..64].copy_from_slice(&[3_u32.to_ne_bytes(), 4_u32.to_ne_bytes()].concat());
        let mut out = Connections::default();
        out.add(&message);
        out.add(&message);
        out.add(&message[..60]);
        assert_eq!(out, Connections { states: [(10, 2)].into(), received_bytes: 6, sent_bytes: 8 });
    }

    #[test]
    fn a_listening_socket_is_seen() {
        let _listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(connections(false).unwrap().states[&10] > 0);
    }
}
