//! Names of metrics: the rules for ours, and the manual's table, which is written from the pages themselves.

use crate::stack::{Optimizer, get};
use headroom::collect::{Options, Scraper};
use headroom::encode::text::TextEncoder;
use headroom::host::Host;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

#[derive(Default)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// The families of a page.
fn families(page: &str) -> BTreeMap<String, Family> {
    let mut all: BTreeMap<String, Family> = BTreeMap::new();
    for line in page.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), help) => {
                all.entry(name.into()).or_default().help = help.unwrap_or_default().into();
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                all.entry(name.into()).or_default().kind = kind.into();
            }
            _ => {
                let series = line.split([' ', '{']).next().unwrap_or_default();
                let owner = ["", "_bucket", "_sum", "_count"].iter().find_map(|part| {
                    let name = series.strip_suffix(part)?;
                    all.contains_key(name).then(|| name.to_owned())
                });
                let Some(family) = owner.and_then(|name| all.get_mut(&name)) else { continue };
                family.labels.extend(labels(line).filter(|l| l != "le" && l != "quantile"));
            }
        }
    }
    all
}

/// The names of a sample's labels: what stands before each `="`.
fn labels(line: &str) -> impl Iterator<Item = String> {
    let inside = line.split_once('{').map_or("", |(_, rest)| rest);
    let parts: Vec<&str> = inside.split("=\"").collect();
    let names = parts.len().saturating_sub(1);
    parts
        .into_iter()
        .take(names)
        .map(|part| part.rsplit([',', '"']).next().unwrap_or_default().to_owned())
        .collect::<Vec<_>>()
        .into_iter()
}

/// Every family that a test knows: of the captured hosts, and of a running optimizer for Headroom's own.
fn known() -> BTreeMap<String, Family> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut all = BTreeMap::new();
    let mut pages: Vec<String> = std::fs::read_dir(golden)
        .unwrap()
        .flatten()
        .filter(|e| e.path().is_file())
        .map(|e| std::fs::read_to_string(e.path()).unwrap())
        .collect();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("web.yml"), "http_server_config: {http2: true}\n").unwrap();
    let state = dir.path().join("state");
    let keys = "  web_config_file: web.yml\n  targets: [{name: cache, cgroup: /cache}]\n  proactive: [{target: cache}]\n  \
                pressure: {rules: [{name: low, available_below_ratio: 0.0, target: cache, ladder: [app_hook]}]}\n";
    let optimizer = Optimizer::start_in(dir, &state, "", keys);
    pages.push(get(&optimizer.url("/metrics")).unwrap().1);
    pages.push(live_page());
    pages.push(known_later());
    pages.push(of_applications());
    pages.push(of_probes());
    pages.push(of_benchmarks());
    for page in pages {
        for (name, family) in families(&page) {
            let known: &mut Family = all.entry(name).or_default();
            known.labels.extend(family.labels);
            (known.kind, known.help) = (family.kind, family.help);
        }
    }
    all
}

/// What the optimizer says only after it has found it out.
fn known_later() -> String {
    let registry = prometheus::Registry::new();
    let optimizer = headroom::optimize::metrics::Metrics::new(&registry).unwrap();
    optimizer.pressure.working_set("cache", Some(1));
    optimizer.connections("cache", Some(1));
    optimizer.show_annotations();
    headroom::otlp::Metrics::new(&registry).unwrap().show(headroom::otlp::TRACES);
    of_statsd(&registry);
    of_scraping(&registry);
    headroom::export::metrics::Metrics::new(&registry).unwrap().show("otlp");
    let mut out = TextEncoder::default();
    headroom::collect::own::collector(registry).collect(&Host::default(), &mut out).unwrap();
    String::from_utf8(out.page().to_vec()).unwrap()
}

/// What is said of pages that are fetched, once one was there and one was not.
fn of_scraping(registry: &prometheus::Registry) {
    use headroom::apps::scrape::metrics::{Metrics, Samples, Went};
    let metrics = Metrics::new(registry).unwrap();
    metrics.tell(["a", "b"], Went { seconds: 1.0, samples: Err("timeout") });
    metrics.tell(["a", "b"], Went { seconds: 1.0, samples: Ok(Samples::default()) });
}

/// What StatsD's receiver says of itself, once something came and something was refused.
fn of_statsd(registry: &prometheus::Registry) {
    use headroom::apps::statsd::{Options, engine::Engine, metrics::Metrics};
    let (now, stale_after) = (std::time::Instant::now(), std::time::Duration::from_mins(5));
    let metrics = Metrics::new(registry).unwrap();
    metrics.packets("udp");
    metrics.lost("udp");
    let mut store =
        headroom::apps::store::Store::new(headroom::apps::limits::Limits::default(), stale_after, now);
    Engine::new(&Options::default(), stale_after, metrics).packet(b"bad", &mut store, now);
}

