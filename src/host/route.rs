//! Network devices, routes and queues as the kernel tells them by rtnetlink.
//!
//! Sources: rtnetlink(7), `include/uapi/linux/rtnetlink.h`, `include/uapi/linux/gen_stats.h`.

use super::netlink::{Netlink, Question, attribute, attributes, encode, text, u8_at, u16_at, u32_at, u64_at};
use crate::sys;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

const GET_LINK: u16 = 18;
const GET_ROUTE: u16 = 26;
const GET_QUEUE: u16 = 38;

/// A way that packets may take.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The name of the device; empty if it has none.
    pub device: String,
    /// The address that packets are sent from; empty if none is preferred.
    pub source: String,
    /// Where it leads: `default`, or a network.
    pub destination: String,
    /// The next router's address; empty if there is none.
    pub gateway: String,
    /// The metric; less is preferred.
    pub priority: u32,
    /// Who made it (`rtm_protocol`).
    pub protocol: u8,
    /// Its share, where several ways lead to one network.
    pub weight: Option<u16>,
}

/// A queue of packets that are to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Queue {
    /// The name of the device.
    #[serde(rename = "IfaceName")]
    pub device: String,
    /// The kind (`fq_codel`).
    pub kind: String,
    /// The queue above it; 0 if it is the device's own.
    pub parent: u32,
    /// Bytes sent.
    pub bytes: u64,
    /// Packets sent.
    pub packets: u32,
    /// Packets dropped.
    pub drops: u32,
    /// Packets taken back.
    pub requeues: u32,
    /// Times over the limit.
    pub overlimits: u32,
    /// Packets waiting.
    pub qlen: u32,
    /// Bytes waiting.
    pub backlog: u32,
}

/// All unicast routes.
pub fn routes() -> io::Result<Vec<Route>> {
    let mut netlink = Netlink::open(sys::Netlink::Route)?;
    let names = links(&mut netlink)?;
    let mut out = Vec::new();
    netlink.ask(Question::All, GET_ROUTE, &[0; 12], |message| {
        out.extend(route(message, &names).unwrap_or_default());
    })?;
    Ok(out)
}

/// All queues.
pub fn queues() -> io::Result<Vec<Queue>> {
    let mut netlink = Netlink::open(sys::Netlink::Route)?;
    let names = links(&mut netlink)?;
    let mut out = Vec::new();
    netlink.ask(Question::All, GET_QUEUE, &[0; 20], |message| out.extend(queue(message, &names)))?;
    Ok(out)
}

/// The names of devices by their numbers.
fn links(netlink: &mut Netlink) -> io::Result<BTreeMap<u32, String>> {
    const IFLA_EXT_MASK: u16 = 29;
    const SKIP_STATISTICS: u32 = 1 << 3;
    let request = [vec![0; 16], encode(IFLA_EXT_MASK, &SKIP_STATISTICS.to_ne_bytes())].concat();
    let mut out = BTreeMap::new();
    netlink.ask(Question::All, GET_LINK, &request, |message| out.extend(link(message)))?;
    Ok(out)
}

pub(crate) fn link(message: &[u8]) -> Option<(u32, String)> {
    const IFLA_IFNAME: u16 = 3;
    Some((u32_at(message, 4)?, text(attribute(message.get(16..)?, IFLA_IFNAME)?)))
}

