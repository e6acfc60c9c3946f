//! Damages the files of a recorded host as the input says, and lets every collector answer.
#![no_main]

use headroom::fuzzing::tree::{HOSTS, Rig};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// All recorded hosts on disk, made once for the process. Whoever starts it removes `TMPDIR` behind it.
static RIGS: OnceLock<Vec<Rig>> = OnceLock::new();

fn rigs() -> Vec<Rig> {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/host");
    let root: PathBuf = std::env::temp_dir().join(format!("headroom-fuzz-{}", std::process::id()));
    let rig = |(n, parts): (usize, &&[&str])| {
        Rig::new(&recorded, parts, &root.join(n.to_string())).expect("a host on disk")
    };
    HOSTS.iter().enumerate().map(rig).collect()
}

libfuzzer_sys::fuzz_target!(|program: &[u8]| {
    let Some((host, program)) = program.split_first() else { return };
    let rigs = RIGS.get_or_init(rigs);
    rigs[usize::from(*host) % rigs.len()].run(program);
});
