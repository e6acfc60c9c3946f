//! How much memory the machine could hand out at once: MemAvailable, and what lies free on the processors' own lists.

use super::memory::{free_per_cpu_pages, meminfo_bytes};
use super::{Host, HostError, ParseError, children, read_once};

/// The machine's free memory at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Free {
    /// All memory.
    pub total_bytes: u64,
    /// The kernel's own estimate of what can be had without swapping (MemAvailable).
    pub available_bytes: u64,
    /// What lies free on the processors' own lists, which the estimate leaves out.
    pub per_cpu_bytes: Option<u64>,
    /// What is written to swap and still lies in memory: given up at once when the kernel needs it, and not before.
    pub swap_cached_bytes: u64,
    /// What the machine's compressed swaps (zram, zswap) occupy of its memory.
    pub compressed_swap_bytes: u64,
    /// Free swap.
    pub swap_free_bytes: u64,
    /// All swap.
    pub swap_total_bytes: u64,
    /// Page cache of files and slab that can be reclaimed: what `drop_caches` could take.
    pub cache_bytes: u64,
}

impl Free {
    /// Reads it.
    pub fn read(host: &Host) -> Result<Self, HostError> {
        let path = host.procfs.join("zoneinfo");
        let zones = read_once(&path)?;
        let pages = zones.map(|t| free_per_cpu_pages(&t)).transpose();
        let pages = pages.map_err(|e| HostError::parse(&path, e))?;
        let page_bytes = rustix::param::page_size() as u64;
        let path = host.procfs.join("meminfo");
        let meminfo = read_once(&path)?.unwrap_or_default();
        let field = |name| meminfo_bytes(&meminfo, name).unwrap_or_default();
        // Without these nothing can be verified, and nothing may be done.
        let needed = |name: &'static str| {
            let missing = || HostError::parse(&path, ParseError::new(0, name));
            meminfo_bytes(&meminfo, name).ok_or_else(missing)
        };
        Ok(Self {
            total_bytes: needed("MemTotal")?,
            available_bytes: needed("MemAvailable")?,
            per_cpu_bytes: pages.map(|p| p.saturating_mul(page_bytes)),
            swap_cached_bytes: field("SwapCached"),
            compressed_swap_bytes: zram_bytes(host)?.saturating_add(field("Zswap")),
            swap_free_bytes: field("SwapFree"),
            swap_total_bytes: field("SwapTotal"),
            cache_bytes: ["Buffers", "Cached", "SReclaimable"]
                .map(field)
                .iter()
                .sum::<u64>()
                .saturating_sub(field("Shmem")),
        })
    }

    /// What can be had, wherever it lies.
    pub fn reachable_bytes(&self) -> u64 {
        self.available_bytes.saturating_add(self.per_cpu_bytes.unwrap_or(0))
    }
}

/// What all compressed block devices hold. A device that goes away, or has no size yet, holds nothing.
fn zram_bytes(host: &Host) -> Result<u64, HostError> {
    let block = host.sysfs.join("block");
    let mut bytes = 0_u64;
    for name in children(&block)?.unwrap_or_default().iter().filter(|name| name.starts_with("zram")) {
        let text = read_once(&block.join(name).join("mm_stat"))?.unwrap_or_default();
        bytes = bytes.saturating_add(mem_used_total(&text).unwrap_or(0));
    }
    Ok(bytes)
}

/// The third number of a zram's mm_stat (`Documentation/admin-guide/blockdev/zram.rst`).
pub(crate) fn mem_used_total(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_swaps_and_lists_of_processors_are_part_of_the_picture() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host { procfs: dir.path().into(), sysfs: dir.path().into(), ..Host::default() };
        for (name, text) in [
            (
                "meminfo",
                "MemTotal: 9 kB\nMemAvailable: 8 kB\nSwapCached: 1 kB\nSwapFree: 2 kB\nSwapTotal: 7 kB\nZswap: 3 kB\n\
                 Buffers: 1 kB\nCached: 5 kB\nShmem: 2 kB\nSReclaimable: 4 kB\n",
            ),
            ("zoneinfo", "  count: 1\n"),
            ("block/zram0/mm_stat", "50335744  1265738  1388544 0 1388544 0 0 0 0\n"),
            ("block/zram7/mm_stat", "1 2 1000 0\n"),
            ("block/vda/mm_stat", "1 2 3\n"),
        ] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        std::fs::create_dir(dir.path().join("block/zram8")).unwrap();
        let free = Free::read(&host).unwrap();
        assert_eq!(free.compressed_swap_bytes, 1_388_544 + 1000 + 3072);
        assert_eq!(free.reachable_bytes(), 8192 + rustix::param::page_size() as u64);
        assert_eq!((free.swap_total_bytes, free.cache_bytes), (7168, 8192));
        assert_eq!((free.total_bytes, free.swap_cached_bytes, free.swap_free_bytes), (9216, 1024, 2048));
    }
}