/// The ways of one route; none if it is not for packets to one machine.
pub(crate) fn route(message: &[u8], names: &BTreeMap<u32, String>) -> Option<Vec<Route>> {
    const UNICAST: u8 = 1;
    const DST: u16 = 1;
    const OIF: u16 = 4;
    const GATEWAY: u16 = 5;
    const PRIORITY: u16 = 6;
    const PREFSRC: u16 = 7;
    const MULTIPATH: u16 = 9;
    if u8_at(message, 7)? != UNICAST {
        return None;
    }
    let inside = message.get(12..)?;
    let number = |which| attribute(inside, which).and_then(|content| u32_at(content, 0));
    let name = |index: Option<u32>| index.and_then(|index| names.get(&index)).cloned().unwrap_or_default();
    let ip = |bytes, which| attribute(bytes, which).and_then(address).unwrap_or_default();
    let prefix = u8_at(message, 1)?;
    let to_network = || Some(format!("{}/{prefix}", attribute(inside, DST).and_then(address)?));
    let whole = Route {
        device: name(number(OIF)),
        source: ip(inside, PREFSRC),
        destination: if prefix == 0 { "default".into() } else { to_network()? },
        gateway: ip(inside, GATEWAY),
        priority: number(PRIORITY).unwrap_or_default(),
        protocol: u8_at(message, 5)?,
        weight: None,
    };
    let Some(mut hops) = attribute(inside, MULTIPATH).filter(|hops| !hops.is_empty()) else {
        return Some(vec![whole]);
    };
    let mut out = Vec::new();
    while let Some(length) = u16_at(hops, 0).map(usize::from).filter(|length| *length >= 8) {
        let Some(hop) = hops.get(..length) else { break };
        out.push(Route {
            device: name(u32_at(hop, 4)),
            gateway: hop.get(8..).map_or_else(String::new, |inside| ip(inside, GATEWAY)),
            weight: u8_at(hop, 3).map(|hops| u16::from(hops) + 1),
            ..whole.clone()
        });
        hops = hops.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(out)
}

/// An address as text; IPv4 inside IPv6 as IPv4, as node_exporter's language writes it.
pub(crate) fn address(content: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(content) {
        return Some(Ipv4Addr::from(four).to_string());
    }
    let six = Ipv6Addr::from(<[u8; 16]>::try_from(content).ok()?);
    Some(six.to_ipv4_mapped().map_or_else(|| six.to_string(), |four| four.to_string()))
}

pub(crate) fn queue(message: &[u8], names: &BTreeMap<u32, String>) -> Option<Queue> {
    const KIND: u16 = 1;
    const STATS2: u16 = 7;
    const BASIC: u16 = 1;
    const QUEUE: u16 = 3;
    const ROOT: u32 = u32::MAX;
    let inside = message.get(20..)?;
    let parent = u32_at(message, 12)?;
    let mut out = Queue {
        device: names.get(&u32_at(message, 4)?).cloned().unwrap_or_default(),
        kind: text(attribute(inside, KIND)?),
        parent: if parent == ROOT { 0 } else { parent },
        ..Queue::default()
    };
    for (number, content) in attributes(attribute(inside, STATS2)?) {
        match number {
            BASIC => {
                out.bytes = u64_at(content, 0)?;
                out.packets = u32_at(content, 8)?;
            }
            QUEUE => {
                let slots =
                    [&mut out.qlen, &mut out.backlog, &mut out.drops, &mut out.requeues, &mut out.overlimits];
                for (i, slot) in slots.into_iter().enumerate() {
                    *slot = u32_at(content, i * 4)?;
                }
            }
            _ => {}
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> BTreeMap<u32, String> {
        [(2, "eth0".to_owned()), (3, "eth1".to_owned())].into()
    }

    #[test]
    fn a_route_has_its_device_and_its_router() {
        let head = [2, 24, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
        let inside = [
            encode(1, &[10, 0, 0, 0]),
            encode(4, &2_u32.to_ne_bytes()),
            encode(5, &[10, 0, 0, 1]),
            encode(6, &100_u32.to_ne_bytes()),
            encode(7, &[10, 0, 0, 9]),
        ];
        let bytes = [head.to_vec(), inside.concat()].concat();
        let expected = Route {
            device: "eth0".into(),
            source: "10.0.0.9".into(),
            destination: "10.0.0.0/24".into(),
            gateway: "10.0.0.1".into(),
            priority: 100,
            protocol: 3,
            weight: None,
        };
        assert_eq!(route(&bytes, &names()), Some(vec![expected]));
        let mut local = bytes.clone();
        local[7] = 2;
        assert_eq!(route(&local, &names()), None);
        for cut in 0..bytes.len() {
            _ = route(&bytes[..cut], &names());
        }
    }

    #[test]
    fn several_ways_to_one_network_have_weights() {
        let hop = |index: u32, weight: u8| {
            let gateway = encode(5, &[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            let head = [vec![28, 0, 0, weight - 1], index.to_ne_bytes().to_vec()].concat();
            [head, gateway].concat()
        };
        let ways = encode(9, &[hop(2, 1), hop(3, 5)].concat());
        let all = route(&[vec![10, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0], ways].concat(), &names()).unwrap();
        assert_eq!((all[0].device.as_str(), all[1].device.as_str()), ("eth0", "eth1"));
        assert_eq!((all[0].weight, all[1].weight), (Some(1), Some(5)));
        assert_eq!((all[1].gateway.as_str(), all[1].destination.as_str()), ("fe80::1", "default"));
    }

    #[test]
    fn a_queue_has_its_counts() {
        let u32s = |all: &[u32]| all.iter().flat_map(|n| n.to_ne_bytes()).collect::<Vec<u8>>();
        let basic = encode(1, &[7_u64.to_ne_bytes().to_vec(), u32s(&[8, 0])].concat());
        let counts = encode(7, &[basic, encode(3, &u32s(&[1, 2, 3, 4, 5]))].concat());
        let bytes = [u32s(&[0, 2, 9, u32::MAX, 0]), encode(1, b"fq\0"), counts].concat();
        let queue = queue(&bytes, &names()).unwrap();
        assert_eq!((queue.device.as_str(), queue.kind.as_str(), queue.parent), ("eth0", "fq", 0));
        assert_eq!((queue.bytes, queue.packets, queue.qlen, queue.backlog), (7, 8, 1, 2));
        assert_eq!((queue.drops, queue.requeues, queue.overlimits), (3, 4, 5));
    }

    #[test]
    fn this_machine_has_routes_and_queues_or_says_why_not() {
        assert!(routes().is_ok() && queues().is_ok());
    }
}
