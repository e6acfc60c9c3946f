//! A record as the bytes of a file: what its body is, how many points it has, a sum over all of it, and the body.

use super::Record;

/// What a file begins with, before the length of its form.
const MAGIC: &[u8; 8] = b"HEADROOM";
/// The most points that a damaged file is believed to have had.
const POINTS_MAX: u64 = 1_000_000;

/// A record as a file.
pub(in crate::export) fn bytes(record: &Record) -> Vec<u8> {
    let mut out = head(record);
    let sum = sum([&out, &record.body]);
    out.extend_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(&record.body);
    out
}

/// What stands before a record's body and the sum of both: form and points.
fn head(record: &Record) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&(record.form.len() as u64).to_le_bytes());
    head.extend_from_slice(record.form.as_bytes());
    head.extend_from_slice(&record.points.to_le_bytes());
    head
}

/// A head in its parts: form, points, and what follows.
fn parts(bytes: &[u8]) -> Option<(&[u8], u64, &[u8])> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let (form, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let (points, rest) = rest.split_first_chunk::<8>()?;
    Some((form, u64::from_le_bytes(*points), rest))
}

/// A file as a record, if it is whole and of a known form.
pub(in crate::export) fn record(bytes: &[u8], known: &[&'static str]) -> Option<Record> {
    let (form, points, rest) = parts(bytes)?;
    let head = bytes.get(..bytes.len() - rest.len())?;
    let (expected, body) = rest.split_first_chunk::<8>()?;
    let form = known.iter().find(|known| known.as_bytes() == form)?;
    let whole = sum([head, body]) == u64::from_le_bytes(*expected);
    whole.then(|| Record { body: body.to_vec(), points, form })
}

/// How many points a file had that is of no use, where its head can be believed.
pub(super) fn points(bytes: &[u8]) -> Option<u64> {
    parts(bytes).map(|(_, points, _)| points).filter(|points| (1..=POINTS_MAX).contains(points))
}

/// FNV-1a: against what a disk does to bytes, not against people.
fn sum(parts: [&[u8]; 2]) -> u64 {
    let bytes = parts.into_iter().flatten();
    bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
