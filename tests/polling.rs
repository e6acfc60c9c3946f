//! Polling allocates nothing: a loop that waited for memory could not say that others do.
#![allow(unsafe_code, reason = "an allocator that counts")]
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected is to fail at once")]

use headroom::host::Host;
use headroom::host::stall::{Kind, Rooms, Stalls};
use headroom::optimize::pressure::pace::{Pace, Signs, Trend};
use headroom::optimize::pressure::watch::{Limits, Sample, Watch};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: all calls go on to the system's allocator as they are; the counter is this thread's own and needs no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.with(|calls| calls.set(calls.get() + 1));
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_poll_allocates_nothing() {
    let host = Host::default();
    let limits = Limits {
        stall: Some(Duration::from_millis(100)),
        window: Duration::from_secs(1),
        available_below: Some(1.0),
        all: false,
        calm: Duration::from_millis(1),
    };
    let (mut stalls, mut machine) = (Stalls::new(&host, None, Kind::Some), Rooms::machine(&host));
    let (mut watch, mut trend, mut free) = (Watch::new(limits), Trend::default(), Trend::default());
    let mut pace = Pace::new(Duration::from_millis(250), Duration::from_millis(20), Duration::from_secs(30));
    let (mut news, mut readings) = (0, 0);
    let mut poll = |at: Duration, available: f64| {
        let room = machine.read();
        let stalled = stalls.read();
        readings += u32::from(room.is_some());
        news += u32::from(watch.see(Sample { at, stalled, available: Some(available) }).is_some());
        let left = room.and_then(|room| trend.see(at, room));
        let free_left = room.and_then(|room| free.see_free(at, room));
        pace.next(at, &Signs { stalls: watch.is_near(), available: Some((available, 0.1)), left, free_left })
    };
    // The first one opens the files.
    poll(Duration::from_secs(1), 1.0);
    let before = CALLS.get();
    for n in 0..1000_u32 {
        // Trouble comes and goes all the time.
        poll(Duration::from_secs(2) + Duration::from_millis(20) * n, f64::from(n / 10 % 2) * 2.0);
    }
    assert_eq!(CALLS.get() - before, 0);
    assert_eq!(readings, 1001);
    assert!(news > 10, "{news}: nothing was decided");
    // The counter counts.
    drop(std::hint::black_box(vec![1]));
    assert!(CALLS.get() > before);
}