/// What the store of applications says of itself, once something was taken and something was not.
fn of_applications() -> String {
    use headroom::apps::limits::Refusal;
    use headroom::apps::store::{About, Point, Sender, Store};
    use headroom::apps::{Input, limits::Limits};
    use headroom::metric::{Kind, Value};
    let now = std::time::Instant::now();
    let mut store = Store::new(Limits::default(), std::time::Duration::from_mins(5), now);
    let application = store.application("job", "instance", now).unwrap();
    let sender = Sender { application, input: Input::Otlp, now, wall_nanos: 0 };
    let about = About { name: "headroom_apps_points_total", help: "Taken.", kind: Kind::Counter };
    store.put(&sender, &about, &Point::new(&[], Value::U64(1))).unwrap();
    store.remove(&sender, &about, &[]).unwrap();
    store.refuse(Input::Otlp, Refusal::Series, 1);
    let mut out = TextEncoder::default();
    store.write(now + std::time::Duration::from_mins(10), &mut out);
    String::from_utf8(out.page().to_vec()).unwrap()
}

/// What is said of a component that was probed, by each way.
fn of_probes() -> String {
    use headroom::apps::probe::{Probe, prober};
    use headroom::apps::{Applications, Options as Apps};
    use headroom::collect::applications::Shown;
    let probe = Probe { component: "a".into(), command: vec!["true".into()], ..Probe::default() };
    let ready = prober::ready(&[probe], &Host::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let board = runtime.block_on(prober::once(ready, || 1));
    let mut out = TextEncoder::default();
    Applications::new(&Apps::default()).with(board).write(&mut out);
    String::from_utf8(out.page().to_vec()).unwrap()
}

/// What a recorded benchmark leaves in a text file.
fn of_benchmarks() -> String {
    let dir = tempfile::tempdir().unwrap();
    let directory = crate::benchmarks::recorded(&dir.path().join("state"), dir.path());
    std::fs::read_to_string(directory.join("headroom_benchmarks.prom")).unwrap()
}

/// What no captured host can hold, because it asks the kernel and not a file: file systems, network devices in detail, the
/// clock, uname; and what the scraper says of its collectors.
fn live_page() -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("1")).unwrap();
    std::fs::write(dir.path().join("1/mountinfo"), "25 1 254:0 / / rw - ext4 /dev/vda rw\n").unwrap();
    std::fs::write(dir.path().join("a.prom"), "a 1\n").unwrap();
    std::fs::write(dir.path().join("stat"), "softirq 55 1 2 3 4 5 6 7 8 9 10\n").unwrap();
    let host = Host { procfs: dir.path().to_owned(), rootfs: "/".into(), ..crate::page::host("machine") };
    let mut options = Options {
        disable_defaults: true,
        enabled: ["filesystem", "netdev", "stat", "time", "uname", "textfile"].map(String::from).to_vec(),
        ..Options::default()
    };
    options.stat.softirq = true;
    (options.netdev.enable_detailed_metrics, options.netdev.address_info) = (true, true);
    options.textfile.directories = vec![dir.path().display().to_string()];
    let mut out = TextEncoder::default();
    Scraper::new(host, &options).unwrap().scrape(&mut out);
    let page = String::from_utf8(out.page().to_vec()).unwrap();
    // All but the family of the text file itself.
    let its = |line: &str| ["a ", "# HELP a ", "# TYPE a "].iter().any(|start| line.starts_with(start));
    page.lines().filter(|line| !its(line)).fold(String::new(), |all, line| all + line + "\n")
}

#[test]
fn our_names_follow_the_rules() {
    for (name, family) in known() {
        assert!(!family.help.is_empty() && !family.kind.is_empty(), "{name} has no help or no type");
        let unbounded = ["pid", "fingerprint", "url", "cmdline"];
        let bad = family.labels.iter().find(|l| unbounded.contains(&l.as_str()));
        assert!(bad.is_none(), "{name}: the label {bad:?} has no bound");
        let Some(rest) = name.strip_prefix("headroom_") else { continue };
        assert_eq!(family.kind == "counter", rest.ends_with("_total"), "{name} is a {}", family.kind);
        for wrong in ["_kb", "_mb", "_mib", "_ms", "_milliseconds", "_percent", "_pct"] {
            assert!(!rest.contains(wrong), "{name}: base units only");
        }
    }
}

#[test]
fn the_manual_has_every_metric() {
    let mut text = String::from(
        "# Metrics\n\nWhat the pages show, written from them by a test (`UPDATE=1 cargo test --test it manual`). Which of them a\n\
         machine has depends on its kernel and devices: what the kernel does not say is absent. Counters of text files\n\
         (`exporter.collectors.textfile`) come besides, under the names that they have there.\n\n",
    );
    for (title, prefixes) in [
        ("Headroom", &["headroom_"][..]),
        ("Containers and services, under cAdvisor's names", &["container_"]),
        ("Process groups, under process-exporter's names", &["namedprocess_"]),
        ("The process that serves the page", &["process_"]),
        ("The machine, under node_exporter's names", &["node_"]),
    ] {
        writeln!(text, "## {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|").unwrap();
        for (name, family) in known().iter().filter(|(n, _)| prefixes.iter().any(|p| n.starts_with(p))) {
            let labels: Vec<String> = family.labels.iter().map(|l| format!("`{l}`")).collect();
            let help = family.help.replace('|', "\\|");
            writeln!(text, "| `{name}` | {} | {} | {help} |", family.kind, labels.join(", ")).unwrap();
        }
        text.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let text = format!("{}\n", text.trim_end());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == text,
        "docs/metrics.md is old; see `UPDATE=1`"
    );
}
