//! Requests as JSON, since people can read it: what each becomes on the page.

use super::*;
use crate::apps::Options;
use crate::apps::limits::Limits;
use crate::apps::otlp::json;
use crate::collect::applications::Shown;
use crate::encode::Encoder;
use crate::encode::openmetrics::OpenMetricsEncoder;
use crate::encode::text::TextEncoder;

const WALL: u64 = 1_700_000_000_000_000_000;

struct Bench(Applications);

impl Bench {
    fn new(limits: Limits) -> Self {
        Self(Applications::new(&Options { limits, ..Options::default() }))
    }

    /// A request with these metrics of one application.
    fn send(&self, metrics: &str) -> Outcome {
        let json = format!(
            r#"{{"resourceMetrics":[{{"resource":{{"attributes":[
            {{"key":"service.name","value":{{"stringValue":"shop"}}}},{{"key":"host.arch","value":{{"stringValue":"x86"}}}}]}},
            "scopeMetrics":[{{"scope":{{"name":"lib","version":"1"}},"metrics":[{metrics}]}}]}}]}}"#
        );
        let request = json::request(json.as_bytes(), 1 << 20).unwrap();
        let arrival = Arrival { now: Instant::now(), wall_nanos: WALL };
        receive(&self.0, Names::Underscores, &request, arrival).unwrap()
    }

    fn page(&self, mut out: impl Encoder) -> String {
        self.0.write(&mut out);
        String::from_utf8(out.finish().clone()).unwrap()
    }

    /// The samples of the application, without the labels that all have.
    fn samples(&self) -> Vec<String> {
        let page = self
            .page(TextEncoder::default())
            .replace("job=\"shop\",otel_scope_name=\"lib\",otel_scope_version=\"1\"", "");
        let own = |line: &&str| !line.starts_with('#') && !line.starts_with("headroom_");
        page.lines().filter(own).map(|l| l.replace("{,", "{").replace("{}", "")).collect()
    }
}

fn sum(temporality: u8, is_monotonic: bool, points: &str) -> String {
    format!(
        r#"{{"name":"a.count","unit":"By","sum":{{"aggregationTemporality":{temporality},"isMonotonic":{is_monotonic},"dataPoints":[{points}]}}}}"#
    )
}

#[test]
fn numbers_of_every_kind_are_on_the_page() {
    let bench = Bench::new(Limits::default());
    let gauge = r#"{"name":"g","description":"What g is.","unit":"1","gauge":{"dataPoints":[
        {"asInt":"-5","attributes":[{"key":"http.method","value":{"stringValue":"GET"}}]},{"asDouble":"NaN"}]}}"#;
    assert_eq!(bench.send(&format!("{},{gauge}", sum(2, true, r#"{"asInt":"7"}"#))).taken, 3);
    let page = bench.page(TextEncoder::default());
    assert!(page.contains("# HELP g_ratio What g is.\n# TYPE g_ratio gauge\n"), "{page}");
    assert!(page.contains("# TYPE a_count_bytes_total counter\n"), "{page}");
    let want = ["a_count_bytes_total 7", "g_ratio NaN", "g_ratio{http_method=\"GET\"} -5"];
    let samples = bench.samples();
    assert!(want.iter().all(|line| samples.iter().any(|l| l == line)), "{samples:?}");
    assert!(samples.iter().any(|l| l == "target_info{job=\"shop\",host_arch=\"x86\"} 1"), "{samples:?}");
}

#[test]
fn deltas_add_up_and_what_also_falls_is_a_gauge() {
    let bench = Bench::new(Limits::default());
    let delta = |start: u64, value: i64| {
        let (start, end) = (WALL + start, WALL + start + 10);
        format!(r#"{{"asInt":"{value}","startTimeUnixNano":"{start}","timeUnixNano":"{end}"}}"#)
    };
    assert_eq!(bench.send(&sum(1, true, &delta(0, 3))).rejected(), 0);
    assert_eq!(bench.send(&sum(1, true, &delta(10, 4))).rejected(), 0);
    // A request that came twice.
    assert_eq!(bench.send(&sum(1, true, &delta(10, 4))).refused, [(Refusal::Old, 1)].into());
    assert_eq!(bench.send(&sum(1, true, &delta(20, -4))).refused, [(Refusal::Number, 1)].into());
    assert_eq!(bench.samples()[0], "a_count_bytes_total 7");
    assert_eq!(bench.send(&sum(0, true, &delta(30, 1))).refused, [(Refusal::Temporality, 1)].into());
    // The same name as a gauge is another name, since it has no `_total`.
    bench.send(&sum(1, false, &delta(0, 5)));
    bench.send(&sum(1, false, &delta(10, -7)));
    assert_eq!(bench.samples()[0], "a_count_bytes -2");
}

#[test]
fn a_value_that_is_no_longer_recorded_disappears_and_a_new_start_is_a_new_count() {
    let bench = Bench::new(Limits::default());
    bench.send(&sum(2, true, r#"{"asInt":"7","startTimeUnixNano":"5","timeUnixNano":"10"}"#));
    bench.send(&sum(2, true, r#"{"asInt":"2","startTimeUnixNano":"11","timeUnixNano":"12"}"#));
    assert_eq!(bench.samples()[0], "a_count_bytes_total 2");
    assert_eq!(bench.send(&sum(2, true, r#"{"flags":1,"timeUnixNano":"13"}"#)).rejected(), 0);
    assert_eq!(bench.samples().len(), 1, "{:?}", bench.samples());
}

const HISTOGRAM: &str = r#"{"name":"d","unit":"s","histogram":{"aggregationTemporality":2,"dataPoints":[{"count":"6",
    "sum":7.5,"bucketCounts":["1","2","3"],"explicitBounds":[0.5,1],"exemplars":[{"asDouble":0.75,
    "timeUnixNano":"1700000000123456789","traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708"}]}]}}"#;

#[test]
fn histograms_have_cumulative_buckets_and_exemplars_where_the_format_has_them() {
    let bench = Bench::new(Limits::default());
    assert_eq!(bench.send(HISTOGRAM).taken, 1);
    let want = [
        "d_seconds_bucket{le=\"0.5\"} 1",
        "d_seconds_bucket{le=\"1\"} 3",
        "d_seconds_bucket{le=\"+Inf\"} 6",
        "d_seconds_sum 7.5",
        "d_seconds_count 6",
    ];
    assert_eq!(bench.samples()[..5], want);
    let page = bench.page(OpenMetricsEncoder::default());
    let exemplar = "le=\"1.0\"} 3 # {trace_id=\"0102030405060708090a0b0c0d0e0f10\",span_id=\"0102030405060708\"} 0.75 1700000000.123\n";
    let other = "le=\"1.0\"} 3 # {span_id=\"0102030405060708\",trace_id=\"0102030405060708090a0b0c0d0e0f10\"} 0.75 1700000000.123\n";
    assert!(page.contains(exemplar) || page.contains(other), "{page}");
    for (bad, why) in [
        (HISTOGRAM.replace("\"3\"]", "\"4\"]"), Refusal::Buckets),
        (HISTOGRAM.replace("[0.5,1]", "[1,0.5]"), Refusal::Buckets),
        (HISTOGRAM.replace("[0.5,1]", "[1]"), Refusal::Buckets),
    ] {
        assert_eq!(bench.send(&bad).refused, [(why, 1)].into(), "{bad}");
    }
}

#[test]
fn exponential_histograms_have_bounds_in_text_and_become_coarser_where_they_must() {
    let bench = Bench::new(Limits::default());
    let exponential = |scale: i32| {
        format!(
            r#"{{"name":"e","exponentialHistogram":{{"aggregationTemporality":1,"dataPoints":[{{"count":4,"sum":9,"scale":{scale},
            "zeroCount":1,"positive":{{"offset":0,"bucketCounts":[1,2]}}}}]}}}}"#
        )
    };
    assert_eq!(bench.send(&exponential(0)).taken, 1);
    assert_eq!(bench.send(&exponential(0)).taken, 1);
    let want =
        ["e_bucket{le=\"0\"} 2", "e_bucket{le=\"2\"} 4", "e_bucket{le=\"4\"} 8", "e_bucket{le=\"+Inf\"} 8"];
    assert_eq!(bench.samples()[..4], want);
    assert_eq!(bench.send(&exponential(20)).taken, 1);
    // What SDKs send for one value of 100, and for the smallest and the largest that there are.
    for offset in [6_966_588, -1_126_170_625, 1_073_741_823] {
        let metric = exponential(20).replace("\"offset\":0", &format!("\"offset\":{offset}"));
        assert_eq!(bench.send(&metric).taken, 1, "{offset}");
    }
    assert_eq!(bench.send(&exponential(-5)).refused, [(Refusal::Buckets, 1)].into());
    assert_eq!(bench.send(&exponential(i32::MAX)).refused, [(Refusal::Buckets, 1)].into());
}

