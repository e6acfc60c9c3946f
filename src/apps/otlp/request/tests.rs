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
    // A threshold that lies among the buckets does not make counts fall from one bound to the next.
    let within = exponential(0).replace("\"name\":\"e\"", "\"name\":\"within\"");
    let within = within.replace("\"zeroCount\":1", "\"zeroCount\":1,\"zeroThreshold\":1.5");
    assert_eq!(bench.send(&within).taken, 1);
    let samples = bench.samples();
    let at = samples.iter().position(|line| line.starts_with("within_bucket")).unwrap();
    assert_eq!(
        samples[at..at + 3],
        ["within_bucket{le=\"2\"} 2", "within_bucket{le=\"4\"} 4", "within_bucket{le=\"+Inf\"} 4"]
    );
    assert_eq!(bench.send(&exponential(0).replace("\"offset\":0", "\"offset\":2000")).refused.len(), 1);
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

/// A request of one application as bytes: these messages in its one scope, and these points in its one gauge.
fn of_points(scope: &[u8], points: &[u8]) -> Vec<u8> {
    use super::super::wire::put_bytes;
    let (mut metric, mut metrics, mut request) = (Vec::new(), Vec::new(), Vec::new());
    put_bytes(&mut metric, 1, b"g");
    put_bytes(&mut metric, 5, points);
    put_bytes(&mut metrics, 1, scope);
    put_bytes(&mut metrics, 2, &metric);
    let mut resource = Vec::new();
    put_bytes(&mut resource, 2, &metrics);
    put_bytes(&mut request, 1, &resource);
    request
}

/// This field with these bytes, so often.
fn fields(number: u32, content: &[u8], count: usize) -> Vec<u8> {
    let mut one = Vec::new();
    super::super::wire::put_bytes(&mut one, number, content);
    one.repeat(count)
}

#[test]
fn what_has_too_many_attributes_is_not_read_to_their_end() {
    let bench = Bench::new(Limits::default());
    let arrival = Arrival { now: Instant::now(), wall_nanos: WALL };
    let receive = |scope: &[u8], points: &[u8]| {
        receive(&bench.0, Names::Underscores, &of_points(scope, points), arrival).unwrap().refused
    };
    // A key and a value of one letter each.
    let pair = [fields(1, b"k", 1), fields(2, &fields(1, b"v", 1), 1)].concat();
    assert_eq!(receive(&fields(3, &pair, 41), &fields(1, &[], 7)), [(Refusal::Labels, 7)].into());
    assert_eq!(receive(&fields(3, &pair, 40), &fields(1, &[], 7)), [(Refusal::Malformed, 7)].into());
    assert_eq!(receive(&[], &fields(1, &fields(7, &pair, 41), 2)), [(Refusal::Labels, 2)].into());
    // What has no value is no label, and costs no more than its bytes.
    assert_eq!(receive(&fields(3, &[], 9000), &fields(1, &[], 9000)), [(Refusal::Malformed, 9000)].into());
    assert_eq!(receive(&[], &fields(1, &fields(7, &[], 9000), 2)), [(Refusal::Malformed, 2)].into());
    // Names of a scope that come again and again are one.
    let value = [&[0x31][..], &7_u64.to_le_bytes()].concat();
    assert!(receive(&fields(1, b"lib", 9000), &fields(1, &value, 1)).is_empty());
}

