//! The collector of files in Prometheus's text format that other programs leave in a directory.

mod families;
pub(crate) mod line;
mod merge;
pub(crate) mod parse;

use super::{CollectError, Collector, Entry};
use crate::host::{Host, HostError, ParseError, children, glob, plain};
use crate::metric::{Desc, Sink, Value, single};
use families::Families;
use merge::{Merged, Source};
use serde::Deserialize;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "textfile",
    on: true,
    make: |_, options| Ok(Box::new(Textfile::new(options.textfile.directories.clone(), LIMITS))),
};

/// Where the files are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Directories of `*.prom` files; `*`, `?` and `[a-z]` stand for several.
    pub directories: Vec<String>,
}

/// The longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// The most files that are read.
const FILES_MAX: usize = 1000;
/// What all files together may have: all of it is kept in memory.
const LIMITS: Limits = Limits { bytes: 64 << 20, samples: 500_000 };
/// The most errors of one pass that are named.
const ERRORS_MAX: usize = 100;
/// What is kept of the buffer between two passes.
const BUFFER_BYTES_KEPT: usize = 256 << 10;
const MTIME: Desc<'static> =
    Desc::gauge("node_textfile_mtime_seconds", "Unixtime mtime of textfiles successfully read.", &["file"]);
const ERROR: Desc<'static> = Desc::gauge(
    "node_textfile_scrape_error",
    "1 if there was an error opening or reading a file, 0 otherwise",
    &[],
);

struct Textfile {
    directories: Vec<String>,
    limits: Limits,
    /// The files of the last pass: one whose bytes are the same is not parsed again.
    files: Vec<TextFile>,
    /// How many of them are shown: all, but for a last one that was too much.
    used: usize,
    merged: Merged,
    /// What did not fit together when the families were merged.
    refused: Errors,
    /// The errors that were logged; they are logged again when they change.
    said: Errors,
    buffer: Vec<u8>,
    state: RandomState,
}

#[derive(Clone, Copy)]
struct Limits {
    bytes: usize,
    samples: usize,
}

struct TextFile {
    path: String,
    /// A hash of its bytes: the bytes themselves would be kept a second time.
    hash: u64,
    mtime_seconds: i64,
    families: Result<Families, String>,
}

/// What went wrong in a pass, each once, and no more than can be read.
#[derive(Default, PartialEq)]
struct Errors(Vec<String>);

impl Errors {
    fn add(&mut self, error: String) {
        if self.0.len() < ERRORS_MAX && !self.0.contains(&error) {
            self.0.push(error);
            if self.0.len() == ERRORS_MAX {
                self.0.push(format!("more than {ERRORS_MAX} errors; the others are not named"));
            }
        }
    }
}

impl Collector for Textfile {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let mut errors = Errors::default();
        if self.read(&mut errors) {
            self.merged = Merged::default();
            let mut refused = Errors::default();
            self.merged = merge::merge(&self.sources(), &mut refused);
            self.refused = refused;
        }
        let used = self.files.get(..self.used).unwrap_or_default();
        let unreadable = used.iter().filter_map(|file| file.families.as_ref().err());
        unreadable.chain(&self.refused.0).for_each(|error| errors.add(error.clone()));
        let sources = self.sources();
        self.merged.write(&sources, out, &mut errors);
        if !sources.is_empty() {
            out.family(&MTIME);
            for file in used.iter().filter(|file| file.families.is_ok()) {
                out.sample(&[&file.path], Value::F64(file.mtime_seconds as f64));
            }
        }
        single(out, &ERROR, u64::from(!errors.0.is_empty()));
        self.say(errors);
        Ok(())
    }
}

impl Textfile {
    fn new(directories: Vec<String>, limits: Limits) -> Self {
        Self {
            directories,
            limits,
            files: Vec::new(),
            used: 0,
            merged: Merged::default(),
            refused: Errors::default(),
            said: Errors::default(),
            buffer: Vec::new(),
            state: RandomState::new(),
        }
    }

    /// Reads all files; whether any of them is another one than in the last pass.
    fn read(&mut self, errors: &mut Errors) -> bool {
        let mut before = std::mem::take(&mut self.files).into_iter().peekable();
        let (mut changed, used) = (false, std::mem::take(&mut self.used));
        let (mut bytes_left, mut samples_left) = (self.limits.bytes, self.limits.samples);
        for path in list(&self.directories, errors) {
            let about = match plain::read_regular(Path::new(&path), FILE_BYTES_MAX, &mut self.buffer) {
                Ok(about) => about,
                Err(e) => {
                    errors.add(e.to_string());
                    continue;
                }
            };
            // What is too much, and all behind it, is left out: it depends on the order of the files alone.
            let too_much = |what| {
                format!("{path}: more than {what} in all files; this and those behind it are left out")
            };
            let Some(left) = bytes_left.checked_sub(self.buffer.len()) else {
                errors.add(too_much(format!("{} bytes", self.limits.bytes)));
                break;
            };
            bytes_left = left;
            let hash = self.state.hash_one(&self.buffer);
            // Both lists are in the same order; where they differ, all that follows is parsed anew. What is not used
            // again is given back first, so that no more than one copy of all is kept.
            let old = before.next_if(|file| file.path == path);
            if old.is_none() {
                before = Vec::new().into_iter().peekable();
            }
            let same = old.filter(|file| file.hash == hash);
            changed |= same.is_none();
            let file = same.unwrap_or_else(|| TextFile::parse(&path, hash, &self.buffer));
            let samples = file.families.as_ref().map_or(0, |families| families.samples);
            self.files.push(TextFile { mtime_seconds: about.mtime(), ..file });
            let Some(left) = samples_left.checked_sub(samples) else {
                errors.add(too_much(format!("{} samples", self.limits.samples)));
                break;
            };
            samples_left = left;
            self.used += 1;
        }
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        changed || before.next().is_some() || self.used != used
    }

