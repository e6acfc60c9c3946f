//! Tests of pages: what becomes of each form, and of relabelled series.

use super::*;
use crate::apps::scrape::relabel::Rule;

fn page(text: &str, form: Form, rules: &str) -> Result<Page, PageError> {
    let rules: Vec<Rule> = serde_yaml::from_str(rules).unwrap();
    let rules = Relabelling::new(&rules).unwrap();
    let reading = Reading {
        form,
        job: "j",
        instance: "i",
        honor_labels: false,
        honor_timestamps: true,
        rules: &rules,
        sample_limit: 0,
    };
    read(text, &reading)
}

/// Each series in a line, without the labels of the target.
fn shown(page: &Page) -> Vec<String> {
    let mut out = Vec::new();
    for family in &page.families {
        for series in &family.series {
            let labels = series
                .labels
                .iter()
                .filter(|(n, v)| (n.as_str(), v.as_str()) != ("job", "j") && *n != "instance");
            let labels: Vec<String> = labels.map(|(n, v)| format!("{n}={v}")).collect();
            let number = match &series.number {
                Number::One(value) => value.to_string(),
                Number::Histogram(h) => format!("{:?} {} {}", h.buckets, h.sum.unwrap_or(f64::NAN), h.count),
                Number::Summary(s) => format!("{:?} {} {}", s.quantiles, s.sum, s.count),
            };
            let at = series.at_millis.map_or(String::new(), |at| format!(" @{at}"));
            out.push(format!("{:?} {}{{{}}} {number}{at}", family.kind, family.name, labels.join(",")));
        }
    }
    out
}

const TEXT: &str = "# HELP h Times.\n# TYPE h histogram\nh_bucket{a=\"1\",le=\"0.5\"} 1\nh_bucket{a=\"1\",le=\"+Inf\"} 3\nh_sum{a=\"1\"} 4.5\nh_count{a=\"1\"} 3\n\
    # TYPE s summary\ns{quantile=\"0.5\"} 2\ns_sum 9\ns_count 4\n# TYPE c counter\nc 7 1700000000000\nu{job=\"own\",instance=\"x\"} NaN\nu{job=\"own\",instance=\"x\"} 5\n";

#[test]
fn series_are_put_together_and_have_the_labels_of_their_target() {
    let page = page(TEXT, Form::Text, "[]").unwrap();
    assert_eq!(
        shown(&page),
        [
            "Histogram h{a=1} [(0.5, 1), (inf, 3)] 4.5 3",
            "Summary s{} [(0.5, 2.0)] 9 4",
            "Counter c{} 7 @1700000000000",
            "Untyped u{exported_instance=x,exported_job=own} 5",
        ]
    );
    assert_eq!((page.scraped, page.kept, page.odd, &*page.families[0].help), (10, 10, 0, "Times."));
    assert_eq!(page.families[0].series[0].labels.get("instance").map(String::as_str), Some("i"));
}

#[test]
fn openmetrics_has_totals_times_in_seconds_and_exemplars() {
    let text = "# TYPE c counter\n# HELP c Count.\n# UNIT c seconds\nc_total{a=\"1\"} 7 1700000000.5 # {trace_id=\"ab\"} 0.5 1700000000\nc_created{a=\"1\"} 1600000000\n\
        # TYPE h histogram\nh_bucket{le=\"1.0\"} 1 # {t=\"x\"} 0.3\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\nh_created 5\n\
        # TYPE b info\nb_info{v=\"1\"} 1\n# TYPE z unknown\nz 1\n# TYPE g gauge\ng_created 5\n# EOF\n";
    let page = page(text, Form::OpenMetrics, "[]").unwrap();
    assert_eq!(
        shown(&page),
        [
            "Counter c_total{a=1} 7 @1700000000500",
            "Histogram h{} [(1.0, 1), (inf, 2)] 3 2",
            "Gauge b_info{v=1} 1",
            "Untyped z{} 1",
            "Untyped g_created{} 5",
        ]
    );
    let exemplar = &page.families[0].series[0].exemplars[0];
    assert_eq!((exemplar.value, exemplar.at_millis), (0.5, Some(1_700_000_000_000)));
    assert_eq!(exemplar.labels, [("trace_id".to_owned(), "ab".to_owned())]);
    assert_eq!(page.families[1].series[0].exemplars[0].value.to_string(), "0.3");
}