#[test]
fn a_page_does_not_wait_for_a_whole_request() {
    const POINTS: usize = 20_000;
    let points: Vec<u8> = (0..POINTS)
        .flat_map(|i| {
            let value = fields(2, &fields(1, i.to_string().as_bytes(), 1), 1);
            let attribute = [fields(1, b"id", 1), value].concat();
            let point = [&[0x31][..], &7_u64.to_le_bytes(), &fields(7, &attribute, 1)].concat();
            fields(1, &point, 1)
        })
        .collect();
    let request = of_points(&[], &points);
    // Whether the other thread gets a processor meanwhile is not for us to say: it has many tries.
    let seen = (0..200).any(|_| {
        let bench = Bench::new(Limits::default());
        let applications = bench.0.clone();
        let page = std::thread::spawn(move || {
            loop {
                let series = applications.lock().totals().series;
                if series > 0 {
                    return series;
                }
            }
        });
        let arrival = Arrival { now: Instant::now(), wall_nanos: WALL };
        assert_eq!(receive(&bench.0, Names::Underscores, &request, arrival).unwrap().taken, POINTS as u64);
        page.join().unwrap() < POINTS
    });
    assert!(seen, "the store was never left to anybody before the request was over");
}

#[test]
fn a_resource_with_too_many_attributes_has_no_target_info_and_the_answer_says_so() {
    let bench = Bench::new(Limits { labels: 2, ..Limits::default() });
    let gauge = r#"{"name":"g","gauge":{"dataPoints":[{"asInt":1}]}}"#;
    let outcome = bench.send(gauge);
    assert!(outcome.is_whole(), "{outcome}");
    let attributes: Vec<String> =
        (0..3).map(|i| format!(r#"{{"key":"k{i}","value":{{"stringValue":"v"}}}}"#)).collect();
    let json = format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{}]}},"scopeMetrics":[{{"metrics":[{gauge}]}}]}}]}}"#,
        attributes.join(",")
    );
    let request = json::request(json.as_bytes(), 1 << 20).unwrap();
    let arrival = Arrival { now: Instant::now(), wall_nanos: WALL };
    let outcome = receive(&bench.0, Names::Underscores, &request, arrival).unwrap();
    assert_eq!((outcome.taken, outcome.rejected()), (1, 0));
    assert_eq!(outcome.unshown, [(Refusal::Labels, 1)].into());
}

#[test]
fn a_sum_that_is_not_known_is_left_out_and_costs_no_count() {
    let bench = Bench::new(Limits::default());
    let delta = |from: u64, sum: &str| {
        let (start, end) = (WALL + from, WALL + from + 10);
        let point = format!(r#""startTimeUnixNano":"{start}","timeUnixNano":"{end}","count":"3"{sum}"#);
        let kind = r#""aggregationTemporality":1,"dataPoints""#;
        [
            format!(r#"{{"name":"c","histogram":{{{kind}:[{{{point},"bucketCounts":["1","2"],"explicitBounds":[1]}}]}}}}"#),
            format!(r#"{{"name":"e","exponentialHistogram":{{{kind}:[{{{point},"positive":{{"bucketCounts":[3]}}}}]}}}}"#),
        ]
        .join(",")
    };
    let lines = || -> Vec<String> {
        let end = |line: &&String| line.contains("_sum") || line.contains("_count");
        bench.samples().iter().filter(end).cloned().collect()
    };
    assert_eq!(bench.send(&delta(0, r#","sum":4"#)).taken, 2);
    assert_eq!(bench.send(&delta(10, r#","sum":1"#)).taken, 2);
    assert_eq!(lines(), ["c_sum 5", "c_count 6", "e_sum 5", "e_count 6"]);
    // One observation that is no number, and then others.
    assert_eq!(bench.send(&delta(20, r#","sum":"NaN""#)).taken, 2);
    assert_eq!(bench.send(&delta(30, r#","sum":1"#)).taken, 2);
    assert_eq!(lines(), ["c_count 12", "e_count 12"]);
    // One that never says it: temperatures, for example, which are below zero as well.
    let bench = Bench::new(Limits::default());
    for from in [0, 10] {
        assert_eq!(bench.send(&delta(from, "")).taken, 2);
    }
    let samples = bench.samples();
    assert!(samples.contains(&"c_count 6".to_owned()) && !samples.iter().any(|l| l.contains("_sum")));
    assert!(bench.send(&HISTOGRAM.replace("\"sum\":7.5,", "")).taken == 1);
    assert!(!bench.samples().iter().any(|line| line.starts_with("d_seconds_sum")));
}
