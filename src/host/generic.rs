//! Questions to the parts of the kernel that share generic netlink, each of which has a name and a number of its own.
//!
//! Source: `include/uapi/linux/genetlink.h`.

use super::netlink::{Netlink, Question, attribute, encode, u16_at};
use crate::sys;
use std::io;

/// Bytes of the head that generic netlink puts before the attributes.
const HEAD_BYTES: usize = 4;

/// A connection to one part.
#[derive(Debug)]
pub struct Generic {
    netlink: Netlink,
    family: u16,
}

impl Generic {
    /// A connection to the part of this name; `None` if the kernel has none.
    pub fn open(name: &str) -> io::Result<Option<Self>> {
        let mut netlink = Netlink::open(sys::Netlink::Generic)?;
        match family(&mut netlink, name) {
            Ok(family) => Ok(Some(Self { netlink, family })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Asks for all things of a kind, and gives the attributes of each to `each`.
    pub fn all(&mut self, command: u8, which: &[u8], mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let request = [&[command, 1, 0, 0], which].concat();
        self.netlink.ask(Question::All, self.family, &request, |message| {
            each(message.get(HEAD_BYTES..).unwrap_or_default());
        })
    }
}

/// The number that a part has here.
fn family(netlink: &mut Netlink, name: &str) -> io::Result<u16> {
    const CONTROL: u16 = 0x10;
    const GET_FAMILY: u8 = 3;
    const FAMILY_ID: u16 = 1;
    const FAMILY_NAME: u16 = 2;
    let name = [name.as_bytes(), b"\0"].concat();
    let request = [vec![GET_FAMILY, 1, 0, 0], encode(FAMILY_NAME, &name)].concat();
    let mut found = None;
    netlink.ask(Question::One, CONTROL, &request, |message| {
        let inside = message.get(HEAD_BYTES..).unwrap_or_default();
        found = attribute(inside, FAMILY_ID).and_then(|content| u16_at(content, 0));
    })?;
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_the_kernel_does_not_have_is_absent() {
        assert!(Generic::open("nlctrl").unwrap().is_some());
        assert!(Generic::open("no-such-part").unwrap().is_none());
    }
}