    /// The files that can be shown.
    fn sources(&self) -> Vec<Source<'_>> {
        let used = self.files.get(..self.used).unwrap_or_default();
        used.iter().filter_map(|file| Some((file.path.as_str(), file.families.as_ref().ok()?))).collect()
    }

    fn say(&mut self, errors: Errors) {
        if errors == self.said {
            return;
        }
        for error in errors.0.iter().filter(|error| !self.said.0.contains(error)) {
            tracing::warn!(collector = "textfile", %error, "left out");
        }
        if errors.0.is_empty() {
            tracing::info!(collector = "textfile", "all files are good again");
        }
        self.said = errors;
    }
}

impl TextFile {
    fn parse(path: &str, hash: u64, bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).map_err(|_| ParseError::new(1, "text in UTF-8"));
        let families = text.and_then(parse::families);
        let families = families.map_err(|e| HostError::parse(Path::new(path), e).to_string());
        Self { path: path.to_owned(), hash, mtime_seconds: 0, families }
    }
}

/// Writes what is shown of a file with these bytes, or says why they are none.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn show(bytes: &[u8], out: &mut dyn Sink) -> Result<(), String> {
    let file = TextFile::parse("f", 0, bytes);
    let families = file.families?;
    let (sources, mut errors) = ([(file.path.as_str(), &families)], Errors::default());
    merge::merge(&sources, &mut errors).write(&sources, out, &mut errors);
    Ok(())
}

/// The paths of all files, directory by directory, each once.
fn list(directories: &[String], errors: &mut Errors) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for pattern in directories {
        let found = glob::paths(pattern).unwrap_or_else(|e| {
            errors.add(e.to_string());
            Vec::new()
        });
        for directory in found {
            let names = match children(&directory) {
                Ok(Some(names)) => names,
                Ok(None) => {
                    errors.add(format!("cannot read {}: no such directory", directory.display()));
                    continue;
                }
                Err(e) => {
                    errors.add(e.to_string());
                    continue;
                }
            };
            for name in names
                .iter()
                .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "prom"))
            {
                let path = directory.join(name).to_string_lossy().into_owned();
                if out.len() == FILES_MAX {
                    errors.add(format!("{path}: more than {FILES_MAX} files"));
                    return out;
                }
                if !out.contains(&path) {
                    out.push(path);
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::text::TextEncoder;

    /// The letters of the files whose samples are on the page, and what was refused.
    fn shown(collector: &mut Textfile) -> (String, Vec<String>) {
        let mut out = TextEncoder::default();
        collector.collect(&Host::default(), &mut out).unwrap();
        let letters = ('a'..='f').filter(|name| out.has_family(&name.to_string())).collect();
        (letters, collector.said.0.clone())
    }

    #[test]
    fn what_is_too_much_for_all_files_together_is_left_out_and_said_once() {
        for (limits, what) in [
            (Limits { bytes: 11 * 11, samples: 100 }, "121 bytes"),
            (Limits { bytes: 1000, samples: 11 }, "11 samples"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let put = |name: char, samples: usize| {
                let text =
                    (0..samples).fold(String::new(), |all, i| all + &format!("{name}{{i=\"{i}\"}} 1\n"));
                std::fs::write(dir.path().join(format!("{name}.prom")), text).unwrap();
            };
            ('a'..='e').for_each(|name| put(name, 3));
            put('f', 1);
            let mut collector = Textfile::new(vec![dir.path().display().to_string()], limits);
            let path = dir.path().join("d.prom");
            let why = format!(
                "{}: more than {what} in all files; this and those behind it are left out",
                path.display()
            );
            for _ in 0..2 {
                assert_eq!(shown(&mut collector), ("abc".into(), vec![why.clone()]));
            }
            // Room that becomes free is given to those behind, in their order.
            for (name, samples, want) in
                [('b', 1, "abcd"), ('c', 1, "abcde"), ('a', 1, "abcdef"), ('a', 4, "abcd")]
            {
                put(name, samples);
                let (letters, errors) = shown(&mut collector);
                assert_eq!((letters.as_str(), errors.len()), (want, usize::from(want != "abcdef")));
            }
            assert!(collector.files.len() <= 6);
        }
    }

    #[test]
    fn errors_are_bounded() {
        let mut errors = Errors::default();
        (0..1000).for_each(|i| errors.add(format!("error {i}")));
        assert_eq!(errors.0.len(), ERRORS_MAX + 1);
        errors.add("one more".into());
        assert_eq!(errors.0.len(), ERRORS_MAX + 1);
    }
}
