//! How much memory the machine could hand out at once: MemAvailable, and what lies free on the processors' own lists.

use super::memory::{free_per_cpu_pages, meminfo_bytes};
use super::{Host, HostError, read_once};

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
    /// Free swap.
    pub swap_free_bytes: u64,
}

impl Free {
    /// Reads it.
    pub fn read(host: &Host) -> Result<Self, HostError> {
        let path = host.procfs.join("zoneinfo");
        let zones = read_once(&path)?;
        let pages = zones.map(|t| free_per_cpu_pages(&t)).transpose();
        let pages = pages.map_err(|e| HostError::parse(&path, e))?;
        let page_bytes = rustix::param::page_size() as u64;
        let meminfo = read_once(&host.procfs.join("meminfo"))?.unwrap_or_default();
        let field = |name| meminfo_bytes(&meminfo, name).unwrap_or_default();
        Ok(Self {
            total_bytes: field("MemTotal"),
            available_bytes: field("MemAvailable"),
            per_cpu_bytes: pages.map(|p| p.saturating_mul(page_bytes)),
            swap_cached_bytes: field("SwapCached"),
            swap_free_bytes: field("SwapFree"),
        })
    }

    /// What can be had, wherever it lies.
    pub fn reachable_bytes(&self) -> u64 {
        self.available_bytes.saturating_add(self.per_cpu_bytes.unwrap_or(0))
    }
}
