//! The memory of this process itself: what the kernel and the allocator say of it.

use crate::metrics::Metrics;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, IntGaugeVec, Opts};
use std::io;

/// What the kernel says of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// In RAM now.
    pub resident_bytes: u64,
    /// In RAM at most, so far.
    pub resident_peak_bytes: Option<u64>,
    /// In swap.
    pub swapped_bytes: Option<u64>,
}

impl Memory {
    /// Asks the kernel; an error where there is no /proc.
    pub fn read() -> io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        Self::parse(&status).ok_or_else(|| io::Error::other("/proc/self/status has no VmRSS"))
    }

    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let rest = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Self {
            resident_bytes: field("VmRSS")?,
            resident_peak_bytes: field("VmHWM"),
            swapped_bytes: field("VmSwap"),
        })
    }
}

/// Puts it among the metrics.
pub(crate) fn register(metrics: &Metrics) {
    let shown = Shown::new().and_then(|shown| metrics.registry().register(Box::new(shown)));
    if let Err(error) = shown {
        tracing::error!(%error, "the process's memory is not shown");
    }
}

struct Shown {
    resident: IntGauge,
    peak: IntGauge,
    swapped: IntGauge,
    heap: IntGaugeVec,
}

impl Shown {
    fn new() -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| IntGauge::new(format!("headroom_kit_process_{name}"), help);
        Ok(Self {
            resident: gauge("resident_bytes", "This process's memory in RAM.")?,
            peak: gauge("resident_peak_bytes", "The most that it had in RAM so far.")?,
            swapped: gauge("swapped_bytes", "This process's memory in swap.")?,
            heap: IntGaugeVec::new(
                Opts::new("headroom_kit_heap_bytes", "What the allocator says of its heap, by state."),
                &["allocator", "state"],
            )?,
        })
    }
}

impl Collector for Shown {
    fn desc(&self) -> Vec<&Desc> {
        let gauges = [&self.resident, &self.peak, &self.swapped];
        gauges.into_iter().flat_map(Collector::desc).chain(self.heap.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        // What the kernel does not say is absent.
        if let Ok(memory) = Memory::read() {
            let said = [
                (&self.resident, Some(memory.resident_bytes)),
                (&self.peak, memory.resident_peak_bytes),
                (&self.swapped, memory.swapped_bytes),
            ];
            for (gauge, bytes) in said {
                if let Some(bytes) = bytes {
                    gauge.set(signed(bytes));
                    families.extend(gauge.collect());
                }
            }
        }
        #[cfg(any(feature = "jemalloc", feature = "mimalloc"))]
        for (allocator, state, bytes) in crate::allocator::statistics() {
            self.heap.with_label_values(&[allocator, state]).set(signed(bytes));
        }
        families.extend(self.heap.collect());
        families
    }
}

/// A number of bytes as gauges have it.
pub(crate) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_the_kernel_does_not_give_is_absent() {
        let status = "Name:\tshop\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t3\n";
        let memory = Memory::parse(status).unwrap();
        let want =
            Memory { resident_bytes: 1 << 20, resident_peak_bytes: Some(2 << 20), swapped_bytes: None };
        assert_eq!(memory, want);
        assert_eq!(Memory::parse("Name:\tkthreadd\n"), None);
        assert_eq!(Memory::parse("VmRSS:\tmuch\n"), None);
    }

    #[test]
    fn what_is_allocated_is_seen() {
        let before = Memory::read().unwrap();
        let much = vec![1_u8; 64 << 20];
        let after = Memory::read().unwrap();
        assert!(after.resident_bytes > before.resident_bytes + (60 << 20), "{before:?} {after:?}");
        assert!(after.resident_peak_bytes >= Some(after.resident_bytes - (8 << 20)));
        drop(much);
    }
}
