//! Every parser of what others write, in tables: the properties in `tests` and the targets in `fuzz/` drive the same ones.
//!
//! Built for tests and fuzzers alone. A new parser of kernel files is one line in [`kernel`]; a test reads the sources
//! and fails where one is missing.

#![expect(
    clippy::panic,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    reason = "no program is built with it: a finding is a panic"
)]

mod kernel;
mod others;
#[cfg(test)]
mod tests;
pub mod tree;

/// A parser with its name, which is its path below `src/`; whatever it returns is of no interest here.
pub type Parser = (&'static str, Run);

/// How a parser is given its input.
#[derive(Clone, Copy, Debug)]
pub enum Run {
    /// As text; bytes that are no UTF-8 were replaced before, as all readers of files do.
    Text(fn(&str)),
    /// As it came.
    Bytes(fn(&[u8])),
}

/// Parsers that a fuzzer tries together.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name, which is that of the fuzz target.
    pub name: &'static str,
    /// Its parsers.
    pub parsers: &'static [Parser],
}

/// All families.
pub const FAMILIES: [Family; 9] = [
    Family { name: "process", parsers: kernel::PROCESS },
    Family { name: "system", parsers: kernel::SYSTEM },
    Family { name: "devices", parsers: kernel::DEVICES },
    Family { name: "groups", parsers: kernel::GROUPS },
    Family { name: "answers", parsers: kernel::ANSWERS },
    Family { name: "requests", parsers: others::REQUESTS },
    Family { name: "export", parsers: others::EXPORT },
    Family { name: "webhook", parsers: others::WEBHOOK },
    Family { name: "policy", parsers: others::POLICY },
];

impl Family {
    /// Gives the same bytes to every parser.
    pub fn feed(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        for (_, run) in self.parsers {
            match run {
                Run::Text(run) => run(&text),
                Run::Bytes(run) => run(bytes),
            }
        }
    }
}

/// Gives bytes to every parser of the family of this name. Panics where there is none: its target would find nothing.
pub fn feed(family: &str, bytes: &[u8]) {
    let known = FAMILIES.iter().find(|known| known.name == family);
    known.unwrap_or_else(|| panic!("no family of parsers has the name {family}")).feed(bytes);
}
