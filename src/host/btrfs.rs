//! The texts of btrfs, and how much space its layouts take for a byte of data.
//!
//! Source: `fs/btrfs/sysfs.c`, btrfs(5).

use super::HostError;
use super::counted::{self, File};
use super::parse::{ParseError, pair_lines};
use crate::sys;
use std::fmt::Write;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// The highest number of a device that is looked at; btrfs numbers them from 1, and gives no number twice.
const DEVICE_ID_MAX: u64 = 4096;

/// A file system as it tells about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Its UUID as 32 hexadecimal digits.
    pub uuid: String,
    /// Its devices.
    pub devices: Vec<Device>,
}

/// A device of a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The last part of its path.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// Its size.
    pub total_bytes: u64,
    /// How much of it belongs to block groups.
    pub used_bytes: u64,
    /// Errors of write, read, flush, corruption and generation.
    pub errors: [u64; 5],
}

/// What the file system at a mount point tells about itself.
pub fn file_system(mount_point: &Path) -> Result<FileSystem, HostError> {
    // Not kept open: nobody could unmount it.
    let file = File::open(mount_point).map_err(|e| HostError::read(mount_point, e))?;
    ask(file.as_fd()).map_err(|e| HostError::read(mount_point, e))
}

fn ask(fd: BorrowedFd<'_>) -> io::Result<FileSystem> {
    counted::call();
    let [id_max, devices, uuid_head, uuid_tail, ..] = sys::btrfs_file_system(fd)?;
    let mut out = FileSystem { uuid: hexadecimal([uuid_head, uuid_tail]), devices: Vec::new() };
    for id in 0..=id_max.min(DEVICE_ID_MAX) {
        if out.devices.len() as u64 >= devices {
            break;
        }
        counted::call();
        match sys::btrfs_device(fd, id) {
            Ok(about) => {
                counted::call();
                out.devices.push(device(&about, &sys::btrfs_device_errors(fd, id)?));
            }
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(out)
}

fn device(about: &[u64; sys::BTRFS_DEVICE], errors: &[u64; sys::BTRFS_DEVICE_ERRORS]) -> Device {
    const PATH_AT: usize = 384;
    let [_, uuid_head, uuid_tail, used_bytes, total_bytes, ..] = *about;
    let path: Vec<u8> = about.iter().skip(PATH_AT).flat_map(|word| word.to_ne_bytes()).collect();
    let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let [_, _, _, write, read, flush, corruption, generation, ..] = *errors;
    let mut uuid = hexadecimal([uuid_head, uuid_tail]);
    for dash in [20, 16, 12, 8] {
        uuid.insert(dash, '-');
    }
    Device {
        name: String::from_utf8_lossy(name).into_owned(),
        uuid,
        total_bytes,
        used_bytes,
        errors: [write, read, flush, corruption, generation],
    }
}

/// The bytes of two words in their order in memory.
fn hexadecimal(words: [u64; 2]) -> String {
    words.iter().flat_map(|word| word.to_ne_bytes()).fold(String::new(), |mut out, byte| {
        // Writing to a string does not fail.
        _ = write!(out, "{byte:02x}");
        out
    })
}

/// What `commit_stats` counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commits {
    /// How many there were.
    pub commits: Option<u64>,
    /// How long the last one took.
    pub last_millis: Option<u64>,
    /// How long the slowest one took.
    pub max_millis: Option<u64>,
    /// How long all of them took.
    pub total_millis: Option<u64>,
}

/// The counts of `commit_stats`.
pub fn commits(text: &str) -> Result<Commits, ParseError> {
    let mut out = Commits::default();
    for pair in pair_lines(text) {
        let (name, value) = pair?;
        match name {
            "commits" => out.commits = Some(value),
            "last_commit_ms" => out.last_millis = Some(value),
            "max_commit_ms" => out.max_millis = Some(value),
            "total_commit_ms" => out.total_millis = Some(value),
            _ => {}
        }
    }
    Ok(out)
}

/// How many bytes on disks a layout takes for one of data; `None` for a layout that is not known.
pub fn ratio(layout: &str, devices: usize) -> Option<f64> {
    let with_parity = |parity: f64| {
        let devices = devices as f64;
        (devices > parity).then(|| devices / (devices - parity))
    };
    match layout {
        "single" | "raid0" => Some(1.0),
        "dup" | "raid1" | "raid10" => Some(2.0),
        "raid1c3" => Some(3.0),
        "raid1c4" => Some(4.0),
        "raid5" => with_parity(1.0),
        "raid6" => with_parity(2.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_that_are_not_counted_are_absent() {
        let text = "commits 5\nlast_commit_ms 7\nmax_commit_ms 9\ntotal_commit_ms 11";
        let all =
            Commits { commits: Some(5), last_millis: Some(7), max_millis: Some(9), total_millis: Some(11) };
        assert_eq!(commits(text), Ok(all));
        assert_eq!(commits("commits 5\nnew 1\n").unwrap().max_millis, None);
        assert!(commits("commits\n").is_err());
    }

    #[test]
    fn a_device_is_read_from_the_kernels_words() {
        let mut about = [0; sys::BTRFS_DEVICE];
        about[1] = u64::from_ne_bytes([0xab, 1, 2, 3, 4, 5, 6, 7]);
        (about[3], about[4]) = (10, 30);
        about[384] = u64::from_ne_bytes(*b"/dev/sda");
        let mut errors = [0; sys::BTRFS_DEVICE_ERRORS];
        errors[3..8].copy_from_slice(&[1, 2, 3, 4, 5]);
        let device = device(&about, &errors);
        assert_eq!((device.name.as_str(), device.used_bytes, device.total_bytes), ("sda", 10, 30));
        assert_eq!(
            (device.uuid.as_str(), device.errors),
            ("ab010203-0405-0607-0000-000000000000", [1, 2, 3, 4, 5])
        );
    }

    #[test]
    fn what_is_no_btrfs_is_an_error() {
        assert!(file_system(Path::new("/proc")).unwrap_err().to_string().contains("/proc"));
    }

    #[test]
    fn parity_is_spread_over_the_devices() {
        assert_eq!(
            (ratio("raid1", 2), ratio("raid5", 4), ratio("raid6", 4)),
            (Some(2.0), Some(4.0 / 3.0), Some(2.0))
        );
        assert_eq!((ratio("raid5", 1), ratio("raid7", 9)), (None, None));
    }
}
