//! Paths with wildcards: `*`, `?` and `[a-z]` in each part, as a shell and node_exporter understand them.

use super::counted::{exists, is_dir};
use super::{HostError, children};
use std::path::PathBuf;

/// The most paths that one pattern may stand for.
const PATHS_MAX: usize = 1000;

/// The paths that a pattern stands for, sorted; the pattern itself if it has no wildcard or nothing matches.
pub fn paths(pattern: &str) -> Result<Vec<PathBuf>, HostError> {
    if !pattern.contains(['*', '?', '[', '\\']) {
        return Ok(vec![PathBuf::from(pattern)]);
    }
    let mut found = vec![PathBuf::from(if pattern.starts_with('/') { "/" } else { "" })];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for base in found {
            let directory = if base.as_os_str().is_empty() { PathBuf::from(".") } else { base.clone() };
            if !part.contains(['*', '?', '[', '\\']) {
                next.extend(exists(&directory.join(part)).then(|| base.join(part)));
            } else if is_dir(&directory) {
                let names = children(&directory)?.unwrap_or_default();
                next.extend(names.iter().filter(|name| matches(part, name)).map(|name| base.join(name)));
            }
            next.truncate(PATHS_MAX);
        }
        found = next;
    }
    if found.is_empty() {
        found.push(PathBuf::from(pattern));
    }
    Ok(found)
}

/// Whether a name is one of those that a pattern without slashes stands for.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.chars(), name.chars());
    // Where to go on if what follows the last star does not fit: the star takes one letter more.
    let mut retry = None;
    loop {
        match pattern.next() {
            Some('*') => {
                retry = Some((pattern.clone(), name.clone()));
                continue;
            }
            None if name.as_str().is_empty() => return true,
            Some(first) => {
                let mut rest = name.clone();
                if rest.next().is_some_and(|letter| one(first, &mut pattern, letter)) {
                    name = rest;
                    continue;
                }
            }
            None => {}
        }
        let Some((after_star, mut from)) = retry else { return false };
        if from.next().is_none() {
            return false;
        }
        (pattern, name) = (after_star.clone(), from.clone());
        retry = Some((after_star, from));
    }
}

/// Whether a letter is what `first` (and what belongs to it in the pattern) stands for.
fn one(first: char, pattern: &mut std::str::Chars<'_>, letter: char) -> bool {
    match first {
        '?' => true,
        '\\' => pattern.next() == Some(letter),
        '[' => {
            let Some((set, rest)) = pattern.as_str().split_once(']') else { return false };
            *pattern = rest.chars();
            let (negated, set) = set.strip_prefix(['^', '!']).map_or((false, set), |set| (true, set));
            in_set(set, letter) != negated
        }
        other => other == letter,
    }
}

fn in_set(set: &str, letter: char) -> bool {
    let mut set = set.chars().peekable();
    while let Some(low) = set.next() {
        let high = match set.next_if_eq(&'-') {
            Some(_) => set.next().unwrap_or(low),
            None => low,
        };
        if (low..=high).contains(&letter) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_in_a_shell() {
        for (pattern, name, want) in [
            ("*", "abc", true),
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("*_extra_*", "x_extra_y", true),
            ("*a*b", "aab", true),
            ("?", "", false),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[", "[", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("abc", "ab", false),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_finds_directories_and_stays_itself_if_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b1/x", "a1/x", "a1/y", "c"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let at = |name: &str| dir.path().join(name);
        let find = |name: &str| paths(&at(name).to_string_lossy()).unwrap();
        assert_eq!(find("*1/x"), [at("a1/x"), at("b1/x")]);
        assert_eq!(find("no*"), [at("no*")]);
        assert_eq!(find("none"), [at("none")]);
    }
}
