//! Stall totals and room for memory, read many times a second: files stay open, numbers are parsed by hand, and nothing
//! is allocated.
//!
//! Sources: `Documentation/accounting/psi.rst`, `Documentation/filesystems/proc.rst`.

use super::Host;
use super::cgroup::{Hierarchies, Version};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

/// What is read of a file. All that is wanted stands at its beginning.
const BYTES: usize = 512;

/// A group's limit is read again after so many readings: it seldom changes, and a read after a rest costs 40 µs.
const LIMIT_READINGS: u8 = 16;

/// Whose waiting counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Time in which at least one task waited for memory.
    #[default]
    Some,
    /// Time in which all tasks that could have run waited for memory.
    Full,
}

/// A file that stays open, and is opened anew when what it belonged to has gone.
#[derive(Debug)]
struct Steady {
    path: PathBuf,
    file: Option<File>,
}

impl Steady {
    fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    /// The file's beginning; `None` where it cannot be read now.
    fn read<'b>(&mut self, buffer: &'b mut [u8; BYTES]) -> Option<&'b [u8]> {
        let reopened = self.file.is_none();
        if reopened {
            self.file = File::open(&self.path).ok();
        }
        let mut answer = self.file.as_ref()?.read_at(buffer, 0);
        if answer.is_err() && !reopened {
            // Of a group that was removed; another one may have its name.
            self.file = File::open(&self.path).ok();
            answer = self.file.as_ref()?.read_at(buffer, 0);
        }
        if answer.is_err() {
            self.file = None;
        }
        buffer.get(..answer.ok()?)
    }

    fn number(&mut self) -> Option<u64> {
        digits(self.read(&mut [0; BYTES])?)
    }
}

/// The stall total of the machine or of one control group.
#[derive(Debug)]
pub struct Stalls {
    file: Steady,
    kind: Kind,
}

impl Stalls {
    /// Of the group at this path, or of the whole machine. A group's total stands in the v2 hierarchy, whichever has the
    /// memory controller.
    pub fn new(host: &Host, group: Option<&str>, kind: Kind) -> Self {
        let path = match group {
            None => host.procfs.join("pressure/memory"),
            Some(group) => {
                let unified = Hierarchies::detect(host).ok().and_then(|h| h.unified);
                let root = unified.unwrap_or_else(|| host.sysfs.join("fs/cgroup"));
                root.join(group.trim_start_matches('/')).join("memory.pressure")
            }
        };
        Self { file: Steady::new(path), kind }
    }

    /// Where it is read.
    pub fn path(&self) -> &std::path::Path {
        &self.file.path
    }

    /// All stalls since the machine or the group began; `None` where the kernel does not say.
    pub fn read(&mut self) -> Option<Duration> {
        total(self.file.read(&mut [0; BYTES])?, self.kind).map(Duration::from_micros)
    }
}

/// Memory that can be had, of how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What is left, in bytes.
    pub available_bytes: u64,
    /// Of so many bytes.
    pub total_bytes: u64,
    /// What nobody uses, not even for a cache; of the machine alone.
    pub free_bytes: Option<u64>,
}

/// What says how much room there is.
#[derive(Debug)]
pub enum Rooms {
    /// The machine: MemAvailable.
    Machine(MachineRoom),
    /// A control group: the distance to its limit.
    Group(GroupRoom),
}

/// /proc/meminfo, kept open.
#[derive(Debug)]
pub struct MachineRoom(Steady);

/// A group's use and its limit, kept open.
#[derive(Debug)]
pub struct GroupRoom {
    used: Steady,
    limit: Steady,
    /// The limit, and for how many readings it is still believed.
    known: Option<(Option<u64>, u8)>,
}

impl Rooms {
    /// Of the machine.
    pub fn machine(host: &Host) -> Self {
        Self::Machine(MachineRoom(Steady::new(host.procfs.join("meminfo"))))
    }

    /// Of a group; `None` where no hierarchy has the memory controller.
    pub fn group(host: &Host, group: &str) -> Option<Self> {
        let (version, root) = Hierarchies::detect(host).ok()?.memory?;
        let directory = root.join(group.trim_start_matches('/'));
        let (used, limit) = match version {
            Version::V1 => ("memory.usage_in_bytes", "memory.limit_in_bytes"),
            Version::V2 => ("memory.current", "memory.max"),
        };
        let [used, limit] = [used, limit].map(|name| Steady::new(directory.join(name)));
        Some(Self::Group(GroupRoom { used, limit, known: None }))
    }

