//! MD5 (RFC 1321), by which Prometheus's `hashmod` divides series: for nothing that is to be kept secret.

const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The last eight bytes of the digest as a number, the first of them the highest.
pub(super) fn low_half(text: &[u8]) -> u64 {
    let [.., c, d] = state(text);
    (u64::from(c.swap_bytes()) << 32) | u64::from(d.swap_bytes())
}

fn state(text: &[u8]) -> [u32; 4] {
    let mut padded = text.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() - text.len() < 9 {
        padded.resize(padded.len() + 64, 0);
    }
    padded.truncate(padded.len() - 8);
    padded.extend_from_slice(&(text.len() as u64).wrapping_mul(8).to_le_bytes());
    padded.chunks_exact(64).fold(START, block)
}

fn block(start: [u32; 4], bytes: &[u8]) -> [u32; 4] {
    let words: Vec<u32> =
        bytes.chunks(4).filter_map(|four| four.try_into().ok()).map(u32::from_le_bytes).collect();
    let [mut a, mut b, mut c, mut d] = start;
    for (at, step) in (0..64_usize).zip(1_u32..) {
        let (mixed, word) = match at / 16 {
            0 => ((b & c) | (!b & d), at),
            1 => ((d & b) | (!d & c), 5 * at + 1),
            2 => (b ^ c ^ d, 3 * at + 5),
            _ => (c ^ (b | !d), 7 * at),
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "below 2^32, and not negative"
        )]
        let constant = (f64::from(step).sin().abs() * 4_294_967_296.0) as u32;
        let word = words.get(word % 16).copied().unwrap_or_default();
        let shift = SHIFTS.get(at / 16).and_then(|round| round.get(at % 4)).copied().unwrap_or_default();
        let sum = a.wrapping_add(mixed).wrapping_add(constant).wrapping_add(word);
        (a, d, c, b) = (d, c, b, b.wrapping_add(sum.rotate_left(shift)));
    }
    let [a0, b0, c0, d0] = start;
    [a0.wrapping_add(a), b0.wrapping_add(b), c0.wrapping_add(c), d0.wrapping_add(d)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    #[test]
    fn digests_are_those_of_the_rfc() {
        for (text, want) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            (&"1234567890".repeat(8), "57edf4a22be3c955ac49da2e2107b67a"),
        ] {
            let bytes = state(text.as_bytes()).map(u32::to_le_bytes).concat();
            let hex = bytes.iter().fold(String::new(), |mut all, byte| {
                write!(all, "{byte:02x}").unwrap();
                all
            });
            assert_eq!(hex, want, "{text}");
        }
        assert_eq!(low_half(b"abc"), 0xd696_3f7d_28e1_7f72);
        // Lengths around the end of a block.
        for length in 50..70 {
            assert_ne!(state(&vec![b'a'; length]), state(&vec![b'a'; length + 1]));
        }
    }
}
