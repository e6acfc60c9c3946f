//! The real process-exporter beside the collector of processes, on this machine, with the same file.

use crate::page::{collector, page};
use headroom::config::Config;
use headroom::host::Host;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What runs is told apart from all else on the machine by this word.
const RULES: &str = r#"
process_names:
  - name: "sleepers"
    comm: [sleep]
    cmdline: ['^\S*sleep 71\.[12]$']
  - name: "{{.ExeBase}}:{{.Matches.what}}"
    exe: [sh]
    cmdline: ['# lab (?P<what>\w+)']
  - name: "{{.Comm}} with threads"
    cmdline: ['exporter.*lab-threads']
"#;
/// Counts the numbers that it is given, then answers; between two answers it only waits.
const BUSY: &str = "while read n; do i=0; while [ $i -lt $n ]; do i=$((i+1)); done; echo; done # lab busy";
const PARENT: &str = "sleep 71.5 & wait # lab parent";

pub(crate) struct Started(pub(crate) Child);

impl Started {
    pub(crate) fn new(command: &mut Command) -> Self {
        Self(command.stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        self.0.wait().unwrap();
    }
}

pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub(crate) fn get(address: SocketAddr) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(e) => assert!(Instant::now() < deadline, "no answer: {e}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// All samples of a page that are about groups, by series; labels stand in the order of their names.
pub(crate) fn samples(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|l| l.starts_with("namedprocess_namegroup_"));
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap();
        let mut labels: Vec<&str> = labels.split(',').collect();
        labels.sort_unstable();
        (format!("{name}{{{}}}", labels.join(",")), value.parse().unwrap())
    };
    lines.map(sample).collect()
}

fn close(ours: f64, theirs: f64, tolerance: f64) -> bool {
    (ours - theirs).abs() <= tolerance * ours.abs().max(theirs.abs())
}

/// In what of where both stand now they do not agree, if in anything.
pub(crate) fn difference(ours: &BTreeMap<String, f64>, theirs: &BTreeMap<String, f64>) -> Option<String> {
    let lacks = |some: &BTreeMap<String, f64>, other: &BTreeMap<String, f64>| -> Vec<String> {
        some.keys().filter(|s| !other.contains_key(*s)).cloned().collect()
    };
    let (missing, more) = (lacks(theirs, ours), lacks(ours, theirs));
    if !missing.is_empty() || !more.is_empty() {
        return Some(format!("missing: {missing:#?}, too many: {more:#?}"));
    }
    for (series, &value) in ours {
        let other = theirs[series];
        let doubled =
            series.contains("with threads") && ["_states{", "_wchan{"].iter().any(|f| series.contains(f));
        let good = match series {
            _ if series.contains("_total{") => continue,
            // There, the main thread of a process with several counts twice.
            _ if doubled => value == other || value + 1.0 == other,
            // Pages are shared with others, which come and go; those of this program's code also by its own doing.
            s if s.contains("proportional") && s.contains("headroom") => close(value, other, 0.5),
            s if s.contains("proportional") => close(value, other, 0.2),
            s if s.contains("resident") => close(value, other, 0.02),
            _ => close(value, other, 1e-9),
        };
        if !good {
            return Some(format!("{series}: {value}, process-exporter says {other}"));
        }
    }
    None
}

/// What both saw grow between two pages must agree.
fn compare_growth(ours: [&BTreeMap<String, f64>; 2], theirs: [&BTreeMap<String, f64>; 2]) {
    let mut grown = 0;
    for (series, after) in ours[1].iter().filter(|(s, _)| s.contains("_total{")) {
        let (Some(before), Some(b), Some(a)) =
            (ours[0].get(series), theirs[0].get(series), theirs[1].get(series))
        else {
            continue;
        };
        let (mine, other) = (after - before, a - b);
        assert!(mine >= 0.0, "{series} goes back by {mine}");
        // The observed exporter may do a little between the two looks.
        let slack = if series.contains("with threads") { 3.0 } else { 1e-6 };
        assert!((mine - other).abs() <= slack, "{series} grew by {mine}, process-exporter says {other}");
        grown += usize::from(mine > 0.0);
    }
    assert!(grown >= 2, "nothing grew, so nothing was compared");
}

