//! What /proc/PID/smaps and smaps_rollup say: memory in proportion to who shares it, and each mapping.

use super::status::kilobytes;
use crate::host::ParseError;
use crate::host::parse::{lines, number};

/// All mappings of a process, summed up by the kernel (/proc/PID/smaps_rollup, 4.14 on).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollup {
    /// The resident set.
    pub rss_bytes: u64,
    /// The resident set, a page that n processes share counted as 1/n.
    pub pss_bytes: u64,
    /// The anonymous part of `pss_bytes`; since 5.4.
    pub pss_anon_bytes: Option<u64>,
    /// Anonymous memory that was swapped out.
    pub swap_bytes: u64,
    /// The same with shared pages counted in proportion.
    pub swap_pss_bytes: Option<u64>,
}

/// Parses /proc/PID/smaps_rollup.
pub fn smaps_rollup(text: &str) -> Result<Rollup, ParseError> {
    let (mut rss, mut pss, mut pss_anon, mut swap, mut swap_pss) = (None, None, None, None, None);
    // The first line is the header: the whole range and `[rollup]`.
    for (n, line) in lines(text).skip(1) {
        let (name, value) =
            line.split_once(':').ok_or_else(|| ParseError::new(n, "`Name:` and its value"))?;
        let slot = match name {
            "Rss" => &mut rss,
            "Pss" => &mut pss,
            "Pss_Anon" => &mut pss_anon,
            "Swap" => &mut swap,
            "SwapPss" => &mut swap_pss,
            _ => continue,
        };
        *slot = Some(kilobytes(value, n)?);
    }
    let last = text.lines().count();
    let need = |value: Option<u64>, want| value.ok_or_else(|| ParseError::new(last, want));
    Ok(Rollup {
        rss_bytes: need(rss, "an `Rss:` line before the end")?,
        pss_bytes: need(pss, "a `Pss:` line before the end")?,
        pss_anon_bytes: pss_anon,
        swap_bytes: need(swap, "a `Swap:` line before the end")?,
        swap_pss_bytes: swap_pss,
    })
}

/// The two-letter flags of a mapping (`rd`, `lo`, `ht`, …), as proc.rst lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmFlags(String);

impl VmFlags {
    /// Whether the mapping has the flag: `lo` for locked, `ht` for huge TLB pages, `io` for devices.
    pub fn has(&self, flag: &str) -> bool {
        self.0.split_ascii_whitespace().any(|f| f == flag)
    }
}

/// One mapping of a process and what of it is where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The first address.
    pub start: u64,
    /// The address after the last one.
    pub end: u64,
    /// `rwxp` or `rwxs`, with `-` for what is not allowed.
    pub perms: String,
    /// The inode of the file that is mapped; 0 for anonymous memory.
    pub inode: u64,
    /// The file's path, `[heap]`, `[stack]`, `[anon:…]`, or empty.
    pub name: String,
    /// What is resident.
    pub rss_bytes: u64,
    /// What belongs to no file, resident.
    pub anonymous_bytes: u64,
    /// What was marked as used since the marks were last cleared.
    pub referenced_bytes: u64,
    /// Anonymous memory that was swapped out.
    pub swap_bytes: u64,
    /// What is locked into memory.
    pub locked_bytes: u64,
    /// The kernel's flags.
    pub flags: VmFlags,
}

/// Parses /proc/PID/smaps. A mapping that lacks a value is an error: text that was cut short must
/// not look like memory that is not used. A process without memory has an empty text.
pub fn smaps(text: &str) -> Result<Vec<Mapping>, ParseError> {
    let mut out = Vec::new();
    let mut open: Option<Part> = None;
    let mut last = 0;
    for (n, line) in lines(text) {
        last = n;
        if let Some(mapping) = header(line) {
            out.extend(open.take().map(|part| part.close(n)).transpose()?);
            open = Some(Part::new(mapping));
            continue;
        }
        let part = open.as_mut().ok_or_else(|| ParseError::new(n, "a mapping's range and rights"))?;
        // A header that was cut short has colons too, but spaces before them.
        let (name, value) = line
            .split_once(':')
            .filter(|(name, _)| !name.contains(' '))
            .ok_or_else(|| ParseError::new(n, "`Name:` and its value"))?;
        part.field(name, value, n)?;
    }
    out.extend(open.map(|part| part.close(last)).transpose()?);
    Ok(out)
}

/// The mapping that a line such as `56250aa09000-56250aa0b000 r--p 00000000 fe:00 1234  /bin/cat`
/// opens; its values follow. `None` for any other line.
fn header(line: &str) -> Option<Mapping> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    let mut words = rest.splitn(5, ' ');
    let perms = words.next()?.to_owned();
    let (_offset, _device) = (words.next()?, words.next()?);
    let inode = number(words.next(), 0, "").ok()?;
    let name = words.next().unwrap_or_default().trim_start().to_owned();
    Some(Mapping {
        start,
        end,
        perms,
        inode,
        name,
        rss_bytes: 0,
        anonymous_bytes: 0,
        referenced_bytes: 0,
        swap_bytes: 0,
        locked_bytes: 0,
        flags: VmFlags::default(),
    })
}

