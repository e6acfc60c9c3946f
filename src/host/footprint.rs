//! Which pages of its own code this process has mapped, and how those go that it does not need.

use super::counted::File;
use crate::sys::code::{self, Segment};
use std::io;

/// Of this process's address space, eight bytes for each page (`Documentation/admin-guide/mm/pagemap.rst`).
const PAGEMAP: &str = "/proc/self/pagemap";
const ENTRY_BYTES: usize = 8;
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_A_FILE: u64 = 1 << 61;

/// The pages of the code were left as they are.
#[derive(Debug, thiserror::Error)]
pub enum FootprintError {
    /// Nobody knows whether something wrote to them.
    #[error("cannot read {PAGEMAP}: {0}")]
    Pagemap(#[source] io::Error),
    /// The kernel did not take the advice.
    #[error("cannot advise the kernel about the program's code: {0}")]
    Advice(#[source] io::Error),
}

/// So many pages at most are let go page by page at once: each is a line in /proc/PID/maps meanwhile.
const PART_PAGES_MAX: usize = 256;

/// Gives memory that was freed back to the kernel.
pub fn return_freed_memory() {
    code::return_freed_memory();
}

/// The program's code and constants, and those of its libraries, in parts of about a mebibyte.
#[derive(Debug)]
pub struct OwnCode(Vec<Vec<Segment>>);

impl OwnCode {
    /// Looks where they are.
    pub fn find() -> Self {
        let (mut parts, mut room) = (Vec::<Vec<Segment>>::new(), 0);
        for piece in code::segments().into_iter().flat_map(|segment| segment.pieces(PART_PAGES_MAX)) {
            let pages = piece.pages().len();
            if let Some(part) = parts.last_mut().filter(|_| pages <= room) {
                part.push(piece);
            } else {
                parts.push(vec![piece]);
                room = PART_PAGES_MAX;
            }
            room -= pages;
        }
        Self(parts)
    }

    /// How many parts there are.
    pub fn parts(&self) -> usize {
        self.0.len()
    }

    /// Lets the kernel forget all pages of code. What is needed comes back, and what lies around it.
    pub fn let_go(&self) -> Result<(), FootprintError> {
        self.0.iter().try_for_each(|part| each(part, Segment::let_go))
    }

    /// The same for one part; until [`Self::settle`], what is needed comes back page by page.
    pub fn let_go_by_page(&self, part: usize) -> Result<(), FootprintError> {
        self.0.get(part).map_or(Ok(()), |part| each(part, Segment::let_go_by_page))
    }

    /// Ends what [`Self::let_go_by_page`] began, when the pages that are needed are back.
    pub fn settle(&self, part: usize) -> Result<(), FootprintError> {
        let mut segments = self.0.get(part).into_iter().flatten();
        segments.try_for_each(Segment::settle).map_err(FootprintError::Advice)
    }
}

/// Lets go of segments but for those into which something wrote (a debugger, a tracer).
fn each(part: &[Segment], let_go: fn(&Segment) -> io::Result<()>) -> Result<(), FootprintError> {
    let pagemap = File::open(PAGEMAP).map_err(FootprintError::Pagemap)?;
    for segment in part {
        if untouched(&entries(&pagemap, segment).map_err(FootprintError::Pagemap)?) {
            let_go(segment).map_err(FootprintError::Advice)?;
        }
    }
    Ok(())
}

fn entries(pagemap: &File, segment: &Segment) -> io::Result<Vec<u8>> {
    let pages = segment.pages();
    let mut bytes = vec![0; pages.len() * ENTRY_BYTES];
    let offset = u64::try_from(pages.start * ENTRY_BYTES).map_err(io::Error::other)?;
    // The kernel gives whole entries, all that are asked for; less is the end of the address space.
    if pagemap.read_at(&mut bytes, offset)? < bytes.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// Whether all pages are the file's: one that was written to is a copy of this process's own, which nothing could bring back.
fn untouched(entries: &[u8]) -> bool {
    entries.as_chunks::<ENTRY_BYTES>().0.iter().all(|entry| {
        let entry = u64::from_ne_bytes(*entry);
        entry & SWAPPED == 0 && (entry & PRESENT == 0 || entry & OF_A_FILE != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many pages of the segment are mapped.
    fn mapped(segment: &Segment) -> usize {
        let entries = entries(&File::open(PAGEMAP).unwrap(), segment).unwrap();
        let present = |entry: &&[u8; 8]| u64::from_ne_bytes(**entry) & PRESENT != 0;
        entries.as_chunks::<ENTRY_BYTES>().0.iter().filter(present).count()
    }

    /// How many lines /proc/self/maps has within the segment.
    fn lines(segment: &Segment) -> usize {
        let page = rustix::param::page_size();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let starts = maps.lines().filter_map(|l| usize::from_str_radix(l.split('-').next()?, 16).ok());
        starts.filter(|start| segment.pages().contains(&(start / page))).count()
    }

    #[test]
    fn code_that_is_let_go_is_not_mapped_and_comes_back() {
        let code = OwnCode::find();
        let all = || code.0.iter().flatten();
        let sum = || all().map(mapped).sum::<usize>();
        let (before, pages) = (sum(), all().map(|s| s.pages().len()).sum::<usize>());
        code.let_go().unwrap();
        // Other tests run meanwhile, and whatever they call comes back.
        assert!(sum() < before, "{before} pages of {pages} were mapped, now {}", sum());
        assert_eq!(serde_json::to_string(&[1.5, 2.5]).unwrap(), "[1.5,2.5]");
        assert!(
            code.0.iter().all(|part| part.iter().map(|s| s.pages().len()).sum::<usize>() <= PART_PAGES_MAX)
        );
    }

    #[test]
    fn what_comes_back_page_by_page_comes_alone() {
        let code = OwnCode::find();
        // A part that no test runs: of its pages only those come back that are looked at.
        let quiet = (0..code.parts()).find(|&part| {
            code.let_go_by_page(part).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(1));
            let segments = &code.0[part];
            segments[0].pages().len() == PART_PAGES_MAX && mapped(&segments[0]) == 0
        });
        let quiet = quiet.unwrap();
        let segment = &code.0[quiet][0];
        assert!(lines(segment) > PART_PAGES_MAX / 2, "a fault maps its neighbours too");
        segment.look_at(PART_PAGES_MAX / 2);
        assert_eq!(mapped(segment), 1);
        (0..code.parts()).for_each(|part| code.settle(part).unwrap());
        assert!(lines(segment) <= 2, "{}", lines(segment));
        // Around some page the kernel maps neighbours (those that are in its cache), or this is for nothing.
        let neighbours = (0..PART_PAGES_MAX).step_by(8).any(|page| {
            segment.let_go().unwrap();
            segment.look_at(page);
            mapped(segment) > 1
        });
        assert!(neighbours);
    }

    #[test]
    fn a_part_into_which_something_wrote_is_left_alone() {
        let pages = |words: &[u64]| words.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<u8>>();
        assert!(untouched(&pages(&[0, PRESENT | OF_A_FILE, 7 | PRESENT | OF_A_FILE])));
        assert!(!untouched(&pages(&[0, PRESENT, PRESENT | OF_A_FILE])), "a copy of our own");
        assert!(!untouched(&pages(&[SWAPPED])), "a copy that was swapped out");
    }
}
