//! A kernel file that several collectors want in one pass: it is read once, and the text serves them all.

use super::{HostError, Kept, ParseError};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The file, and whether it was read; clones share it. Without a pass that was begun it is read each time.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    file: Option<Kept>,
    /// Whether it was read in this pass; `None` before the first one begins.
    read: Option<bool>,
}

/// What was read is no part of where the files of a machine are.
impl PartialEq for Recent {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Recent {}

impl Recent {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a pass: what was read before is of no more use.
    pub(super) fn begin(&self) {
        self.lock().read = Some(false);
    }

    /// The lines of the file at `path`, parsed; `None` where there is no such file. `open` gives the file when there is none
    /// yet, or another one.
    pub(super) fn parse_lines<T>(
        &self,
        path: &Path,
        open: impl FnOnce() -> Kept,
        parser: impl FnOnce(&str) -> Result<T, ParseError>,
    ) -> Result<Option<T>, HostError> {
        let mut state = self.lock();
        let State { file, read } = &mut *state;
        let known = file.take().filter(|file| file.path() == path);
        let was_read = *read == Some(true) && known.is_some();
        let file = file.insert(known.unwrap_or_else(open));
        if !was_read {
            *read = read.map(|_| false);
            if file.read_bytes()?.is_none() {
                return Ok(None);
            }
            *read = read.map(|_| true);
        }
        file.parse_last_lines(parser).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reading_serves_all_who_ask_in_a_pass_and_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
        let recent = Recent::default();
        let text = |path: &Path| {
            let read = recent.clone().parse_lines(path, || Kept::new(path.to_owned()), |t| Ok(t.to_owned()));
            read.unwrap().unwrap_or_default()
        };
        let put = |text: &str| std::fs::write(&a, text).unwrap();
        for line in ["1\n", "2\n"] {
            put(line);
            assert_eq!(text(&a), line, "no pass was begun");
        }
        for (before, line) in [("2\n", "3\n"), ("4\n", "5\n")] {
            put(before);
            recent.begin();
            assert_eq!(text(&a), before);
            put(line);
            assert_eq!(text(&a), before);
        }
        assert_eq!(text(&b), "");
        assert_eq!(text(&a), "5\n");
    }
}
