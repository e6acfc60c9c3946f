//! The emergency stop: a file in the state directory that holds all actions while it is there.
//!
//! A file, because it can be made in any way (the command line, the API, `touch`), holds at once, outlives every
//! restart, and needs neither journal nor listener.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The file's name.
const FILE: &str = "paused";
/// What of a reason is kept, in characters.
const WHY_CHARS_MAX: usize = 200;

/// The stop's place.
#[derive(Clone, Debug)]
pub struct Pause {
    file: PathBuf,
}

impl Pause {
    /// The stop of the optimizer with this state directory.
    pub fn new(state_dir: &Path) -> Self {
        Self { file: state_dir.join(FILE) }
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Why all is held; `None` while nothing is. A file that cannot be looked at holds: who cannot know must not act.
    pub fn why(&self) -> Option<String> {
        match std::fs::symlink_metadata(&self.file) {
            Ok(_) => {}
            // A state directory that is not there has no journal either, without which nothing begins.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(e) => return Some(format!("{} cannot be looked at: {e}", self.file.display())),
        }
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let line: String = text.lines().next().unwrap_or_default().chars().take(WHY_CHARS_MAX).collect();
        Some(if line.trim().is_empty() { "no reason given".to_owned() } else { line })
    }

    /// Holds all actions from now on. A reason that stands already is replaced.
    pub fn set(&self, why: &str) -> io::Result<()> {
        let line: String =
            why.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WHY_CHARS_MAX).collect();
        let open =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&self.file);
        let mut file = open?;
        writeln!(file, "{line}")?;
        file.sync_all()
    }

    /// Lets actions begin again; false if nothing was held.
    pub fn clear(&self) -> io::Result<bool> {
        match std::fs::remove_file(&self.file) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_while_it_is_there_however_it_was_made() {
        let dir = tempfile::tempdir().unwrap();
        let pause = Pause::new(dir.path());
        assert_eq!((pause.why(), pause.clear().unwrap()), (None, false));
        pause.set("deploy\nof the day").unwrap();
        assert_eq!(pause.why().unwrap(), "deploy of the day");
        assert!(pause.clear().unwrap());
        std::fs::write(pause.file(), "").unwrap();
        assert_eq!(pause.why().unwrap(), "no reason given");
        std::fs::remove_file(pause.file()).unwrap();
        std::fs::create_dir(pause.file()).unwrap();
        assert!(pause.why().is_some(), "whatever stands there");
    }

    #[test]
    fn what_cannot_be_looked_at_holds() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("state"), "").unwrap();
        assert!(Pause::new(&dir.path().join("state")).why().unwrap().contains("cannot be looked at"));
    }
}
