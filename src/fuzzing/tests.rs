//! What holds for every parser, whatever it is given: an answer or an error; and that no parser is forgotten.

use super::{FAMILIES, tree};
use crate::collect::textfile;
use crate::encode::Encoder;
use crate::encode::name::Scheme;
use crate::encode::text::TextEncoder;
use crate::metric::{Desc, Sink, Value};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Functions in `src/host` that take text and read no file's contents.
const NO_PARSERS: [(&str, &str); 11] = [
    ("counted::send", "sends"),
    ("footprint::untouched", "takes numbers that may have any value"),
    ("kept::of_proc", "takes a name of ours"),
    ("space::answers_at_once", "takes what `mount` has read"),
    ("generic::open", "takes the name of a part of the kernel"),
    ("dbus::length", "counts"),
    ("group::name::new", "takes a template of the configuration; `host::group::new` calls it"),
    ("proc::status::kilobytes", "takes one word; the parsers of its file call it"),
    ("glob::paths", "takes a pattern of the configuration, and reads directories"),
    ("proc::comm_is", "compares two names"),
    ("group::name::base", "takes the end of a path"),
];

/// The smallest words of netlink's attributes; whoever takes an attribute apart calls them.
const SMALLEST: [&str; 6] = [
    "neighbour::u16_at",
    "neighbour::u32_at",
    "netlink::u8_at",
    "netlink::u16_at",
    "netlink::u32_at",
    "netlink::u64_at",
];

/// The contents of all files of the recorded hosts, each once.
static RECORDED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let hosts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host");
    let files = files_below(&hosts).into_iter().map(|path| std::fs::read(path).unwrap());
    let mut all: BTreeSet<Vec<u8>> = files.filter(|bytes| bytes.len() <= 64 << 10).collect();
    let one_of_each = include_bytes!("../../tests/host/one_of_each.txt");
    all.extend(tree::parts(&String::from_utf8_lossy(one_of_each)).map(|(_, text)| text.into_bytes()));
    all.into_iter().collect()
});

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            out.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            out.push(entry.path());
        }
    }
    out
}

fn feed_all(bytes: &[u8]) {
    for family in FAMILIES {
        family.feed(bytes);
    }
}

