//! The neighbours of IPv4 as the kernel lists them over netlink: what /proc/net/arp has, at a cost that does not grow with
//! the square of the list.
//!
//! Source: rtnetlink(7), `include/uapi/linux/neighbour.h`.

use super::counted::{self, Socket};
use crate::sys;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// How long the question is: the head of a message and `struct ndmsg`.
const REQUEST_BYTES: u32 = 28;
const RTM_GETNEIGH: u16 = 30;
/// `NLM_F_REQUEST | NLM_F_DUMP`: all of them.
const FLAGS: u16 = 0x301;
const AF_INET: u8 = 2;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWNEIGH: u16 = 28;
/// Neighbours that need no ARP: broadcast, multicast, this machine.
const NUD_NOARP: u16 = 0x40;
/// The kernel answers at once; if it does not, the scrape goes on without.
const PATIENCE: Duration = Duration::from_secs(1);
/// The kernel fills at most this much at a time.
const BYTES_MAX: usize = 32 << 10;

/// A socket on which the kernel is asked again and again.
#[derive(Debug)]
pub struct Neighbours {
    socket: Socket,
    bytes: Vec<u8>,
}

impl Neighbours {
    /// A new socket.
    pub fn connect() -> io::Result<Self> {
        let socket = Socket::netlink(sys::Netlink::Route)?;
        socket.set_patience(PATIENCE)?;
        Ok(Self { socket, bytes: vec![0; BYTES_MAX] })
    }

    /// Gives the number of the device behind which each neighbour is.
    pub fn devices(&mut self, mut each: impl FnMut(u32)) -> io::Result<()> {
        self.socket.send(&request())?;
        loop {
            let length = self.socket.receive(&mut self.bytes)?;
            if messages(self.bytes.get(..length).unwrap_or_default(), &mut each)? {
                return Ok(());
            }
        }
    }

    /// The name that a device has at present.
    pub fn name(&self, device: u32) -> io::Result<String> {
        counted::call();
        sys::device_name(self.socket.as_fd(), device)
    }
}

/// Length, type, flags, number and port; then the family, and zeros for whatever else could be asked for.
fn request() -> [u8; 28] {
    let mut out = [0; 28];
    let head = [
        REQUEST_BYTES.to_ne_bytes(),
        pair(RTM_GETNEIGH, FLAGS),
        1_u32.to_ne_bytes(),
        [0; 4],
        [AF_INET, 0, 0, 0],
    ];
    for (to, from) in out.iter_mut().zip(head.as_flattened()) {
        *to = *from;
    }
    out
}

fn pair(first: u16, second: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (first.to_ne_bytes(), second.to_ne_bytes());
    [a, b, c, d]
}

/// Reads what came at a time; true if it was the end.
pub(crate) fn messages(mut bytes: &[u8], each: &mut impl FnMut(u32)) -> io::Result<bool> {
    let cut = || io::Error::new(io::ErrorKind::InvalidData, "netlink: a message is cut off");
    while !bytes.is_empty() {
        let length = usize::try_from(u32_at(bytes, 0).ok_or_else(cut)?).map_err(|_| cut())?;
        let message = bytes.get(..length).filter(|_| length >= 16).ok_or_else(cut)?;
        match u16_at(message, 4).ok_or_else(cut)? {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let code = u32_at(message, 16).ok_or_else(cut)?;
                return Err(io::Error::from_raw_os_error(code.cast_signed().wrapping_neg()));
            }
            RTM_NEWNEIGH => {
                let (device, state) = (u32_at(message, 20), u16_at(message, 24));
                if state.ok_or_else(cut)? & NUD_NOARP == 0 {
                    each(device.ok_or_else(cut)?);
                }
            }
            _ => {}
        }
        // Messages begin at multiples of four.
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, rest: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + rest.len()).unwrap();
        [&length.to_ne_bytes()[..], &pair(kind, 0), &[0; 8], rest].concat()
    }

    fn neighbour(device: u32, state: u16) -> Vec<u8> {
        message(RTM_NEWNEIGH, &[&[AF_INET, 0, 0, 0][..], &device.to_ne_bytes(), &pair(state, 0)].concat())
    }

    #[test]
    fn neighbours_without_arp_are_left_out() {
        let mut bytes = [neighbour(2, 4), neighbour(3, NUD_NOARP), neighbour(2, 0)].concat();
        let mut seen = Vec::new();
        assert!(!messages(&bytes, &mut |device| seen.push(device)).unwrap());
        bytes.extend(message(NLMSG_DONE, &[0; 4]));
        assert!(messages(&bytes, &mut |device| seen.push(device)).unwrap());
        assert_eq!(seen, [2, 2, 2, 2]);
    }

    #[test]
    fn an_answer_that_is_cut_or_an_error_is_an_error() {
        let whole = neighbour(2, 4);
        for cut in 1..whole.len() {
            assert!(messages(&whole[..cut], &mut |_| panic!("{cut}")).is_err(), "{cut}");
        }
        let error = message(NLMSG_ERROR, &(-libc::EPERM).to_ne_bytes());
        let error = messages(&error, &mut |_| ()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        assert!(messages(&[0; 16], &mut |_| ()).is_err());
    }

    #[test]
    fn this_machine_answers() {
        let mut neighbours = Neighbours::connect().unwrap();
        for _ in 0..2 {
            let mut devices = Vec::new();
            neighbours.devices(|device| devices.push(device)).unwrap();
            assert!(devices.iter().all(|device| neighbours.name(*device).is_ok()));
        }
        assert_eq!(neighbours.name(1).unwrap(), "lo");
    }
}
