//! Memory in proportion to who shares it, by the class of the mapping it stands in: a sum over /proc/PID/smaps.

use super::status::kilobytes;
use crate::host::ParseError;
use crate::host::parse::{lines, number};

/// What a mapping is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The heap that grows with `brk` (`[heap]`).
    Heap,
    /// The stack of the main thread (`[stack]`); those of other threads are anonymous memory.
    Stack,
    /// Private memory without a file.
    Anonymous,
    /// A file that is mapped privately or only read: programs, libraries, data; and what a program wrote to its copy.
    File,
    /// Memory shared with others on purpose: tmpfs, System V, memfd, shared mappings of files.
    Shared,
}

/// All classes, each with the value of its label.
pub const CLASSES: [(Class, &str); 5] = [
    (Class::Heap, "heap"),
    (Class::Stack, "stack"),
    (Class::Anonymous, "anonymous"),
    (Class::File, "file"),
    (Class::Shared, "shared"),
];

/// Bytes in memory and in swap, a page that n processes share counted as 1/n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proportional {
    /// In memory.
    pub resident_bytes: u64,
    /// In swap.
    pub swapped_bytes: u64,
}

impl Proportional {
    /// Adds another one.
    pub fn add(&mut self, more: Self) {
        self.resident_bytes = self.resident_bytes.saturating_add(more.resident_bytes);
        self.swapped_bytes = self.swapped_bytes.saturating_add(more.swapped_bytes);
    }
}

/// Sums /proc/PID/smaps up, in the order of [`CLASSES`]. Text that stops within a mapping is an error; a process
/// without memory has an empty text and no bytes.
pub fn proportional_by_class(text: &str) -> Result<[Proportional; 5], ParseError> {
    let mut sums = [Proportional::default(); 5];
    let mut open: Option<Class> = None;
    let mut last = 0;
    for (n, line) in lines(text) {
        last = n;
        // Names of values begin with a capital, ranges with a small hexadecimal digit.
        if !line.starts_with(|c: char| c.is_ascii_uppercase()) {
            if open.is_some() {
                return Err(ParseError::new(n, "`VmFlags:` before the next mapping"));
            }
            open =
                Some(class(line).ok_or_else(|| ParseError::new(n, "a mapping's range, rights and inode"))?);
            continue;
        }
        let Some(class) = open else { return Err(ParseError::new(n, "a mapping's range and rights")) };
        let (name, value) =
            line.split_once(':').ok_or_else(|| ParseError::new(n, "`Name:` and its value"))?;
        let slot = CLASSES.iter().zip(&mut sums).find_map(|((c, _), sum)| (*c == class).then_some(sum));
        match (name, slot) {
            ("Pss", Some(sum)) => {
                sum.resident_bytes = sum.resident_bytes.saturating_add(kilobytes(value, n)?);
            }
            ("SwapPss", Some(sum)) => {
                sum.swapped_bytes = sum.swapped_bytes.saturating_add(kilobytes(value, n)?);
            }
            ("VmFlags", _) => open = None,
            _ => {}
        }
    }
    match open {
        None => Ok(sums),
        Some(_) => Err(ParseError::new(last, "`VmFlags:` before the end")),
    }
}

/// The class of the mapping that a line such as `56250aa09000-56250aa0b000 r--p 00000000 fe:00 1234  /bin/cat` opens.
fn class(line: &str) -> Option<Class> {
    let mut words = line.split_ascii_whitespace();
    let (range, rights) = (words.next()?, words.next()?);
    let inode: u64 = number(words.nth(2), 0, "").ok()?;
    if !range.contains('-') {
        return None;
    }
    Some(match words.next().unwrap_or_default() {
        _ if rights.ends_with('s') => Class::Shared,
        "[heap]" => Class::Heap,
        "[stack]" => Class::Stack,
        name if name.starts_with("/dev/shm/") || name.starts_with("/SYSV") || name.starts_with("/memfd:") => {
            Class::Shared
        }
        _ if inode == 0 => Class::Anonymous,
        _ => Class::File,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
55d0-55e0 r-xp 0 fe:00 55 /usr/bin/a\nRss:  8 kB\nPss:   4 kB\nSwapPss:   0 kB\nVmFlags: rd ex\n\
55e0-55f0 rw-p 0 00:00 0 [heap]\nPss:   16 kB\nSwapPss:   2 kB\nVmFlags: rd wr\n\
7f00-7f10 rw-p 0 00:00 0 \nPss:   32 kB\nSwapPss:   1 kB\nVmFlags: rd wr\n\
7f10-7f20 rw-s 0 00:01 9 /memfd:x (deleted)\nPss:   64 kB\nSwapPss:   0 kB\nVmFlags: rd wr\n\
7f20-7f30 rw-p 0 00:00 0 [anon:malloc]\nPss:   1 kB\nSwapPss:   1 kB\nVmFlags: rd wr\n\
7ffc-7fff rw-p 0 00:00 0 [stack]\nPss:   128 kB\nPss_Dirty:  9 kB\nSwapPss:   0 kB\nVmFlags: rd wr gd\n";

    #[test]
    fn mappings_are_summed_up_by_class() {
        let kib =
            |of: fn(&Proportional) -> u64| proportional_by_class(SMAPS).unwrap().map(|sum| of(&sum) >> 10);
        assert_eq!(kib(|p| p.resident_bytes), [16, 128, 33, 4, 64]);
        assert_eq!(kib(|p| p.swapped_bytes), [2, 0, 2, 0, 0]);
        assert_eq!(proportional_by_class(""), Ok([Proportional::default(); 5]), "a kernel thread");
    }

    #[test]
    fn text_cut_within_a_mapping_is_an_error() {
        let whole: Vec<usize> = SMAPS.match_indices("VmFlags").map(|(at, _)| at).collect();
        for end in 1..SMAPS.len() {
            let text = &SMAPS[..end];
            let flags =
                whole.iter().any(|&at| end >= at + "VmFlags:".len() && !SMAPS[at..end].contains('\n'));
            let between = text.lines().last().is_some_and(|l| l.starts_with("VmFlags: "));
            assert!(flags || between || proportional_by_class(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn this_process_has_a_heap_or_anonymous_memory_and_a_stack() {
        let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let [heap, stack, anonymous, file, _] = proportional_by_class(&text).unwrap();
        assert!(heap.resident_bytes + anonymous.resident_bytes > 0);
        assert!(stack.resident_bytes > 0 && file.resident_bytes > 0);
    }
}
