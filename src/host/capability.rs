//! Capabilities of this process, as the kernel counts them.
//!
//! Source: capabilities(7), `include/uapi/linux/capability.h`.

use super::{Host, read_once};

/// A right that root has, and that others may be given one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Signals to processes of other users.
    Kill,
    /// Priorities above one's own, and of other users' processes.
    SysNice,
}

impl Capability {
    /// Its number in the kernel.
    const fn bit(self) -> u32 {
        match self {
            Self::Kill => 5,
            Self::SysNice => 23,
        }
    }

    /// Whether this process has it now; `None` where that cannot be read.
    pub fn is_held(self, host: &Host) -> Option<bool> {
        let status = read_once(&host.procfs.join("self/status")).ok()??;
        parse(&status).map(|set| set >> self.bit() & 1 == 1)
    }
}

/// The effective set of a `status` file.
fn parse(status: &str) -> Option<u64> {
    u64::from_str_radix(status.lines().find_map(|l| l.strip_prefix("CapEff:"))?.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_read_bit_by_bit() {
        assert_eq!(parse("Name:\tx\nCapEff:\t0000000000800020\n"), Some(1 << 23 | 1 << 5));
        assert_eq!((parse("CapEff:\tx\n"), parse("")), (None, None));
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("self")).unwrap();
        std::fs::write(dir.path().join("self/status"), "CapEff:\t0000000000800000\n").unwrap();
        let host = Host { procfs: dir.path().into(), ..Host::default() };
        assert_eq!(Capability::SysNice.is_held(&host), Some(true));
        assert_eq!(Capability::Kill.is_held(&host), Some(false));
    }
}
