//! The entries of one directory (devices of a class, pools) between two looks, with what belongs to each.

use super::HostError;
use super::arrivals::{Absence, Arrivals};
use super::counted::Directory;
use rustix::fs::FileType;
use std::io;
use std::path::PathBuf;

/// The most entries that one directory may have.
const ENTRIES_MAX: usize = 50_000;

/// A directory that is listed again and again. An entry's item is made when the entry appears and dropped when it
/// goes; an entry of the same name with another inode, or of another kind (file systems soon use an inode's number
/// again), is another entry: a device that was plugged in anew, or renamed.
#[derive(Debug)]
pub struct Listing<T> {
    path: PathBuf,
    /// Stays open between two looks, unless it is empty.
    directory: Option<Directory>,
    /// That nothing is in it, or that it is not there itself; where all is told of, that nothing else is in it.
    absence: Absence,
    /// Whether the kernel tells of each entry that comes or goes.
    told: bool,
    is_there: bool,
    /// Sorted by name; entries that are not wanted stand here as well, without an item.
    entries: Vec<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    name: String,
    inode: u64,
    kind: FileType,
    seen: bool,
    item: Option<T>,
}

impl<T> Listing<T> {
    /// The directory at `path`; nothing is read yet.
    pub fn new(path: PathBuf) -> Self {
        let (absence, entries) = (Absence::default(), Vec::new());
        Self { path, directory: None, absence, told: false, is_there: false, entries }
    }

    /// The same directory; where it is not there or empty, it is not looked at as long as nothing came to the machine.
    #[must_use]
    pub fn heard_by(self, arrivals: &Arrivals) -> Self {
        Self { absence: Absence::heard_by(arrivals), ..self }
    }

    /// The same for a directory of which each entry is told of when it comes and when it goes, as devices of a class are:
    /// as long as nothing was told, it holds what it held.
    #[must_use]
    pub fn told_by(self, arrivals: &Arrivals) -> Self {
        Self { told: true, ..self.heard_by(arrivals) }
    }

    /// Lists the directory anew, and tells whether entries came or went; `None` where there is no directory. For a
    /// new entry `make` gets its path, its name and whether it is an ordinary file, and returns the item, or nothing
    /// if the entry is not wanted.
    pub fn refresh(
        &mut self,
        mut make: impl FnMut(PathBuf, &str, bool) -> Option<T>,
    ) -> Result<Option<bool>, HostError> {
        if self.absence.holds() {
            return Ok(self.is_there.then_some(false));
        }
        let (known, told) = (self.entries.len(), self.told);
        let mut absence = std::mem::take(&mut self.absence);
        let looked = absence.look(
            || self.look_anew(known, &mut make),
            // What could not be looked at is not known to be as it was.
            |found| found.as_ref().map_or(true, |any| !told && *any == Some(true)),
        );
        self.absence = absence;
        self.is_there = matches!(looked, Ok(Some(_)));
        match looked {
            Ok(Some(_)) => Ok(Some(self.settle(known))),
            Ok(None) => {
                self.entries.clear();
                Ok(None)
            }
            Err(e) => {
                self.entries.truncate(known);
                Err(HostError::read(&self.path, e))
            }
        }
    }

    /// Goes through the directory that is open, or through the one at the path; whether there is any entry, and nothing if
    /// there is no directory.
    fn look_anew(
        &mut self,
        known: usize,
        make: &mut impl FnMut(PathBuf, &str, bool) -> Option<T>,
    ) -> io::Result<Option<bool>> {
        if let Some(kept) = self.directory.take().filter(|kept| kept.rewind().is_ok()) {
            // What was removed since it was opened is empty, or an error; what stands at its path may be another one.
            let same = self.look(&kept, known, make).is_ok();
            if same && self.entries.iter().any(|entry| entry.seen) {
                self.directory = Some(kept);
                return Ok(Some(true));
            }
            self.entries.truncate(known);
        }
        self.open(make)
    }

