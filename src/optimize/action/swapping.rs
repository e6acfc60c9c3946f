//! When swapping is worth it: what of the swap may be filled, and whether the machine gains by what is moved there.

use crate::host::free::Free;
use crate::host::{Host, HostError};
use bytesize::ByteSize;

/// This part of the free swap is left to others.
const SWAP_LEFT_SHARE: u64 = 5;
/// After so many bytes moved, the machine must have gained at least a quarter of them: a swap in the same memory
/// that does not compress gains nothing.
const TRIAL_BYTES: u64 = 32 << 20;

/// How much may be moved to swap.
pub(super) fn room(swap_free_bytes: u64) -> u64 {
    swap_free_bytes - swap_free_bytes / SWAP_LEFT_SHARE
}

/// What was free before the first page was moved.
pub(super) struct Trial(Free);

impl Trial {
    /// Begins: nothing was moved yet.
    pub(super) fn begin(host: &Host) -> Result<Self, HostError> {
        Free::read(host).map(Self)
    }

    /// Why it is no use to go on; `None` while it is, or while too little was moved to tell.
    pub(super) fn futile(&self, host: &Host) -> Result<Option<String>, HostError> {
        Ok(judge(&self.0, &Free::read(host)?))
    }
}

fn judge(start: &Free, now: &Free) -> Option<String> {
    let moved = start.swap_free_bytes.saturating_sub(now.swap_free_bytes);
    // A swap on a disk is written while we look: until the kernel needs them, the pages stay in memory besides. That
    // is no gain yet, and no reason to stop either.
    let given = |free: &Free| free.reachable_bytes().saturating_add(free.swap_cached_bytes);
    let gained = given(now).saturating_sub(given(start));
    (moved >= TRIAL_BYTES && gained < moved / 4).then(|| {
        let (moved, gained) = (ByteSize(moved), ByteSize(gained));
        format!("stopped: {moved} went to swap and the machine gained only {gained}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(available_mib: u64, per_cpu_mib: u64, swap_mib: u64) -> Free {
        Free {
            available_bytes: available_mib << 20,
            per_cpu_bytes: Some(per_cpu_mib << 20),
            swap_free_bytes: swap_mib << 20,
            ..Free::default()
        }
    }

    #[test]
    fn a_swap_that_gains_nothing_is_found_out_after_a_part() {
        let start = free(1000, 100, 500);
        assert_eq!(judge(&start, &free(1000, 100, 480)), None, "too little to tell");
        assert_eq!(judge(&start, &free(1010, 100, 468)), None);
        assert!(judge(&start, &free(1005, 100, 468)).is_some());
        assert!(judge(&start, &free(900, 100, 468)).is_some());
    }

    #[test]
    fn pages_on_the_processors_own_lists_are_gained_too() {
        let start = free(1000, 100, 500);
        assert_eq!(judge(&start, &free(1000, 110, 468)), None);
        assert!(judge(&start, &free(1030, 70, 468)).is_some(), "only moved from list to list");
    }

    #[test]
    fn what_is_written_to_a_disk_and_still_cached_is_no_reason_to_stop() {
        let start = free(1000, 100, 500);
        let now = Free { swap_cached_bytes: 200 << 20, ..free(1000, 100, 300) };
        assert_eq!(judge(&start, &now), None);
    }

    #[test]
    fn a_fifth_of_the_swap_is_left() {
        assert_eq!((room(1000), room(0), room(4)), (800, 0, 4));
    }
}
