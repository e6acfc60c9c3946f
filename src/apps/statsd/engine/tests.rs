//! Tests of what datagrams become in the store.

use super::*;
use crate::apps::limits::Limits;
use crate::encode::text::TextEncoder;
use prometheus::Registry;

struct Rig {
    engine: Engine,
    store: Store,
    now: Instant,
}

impl Rig {
    fn new(mapping: &str, change: impl FnOnce(&mut Options)) -> Self {
        let mut options =
            Options { mapping: Arc::new(Mapping::parse(mapping).unwrap()), ..Options::default() };
        change(&mut options);
        let stale_after = Duration::from_mins(5);
        let now = Instant::now();
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let engine = Engine::new(&options, stale_after, metrics);
        Self { engine, store: Store::new(Limits::default(), stale_after, now), now }
    }

    fn send(&mut self, packet: &str) {
        self.engine.packet(packet.as_bytes(), &mut self.store, self.now);
        self.engine.flush(&mut self.store, self.now);
    }

    fn later(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.engine.tick(&mut self.store, self.now);
        }
    }

    /// The samples that are not the store's own, without `job`.
    fn shown(&mut self) -> Vec<String> {
        let mut out = TextEncoder::default();
        self.store.write(self.now, &mut out);
        let page = String::from_utf8(out.page().to_vec()).unwrap();
        let page = page.replace("job=\"statsd\",", "").replace("{job=\"statsd\"}", "");
        page.lines()
            .filter(|l| !l.starts_with('#') && !l.starts_with("headroom_"))
            .map(str::to_owned)
            .collect()
    }

    fn refused(&self) -> Vec<(String, f64)> {
        let family = prometheus::core::Collector::collect(&self.engine.metrics.refused()).remove(0);
        let one = |m: &prometheus::proto::Metric| {
            (m.get_label()[0].value().to_owned(), m.get_counter().get_value())
        };
        let mut all: Vec<_> = family.get_metric().iter().map(one).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

#[test]
fn counters_add_gauges_are_set_and_moved_and_sampled_ones_count_more() {
    let mut rig = Rig::new("", |_| ());
    rig.send(
        "hits.all:1|c\nhits.all:2|c|@0.1\nfree:5|g\nfree:-2|g\nfree:+0.5|g\nlow:-3|g\ntagged:1|c|#b:2,a:1\n",
    );
    assert_eq!(rig.shown(), ["free 3.5", "hits_all 21", "low -3", "tagged{b=\"2\",a=\"1\"} 1"]);
    rig.send("tagged:1|c|#a:1,b:2\nfree:7|g");
    assert_eq!(rig.shown()[..1], ["free 7"]);
    assert_eq!(rig.shown()[3..], ["tagged{b=\"2\",a=\"1\"} 2"], "the order of tags is nothing");
}

#[test]
fn bad_lines_are_counted_and_harm_no_others() {
    let mut rig = Rig::new("mappings: [{match: 'e.*', name: '$1'}]", |_| ());
    rig.send("a:1|c\nb\nc:x|c\n\nd:-1|c\ne.:1|c\na:1|c");
    assert_eq!(rig.shown(), ["a 2"]);
    let want = [
        ("empty_metric_name", 1.0),
        ("illegal_negative_counter", 1.0),
        ("malformed_line", 1.0),
        ("malformed_value", 1.0),
    ];
    assert_eq!(rig.refused(), want.map(|(reason, count)| (reason.to_owned(), count)));
    // Another kind under the same name is the store's to refuse: an application has one.
    rig.send("a:1|g\na:3|ms");
    assert_eq!(rig.shown(), ["a 2"]);
    let long = format!("a:1|c\n{}", "b".repeat(70_000));
    rig.send(&long);
    assert_eq!(rig.shown(), ["a 3"], "the line that may be cut is left out");
}

#[test]
fn times_are_summaries_or_histograms_by_mapping() {
    let file = "mappings:\n- {match: h.*, name: h, labels: {which: $1}, observer_type: histogram, histogram_options: {buckets: [0.1, 1]}}\n\
                - {match: s, name: s_seconds, summary_options: {quantiles: [{quantile: 0.5, error: 0.01}]}, scale: 1000}\n";
    let mut rig = Rig::new(file, |_| ());
    rig.send("h.a:50|ms|@0.5\nh.a:2|h\ns:10:20:30|ms\n");
    assert_eq!(
        rig.shown(),
        [
            "h_bucket{which=\"a\",le=\"0.1\"} 2",
            "h_bucket{which=\"a\",le=\"1\"} 2",
            "h_bucket{which=\"a\",le=\"+Inf\"} 3",
            "h_sum{which=\"a\"} 2.1",
            "h_count{which=\"a\"} 3",
            "s_seconds{quantile=\"0.5\"} 20",
            "s_seconds_sum 60",
            "s_seconds_count 3",
        ]
    );
}

#[test]
fn labels_of_the_mapping_count_unless_those_that_came_are_honoured() {
    let file = "mappings:\n- {match: a.*, name: a, labels: {x: mapped, y: $1}}\n- {match: b, name: b, labels: {x: mapped}, honor_labels: true}\n\
                - {match: no.*, name: no, action: drop}\n";
    let mut rig = Rig::new(file, |_| ());
    rig.send("a.1:1|c|#x:sent,z:z\nb:1|c|#x:sent\nno.1:1|c");
    assert_eq!(rig.shown(), ["a{x=\"mapped\",z=\"z\",y=\"1\"} 1", "b{x=\"sent\"} 1"]);
    assert_eq!(rig.engine.metrics.dropped.get(), 1);
}

#[test]
fn sets_show_how_many_there_were_in_the_last_interval() {
    let mut rig = Rig::new("", |_| ());
    rig.later(1);
    rig.send("users:ann|s\nusers:bob|s\nusers:ann|s|#t:1\nusers:ann|s");
    assert!(rig.shown().is_empty());
    rig.later(10);
    assert_eq!(rig.shown(), ["users 2", "users{t=\"1\"} 1"]);
    rig.send("users:cid|s");
    rig.later(10);
    assert_eq!(rig.shown(), ["users 1", "users{t=\"1\"} 0"]);
    rig.later(301);
    assert!(rig.shown().is_empty() && rig.engine.kept.is_empty());
}

#[test]
fn a_series_lives_as_long_as_its_mapping_says() {
    let file = "mappings:\n- {match: short, name: short, ttl: 10s}\n- {match: long, name: long, ttl: 1h}\n\
                - {match: seen, name: seen, ttl: 1h, observer_type: histogram}\n";
    let mut rig = Rig::new(file, |_| ());
    rig.send("short:1|c\nlong:1|g\nseen:1|h\nplain:1|c\ntimed:1|ms");
    rig.later(11);
    assert!(!rig.shown().contains(&"short 1".to_owned()));
    assert!(rig.shown().contains(&"plain 1".to_owned()));
    rig.later(300);
    let shown = rig.shown();
    assert!(shown.contains(&"long 1".to_owned()) && shown.contains(&"seen_count 1".to_owned()), "{shown:?}");
    assert!(!shown.iter().any(|line| line.starts_with("plain") || line.starts_with("timed")), "{shown:?}");
    rig.later(3400);
    assert!(rig.shown().is_empty());
    assert_eq!(rig.engine.kept.bytes(), 0);
}

#[test]
fn what_is_kept_has_a_limit_and_what_is_over_is_counted() {
    let mut rig = Rig::new("", |options| options.memory = bytesize::ByteSize::kib(8));
    for i in 0..100 {
        rig.send(&format!("t{i}:1|ms\nc:1|c"));
    }
    let shown = rig.shown();
    assert!(shown.len() > 5 && shown.len() < 100, "{}", shown.len());
    assert_eq!(shown[0], "c 100");
    assert_eq!(rig.refused()[0].0, "memory");
    assert!(rig.engine.kept.bytes() <= 9 << 10, "{}", rig.engine.kept.bytes());
    for i in 0..10_000 {
        rig.send(&format!("t0:{i}|ms"));
    }
    assert!(rig.engine.kept.bytes() <= 32 << 10, "{}", rig.engine.kept.bytes());
}

#[test]
fn a_time_to_live_goes_with_the_rule_that_gave_it() {
    let file = "mappings:\n- {match: a, name: x, ttl: 10s}\n- {match: b, name: x}\n- {match: c, name: y, ttl: 10s}\n";
    let mut rig = Rig::new(file, |_| ());
    rig.send("a:1|c\nc:5|g");
    rig.later(8);
    rig.send("b:1|c");
    // The same series without a time to live after a reload.
    let mapping = Arc::new(Mapping::parse("mappings: [{match: c, name: y}]").unwrap());
    rig.engine.replace(&Options { mapping, ..Options::default() }, Duration::from_mins(5));
    rig.send("c:6|g");
    assert!(rig.engine.kept.is_empty() && rig.engine.kept.bytes() == 0);
    for _ in 0..3 {
        rig.later(8);
        rig.send("c:+1|g");
    }
    assert_eq!(rig.shown(), ["x 2", "y 9"]);
    rig.later(301);
    assert!(rig.shown().is_empty());
}

#[test]
fn other_quantiles_are_taken_by_series_that_live() {
    let mapping = |quantile: &str| {
        let text = format!(
            "mappings: [{{match: t, name: t, summary_options: {{quantiles: [{{quantile: {quantile}, error: 0.01}}]}}}}]"
        );
        Arc::new(Mapping::parse(&text).unwrap())
    };
    let mut rig = Rig::new("", |options| options.mapping = mapping("0.5"));
    rig.send("t:1|h");
    let other = Options { mapping: mapping("0.9"), ..Options::default() };
    rig.engine.replace(&other, Duration::from_mins(5));
    rig.send("t:3|h");
    assert_eq!(rig.shown(), ["t{quantile=\"0.9\"} 3", "t_sum 4", "t_count 2"]);
    rig.send("t:1|h");
    rig.engine.replace(&other, Duration::from_mins(5));
    rig.send("t:2|h");
    assert_eq!(
        rig.shown(),
        ["t{quantile=\"0.9\"} 3", "t_sum 7", "t_count 4"],
        "the same options change nothing"
    );
}

#[test]
fn a_store_that_refuses_the_application_is_not_asked_again_at_once() {
    let mut rig = Rig::new("", |_| ());
    rig.engine.packet(b"t:1|h", &mut rig.store, rig.now);
    let none = Limits { applications: 0, ..Limits::default() };
    rig.store = Store::new(none, Duration::from_mins(5), rig.now);
    rig.engine.flush(&mut rig.store, rig.now);
    assert_eq!(rig.engine.flush_at(rig.now), Some(rig.now + FLUSH_EVERY));
}

#[test]
fn a_set_takes_the_place_of_a_gauge_with_a_time_to_live() {
    let mut rig = Rig::new("mappings: [{match: x, name: x, ttl: 1h}]", |_| ());
    rig.later(1);
    rig.send("x:5|g\nx:ann|s\nx:bob|s");
    assert_eq!(rig.shown(), ["x 5"]);
    rig.later(10);
    assert_eq!(rig.shown(), ["x 2"]);
    rig.later(3700);
    assert_eq!((rig.engine.kept.bytes(), rig.engine.kept.has_numbers()), (0, false));
}
