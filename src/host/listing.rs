//! The entries of one directory (devices of a class, pools) between two looks, with what belongs to each.

use super::HostError;
use super::counted::entries_until;
use rustix::fs::FileType;
use std::io;
use std::path::PathBuf;

/// The most entries that one directory may have.
const ENTRIES_MAX: usize = 50_000;

/// A directory that is listed again and again. An entry's item is made when the entry appears and dropped when it
/// goes; an entry of the same name with another inode is another entry: a device that was plugged in anew, or renamed.
#[derive(Debug)]
pub struct Listing<T> {
    path: PathBuf,
    /// Sorted by name; entries that are not wanted stand here as well, without an item.
    entries: Vec<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    name: String,
    inode: u64,
    seen: bool,
    item: Option<T>,
}

impl<T> Listing<T> {
    /// The directory at `path`; nothing is read yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, entries: Vec::new() }
    }

    /// Lists the directory anew, and tells whether entries came or went; `None` where there is no directory. For a
    /// new entry `make` gets its path, its name and whether it is an ordinary file, and returns the item, or nothing
    /// if the entry is not wanted.
    #[allow(clippy::while_let_on_iterator, reason = "what Linux has is no iterator")]
    pub fn refresh(
        &mut self,
        mut make: impl FnMut(PathBuf, &str, bool) -> Option<T>,
    ) -> Result<Option<bool>, HostError> {
        let known = self.entries.len();
        for entry in &mut self.entries {
            entry.seen = false;
        }
        let (path, entries) = (&self.path, &mut self.entries);
        let listed = entries_until(path, |entry| {
            let sorted = entries.get(..known).unwrap_or_default();
            let at = sorted.binary_search_by(|known| known.name.as_str().cmp(entry.name)).ok();
            let same = at.and_then(|at| entries.get_mut(at)).filter(|known| known.inode == entry.inode);
            if let Some(same) = same {
                same.seen = true;
            } else if entries.len() >= ENTRIES_MAX {
                return Err(io::Error::other(format!("more than {ENTRIES_MAX} entries")));
            } else {
                let is_file = entry.kind == FileType::RegularFile;
                let item = make(path.join(entry.name), entry.name, is_file);
                entries.push(Entry { name: entry.name.to_owned(), inode: entry.inode, seen: true, item });
            }
            Ok(())
        });
        match listed {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.entries.clear();
                return Ok(None);
            }
            Err(e) => {
                self.entries.truncate(known);
                return Err(HostError::read(&self.path, e));
            }
        }
        let changed = self.entries.len() > known || self.entries.iter().any(|entry| !entry.seen);
        if changed {
            self.entries.retain(|entry| entry.seen);
            self.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        }
        Ok(Some(changed))
    }

    /// The wanted entries in the order of their names.
    pub fn items(&self) -> impl Iterator<Item = (&str, &T)> + Clone {
        self.entries.iter().filter_map(|entry| Some((entry.name.as_str(), entry.item.as_ref()?)))
    }

    /// The same, to be read into.
    pub fn items_mut(&mut self) -> impl Iterator<Item = (&str, &mut T)> {
        self.entries.iter_mut().filter_map(|entry| Some((entry.name.as_str(), entry.item.as_mut()?)))
    }
}

/// The number in a name such as `st0`, as text, if nothing but digits follows `start`.
pub fn numbered<'a>(name: &'a str, start: &str) -> Option<&'a str> {
    let digits = name.strip_prefix(start)?;
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_come_and_go_are_followed_and_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut made = Vec::new();
        let mut listing = Listing::new(dir.path().join("class"));
        let mut look = |listing: &mut Listing<usize>| {
            let there = listing.refresh(|path, name, file| {
                assert!(path.ends_with(name));
                made.push(name.to_owned());
                (!file && name != "lo").then_some(made.len())
            });
            let names: Vec<String> = listing.items().map(|(name, _)| name.to_owned()).collect();
            (there.unwrap().is_some(), names.join(" "))
        };
        assert_eq!(look(&mut listing), (false, String::new()));
        for name in ["b", "a", "lo"] {
            std::fs::create_dir_all(dir.path().join("class").join(name)).unwrap();
        }
        std::fs::write(dir.path().join("class/file"), "").unwrap();
        assert_eq!(look(&mut listing), (true, "a b".into()));
        assert_eq!(look(&mut listing), (true, "a b".into()));
        std::fs::remove_dir(dir.path().join("class/a")).unwrap();
        std::fs::create_dir(dir.path().join("class/c")).unwrap();
        assert_eq!(look(&mut listing), (true, "b c".into()));
        // The names are the same, the devices are not.
        for (from, to) in [("b", "x"), ("c", "b"), ("x", "c")] {
            std::fs::rename(dir.path().join("class").join(from), dir.path().join("class").join(to)).unwrap();
        }
        assert_eq!(look(&mut listing), (true, "b c".into()));
        std::fs::remove_dir_all(dir.path().join("class")).unwrap();
        assert_eq!(look(&mut listing), (false, String::new()));
        assert_eq!(made.len(), 4 + 1 + 2);
    }

    #[test]
    fn the_number_of_a_name_is_all_that_follows() {
        assert_eq!(numbered("st12", "st"), Some("12"));
        for name in ["st", "st0a", "nst0", ""] {
            assert_eq!(numbered(name, "st"), None, "{name}");
        }
    }
}