/// A mapping whose values are not all read yet.
struct Part {
    mapping: Mapping,
    /// Which values are still missing, with the name that the kernel gives them.
    missing: Vec<&'static str>,
}

impl Part {
    fn new(mapping: Mapping) -> Self {
        Self { mapping, missing: vec!["Rss", "Referenced", "Anonymous", "Swap", "Locked", "VmFlags"] }
    }

    fn field(&mut self, name: &str, value: &str, line: usize) -> Result<(), ParseError> {
        match name {
            "Rss" => self.mapping.rss_bytes = kilobytes(value, line)?,
            "Referenced" => self.mapping.referenced_bytes = kilobytes(value, line)?,
            "Anonymous" => self.mapping.anonymous_bytes = kilobytes(value, line)?,
            "Swap" => self.mapping.swap_bytes = kilobytes(value, line)?,
            "Locked" => self.mapping.locked_bytes = kilobytes(value, line)?,
            "VmFlags" => self.mapping.flags = VmFlags(value.trim().to_owned()),
            _ => return Ok(()),
        }
        self.missing.retain(|m| *m != name);
        Ok(())
    }

    fn close(self, line: usize) -> Result<Mapping, ParseError> {
        match self.missing.first() {
            None => Ok(self.mapping),
            Some(name) => Err(ParseError::new(line, format!("`{name}:` before the mapping's end"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLLUP: &str = "56250aa09000-7ffdcd733000 ---p 00000000 00:00 0                          [rollup]\n\
        Rss:                1748 kB\nPss:                 420 kB\nPss_Anon:            108 kB\nSwap:                 12 kB\n\
        SwapPss:               6 kB\n";
    const SMAPS: &str = "56250aa09000-56250aa0b000 rw-p 00002000 fe:00 5521                       /usr/bin/a b (deleted)\n\
        Size:                  8 kB\nRss:                   8 kB\nReferenced:            4 kB\nAnonymous:             2 kB\n\
        Swap:                  1 kB\nLocked:                3 kB\nVmFlags: rd wr lo \n\
        7f00-8000 ---p 00000000 00:00 0 \n\
        Rss:                   0 kB\nReferenced:            0 kB\nAnonymous:             0 kB\n\
        Swap:                  0 kB\nLocked:                0 kB\nVmFlags: mr mw\n";

    #[test]
    fn a_rollup_has_what_this_kernel_knows() {
        let expected = Rollup {
            rss_bytes: 1748 << 10,
            pss_bytes: 420 << 10,
            pss_anon_bytes: Some(108 << 10),
            swap_bytes: 12 << 10,
            swap_pss_bytes: Some(6 << 10),
        };
        assert_eq!(smaps_rollup(ROLLUP), Ok(expected));
        let old = ROLLUP.replace("Pss_Anon", "Other").replace("SwapPss", "Other2");
        let old = smaps_rollup(&old).unwrap();
        assert_eq!((old.pss_anon_bytes, old.swap_pss_bytes), (None, None));
    }

    #[test]
    fn a_rollup_cut_before_its_swap_is_an_error() {
        for end in 0..ROLLUP.find("12 kB").unwrap() {
            assert!(smaps_rollup(&ROLLUP[..end]).is_err(), "{}", &ROLLUP[..end]);
        }
    }

    #[test]
    fn mappings_keep_names_with_spaces_and_have_their_flags() {
        let all = smaps(SMAPS).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].start, all[0].end), (0x5625_0aa0_9000, 0x5625_0aa0_b000));
        assert_eq!((all[0].perms.as_str(), all[0].inode), ("rw-p", 5521));
        assert_eq!(all[0].name, "/usr/bin/a b (deleted)");
        assert_eq!((all[0].rss_bytes, all[0].referenced_bytes, all[0].anonymous_bytes), (8192, 4096, 2048));
        assert_eq!((all[0].swap_bytes, all[0].locked_bytes), (1024, 3072));
        assert!(all[0].flags.has("lo") && !all[0].flags.has("ht") && !all[1].flags.has("lo"));
        assert_eq!((all[1].name.as_str(), all[1].inode), ("", 0));
        assert_eq!(smaps(""), Ok(vec![]), "a kernel thread has no mappings");
    }

    #[test]
    fn a_mapping_cut_short_is_an_error_and_never_unused_memory() {
        let second = SMAPS.find("7f00").unwrap();
        let flags = SMAPS.rfind("VmFlags:").unwrap() + "VmFlags:".len();
        for end in 1..flags {
            let whole = end >= SMAPS.find("VmFlags:").unwrap() + "VmFlags:".len() && end <= second;
            assert!(whole || smaps(&SMAPS[..end]).is_err(), "{:?}", &SMAPS[..end]);
        }
        let error = smaps("Rss: 1 kB\n").unwrap_err().to_string();
        assert_eq!(error, "line 1: expected a mapping's range and rights");
    }
}
