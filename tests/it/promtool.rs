//! Prometheus's own opinion of the page: `promtool check metrics` is silent.

use headroom::collect::{Options, Scraper, own};
use headroom::encode::text::TextEncoder;
use headroom::host::Host;
use headroom::host::group::Rule;
use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn promtool_has_nothing_to_say_about_the_page() {
    // node_exporter's names of the fields of meminfo (node_memory_MemFree_bytes), its bits and its percents are not to
    // promtool's taste.
    let disabled = ["bcache", "entropy", "meminfo", "netstat", "sockstat"].map(String::from).to_vec();
    let mut options = Options { disabled, ..Default::default() };
    options.process_groups.rules =
        vec![Rule { name: "all".into(), cmdline: vec![".".into()], ..Rule::default() }];
    let mut scraper = Scraper::new(Host::default(), &options).unwrap();
    scraper.add("own", own::collector(prometheus::Registry::new()));
    let mut out = TextEncoder::default();
    scraper.scrape(&mut out);
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        eprintln!("SKIPPED: promtool is not installed");
        return;
    };
    promtool.stdin.take().unwrap().write_all(out.page()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    let text = [said.stdout, said.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    // The one name of process-exporter that is not to its taste.
    let ours: Vec<&str> = text
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with("namedprocess_namegroup_thread_count non-histogram"))
        .collect();
    let clean = said.status.success() || !text.is_empty();
    assert!(clean && ours.is_empty(), "{text}");
}
