//! Families that a page leaves out: which they were on the last one, and which of them the log has told of.

use crate::metric::Kind;
use std::collections::{HashMap, HashSet};

/// So many names are told in one line, and so many are remembered.
const TOLD_MAX: usize = 20;
const SAID_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Hidden {
    now: HashMap<Box<str>, Vec<Kind>>,
    said: HashSet<Box<str>>,
}

impl Hidden {
    /// Begins another page.
    pub(super) fn begin(&mut self) {
        self.now.clear();
    }

    pub(super) fn add(&mut self, name: &str, kind: Kind) {
        self.now.entry(name.into()).or_default().push(kind);
    }

    pub(super) fn has(&self, name: &str, kind: Kind) -> bool {
        self.now.get(name).is_some_and(|kinds| kinds.contains(&kind))
    }

    /// Ends the page: tells of names that were not told of before, and how many families there are.
    pub(super) fn end(&mut self) -> u64 {
        let mut fresh: Vec<&str> =
            self.now.keys().map(|name| &**name).filter(|name| !self.said.contains(*name)).collect();
        if !fresh.is_empty() {
            fresh.sort_unstable();
            let names = fresh.get(..TOLD_MAX).unwrap_or(&fresh).join(", ");
            tracing::warn!(
                count = fresh.len(),
                names,
                "families of applications are left out: others have their names"
            );
            if self.said.len() > SAID_MAX {
                self.said.clear();
            }
            let fresh: Vec<Box<str>> = fresh.into_iter().map(Box::from).collect();
            self.said.extend(fresh);
        }
        self.now.values().map(|kinds| kinds.len() as u64).sum()
    }
}
