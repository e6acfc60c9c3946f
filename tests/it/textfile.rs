//! Text files: one page out of many files, and bad ones that cost only themselves.

use crate::page::{collector, page, value};
use headroom::collect::{Collector, Options, textfile};
use headroom::encode::text::TextEncoder;
use headroom::host::Host;
use headroom::metric::{Desc, Sink, single};
use std::path::Path;

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
