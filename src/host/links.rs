//! Whether anything about network devices changed: the kernel tells all who listen (rtnetlink's group of links).
//!
//! Source: rtnetlink(7). It tells of each change of a device's name, address, state, flags, mtu and queue, and of each
//! device that comes or goes; not of counters, nor of what only a driver knows (speed, duplex).

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use std::io;
use std::os::fd::OwnedFd;

/// The group that hears of links (`RTMGRP_LINK`).
const GROUP_LINK: u32 = 1;
/// So much news is heard at once; if there is more, the rest is heard the next time.
const NEWS_MAX: usize = 1000;

/// One who listens, in the network name space of this process.
#[derive(Debug)]
pub struct Links {
    socket: OwnedFd,
}

impl Links {
    /// Listens from now on.
    pub fn listen() -> io::Result<Self> {
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUP_LINK))?;
        Ok(Self { socket })
    }

    /// Whether there was news since the last call, or may have been: what nobody heard for long is thrown away, which
    /// the kernel says as an error.
    pub fn has_news(&self) -> bool {
        let mut news = false;
        for _ in 0..NEWS_MAX {
            // What the news is does not matter; what does not fit is cut off.
            match rustix::net::recv(&self.socket, &mut [0; 16][..], RecvFlags::DONTWAIT) {
                Ok(_) => news = true,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(_) => return true,
            }
        }
        news
    }

    /// Whether `name` is, in the name space where this listens, the device with this number.
    pub fn is(&self, name: &str, number: u32) -> bool {
        rustix::net::netdevice::name_to_index(&self.socket, name).is_ok_and(|found| found == number)
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
