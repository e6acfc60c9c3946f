//! A process that exits while it is read: from one of its files on, none is there any more.

use super::{Known, Rig, difference};
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

/// The collectors that look at every process.
const READERS: [&str; 2] = ["process_groups", "processes"];
/// The names of series that count errors.
const ERRORS: &str = "_errors";

/// Paths that are out of the way until this goes.
struct Hidden(Vec<(PathBuf, PathBuf)>);

impl Rig {
    /// Lets each process of the host exit between any two files that a collector opens, and returns how often one did.
    /// Panics if that fails, is counted as an error, or costs other samples than those that the process has a part in.
    pub fn exits(&self) -> io::Result<usize> {
        let mut count = 0;
        for known in self.known.iter().filter(|known| READERS.contains(&known.entry.name)) {
            for process in known.processes() {
                for before in [false, true] {
                    count += self.exits_of(known, &process, before)?;
                }
            }
        }
        Ok(count)
    }

    fn exits_of(&self, known: &Known, process: &str, before: bool) -> io::Result<usize> {
        let name = known.entry.name;
        let page = |hidden: &[&String]| -> io::Result<Option<String>> {
            let mut collector = self.collector(known.entry);
            if before {
                self.page(&mut *collector, name);
            }
            let _hidden = self.hide(hidden)?;
            Ok(self.page(&mut *collector, name))
        };
        let files: Vec<&String> = known.opened.iter().filter(|path| path.starts_with(process)).collect();
        let whole = page(&[])?;
        let gone = page(&[&process.to_owned()])?;
        assert!(whole.is_some() && gone.is_some(), "{name} fails without {process}");
        let lines = |page: Option<&String>| -> BTreeSet<String> {
            page.into_iter().flat_map(|page| page.lines()).map(str::to_owned).collect()
        };
        let others: BTreeSet<String> =
            lines(whole.as_ref()).intersection(&lines(gone.as_ref())).cloned().collect();
        for at in 0..files.len() {
            let hidden = files.get(at..).unwrap_or_default();
            let left = page(hidden)?;
            assert!(left.is_some(), "{name} fails if a process exits before {hidden:?}");
            let now = lines(left.as_ref());
            let lost = others.iter().find(|line| !now.contains(*line));
            let differs = difference(whole.as_ref(), left.as_ref());
            assert_eq!(lost, None, "{name}, a process exits before {hidden:?}: {differs}");
            let errors = |lines: &BTreeSet<String>| -> Vec<String> {
                lines.iter().filter(|line| line.contains(ERRORS)).cloned().collect()
            };
            assert_eq!(
                errors(&now),
                errors(&lines(whole.as_ref())),
                "{name}, a process exits before {hidden:?}"
            );
        }
        Ok(files.len())
    }

    fn hide(&self, paths: &[&String]) -> io::Result<Hidden> {
        let mut out = Hidden(Vec::new());
        let away = self.root.with_extension("hidden");
        std::fs::create_dir_all(&away)?;
        // What stands in a directory goes before it.
        for path in paths.iter().rev() {
            let (from, to) = (self.root.join(path), away.join(out.0.len().to_string()));
            std::fs::rename(&from, &to)?;
            out.0.push((from, to));
        }
        Ok(out)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        for (from, to) in self.0.iter().rev() {
            if let Err(e) = std::fs::rename(to, from) {
                eprintln!("cannot put {} back: {e}", from.display());
            }
        }
    }
}

impl Known {
    /// The directories of processes that it looks into.
    fn processes(&self) -> BTreeSet<String> {
        let process = |path: &String| {
            let (pid, _) = path.strip_prefix("proc/")?.split_once('/')?;
            pid.bytes().all(|byte| byte.is_ascii_digit()).then(|| format!("proc/{pid}/"))
        };
        self.opened.iter().filter_map(process).collect()
    }
}
