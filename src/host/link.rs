//! Network devices with their counts, and their addresses, as the kernel tells them by rtnetlink.
//!
//! Sources: rtnetlink(7), `include/uapi/linux/if_link.h`, `include/uapi/linux/if_addr.h`.

use super::generic::Generic;
use super::netlink::{Netlink, Question, attribute, attributes, encode, text, u8_at, u16_at, u32_at, u64_at};
use crate::sys;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const GET_LINK: u16 = 18;
const GET_ADDRESS: u16 = 22;
/// The counts of `struct rtnl_link_stats64` that all of its versions have.
pub const COUNTS: usize = 23;

/// A network device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// The name (`eth0`).
    pub name: String,
    /// The kind of its addresses (`ARPHRD_*`).
    pub protocol: u16,
    /// Its flags (`IFF_*`).
    pub flags: u32,
    /// Its own address, as pairs of hexadecimal digits; empty if it has none.
    pub address: String,
    /// The address of all, in the same way.
    pub broadcast: String,
    /// The largest packet in bytes.
    pub mtu: Option<u32>,
    /// The device below it; `None` if that is itself.
    pub below: Option<u32>,
    /// Its state (`IF_OPER_*`).
    pub state: u8,
    /// Whether the link waits for something above it (`IF_LINK_MODE_*`).
    pub mode: Option<u8>,
    /// Whether there is a carrier.
    pub carrier: Option<u8>,
    /// How often the carrier changed; how often it came; how often it went.
    pub carrier_changes: [Option<u32>; 3],
    /// The longest queue in packets.
    pub queue_length: Option<u32>,
    /// The group that it is in.
    pub group: Option<u32>,
    /// What the administrator calls it.
    pub alias: String,
    /// Its other names.
    pub other_names: Vec<String>,
    /// Its counts in the order of `struct rtnl_link_stats64`; `None` if it has none.
    pub counts: Option<[u64; COUNTS]>,
    /// Packets for a protocol that nobody takes: the count behind them, since Linux 4.6.
    pub no_handler: Option<u64>,
}

/// An address of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The number of the device.
    pub device: u32,
    /// The address.
    pub address: IpAddr,
    /// How many of its bits are those of the network.
    pub prefix: u8,
}

/// How a device's cable works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cable {
    /// The number of the device.
    pub device: u32,
    /// Millions of bits a second; `None` while that is unknown.
    pub speed_megabits: Option<u32>,
    /// Whether both sides send at the same time (`DUPLEX_*`).
    pub duplex: Option<u8>,
}

/// The cables of all devices whose drivers tell; none where the kernel cannot be asked (before Linux 5.6).
pub fn cables() -> io::Result<Vec<Cable>> {
    const GET_LINK_MODES: u8 = 4;
    const HEADER: u16 = 1;
    /// There are attributes inside.
    const NESTED: u16 = 0x8000;
    let mut out = Vec::new();
    if let Some(mut kernel) = Generic::open("ethtool")? {
        kernel.all(GET_LINK_MODES, &encode(HEADER | NESTED, &[]), |inside| out.extend(cable(inside)))?;
    }
    Ok(out)
}

pub(crate) fn cable(inside: &[u8]) -> Option<Cable> {
    const HEADER: u16 = 1;
    const DEVICE: u16 = 1;
    const SPEED: u16 = 5;
    const DUPLEX: u16 = 6;
    const UNKNOWN: u32 = u32::MAX;
    let speed = attribute(inside, SPEED).and_then(|content| u32_at(content, 0));
    Some(Cable {
        device: u32_at(attribute(attribute(inside, HEADER)?, DEVICE)?, 0)?,
        speed_megabits: speed.filter(|speed| *speed != UNKNOWN),
        duplex: attribute(inside, DUPLEX).and_then(|content| u8_at(content, 0)),
    })
}

/// All devices, in the order of their numbers.
pub fn links() -> io::Result<Vec<Link>> {
    let mut out = Vec::new();
    Netlink::open(sys::Netlink::Route)?
        .ask(Question::All, GET_LINK, &[0; 16], |message| out.extend(link(message)))?;
    Ok(out)
}

/// All addresses of all devices.
pub fn addresses() -> io::Result<Vec<Address>> {
    let mut out = Vec::new();
    Netlink::open(sys::Netlink::Route)?
        .ask(Question::All, GET_ADDRESS, &[0; 8], |message| out.extend(address(message)))?;
    Ok(out)
}

pub(crate) fn link(message: &[u8]) -> Option<Link> {
    const OTHER_NAMES: u16 = 52;
    const OTHER_NAME: u16 = 53;
    let inside = message.get(16..)?;
    let mut out = Link {
        protocol: u16_at(message, 2)?,
        index: u32_at(message, 4)?,
        flags: u32_at(message, 8)?,
        ..Link::default()
    };
    for (number, content) in attributes(inside) {
        let whole = || u32_at(content, 0);
        match number {
            1 => out.address = hexadecimal(content),
            2 => out.broadcast = hexadecimal(content),
            3 => out.name = text(content),
            4 => out.mtu = whole(),
            5 => out.below = whole(),
            13 => out.queue_length = whole(),
            16 => out.state = u8_at(content, 0)?,
            17 => out.mode = u8_at(content, 0),
            20 => out.alias = text(content),
            23 => {
                out.counts = counts(content);
                out.no_handler = u64_at(content, COUNTS * 8);
            }
            27 => out.group = whole(),
            33 => out.carrier = u8_at(content, 0),
            35 => out.carrier_changes[0] = whole(),
            47 => out.carrier_changes[1] = whole(),
            48 => out.carrier_changes[2] = whole(),
            OTHER_NAMES => {
                let names = attributes(content).filter(|(number, _)| *number == OTHER_NAME);
                out.other_names = names.map(|(_, name)| text(name)).filter(|name| !name.is_empty()).collect();
            }
            _ => {}
        }
    }
    (!out.name.is_empty()).then_some(out)
}

