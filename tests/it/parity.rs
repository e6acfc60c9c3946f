//! The same series as node_exporter's: on its own recorded host, where the recording is at hand, and on this machine.

use crate::stack::{HEADROOM, Running, eventually, free_address, get, program};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The script that compares; `None`, and a line that says so, where it or what runs it is not there.
fn script() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/parity.py");
    if !script.exists() {
        eprintln!("SKIPPED: {} is not there", script.display());
        return None;
    }
    program(&["python3"]).map(|_| script)
}

/// What the script printed, and whether it was content.
fn said(command: &mut Command) -> (String, bool) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.success())
}

/// Puts the recording where it was made, seen from the working directory: its place is part of some labels. All flags
/// stay as the script gives them.
const IN_PLACE: &str = r#"
for argument do
  case $argument in --path.rootfs=*) root=${argument#*=} ;; esac
done
mkdir collector && ln -s "$root" collector/fixtures
for argument do
  shift
  case $argument in --path.*="$root"*) argument=${argument%%=*}=collector/fixtures${argument#*"$root"} ;; esac
  set -- "$@" "$argument"
done
exec "$HEADROOM" exporter "$@"
"#;

#[test]
fn every_series_of_a_recorded_host_is_the_same_and_there_is_no_other() {
    let Some(script) = script() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("python3");
    command.current_dir(dir.path()).env("HEADROOM", HEADROOM).arg(&script);
    command.args(["fixtures", "--require", "100", "--missing", "1000", "--", "sh", "-c", IN_PLACE, "sh"]);
    let (text, content) = said(&mut command);
    assert!(content && text.contains("(100.0 %), 0 extra"), "{text}");
    assert!(!text.contains("no effect"), "the exporter does not know a flag: {text}");
}

/// Labels that node_exporter 1.12 has, and older ones have not: families by their beginning.
const NEWER_LABELS: [(&str, &str); 3] = [
    ("node_filesystem_", "device_error"),
    ("node_network_info{", "adminstate"),
    ("node_disk_info{", "rotational"),
];

/// What the collectors show that do not exist here: perf, drm, logind, ntp, runit, supervisord.
const ELSEWHERE: [&str; 6] =
    ["node_perf_", "node_drm_", "node_logind_", "node_ntp_", "node_service_", "node_supervisord_"];

/// By netlink, node_exporter takes an unknown speed (-1 in 32 bits) for one.
const NO_SPEED: &str = "5.36870911875e+14";

/// Whether a series of an older node_exporter stands on the page, with a label that is newer than it.
fn has_newer_label(series: &str, page: &str) -> bool {
    let Some((start, label)) = NEWER_LABELS.iter().find(|(start, _)| series.starts_with(start)) else {
        return false;
    };
    let label = regex_lite::Regex::new(&format!("{label}=\"[^\"]*\",")).unwrap();
    let ours = page.lines().filter(|line| line.starts_with(start));
    ours.filter_map(|line| line.rsplit_once(' ')).any(|(ours, _)| label.replace(ours, "") == series)
}

/// What both are told: everything, and whatever differs by default between versions and distributions.
const FLAGS: [&str; 17] = [
    "--collector.cpu.info",
    "--collector.cpu.info.flags-include=.",
    "--collector.cpu.info.bugs-include=.",
    "--collector.diskstats.device-exclude=^loop",
    "--collector.filesystem.mount-points-exclude=^/(dev|proc|sys)($|/)",
    "--collector.filesystem.fs-types-exclude=^(nsfs|proc|sysfs)$",
    "--collector.netdev.address-info",
    "--collector.netdev.device-exclude=",
    "--collector.netstat.fields=.",
    "--collector.stat.softirq",
    "--collector.sysctl.include=fs.file-nr:total,current,max",
    "--collector.sysctl.include=vm.lowmem_reserve_ratio",
    "--collector.sysctl.include-info=kernel.core_pattern",
    "--collector.systemd.enable-restarts-metrics",
    "--collector.systemd.enable-start-time-metrics",
    "--collector.systemd.enable-task-metrics",
    "--collector.vmstat.fields=.",
];

/// Flags that turn on all collectors of a node_exporter, and those of `flags` that it knows.
fn known_flags(node_exporter: &Path, flags: &[&str]) -> Vec<String> {
    let (help, _) = said(Command::new(node_exporter).arg("--help"));
    let name =
        |word: &str| word.split('=').next().unwrap_or_default().replace("[no-]", "").replace("--no-", "--");
    let known: Vec<String> =
        help.split_whitespace().filter(|word| word.starts_with("--")).map(name).collect();
    let collectors = known.iter().filter(|flag| {
        let option = flag.strip_prefix("--collector.").filter(|option| *option != "disable-defaults");
        option.is_some_and(|option| !option.contains('.'))
    });
    let collectors: Vec<String> = collectors.cloned().collect();
    assert!(collectors.len() > 50, "{help}");
    let (known, newer): (Vec<&str>, Vec<&str>) = flags.iter().partition(|flag| known.contains(&name(flag)));
    assert!(newer.len() < 5, "{newer:?}: {help}");
    collectors.into_iter().chain(known.into_iter().map(str::to_owned)).collect()
}

/// Starts an exporter, and says where its page is.
fn start(command: &mut Command, log: &Path) -> (Running, String) {
    let address = free_address();
    command.arg(format!("--web.listen-address={address}"));
    command.arg(format!("--collector.textfile.directory={}", log.parent().unwrap().display()));
    let running = Running::start(command, log);
    let page = format!("http://{address}/metrics");
    eventually("an exporter answers", 30, || get(&page).filter(|(status, _)| *status == 200));
    (running, page)
}

/// What is told to both besides for a second look: the other ways of asking, and other forms of names.
const OTHER_FORMS: [&str; 7] = [
    "--no-collector.arp.netlink",
    "--no-collector.cpu.guest",
    "--collector.netclass.netlink",
    "--collector.netclass.ignored-devices=^lo$",
    "--collector.netdev.enable-detailed-metrics",
    "--collector.netdev.netlink",
    "--collector.rapl.enable-zone-label",
];

#[test]
fn whatever_a_real_node_exporter_shows_of_this_machine_is_shown() {
    same_live(&[]);
}

#[test]
fn whatever_it_shows_when_it_asks_in_other_ways_is_shown() {
    same_live(&OTHER_FORMS);
}

fn same_live(flags: &[&str]) {
    let Some(script) = script() else { return };
    let Some(node_exporter) = program(&["prometheus-node-exporter", "node_exporter"]) else { return };
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("own.prom"), "a_metric_of_a_user{word=\"b\"} 1\n").unwrap();
    let flags = known_flags(&node_exporter, &[&FLAGS, flags].concat());
    let start = |name: &str, command: &mut Command| start(command.args(&flags), &dir.path().join(name));
    let (_theirs, theirs) = start("theirs.log", &mut Command::new(&node_exporter));
    let (ours, own) = start("ours.log", Command::new(HEADROOM).arg("exporter"));
    // The machine goes on between the two pages, a device may come or go: what differs for a reason does so every time.
    let mut left = compare(&script, &own, &theirs);
    for _ in 0..9 {
        if left.0.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
        left = compare(&script, &own, &theirs);
    }
    assert_eq!(left.0, Vec::<String>::new(), "{}", left.1);
    let (shared, other) = other_values(&own, &theirs);
    assert!(shared > 1000, "only {shared} series in both");
    assert_eq!(other, Vec::<String>::new());
    let output = ours.output();
    let warnings: Vec<_> = output.lines().filter(|line| line.contains("no effect")).collect();
    assert!(warnings.len() <= 1, "{output}");
    let known =
        ["drm", "logind", "ntp", "perf", "runit", "supervisord"].map(|name| format!("--collector.{name}"));
    let named = warnings.iter().flat_map(|line| line.split(['"', ' '])).filter(|word| word.starts_with("--"));
    let unknown: Vec<_> = named.filter(|flag| !known.iter().any(|known| known == flag)).collect();
    assert_eq!(unknown, Vec::<&str>::new());
}