/// What damaged texts hold where numbers and words were.
fn strange() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: [&str; 15] = [
        "18446744073709551615",
        "18446744073709551616",
        "9223372036854775807",
        "-9223372036854775808",
        "1e308",
        "-1",
        "NaN",
        "0x",
        "4294967296",
        "\0",
        "\n",
        "\t \n\n",
        ":",
        "ü",
        "\u{2028}",
    ];
    prop_oneof![
        select(&WORDS[..]).prop_map(|word| word.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..4),
        "[-:()0-9 /.\\[\\]=,\"\\\\]{1,6}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        feed_all(&bytes);
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        feed_all(text.as_bytes());
    }

    #[test]
    fn no_damaged_file_panics(
        which in any::<Index>(),
        other in any::<Index>(),
        (from, to) in any::<(Index, Index)>(),
        put in strange(),
        number in any::<Index>(),
    ) {
        let bytes = which.get(&RECORDED);
        let places = |bytes: &[u8]| {
            let (a, b) = (from.index(bytes.len() + 1), to.index(bytes.len() + 1));
            (a.min(b), a.max(b))
        };
        let (start, end) = places(bytes);
        // Cut off; a piece replaced; a piece twice; the end of another file.
        feed_all(&bytes[..start]);
        feed_all(&[&bytes[..start], &put, &bytes[end..]].concat());
        feed_all(&[&bytes[..end], &bytes[start..]].concat());
        feed_all(&[&bytes[..start], &other.get(&RECORDED)[..]].concat());
        // One number that is another one.
        let words: Vec<&[u8]> = bytes.split_inclusive(u8::is_ascii_whitespace).collect();
        if !words.is_empty() {
            let mut words = words;
            let at = number.index(words.len());
            words[at] = &put;
            feed_all(&words.concat());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// What is written in quotes, with whatever escapes it needs, is what a reader of quotes gets.
    #[test]
    fn names_and_values_of_any_letters_are_read_as_they_were_written(
        (name, label) in (".+|[\"\\\\\n{}=, #]+", ".+|[\"\\\\\n{}=, #]+"),
        (value, number) in (".+|[\"\\\\\n]+", any::<f64>()),
        help in "[^ \t\r]([^\r])*",
    ) {
        prop_assume!(name != "__name__" && label != "__name__");
        let mut out = TextEncoder::default();
        out.clear(Scheme::AllowUtf8);
        out.family(&Desc::gauge(&name, &help, &[&label]));
        out.sample(&[&value], Value::F64(number));
        let page = out.finish().clone();
        let mut again = TextEncoder::default();
        again.clear(Scheme::AllowUtf8);
        let read = textfile::show(&page, &mut again);
        let (page, again) = (String::from_utf8_lossy(&page), String::from_utf8_lossy(again.page()));
        prop_assert!(read.is_ok() && page == again, "{page} became {again} {read:?}");
    }
}

#[test]
fn short_files_that_are_cut_at_any_byte_do_not_panic() {
    for bytes in RECORDED.iter().filter(|bytes| bytes.len() < 400) {
        for cut in 0..bytes.len() {
            feed_all(&bytes[..cut]);
        }
    }
}

/// A parser that looks at all that came before for each line would not come to an end here.
#[test]
fn gigantic_files_come_to_an_end() {
    const BYTES: usize = 256 << 10;
    for piece in ["1 ", "a\n", "a: 1 kB\n", "\n", ":", "\0", "0", "\"", "{{", "\u{fc}"] {
        feed_all(piece.repeat(BYTES / piece.len()).as_bytes());
    }
    for bytes in RECORDED.iter().filter(|bytes| (2000..64 << 10).contains(&bytes.len())).step_by(5) {
        feed_all(&bytes.repeat(BYTES / bytes.len()));
    }
}

/// The parsers in a source file of `src/host`: functions whose first argument is a text or bytes.
fn parsers_in(module: &str, code: &str) -> Vec<String> {
    let mut out = Vec::new();
    let code = code.split("\n#[cfg(test)]").next().unwrap();
    for (at, _) in code.match_indices("fn ") {
        let line = code[..at].rsplit('\n').next().unwrap();
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if !words.iter().all(|word| word.starts_with("pub") || *word == "const") {
            continue;
        }
        let rest = &code[at + 3..];
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let arguments = rest.split_once('(').unwrap().1.trim_start();
        let method = arguments.starts_with("&self") || arguments.starts_with("&mut self");
        let mut arguments = arguments.splitn(if method { 3 } else { 2 }, ',');
        let first = arguments.nth(usize::from(method)).unwrap_or_default();
        let (argument, kind) = first.split_once(": ").unwrap_or((first, ""));
        let kind = kind.trim_start_matches('&').trim_start_matches("'a ");
        let text = kind.starts_with("str") && !words.is_empty();
        let bytes = kind.starts_with("[u8]") && (!words.is_empty() || line.is_empty());
        // Methods take names, paths and the like, but for those that take in what was read.
        let reads = !method || ["text", "bytes", "message"].contains(&argument.trim());
        if (text || bytes) && reads {
            out.push(format!("{module}::{name}"));
        }
    }
    out
}

#[test]
fn every_parser_of_kernel_files_is_in_a_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/host");
    let known: BTreeSet<&str> = FAMILIES.iter().flat_map(|f| f.parsers).map(|(name, _)| *name).collect();
    let mut found = BTreeSet::new();
    for path in files_below(&root) {
        let module = path.strip_prefix(&root).unwrap().with_extension("");
        let module = module.to_str().unwrap().replace('/', "::");
        found.extend(parsers_in(&module, &std::fs::read_to_string(&path).unwrap()));
    }
    assert!(found.len() > 120, "the sources are not read: {found:?}");
    let excused: Vec<&str> = NO_PARSERS.iter().map(|(name, _)| *name).chain(SMALLEST).collect();
    let missing: Vec<&String> =
        found.iter().filter(|name| !known.contains(&***name) && !excused.contains(&&***name)).collect();
    assert_eq!(missing, Vec::<&String>::new(), "without a line in src/fuzzing/kernel.rs");
    let useless: Vec<&&str> = excused.iter().filter(|name| !found.contains(**name)).collect();
    assert_eq!(useless, Vec::<&&str>::new(), "excused, and not there");
}

#[test]
fn each_line_of_the_tables_calls_what_it_names() {
    // The lines that call it by way of a function of their own.
    const BY_WAY: [(&str, &str); 16] = [
        ("export::fuzzed::answer", "fuzzed::answer"),
        ("export::fuzzed::decoded", "fuzzed::decoded"),
        ("export::fuzzed::record", "fuzzed::record"),
        ("export::fuzzed::sent", "sent"),
        ("apps::scrape::page::read", "scraped"),
        ("apps::statsd::engine::packet", "statsd"),
        ("apps::otlp::json::request", "otlp_json"),
        ("apps::otlp::request::receive", "otlp"),
        ("optimize::policy::decide", "decided"),
        ("optimize::action::check", "usable"),
        ("optimize::api::by_hand::Reclaim", "|b| _ = serde_json::from_slice::<Reclaim>(b)"),
        ("ethtool::counts", "counts"),
        ("dbus::receive", "whole_dbus"),
        ("collect::textfile::show", "same_when_read_again"),
        ("exporter::ask::read", "ask"),
        ("host::group::new", "rule"),
    ];
    let code = concat!(include_str!("kernel.rs"), include_str!("others.rs"));
    for (name, _) in FAMILIES.iter().flat_map(|family| family.parsers) {
        let entry = code.split(&format!("\"{name}\",")).nth(1).unwrap_or_else(|| panic!("{name}"));
        let entry = entry.split("\n    (").next().unwrap();
        let own = BY_WAY.iter().find(|(by_way, _)| by_way == name);
        let call =
            own.map_or_else(|| format!("{}(", name.rsplit("::").next().unwrap()), |(_, f)| format!("({f})"));
        assert!(entry.contains(&call), "{name} does not call {call}: {entry}");
    }
    let names: Vec<&str> = FAMILIES.iter().flat_map(|f| f.parsers).map(|(name, _)| *name).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "a name stands twice");
}

