//! Questions to the kernel by netlink: how they are asked, and how the answers are taken apart.
//!
//! Source: netlink(7). Numbers are in the machine's own order of bytes.

use super::counted::Socket;
use crate::sys;
use std::io;
use std::time::Duration;

/// The kernel answers at once; a question that it does not answer in this time is given up.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// The kernel never sends more at once to who asks with less than this.
const DATAGRAM_BYTES_MAX: usize = 1 << 16;

const FLAG_REQUEST: u16 = 0x1;
const FLAG_ACK: u16 = 0x4;
const FLAG_DUMP: u16 = 0x300;
const KIND_ERROR: u16 = 2;
const KIND_DONE: u16 = 3;
const HEAD_BYTES: usize = 16;

/// What is asked: one thing, or all that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// One thing.
    One,
    /// All things of a kind.
    All,
}

/// A connection to one part of the kernel.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Netlink {
    /// A connection to a part of the kernel.
    pub fn open(part: sys::Netlink) -> io::Result<Self> {
        let socket = Socket::netlink(part)?;
        socket.set_patience(ANSWER_TIME_MAX)?;
        Ok(Self { socket, buffer: vec![0; DATAGRAM_BYTES_MAX], sequence: 0 })
    }

    /// Asks, and gives each message of the answer, without its head, to `each`.
    pub fn ask(
        &mut self,
        question: Question,
        kind: u16,
        payload: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.sequence += 1;
        let flags = FLAG_REQUEST | if question == Question::All { FLAG_DUMP } else { FLAG_ACK };
        let request = message(kind, flags, self.sequence, payload);
        // To a socket without a peer, which is the kernel.
        self.socket.send(&request)?;
        loop {
            let length = self.socket.receive(&mut self.buffer)?;
            let mut rest = self.buffer.get(..length).unwrap_or_default();
            while let Some(message) = Message::first(&mut rest) {
                if message.sequence != self.sequence {
                    continue;
                }
                match message.kind {
                    KIND_DONE => return Ok(()),
                    // The acknowledgement is an error of the number 0.
                    KIND_ERROR => {
                        return match u32_at(message.payload, 0).map(|code| code.wrapping_neg().cast_signed())
                        {
                            Some(0) => Ok(()),
                            Some(code) => Err(io::Error::from_raw_os_error(code)),
                            None => Err(io::ErrorKind::InvalidData.into()),
                        };
                    }
                    _ => each(message.payload),
                }
            }
        }
    }
}

fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEAD_BYTES + payload.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(HEAD_BYTES + payload.len());
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(sequence.to_ne_bytes());
    out.extend([0; 4]);
    out.extend(payload);
    out
}

struct Message<'a> {
    kind: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Takes the first message off `rest`.
    fn first(rest: &mut &'a [u8]) -> Option<Self> {
        let length = usize::try_from(u32_at(rest, 0)?).ok()?;
        let (kind, sequence) = (u16_at(rest, 4)?, u32_at(rest, 8)?);
        let payload = rest.get(HEAD_BYTES..length)?;
        *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Self { kind, sequence, payload })
    }
}

/// The attributes in `bytes`: the number and the content of each. What is cut off is left out.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    /// Says that attributes are inside, and in which order of bytes; no part of the number.
    const MARKS: u16 = 0xc000;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let number = u16_at(rest, 2)? & !MARKS;
        let content = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((number, content))
    })
}

/// The content of the attribute `number`.
pub fn attribute(bytes: &[u8], number: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == number).map(|(_, content)| content)
}

/// An attribute as bytes.
pub fn encode(number: u16, content: &[u8]) -> Vec<u8> {
    let length = 4 + content.len();
    let mut out = Vec::with_capacity(length.next_multiple_of(4));
    out.extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
    out.extend(number.to_ne_bytes());
    out.extend(content);
    out.resize(length.next_multiple_of(4), 0);
    out
}

/// The text of an attribute, which may end in a zero byte.
pub fn text(content: &[u8]) -> String {
    let end = content.iter().position(|byte| *byte == 0).unwrap_or(content.len());
    String::from_utf8_lossy(content.get(..end).unwrap_or_default()).into_owned()
}

/// The number of one byte at `at`.
pub fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// The number of two bytes at `at`.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

/// The number of four bytes at `at`.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

/// The number of eight bytes at `at`.
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_attributes_are_taken_apart_and_what_is_cut_off_is_left_out() {
        let inside = [encode(3, b"eth0\0"), encode(0x8001, &7_u32.to_ne_bytes())].concat();
        let bytes = message(16, 1, 5, &inside);
        for cut in 0..bytes.len() {
            assert!(Message::first(&mut &bytes[..cut]).is_none());
        }
        let mut rest = bytes.as_slice();
        let first = Message::first(&mut rest).unwrap();
        assert_eq!((first.kind, first.sequence, rest.len()), (16, 5, 0));
        let found: Vec<u16> = attributes(first.payload).map(|(number, _)| number).collect();
        assert_eq!(found, [3, 1]);
        assert_eq!(text(attribute(first.payload, 3).unwrap()), "eth0");
        assert_eq!(attribute(first.payload, 1).and_then(|content| u32_at(content, 0)), Some(7));
        for cut in 0..inside.len() {
            assert!(attributes(&inside[..cut]).count() < 2, "{cut}");
        }
    }

    #[test]
    fn the_kernel_answers_and_refuses() {
        let mut netlink = Netlink::open(sys::Netlink::Route).unwrap();
        let mut links = 0;
        netlink.ask(Question::All, 18, &[0; 16], |_| links += 1).unwrap();
        assert!(links > 0);
        assert!(netlink.ask(Question::One, 0xfff, &[0; 16], |_| ()).is_err());
    }
}
