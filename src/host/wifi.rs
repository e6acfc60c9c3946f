//! Wireless devices and their stations as the kernel tells them by nl80211.
//!
//! Sources: `include/uapi/linux/nl80211.h`, `include/uapi/linux/genetlink.h`.

use super::generic::Generic;
use super::netlink::{attribute, attributes, encode, text, u8_at, u16_at, u32_at, u64_at};
use std::io;

/// A wireless device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// The number.
    pub index: u32,
    /// The name (`wlan0`).
    pub name: String,
    /// Its own address.
    pub address: Vec<u8>,
    /// The frequency in MHz; `None` while it uses none.
    pub frequency_megahertz: Option<u32>,
    /// The network that it is part of.
    pub network: Option<Network>,
    /// The stations that it talks to.
    pub stations: Vec<Station>,
}

/// A network that a device is part of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The address of the access point.
    pub bssid: Vec<u8>,
    /// The name.
    pub ssid: String,
    /// What the device is in it.
    pub mode: Mode,
}

/// What a device is in a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// One of those that an access point serves.
    Client,
    /// One of many without an access point.
    AdHoc,
    /// Something else.
    #[default]
    Unknown,
}

/// The other end of a connection; what the driver does not count is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Station {
    /// The address.
    pub address: Vec<u8>,
    /// How long it is connected.
    pub connected_seconds: Option<u64>,
    /// How long nothing was heard.
    pub inactive_milliseconds: Option<u64>,
    /// The rate of what is received.
    pub receive_bits_per_second: Option<u64>,
    /// The rate of what is sent.
    pub transmit_bits_per_second: Option<u64>,
    /// Bytes received.
    pub received_bytes: Option<u64>,
    /// Bytes sent.
    pub transmitted_bytes: Option<u64>,
    /// The strength of the signal.
    pub signal_dbm: Option<i64>,
    /// Packets sent again.
    pub transmit_retries: Option<u64>,
    /// Packets given up.
    pub transmit_failed: Option<u64>,
    /// Times that the access point was silent.
    pub beacon_loss: Option<u64>,
    /// Packets sent.
    pub transmitted_packets: Option<u64>,
    /// Packets received.
    pub received_packets: Option<u64>,
}

const IFINDEX: u16 = 3;
const IFNAME: u16 = 4;
const MAC: u16 = 6;

/// All wireless devices; `None` if the kernel knows nothing of such.
pub fn interfaces() -> io::Result<Option<Vec<Interface>>> {
    const GET_INTERFACE: u8 = 5;
    const GET_STATION: u8 = 17;
    const GET_SCAN: u8 = 32;
    let Some(mut kernel) = Generic::open("nl80211")? else { return Ok(None) };
    let mut out = Vec::new();
    kernel.all(GET_INTERFACE, &[], |inside| out.extend(interface(inside)))?;
    for interface in &mut out {
        let which =
            [encode(IFINDEX, &interface.index.to_ne_bytes()), encode(MAC, &interface.address)].concat();
        let Interface { network: found, stations, .. } = interface;
        // The network that the device is in is one of all that it has heard of.
        let scan = kernel.all(GET_SCAN, &which, |inside| {
            *found = found.take().or_else(|| network(inside));
        });
        let talk = kernel.all(GET_STATION, &which, |inside| stations.extend(station(inside)));
        // Some kinds of devices have neither.
        for result in [scan, talk] {
            if let Err(e) = result
                && !matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV))
            {
                return Err(e);
            }
        }
    }
    Ok(Some(out))
}

/// A device; none if it has no name, as the virtual ones that belong to another.
pub(crate) fn interface(inside: &[u8]) -> Option<Interface> {
    const FREQUENCY: u16 = 38;
    Some(Interface {
        index: u32_at(attribute(inside, IFINDEX)?, 0)?,
        name: Some(text(attribute(inside, IFNAME)?)).filter(|name| !name.is_empty())?,
        address: attribute(inside, MAC).unwrap_or_default().to_vec(),
        frequency_megahertz: attribute(inside, FREQUENCY).and_then(|content| u32_at(content, 0)),
        ..Interface::default()
    })
}

/// A network, if the device is part of it.
pub(crate) fn network(inside: &[u8]) -> Option<Network> {
    const BSS: u16 = 47;
    const BSSID: u16 = 1;
    const ELEMENTS: u16 = 6;
    const STATUS: u16 = 9;
    let bss = attribute(inside, BSS)?;
    let mode = match u32_at(attribute(bss, STATUS)?, 0)? {
        // Authenticated, associated.
        0 | 1 => Mode::Client,
        2 => Mode::AdHoc,
        _ => Mode::Unknown,
    };
    let ssid = attribute(bss, ELEMENTS).and_then(ssid).unwrap_or_default();
    Some(Network { bssid: attribute(bss, BSSID).unwrap_or_default().to_vec(), ssid, mode })
}

