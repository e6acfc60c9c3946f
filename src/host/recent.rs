//! A kernel file that several collectors want in one pass: it is read once, and the text serves them all.

use super::{HostError, Kept, ParseError};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, TryLockError};

/// The file, and in which pass it was read; clones share it. Without a pass that was begun it is read each time.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// How many passes were begun. No lock: a pass begins though another one hangs in reading the file.
    passes: AtomicU64,
    /// Locked while the file is read.
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    file: Option<Kept>,
    /// The pass in which it was read.
    read_in: Option<u64>,
}

/// What was read is no part of where the files of a machine are.
impl PartialEq for Recent {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Recent {}

impl Recent {
    /// Begins a pass: what was read before is of no more use.
    pub(super) fn begin(&self) {
        self.0.passes.fetch_add(1, Ordering::Relaxed);
    }

    /// The lines of the file at `path`, parsed; `None` where there is no such file. `open` gives the file when there is none
    /// yet, or another one. While somebody else's reading hangs it is refused: who waited would hang too.
    pub(super) fn parse_lines<T>(
        &self,
        path: &Path,
        open: impl FnOnce() -> Kept,
        parser: impl FnOnce(&str) -> Result<T, ParseError>,
    ) -> Result<Option<T>, HostError> {
        let mut last = match self.0.last.try_lock() {
            Ok(last) => last,
            Err(TryLockError::Poisoned(last)) => last.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let why = io::Error::new(io::ErrorKind::WouldBlock, "an earlier reading has not returned");
                return Err(HostError::read(path, why));
            }
        };
        let Last { file, read_in } = &mut *last;
        let pass = Some(self.0.passes.load(Ordering::Relaxed)).filter(|pass| *pass > 0);
        let known = file.take().filter(|file| file.path() == path);
        let was_read = pass.is_some() && *read_in == pass && known.is_some();
        let file = file.insert(known.unwrap_or_else(open));
        if !was_read {
            *read_in = None;
            if file.read_bytes()?.is_none() {
                return Ok(None);
            }
            *read_in = pass;
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
    #[test]
    fn a_reading_that_hangs_holds_up_neither_the_next_pass_nor_who_asks_in_it() {
        use std::sync::mpsc::channel;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stat");
        std::fs::write(&path, "1\n").unwrap();
        let (recent, ask) = (Recent::default(), path.clone());
        let text = move |recent: &Recent, hang: &dyn Fn()| {
            recent.parse_lines(
                &ask,
                || Kept::new(ask.clone()),
                |t| {
                    hang();
                    Ok(t.to_owned())
                },
            )
        };
        let ((called, calls), (go_on, told)) = (channel(), channel::<()>());
        let hangs = std::thread::spawn({
            let (recent, text) = (recent.clone(), text.clone());
            move || {
                recent.begin();
                let hang = || {
                    called.send(()).unwrap();
                    told.recv().unwrap();
                };
                text(&recent, &hang).unwrap()
            }
        });
        calls.recv().unwrap();
        // On another thread, so that a test that hangs fails.
        let (done, end) = channel();
        std::thread::spawn({
            let (recent, text) = (recent.clone(), text.clone());
            move || {
                recent.begin();
                done.send(text(&recent, &|| ()).unwrap_err().to_string()).unwrap();
            }
        });
        let refused = end.recv_timeout(std::time::Duration::from_secs(30)).expect("nobody waits");
        assert!(refused.contains("/stat: an earlier reading has not returned"), "{refused}");
        go_on.send(()).unwrap();
        assert_eq!(hangs.join().unwrap().as_deref(), Some("1\n"));
        std::fs::write(&path, "2\n").unwrap();
        recent.begin();
        assert_eq!(text(&recent, &|| ()).unwrap().as_deref(), Some("2\n"));
    }
}
