//! The store's limits, what becomes stale, and what is on the page.

use super::*;
use crate::encode::Encoder;
use crate::encode::name::Scheme;
use crate::encode::text::TextEncoder;
use crate::metric::{Desc, Exponential, Histogram, Run};
use bytesize::ByteSize;
use proptest::prelude::*;

const STALE: Duration = Duration::from_mins(5);

struct Bench {
    store: Store,
    now: Instant,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let now = Instant::now();
        Self { store: Store::new(limits, STALE, now), now }
    }

    fn sender(&mut self, job: &str) -> Sender {
        let application = self.store.application(job, "i", self.now).unwrap();
        Sender { application, input: Input::Otlp, now: self.now, wall_nanos: 0 }
    }

    fn put(&mut self, job: &str, name: &str, kind: Kind, point: &Point<'_>) -> Result<(), Refusal> {
        let sender = self.sender(job);
        self.store.put(&sender, &About { name, help: "H.", kind }, point)
    }

    fn gauge(&mut self, job: &str, name: &str, labels: &Labels<'_>, value: f64) -> Result<(), Refusal> {
        self.put(job, name, Kind::Gauge, &Point::new(labels, Value::F64(value)))
    }

    fn page_in(&mut self, scheme: Scheme) -> String {
        let mut out = TextEncoder::default();
        out.clear(scheme);
        self.store.write(self.now, &mut out);
        String::from_utf8(out.finish().clone()).unwrap()
    }

    /// The samples of the page, without those of the store itself.
    fn page(&mut self) -> String {
        let page = self.page_in(Scheme::Underscores);
        let own = |line: &&str| !line.starts_with('#') && !line.starts_with("headroom_apps_");
        page.lines().filter(own).fold(String::new(), |all, line| all + line + "\n")
    }
}

#[test]
fn series_of_several_applications_are_one_family() {
    let mut bench = Bench::new(Limits::default());
    bench.gauge("b", "x", &[("l", "1")], 1.0).unwrap();
    bench.gauge("a", "x", &[("m", "2"), ("l", "")], 2.0).unwrap();
    bench.gauge("b", "x", &[("l", "1")], 3.0).unwrap();
    let page = bench.page_in(Scheme::Underscores);
    assert_eq!(page.matches("# TYPE x gauge\n").count(), 1, "{page}");
    assert_eq!(
        bench.page(),
        "x{job=\"b\",instance=\"i\",l=\"1\"} 3\nx{job=\"a\",instance=\"i\",m=\"2\"} 2\n"
    );
    assert_eq!(bench.put("a", "x", Kind::Counter, &Point::new(&[], Value::U64(1))), Err(Refusal::Kind));
    assert!(page.contains("headroom_apps_points_total{input=\"otlp\"} 3\n"), "{page}");
    let page = bench.page_in(Scheme::Underscores);
    assert!(
        page.contains("headroom_apps_points_refused_total{input=\"otlp\",reason=\"kind\"} 1\n"),
        "{page}"
    );
}

#[test]
fn what_is_no_longer_sent_disappears_and_gives_back_its_room() {
    let mut bench = Bench::new(Limits { series: 2, ..Limits::default() });
    bench.gauge("a", "x", &[("l", "1")], 1.0).unwrap();
    bench.gauge("b", "y", &[], 1.0).unwrap();
    assert_eq!(bench.gauge("b", "z", &[], 1.0), Err(Refusal::Series));
    bench.now += STALE;
    bench.gauge("b", "y", &[], 2.0).unwrap();
    bench.now += Duration::from_secs(1);
    // Nobody asked for a page: room is made when it is wanted.
    bench.gauge("b", "z", &[], 3.0).unwrap();
    assert_eq!(bench.page(), "y{job=\"b\",instance=\"i\"} 2\nz{job=\"b\",instance=\"i\"} 3\n");
    bench.now += STALE + Duration::from_secs(1);
    assert_eq!(bench.page(), "");
    assert_eq!(bench.store.totals(), Totals::default());
    assert!(bench.page_in(Scheme::Underscores).contains("headroom_apps_series_expired_total 3\n"));
}

