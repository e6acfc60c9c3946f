//! A program whose allocator is jemalloc: what was freed goes back to the kernel, and the heap says where it came from.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected is to fail at once")]

use headroom_kit::Kit;
use headroom_kit::allocator::Jemalloc;
use headroom_kit::memory::Memory;
use headroom_kit::reclaim::Wish;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

const MUCH: usize = 200 << 20;

#[test]
fn what_was_freed_goes_back_to_the_kernel_and_is_told_in_numbers() {
    let kit = Kit::new();
    let before = Memory::read().unwrap().resident_bytes;
    // Small pieces: large ones would be mappings of their own, which go by themselves.
    let held: Vec<Box<[u8; 1024]>> = (0..MUCH / 1024).map(|_| Box::new([1; 1024])).collect();
    assert!(Memory::read().unwrap().resident_bytes > before + (180 << 20));
    drop(held);
    let outcome = kit.reclaim().reclaim(&Wish { kind: Some("trim"), ..Wish::default() }).unwrap();
    assert!(Memory::read().unwrap().resident_bytes < before + (40 << 20), "{outcome:?}");
    assert!(outcome.parts.iter().any(|part| part.name == "jemalloc"), "{outcome:?}");
    let page = String::from_utf8(kit.metrics().page().unwrap()).unwrap();
    for state in ["allocated", "active", "resident", "retained"] {
        let series = format!("headroom_kit_heap_bytes{{allocator=\"jemalloc\",state=\"{state}\"}} ");
        assert!(page.contains(&series), "{series}: {page}");
    }
}

#[test]
fn a_profile_is_to_be_had_where_the_program_was_started_for_it() {
    const TEST: &str = "a_profile_is_to_be_had_where_the_program_was_started_for_it";
    let heap = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(headroom_kit::profile::heap())
    };
    // This process is not; the one that it starts is.
    if std::env::var_os("_RJEM_MALLOC_CONF").is_none() {
        assert!(heap().unwrap_err().to_string().contains("prof:true"));
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again
            .args(["--exact", TEST])
            .env("_RJEM_MALLOC_CONF", "prof:true,prof_active:true,lg_prof_sample:16");
        let output = again.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let held = vec![1_u8; 64 << 20];
    let profile = heap().unwrap();
    assert_eq!(profile.get(..2), Some(&[0x1f, 0x8b][..]), "packed with gzip");
    assert!(profile.len() > 100);
    drop(held);
}
