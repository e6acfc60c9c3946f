//! Files as the tools write them, and what becomes of them.

use super::*;

fn of(text: &str) -> Vec<(String, f64, Option<Better>)> {
    let found = read(text, None, None).unwrap_or_else(|e| panic!("{e}"));
    found.into_iter().map(|f| (f.name, f.value, f.better)).collect()
}

fn want(list: &[(&str, f64, Option<Better>)]) -> Vec<(String, f64, Option<Better>)> {
    list.iter().map(|(name, value, better)| ((*name).to_owned(), *value, *better)).collect()
}

const LOWER: Option<Better> = Some(Better::Lower);
const HIGHER: Option<Better> = Some(Better::Higher);

/// What `k6 run --summary-export` of k6 1 and 2 writes: values at once, and no kinds.
const EXPORTED: &str = r#"{
    "root_group": {"name": "", "path": "", "id": "d41d8cd98f00b204e9800998ecf8427e", "groups": {}, "checks": {}},
    "metrics": {
        "http_req_failed": {"passes": 2, "fails": 198, "thresholds": {"rate<0.01": false}, "value": 0.01},
        "http_reqs": {"count": 200, "rate": 40.5},
        "http_req_duration": {"avg": 12, "min": 1, "med": 10, "max": 90, "p(90)": 20, "p(95)": 25.5},
        "http_req_duration{expected_response:true}": {"avg": 12, "min": 1, "med": 10, "max": 90, "p(90)": 20, "p(95)": 25.5},
        "http_req_blocked": {"avg": 1, "min": 1, "med": 1, "max": 1, "p(90)": 1, "p(95)": 1},
        "my_trend": {"avg": 15, "max": 20, "med": 15, "min": 10, "p(90)": 19, "p(95)": 19.5, "p(99)": 19.9, "count": 3},
        "vus": {"value": 1, "min": 1, "max": 1}
    }
}"#;

/// What handleSummary() is given.
const HANDLED: &str = r#"{
    "root_group": {"groups": [], "checks": [], "name": "", "path": "", "id": "d41d8cd98f00b204e9800998ecf8427e"},
    "options": {"summaryTrendStats": ["avg", "med", "p(95)", "p(99)"], "summaryTimeUnit": "", "noColor": false},
    "state": {"isStdErrTTY": false, "isStdOutTTY": false, "testRunDurationMs": 1000},
    "metrics": {
        "checks": {"contains": "default", "values": {"passes": 45, "fails": 15, "rate": 0.75}, "type": "rate"},
        "my_trend": {"type": "trend", "contains": "time", "values": {"p(95)": 19.5, "p(99)": 19.9, "avg": 15, "med": 15}},
        "http_reqs": {"type": "counter", "contains": "default", "values": {"count": 3, "rate": 3}},
        "orders": {"type": "counter", "contains": "default", "values": {"count": 6, "rate": 2}},
        "login_failed": {"type": "rate", "contains": "default", "values": {"passes": 1, "fails": 3, "rate": 0.25}},
        "vus": {"contains": "default", "values": {"value": 1, "min": 1, "max": 1}, "type": "gauge"}
    }
}"#;

/// What both are with `--new-machine-readable-summary`.
const MACHINE_READABLE: &str = r#"{
    "config": {"duration": 20.0, "execution": "local", "script": "s.js"},
    "metadata": {"generatedAt": "2026-11-21T10:00:00Z", "k6Version": "2.2.0"},
    "results": {
        "checks": {"metrics": [], "results": [{"name": "ok", "passes": 1, "fails": 0}]},
        "metrics": [
            {"name": "http_reqs", "type": "counter", "contains": "default", "values": {"count": 400}},
            {"name": "http_req_failed", "type": "rate", "contains": "default", "values": {"matches": 4, "rate": 0.01, "total": 400}},
            {"name": "http_req_duration", "type": "trend", "contains": "time", "values": {"avg": 12, "med": 10, "p(95)": 25}},
            {"name": "data_sent", "type": "counter", "contains": "data", "values": {"count": 4000}}
        ]
    },
    "version": "1.0.0"
}"#;

#[test]
fn k6_s_summaries_are_read_in_all_their_forms() {
    let exported = [
        ("http_req_duration_p50_seconds", 0.01, LOWER),
        ("http_req_duration_p90_seconds", 0.02, LOWER),
        ("http_req_duration_p95_seconds", 0.0255, LOWER),
        ("http_req_failed_ratio", 0.01, LOWER),
        ("http_reqs_per_second", 40.5, HIGHER),
        // Neither its unit nor which way is better is said anywhere.
        ("my_trend_p50", 15.0, None),
        ("my_trend_p90", 19.0, None),
        ("my_trend_p95", 19.5, None),
        ("my_trend_p99", 19.9, None),
    ];
    assert_eq!(of(EXPORTED), want(&exported));
    let handled = [
        ("http_reqs_per_second", 3.0, HIGHER),
        ("login_failed_ratio", 0.25, LOWER),
        ("my_trend_p50_seconds", 0.015, LOWER),
        ("my_trend_p95_seconds", 0.0195, LOWER),
        ("my_trend_p99_seconds", 19.9 / 1000.0, LOWER),
        ("orders_per_second", 2.0, None),
    ];
    assert_eq!(of(HANDLED), want(&handled));
    let readable = [
        ("http_reqs_per_second", 20.0, HIGHER),
        ("http_req_failed_ratio", 0.01, LOWER),
        ("http_req_duration_p50_seconds", 0.01, LOWER),
        ("http_req_duration_p95_seconds", 0.025, LOWER),
    ];
    assert_eq!(of(MACHINE_READABLE), want(&readable));
    let other = "{\"metrics\": {\"vus\": {\"value\": 1}}}";
    assert!(read(other, None, None).unwrap_err().contains("no metric of requests"));
    assert!(read("{\"metrics\": {\"x\": 1}}", None, None).unwrap_err().contains("x: no metric of k6"));
    assert!(read("{\"a\": 1}", Some(Format::K6), None).unwrap_err().contains("no `metrics`"));
}

