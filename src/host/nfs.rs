//! Counters of NFS: /proc/net/rpc/nfs (this machine as a client) and nfsd (as a server).
//!
//! Sources: `net/sunrpc/stats.c`, `fs/nfsd/stats.c`, nfsstat(8).

pub mod procedures;

use super::parse::{ParseError, lines, number};

/// The most numbers that are taken from a line; the longest counts the procedures of NFS 4.
const NUMBERS_MAX: usize = 128;

/// The numbers behind the word that begins a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    numbers: Vec<u64>,
}

/// The counters of a file; a line that this kernel does not write is absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters<const N: usize> {
    words: [&'static str; N],
    lines: [Option<Line>; N],
}

impl<const N: usize> Counters<N> {
    /// Counters of lines that begin with these words.
    pub fn new(words: [&'static str; N]) -> Self {
        Self { words, lines: [const { None }; N] }
    }

    /// Takes the numbers of a file's text; lines that begin with another word are left out.
    pub fn take(&mut self, text: &str) -> Result<(), ParseError> {
        let mut seen = [false; N];
        for (n, line) in lines(text) {
            let mut words = line.split_ascii_whitespace();
            let first = words.next().unwrap_or_default();
            let mut slots = self.words.iter().zip(&mut self.lines).zip(&mut seen);
            let Some(((_, slot), seen)) = slots.find(|((word, _), _)| **word == first) else { continue };
            let numbers = &mut slot.get_or_insert_default().numbers;
            numbers.clear();
            // The first two numbers of threads are followed by a histogram that is always zero.
            let count = if first == "th" { 2 } else { NUMBERS_MAX };
            for word in words.take(count) {
                numbers.push(number(Some(word), n, "a word and whole numbers")?);
            }
            let counted = |counts: &[u64]| matches!(counts, [count, rest @ ..] if u64::try_from(rest.len()) == Ok(*count));
            if first.starts_with("proc") && !counted(numbers) {
                return Err(ParseError::new(n, "as many counts of procedures as the first number says"));
            }
            *seen = true;
        }
        for (slot, _) in self.lines.iter_mut().zip(seen).filter(|(_, seen)| !seen) {
            *slot = None;
        }
        Ok(())
    }

    /// The number at this place of the line that begins with `word`.
    pub fn get(&self, word: &str, place: usize) -> Option<u64> {
        self.line(word)?.numbers.get(place).copied()
    }

    /// Whether the file has a line that begins with `word`.
    pub fn has(&self, word: &str) -> bool {
        self.line(word).is_some()
    }

    fn line(&self, word: &str) -> Option<&Line> {
        let mut lines = self.words.iter().zip(&self.lines);
        lines.find(|(known, _)| **known == word).and_then(|(_, line)| line.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_word_and_place() {
        let mut counters = Counters::new(["net", "proc2", "th"]);
        counters.take("net 70 70 69 45\nproc2 2 16 57\nother x\nth 8 0 0.000 0.000\n").unwrap();
        assert_eq!((counters.get("net", 3), counters.get("net", 4)), (Some(45), None));
        assert_eq!((counters.get("proc2", 2), counters.get("th", 0)), (Some(57), Some(8)));
        assert!(counters.has("th") && !counters.has("other"));
        counters.take("net 1\n").unwrap();
        assert!(!counters.has("proc2"), "what the kernel no longer says is absent");
    }

    #[test]
    fn a_broken_line_is_an_error_with_its_number() {
        for broken in ["net x", "proc2 3 1 2", "proc2 1 2 3", "proc2", "net 1 -1"] {
            let error = Counters::new(["net", "proc2"]).take(&format!("net 1\n{broken}\n")).unwrap_err();
            assert!(error.to_string().starts_with("line 2:"), "{broken}: {error}");
        }
    }
}
