//! Prometheus's own opinion of process groups, control groups and ourselves: `promtool check metrics` is silent.

use headroom::collect::{Options, REGISTRY, Scraper, own};
use headroom::encode::text::TextEncoder;
use headroom::host::Host;
use headroom::host::group::Rule;
use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn promtool_has_nothing_to_say_about_the_page() {
    // node_exporter's own names (node_memory_MemFree_bytes) are not to promtool's taste.
    let others = REGISTRY.iter().map(|e| e.name).filter(|name| !["cgroup", "processes"].contains(name));
    let mut options = Options { disabled: others.map(String::from).collect(), ..Default::default() };
    options.processes.rules = vec![Rule { name: "all".into(), cmdline: vec![".".into()], ..Rule::default() }];
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
    assert!(said.status.success() && text.is_empty(), "{}", String::from_utf8_lossy(&text));
}