pub(crate) fn counts(content: &[u8]) -> Option<[u64; COUNTS]> {
    let mut out = [0; COUNTS];
    for (i, slot) in out.iter_mut().enumerate() {
        *slot = u64_at(content, i * 8)?;
    }
    Some(out)
}

/// An address of hardware: `00:16:3e:00:00:01`.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

pub(crate) fn address(message: &[u8]) -> Option<Address> {
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    let inside = message.get(8..)?;
    // Between two points `ADDRESS` is the other one's.
    let own = attribute(inside, LOCAL).or_else(|| attribute(inside, ADDRESS))?;
    let address = match <[u8; 4]>::try_from(own) {
        Ok(four) => Ipv4Addr::from(four).into(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(own).ok()?).into(),
    };
    Some(Address { device: u32_at(message, 4)?, address, prefix: u8_at(message, 1)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn u64s(all: impl Iterator<Item = u64>) -> Vec<u8> {
        all.flat_map(u64::to_ne_bytes).collect()
    }

    #[test]
    fn a_device_has_its_counts_and_names_and_whatever_is_cut_off_is_absent() {
        let head = [0, 0, 1, 0, 7, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
        let names = [encode(53, b"enp1s0\0"), encode(53, b"\0")].concat();
        let inside = [
            encode(3, b"eth0\0"),
            encode(1, &[0, 0x16, 0x3e, 0, 0, 1]),
            encode(4, &1500_u32.to_ne_bytes()),
            encode(16, &[6]),
            encode(20, b"uplink\0"),
            encode(47, &4_u32.to_ne_bytes()),
            encode(0x8034, &names),
            encode(23, &u64s(1..=25)),
        ];
        let bytes = [head.to_vec(), inside.concat()].concat();
        let link = link(&bytes).unwrap();
        assert_eq!((link.index, link.name.as_str(), link.address.as_str()), (7, "eth0", "00:16:3e:00:00:01"));
        assert_eq!((link.protocol, link.flags, link.mtu, link.state), (1, 3, Some(1500), 6));
        assert_eq!((link.alias.as_str(), link.other_names), ("uplink", vec!["enp1s0".to_owned()]));
        assert_eq!((link.carrier_changes, link.below), ([None, Some(4), None], None));
        assert_eq!((link.counts.unwrap()[22], link.no_handler), (23, Some(24)));
        for cut in 0..bytes.len() {
            let cut = super::link(&bytes[..cut]);
            assert!(cut.is_none_or(|link| link.counts.is_none()));
        }
        // An older kernel's counts end earlier.
        let old = [head.to_vec(), encode(3, b"eth0\0"), encode(23, &u64s(1..=23))].concat();
        let old = super::link(&old).unwrap();
        assert_eq!((old.counts.unwrap()[0], old.no_handler), (1, None));
    }

    #[test]
    fn an_address_between_two_points_is_the_own_one() {
        let head = [2, 24, 0, 0, 3, 0, 0, 0];
        let both = [encode(1, &[10, 0, 0, 2]), encode(2, &[10, 0, 0, 1])].concat();
        let own = Address { device: 3, address: [10, 0, 0, 1].into(), prefix: 24 };
        assert_eq!(address(&[head.to_vec(), both].concat()), Some(own));
        assert_eq!(address(&[head.to_vec(), encode(1, &[10, 0, 0])].concat()), None);
        let six = address(&[head.to_vec(), encode(1, &[0; 16])].concat()).unwrap();
        assert!(six.address.is_ipv6());
    }

    #[test]
    fn a_cable_of_unknown_speed_has_none() {
        let header = encode(0x8001, &encode(1, &4_u32.to_ne_bytes()));
        let bytes = |speed: u32| [header.clone(), encode(5, &speed.to_ne_bytes()), encode(6, &[1])].concat();
        let known = Cable { device: 4, speed_megabits: Some(1000), duplex: Some(1) };
        assert_eq!(cable(&bytes(1000)), Some(known));
        assert_eq!(cable(&bytes(u32::MAX)).unwrap().speed_megabits, None);
        // The last three bytes only fill up.
        for cut in 0..bytes(1000).len() - 3 {
            let cut = cable(&bytes(1000)[..cut]);
            assert!(cut.is_none_or(|cut| cut != known));
        }
        assert!(cables().is_ok());
    }

    #[test]
    fn this_machine_has_a_loopback_device_with_counts() {
        let all = links().unwrap();
        let own = all.iter().find(|link| link.name == "lo").unwrap();
        assert!(own.counts.is_some() && own.mtu.is_some(), "{own:?}");
        assert!(addresses().is_ok());
    }
}