#[test]
fn each_limit_has_its_own_refusal_and_others_are_not_harmed() {
    let limits = Limits {
        applications: 2,
        series_per_application: 3,
        labels: 2,
        name_bytes: 5,
        value_bytes: 4,
        ..Limits::default()
    };
    let mut bench = Bench::new(limits);
    bench.gauge("good", "x", &[], 1.0).unwrap();
    for (name, labels, want) in [
        ("", &[][..], Refusal::Name),
        ("sixsix", &[], Refusal::Name),
        ("x", &[("sixsix", "1")], Refusal::Name),
        ("x", &[("", "1")], Refusal::Name),
        ("x", &[("__a", "1")], Refusal::Name),
        ("x", &[("..a", "1")], Refusal::Name),
        ("x", &[("a", "12345")], Refusal::LabelValue),
        ("x", &[("a", "1"), ("b", "1"), ("c", "1")], Refusal::Labels),
    ] {
        assert_eq!(bench.gauge("bad", name, labels, 1.0), Err(want), "{name} {labels:?}");
    }
    for i in 0..10 {
        let result = bench.gauge("bad", "x", &[("n", &i.to_string())], 1.0);
        assert_eq!(result, if i < 3 { Ok(()) } else { Err(Refusal::ApplicationSeries) });
    }
    assert_eq!(bench.store.application("more", "i", bench.now), Err(Refusal::Applications));
    bench.gauge("good", "y", &[], 1.0).unwrap();
    assert_eq!(bench.store.totals().applications, 2);
}

#[test]
fn names_that_readers_could_not_tell_apart_become_one_label_with_both_values() {
    let mut bench = Bench::new(Limits::default());
    for _ in 0..2 {
        bench.gauge("a", "x", &[("b_c", "2"), ("b.c", "1"), ("d.e", "3")], 1.0).unwrap();
        bench.gauge("a", "y", &[("b", "2"), ("b", "1"), ("job", "j")], 1.0).unwrap();
    }
    assert_eq!(
        bench.page(),
        "x{job=\"a\",instance=\"i\",b_c=\"1;2\",d_e=\"3\"} 1\n\
         y{job=\"a\",instance=\"i\",b=\"1;2\",exported_job=\"j\"} 1\n"
    );
    assert!(
        bench
            .page_in(Scheme::AllowUtf8)
            .contains("x{job=\"a\",instance=\"i\",b_c=\"1;2\",\"d.e\"=\"3\"} 1\n")
    );
    assert_eq!(bench.store.totals().series, 2);
    // What only another way of escaping would make the same.
    let both = [("b.c", "1"), ("b_dot_c", "2")];
    assert_eq!(bench.gauge("a", "x", &both, 1.0), Err(Refusal::Name));
    // The second of two families that are one for old readers is left out, there alone.
    bench.gauge("a", "z.z", &[], 1.0).unwrap();
    bench.gauge("a", "z_z", &[], 2.0).unwrap();
    let page = bench.page_in(Scheme::Underscores);
    assert!(page.contains("z_z{job=\"a\",instance=\"i\"} 1\n") && !page.contains("} 2\n"), "{page}");
    assert!(page.contains("headroom_apps_families_hidden 1\n"), "{page}");
    assert!(bench.page_in(Scheme::AllowUtf8).contains("headroom_apps_families_hidden 0\n"));
}

