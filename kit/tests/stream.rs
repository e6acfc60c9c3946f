//! A file that is much larger than what may be in memory, worked through by a process that is measured from outside.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that meets the unexpected is to fail at once"
)]

use headroom_kit::stream::{Options, Stream};
use headroom_kit::{Kit, memory::Memory};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

const FILE_BYTES: u64 = 1 << 30;
const BYTES_MAX: usize = 8 << 20;

#[test]
fn a_gibibyte_is_worked_through_in_a_few_mebibytes() {
    const TEST: &str = "a_gibibyte_is_worked_through_in_a_few_mebibytes";
    if let Some(path) = std::env::var_os("STREAM_FILE") {
        return work_through(path.as_ref());
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows");
    // Holes are read as zeros, and take no room on the disk.
    std::fs::File::create(&path).unwrap().set_len(FILE_BYTES).unwrap();
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", TEST, "--nocapture"]).env("STREAM_FILE", &path);
    let mut child = again.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let count: u64 = said.find_map(|line| line.strip_prefix("counted ")?.parse().ok()).unwrap();
    // It waits now, so that the kernel can be asked about it.
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    let peak: u64 = peak.parse::<u64>().unwrap() << 10;
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert_eq!(count, FILE_BYTES);
    assert!(peak < 40 << 20, "{peak}");
}

fn work_through(path: &std::path::Path) {
    let kit = Kit::new();
    let options = Options { bytes_max: BYTES_MAX, delimiter: Some(0), ..Options::default() };
    let stream = Stream::new(&kit, "rows", &options).unwrap();
    let mut count = 0_u64;
    let work = |piece: headroom_kit::stream::Piece<'_>| Ok(piece.bytes.len() as u64);
    stream
        .file(path, work, |bytes| {
            count += bytes;
            Ok(())
        })
        .unwrap();
    assert!(Memory::read().unwrap().resident_bytes > 0);
    println!("\ncounted {count}");
    std::io::stdout().flush().unwrap();
    let _closed = std::io::stdin().read(&mut [0]);
}
