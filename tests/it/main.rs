//! The one binary of all integration tests; each module is one subject.

mod cgroups;
mod page;
mod parsers;
mod processes;
mod promtool;
