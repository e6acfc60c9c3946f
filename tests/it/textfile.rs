//! Text files: one page out of many files, and bad ones that cost only themselves.

use crate::page::{collector, page, value};
use crate::stack::{HEADROOM, Running, eventually, free_address};
use headroom::client::{Call, send_blocking};
use headroom::collect::{Collector, Options, textfile};
use headroom::encode::text::TextEncoder;
use headroom::host::Host;
use headroom::metric::{Desc, Sink, single};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn of(directories: &[&Path]) -> Box<dyn Collector> {
    let directories = directories.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let options = Options { textfile: textfile::Options { directories }, ..Default::default() };
    collector("textfile", &Host::default(), &options)
}

/// A directory with these files, and the page of a new collector over it without the lines of mtimes.
fn shown(files: &[(&str, &str)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let page = page(&mut *of(&[dir.path()]), &Host::default());
    let page = page.replace(&format!("{}/", dir.path().display()), "");
    page.lines()
        .filter(|line| !line.starts_with("node_textfile_mtime_seconds{") && !line.starts_with("# "))
        .fold(String::new(), |all, line| all + line + "\n")
}

fn error(page: &str) -> bool {
    value(page, "node_textfile_scrape_error") == Some(1.0)
}

#[test]
fn no_directory_is_no_error() {
    let page = page(&mut *of(&[]), &Host::default());
    assert!(!error(&page) && !page.contains("mtime"), "{page}");
}

#[test]
fn all_kinds_are_shown_with_help_type_and_mtime() {
    let dir = tempfile::tempdir().unwrap();
    let text = "# HELP a_total What a\\\\b is.\n# TYPE a_total counter\na_total{x=\"q\\\"\"} 1\n\
                # TYPE h histogram\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n\
                # TYPE s summary\ns{quantile=\"0.5\"} 4\ns_sum 5\ns_count 6\nu 7\n";
    let file = dir.path().join("a.prom");
    std::fs::write(&file, text).unwrap();
    std::fs::write(dir.path().join("a.txt"), "ignored 1\n").unwrap();
    let page = page(&mut *of(&[dir.path()]), &Host::default());
    let path = file.display();
    let page = page.lines().filter(|l| !l.starts_with("node_textfile_mtime_seconds{")).collect::<Vec<_>>();
    let want = format!(
        "# HELP a_total What a\\\\b is.\n# TYPE a_total counter\na_total{{x=\"q\\\"\"}} 1\n\
         # HELP h Metric read from {path}\n# TYPE h histogram\nh_bucket{{le=\"0.5\"}} 1\nh_bucket{{le=\"+Inf\"}} 2\nh_sum 3\nh_count 2\n\
         # HELP s Metric read from {path}\n# TYPE s summary\ns{{quantile=\"0.5\"}} 4\ns_sum 5\ns_count 6\n\
         # HELP u Metric read from {path}\n# TYPE u untyped\nu 7\n\
         # HELP node_textfile_mtime_seconds Unixtime mtime of textfiles successfully read.\n\
         # TYPE node_textfile_mtime_seconds gauge\n\
         # HELP node_textfile_scrape_error 1 if there was an error opening or reading a file, 0 otherwise\n\
         # TYPE node_textfile_scrape_error gauge\nnode_textfile_scrape_error 0"
    );
    assert_eq!(page.join("\n"), want);
}

#[test]
fn a_bad_file_costs_only_itself() {
    for bad in ["x", "x 1", "x 1 1441205977284\n", "x{a=\"1\n", "x 1\nx 2\n", "# TYPE x y\n", "x \u{0}\n"] {
        let page = shown(&[("bad.prom", bad), ("good.prom", "good 1\n")]);
        assert_eq!(page, "good 1\nnode_textfile_scrape_error 1\n", "{bad:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.prom"), b"\xff 1\n").unwrap();
    std::fs::create_dir(dir.path().join("b.prom")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("c.prom"), 0o600.into()).unwrap();
    std::fs::write(dir.path().join("d.prom"), "good 1\n").unwrap();
    let page = page(&mut *of(&[dir.path()]), &Host::default());
    assert!(error(&page) && value(&page, "good") == Some(1.0), "{page}");
    assert_eq!(page.matches("node_textfile_mtime_seconds{").count(), 1);
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(error(&page(&mut *of(&[&dir.path().join("none")]), &Host::default())));
}

#[test]
fn several_directories_and_wildcards_are_read() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["one", "two", "other"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        std::fs::write(dir.path().join(name).join("f.prom"), format!("x{{d=\"{name}\"}} 1\n")).unwrap();
    }
    let page = page(
        &mut *of(&[&dir.path().join("[ot]*o"), &dir.path().join("o*e"), &dir.path().join("one")]),
        &Host::default(),
    );
    let lines: Vec<&str> = page.lines().filter(|line| line.starts_with("x{")).collect();
    assert_eq!(lines, ["x{d=\"two\"} 1", "x{d=\"one\"} 1"]);
    assert!(!error(&page), "{page}");
}

