//! Software RAID: /proc/mdstat.
//!
//! Sources: `drivers/md/md.c` (`md_seq_show`), `Documentation/admin-guide/md.rst`.

use super::parse::ParseError;

/// One array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Array<'a> {
    /// The name (`md0`).
    pub name: &'a str,
    /// What it does: the kernel's word (`active`, `inactive`), or `recovering`, `resyncing`, `checking`, `reshaping`.
    pub state: &'a str,
    /// Disks that work.
    pub disks_active: u64,
    /// Disks that the array should have.
    pub disks_required: u64,
    /// Disks that failed.
    pub disks_failed: u64,
    /// Disks in reserve.
    pub disks_spare: u64,
    /// The size, in blocks of the kernel (1 KiB).
    pub blocks: u64,
    /// How much of it is in order; less than all while the array is made whole.
    pub blocks_synced: u64,
}

/// The arrays of mdstat, one after the other. The last line is about unused devices; without it the text was cut.
pub fn arrays(text: &str) -> impl Iterator<Item = Result<Array<'_>, ParseError>> {
    let mut whole = false;
    let mut lines = text.lines().enumerate().map(|(i, line)| (i + 1, line)).peekable();
    std::iter::from_fn(move || {
        // What is indented belongs to the line above.
        let inner = |line: &str| line.trim().is_empty() || line.starts_with([' ', '\t']);
        let found = lines.find(|(_, line)| {
            whole |= line.starts_with("unused");
            !inner(line) && !line.starts_with("unused") && !line.starts_with("Personalities")
        });
        let Some((n, head)) = found else {
            let cut = !std::mem::replace(&mut whole, true);
            return cut.then(|| Err(ParseError::new(text.lines().count(), "`unused devices: …` at the end")));
        };
        let size = lines.next_if(|(_, line)| inner(line)).map_or("", |(_, line)| line);
        let mut sync = None;
        while let Some((at, line)) = lines.next_if(|(_, line)| inner(line)) {
            if sync.is_none() && activity(line).is_some() {
                sync = Some((at, line));
            }
        }
        Some(array((n, head), size, sync))
    })
}

fn array<'a>(
    (n, head): (usize, &'a str),
    size: &str,
    sync: Option<(usize, &str)>,
) -> Result<Array<'a>, ParseError> {
    const WANT: &str = "`NAME : STATE …`, and below it `BLOCKS blocks … [REQUIRED/ACTIVE] [UU]`";
    let wrong = || ParseError::new(n, WANT);
    let mut words = head.split_ascii_whitespace();
    let name = words.next().ok_or_else(wrong)?;
    let state = words.nth(1).ok_or_else(wrong)?;
    let mut size = size.split_ascii_whitespace();
    let blocks = size.next().and_then(|word| word.parse().ok()).ok_or_else(wrong)?;
    let count = |part: &str| u64::try_from(head.matches(part).count()).unwrap_or_default();
    let (disks_required, disks_active) = if head.contains("raid0") || head.contains("linear") {
        // Without redundancy no disk can be missing, and the kernel tells no numbers.
        (count("["), count("["))
    } else if head.contains("inactive") {
        (0, 0)
    } else {
        size.find_map(disks).ok_or_else(wrong)?
    };
    let mut out = Array {
        name,
        state,
        disks_active,
        disks_required,
        disks_failed: count("(F)"),
        disks_spare: count("(S)"),
        blocks,
        blocks_synced: blocks,
    };
    if let Some((at, line)) = sync {
        out.state = activity(line).unwrap_or(state);
        out.blocks_synced = if line.contains("PENDING") || line.contains("DELAYED") {
            0
        } else {
            synced(line).ok_or_else(|| ParseError::new(at, "`ACTIVITY = 1.2% (SYNCED/BLOCKS) …`"))?
        };
    }
    Ok(out)
}