#[test]
fn a_family_that_another_collector_has_is_left_out() {
    let mut bench = Bench::new(Limits::default());
    let histogram = Histogram { buckets: vec![(1.0, 1)], sum: Some(1.0), count: 1 };
    bench.gauge("a", "taken", &[], 1.0).unwrap();
    bench.gauge("a", "h_count", &[], 1.0).unwrap();
    bench.put("a", "h", Kind::Histogram, &Point::new(&[], Value::Histogram(&histogram))).unwrap();
    bench.put("a", "node", Kind::Histogram, &Point::new(&[], Value::Histogram(&histogram))).unwrap();
    for later in ["headroom_apps_series", "headroom.build.info", "node_scrape_collector_success"] {
        bench.gauge("a", later, &[], 7.0).unwrap();
    }
    bench.gauge("a", "headroom_kit_held_bytes", &[], 7.0).unwrap();
    let mut out = TextEncoder::default();
    for name in ["taken", "node_sum"] {
        out.family(&Desc::gauge(name, "T.", &[]));
    }
    bench.store.write(bench.now, &mut out);
    let page = String::from_utf8(out.page().to_vec()).unwrap();
    assert!(
        page.contains("h_count{job=\"a\",instance=\"i\"} 1\n")
            && page.contains("headroom_apps_families_hidden 6\n")
    );
    let sevens: Vec<&str> = page.lines().filter(|line| line.ends_with("} 7")).collect();
    assert_eq!(sevens, ["headroom_kit_held_bytes{job=\"a\",instance=\"i\"} 7"]);
    assert_eq!(page.matches("# TYPE headroom_apps_series ").count(), 1, "{page}");
    assert!(!page.contains("taken{") && !page.contains("node_bucket{"), "{page}");
}

#[test]
fn nobody_takes_a_name_from_others_by_another_kind() {
    let mut bench = Bench::new(Limits::default());
    bench.put("first", "x", Kind::Counter, &Point::new(&[("a", "1")], Value::U64(1))).unwrap();
    bench.put("first", "x", Kind::Counter, &Point::new(&[("c", "1")], Value::U64(1))).unwrap();
    bench.gauge("second", "x", &[("b", "2"), ("a", "3")], 2.0).unwrap();
    assert_eq!(bench.gauge("first", "x", &[("z", "1")], 1.0), Err(Refusal::Kind), "one kind for each");
    let summary = crate::metric::Summary { count: 1, ..Default::default() };
    bench.put("third", "x", Kind::Summary, &Point::new(&[], Value::Summary(&summary))).unwrap();
    let page = bench.page_in(Scheme::Underscores);
    assert_eq!(page.matches("# TYPE x ").count(), 1, "{page}");
    for line in [
        "# TYPE x untyped",
        "x{job=\"first\",instance=\"i\",a=\"1\"} 1",
        "x{job=\"first\",instance=\"i\",c=\"1\"} 1",
        "x{job=\"second\",instance=\"i\",a=\"3\",b=\"2\"} 2",
        "headroom_apps_families_hidden 1",
    ] {
        assert!(page.lines().any(|l| l == line), "{line} is not in\n{page}");
    }
    assert!(!page.contains("third"), "what cannot be one with most of them is left out: {page}");
    assert!(bench.store.hides("x", Kind::Summary) && !bench.store.hides("x", Kind::Gauge));
    bench.now += STALE + Duration::from_secs(1);
    bench.gauge("first", "x", &[], 1.0).unwrap();
    assert!(bench.page_in(Scheme::Underscores).contains("# TYPE x gauge\n"), "nobody else has it any more");
}

#[test]
fn what_applications_say_of_their_processes_stands_with_this_ones() {
    let mut bench = Bench::new(Limits::default());
    let resident = Desc::gauge("process_resident_memory_bytes", "R.", &[]);
    bench.gauge("a", resident.name, &[("x", "y")], 5.0).unwrap();
    bench.put("b", resident.name, Kind::Untyped, &Point::new(&[], Value::F64(6.0))).unwrap();
    let mut out = TextEncoder::default();
    bench.store.write_with(bench.now, (&resident, Value::U64(7)), &mut out);
    bench.store.write_with(bench.now, (&Desc::gauge("process_open_fds", "O.", &[]), Value::U64(8)), &mut out);
    bench.store.write(bench.now, &mut out);
    let page = String::from_utf8(out.page().to_vec()).unwrap();
    let want = "# HELP process_resident_memory_bytes R.\n# TYPE process_resident_memory_bytes gauge\n\
        process_resident_memory_bytes 7\n\
        process_resident_memory_bytes{job=\"a\",instance=\"i\",x=\"y\"} 5\n\
        process_resident_memory_bytes{job=\"b\",instance=\"i\"} 6\n";
    assert!(page.starts_with(want), "{page}");
    assert!(page.contains("\nprocess_open_fds 8\n") && page.contains("families_hidden 0\n"), "{page}");
    assert_eq!(page.matches("process_resident_memory_bytes{").count(), 2, "{page}");
}

