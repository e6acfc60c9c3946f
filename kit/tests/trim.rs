//! A program whose allocator is glibc's: what was freed stays with it until somebody asks, and then the kernel has it.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected is to fail at once")]

use headroom_kit::Kit;
use headroom_kit::memory::Memory;
use headroom_kit::reclaim::Wish;

#[test]
fn what_was_freed_goes_back_to_the_kernel_when_it_is_asked_for() {
    let resident = || Memory::read().unwrap().resident_bytes;
    let kit = Kit::new();
    let before = resident();
    let held: Vec<Box<[u8; 1024]>> = (0..100 << 10).map(|_| Box::new([1; 1024])).collect();
    // Behind all of them: as long as it is there, the heap cannot shrink by itself.
    let last = Box::new([1_u8; 1024]);
    drop(held);
    let freed = resident();
    assert!(freed > before + (80 << 20), "{before} {freed}");
    let outcome = kit.reclaim().reclaim(&Wish { kind: Some("trim"), ..Wish::default() }).unwrap();
    assert!(resident() < before + (20 << 20), "{outcome:?}");
    assert!(outcome.released_bytes > 60 << 20, "{outcome:?}");
    drop(last);
}
