//! The files of benchmarks: the book in the state directory, and the text file of metrics; each old or new, never half.

use crate::benchmark::{Book, page};
use crate::cli::service::{make_state_dir, state_dir};
use crate::config::Config;
use crate::encode::text::TextEncoder;
use anyhow::{Context, Result, anyhow};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The book's file in the state directory.
const BOOK: &str = "benchmarks.json";
/// Who holds this one changes the book.
const LOCK: &str = "benchmarks.lock";
/// The file of metrics; every collector of text files reads what ends in `.prom`.
const METRICS: &str = "headroom_benchmarks.prom";
/// The largest book that is read: more than the limits of what is in it allow.
const BOOK_BYTES_MAX: u64 = 64 << 20;

/// Where the book is, and where metrics go.
pub(super) struct Place {
    /// The book.
    pub(super) state: PathBuf,
    /// The directory of text files, and what named it.
    pub(super) metrics: Option<(PathBuf, &'static str)>,
}

/// The book's place.
pub(super) fn path(config: &Config) -> PathBuf {
    state_dir(config).join(BOOK)
}

/// The book; an empty one if none was written yet.
pub(super) fn read(config: &Config) -> Result<Book> {
    book(&path(config))
}

/// Changes the book and writes the metrics anew; says where they are. What is written is written beside first, so that
/// what cannot be written changes nothing.
pub(super) fn change(place: &Place, with: impl FnOnce(&mut Book) -> Result<()>) -> Result<String> {
    let directory = place.state.parent().unwrap_or(Path::new("."));
    make_state_dir(directory).with_context(|| format!("cannot make {} (state_dir)", directory.display()))?;
    let lock = directory.join(LOCK);
    let cannot = || format!("cannot lock {} (state_dir)", lock.display());
    let held =
        OpenOptions::new().write(true).create(true).truncate(false).open(&lock).with_context(cannot)?;
    held.lock().with_context(cannot)?;
    let mut changed = book(&place.state)?;
    with(&mut changed)?;
    let text = changed.text().map_err(|why| anyhow!(why))?;
    let metrics = place.metrics.as_ref().map(|(directory, key)| {
        let path = directory.join(METRICS);
        // The collector of another user reads it.
        let beside = Beside::write(&path, &exposition(&changed), 0o644);
        beside.with_context(|| format!("cannot write {} ({key})", path.display()))
    });
    let metrics = metrics.transpose()?;
    let cannot = || format!("cannot write {} (state_dir)", place.state.display());
    Beside::write(&place.state, text.as_bytes(), 0o600).and_then(Beside::put).with_context(cannot)?;
    let Some(metrics) = metrics else { return Ok(String::new()) };
    let shown = metrics.path.display().to_string();
    metrics
        .put()
        .with_context(|| format!("the run is kept, and its metrics are not: cannot write {shown}"))?;
    Ok(format!("metrics: {shown}\n"))
}

fn book(path: &Path) -> Result<Book> {
    let read = File::open(path).and_then(|file| {
        let mut text = String::new();
        io::Read::read_to_string(&mut io::Read::take(file, BOOK_BYTES_MAX), &mut text)?;
        Ok(text)
    });
    let text = match read {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Book::default()),
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
    };
    // Not taken for an empty one: the next run would write over all that is there.
    Book::parse(&text).map_err(|why| anyhow!("{}: {why}; move it away to begin anew", path.display()))
}

fn exposition(book: &Book) -> Vec<u8> {
    let mut out = TextEncoder::default();
    page::write(book, &mut out);
    out.page().to_vec()
}

/// A file that is written and does not have its name yet; it goes if it never gets it.
struct Beside {
    path: PathBuf,
    temporary: PathBuf,
}

impl Beside {
    fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let beside = Self { path: path.to_owned(), temporary: name.into() };
        // What a program that was killed left; and nothing is written through a link that somebody put there.
        let _none = std::fs::remove_file(&beside.temporary);
        let mut file = OpenOptions::new().write(true).create_new(true).open(&beside.temporary)?;
        // Not left to the mask, which may keep others out.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(beside)
    }

    fn put(self) -> io::Result<()> {
        std::fs::rename(&self.temporary, &self.path)?;
        self.path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It is gone already where it got its name.
        let _gone = std::fs::remove_file(&self.temporary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::benchmark::better::Better;
    use crate::benchmark::{Measure, Run};
    use std::collections::BTreeMap;

    fn add(book: &mut Book) -> Result<()> {
        let measures =
            BTreeMap::from([("x_seconds".to_owned(), Measure { value: 1.0, better: Better::Lower })]);
        book.record("a", Run { at_millis: 1, measures }, None).map_err(|why| anyhow!(why))
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_cannot_be_written_changes_nothing_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state").join(BOOK);
        let place = |metrics: &str| Place {
            state: state.clone(),
            metrics: Some((dir.path().join(metrics), "--output")),
        };
        let why = change(&place("none"), add).unwrap_err().to_string();
        assert!(why.contains("none/headroom_benchmarks.prom (--output)"), "{why}");
        assert_eq!(names(&dir.path().join("state")), [LOCK]);
        std::fs::create_dir(dir.path().join("metrics")).unwrap();
        change(&place("metrics"), add).unwrap();
        assert_eq!(names(&dir.path().join("metrics")), [METRICS]);
        assert_eq!(names(&dir.path().join("state")), [BOOK, LOCK]);
        assert_eq!(book(&state).unwrap().get("a").unwrap().runs.len(), 1);
        // A name that cannot be taken: the book stays as it was.
        std::fs::remove_file(&state).unwrap();
        std::fs::create_dir(&state).unwrap();
        assert!(change(&place("metrics"), add).is_err());
        assert_eq!(names(&dir.path().join("metrics")), [METRICS]);
    }

    #[test]
    fn a_damaged_book_is_no_empty_one_wherever_it_was_cut() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { state: dir.path().join(BOOK), metrics: None };
        change(&place, add).unwrap();
        let whole = std::fs::read(&place.state).unwrap();
        for length in 0..whole.trim_ascii_end().len() {
            std::fs::write(&place.state, &whole[..length]).unwrap();
            let why = change(&place, add).unwrap_err().to_string();
            assert!(why.contains("move it away"), "{length}: {why}");
            assert_eq!(std::fs::read(&place.state).unwrap(), whole[..length], "it was written over");
        }
    }

    #[test]
    fn the_largest_book_can_be_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { state: dir.path().join(BOOK), metrics: None };
        let name = |number: usize| format!("{number:0>144}");
        let measure = Measure { value: f64::MAX / 3.0, better: Better::Higher };
        let run = Run { at_millis: i64::MAX, measures: (0..40).map(|n| (name(n), measure)).collect() };
        let fill = |book: &mut Book| {
            (0..100)
                .for_each(|n| (0..31).for_each(|_| book.record(&name(n), run.clone(), Some(0.1)).unwrap()));
            (0..100).for_each(|n| assert!(book.accept(&name(n))));
            Ok(())
        };
        change(&place, fill).unwrap();
        assert_eq!(book(&place.state).unwrap().all().count(), 100);
        let room = BOOK_BYTES_MAX - std::fs::metadata(&place.state).unwrap().len();
        assert!(room > BOOK_BYTES_MAX / 8, "{room}");
    }

    #[test]
    fn two_at_once_lose_no_run() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { state: dir.path().join(BOOK), metrics: None };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..5).for_each(|_| assert_eq!(change(&place, add).unwrap(), "")));
            }
        });
        assert_eq!(book(&place.state).unwrap().get("a").unwrap().runs.len(), 20);
    }
}
