//! What allocators keep of memory that nobody uses any more, and how the kernel gets it back.

use crate::memory::Memory;
use crate::part::{About, Part, PartError, Urgency};
use std::sync::Arc;

/// jemalloc for `#[global_allocator]`, in the version that this can ask.
#[cfg(feature = "jemalloc")]
pub use tikv_jemallocator::Jemalloc;

/// mimalloc for `#[global_allocator]`, in the version that this can ask.
#[cfg(feature = "mimalloc")]
pub use mimalloc::MiMalloc;

/// Gives back what mimalloc keeps for this thread. The part `mimalloc` cannot do it for others: each thread's heap is its own.
#[cfg(feature = "mimalloc")]
pub fn collect_here() {
    crate::sys::collect_mimalloc();
}

/// Parts for the allocators that this is built for. They finish: without them the kernel sees little of what others gave back.
pub fn parts() -> Vec<(About, Arc<dyn Part>)> {
    Vec::from([
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        finisher("malloc", || {
            crate::sys::trim_glibc();
            Ok(())
        }),
        #[cfg(feature = "jemalloc")]
        finisher("jemalloc", || Ok(crate::sys::purge_jemalloc()?)),
        #[cfg(feature = "mimalloc")]
        finisher("mimalloc", || {
            crate::sys::collect_mimalloc();
            Ok(())
        }),
    ])
}

#[cfg_attr(
    not(any(all(target_os = "linux", target_env = "gnu"), feature = "jemalloc", feature = "mimalloc")),
    expect(dead_code, reason = "there is no allocator to ask")
)]
fn finisher(name: &str, run: fn() -> Result<(), PartError>) -> (About, Arc<dyn Part>) {
    (About { finishes: true, ..About::new(name, "trim", 1.0) }, Arc::new(Finisher { run }))
}

/// What it gives back is measured: how far the process's memory fell.
struct Finisher {
    run: fn() -> Result<(), PartError>,
}

impl Part for Finisher {
    fn reclaim(&self, _target_bytes: u64, _urgency: Urgency) -> Result<u64, PartError> {
        let before = Memory::read().ok();
        (self.run)()?;
        let after = Memory::read().ok();
        let fell = before.zip(after).map(|(b, a)| b.resident_bytes.saturating_sub(a.resident_bytes));
        Ok(fell.unwrap_or(0))
    }
}

/// What the program's allocator says of itself.
#[cfg(any(feature = "jemalloc", feature = "mimalloc"))]
pub(crate) fn statistics() -> Vec<(&'static str, &'static str, u64)> {
    let mut all = Vec::new();
    #[cfg(feature = "jemalloc")]
    {
        use tikv_jemalloc_ctl::{epoch, stats};
        // Statistics are of the last time that the epoch went on.
        if epoch::advance().is_ok() {
            let read = [
                ("allocated", stats::allocated::read()),
                ("active", stats::active::read()),
                ("resident", stats::resident::read()),
                ("retained", stats::retained::read()),
            ];
            all.extend(
                read.into_iter().filter_map(|(what, read)| Some(("jemalloc", what, read.ok()? as u64))),
            );
        }
    }
    #[cfg(feature = "mimalloc")]
    all.push(("mimalloc", "committed", crate::sys::mimalloc_committed_bytes()));
    all
}
