//! A kernel file that several collectors want in one pass: it is read once, and the text serves them all.

use super::{HostError, Kept, ParseError};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A text is good for so long: as long as it may take from one collector of a pass to another.
const FRESH: Duration = Duration::from_millis(5);

/// The file and when it was read; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<Option<Reading>>>);

#[derive(Debug)]
struct Reading {
    file: Kept,
    at: Option<Instant>,
}

/// What was read is no part of where the files of a machine are.
impl PartialEq for Recent {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Recent {}

impl Recent {
    /// The lines of the file at `path`, parsed; `None` where there is no such file. `open` gives the file when there is none
    /// yet, or another one.
    pub(super) fn parse_lines<T>(
        &self,
        path: &PathBuf,
        open: impl FnOnce() -> Kept,
        parser: impl FnOnce(&str) -> Result<T, ParseError>,
    ) -> Result<Option<T>, HostError> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = held.take().filter(|reading| reading.file.path() == path);
        let reading = held.insert(known.unwrap_or_else(|| Reading { file: open(), at: None }));
        let now = Instant::now();
        if reading.at.is_none_or(|at| now.duration_since(at) >= FRESH) {
            reading.at = None;
            if reading.file.read_bytes()?.is_none() {
                return Ok(None);
            }
            reading.at = Some(now);
        }
        reading.file.parse_last_lines(parser).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reading_serves_all_who_ask_in_a_pass_and_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
        std::fs::write(&a, "a 1\n").unwrap();
        let (recent, reads) = (Recent::default(), || super::super::counted::spent().calls);
        let text = |path: &PathBuf| {
            let before = reads();
            let read = recent.clone().parse_lines(path, || Kept::new(path.clone()), |t| Ok(t.to_owned()));
            (read.unwrap(), reads() - before)
        };
        assert_eq!(text(&a).0.as_deref(), Some("a 1\n"));
        let until = Instant::now() + Duration::from_secs(20);
        while text(&a) != (Some("a 1\n".into()), 0) {
            assert!(Instant::now() < until, "it is read each time");
        }
        assert_eq!(text(&b).0, None);
        std::fs::write(&a, "a 2\n").unwrap();
        std::thread::sleep(FRESH);
        assert_eq!(text(&a).0.as_deref(), Some("a 2\n"));
    }
}
