//! The one binary of all integration tests; each module is one subject.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that fails panics"
)]

mod cgroups;
mod corrupt;
mod machine;
mod page;
mod parity;
mod parsers;
mod processes;
mod promtool;
mod textfile;
