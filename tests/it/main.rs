//! The one binary of all integration tests; each module is one subject.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::float_cmp,
    reason = "a test that meets the unexpected is to fail at once, and says aloud what it skips"
)]

mod asking;
mod brakes;
mod by_hand;
mod certificates;
mod cgroups;
mod chaos;
mod containers;
mod corrupt;
mod cost;
mod crash;
mod devices;
mod ending;
mod formats;
mod hostile;
mod kernel;
mod layers;
mod machine;
mod manual;
mod names;
mod one_of_each;
mod options;
mod outlook;
mod page;
mod parity;
mod pressure;
mod process_exporter;
mod process_flags;
mod processes;
mod promtool;
mod protection;
mod reclaim;
mod serving;
mod stack;
mod textfile;
mod the_loop;
mod tidy;
mod web;
mod web_config;