#[test]
fn a_gauge_and_a_counter_that_are_one_family_to_openmetrics_are_not_both_there() {
    use crate::encode::openmetrics::OpenMetricsEncoder;
    let mut bench = Bench::new(Limits::default());
    bench.gauge("a", "q", &[], 1.0).unwrap();
    bench.put("a", "q_total", Kind::Counter, &Point::new(&[], Value::U64(2))).unwrap();
    assert_eq!(bench.page().lines().count(), 2);
    let mut out = OpenMetricsEncoder::default();
    bench.store.write(bench.now, &mut out);
    let page = String::from_utf8(out.finish().clone()).unwrap();
    assert_eq!(page.matches("# TYPE q ").count(), 1, "{page}");
    assert!(page.contains("q{job=\"a\",instance=\"i\"} 1\n") && !page.contains("q_total"), "{page}");
    assert!(page.contains("headroom_apps_families_hidden 1\n"), "{page}");
}

#[test]
fn each_bucket_keeps_the_last_exemplar_that_came_for_it() {
    use crate::encode::openmetrics::OpenMetricsEncoder;
    let mut bench = Bench::new(Limits::default());
    let buckets = (1..=15).map(|bound| (f64::from(bound), 1)).collect();
    let histogram = Histogram { buckets, sum: None, count: 1 };
    let exemplar =
        |value: f64, id: &str| Exemplar { labels: vec![("id".into(), id.into())], value, at_millis: None };
    // One for each bucket, as SDKs send them; then many of one bucket alone.
    let all: Vec<_> = (0..16).map(|at| exemplar(f64::from(at) + 0.5, "all")).collect();
    let last: Vec<_> = (0..30).map(|at| exemplar(3.5, if at == 29 { "last" } else { "many" })).collect();
    for exemplars in [&all, &last] {
        let point = Point { exemplars, ..Point::new(&[], Value::Histogram(&histogram)) };
        bench.put("a", "h", Kind::Histogram, &point).unwrap();
        let point = Point { exemplars, ..Point::new(&[], Value::U64(1)) };
        bench.put("a", "c_total", Kind::Counter, &point).unwrap();
    }
    let mut out = OpenMetricsEncoder::default();
    bench.store.write(bench.now, &mut out);
    let page = String::from_utf8(out.finish().clone()).unwrap();
    let of = |id: &str| page.lines().filter(|line| line.contains(&format!("# {{id=\"{id}\"}}"))).count();
    assert_eq!((of("all"), of("last"), of("many")), (15, 2, 0), "{page}");
    assert!(page.contains("le=\"4.0\"} 1 # {id=\"last\"} 3.5\n"), "{page}");
}

#[test]
fn what_is_added_adds_up_and_what_is_older_or_overlaps_is_refused() {
    let mut bench = Bench::new(Limits::default());
    let add = |value, start_nanos, at_nanos| Point {
        mode: Mode::Add,
        start_nanos,
        at_nanos,
        ..Point::new(&[], Value::F64(value))
    };
    for (point, want) in [
        (add(1.0, 10, 20), Ok(())),
        (add(2.0, 20, 30), Ok(())),
        (add(2.0, 20, 30), Err(Refusal::Old)),
        (add(4.0, 25, 35), Err(Refusal::Old)),
        (add(8.0, 40, 50), Ok(())),
        (add(f64::NAN, 60, 70), Err(Refusal::Number)),
        (add(-1.0, 60, 70), Err(Refusal::Number)),
    ] {
        assert_eq!(bench.put("a", "x_total", Kind::Counter, &point), want);
    }
    assert_eq!(bench.page(), "x_total{job=\"a\",instance=\"i\"} 11\n");
    let set = |value, at_nanos| Point { at_nanos, ..Point::new(&[], Value::F64(value)) };
    assert_eq!(bench.put("a", "g", Kind::Gauge, &set(f64::NAN, 30)), Ok(()));
    assert_eq!(bench.put("a", "g", Kind::Gauge, &set(2.0, 20)), Err(Refusal::Old));
    assert_eq!(bench.put("a", "g", Kind::Gauge, &set(f64::INFINITY, 30)), Ok(()));
    assert!(bench.page().contains("g{job=\"a\",instance=\"i\"} +Inf\n"));
}

