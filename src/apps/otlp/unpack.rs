//! Packed bodies: how they are named, and unpacked up to a limit, whatever they would become.

use std::borrow::Cow;
use std::io::{self, Read};

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Gzip,
    Zstd,
}

/// The names of all, for who used another one.
pub(super) const KNOWN: &str = "gzip, zstd, identity";
/// The largest window of zstd, as a power of two: what its decoder may hold besides.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Why there is no body.
#[derive(Debug)]
pub(super) enum UnpackError {
    /// It would be longer than it may be.
    TooLong,
    /// It is not packed as it says.
    Broken(io::Error),
}

impl Packing {
    /// By the name of a coding.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name.trim() {
            "" | "identity" => Some(Self::None),
            "gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The body as it was before it was packed, of at most `most` bytes.
    pub(super) fn unpack(self, body: &[u8], most: usize) -> Result<Cow<'_, [u8]>, UnpackError> {
        match self {
            Self::None if body.len() > most => Err(UnpackError::TooLong),
            Self::None => Ok(Cow::Borrowed(body)),
            Self::Gzip => bounded(flate2::read::MultiGzDecoder::new(body), most),
            Self::Zstd => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(body).map_err(UnpackError::Broken)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(UnpackError::Broken)?;
                bounded(decoder, most)
            }
        }
    }
}

fn bounded<'a>(from: impl Read, most: usize) -> Result<Cow<'a, [u8]>, UnpackError> {
    let mut out = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    from.take(limit).read_to_end(&mut out).map_err(UnpackError::Broken)?;
    if out.len() > most { Err(UnpackError::TooLong) } else { Ok(Cow::Owned(out)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::compress::{Coding, Compressor};

    #[test]
    fn what_was_packed_is_unpacked_up_to_the_limit() {
        let body = vec![7_u8; 100_000];
        for (name, coding) in [("gzip", Coding::Gzip), ("zstd", Coding::Zstd), ("identity", Coding::Identity)]
        {
            let packed = Compressor::default().compress(coding, &body).unwrap();
            let packing = Packing::named(name).unwrap();
            assert!(packing.unpack(&packed, body.len()).unwrap() == body.as_slice());
            assert!(matches!(packing.unpack(&packed, body.len() - 1), Err(UnpackError::TooLong)), "{name}");
            if packing != Packing::None {
                let cut = packed.get(..packed.len() / 2).unwrap();
                assert!(matches!(packing.unpack(cut, body.len()), Err(UnpackError::Broken(_))), "{name}");
            }
        }
        assert_eq!(Packing::named("br"), None);
    }
}