/// The name among the elements of a beacon: each a byte of what it is, a byte of its length, and its content.
pub(crate) fn ssid(mut elements: &[u8]) -> Option<String> {
    const SSID: u8 = 0;
    loop {
        let (kind, length) = (u8_at(elements, 0)?, usize::from(u8_at(elements, 1)?));
        let content = elements.get(2..2 + length)?;
        if kind == SSID {
            return Some(String::from_utf8_lossy(content).into_owned());
        }
        elements = elements.get(2 + length..)?;
    }
}

pub(crate) fn station(inside: &[u8]) -> Option<Station> {
    const STA_INFO: u16 = 21;
    let mut out = Station { address: attribute(inside, MAC)?.to_vec(), ..Station::default() };
    // Older drivers count bytes in 32 bits; the wider counts come last.
    for (number, content) in attributes(attribute(inside, STA_INFO)?) {
        let word = || u32_at(content, 0).map(u64::from);
        match number {
            1 => out.inactive_milliseconds = word(),
            2 => out.received_bytes = word(),
            3 => out.transmitted_bytes = word(),
            7 => out.signal_dbm = u8_at(content, 0).map(|byte| i64::from(byte.cast_signed())),
            8 => out.transmit_bits_per_second = rate(content),
            9 => out.received_packets = word(),
            10 => out.transmitted_packets = word(),
            11 => out.transmit_retries = word(),
            12 => out.transmit_failed = word(),
            14 => out.receive_bits_per_second = rate(content),
            16 => out.connected_seconds = word(),
            18 => out.beacon_loss = word(),
            23 => out.received_bytes = u64_at(content, 0),
            24 => out.transmitted_bytes = u64_at(content, 0),
            _ => {}
        }
    }
    Some(out)
}

/// A rate, which the kernel counts in 100 kbit/s.
pub(crate) fn rate(inside: &[u8]) -> Option<u64> {
    const BITRATE: u16 = 1;
    const BITRATE32: u16 = 5;
    let wide = attribute(inside, BITRATE32).and_then(|content| u32_at(content, 0)).map(u64::from);
    let narrow = || attribute(inside, BITRATE).and_then(|content| u16_at(content, 0)).map(u64::from);
    Some(wide.or_else(narrow)? * 100_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_station_has_what_its_driver_counts() {
        let word = |number, value: u32| encode(number, &value.to_ne_bytes());
        let info = [
            word(2, 7),
            encode(23, &(1_u64 << 40).to_ne_bytes()),
            encode(7, &[0xcc]),
            encode(14, &[encode(1, &540_u16.to_ne_bytes()), word(5, 650)].concat()),
            encode(8, &encode(1, &540_u16.to_ne_bytes())),
        ];
        let bytes = [encode(MAC, &[1, 2, 3, 4, 5, 6]), encode(21, &info.concat())].concat();
        let found = station(&bytes).unwrap();
        assert_eq!((found.address.len(), found.received_bytes), (6, Some(1 << 40)));
        assert_eq!((found.signal_dbm, found.beacon_loss), (Some(-52), None));
        assert_eq!(found.receive_bits_per_second, Some(65_000_000));
        assert_eq!(found.transmit_bits_per_second, Some(54_000_000));
        for cut in 0..bytes.len() {
            _ = station(&bytes[..cut]);
        }
    }

    #[test]
    fn the_network_is_the_one_with_a_status_and_its_name_is_among_the_elements() {
        let bss = |status: Vec<u8>| {
            let elements = encode(6, &[3, 1, 9, 0, 2, b'h', b'i', 1, 0]);
            encode(47, &[encode(1, &[0, 17, 34, 51, 68, 85]), elements, status].concat())
        };
        assert_eq!(network(&bss(vec![])), None);
        let found = network(&bss(encode(9, &1_u32.to_ne_bytes()))).unwrap();
        assert_eq!((found.ssid.as_str(), found.mode), ("hi", Mode::Client));
        assert_eq!(ssid(&[3, 200, 1]), None);
    }

    #[test]
    fn devices_without_a_name_are_left_out() {
        let index = encode(IFINDEX, &3_u32.to_ne_bytes());
        assert_eq!(interface(&index), None);
        let named = [index, encode(IFNAME, b"wlan0\0"), encode(38, &2412_u32.to_ne_bytes())].concat();
        assert_eq!(interface(&named).unwrap().frequency_megahertz, Some(2412));
    }
}
