//! The same series as node_exporter's: on its own recorded host, where the recording is at hand, and on this machine.

use crate::stack::{HEADROOM, Running, eventually, free_address, get, program};
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

/// All collectors of a node_exporter, as flags.
fn collectors(node_exporter: &Path) -> Vec<String> {
    let (help, _) = said(Command::new(node_exporter).arg("--help"));
    let words = help.split_whitespace().map(|word| word.replace("[no-]", ""));
    let names =
        words.filter(|word| word.strip_prefix("--collector.").is_some_and(|name| !name.contains(['.', '='])));
    let names: Vec<String> = names.filter(|name| name != "--collector.disable-defaults").collect();
    assert!(names.len() > 50, "{help}");
    names
}

/// Starts an exporter with all collectors on, and says where its page is.
fn start(command: &mut Command, collectors: &[String], log: &Path) -> (Running, String) {
    let address = free_address();
    command.arg(format!("--web.listen-address={address}")).args(collectors).args(FLAGS);
    command.arg(format!("--collector.textfile.directory={}", log.parent().unwrap().display()));
    let running = Running::start(command, log);
    let page = format!("http://{address}/metrics");
    eventually("an exporter answers", 30, || get(&page).filter(|(status, _)| *status == 200));
    (running, page)
}

#[test]
fn whatever_a_real_node_exporter_shows_of_this_machine_is_shown() {
    let Some(script) = script() else { return };
    let Some(node_exporter) = program(&["prometheus-node-exporter", "node_exporter"]) else { return };
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("own.prom"), "a_metric_of_a_user{word=\"b\"} 1\n").unwrap();
    let collectors = collectors(&node_exporter);
    let log = |name: &str| dir.path().join(name);
    let (_theirs, theirs) = start(&mut Command::new(node_exporter), &collectors, &log("theirs.log"));
    let (ours, own) = start(Command::new(HEADROOM).arg("exporter"), &collectors, &log("ours.log"));
    let compare = || {
        let mut command = Command::new("python3");
        let (text, _) = said(command.arg(&script).args(["live", &own, &theirs, "--missing", "100000"]));
        assert!(text.contains(" series match ("), "{text}");
        let lines = text.lines().filter(|line| line.starts_with("differs: ") || line.starts_with("type: "));
        let page = get(&own).unwrap().1;
        let expected = |line: &&str| {
            // `differs: SERIES VALUE   (missing)`
            let series = line.strip_prefix("differs: ").and_then(|rest| rest.rsplit_once("   ("));
            let series = series.and_then(|(rest, _)| Some(rest.rsplit_once(' ')?.0)).unwrap_or_default();
            ELSEWHERE.iter().any(|start| series.starts_with(start)) || has_newer_label(series, &page)
        };
        (lines.filter(|line| !expected(line)).map(str::to_owned).collect::<Vec<_>>(), text)
    };
    // The machine goes on between the two pages, a device may come or go: what differs for a reason does so every time.
    let mut left = compare();
    for _ in 0..9 {
        if left.0.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
        left = compare();
    }
    assert_eq!(left.0, Vec::<String>::new(), "{}", left.1);
    let warnings = ours.output().lines().filter(|line| line.contains("have no effect")).count();
    assert!(warnings <= 1, "{}", ours.output());
}
