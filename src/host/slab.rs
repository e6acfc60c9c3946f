//! The kernel's caches of objects: /proc/slabinfo.
//!
//! Source: slabinfo(5), `mm/slab_common.c`.

use super::parse::{ParseError, lines, number};

/// One cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slab<'a> {
    /// The name; blanks are possible in none.
    pub name: &'a str,
    /// Objects in use, objects, bytes of an object, objects in a slab, pages of a slab.
    pub counts: [u64; 5],
}

/// The caches of /proc/slabinfo, one after the other.
pub fn slabs(text: &str) -> impl Iterator<Item = Result<Slab<'_>, ParseError>> {
    const WANT: &str = "a name and five whole numbers, as in version 2.1";
    lines(text).filter(|(_, line)| !line.starts_with("slabinfo -") && !line.starts_with('#')).map(
        |(n, line)| {
            let mut words = line.split_ascii_whitespace();
            let mut out = Slab { name: words.next().unwrap_or_default(), counts: [0; 5] };
            for slot in &mut out.counts {
                *slot = number(words.next(), n, WANT)?;
            }
            Ok(out)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_has_five_numbers() {
        let text =
            "slabinfo - version: 2.1\n# name <active_objs>\nkmem 320 321 256 32 2 : tunables 0 0 0\nx 1\n";
        let all: Vec<_> = slabs(text).collect();
        assert_eq!(all[0], Ok(Slab { name: "kmem", counts: [320, 321, 256, 32, 2] }));
        assert!(all[1].as_ref().unwrap_err().to_string().starts_with("line 4:"));
    }
}
