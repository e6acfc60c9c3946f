//! The files of a class of devices under /sys, found once, and the series that each of them feeds.

use super::family::{Named, Opening};
use crate::host::attribute::{Attribute, Reader, Reading};
use crate::host::{Arrivals, HostError, Listing, ParseError};
use crate::metric::{Desc, Sink, Value};
use std::io::ErrorKind::PermissionDenied;
use std::path::{Path, PathBuf};

/// After so many passes the files are looked for anew: what appears below a known device is shown then at the latest.
const PASSES: u32 = 30;
/// The most labels of a family.
const LABELS_MAX: usize = 8;

/// A value that a file gave; none if it has none at present.
pub(super) type Cell = Option<Value<'static>>;
/// Takes the values out of a file's text.
pub(super) type Parse = fn(&str, &mut [Cell]) -> Result<(), ParseError>;

/// What is done if a file is there and cannot be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// The collector fails.
    Fails,
    /// Its values are absent: drivers answer so for what a device does not have.
    IsAbsent,
}

/// The devices below one directory.
pub(super) struct Board {
    directory: PathBuf,
    unreadable: Unreadable,
    children: Listing<()>,
    passes_left: u32,
    found: Found,
}

/// What was found: files, and where their values go.
#[derive(Default)]
pub(super) struct Found {
    files: Vec<Source>,
    cells: Vec<Cell>,
    families: Vec<Family>,
    /// Whether a device went away.
    stale: bool,
}

struct Source {
    file: Attribute,
    parse: Parse,
    first: usize,
    count: usize,
}

struct Family {
    named: Named,
    series: Vec<Series>,
}

struct Series {
    labels: Vec<String>,
    cell: usize,
}

impl Board {
    pub(super) fn new(directory: PathBuf, unreadable: Unreadable) -> Self {
        let children = Listing::new(directory.clone());
        Self { directory, unreadable, children, passes_left: 0, found: Found::default() }
    }

    /// The same board; where there is no such directory, it is not looked for as long as nothing came to the machine.
    pub(super) fn heard_by(self, arrivals: &Arrivals) -> Self {
        Self { children: self.children.heard_by(arrivals), ..self }
    }

    /// The same board of devices of a class: they are not looked for as long as nothing came to the machine or went.
    pub(super) fn told_by(self, arrivals: &Arrivals) -> Self {
        Self { children: self.children.told_by(arrivals), ..self }
    }

    /// Looks whether there are other devices than before, and lets `find` say what their files are; false if there is
    /// no such directory.
    pub(super) fn look<E: From<HostError>>(
        &mut self,
        find: impl FnOnce(&Path, &[String], &mut Found) -> Result<(), E>,
    ) -> Result<bool, E> {
        let Some(changed) = self.children.refresh(|_, _, _| Some(()))? else {
            self.passes_left = 0;
            self.found = Found::default();
            return Ok(false);
        };
        if let Some(left) = self.passes_left.checked_sub(1).filter(|_| !changed && !self.found.stale) {
            self.passes_left = left;
            return Ok(true);
        }
        self.passes_left = 0;
        self.found = Found::default();
        let names: Vec<String> = self.children.items().map(|(name, ())| name.to_owned()).collect();
        find(&self.directory, &names, &mut self.found)?;
        self.passes_left = PASSES;
        Ok(true)
    }

    /// Lets the next look find the files anew.
    pub(super) fn forget(&mut self) {
        self.passes_left = 0;
    }

