//! What the exporter says that its collectors cost, held against what strace sees of the same process.

use crate::stack::{HEADROOM, Running, eventually, free_address, get, metric, program};
use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::process::Command;

/// Calls that ask nothing about the host: for memory, locks, threads, clocks, a line of the log, and a check of debug builds
/// that what is closed was open (`fcntl`).
const APART: [&str; 22] = [
    "fcntl",
    "mmap",
    "munmap",
    "mremap",
    "mprotect",
    "madvise",
    "brk",
    "futex",
    "clock_gettime",
    "write",
    "rseq",
    "set_robust_list",
    "prctl",
    "sigaltstack",
    "rt_sigprocmask",
    "sched_getaffinity",
    "sched_yield",
    "getrandom",
    "gettid",
    "clone3",
    "clone",
    "exit",
];

/// How often which call was made by the threads of these names, by strace's log with names of threads.
fn calls(log: &str, threads: &[&str]) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    let mut zone = false;
    for line in log.lines() {
        // `7<scrape> openat(...`; a call that another one interrupted has a second line that begins with `<...`.
        let Some((name, rest)) = line.split_once('<').and_then(|(_, rest)| rest.split_once('>')) else {
            continue;
        };
        let call = rest.trim_start().split('(').next().unwrap_or_default();
        if threads.contains(&name)
            && call.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        {
            // Between two passes the exporter looks at its own code in memory, which is no collector's doing.
            if rest.contains("/pagemap") {
                continue;
            }
            // The library that knows time zones opens, reads and closes a file of its own, once.
            zone |= rest.contains("\"/etc/localtime\"");
            if zone {
                zone = call != "close";
                continue;
            }
            *all.entry(call.to_owned()).or_default() += 1;
        }
    }
    all
}

/// The sum of a family over all collectors.
fn sum(page: &str, family: &str) -> f64 {
    page.lines()
        .filter_map(|line| {
            line.strip_prefix(family)?.strip_prefix('{')?.rsplit_once(' ')?.1.parse::<f64>().ok()
        })
        .sum()
}

#[test]
fn the_calls_that_the_exporter_counts_are_those_that_strace_sees() {
    let Some(strace) = program(&["strace"]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let (log, address) = (dir.path().join("strace"), free_address());
    let mut command = Command::new(strace);
    command.args(["-D", "-f", "-qq", "-Y", "-y", "-o"]).arg(&log).arg(HEADROOM);
    command.args(["exporter", "--web.listen-address", &address.to_string(), "--collector.containers"]);
    command.env_remove("TZ");
    let mut exporter = Running::start(&mut command, &dir.path().join("log"));
    let url = format!("http://{address}/metrics");
    let page = eventually("a page", 30, || {
        // Where processes may not be traced, strace says so and nobody ever answers.
        let refused = exporter.output().contains("ptrace");
        if refused { Some(None) } else { get(&url).map(Some) }
    });
    if page.is_none() {
        eprintln!("SKIPPED: strace may not trace here: {}", exporter.output());
        return;
    }
    for _ in 0..2 {
        get(&url).unwrap();
    }
    let (_, page) = get(&url).unwrap();
    exporter.kill();
    let mut before = String::new();
    let text = eventually("the end of strace's log", 20, || {
        let text = read_to_string(&log).unwrap();
        let complete = text == before && text.contains("+++ killed");
        before.clone_from(&text);
        complete.then_some(text)
    });
    let seen: BTreeMap<String, u64> = calls(&text, &["scrape", "statvfs"])
        .into_iter()
        .filter(|(call, _)| !APART.contains(&call.as_str()))
        .collect();
    let counted = sum(&page, "headroom_collector_syscalls_total");
    assert!(counted > 1000.0, "four passes make more calls than that: {counted}");
    assert_eq!(counted, seen.values().sum::<u64>() as f64, "{seen:?}");
    // A rough check of the others: nobody can say exactly.
    assert!(sum(&page, "headroom_collector_read_bytes_total") > 100_000.0);
    let (cpu, time) = ("headroom_collector_cpu_seconds_total", "headroom_collector_duration_seconds_total");
    assert!(sum(&page, time) > 0.0 && sum(&page, cpu) > 0.0);
    assert!(metric(&page, &format!("{cpu}{{collector=\"process_groups\"}}")) > 0.0, "{page}");
}