#[test]
fn families_of_several_files_are_one_family_with_all_labels() {
    let page = shown(&[
        ("a.prom", "# HELP x X.\n# TYPE x gauge\nx{b=\"1\",a=\"2\"} 1\n"),
        ("b.prom", "# TYPE x gauge\nx{c=\"3\"} 2\nx 3\n"),
    ]);
    assert_eq!(
        page,
        "x{a=\"2\",b=\"1\",c=\"\"} 1\nx{a=\"\",b=\"\",c=\"3\"} 2\nx{a=\"\",b=\"\",c=\"\"} 3\nnode_textfile_scrape_error 0\n"
    );
}

#[test]
fn what_does_not_fit_together_is_refused_and_the_rest_of_the_file_stays() {
    for (second, why) in [
        ("# HELP x Another.\n# TYPE x gauge\nx{b=\"1\"} 2\ny 1\n", "help"),
        ("# HELP x X.\n# TYPE x counter\nx{b=\"1\"} 2\ny 1\n", "type"),
        ("# HELP x X.\n# TYPE x gauge\nx 2\ny 1\n", "series"),
    ] {
        let page = shown(&[("a.prom", "# HELP x X.\n# TYPE x gauge\nx 1\n"), ("b.prom", second)]);
        assert_eq!(page, "x 1\ny 1\nnode_textfile_scrape_error 1\n", "{why}");
    }
}

#[test]
fn labels_that_become_one_are_refused_and_names_in_quotes_are_taken() {
    let text = "{\"a.b\",\"c.d\"=\"1\"} 2\nx{\"e.f\"=\"1\"} 3\nx{e_f=\"1\"} 4\n";
    assert_eq!(shown(&[("a.prom", text)]), "a_b{c_d=\"1\"} 2\nnode_textfile_scrape_error 1\n");
    let text = "{\"a.b\"} 1\na_b 2\n{\"a-b\"} 3\n{\"node.textfile.x\"} 4\n";
    assert_eq!(shown(&[("a.prom", text)]), "a_b 2\nnode_textfile_scrape_error 1\n");
}

#[test]
fn names_of_other_collectors_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let text = "node_load1 9\nnode_textfile_scrape_error 5\nheadroom_x 1\nprocess_open_fds 7\n# TYPE taken histogram\n\
                taken_count 1\ngood 1\n";
    std::fs::write(dir.path().join("a.prom"), text).unwrap();
    let mut out = TextEncoder::default();
    for name in ["node_load1", "taken_sum", "process_open_fds"] {
        single(&mut out, &Desc::gauge(name, "Ours.", &[]), 1_u64);
    }
    of(&[dir.path()]).collect(&Host::default(), &mut out).unwrap();
    let page = String::from_utf8(out.page().to_vec()).unwrap();
    assert!(out.has_family("good") && error(&page));
    for name in
        ["node_load1 9", "node_textfile_scrape_error 5", "headroom_x", "process_open_fds 7", "taken_count"]
    {
        assert!(!page.contains(name), "{name} is in {page}");
    }
}

