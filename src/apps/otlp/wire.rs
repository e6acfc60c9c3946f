//! Protocol buffers as bytes: the fields of a message, one after the other, without a copy.

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it ends too soon, or is no protocol buffer")]
pub struct Malformed;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// The fields of a message.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u32, Wire<'a>), Malformed> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0).ok_or(Malformed)?;
        let wire = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(*self.chunk()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
                self.0 = rest;
                Wire::Bytes(bytes)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(*self.chunk()?)),
            // Groups are in no message of ours, and were given up before these were written.
            _ => return Err(Malformed),
        };
        Ok((number, wire))
    }

    fn chunk<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(chunk)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let (value, rest) = varint(self.0)?;
        self.0 = rest;
        Ok(value)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Wire<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// A number in groups of seven bits, and what follows it.
fn varint(bytes: &[u8]) -> Result<(u64, &[u8]), Malformed> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok((value, bytes.get(at + 1..).unwrap_or_default()));
        }
    }
    Err(Malformed)
}

/// The numbers of a packed field of varints.
pub(super) fn varints(mut bytes: &[u8]) -> impl Iterator<Item = Result<u64, Malformed>> {
    std::iter::from_fn(move || {
        (!bytes.is_empty()).then(|| {
            let read = varint(bytes);
            bytes = read.map_or(&[], |(_, rest)| rest);
            read.map(|(value, _)| value)
        })
    })
}

/// The numbers of a packed field of eight bytes each.
pub(super) fn fixed64s(bytes: &[u8]) -> Result<impl Iterator<Item = u64>, Malformed> {
    let (chunks, rest) = bytes.as_chunks::<8>();
    if rest.is_empty() { Ok(chunks.iter().map(|chunk| u64::from_le_bytes(*chunk))) } else { Err(Malformed) }
}

/// A signed number whose sign is the lowest bit.
pub(super) fn zigzag32(value: u64) -> i32 {
    let value = (value & u64::from(u32::MAX)) >> 1 ^ (value & 1).wrapping_neg();
    // The upper half is all ones or all zeros, and says nothing.
    i32::from_le_bytes(first_half(value))
}

fn first_half(value: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = value.to_le_bytes();
    [a, b, c, d]
}

/// Writes a number in groups of seven bits.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(0x80 | low_bits(value));
        value >>= 7;
    }
    out.push(low_bits(value));
}

fn low_bits(value: u64) -> u8 {
    (value & 0x7f) as u8
}

/// Writes a key.
pub(super) fn put_key(out: &mut Vec<u8>, number: u32, wire: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire));
}

/// Writes bytes as a field.
pub(super) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_key(out, number, 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Puts the length of what follows `start` in front of it.
pub(super) fn put_length(out: &mut Vec<u8>, start: usize) {
    let end = out.len();
    put_varint(out, (end - start) as u64);
    let width = out.len() - end;
    if let Some(message) = out.get_mut(start..) {
        message.rotate_right(width);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_read_and_what_is_cut_is_malformed() {
        let mut bytes = vec![0x08, 0x96, 0x01, 0x11];
        bytes.extend_from_slice(&7_u64.to_le_bytes());
        put_bytes(&mut bytes, 300, b"text");
        bytes.extend_from_slice(&[0x25, 1, 0, 0, 0]);
        let fields: Result<Vec<_>, _> = Fields(&bytes).collect();
        let want = [
            (1, Wire::Varint(150)),
            (2, Wire::Fixed64(7)),
            (300, Wire::Bytes(b"text")),
            (4, Wire::Fixed32(1)),
        ];
        assert_eq!(fields.unwrap(), want);
        let whole: Vec<usize> = vec![0, 3, 12, 19, 24];
        for end in (0..bytes.len()).filter(|end| !whole.contains(end)) {
            assert_eq!(Fields(&bytes[..end]).last(), Some(Err(Malformed)), "{end}");
        }
        for wrong in [&[0x0b_u8][..], &[0x00, 1], &[0xff; 11], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]] {
            assert_eq!(Fields(wrong).last(), Some(Err(Malformed)), "{wrong:?}");
        }
    }

    #[test]
    fn signed_numbers_are_what_they_were() {
        for (coded, value) in
            [(0, 0), (1, -1), (2, 1), (3, -2), (0xffff_fffe, i32::MAX), (0xffff_ffff, i32::MIN)]
        {
            assert_eq!(zigzag32(coded), value);
        }
    }

    proptest! {
        #[test]
        fn numbers_are_what_they_were(values in proptest::collection::vec(any::<u64>(), 0..20)) {
            let mut bytes = Vec::new();
            for value in &values {
                put_varint(&mut bytes, *value);
            }
            prop_assert_eq!(varints(&bytes).collect::<Result<Vec<_>, _>>(), Ok(values));
        }
    }
}