#[test]
fn a_clock_that_was_far_ahead_does_not_make_all_that_follows_old() {
    let mut bench = Bench::new(Limits::default());
    let wall_nanos = 1_000_000_000_000_000;
    let sender = Sender { wall_nanos, ..bench.sender("a") };
    let about = About { name: "x", help: "", kind: Kind::Gauge };
    for (at_nanos, value) in [(wall_nanos + 2 * SKEW_NANOS_MAX, 1.0), (wall_nanos, 2.0)] {
        let point = Point { at_nanos, ..Point::new(&[], Value::F64(value)) };
        bench.store.put(&sender, &about, &point).unwrap();
    }
    assert_eq!(bench.page(), "x{job=\"a\",instance=\"i\"} 2\n");
}

#[test]
fn histograms_that_make_no_sense_are_refused() {
    let mut bench = Bench::new(Limits::default());
    let good = Histogram { buckets: vec![(1.0, 1), (2.0, 3)], sum: Some(1.0), count: 4 };
    let with = |buckets: &[(f64, u64)]| Histogram { buckets: buckets.to_vec(), ..good.clone() };
    let many: Vec<_> = (0..600_u32).map(|i| (f64::from(i), 1)).collect();
    for (value, want) in [
        (good.clone(), Ok(())),
        (with(&[(2.0, 1), (1.0, 2)]), Err(Refusal::Buckets)),
        (with(&[(1.0, 2), (2.0, 1)]), Err(Refusal::Buckets)),
        (with(&[(1.0, 5)]), Err(Refusal::Buckets)),
        (with(&[(f64::NAN, 1)]), Err(Refusal::Buckets)),
        (with(&many), Err(Refusal::Buckets)),
    ] {
        assert_eq!(bench.put("a", "h", Kind::Histogram, &Point::new(&[], Value::Histogram(&value))), want);
    }
    let positive = Run { first: 0, counts: vec![1, 2] };
    let good = Exponential { positive, count: 3, ..Exponential::default() };
    for (value, want) in [
        (good.clone(), Ok(())),
        (Exponential { count: 4, ..good.clone() }, Err(Refusal::Buckets)),
        (Exponential { scale: i32::MIN, ..good.clone() }, Err(Refusal::Buckets)),
        (Exponential { zero_threshold: f64::NAN, ..good.clone() }, Err(Refusal::Buckets)),
        (
            Exponential { positive: Run { first: i32::MAX, counts: vec![3] }, ..good.clone() },
            Err(Refusal::Buckets),
        ),
    ] {
        assert_eq!(bench.put("a", "e", Kind::Histogram, &Point::new(&[], Value::Exponential(&value))), want);
    }
}

#[test]
fn what_all_share_is_charged_to_the_first_who_sends_it_until_it_is_gone() {
    let limits = Limits { memory_per_application: ByteSize::kib(16), ..Limits::default() };
    let mut bench = Bench::new(limits);
    let help = "h".repeat(1024);
    let put = |bench: &mut Bench, job: &str, name: &str| {
        let sender = bench.sender(job);
        let about = About { name, help: &help, kind: Kind::Gauge };
        bench.store.put(&sender, &about, &Point::new(&[], Value::U64(1)))
    };
    let names: Vec<String> = (0..100).map(|i| format!("{}{i}", "n".repeat(200))).collect();
    let taken = names.iter().filter(|name| put(&mut bench, "a", name).is_ok()).count();
    assert!((4..9).contains(&taken), "{taken} families of 2 KiB each in 16 KiB");
    assert_eq!(put(&mut bench, "a", &names[99]), Err(Refusal::ApplicationMemory));
    // Others have what is theirs, and are not charged for the names of the first.
    for name in &names[..taken] {
        put(&mut bench, "b", name).unwrap();
    }
    let sender = bench.sender("b");
    assert!(bench.store.applications[&sender.application].bytes < 4096);
    bench.now += STALE + Duration::from_secs(1);
    bench.page();
    assert_eq!(bench.store.totals(), Totals::default());
    assert_eq!(put(&mut bench, "a", &names[99]), Ok(()));
}

