//! The zones of memory: /proc/buddyinfo and /proc/zoneinfo.
//!
//! Sources: `Documentation/filesystems/proc.rst`, `Documentation/admin-guide/sysctl/vm.rst`, `mm/vmstat.c`.

use super::parse::{ParseError, lines, number};

/// The free blocks of one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buddy<'a> {
    /// The number of the memory's node.
    pub node: &'a str,
    /// The name of the zone.
    pub zone: &'a str,
    /// How many blocks of 1, 2, 4, … pages are free.
    pub blocks: Vec<u64>,
}

/// The zones of /proc/buddyinfo.
pub fn buddyinfo(text: &str) -> Result<Vec<Buddy<'_>>, ParseError> {
    const WANT: &str = "`Node N, zone NAME` and whole numbers";
    lines(text)
        .map(|(n, line)| {
            let (node, zone, counts) = head(line).ok_or_else(|| ParseError::new(n, WANT))?;
            let blocks = counts.map(|word| number(Some(word), n, WANT)).collect::<Result<_, _>>()?;
            Ok(Buddy { node, zone, blocks })
        })
        .collect()
}

/// What one zone tells about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone<'a> {
    /// The number of the memory's node.
    pub node: &'a str,
    /// The name of the zone.
    pub zone: &'a str,
    /// All `name number` lines; the counts of its node stand with the first zone of the node.
    pub fields: Vec<(&'a str, i64)>,
    /// The pages kept from allocations that could be served by a higher zone.
    pub protection: Vec<i64>,
}

impl Zone<'_> {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<i64> {
        self.fields.iter().find(|(field, _)| *field == name).map(|&(_, value)| value)
    }
}

/// The zones of /proc/zoneinfo.
pub fn zoneinfo(text: &str) -> Result<Vec<Zone<'_>>, ParseError> {
    const WANT: &str = "a name and a whole number";
    let mut out: Vec<Zone<'_>> = Vec::new();
    // What stands behind the last line feed may be half a line, unless a parenthesis closes it.
    let closed = text.ends_with(')');
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| if closed { text } else { whole });
    for (n, line) in lines(whole) {
        if line.starts_with("Node ") {
            let (node, zone, _) = head(line).ok_or_else(|| ParseError::new(n, "`Node N, zone NAME`"))?;
            out.push(Zone { node, zone, fields: Vec::new(), protection: Vec::new() });
            continue;
        }
        let zone = out.last_mut().ok_or_else(|| ParseError::new(n, "`Node N, zone NAME`"))?;
        if let Some(list) = line.trim().strip_prefix("protection:") {
            zone.protection = protection(list).ok_or_else(|| ParseError::new(n, "`(N, N, …)`"))?;
            continue;
        }
        // `per-node stats`, `pagesets`, `cpu: 0`, `count: 0` and `pages free N` are of other forms.
        let mut words = line.split_ascii_whitespace();
        let (Some(name), value, None) = (words.next(), words.next(), words.next()) else { continue };
        if name.ends_with(':') || name == "per-node" || name == "pagesets" {
            continue;
        }
        zone.fields.push((name, number(value, n, WANT)?));
    }
    Ok(out)
}

/// The node, the zone, and the words behind them.
fn head(line: &str) -> Option<(&str, &str, std::str::SplitAsciiWhitespace<'_>)> {
    let (node, rest) = line.strip_prefix("Node ")?.split_once(',')?;
    let mut words = rest.split_ascii_whitespace();
    (words.next()? == "zone").then_some(())?;
    Some((node.trim(), words.next()?, words))
}

fn protection(list: &str) -> Option<Vec<i64>> {
    let inside = list.trim().strip_prefix('(')?.strip_suffix(')')?;
    inside.split(',').map(|word| word.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_blocks_are_counted_by_size() {
        let zones = buddyinfo("Node 0, zone      DMA      1      0      3 \n").unwrap();
        assert_eq!(zones, [Buddy { node: "0", zone: "DMA", blocks: vec![1, 0, 3] }]);
        for text in ["Node 0, zone\n", "Node 0 zone DMA 1\n", "Node 0, zone DMA x\n"] {
            assert!(buddyinfo(text).unwrap_err().to_string().starts_with("line 1:"), "{text}");
        }
    }

    #[test]
    fn a_zone_has_its_fields_and_not_those_of_its_page_sets() {
        let text = "Node 0, zone      DMA\n  per-node stats\n      nr_dirty 7\n  pages free     9\n        min      8\n\
                    \x20       protection: (0, 20)\n  pagesets\n    cpu: 0\n              high:  378\n\
                    Node 1, zone   Normal\n        high 3\n";
        let zones = zoneinfo(text).unwrap();
        assert_eq!((zones[0].node, zones[0].zone, zones[1].node), ("0", "DMA", "1"));
        assert_eq!((zones[0].field("nr_dirty"), zones[0].field("min")), (Some(7), Some(8)));
        assert_eq!((zones[0].field("high"), zones[1].field("high")), (None, Some(3)));
        assert_eq!(zones[0].protection, [0, 20]);
        assert_eq!(zoneinfo("Node 0, zone A\n min 12").unwrap()[0].field("min"), None);
        for bad in ["min 3\n", "Node 0, zone A\n min x\n", "Node 0, zone A\n protection: (1\n"] {
            assert!(zoneinfo(bad).is_err(), "{bad}");
        }
    }
}
