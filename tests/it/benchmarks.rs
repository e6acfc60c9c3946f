//! Benchmarks: what a tool wrote becomes a run, a run becomes metrics, and a regression becomes an exit code.

use crate::page::{collector, page, value};
use crate::stack::{HEADROOM, Running, eventually, free_address, get, program};
use headroom::collect::{Options, textfile};
use headroom::host::Host;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs of one benchmark with a measure of each unit and a tolerance, and the directory with their metrics.
pub(crate) fn recorded(state: &Path, dir: &Path) -> PathBuf {
    let metrics = dir.join("metrics");
    std::fs::create_dir(&metrics).unwrap();
    let bench = Bench { state: state.to_owned(), metrics: metrics.clone() };
    for seconds in ["0.2", "0.25", "0.2", "0.3"] {
        let results =
            [&*format!("p95_seconds={seconds}"), "done_per_second=90", "peak_bytes=1e6", "errors=0"];
        let (code, said) = bench.record("checkout", &[&results[..], &["--tolerance", "30%"]].concat());
        assert_eq!(code, Some(0), "{said}");
    }
    metrics
}

struct Bench {
    state: PathBuf,
    metrics: PathBuf,
}

impl Bench {
    fn new(dir: &Path) -> Self {
        let metrics = dir.join("textfile");
        std::fs::create_dir(&metrics).unwrap();
        Self { state: dir.join("state"), metrics }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(HEADROOM);
        command.arg("--state-dir").arg(&self.state).arg("benchmark").args(arguments);
        command
    }

    /// Its exit code, and what it said on both outputs.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let out = self.command(arguments).output().unwrap();
        (out.status.code(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
    }

    fn record(&self, name: &str, more: &[&str]) -> (Option<i32>, String) {
        self.run(&[&["record", name, "--output", self.metrics.to_str().unwrap()], more].concat())
    }

    /// What the collector of text files shows of the metrics.
    fn page(&self) -> String {
        let directories = vec![self.metrics.display().to_string()];
        let options = Options { textfile: textfile::Options { directories }, ..Options::default() };
        let page = page(&mut *collector("textfile", &Host::default(), &options), &Host::default());
        assert_eq!(value(&page, "node_textfile_scrape_error"), Some(0.0), "{page}");
        page
    }
}

#[test]
fn a_regression_is_an_exit_code_and_a_metric_until_it_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(dir.path());
    let (code, said) = bench.run(&["show"]);
    assert!(code == Some(2) && said.contains("no runs are recorded"), "{said}");
    let worse = "headroom_benchmark_worse_ratio{benchmark=\"shop\",measure=\"rps\"}";
    for (runs, rps) in [(0, "100"), (1, "102"), (2, "98")] {
        let (code, said) = bench.record("shop", &[&format!("rps={rps}")]);
        assert!(code == Some(0) && said.contains(&format!("after {} more", 3 - runs)), "{said}");
        assert_eq!(value(&bench.page(), worse), None, "there is no baseline yet");
    }
    assert_eq!(bench.record("shop", &["rps=70"]).0, Some(0));
    assert!((value(&bench.page(), worse).unwrap() - 0.3).abs() < 1e-9);
    let (code, said) = bench.run(&["show", "shop"]);
    assert!(code == Some(1) && said.contains("100 (median)") && said.contains("REGRESSION"), "{said}");
    assert_eq!(bench.run(&["show", "shop", "--tolerance", "35%"]).0, Some(0));
    let (code, said) = bench.run(&["show", "--json"]);
    let json: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &json["benchmarks"][0]["measures"][0]["regressed"]), (Some(1), &Value::Bool(true)));
    assert_eq!(bench.run(&["accept", "shop", "--output", bench.metrics.to_str().unwrap()]).0, Some(0));
    assert_eq!(value(&bench.page(), worse), Some(0.0));
    let (code, said) = bench.run(&["show"]);
    assert!(code == Some(0) && said.contains("70 (accepted)"), "{said}");
    assert_eq!(bench.run(&["forget", "shop", "--output", bench.metrics.to_str().unwrap()]).0, Some(0));
    assert_eq!(value(&bench.page(), worse), None);
    let mode = std::fs::metadata(bench.metrics.join("headroom_benchmarks.prom")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o644, "another user reads it");
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_records_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(dir.path());
    let file = dir.path().join("results.json");
    let from = ["--from", file.to_str().unwrap()];
    std::fs::write(&file, "{\"p95_seconds\": 1, \"score\": 2}").unwrap();
    for (arguments, why) in [
        (&["record", "a", "x_seconds=1"][..], "exporter.collectors.textfile.directories"),
        (&["record", "a b", "x_seconds=1", "--no-metrics"], "the benchmark \"a b\" cannot be taken: ' '"),
        (&["record", "a", "x=1", "--no-metrics"], "say --lower x or --higher x"),
        (
            &["record", "a", "x_seconds=1", "--higher", "y", "--no-metrics"],
            "no measure \"y\"; there are x_seconds",
        ),
        (&["record", "a", "x=1", "--higher", "x", "--lower", "x", "--no-metrics"], "cannot both be"),
        (&["record", "a", "x_seconds=1", "x_seconds=2", "--no-metrics"], "x_seconds: given twice"),
        (
            &["record", "a", "x_seconds=1", "--output", "/proc/nowhere"],
            "/proc/nowhere/headroom_benchmarks.prom (--output)",
        ),
        (
            &["record", "a", "--no-metrics", from[0], from[1], "--only", "p95_second"],
            "did you mean `p95_seconds`?",
        ),
        (&["record", "a", "--no-metrics", from[0], from[1], "--only", "score"], "nothing is left to record"),
        (&["record", "a", "--no-metrics", "--from", "/nowhere.json"], "cannot read /nowhere.json"),
        (
            &["record", "a", "--no-metrics", from[0], from[1], "--format", "k6"],
            "results.json: no summary of k6",
        ),
        (&["record", "a", "--no-metrics"], "MEASURE=VALUE"),
        (&["record", "a", "x_seconds=1", "--no-metrics", "--tolerance", "20"], "write 20% or 0.2"),
        (&["accept", "a", "--no-metrics"], "no run of \"a\" is recorded"),
        (&["forget", "a", "--no-metrics"], "no run of \"a\" is recorded"),
        (&["show", "a"], "no run of \"a\" is recorded"),
    ] {
        let (code, said) = bench.run(arguments);
        assert!(code == Some(2) && said.contains(why), "{arguments:?}: {code:?} {said}");
    }
    assert_eq!(bench.run(&["show"]).0, Some(2), "something was recorded");
    // What a file has besides is left out, and said; once told, it is known.
    let (code, said) = bench.run(&["record", "a", "--no-metrics", from[0], from[1]]);
    assert!(code == Some(0) && said.contains("left out, score"), "{said}");
    let (code, said) = bench.run(&["record", "a", "--no-metrics", from[0], from[1], "--higher", "score"]);
    assert!(code == Some(0) && !said.contains("left out"), "{said}");
    let (_, said) = bench.run(&["record", "a", "--no-metrics", from[0], from[1]]);
    assert!(said.contains("higher") && !said.contains("left out"), "{said}");
    std::fs::write(bench.state.join("benchmarks.json"), "{}").unwrap();
    let (code, said) = bench.run(&["record", "a", "x_seconds=1", "--no-metrics"]);
    assert!(code == Some(2) && said.contains("move it away"), "{said}");
}

