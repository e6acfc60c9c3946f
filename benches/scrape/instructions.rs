//! How many instructions of its own, the kernel's not counted, the exporter needs for a scrape: a figure that neither
//! other work on the machine nor its caches change.

use crate::server::Coding;
use crate::sides::headroom;
use std::path::Path;
use std::process::Command;

/// Scrapes that are not counted: buffers grow, files are opened.
const FIRST: u32 = 20;
const COUNTED: u32 = 40;

/// Instructions per scrape with these options; `None` without valgrind.
pub(crate) async fn per_scrape(options: &str, dir: &Path, coding: Coding) -> Option<f64> {
    let found = Command::new("valgrind").arg("--version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let few = total(FIRST, options, dir, coding).await;
    let many = total(FIRST + COUNTED, options, dir, coding).await;
    Some((many - few) / f64::from(COUNTED))
}

/// All instructions of a run with so many scrapes.
async fn total(scrapes: u32, options: &str, dir: &Path, coding: Coding) -> f64 {
    let out = dir.join(format!("callgrind-{scrapes}"));
    let valgrind = [
        "valgrind".to_owned(),
        "--tool=callgrind".to_owned(),
        format!("--callgrind-out-file={}", out.display()),
    ];
    let mut server = headroom("headroom below callgrind", &valgrind, options, dir, coding).await;
    for _ in 0..scrapes {
        server.scrape().await;
    }
    server.stop();
    let text = std::fs::read_to_string(&out).unwrap();
    let _gone = std::fs::remove_file(&out);
    let totals = text.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
    totals.trim().parse().unwrap()
}