#[test]
fn no_application_has_all_the_names_of_a_family_and_unused_ones_are_free_again() {
    let mut bench = Bench::new(Limits { labels: 32, ..Limits::default() });
    let put = |bench: &mut Bench, job: &str, at: usize| {
        let name = format!("{job}{at}");
        bench.gauge(job, "x", &[("all", job), (&name, "v")], 1.0)
    };
    // 256 names: `all`, and 64 of each of them but the first, which brought `all`, and the last, for which 63 are left.
    for (job, want) in [("a", 63), ("b", 64), ("c", 64), ("d", 64), ("e", 0)] {
        let results: Vec<_> = (0..100).map(|at| put(&mut bench, job, at)).collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), want, "{job}");
        assert_eq!(results.last(), Some(&Err(Refusal::Labels)));
    }
    let of = |page: &str, job: &str| -> Vec<String> {
        page.lines().filter(|l| l.contains(&format!("job=\"{job}\""))).map(str::to_owned).collect()
    };
    let before = of(&bench.page(), "c");
    assert_eq!(before.len(), 64);
    bench.now += STALE;
    for (job, count) in [("a", 1), ("c", 64), ("d", 64)] {
        (0..count).for_each(|at| put(&mut bench, job, at).unwrap());
    }
    bench.now += Duration::from_secs(1);
    // All of b is gone, and nearly all of a: there is room for e, and what stays is what it was.
    assert_eq!(of(&bench.page(), "c"), before);
    assert_eq!((0..100).filter(|at| put(&mut bench, "e", *at).is_ok()).count(), 64);
    for at in 0..64 {
        put(&mut bench, "c", at).unwrap();
    }
    assert_eq!(of(&bench.page(), "c"), before, "known under the same labels, and not there twice");
    assert_eq!(of(&bench.page(), "a"), ["x{job=\"a\",instance=\"i\",all=\"a\",a0=\"v\"} 1"]);
    bench.now += STALE + Duration::from_secs(1);
    bench.page();
    assert_eq!(bench.store.totals(), Totals::default());
}

#[test]
fn where_there_is_one_series_those_with_other_labels_disappear() {
    let mut bench = Bench::new(Limits { series_per_application: 1, labels: 2, ..Limits::default() });
    let only = |bench: &mut Bench, job: &str, labels: &Labels<'_>| {
        let sender = bench.sender(job);
        let about = About { name: "target_info", help: "H.", kind: Kind::Gauge };
        bench.store.put_only(&sender, &about, &Point::new(labels, Value::U64(1)))
    };
    for (job, labels) in
        [("a", &[("v", "1")][..]), ("b", &[("v", "1")]), ("a", &[("v", "2")]), ("a", &[("v", "2")])]
    {
        only(&mut bench, job, labels).unwrap();
    }
    let b = "target_info{job=\"b\",instance=\"i\",v=\"1\"} 1\n";
    assert_eq!(bench.page(), format!("target_info{{job=\"a\",instance=\"i\",v=\"2\"}} 1\n{b}"));
    assert_eq!(only(&mut bench, "a", &[("v", "1"), ("w", "1"), ("x", "1")]), Err(Refusal::Labels));
    assert_eq!(bench.page(), b, "what was said before is not true any more");
    assert!(bench.page_in(Scheme::Underscores).contains("headroom_apps_points_total{input=\"otlp\"} 4\n"));
}

/// A point as a number of small choices.
type Choice = (u8, u8, u8, u8, u16);