/// process-exporter, if it is installed.
pub(crate) fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = headroom::stack::supervise::find(&["prometheus-process-exporter", "process-exporter"], &path);
    if found.is_none() {
        eprintln!("SKIPPED: process-exporter is not installed");
    }
    found
}

#[test]
fn process_exporter_says_the_same_with_the_same_file() {
    let Some(program) = program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let rules = dir.path().join("names.yaml");
    std::fs::write(&rules, RULES).unwrap();

    let threads_file = dir.path().join("lab-threads.yaml");
    std::fs::write(&threads_file, format!("exporter: {{listen: '{}'}}\n", free_address())).unwrap();
    let mut observed = Command::new(env!("CARGO_BIN_EXE_headroom"));
    let _threads = Started::new(observed.args(["exporter", "--config"]).arg(&threads_file));
    let _sleeper = Started::new(Command::new("sleep").arg("71.1"));
    let leaver = Started::new(Command::new("sleep").arg("71.2"));
    let parent = Started::new(Command::new("sh").args(["-c", PARENT]));
    let mut busy =
        Started::new(Command::new("sh").args(["-c", BUSY]).stdin(Stdio::piped()).stdout(Stdio::piped()));
    let (mut ask, mut answers) =
        (busy.0.stdin.take().unwrap(), BufReader::new(busy.0.stdout.take().unwrap()));
    let mut work = |n: u32| {
        writeln!(ask, "{n}").unwrap();
        answers.read_line(&mut String::new()).unwrap();
        // Until it waits again.
        std::thread::sleep(Duration::from_millis(100));
    };
    work(1);
    std::thread::sleep(Duration::from_millis(400));

    let address = free_address();
    let file = format!("-config.path={}", rules.display());
    let mut command = Command::new(program);
    let _theirs = Started::new(command.args([file, format!("-web.listen-address={address}")]));
    let text =
        format!("exporter: {{collectors: {{process_groups: {{config_file: '{}'}}}}}}", rules.display());
    let config = Config::parse(&text, Path::new("x.yaml")).unwrap();
    let host = Host::default();
    let mut collector = collector("process_groups", &host, &config.exporter.collectors);
    // The first page of both is compared for what there is; it also lets both see the threads.
    get(address);
    let mut both = || {
        // A process that has just begun, or is just ending, may be seen by one and not by the other; and pages are shared
        // with programs of other tests that come and go between the two looks.
        for _ in 0..20 {
            let theirs = samples(&get(address));
            // A few passes, so that all mappings are read.
            (0..3).for_each(|_| drop(page(&mut *collector, &host)));
            let ours = samples(&page(&mut *collector, &host));
            if difference(&ours, &theirs).is_none() {
                return (ours, theirs);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        (samples(&page(&mut *collector, &host)), samples(&get(address)))
    };
    let first = both();
    assert!(first.0.keys().any(|s| s.contains("threadname=")), "no threads: {:#?}", first.0);
    assert_eq!(
        first.0["namedprocess_namegroup_num_procs{groupname=\"sh:parent\"}"], 2.0,
        "the child is not counted"
    );
    assert_eq!(difference(&first.0, &first.1), None);
    work(400_000);
    let second = both();
    assert_eq!(difference(&second.0, &second.1), None);
    compare_growth([&first.0, &second.0], [&first.1, &second.1]);
    drop(leaver);
    let third = both();
    assert_eq!(difference(&third.0, &third.1), None);
    compare_growth([&first.0, &third.0], [&first.1, &third.1]);
    let child = parent.0.id().to_string();
    Command::new("pkill").args(["-P", &child]).status().unwrap();
}
