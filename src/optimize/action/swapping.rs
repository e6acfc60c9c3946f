//! When swapping is worth it: what of the swap may be filled, and what the moved bytes still occupy there.

use crate::host::free::Free;
use crate::host::{Host, HostError};
use bytesize::ByteSize;

/// This part of the free swap is left to others.
const SWAP_LEFT_SHARE: u64 = 5;
/// After so many bytes moved it is looked at what they occupy where they are now.
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

/// A swap in the machine's own memory must give back at least a quarter. Its own account tells: available memory, in the
/// middle of trouble, falls by other programs' doing.
fn judge(start: &Free, now: &Free) -> Option<String> {
    let moved = start.swap_free_bytes.saturating_sub(now.swap_free_bytes);
    let cost = now.compressed_swap_bytes.saturating_sub(start.compressed_swap_bytes);
    (moved >= TRIAL_BYTES && cost > moved - moved / 4).then(|| {
        let (moved, cost) = (ByteSize(moved), ByteSize(cost));
        format!("stopped: {moved} went to swap and take {cost} of memory there")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn free(swap_mib: u64, compressed_mib: u64) -> Free {
        Free {
            swap_free_bytes: swap_mib * MIB,
            compressed_swap_bytes: compressed_mib * MIB,
            ..Free::default()
        }
    }

    #[test]
    fn a_swap_that_gains_nothing_is_found_out_after_a_part() {
        let start = free(500, 7);
        assert_eq!(judge(&start, &free(480, 27)), None, "too little to tell");
        assert_eq!(judge(&start, &free(468, 31)), None);
        let why = judge(&start, &free(468, 32)).unwrap();
        assert_eq!(why, "stopped: 32.0 MiB went to swap and take 25.0 MiB of memory there");
    }

    #[test]
    fn a_swap_on_a_disk_is_never_stopped() {
        assert_eq!(judge(&free(500, 0), &free(100, 0)), None);
    }

    #[test]
    fn a_fifth_of_the_swap_is_left() {
        assert_eq!((room(1000), room(0), room(4)), (800, 0, 4));
    }
}
