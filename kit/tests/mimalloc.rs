//! A program whose allocator is mimalloc: what was freed goes back to the kernel.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected is to fail at once")]

use headroom_kit::Kit;
use headroom_kit::allocator::MiMalloc;
use headroom_kit::memory::Memory;
use headroom_kit::reclaim::Wish;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[test]
fn what_was_freed_goes_back_to_the_kernel_and_is_told_in_numbers() {
    let kit = Kit::new();
    let before = Memory::read().unwrap().resident_bytes;
    let held: Vec<Box<[u8; 1024]>> = (0..200 << 10).map(|_| Box::new([1; 1024])).collect();
    assert!(Memory::read().unwrap().resident_bytes > before + (180 << 20));
    drop(held);
    // Its pages belong to the thread that freed them, which is this one: other threads' go when they next use it.
    headroom_kit::allocator::collect_here();
    let outcome = kit.reclaim().reclaim(&Wish { kind: Some("trim"), ..Wish::default() }).unwrap();
    assert!(outcome.parts.iter().any(|part| part.name == "mimalloc"), "{outcome:?}");
    assert!(Memory::read().unwrap().resident_bytes < before + (60 << 20), "{outcome:?}");
    let page = String::from_utf8(kit.metrics().page().unwrap()).unwrap();
    assert!(page.contains("headroom_kit_heap_bytes{allocator=\"mimalloc\",state=\"committed\"} "), "{page}");
}
