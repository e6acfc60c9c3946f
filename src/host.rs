//! The machine as the kernel shows it: where its files are, how they are read, and what can go wrong.
//!
//! Reading and writing are two different keys: everything here reads; [`hand::Hand`] alone writes.

pub mod arp;
pub mod arrivals;
pub mod attribute;
pub mod bcache;
pub mod bcachefs;
pub mod beside;
pub mod btrfs;
pub mod capability;
pub mod cgroup;
#[cfg(target_os = "linux")]
pub mod clock;
pub mod conntrack;
pub mod container;
pub mod counted;
pub mod cpuinfo;
pub mod dbus;
pub mod disk;
pub mod drbd;
pub mod ethtool;
pub mod footprint;
pub mod free;
pub mod generic;
pub mod glob;
pub mod group;
pub mod hand;
pub mod hwmon;
pub mod infiniband;
pub mod interrupt;
pub mod ipvs;
pub mod kept;
pub mod kstat;
pub mod link;
pub mod links;
pub mod listing;
pub mod md;
pub mod memory;
pub mod mount;
pub mod mountstats;
pub mod neighbour;
pub mod net;
pub mod netlink;
pub mod netstat;
pub mod nfs;
pub mod numa;
pub mod parse;
pub mod pci;
pub mod plain;
pub mod proc;
pub mod recent;
pub mod release;
pub mod resident;
pub mod route;
pub mod schedstat;
pub mod slab;
pub mod sockets;
pub mod space;
pub mod stall;
pub mod stat;
pub mod system;
pub mod systemd;
pub mod task;
pub mod tcp;
pub mod tree;
pub mod vulnerability;
pub mod wifi;
pub mod xfs;
pub mod zone;

pub use arrivals::{Arrivals, Seen};
pub use attribute::Attributes;
pub use kept::{End, Kept};
pub use links::Links;
pub use listing::Listing;
pub use parse::ParseError;
pub use recent::Recent;
use std::io;
use std::path::{Path, PathBuf};
pub use tree::Tree;

/// The largest kernel file that is read, in bytes; what is larger is an error, not a swollen process.
pub const FILE_BYTES_MAX: usize = 32 << 20;

/// What went wrong while reading from the host: attempted what, on what, why.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The kernel refused to open or read a file.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The file is longer than [`FILE_BYTES_MAX`].
    #[error("cannot read {}: longer than {FILE_BYTES_MAX} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file's text is not what the kernel's documentation promises.
    #[error("cannot understand {}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where in the file, and what was expected there.
        source: ParseError,
    },
}

impl HostError {
    /// An error of the kernel for `path`.
    pub fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    /// A text error in `path`.
    pub fn parse(path: &Path, source: ParseError) -> Self {
        Self::Parse { path: path.to_owned(), source }
    }
}

/// Where the host's trees are mounted, so that a container or a test can look at another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The proc file system (`/proc`).
    pub procfs: PathBuf,
    /// The sys file system (`/sys`).
    pub sysfs: PathBuf,
    /// The root below which mount points and `/etc` are looked up (`/`).
    pub rootfs: PathBuf,
    /// udev's database of devices (`/run/udev/data`).
    pub udev_data: PathBuf,
    /// Whether what comes to the machine of these files is heard of; if not, it is looked for in each pass.
    pub arrivals: Arrivals,
    /// /proc/stat, for which the kernel sums up all interrupts of all processors.
    pub stat: Recent,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            procfs: "/proc".into(),
            sysfs: "/sys".into(),
            rootfs: "/".into(),
            udev_data: "/run/udev/data".into(),
            arrivals: Arrivals::default(),
            stat: Recent::default(),
        }
    }
}

impl Host {
    /// A file under /proc that is read again and again.
    pub fn proc_file(&self, relative: &str) -> Kept {
        Kept::new(self.procfs.join(relative)).ending(End::of_proc(relative)).heard_by(&self.arrivals)
    }

    /// The lines of /proc/stat, parsed; `None` where there is no such file. One reading serves a whole pass.
    pub fn stat<T>(
        &self,
        parser: impl FnOnce(&str) -> Result<T, ParseError>,
    ) -> Result<Option<T>, HostError> {
        self.stat.parse_lines(&self.procfs.join("stat"), || self.proc_file("stat"), parser)
    }

    /// Begins a pass over the host.
    pub fn begin_pass(&self) {
        self.stat.begin();
    }

    /// A file under /sys that is read again and again.
    pub fn sys_file(&self, relative: &str) -> Kept {
        Kept::new(self.sysfs.join(relative)).ending(End::Room).heard_by(&self.arrivals)
    }

    /// A path of the host as seen through [`Host::rootfs`].
    pub fn root_path(&self, absolute: &str) -> PathBuf {
        self.rootfs.join(absolute.trim_start_matches('/'))
    }
}

/// The whole text of a file that is read once; `None` where there is no such file.
/// Bytes that are no UTF-8 are replaced: names of processes may hold any.
pub fn read_once(path: &Path) -> Result<Option<String>, HostError> {
    let mut kept = Kept::new(path.to_owned());
    Ok(kept.read_bytes()?.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
}

/// The same for what is no text.
pub fn read_bytes_once(path: &Path) -> Result<Option<Vec<u8>>, HostError> {
    Ok(Kept::new(path.to_owned()).read_bytes()?.map(<[u8]>::to_vec))
}

/// The names in a directory, sorted; `None` where there is no such directory.
pub fn children(path: &Path) -> Result<Option<Vec<String>>, HostError> {
    let mut names = Vec::new();
    match counted::entries(path, |entry| names.push(entry.name.to_owned())) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(HostError::read(path, e)),
    }
    names.sort_unstable();
    Ok(Some(names))
}

/// Whether this process may write an existing kernel file, found out by opening it: rights, capabilities and a file system
/// that is mounted read-only all speak there.
pub fn may_write(path: &Path) -> io::Result<()> {
    counted::File::open_with(std::fs::OpenOptions::new().write(true), path).map(drop)
}

/// Whether this process may read a kernel file; it is opened, and not read.
pub fn may_read(path: &Path) -> io::Result<()> {
    counted::File::open(path).map(drop)
}

/// The first bytes of a file or device; fewer if it has no more.
pub fn head(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut out = Vec::new();
    counted::File::open(path)?.take(bytes).read_to_end(&mut out)?;
    Ok(out)
}

/// Opens a file and closes it again, for what that does in the kernel; whether there is one.
pub fn open_once(path: &Path) -> bool {
    counted::File::open(path).is_ok()
}

/// Where a path leads once all links are followed; `None` where that is nowhere.
pub fn resolved(path: &Path) -> Option<PathBuf> {
    counted::canonicalize(path).ok()
}
