//! Network devices as their drivers tell them: link, driver, and counts under the driver's own names.
//!
//! Source: `include/uapi/linux/ethtool.h`.

use super::counted::{self, Socket};
use super::netlink::{text, u8_at, u32_at, u64_at};
use crate::sys::{ETHTOOL_COUNTS_MAX, Ethtool as Question, ethtool};
use std::io;
use std::os::fd::AsFd;

/// What a link can do, and what it offers to the other side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// A bit for each mode, port and ability that the device supports (`enum ethtool_link_mode_bit_indices`).
    pub supported: u32,
    /// The same of what it offers.
    pub advertised: u32,
    /// 1 if the modes were negotiated.
    pub autonegotiate: u8,
}

/// A driver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Driver {
    /// The name.
    pub name: String,
    /// The version; most drivers of the kernel tell the kernel's.
    pub version: String,
    /// The version of the firmware.
    pub firmware: String,
    /// Where the device is plugged in.
    pub bus: String,
    /// The version of the expansion ROM.
    pub rom: String,
    /// How many counts it has.
    pub counts: usize,
}

/// A socket through which devices are asked.
#[derive(Debug)]
pub struct Ethtool(Socket);

impl Ethtool {
    /// Opens the socket.
    pub fn open() -> io::Result<Self> {
        Socket::device().map(Self)
    }

    /// The device's link; `None` if the driver does not tell.
    pub fn link(&self, device: &str) -> io::Result<Option<Link>> {
        Ok(self.ask(device, Question::Link)?.as_deref().and_then(link))
    }

    /// The device's driver; `None` if it does not tell.
    pub fn driver(&self, device: &str) -> io::Result<Option<Driver>> {
        Ok(self.ask(device, Question::Driver)?.as_deref().and_then(driver))
    }

    /// The driver's counts with their names, of which there are `count`.
    pub fn counts(&self, device: &str, count: usize) -> io::Result<Vec<(String, u64)>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        if count > ETHTOOL_COUNTS_MAX {
            let why = format!("{device} has {count} counts, which is more than {ETHTOOL_COUNTS_MAX}");
            return Err(io::Error::other(why));
        }
        let (names, values) = (self.ask(device, Question::Names)?, self.ask(device, Question::Counts)?);
        Ok(names.zip(values).map(|(names, values)| counts(&names, &values)).unwrap_or_default())
    }

    fn ask(&self, device: &str, question: Question) -> io::Result<Option<Vec<u8>>> {
        counted::call();
        match ethtool(self.0.as_fd(), device, question) {
            Ok(answer) => Ok(Some(answer)),
            Err(e) if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENODEV | libc::EINVAL)) => {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

pub(crate) fn link(answer: &[u8]) -> Option<Link> {
    Some(Link {
        supported: u32_at(answer, 4)?,
        advertised: u32_at(answer, 8)?,
        autonegotiate: u8_at(answer, 18)?,
    })
}

pub(crate) fn driver(answer: &[u8]) -> Option<Driver> {
    let field = |at: usize| answer.get(at..at + 32).map(text);
    Some(Driver {
        name: field(4)?,
        version: field(36)?,
        firmware: field(68)?,
        bus: field(100)?,
        rom: field(132)?,
        counts: usize::try_from(u32_at(answer, 180)?).ok()?,
    })
}

/// Names and counts belong together by their places. If the driver got more in between, those that both know are kept.
pub(crate) fn counts(names: &[u8], values: &[u8]) -> Vec<(String, u64)> {
    let number = |answer, at| u32_at(answer, at).and_then(|n| usize::try_from(n).ok()).unwrap_or_default();
    if number(names, 8) != number(values, 4) {
        return Vec::new();
    }
    let one = |i: usize| {
        let name = names.get(12 + 32 * i..12 + 32 * (i + 1))?;
        Some((text(name), u64_at(values, 8 + 8 * i)?))
    };
    (0..number(names, 8)).map_while(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_the_names_of_their_places() {
        let mut names = [27_u32, 1, 2].iter().flat_map(|n| n.to_ne_bytes()).collect::<Vec<u8>>();
        for name in ["rx_bytes", "tx_bytes"] {
            let mut field = name.as_bytes().to_vec();
            field.resize(32, 0);
            names.extend(field);
        }
        let mut values = [29_u32, 2].iter().flat_map(|n| n.to_ne_bytes()).collect::<Vec<u8>>();
        values.extend([7_u64, 8].iter().flat_map(|n| n.to_ne_bytes()));
        assert_eq!(counts(&names, &values), [("rx_bytes".into(), 7), ("tx_bytes".into(), 8)]);
        values[4] = 3;
        assert_eq!(counts(&names, &values), []);
        assert_eq!(counts(&names[..20], &values[..4]), []);
    }

    #[test]
    fn the_loopback_device_has_a_driver_or_none_and_a_device_that_is_not_there_is_absent() {
        let ethtool = Ethtool::open().unwrap();
        assert!(ethtool.driver("lo").is_ok());
        assert_eq!(ethtool.driver("no-such-dev").unwrap(), None);
        assert_eq!(ethtool.link("no-such-dev").unwrap(), None);
        assert!(ethtool.driver("a-name-that-is-too-long").is_err());
    }
}