/// What hyperfine 1.15 writes; 1.20 has `memory_usage_byte` besides.
fn one_command(name: &str, codes: &str, more: &str) -> String {
    format!(
        "{{\"command\": \"{name}\", \"mean\": 0.0122, \"stddev\": null, \"median\": 0.0119, \"user\": 0.001, \
         \"system\": 0.0005, \"min\": 0.0115, \"max\": 0.0134, \"times\": [0.0134, 0.0115], \"exit_codes\": [{codes}]{more}}}"
    )
}

#[test]
fn hyperfine_s_results_are_read_of_one_command_at_a_time() {
    let file = |results: &[String]| format!("{{\"results\": [{}]}}", results.join(","));
    let alone = file(&[one_command("sleep", "0, 0", "")]);
    let times =
        [("median_seconds", 0.0119, LOWER), ("min_seconds", 0.0115, LOWER), ("cpu_seconds", 0.0015, LOWER)];
    assert_eq!(of(&alone), [&want(&times)[..], &want(&[("failed_ratio", 0.0, LOWER)])].concat());
    let more = file(&[one_command("sleep", "0, 1, null, 0", ", \"memory_usage_byte\": [4096, 8192]")]);
    let besides = [("memory_peak_bytes", 8192.0, LOWER), ("failed_ratio", 0.5, LOWER)];
    assert_eq!(of(&more)[3..], want(&besides));
    let both = file(&[one_command("first", "0", ""), one_command("second", "1", "")]);
    let said = read(&both, None, None).unwrap_err();
    assert!(said.contains("--result") && said.contains("2: second"), "{said}");
    assert_eq!(read(&both, None, Some(2)).unwrap()[3], Found::new("failed_ratio", 1.0, LOWER));
    for wrong in [0, 3] {
        assert!(read(&both, None, Some(wrong)).unwrap_err().contains("1: first"));
    }
    assert!(read(&file(&[]), None, None).unwrap_err().contains("no results"));
    assert!(read("{\"results\": [{\"command\": \"x\"}]}", None, None).unwrap_err().contains("hyperfine"));
    assert!(read("{\"a\": 1}", None, Some(1)).unwrap_err().contains("--result"));
}

#[test]
fn hyperfine_2_s_results_are_read() {
    let once = |wall: f64, code: &str| {
        let of = |value: f64, unit: &str| format!("{{\"value\": {value}, \"unit\": \"{unit}\"}}");
        format!(
            "{{\"time_wall_clock\": {}, \"time_cpu\": {}, \"time_user\": {}, \"time_system\": {}, \
             \"memory_peak_resident\": {}, \"exit_code\": {code}}}",
            of(wall, "second"),
            of(0.5, "second"),
            of(250.0, "millisecond"),
            of(0.25, "second"),
            of(wall * 1000.0, "byte"),
        )
    };
    let runs = [once(1.0, "0"), once(4.0, "null"), once(2.0, "0"), once(3.0, "0")].join(",");
    let file = format!(
        "{{\"schema_version\": 2, \"results\": [{{\"command\": \"sleep 1\", \"name\": \"one\", \"measurements\": [{runs}]}}]}}"
    );
    let all = [
        ("median_seconds", 2.5, LOWER),
        ("min_seconds", 1.0, LOWER),
        ("cpu_seconds", 0.5, LOWER),
        ("memory_peak_bytes", 4000.0, LOWER),
        ("failed_ratio", 0.25, LOWER),
    ];
    assert_eq!(of(&file), want(&all));
}

#[test]
fn criterion_s_estimates_are_nanoseconds() {
    let estimate = |value: f64| {
        format!(
            "{{\"confidence_interval\": {{\"confidence_level\": 0.95, \"lower_bound\": 1.0, \"upper_bound\": 2.0}}, \
             \"point_estimate\": {value}, \"standard_error\": 0.1}}"
        )
    };
    let new = format!(
        "{{\"mean\": {0}, \"median\": {1}, \"median_abs_dev\": {0}, \"slope\": null, \"std_dev\": {0}}}",
        estimate(1500.0),
        estimate(1000.0)
    );
    assert_eq!(of(&new), want(&[("mean_seconds", 1.5e-6, LOWER), ("median_seconds", 1e-6, LOWER)]));
    let change = format!("{{\"mean\": {0}, \"median\": {0}}}", estimate(-0.02));
    assert!(read(&change, None, None).unwrap_err().contains("new/estimates.json"));
}

#[test]
fn a_plain_object_is_taken_as_it_is_and_what_is_wrong_is_named() {
    assert_eq!(
        of("{\"p95_seconds\": 0.2, \"score\": 7}"),
        want(&[("p95_seconds", 0.2, None), ("score", 7.0, None)])
    );
    for (text, why) in [
        ("{\"a\": {\"b\": 1}}", "a: an object is no number"),
        ("{\"a\": \"1\"}", "a: \"1\" is no number"),
        ("{\"a b\": 1}", "\"a b\" cannot be taken"),
        ("{\"a\": -1}", "a: -1 is no measure"),
        ("[1]", "no JSON object"),
        ("{\"a\": 1", "no JSON: EOF"),
        ("", "no JSON"),
    ] {
        let said = read(text, None, None).unwrap_err();
        assert!(said.contains(why), "{text}: {said}");
    }
}