/// The values of a page, but for those that are about the exporter itself.
fn samples(url: &str) -> BTreeMap<String, f64> {
    const OWN: [&str; 9] = [
        "#",
        "go_",
        "process_",
        "promhttp_",
        "node_exporter_",
        "node_scrape_",
        "node_textfile_",
        "node_time_",
        // node_exporter's collectors run side by side, and some have sockets open (netlink) while this one counts.
        "node_sockstat_sockets_used",
    ];
    let page = get(url).unwrap().1;
    let lines = page.lines().filter(|line| !OWN.iter().any(|start| line.starts_with(start)));
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        Some((series.to_owned(), value.parse().ok()?))
    };
    lines.filter_map(sample).collect()
}

/// How many series both have, and those whose value is not between two that the other one shows before and after, however
/// often they are asked.
fn other_values(own: &str, theirs: &str) -> (usize, Vec<String>) {
    let mut last: Option<BTreeSet<String>> = None;
    let mut shared = 0;
    for _ in 0..20 {
        let (before, ours, after) = (samples(theirs), samples(own), samples(theirs));
        let both = |series: &String| Some((*before.get(series)?, *ours.get(series)?, *after.get(series)?));
        let between = |(before, ours, after): (f64, f64, f64)| {
            let slack = 1e-9 * before.abs();
            ours >= before.min(after) - slack && ours <= before.max(after) + slack
        };
        shared = before.keys().filter(|series| both(series).is_some()).count();
        let other = before.keys().filter(|series| both(series).is_some_and(|values| !between(values)));
        let other: BTreeSet<String> =
            other.filter(|series| last.as_ref().is_none_or(|last| last.contains(*series))).cloned().collect();
        let done = other.is_empty();
        last = Some(other);
        if done {
            break;
        }
    }
    (shared, last.unwrap_or_default().into_iter().collect())
}

/// What differs beyond what is expected, and all that the script said.
fn compare(script: &Path, own: &str, theirs: &str) -> (Vec<String>, String) {
    let (text, _) =
        said(Command::new("python3").arg(script).args(["live", own, theirs, "--missing", "100000"]));
    assert!(text.contains(" series match ("), "{text}");
    let page = get(own).unwrap().1;
    let expected = |line: &&str| {
        // `differs: SERIES VALUE   (missing)`
        let series = line.strip_prefix("differs: ").and_then(|rest| rest.rsplit_once("   ("));
        let (series, value) = series.and_then(|(rest, _)| rest.rsplit_once(' ')).unwrap_or_default();
        ELSEWHERE.iter().any(|start| series.starts_with(start))
            || has_newer_label(series, &page)
            || (series.starts_with("node_network_speed_bytes{") && value == NO_SPEED)
    };
    let lines = text.lines().filter(|line| line.starts_with("differs: ") || line.starts_with("type: "));
    (lines.filter(|line| !expected(line)).map(str::to_owned).collect(), text)
}