fn apply(bench: &mut Bench, (job, name, kind, label, size): Choice) {
    let job = format!("job{}", job % 5);
    let Ok(application) = bench.store.application(&job, "", bench.now) else { return };
    let sender = Sender { application, input: Input::Otlp, now: bench.now, wall_nanos: 0 };
    let text = "v".repeat(usize::from(size % 700));
    let count = usize::from(size % 90);
    let value = format!("{label}{text}");
    let key = format!("l{}", label % 60);
    let labels = [(key.as_str(), value.as_str())];
    let labels = &labels[..usize::from(kind % 2)];
    let buckets: Vec<_> = (0..count).map(|i| (i as f64, i as u64)).collect();
    let histogram = Histogram { count: count as u64, buckets, sum: Some(1.0) };
    let positive = Run { first: i32::from(size % 800), counts: vec![1; count] };
    let exponential = Exponential { count: count as u64, positive, ..Exponential::default() };
    let exemplar = Exemplar { labels: vec![("t".into(), "x".repeat(count))], ..Exemplar::default() };
    let exemplars = vec![exemplar; usize::from(label % 9)];
    let (kind, value) = match kind % 6 {
        0 | 1 => (Kind::Gauge, Value::F64(1.0)),
        2 | 3 => (Kind::Histogram, Value::Histogram(&histogram)),
        _ => (Kind::Histogram, Value::Exponential(&exponential)),
    };
    let mode = if size % 3 == 0 { Mode::Add } else { Mode::Set };
    let at_millis = (size % 5 == 0).then_some(1);
    let point = Point { mode, exemplars: &exemplars, at_millis, ..Point::new(labels, value) };
    let name = format!("n{name}{}", "n".repeat(usize::from(size % 50)));
    _ = bench.store.put(&sender, &About { name: &name, help: &text, kind }, &point);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn no_more_is_ever_held_than_the_limits_say(
        choices in proptest::collection::vec(any::<Choice>(), 1..300),
        kib in 4_u64..600,
    ) {
        let memory = ByteSize::kib(kib);
        let memory_per_application = ByteSize::kib(kib / 2);
        let limits = Limits {
            applications: 4, series: 900, series_per_application: 400, memory, memory_per_application,
            ..Limits::default()
        };
        let mut bench = Bench::new(limits.clone());
        for choice in choices {
            apply(&mut bench, choice);
            bench.now += Duration::from_millis(u64::from(choice.4) * 20);
            let totals = bench.store.totals();
            prop_assert!(totals.bytes as u64 <= memory.as_u64(), "{totals:?} {memory}");
            prop_assert!(totals.series <= limits.series && totals.applications <= limits.applications);
            for application in bench.store.applications.values() {
                prop_assert!(application.bytes as u64 <= memory_per_application.as_u64());
                prop_assert!(application.series <= limits.series_per_application);
            }
        }
        // Each application is charged for its series and for what it was the first to send, and no other is.
        let mut charged: HashMap<u32, usize> = HashMap::new();
        for (name, family) in bench.store.families.iter() {
            for (key, series) in &family.series {
                *charged.entry(u32::from_be_bytes(key[..4].try_into().unwrap())).or_default() += series.bytes;
            }
            family.shared(name).for_each(|(owner, bytes)| *charged.entry(owner).or_default() += bytes);
        }
        for (number, application) in &bench.store.applications {
            let (charged, held) = (charged.get(number).copied().unwrap_or(0), application.bytes);
            prop_assert_eq!(charged, held);
        }
        let own = |a: &Application| application_bytes(&a.job, &a.instance);
        let all = charged.values().sum::<usize>() + bench.store.applications.values().map(own).sum::<usize>();
        prop_assert_eq!(all, bench.store.bytes);
        // What is counted is what is there.
        let all = || bench.store.families.iter().flat_map(|(_, family)| family.series.values());
        prop_assert_eq!(all().map(|s| s.held.series()).sum::<usize>(), bench.store.series);
        bench.now += STALE * 2;
        bench.page();
        prop_assert_eq!(bench.store.totals(), Totals::default());
    }
}