    /// The room at this moment; `None` where there is no limit, or nothing can be read.
    pub fn read(&mut self) -> Option<Room> {
        match self {
            Self::Machine(MachineRoom(file)) => {
                let mut buffer = [0; BYTES];
                let text = file.read(&mut buffer)?;
                let bytes = |name| kibibytes(text, name)?.checked_mul(1024);
                Some(Room {
                    available_bytes: bytes(b"MemAvailable:")?,
                    total_bytes: bytes(b"MemTotal:")?,
                    free_bytes: bytes(b"MemFree:"),
                })
            }
            Self::Group(GroupRoom { used, limit, known }) => {
                let (total, believed) = match *known {
                    Some((total, believed)) if believed > 0 => (total, believed - 1),
                    // `max` has no digits; version 1 writes the largest number of pages.
                    _ => (limit.number().filter(|&l| l < 1 << 60), LIMIT_READINGS),
                };
                *known = Some((total, believed));
                let total_bytes = total?;
                let available_bytes = total_bytes.saturating_sub(used.number()?);
                Some(Room { available_bytes, total_bytes, free_bytes: None })
            }
        }
    }
}

/// The total of a pressure file, in microseconds.
pub(crate) fn total(text: &[u8], kind: Kind) -> Option<u64> {
    let name: &[u8] = if kind == Kind::Some { b"some " } else { b"full " };
    let line = text.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(name))?;
    digits(line.split(|&b| b == b' ').find_map(|word| word.strip_prefix(b"total="))?)
}

pub(crate) fn kibibytes(text: &[u8], name: &[u8]) -> Option<u64> {
    let rest = text.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(name))?;
    digits(rest.trim_ascii_start())
}

/// The number that a text begins with.
pub(crate) fn digits(text: &[u8]) -> Option<u64> {
    let mut number = None;
    for digit in text.iter().take_while(|b| b.is_ascii_digit()).map(|b| u64::from(b - b'0')) {
        number = Some(number.unwrap_or(0_u64).checked_mul(10)?.checked_add(digit)?);
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str =
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=412\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";

    proptest! {
        #[test]
        fn the_hand_reads_what_the_parser_reads(some in any::<u64>(), full in any::<u64>()) {
            let text = TEXT.replace("412", &some.to_string()).replace("=7\n", &format!("={full}\n"));
            let parsed = crate::host::memory::pressure(&text).unwrap();
            prop_assert_eq!(total(text.as_bytes(), Kind::Some), parsed.some_micros);
            prop_assert_eq!(total(text.as_bytes(), Kind::Full), parsed.full_micros);
        }

        #[test]
        fn no_bytes_panic(text in proptest::collection::vec(any::<u8>(), 0..600)) {
            _ = (total(&text, Kind::Full), kibibytes(&text, b"MemTotal:"), digits(&text));
        }
    }

    #[test]
    fn what_the_kernel_did_not_say_is_absent() {
        assert_eq!(total(b"some avg10=0.00 total=5\n", Kind::Full), None);
        assert_eq!(digits(b""), None);
        assert_eq!(digits(b"max\n"), None);
        assert_eq!(digits(b"99999999999999999999999"), None);
    }

    #[test]
    fn a_group_that_is_removed_and_made_again_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host { procfs: dir.path().into(), sysfs: dir.path().into(), ..Host::default() };
        let group = dir.path().join("fs/cgroup/a");
        std::fs::create_dir_all(&group).unwrap();
        std::fs::write(dir.path().join("fs/cgroup/cgroup.controllers"), "memory").unwrap();
        let mut stalls = Stalls::new(&host, Some("/a"), Kind::Some);
        let mut rooms = Rooms::group(&host, "/a").unwrap();
        assert_eq!((stalls.read(), rooms.read()), (None, None));
        std::fs::write(group.join("memory.pressure"), TEXT).unwrap();
        std::fs::write(group.join("memory.current"), "30\n").unwrap();
        std::fs::write(group.join("memory.max"), "max\n").unwrap();
        assert_eq!((stalls.read(), rooms.read()), (Some(Duration::from_micros(412)), None));
        std::fs::write(group.join("memory.max"), "100\n").unwrap();
        let found = (0..=LIMIT_READINGS).find_map(|_| rooms.read());
        assert_eq!(found, Some(Room { available_bytes: 70, total_bytes: 100, free_bytes: None }));
    }

    #[test]
    fn this_machine_says_how_much_room_it_has() {
        let room = Rooms::machine(&Host::default()).read().unwrap();
        assert!(room.available_bytes > 0 && room.available_bytes < room.total_bytes);
        assert!(room.free_bytes.is_some_and(|free| free > 0 && free < room.total_bytes));
    }
}
