//! The parts of the running program and its libraries that nobody can write to: where they are, and what the kernel may do
//! with their pages.
#![expect(unsafe_code, reason = "addresses of this process; each block says why it is sound")]

use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::ops::Range;

/// The most segments that are looked at: a program and its few libraries have three or four each.
const SEGMENTS_MAX: usize = 256;

/// A part of a program or library that is mapped from its file for reading or running alone, whole pages of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Segment {
    start: usize,
    end: usize,
}

/// All such parts in this process.
///
/// Source: `dl_iterate_phdr(3)`, elf(5).
pub fn segments() -> Vec<Segment> {
    let mut all: Vec<Segment> = Vec::new();
    // SAFETY: `note` has the form that is asked for and gets back the address of `all`, which outlives the call and which
    // nobody else looks at meanwhile.
    unsafe { libc::dl_iterate_phdr(Some(note), (&raw mut all).cast()) };
    all
}

/// Notes the segments of one object.
unsafe extern "C" fn note(object: *mut libc::dl_phdr_info, _size: usize, all: *mut c_void) -> c_int {
    // SAFETY: the loader gives a good object for the time of this call, and back the address that `segments` gave it.
    let (object, all) = unsafe { (&*object, &mut *all.cast::<Vec<Segment>>()) };
    // SAFETY: a name is a C string or nothing, and stays as long as its object.
    let name = if object.dlpi_name.is_null() { c"" } else { unsafe { CStr::from_ptr(object.dlpi_name) } };
    // The program has no name, libraries have a path; what else there is (the vDSO) is the kernel's.
    if object.dlpi_phdr.is_null() || !(name.is_empty() || name.to_bytes().starts_with(b"/")) {
        return 0;
    }
    // SAFETY: that many headers lie there, and stay as long as their object.
    let headers = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) };
    let page = rustix::param::page_size();
    for header in headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_W == 0) {
        let (Ok(at), Ok(length)) = (usize::try_from(header.p_vaddr), usize::try_from(header.p_filesz)) else {
            continue;
        };
        let Ok(base) = usize::try_from(object.dlpi_addr) else { continue };
        let start = base.wrapping_add(at);
        // Whole pages: what the first and the last share with their neighbours is not ours to say.
        let start_page = start.next_multiple_of(page);
        let end = start.wrapping_add(length) / page * page;
        if start_page < end && all.len() < SEGMENTS_MAX {
            all.push(Segment { start: start_page, end });
        }
    }
    0
}

impl Segment {
    /// The numbers of its pages.
    pub fn pages(&self) -> Range<usize> {
        let page = rustix::param::page_size();
        self.start / page..self.end / page
    }

    /// The same pages in pieces of at most so many.
    pub fn pieces(self, pages_max: usize) -> impl Iterator<Item = Segment> {
        let step = pages_max.max(1) * rustix::param::page_size();
        let Self { start, end } = self;
        (start..end).step_by(step).map(move |at| Segment { start: at, end: end.min(at + step) })
    }

    /// Lets the kernel forget that its pages are mapped. One that is needed again is found in the page cache, or read from
    /// the file, and mapped together with those around it (64 KiB), needed or not.
    ///
    /// Nothing may have written to the segment, a debugger for example: that would be lost. The caller has looked.
    pub fn let_go(&self) -> io::Result<()> {
        advise(self.start, self.end - self.start, libc::MADV_DONTNEED)
    }

    /// [`Self::let_go`], and until [`Self::settle`] what is needed again is mapped **alone**: the kernel does not map beyond
    /// the part of memory that has the same advice, and here every second page gets another one.
    pub fn let_go_by_page(&self) -> io::Result<()> {
        let page = rustix::param::page_size();
        for at in (self.start..self.end).step_by(2 * page) {
            advise(at, page, libc::MADV_RANDOM)?;
        }
        self.let_go()
    }

    /// Reads a byte of its page of this number.
    #[cfg(test)]
    pub(crate) fn look_at(&self, page: usize) {
        let at = self.start + page * rustix::param::page_size();
        assert!(at < self.end);
        // SAFETY: a page of the segment, which is there to be read as long as the program runs.
        unsafe { std::ptr::without_provenance::<u8>(at).read_volatile() };
    }

    /// Gives all of it the usual advice again: the kernel needs to know of one part of memory instead of one for each page.
    pub fn settle(&self) -> io::Result<()> {
        advise(self.start, self.end - self.start, libc::MADV_NORMAL)
    }
}

/// Gives the kernel advice about pages of a [`Segment`].
fn advise(at: usize, length: usize, advice: c_int) -> io::Result<()> {
    // SAFETY: the pages lie in a segment, which the loader has mapped from a file for reading alone and keeps as long as the
    // program runs. RANDOM and NORMAL are about reading ahead. After DONTNEED every page is mapped anew from the file when
    // it is touched: its bytes are the same, unless something wrote to the segment behind the loader's back.
    let answer = unsafe { libc::madvise(std::ptr::without_provenance_mut(at), length, advice) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives memory that was freed back to the kernel, as far as whole pages of it are free.
pub fn return_freed_memory() {
    // SAFETY: no arguments that could be wrong; the allocator locks what it works on.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
