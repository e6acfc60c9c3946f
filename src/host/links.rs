//! Whether anything about network devices changed: the kernel tells all who listen (rtnetlink's group of links).
//!
//! Source: rtnetlink(7). It tells of each change of a device's name, address, state, flags, mtu and queue, and of each
//! device that comes or goes; not of counters, nor of what only a driver knows (speed, duplex).

use super::counted::{self, Socket};
use crate::sys;
use std::io;
use std::os::fd::AsFd;

/// One who listens, in the network name space of this process.
#[derive(Debug)]
pub struct Links {
    socket: Socket,
}

impl Links {
    /// Listens from now on.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { socket: Socket::listen(sys::News::Links)? })
    }

    /// Whether there was news since the last call, or may have been.
    pub fn has_news(&self) -> bool {
        self.socket.was_told()
    }

    /// Whether `name` is, in the name space where this listens, the device with this number.
    pub fn is(&self, name: &str, number: u32) -> bool {
        counted::call();
        sys::device_number(self.socket.as_fd(), name).is_ok_and(|found| found == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_at_rest_has_no_news_and_its_devices_are_known() {
        let links = Links::listen().unwrap();
        assert!((0..100).any(|_| !links.has_news()));
        assert!(links.is("lo", 1));
        assert!(!links.is("lo", 7) && !links.is("no-such-device", 1));
    }
}
