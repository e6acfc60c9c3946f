//! The `headroom` command: parse arguments, run a command, turn its result into an exit code.

fn main() -> std::process::ExitCode {
    headroom::cli::run(std::env::args_os())
}
