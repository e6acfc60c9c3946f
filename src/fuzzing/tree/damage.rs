//! What can be wrong with a file: cut off, noise, gigantic, other numbers, no file at all.

use crate::host::FILE_BYTES_MAX;
use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Bytes that decide what is done, as a fuzzer makes them; where they end, zeros follow.
pub(super) struct Program<'a>(pub(super) &'a [u8]);

impl Program<'_> {
    pub(super) fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// A number below `end`; 0 if that is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let number = usize::from(u16::from_le_bytes([self.byte(), self.byte()]));
        // Files are longer than two bytes can count, but for a few; what is behind them is reached by their quarters.
        number.checked_rem(end).unwrap_or_default()
    }
}

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// Nothing behind this share of it, in 65536ths.
    Cut(u16),
    /// A byte at this share of it is another one.
    Byte(u16, u8),
    /// A number, counted from the beginning, is another one.
    Number(u8, u8),
    /// A line, counted from the beginning, is not there; or is there twice.
    Line(u8, bool),
    /// Nothing but noise.
    Noise(u8),
    /// One line of all that it has, many times.
    LongLine,
    /// The whole, many times.
    Repeated,
    /// Longer than anything that is read.
    Gigantic,
    /// Not there.
    Gone,
    /// A directory.
    Directory,
    /// A link to itself.
    Loop,
    /// For nobody to read (but root).
    Forbidden,
}

const NUMBERS: [&str; 12] = [
    "0",
    "-1",
    "1",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "1e999",
    "0x7fffffffffffffff",
];

/// As long as a long file becomes.
const LONG_BYTES: usize = 256 << 10;

impl Damage {
    pub(super) fn read(program: &mut Program<'_>) -> Self {
        let kind = program.byte() % 16;
        let (a, b) = (program.byte(), program.byte());
        let share = u16::from_le_bytes([a, b]);
        match kind {
            0 | 1 => Self::Cut(share),
            2 | 3 => Self::Byte(share, program.byte()),
            4..=7 => Self::Number(a, b),
            8 => Self::Line(a, b % 2 == 0),
            9 => Self::Noise(a),
            10 if a % 4 == 0 => Self::LongLine,
            10 if a % 4 == 1 => Self::Repeated,
            10 if share == u16::MAX => Self::Gigantic,
            11 => Self::Directory,
            12 => Self::Loop,
            13 => Self::Forbidden,
            _ => Self::Gone,
        }
    }

    /// Whether there is another thing in the file's place, or none.
    pub(super) fn replaces(self) -> bool {
        matches!(self, Self::Gone | Self::Directory | Self::Loop)
    }

    pub(super) fn apply(self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Gigantic => OpenOptions::new().write(true).open(path)?.set_len(FILE_BYTES_MAX as u64 + 1),
            Self::Gone => std::fs::remove_file(path),
            Self::Directory => {
                std::fs::remove_file(path)?;
                std::fs::create_dir(path)
            }
            Self::Loop => {
                std::fs::remove_file(path)?;
                std::os::unix::fs::symlink(path, path)
            }
            Self::Forbidden => std::fs::set_permissions(path, Permissions::from_mode(0o000)),
            _ => write(path, &self.text(bytes)),
        }
    }

    /// What the file then has.
    fn text(self, bytes: &[u8]) -> Vec<u8> {
        let place = |share: u16| bytes.len() * usize::from(share) / 65536;
        match self {
            Self::Cut(share) => bytes.get(..place(share)).unwrap_or_default().to_vec(),
            Self::Byte(share, byte) => {
                let mut out = bytes.to_vec();
                out.get_mut(place(share)).into_iter().for_each(|old| *old = byte);
                out
            }
            Self::Number(which, number) => {
                let number = NUMBERS.get(usize::from(number) % NUMBERS.len()).copied().unwrap_or_default();
                other_number(bytes, which.into(), number)
            }
            Self::Line(which, twice) => {
                let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
                let which = usize::from(which).checked_rem(lines.len()).unwrap_or_default();
                let times = |at| if at == which { usize::from(twice) * 2 } else { 1 };
                lines.iter().enumerate().flat_map(|(at, line)| line.repeat(times(at))).collect()
            }
            Self::Noise(seed) => {
                let mut state = u32::from(seed) + 1;
                let noise = std::iter::repeat_with(|| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    state.to_be_bytes()[0]
                });
                noise.take(bytes.len().clamp(1, 4096)).collect()
            }
            Self::LongLine => {
                let line: Vec<u8> = bytes.iter().map(|b| if *b == b'\n' { b' ' } else { *b }).collect();
                line.repeat(LONG_BYTES / line.len().max(1))
            }
            Self::Repeated => bytes.repeat(LONG_BYTES / bytes.len().max(1)),
            _ => bytes.to_vec(),
        }
    }
}

/// The text with another number in the place of one of its own.
fn other_number(bytes: &[u8], which: usize, number: &str) -> Vec<u8> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| byte.is_ascii_digit()) {
        match runs.last_mut() {
            Some((_, end)) if *end == at => *end = at + 1,
            _ => runs.push((at, at + 1)),
        }
    }
    let Some(&(start, end)) = which.checked_rem(runs.len()).and_then(|which| runs.get(which)) else {
        return number.as_bytes().to_vec();
    };
    let part = |range: std::ops::Range<usize>| bytes.get(range).unwrap_or_default();
    [part(0..start), number.as_bytes(), part(end..bytes.len())].concat()
}

/// Makes a file what it was.
pub(super) fn mend(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => std::fs::remove_dir(path)?,
        Ok(about) if about.is_symlink() => std::fs::remove_file(path)?,
        Ok(_) => std::fs::set_permissions(path, Permissions::from_mode(0o644))?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    write(path, bytes)
}

/// Writes into the same file, if there is one: those who have it open read what is written.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(bytes)
}
