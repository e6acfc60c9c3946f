//! The pressure laboratory's one program: workloads, the guest that plays scenarios with a tool beside them, and the table.
//!
//! `make pressure` builds it, boots virtual machines with it (`tests/pressure/run.sh`), and reads what they say. It needs the
//! standard library alone, so that it is built in a moment and runs on any disk.
//!   guest TOOL REPETITION [SCENARIO...]  plays scenarios, in the virtual machine: one `RESULT` line each
//!   table FILE [SCENARIO...]             reads those lines; ends with 1 if a target is missed
//!   service, cache, grow, hog, swarm     the workloads
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::similar_names,
    unreachable_pub,
    missing_docs,
    reason = "a program for people"
)]

mod guest;
mod kernel;
mod sampler;
mod scenario;
mod table;
mod tool;
mod workload;

use std::process::ExitCode;

fn number<N: std::str::FromStr>(text: &str) -> N {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["guest", tool, repetition, names @ ..] => guest::play(tool, repetition, names),
        ["table", file, names @ ..] => return table::show(file, names),
        ["service", mib, file, file_mib] => workload::service(number(mib), file, number(file_mib)),
        ["cache", mib, address, rate] => workload::cache(number(mib), address, number(rate)),
        ["grow", mib, rate, hold_millis] => workload::grow(number(mib), number(rate), number(hold_millis)),
        ["hog", file] => workload::hog(file),
        ["swarm", count, mib, gap_millis, hold_millis] => {
            workload::swarm(number(count), [mib, hold_millis], number(gap_millis));
        }
        // `cargo bench` starts every bench; this one wants a virtual machine.
        _ => println!("see `make pressure`"),
    }
    ExitCode::SUCCESS
}