#[test]
fn results_come_from_the_standard_input_too_and_go_where_the_configuration_says() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(dir.path());
    let config = dir.path().join("h.yaml");
    let directories = format!("['{}/*', '{}']", dir.path().display(), bench.metrics.display());
    std::fs::write(
        &config,
        format!("exporter: {{collectors: {{textfile: {{directories: {directories}}}}}}}"),
    )
    .unwrap();
    let mut command = bench.command(&["record", "cli", "--from", "-", "--config", config.to_str().unwrap()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{\"total_seconds\": 1.5}").unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(
        value(&bench.page(), "headroom_benchmark_value{benchmark=\"cli\",measure=\"total_seconds\"}"),
        Some(1.5)
    );
}

#[test]
fn a_file_that_hyperfine_really_wrote_is_read() {
    let Some(hyperfine) = program(&["hyperfine"]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let (bench, file) = (Bench::new(dir.path()), dir.path().join("h.json"));
    let file = file.to_str().unwrap();
    let ran = Command::new(hyperfine)
        .args(["-N", "-r", "3", "--export-json", file, "sleep 0.01"])
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let (code, said) = bench.record("sleep", &["--from", file]);
    assert_eq!(code, Some(0), "{said}");
    let of = |measure: &str| {
        value(
            &bench.page(),
            &format!("headroom_benchmark_value{{benchmark=\"sleep\",measure=\"{measure}\"}}"),
        )
        .unwrap()
    };
    assert!(of("min_seconds") >= 0.01 && of("median_seconds") >= of("min_seconds"));
    assert!(of("cpu_seconds") >= 0.0 && of("failed_ratio") <= 0.0);
}

#[test]
fn a_real_node_exporter_shows_the_same_file() {
    let Some(node_exporter) = program(&["prometheus-node-exporter", "node_exporter"]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let metrics = recorded(&dir.path().join("state"), dir.path());
    let address = free_address();
    let mut command = Command::new(node_exporter);
    command.args(["--collector.disable-defaults", "--collector.textfile"]);
    command.arg(format!("--web.listen-address={address}"));
    command.arg(format!("--collector.textfile.directory={}", metrics.display()));
    let _running = Running::start(&mut command, &dir.path().join("log"));
    let (_, theirs) = eventually("node_exporter answers", 60, || {
        get(&format!("http://{address}/metrics")).filter(|(status, _)| *status == 200)
    });
    let ours = Bench { state: dir.path().join("state"), metrics }.page();
    let of = |page: &str| {
        let mut lines: Vec<String> =
            page.lines().filter(|line| line.starts_with("headroom_benchmark_")).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let samples = |lines: Vec<String>| -> Vec<(String, f64)> {
        let one =
            |line: String| line.rsplit_once(' ').map(|(series, v)| (series.to_owned(), v.parse().unwrap()));
        lines.into_iter().filter_map(one).collect()
    };
    let ours = samples(of(&ours));
    assert_eq!(ours.len(), 14, "{ours:#?}");
    assert_eq!(samples(of(&theirs)), ours);
}
