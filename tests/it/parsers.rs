//! Parsers of process files under hostile text: an answer or an error, never a panic.

use headroom::host::{memory, proc};
use proptest::prelude::*;

const REAL: [&str; 6] = [
    include_str!("../host/processes/proc/161/stat"),
    include_str!("../host/processes/proc/161/status"),
    include_str!("../host/processes/proc/161/io"),
    include_str!("../host/processes/proc/161/limits"),
    "1000-2000 r--p 00000000 fe:00 12 /a\nRss: 4 kB\nReferenced: 4 kB\nAnonymous: 0 kB\nSwap: 0 kB\nLocked: 0 kB\nVmFlags: rd\n",
    "1000-2000 ---p 00000000 00:00 0 [rollup]\nRss: 4 kB\nPss: 4 kB\nSwap: 0 kB\n",
];

/// Gives a text to every parser.
fn parse_all(text: &str) {
    _ = proc::stat(text);
    _ = proc::status(text);
    _ = proc::io(text);
    _ = proc::open_files_limit(text);
    _ = proc::smaps(text);
    _ = proc::smaps_rollup(text);
    _ = proc::cgroups(text);
    _ = proc::boot_time(text);
    _ = memory::pressure(text);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_text_panics(text in any::<String>()) {
        parse_all(&text);
    }

    #[test]
    fn no_damaged_text_panics(which in 0..REAL.len(), at in any::<prop::sample::Index>(), put in "[-:()0-9 \\n\u{fc}]{0,3}") {
        let text = REAL[which];
        let mut at = at.index(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let (head, tail) = text.split_at(at);
        parse_all(head);
        parse_all(&format!("{head}{put}{tail}"));
        parse_all(&format!("{head}{put}{}", tail.get(1..).unwrap_or_default()));
    }
}