    /// Opens the directory at the path and goes through it; whether there is any entry, and nothing if there is no directory.
    fn open(&mut self, make: &mut impl FnMut(PathBuf, &str, bool) -> Option<T>) -> io::Result<Option<bool>> {
        let directory = match Directory::open(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        self.look(&directory, self.entries.len(), make)?;
        let any = self.entries.iter().any(|entry| entry.seen);
        self.directory = any.then_some(directory);
        Ok(Some(any))
    }

    /// Goes through the directory: the first `known` entries are marked if they are still there, others are added.
    fn look(
        &mut self,
        directory: &Directory,
        known: usize,
        make: &mut impl FnMut(PathBuf, &str, bool) -> Option<T>,
    ) -> io::Result<()> {
        for entry in &mut self.entries {
            entry.seen = false;
        }
        let (path, entries) = (&self.path, &mut self.entries);
        directory.entries_until(path, |entry| {
            let sorted = entries.get(..known).unwrap_or_default();
            let at = sorted.binary_search_by(|known| known.name.as_str().cmp(entry.name)).ok();
            let is_same = |known: &&mut Entry<T>| (known.inode, known.kind) == (entry.inode, entry.kind);
            let same = at.and_then(|at| entries.get_mut(at)).filter(is_same);
            if let Some(same) = same {
                same.seen = true;
            } else if entries.len() >= ENTRIES_MAX {
                return Err(io::Error::other(format!("more than {ENTRIES_MAX} entries")));
            } else {
                let is_file = entry.kind == FileType::RegularFile;
                let item = make(path.join(entry.name), entry.name, is_file);
                let name = entry.name.to_owned();
                entries.push(Entry { name, inode: entry.inode, kind: entry.kind, seen: true, item });
            }
            Ok(())
        })
    }

    /// Lets go of entries that went away; whether any came or went since there were `known`.
    fn settle(&mut self, known: usize) -> bool {
        let changed = self.entries.len() > known || self.entries.iter().any(|entry| !entry.seen);
        if changed {
            self.entries.retain(|entry| entry.seen);
            self.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        }
        changed
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
        // A directory of the same name, as of a module that was unloaded and loaded again.
        std::fs::rename(dir.path().join("class"), dir.path().join("before")).unwrap();
        for name in ["b", "c"] {
            std::fs::remove_dir(dir.path().join("before").join(name)).unwrap();
        }
        std::fs::create_dir_all(dir.path().join("class/d")).unwrap();
        std::fs::remove_file(dir.path().join("before/file")).unwrap();
        std::fs::remove_dir(dir.path().join("before/lo")).unwrap();
        assert_eq!(look(&mut listing), (true, "d".into()));
        std::fs::remove_dir_all(dir.path().join("class")).unwrap();
        assert_eq!(look(&mut listing), (false, String::new()));
        assert_eq!(made.len(), 4 + 1 + 2 + 1);
    }

    #[test]
    fn an_empty_directory_is_not_looked_at_again_as_long_as_nothing_came_to_the_machine() {
        let dir = tempfile::tempdir().unwrap();
        let class = dir.path().join("class");
        std::fs::create_dir(&class).unwrap();
        let (kernel, arrivals) = crate::host::arrivals::at_rest();
        let mut listing = Listing::new(class.clone()).heard_by(&arrivals);
        let mut look = || {
            let before = crate::host::counted::spent();
            let there = listing.refresh(|_, name, _| Some(name.to_owned())).unwrap();
            (there, listing.items().count(), crate::host::counted::spent().since(before).calls)
        };
        assert_eq!(look(), (Some(false), 0, 5), "listened, opened, listed, closed");
        assert_eq!(look(), (Some(false), 0, 0));
        std::fs::create_dir(class.join("a")).unwrap();
        kernel.send(b"add@/class/a").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let (there, count, _) = look();
        assert_eq!((there, count), (Some(true), 1));
        std::fs::remove_dir_all(&class).unwrap();
        let (there, count, _) = look();
        assert_eq!((there, count), (None, 0));
    }

    #[test]
    fn where_each_entry_is_told_of_nothing_is_looked_at_as_long_as_nothing_was_told() {
        let dir = tempfile::tempdir().unwrap();
        let class = dir.path().join("class");
        std::fs::create_dir_all(class.join("a")).unwrap();
        let (kernel, arrivals) = crate::host::arrivals::at_rest();
        let mut listing = Listing::new(class.clone()).told_by(&arrivals);
        let mut look = || {
            let before = crate::host::counted::spent();
            let changed = listing.refresh(|_, name, _| Some(name.to_owned())).unwrap();
            let names: Vec<String> = listing.items().map(|(name, _)| name.to_owned()).collect();
            (changed, names.join(" "), crate::host::counted::spent().since(before).calls)
        };
        assert_eq!(look(), (Some(true), "a".into(), 4), "listened, opened, listed");
        std::fs::create_dir(class.join("b")).unwrap();
        assert_eq!(look(), (Some(false), "a".into(), 0), "nothing was told");
        kernel.send(b"add@/class/b").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let (changed, names, _) = look();
        assert_eq!((changed, names), (Some(true), "a b".into()));
        std::fs::remove_dir_all(&class).unwrap();
        let (changed, names, _) = look();
        assert_eq!((changed, names), (None, String::new()));
    }

    #[test]
    fn a_directory_that_cannot_be_listed_is_looked_at_again_and_is_not_absent() {
        let dir = tempfile::tempdir().unwrap();
        let class = dir.path().join("class");
        for told in [false, true] {
            let (_kernel, arrivals) = crate::host::arrivals::at_rest();
            let listing = Listing::new(class.clone());
            let mut listing = if told { listing.told_by(&arrivals) } else { listing.heard_by(&arrivals) };
            let mut look = || listing.refresh(|_, name, _| Some(name.to_owned()));
            std::fs::write(&class, "no directory").unwrap();
            for _ in 0..2 {
                assert!(look().is_err());
            }
            std::fs::remove_file(&class).unwrap();
            std::fs::create_dir_all(class.join("a")).unwrap();
            assert_eq!(look().unwrap(), Some(true));
            std::fs::remove_dir_all(&class).unwrap();
        }
    }

    #[test]
    fn the_number_of_a_name_is_all_that_follows() {
        assert_eq!(numbered("st12", "st"), Some("12"));
        for name in ["st", "st0a", "nst0", ""] {
            assert_eq!(numbered(name, "st"), None, "{name}");
        }
    }
}
