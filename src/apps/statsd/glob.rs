//! Matches with stars: words between dots, of which a star stands for any one; and which of several is meant.

use std::collections::HashMap;

/// The most words of a match, and of a name that is looked up.
const WORDS_MAX: usize = 64;

/// All matches, word by word.
#[derive(Debug, Default)]
pub(super) struct Globs {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    words: HashMap<Box<str>, Node>,
    star: Option<Box<Node>>,
    /// The mapping whose match ends here; the first one, if there are several.
    end: Option<usize>,
}

/// What is looked for, and the best that was found so far.
struct Search<'n> {
    words: Vec<&'n str>,
    captures: Vec<&'n str>,
    best: Option<(usize, Vec<&'n str>)>,
    is_ordered: bool,
}

impl Globs {
    /// Whether this can be a match: words of letters, digits, underscores and dashes, or stars, with dots between them.
    pub(super) fn is_good(text: &str) -> bool {
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let words: Vec<&str> = text.split('.').collect();
        words.len() <= WORDS_MAX
            && words.iter().enumerate().all(|(i, word)| {
                *word == "*"
                    || (!word.is_empty()
                        && word.chars().all(letter)
                        && !word.starts_with(|c: char| c == '-' || (i == 0 && c.is_ascii_digit())))
            })
    }

    /// Adds the match of the mapping at `at`.
    pub(super) fn add(&mut self, text: &str, at: usize) {
        let mut node = &mut self.root;
        for word in text.split('.') {
            node = match word {
                "*" => node.star.get_or_insert_default(),
                word => node.words.entry(word.into()).or_default(),
            };
        }
        node.end.get_or_insert(at);
    }

    /// The mapping that a name means, and what its stars stand for. Of several it is the first one of the file; or, where
    /// their order does not count, the one whose first words are no stars.
    pub(super) fn find<'n>(&self, name: &'n str, is_ordered: bool) -> Option<(usize, Vec<&'n str>)> {
        let words: Vec<&str> = name.split('.').take(WORDS_MAX + 1).collect();
        if words.len() > WORDS_MAX {
            return None;
        }
        let mut search = Search { words, captures: Vec::new(), best: None, is_ordered };
        search.walk(&self.root, 0);
        search.best
    }
}

impl Search<'_> {
    fn walk(&mut self, node: &Node, depth: usize) {
        let Some(word) = self.words.get(depth).copied() else {
            let better = |at: &usize| self.best.as_ref().is_none_or(|(best, _)| at < best);
            if let Some(at) = node.end.filter(better) {
                self.best = Some((at, self.captures.clone()));
            }
            return;
        };
        if let Some(next) = node.words.get(word) {
            self.walk(next, depth + 1);
        }
        if !self.is_ordered && self.best.is_some() {
            return;
        }
        if let Some(next) = &node.star {
            self.captures.push(word);
            self.walk(next, depth + 1);
            self.captures.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_matches_is_meant_or_the_most_exact() {
        let mut globs = Globs::default();
        for (at, text) in ["a.*.*", "a.b.*", "*.b.c", "*", "x.*", "x.*.y"].into_iter().enumerate() {
            assert!(Globs::is_good(text));
            globs.add(text, at);
        }
        for (name, ordered, exact) in [
            ("a.b.c", Some((0, vec!["b", "c"])), Some((1, vec!["c"]))),
            ("z.b.c", Some((2, vec!["z"])), Some((2, vec!["z"]))),
            ("q", Some((3, vec!["q"])), Some((3, vec!["q"]))),
            ("x.1.y", Some((5, vec!["1"])), Some((5, vec!["1"]))),
            ("x.1.z", None, None),
            ("", Some((3, vec![""])), Some((3, vec![""]))),
        ] {
            assert_eq!(globs.find(name, true), ordered, "{name}");
            assert_eq!(globs.find(name, false), exact, "{name}");
        }
        assert_eq!(globs.find(&["a"; 65].join("."), true), None);
    }

    #[test]
    fn what_is_no_match_is_told() {
        for bad in ["", "a..b", "a.b*", "1a", "-a", "a b", ".a"] {
            assert!(!Globs::is_good(bad), "{bad}");
        }
        assert!(Globs::is_good("a.1b.*.c-d_e"));
    }
}
