//! Pages made smaller: gzip and zstd, with their tables kept from page to page.

use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use std::io;

/// How a body is coded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    #[default]
    Identity,
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Coding {
    /// The value of the header `Content-Encoding`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// The fastest of gzip's levels: the next one costs three times as much for a tenth of the bytes.
const GZIP_LEVEL: u32 = 1;
/// Of zstd's levels the first that is smaller than gzip's, at no higher price.
const ZSTD_LEVEL: i32 = 1;
/// No time, no name, "fastest", an unknown system (RFC 1952, 2.3).
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

/// Compresses pages, one after the other. What a coding needs is made when it is first asked for.
#[derive(Default)]
pub struct Compressor {
    gzip: Option<Compress>,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Compressor {
    /// The page in this coding.
    pub fn compress(&mut self, coding: Coding, page: &[u8]) -> io::Result<Vec<u8>> {
        match coding {
            Coding::Identity => Ok(page.to_vec()),
            Coding::Gzip => {
                let deflate =
                    self.gzip.get_or_insert_with(|| Compress::new(Compression::new(GZIP_LEVEL), false));
                gzip(deflate, page)
            }
            Coding::Zstd => {
                if self.zstd.is_none() {
                    self.zstd = Some(zstd::bulk::Compressor::new(ZSTD_LEVEL)?);
                }
                self.zstd.as_mut().map_or_else(|| Ok(page.to_vec()), |zstd| zstd.compress(page))
            }
        }
    }
}

fn gzip(deflate: &mut Compress, page: &[u8]) -> io::Result<Vec<u8>> {
    deflate.reset();
    // A page shrinks to a fifth or so.
    let mut out = Vec::with_capacity(page.len() / 4 + 1024);
    out.extend_from_slice(&GZIP_HEAD);
    let mut taken = 0;
    loop {
        let rest = page.get(taken..).unwrap_or_default();
        let before = deflate.total_in();
        let status = deflate.compress_vec(rest, &mut out, FlushCompress::Finish).map_err(io::Error::other)?;
        taken += usize::try_from(deflate.total_in() - before).unwrap_or(rest.len());
        if status == Status::StreamEnd {
            break;
        }
        out.reserve(out.capacity().max(1024));
    }
    let mut crc = Crc::new();
    crc.update(page);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    // The length modulo 2^32, as the format has it.
    out.extend_from_slice(&crc.amount().to_le_bytes());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_is_unpacked_is_what_was_packed() {
        let mut compressor = Compressor::default();
        let noise: Vec<u8> = (0..100_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let pages = [&b""[..], b"x 1\n", &b"node_cpu_seconds_total 1\n".repeat(4000), &noise];
        for page in pages.into_iter().chain(pages) {
            let packed = compressor.compress(Coding::Gzip, page).unwrap();
            let mut unpacked = Vec::new();
            flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
            assert!(unpacked == page);
            let packed = compressor.compress(Coding::Zstd, page).unwrap();
            assert!(zstd::bulk::decompress(&packed, page.len()).unwrap() == page);
            assert!(compressor.compress(Coding::Identity, page).unwrap() == page);
        }
    }
}