#[test]
fn rules_see_each_bucket_and_may_give_other_names() {
    let after = |rules: &str| shown(&page(TEXT, Form::Text, rules).unwrap());
    assert_eq!(after("[{action: keep, source_labels: [__name__], regex: 'h_.*'}]").len(), 1);
    let renamed =
        "[{source_labels: [__name__], regex: '(h|s)(.*)', target_label: __name__, replacement: 'x_$1$2'}]";
    assert_eq!(
        after(renamed)[..2],
        ["Histogram x_h{a=1} [(0.5, 1), (inf, 3)] 4.5 3", "Summary x_s{} [(0.5, 2.0)] 9 4"]
    );
    let dropped = "[{action: drop, source_labels: [le], regex: '0.5'}, {action: drop, source_labels: [__name__], regex: '[^h].*|.*sum'}]";
    assert_eq!(after(dropped), ["Histogram h{a=1} [(inf, 3)] NaN 3"]);
    let other = "[{source_labels: [__name__], regex: 'h_sum', target_label: __name__, replacement: total}]";
    assert_eq!(after(other)[..2], ["Histogram h{a=1} [(0.5, 1), (inf, 3)] NaN 3", "Untyped total{a=1} 4.5"]);
    let who = "[{target_label: job, replacement: k}, {action: labeldrop, regex: 'exported_.*'}]";
    assert!(after(who).contains(&"Untyped u{job=k} 5".to_owned()), "{:?}", after(who));
    assert_eq!(page(TEXT, Form::Text, "[{action: labeldrop, regex: __name__}]").unwrap().odd, 10);
}

#[test]
fn what_is_no_page_is_told_with_its_line() {
    let line = |text: &str, form| match page(text, form, "[]") {
        Err(PageError::Line { line, .. }) => line,
        other => panic!("{text:?}: {other:?}"),
    };
    for (text, at) in
        [("a 1\nb\n", 2), ("a 1 x\n", 1), ("a 1 1 1\n", 1), ("a 1 # {} 1\n", 1), ("a 1", 1), ("<html>\n", 1)]
    {
        assert_eq!(line(text, Form::Text), at, "{text:?}");
    }
    for (text, at) in [
        ("a 1\n", 1),
        ("# EOF\na 1\n", 2),
        ("a 1 # 1\n# EOF\n", 1),
        ("a 1 # {b=\"c\"} 1 2 3\n# EOF\n", 1),
        ("a 1 1e300\n# EOF\n", 1),
    ] {
        assert_eq!(line(text, Form::OpenMetrics), at, "{text:?}");
    }
    let text = "# TYPE h histogram\nh_bucket 1\nh_bucket{le=\"x\"} 1\nh_count -1\nh 1\na 1\na 2\n";
    let page = page(text, Form::Text, "[]").unwrap();
    assert_eq!((page.odd, page.kept), (4, 6), "numbers that make no sense cost themselves");
    let parts = "# TYPE h histogram\nh_bucket{le=\"1\"} 0.5\nh_bucket{le=\"+Inf\"} 1e3\nh_count 1000.5\n";
    let page = super::tests::page(parts, Form::Text, "[]").unwrap();
    assert_eq!((page.odd, &*shown(&page)[0]), (2, "Histogram h{} [(inf, 1000)] NaN 1000"));
}

#[test]
fn a_remark_may_be_of_any_letters() {
    let text = "# from \"C:\\temp\" and more\n# \"open\n#\n# HELP a x\na 1\n";
    assert_eq!(shown(&page(text, Form::Text, "[]").unwrap()), ["Untyped a{} 1"]);
}

#[test]
fn families_without_samples_are_bounded_and_so_is_a_help() {
    let types =
        |count: usize| (0..count).map(|i| format!("# TYPE n{i} gauge\n")).collect::<Vec<_>>().concat();
    assert!(page(&types(FAMILIES_MAX), Form::Text, "[]").is_ok());
    assert_eq!(page(&types(FAMILIES_MAX + 2), Form::Text, "[]").unwrap_err(), PageError::Families);
    let long = page(&format!("# HELP a {}\na 1\n", "é".repeat(100_000)), Form::Text, "[]").unwrap();
    assert_eq!(long.families[0].help.len(), 1024);
}

#[test]
fn a_page_that_is_cut_anywhere_is_never_more_than_its_whole_lines() {
    for cut in 0..TEXT.len() {
        let whole = TEXT[..cut].ends_with('\n') || cut == 0;
        assert_eq!(page(&TEXT[..cut], Form::Text, "[]").is_ok(), whole, "{cut}");
    }
}

#[test]
fn too_many_samples_are_no_page() {
    let rules = Relabelling::default();
    let reading = |honor_labels, sample_limit| Reading {
        form: Form::Text,
        job: "j",
        instance: "i",
        honor_labels,
        honor_timestamps: false,
        rules: &rules,
        sample_limit,
    };
    assert_eq!(read("a 1\nb 1\n", &reading(false, 1)).unwrap_err(), PageError::TooMany(1));
    let page = read("a{job=\"own\"} 1 5\n", &reading(true, 1)).unwrap();
    let series = &page.families[0].series[0];
    assert_eq!(
        (series.labels["job"].as_str(), series.labels["instance"].as_str(), series.at_millis),
        ("own", "i", None)
    );
}