/// What a line below an array says that the kernel does with it.
fn activity(line: &str) -> Option<&'static str> {
    if line.contains("bitmap") {
        return None;
    }
    let known = [
        ("recovery", "recovering"),
        ("reshape", "reshaping"),
        ("check", "checking"),
        ("resync", "resyncing"),
    ];
    known.iter().find(|(word, _)| line.contains(word)).map(|(_, state)| *state)
}

/// `[required/active]`
fn disks(word: &str) -> Option<(u64, u64)> {
    let (required, active) = word.strip_prefix('[')?.strip_suffix(']')?.split_once('/')?;
    Some((required.parse().ok()?, active.parse().ok()?))
}

/// The first number of `(synced/blocks)`.
fn synced(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once('(')?;
    let (synced, blocks) = rest.split_once(')')?.0.split_once('/')?;
    blocks.parse::<u64>().ok()?;
    synced.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Personalities : [raid1] [raid6]\n\n";

    const END: &str = "unused devices: <none>\n";

    /// Hands the only array to `check`.
    fn one(text: &str, check: impl FnOnce(Array<'_>)) {
        let text = format!("{HEAD}{text}\n{END}");
        let all: Vec<_> = arrays(&text).map(Result::unwrap).collect();
        let [array] = all[..] else { panic!("{all:?}") };
        check(array);
    }

    #[test]
    fn an_array_that_is_made_whole_is_partly_synced() {
        let text = "md6 : active raid1 sdb2[2](F) sdc[1](S) sda2[0]\n      195310144 blocks [2/1] [U_]\n      \
                    [=>...]  recovery =  8.5% (16775552/195310144) finish=17.0min speed=259783K/sec\n      \
                    bitmap: 0/30 pages [0KB], 65536KB chunk\n";
        one(text, |array| {
            assert_eq!((array.name, array.state), ("md6", "recovering"));
            assert_eq!((array.disks_required, array.disks_active), (2, 1));
            assert_eq!((array.disks_failed, array.disks_spare), (1, 1));
            assert_eq!((array.blocks, array.blocks_synced), (195_310_144, 16_775_552));
        });
    }

    #[test]
    fn arrays_that_wait_or_have_no_redundancy_are_understood() {
        one("md9 : active raid1 a[0] b[1]\n  5 blocks [2/2] [UU]\n  resync=DELAYED\n", |waiting| {
            assert_eq!((waiting.state, waiting.blocks_synced), ("resyncing", 0));
        });
        one("md1 : active (read-only) raid0 a[0] b[1]\n      5 blocks 64k chunks\n      \n", |stripe| {
            assert_eq!((stripe.disks_required, stripe.disks_active, stripe.state), (2, 2, "active"));
        });
        one("md2 : inactive a[2](S) b[1](S)\n   7932 blocks super external:imsm\n", |container| {
            assert_eq!((container.disks_required, container.disks_spare), (0, 2));
        });
        assert_eq!(arrays(&format!("{HEAD}{END}")).count(), 0);
    }

    #[test]
    fn a_broken_array_is_an_error_and_so_is_a_cut_text() {
        for broken in [
            "md0 : active raid1 a[0]\n\n",
            "md0 : active raid1 a[0]\n  x blocks [1/1] [U]\n",
            "md0 : active raid1 a[0]\n  5 blocks\n",
            "md0\n  5 blocks [1/1] [U]\n",
            "md0 : active raid1 a[0]\n  5 blocks [1/1] [U]\n  resync = 8.5% (16/x) finish\n",
        ] {
            assert!(arrays(&format!("{broken}{END}")).next().unwrap().is_err(), "{broken}");
        }
        for cut in ["", HEAD, "md0 : active raid1 a[0]\n  5 blocks [1/1] [U]\n"] {
            let all: Vec<_> = arrays(cut).take(9).collect();
            assert_eq!(all.iter().filter(|array| array.is_err()).count(), 1, "{all:?}");
        }
    }
}