#[test]
fn a_host_with_damaged_files_loses_their_samples_alone() {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host");
    let config = ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() };
    for parts in tree::HOSTS {
        let dir = tempfile::tempdir().unwrap();
        let rig = tree::Rig::new(&recorded, parts, dir.path()).unwrap();
        let mut runner = proptest::test_runner::TestRunner::new(config.clone());
        let programs = proptest::collection::vec(any::<u8>(), 24);
        runner
            .run(&programs, |program| {
                rig.run(&program);
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn every_family_has_a_target() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for name in FAMILIES.map(|family| family.name).into_iter().chain(["tree"]) {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "fuzz/Cargo.toml lacks {name}");
        assert!(fuzz.join("fuzz_targets").join(name).with_extension("rs").is_file(), "{name}");
    }
}

#[test]
fn a_process_that_exits_between_two_reads_is_no_error() {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host");
    let dir = tempfile::tempdir().unwrap();
    let rig = tree::Rig::new(&recorded, &["processes"], &dir.path().join("host")).unwrap();
    let count = rig.exits().unwrap();
    assert!(count > 100, "only {count} moments to exit in");
}

#[test]
fn the_seeds_are_what_their_parsers_take() {
    use crate::host::{dbus, ethtool, neighbour, netlink, route, systemd, wifi};
    let seed = |name: &str| {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name)).unwrap()
    };
    let devices = [(2, "eth0".to_owned())].into();
    assert_eq!(route::route(&seed("route"), &devices).map(|ways| ways.len()), Some(1));
    assert_eq!(route::queue(&seed("queue"), &devices).map(|queue| queue.packets), Some(6));
    let counters = seed("counters");
    let (names, values) = counters.split_at(counters.len() / 2);
    assert_eq!(ethtool::counts(names, values).len(), 2);
    assert_eq!(wifi::station(&seed("station")).and_then(|station| station.received_bytes), Some(9));
    assert_eq!(wifi::network(&seed("station")).map(|network| network.ssid), Some("abc".into()));
    let units = dbus::receive(&mut &seed("units")[..]).unwrap().answer.structures(systemd::unit);
    assert_eq!(units.map(|units| units.len()), Some(1));
    let mut devices = Vec::new();
    assert!(neighbour::messages(&seed("neighbours"), &mut |device| devices.push(device)).unwrap());
    assert_eq!(devices, [2]);
    assert!(netlink::attributes(&seed("station")).count() > 3);
    let text = |name| String::from_utf8(seed(name)).unwrap();
    let nowhere = Path::new("/nowhere/p.yml");
    assert!(crate::config::process_names::parse(&text("process_names.yml"), nowhere).is_ok());
    assert_eq!(crate::optimize::alert::parse(&seed("notification.json")).unwrap().len(), 1);
    let applications = crate::apps::Applications::new(&crate::apps::Options::default());
    let request = crate::apps::otlp::json::request(&seed("otlp.json"), 4096).unwrap();
    let arrival = crate::apps::otlp::request::Arrival { now: std::time::Instant::now(), wall_nanos: 0 };
    let names = crate::apps::otlp::Names::Utf8;
    let taken = crate::apps::otlp::request::receive(&applications, names, &request, arrival);
    assert_eq!(taken.map(|outcome| (outcome.taken, outcome.rejected())), Ok((4, 0)));
    let statsd = seed("statsd");
    let end = statsd.iter().position(|byte| *byte == 0).unwrap();
    let mapping = crate::apps::statsd::mapping::Mapping::parse(std::str::from_utf8(&statsd[..end]).unwrap());
    assert_eq!(mapping.unwrap().len(), 2);
    assert!(serde_json::from_slice::<crate::optimize::api::by_hand::Reclaim>(&seed("reclaim.json")).is_ok());
    // Without it nothing would be loaded, and nothing tried.
    let policy = format!(
        "optimizer:\n{}",
        text("policy.yaml").lines().fold(String::new(), |all, l| all + "  " + l + "\n")
    );
    let config = crate::config::Config::parse(&policy, nowhere).unwrap().optimizer;
    assert!(config.policies.len() > 2 && config.pressure.rules.len() > 1 && config.targets.len() > 2);
    let mut out = crate::encode::text::TextEncoder::default();
    crate::collect::textfile::show(&seed("names.prom"), &mut out).unwrap();
}