#[test]
fn changed_added_and_removed_files_are_seen() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let mut collector = of(&[dir.path()]);
    let mut shown = || {
        let page = page(&mut *collector, &Host::default());
        ["a", "b"].map(|name| value(&page, name))
    };
    put("a.prom", "a 1\n");
    assert_eq!(shown(), [Some(1.0), None]);
    put("a.prom", "a 2\n");
    assert_eq!(shown(), [Some(2.0), None]);
    put("b.prom", "b 1\n");
    assert_eq!(shown(), [Some(2.0), Some(1.0)]);
    put("0.prom", "z 1\n");
    assert_eq!(shown(), [Some(2.0), Some(1.0)]);
    std::fs::remove_file(dir.path().join("a.prom")).unwrap();
    assert_eq!(shown(), [None, Some(1.0)]);
}

#[test]
fn no_family_has_the_name_of_a_part_of_another() {
    let parts = "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 3\nh_sum 1\nh_count 3\n# TYPE s summary\ns_sum 2\ns_count 1\n";
    let names = "h_count 5\n# TYPE h_bucket gauge\nh_bucket{le=\"9\"} 1\n# TYPE s_sum summary\ns_sum_count 1\ns_bucket 7\n";
    let want = "h_bucket{le=\"+Inf\"} 3\nh_sum 1\nh_count 3\ns_sum 2\ns_count 1\ns_bucket 7\nnode_textfile_scrape_error 1\n";
    assert_eq!(shown(&[("a.prom", parts), ("b.prom", names)]), want);
    assert_eq!(shown(&[("a.prom", names), ("b.prom", parts)]), want);
}

#[test]
fn labels_that_would_swell_the_page_are_refused() {
    let many = (0..100).fold(String::new(), |all, i| all + &format!("x{{l{i}=\"1\"}} 1\n"));
    assert_eq!(
        shown(&[("a.prom", &many), ("b.prom", "x 2\ny 1\n")]),
        "x 2\ny 1\nnode_textfile_scrape_error 1\n"
    );
    // One long name, and 1000 samples that would repeat it.
    let mut long = format!("x{{l{}=\"1\"}} 1\n", "l".repeat(1 << 17));
    long.extend((0..1000).map(|i| format!("x{{i=\"{i}\"}} 1\n")));
    assert_eq!(shown(&[("a.prom", &long), ("b.prom", "y 1\n")]), "y 1\nnode_textfile_scrape_error 1\n");
}

#[test]
fn a_hundred_thousand_series_cost_a_few_tens_of_mib() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("big.prom");
    let address = free_address();
    let config = dir.path().join("c.yaml");
    let text = format!(
        "exporter: {{listen: '{address}', collectors: {{disable_defaults: true, enabled: [textfile], \
         textfile: {{directories: ['{}']}}}}}}\n",
        dir.path().display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(HEADROOM);
    let running =
        Running::start(command.args(["exporter", "--config"]).arg(&config), &dir.path().join("log"));
    let scrape = || {
        let url = format!("http://{address}/metrics");
        let call = Call { deadline: Duration::from_mins(1), ..Call::get(url) };
        send_blocking(call).ok().map(|(_, body)| body.len())
    };
    let peak_mib = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
    };
    eventually("a page", 60, scrape);
    let before = peak_mib();
    let line = |k| format!("big{{host=\"web-{k}.example.org\",job=\"batch\",zone=\"eu-west-1\"}} 1\n");
    std::fs::write(&file, (0..99_999).map(line).collect::<String>()).unwrap();
    assert!(scrape().unwrap() > 5 << 20);
    let cost = peak_mib() - before;
    assert!(cost < 48, "{cost} MiB");
}