    /// Reads all files.
    pub(super) fn read(&mut self) -> Result<(), HostError> {
        let Found { files, cells, stale, .. } = &mut self.found;
        if files.is_empty() {
            // A reader has a buffer, and most machines have none of most devices.
            return Ok(());
        }
        let mut reader = Reader::default();
        for Source { file, parse, first, count } in files {
            let Some(cells) = cells.get_mut(*first..*first + *count) else { continue };
            cells.fill(None);
            match reader.read(file) {
                Ok(Reading::Text(text)) => {
                    parse(&text, cells).map_err(|e| HostError::parse(file.path(), e))?;
                }
                Ok(Reading::Absent) => {}
                Ok(Reading::Gone) => *stale = true,
                Err(e) if self.unreadable == Unreadable::IsAbsent => {
                    if matches!(&e, HostError::Read { source, .. } if source.kind() == PermissionDenied) {
                        // Only to be written, or only for root.
                        file.give_up();
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Writes the values of the last reading.
    pub(super) fn write(&self, out: &mut dyn Sink) {
        let Found { cells, families, .. } = &self.found;
        for Family { named, series } in families {
            let desc = named.desc();
            let mut family = Opening::new(&desc);
            for Series { labels, cell } in series {
                let Some(value) = cells.get(*cell).copied().flatten() else { continue };
                let mut values = [""; LABELS_MAX];
                for (slot, label) in values.iter_mut().zip(labels) {
                    *slot = label;
                }
                family.sample(out, values.get(..labels.len()).unwrap_or_default(), value);
            }
        }
    }
}

impl Found {
    /// A file that holds `count` values; the number of the first one's cell.
    pub(super) fn file(&mut self, path: PathBuf, parse: Parse, count: usize) -> usize {
        let first = self.cells.len();
        self.cells.resize(first + count, None);
        self.files.push(Source { file: Attribute::new(path), parse, first, count });
        first
    }

    /// A series with the value of a cell. Series of one family stand together, whenever they were added.
    pub(super) fn series(&mut self, named: impl Into<Named>, labels: &[&str], cell: usize) {
        let named = named.into();
        let series = Series { labels: labels.iter().map(|label| (*label).to_owned()).collect(), cell };
        match self.families.iter_mut().find(|family| family.named.name == named.name) {
            // What has the same name twice would make the page unreadable.
            Some(family) if family.series.iter().any(|known| known.labels == series.labels) => {}
            Some(family) => family.series.push(series),
            None => self.families.push(Family { named, series: vec![series] }),
        }
    }

    /// A file that holds the value of one series.
    pub(super) fn one(&mut self, desc: &Desc<'static>, labels: &[&str], path: PathBuf, parse: Parse) {
        let cell = self.file(path, parse, 1);
        self.series(desc, labels, cell);
    }

    /// A series whose value is known now and stays until the files are looked for anew.
    pub(super) fn constant(&mut self, named: impl Into<Named>, labels: &[&str], value: Value<'static>) {
        let cell = self.cells.len();
        self.cells.push(Some(value));
        self.series(named, labels, cell);
    }
}

/// A file with one whole number.
pub(super) fn whole(text: &str, cells: &mut [Cell]) -> Result<(), ParseError> {
    let value = crate::host::system::whole(text)?;
    put(cells, 0, Some(Value::U64(value)));
    Ok(())
}

/// The value of one of a file's cells.
pub(super) fn put(cells: &mut [Cell], at: usize, value: Cell) {
    if let Some(cell) = cells.get_mut(at) {
        *cell = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::text::TextEncoder;

    const SIZE: Desc<'static> = Desc::gauge("size", "S.", &["device"]);

    fn look(board: &mut Board) -> bool {
        let there = board.look(|directory, names, found| {
            for name in names {
                found.one(&SIZE, &[name], directory.join(name).join("size"), whole);
            }
            Ok::<_, HostError>(())
        });
        there.unwrap()
    }

    fn samples(board: &mut Board) -> Vec<String> {
        assert!(look(board));
        board.read().unwrap();
        let mut out = TextEncoder::default();
        board.write(&mut out);
        let page = String::from_utf8(out.page().to_vec()).unwrap();
        page.lines().filter(|l| !l.starts_with('#')).map(String::from).collect()
    }

    #[test]
    fn devices_come_and_go_and_what_is_missing_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        let class = dir.path().join("class");
        let mut board = Board::new(class.clone(), Unreadable::Fails);
        assert!(!look(&mut board));
        let put = |name: &str, text: &str| {
            std::fs::create_dir_all(class.join(name)).unwrap();
            std::fs::write(class.join(name).join("size"), text).unwrap();
        };
        put("a", "1\n");
        assert_eq!(samples(&mut board), ["size{device=\"a\"} 1"]);
        put("a", "2\n");
        put("b", "3\n");
        assert_eq!(samples(&mut board), ["size{device=\"a\"} 2", "size{device=\"b\"} 3"]);
        std::fs::remove_dir_all(class.join("a")).unwrap();
        std::fs::create_dir(class.join("c")).unwrap();
        assert_eq!(samples(&mut board), ["size{device=\"b\"} 3"]);
        // Found at the latest when the files are looked for anew.
        put("c", "4\n");
        let seen = (0..=PASSES).find(|_| samples(&mut board).len() == 2);
        assert_eq!(seen, Some(PASSES));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error_or_absent() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/size")).unwrap();
        for (unreadable, works) in [(Unreadable::Fails, false), (Unreadable::IsAbsent, true)] {
            let mut board = Board::new(dir.path().to_owned(), unreadable);
            assert!(look(&mut board));
            assert_eq!(board.read().is_ok(), works);
        }
    }
}