#[test]
fn summaries_have_quantiles() {
    let bench = Bench::new(Limits::default());
    let summary = r#"{"name":"s","summary":{"dataPoints":[{"count":"2","sum":3,"quantileValues":[
        {"quantile":0.99,"value":2.5},{"quantile":0.5,"value":1}]}]}}"#;
    assert_eq!(bench.send(summary).taken, 1);
    let want = ["s{quantile=\"0.5\"} 1", "s{quantile=\"0.99\"} 2.5", "s_sum 3", "s_count 2"];
    assert_eq!(bench.samples()[..4], want);
}

#[test]
fn what_is_over_a_limit_is_told_by_number_and_reason() {
    let bench = Bench::new(Limits { applications: 1, series_per_application: 3, ..Limits::default() });
    let points: Vec<_> = (0..10)
        .map(|i| format!(r#"{{"asInt":1,"attributes":[{{"key":"i","value":{{"intValue":{i}}}}}]}}"#))
        .collect();
    let outcome = bench.send(&sum(2, true, &points.join(",")));
    assert_eq!((outcome.taken, outcome.rejected()), (3, 7));
    assert!(outcome.to_string().starts_with("7 not taken: the application has too many series"), "{outcome}");
    let request = json::request(
        br#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"x","gauge":{"dataPoints":[{},{}]}}]}]}]}"#,
        1000,
    );
    let arrival = Arrival { now: Instant::now(), wall_nanos: WALL };
    let outcome = receive(&bench.0, Names::Utf8, &request.unwrap(), arrival).unwrap();
    assert_eq!(outcome.refused, [(Refusal::Applications, 2)].into());
}

#[test]
fn what_is_no_request_leaves_nothing_behind() {
    let bench = Bench::new(Limits::default());
    let good = json::request(
        br#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"x","gauge":{"dataPoints":[{"asInt":1}]}}]}]}]}"#,
        1000,
    )
    .unwrap();
    let arrival = Arrival { now: Instant::now(), wall_nanos: WALL };
    for end in 1..good.len() {
        assert_eq!(receive(&bench.0, Names::Utf8, &good[..end], arrival), Err(Malformed), "{end}");
    }
    let name = good.iter().position(|byte| *byte == b'x').unwrap();
    let mut bad = good.clone();
    bad[name] = 0xff;
    assert_eq!(receive(&bench.0, Names::Utf8, &bad, arrival), Err(Malformed));
    assert!(bench.samples().is_empty());
    assert_eq!(receive(&bench.0, Names::Utf8, &good, arrival).unwrap().taken, 1);
}
