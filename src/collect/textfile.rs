//! The collector of files in Prometheus's text format that other programs leave in a directory.

mod line;
mod merge;
mod parse;

use super::{CollectError, Collector, Entry};
use crate::host::{Host, HostError, ParseError, children, glob, plain};
use crate::metric::{Desc, Sink, Value, single};
use merge::Merged;
use parse::Family;
use serde::Deserialize;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "textfile",
    on: true,
    make: |_, options| {
        Ok(Box::new(Textfile {
            directories: options.textfile.directories.clone(),
            files: Vec::new(),
            merged: Vec::new(),
            refused: Vec::new(),
            said: Vec::new(),
            buffer: Vec::new(),
        }))
    },
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
const MTIME: Desc<'static> =
    Desc::gauge("node_textfile_mtime_seconds", "Unixtime mtime of textfiles successfully read.", &["file"]);
const ERROR: Desc<'static> = Desc::gauge(
    "node_textfile_scrape_error",
    "1 if there was an error opening or reading a file, 0 otherwise",
    &[],
);

struct Textfile {
    directories: Vec<String>,
    /// The files of the last pass: one whose bytes are the same is not parsed again.
    files: Vec<TextFile>,
    merged: Vec<Merged>,
    /// What did not fit together when the families were merged.
    refused: Vec<String>,
    /// The errors that were logged; they are logged again when they change.
    said: Vec<String>,
    buffer: Vec<u8>,
}

struct TextFile {
    path: String,
    bytes: Vec<u8>,
    mtime_seconds: i64,
    families: Result<Vec<Family>, String>,
}

impl Collector for Textfile {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let mut errors = Vec::new();
        if self.read(&mut errors) {
            self.refused.clear();
            let files = self
                .files
                .iter()
                .filter_map(|file| Some((file.path.as_str(), file.families.as_deref().ok()?)));
            self.merged = merge::merge(files, &mut self.refused);
        }
        errors.extend(self.files.iter().filter_map(|file| file.families.as_ref().err().cloned()));
        errors.extend(self.refused.iter().cloned());
        for family in &self.merged {
            if family.is_taken(out) {
                errors.push(format!("{}: another collector has this name", family.name));
            } else {
                family.write(out);
            }
        }
        if self.files.iter().any(|file| file.families.is_ok()) {
            out.family(&MTIME);
            for file in self.files.iter().filter(|file| file.families.is_ok()) {
                out.sample(&[&file.path], Value::F64(file.mtime_seconds as f64));
            }
        }
        single(out, &ERROR, u64::from(!errors.is_empty()));
        self.say(errors);
        Ok(())
    }
}

impl Textfile {
    /// Reads all files; whether any of them is another one than in the last pass.
    fn read(&mut self, errors: &mut Vec<String>) -> bool {
        let mut before = std::mem::take(&mut self.files).into_iter().peekable();
        let mut changed = false;
        for path in list(&self.directories, errors) {
            let about = match plain::read_regular(Path::new(&path), FILE_BYTES_MAX, &mut self.buffer) {
                Ok(about) => about,
                Err(e) => {
                    errors.push(e.to_string());
                    continue;
                }
            };
            // Both lists are in the same order; where they differ, all that follows is parsed anew.
            let same = before.next_if(|file| file.path == path && file.bytes == self.buffer);
            changed |= same.is_none();
            let file = same.unwrap_or_else(|| TextFile::parse(path, &self.buffer));
            self.files.push(TextFile { mtime_seconds: about.mtime(), ..file });
        }
        changed | before.next().is_some()
    }

    fn say(&mut self, errors: Vec<String>) {
        if errors == self.said {
            return;
        }
        for error in errors.iter().filter(|error| !self.said.contains(error)) {
            tracing::warn!(collector = "textfile", %error, "left out");
        }
        if errors.is_empty() {
            tracing::info!(collector = "textfile", "all files are good again");
        }
        self.said = errors;
    }
}

impl TextFile {
    fn parse(path: String, bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).map_err(|_| ParseError::new(1, "text in UTF-8"));
        let families = text.and_then(parse::families);
        let families = families.map_err(|e| HostError::parse(Path::new(&path), e).to_string());
        Self { path, bytes: bytes.to_vec(), mtime_seconds: 0, families }
    }
}

/// The paths of all files, directory by directory, each once.
fn list(directories: &[String], errors: &mut Vec<String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for pattern in directories {
        let found = glob::paths(pattern).unwrap_or_else(|e| {
            errors.push(e.to_string());
            Vec::new()
        });
        for directory in found {
            let names = match children(&directory) {
                Ok(Some(names)) => names,
                Ok(None) => {
                    errors.push(format!("cannot read {}: no such directory", directory.display()));
                    continue;
                }
                Err(e) => {
                    errors.push(e.to_string());
                    continue;
                }
            };
            for name in names
                .iter()
                .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "prom"))
            {
                let path = directory.join(name).to_string_lossy().into_owned();
                if out.len() == FILES_MAX {
                    errors.push(format!("{path}: more than {FILES_MAX} files"));
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
