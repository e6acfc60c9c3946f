//! The only module with `unsafe`: calls into allocators that no library wraps.
#![allow(unsafe_code, reason = "what allocators offer are functions of C; each call says why it is sound")]

/// Has glibc give freed memory back to the kernel.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn trim_glibc() {
    // SAFETY: no argument that could be wrong; the allocator locks what it works on.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Has jemalloc give the unused pages of all arenas back to the kernel.
#[cfg(feature = "jemalloc")]
pub(crate) fn purge_jemalloc() -> Result<(), std::io::Error> {
    // MALLCTL_ARENAS_ALL of jemalloc 5: every arena.
    const ALL: &std::ffi::CStr = c"arena.4096.purge";
    // SAFETY: the name ends in NUL; this control neither reads nor writes a value, so both pairs are empty.
    let code = unsafe {
        tikv_jemalloc_sys::mallctl(
            ALL.as_ptr(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            0,
        )
    };
    if code == 0 { Ok(()) } else { Err(std::io::Error::from_raw_os_error(code)) }
}

/// Has mimalloc give its free pages back to the kernel.
#[cfg(feature = "mimalloc")]
pub(crate) fn collect_mimalloc() {
    // SAFETY: no argument that could be wrong.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

/// Bytes that mimalloc has committed now.
#[cfg(feature = "mimalloc")]
pub(crate) fn mimalloc_committed_bytes() -> u64 {
    let mut all = [0_usize; 8];
    let [elapsed, user, system, rss, peak, committed, committed_peak, faults] = &mut all;
    // SAFETY: eight places to write to, each of its own, which live until the call returns.
    unsafe {
        libmimalloc_sys::mi_process_info(elapsed, user, system, rss, peak, committed, committed_peak, faults);
    }
    *committed as u64
}
