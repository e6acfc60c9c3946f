//! Requests: whose the points are, what totals say, and how many stand in one.

use super::super::super::line::lines;
use super::super::super::pass::{History, Pass};
use super::*;
use crate::exporter::scrapes::Recorded;
use crate::metric::batch::Recorder;
use crate::metric::{Desc, Kind, Sink, Value};
use std::time::Instant;

fn pass(history: &mut History, now_millis: i64, write: impl Fn(&mut Recorder)) -> Pass {
    let mut out = Recorder::default();
    write(&mut out);
    history.next(Recorded { batch: out.finish(), begun: Instant::now() }, now_millis)
}

fn requests(
    pass: &Pass,
    temporality: Temporality,
    points_max: usize,
) -> Vec<(ExportMetricsServiceRequest, usize)> {
    let own = Attributes::from([("service.name".to_owned(), "headroom".to_owned())]);
    let mut out = Vec::new();
    let keep = |request: &ExportMetricsServiceRequest, points| out.push((request.clone(), points));
    Builder::new(&own, (temporality, ""), pass.before_millis, (points_max, keep)).build(&lines(pass));
    out
}

fn only(pass: &Pass, temporality: Temporality) -> Vec<proto::ResourceMetrics> {
    let mut all = requests(pass, temporality, 1000);
    assert_eq!(all.len(), 1);
    all.remove(0).0.resource_metrics
}

fn metric<'a>(resource: &'a proto::ResourceMetrics, name: &str) -> &'a proto::Metric {
    let all = &resource.scope_metrics[0].metrics;
    all.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("{name}: {all:#?}"))
}

fn sum<'a>(resource: &'a proto::ResourceMetrics, name: &str) -> &'a proto::Sum {
    match metric(resource, name).data.as_ref().unwrap() {
        Data::Sum(sum) => sum,
        other => panic!("{other:?}"),
    }
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn totals_say_all_since_the_start_or_what_came_since_the_last_request() {
    let mut history = History::default();
    let write = |value: u64, more: f64| {
        move |out: &mut Recorder| {
            out.family(&Desc::gauge("node_boot_time_seconds", "B.", &[]));
            out.sample(&[], Value::F64(10.0));
            out.family(&Desc::counter("node_x_bytes_total", "X.", &["a"]));
            out.sample(&["b"], Value::U64(value));
            out.sample(&[""], Value::F64(more));
        }
    };
    let first = pass(&mut history, 60_000, write(5, 0.5));
    let second = pass(&mut history, 120_000, write(7, 0.25));
    let point = |sum: &proto::Sum, at: usize| {
        let point = &sum.data_points[at];
        let value = match point.value.unwrap() {
            proto::number_data_point::Value::AsDouble(value) => value,
            proto::number_data_point::Value::AsInt(value) => value as f64,
        };
        let second = |nanos: u64| (nanos + SECOND / 2) / SECOND;
        (second(point.start_time_unix_nano), second(point.time_unix_nano), value)
    };
    let all = only(&second, Temporality::Cumulative);
    let total = sum(&all[0], "node_x_bytes_total");
    assert!(total.is_monotonic && total.aggregation_temporality == CUMULATIVE);
    assert_eq!(
        [point(total, 0), point(total, 1)],
        [(10, 120, 7.0), (60, 120, 0.25)],
        "the second began anew"
    );
    assert_eq!(metric(&all[0], "node_x_bytes_total").unit, "By");
    assert_eq!(total.data_points[0].attributes, [text("a", "b")]);
    assert!(total.data_points[1].attributes.is_empty(), "a label without a value is none");
    let all = only(&second, Temporality::Delta);
    let total = sum(&all[0], "node_x_bytes_total");
    assert_eq!(total.aggregation_temporality, DELTA);
    assert_eq!([point(total, 0), point(total, 1)], [(60, 120, 2.0), (60, 120, 0.25)]);
    // Without a pass before there is no difference; gauges are there all the same.
    let all = only(&first, Temporality::Delta);
    assert_eq!(all[0].scope_metrics[0].metrics.len(), 1);
}

#[test]
fn applications_have_resources_of_their_own() {
    let pass = pass(&mut History::default(), 1000, |out| {
        out.family(&Desc::gauge("target_info", "T.", &["job", "instance", "os_type"]));
        out.sample(&["shop/cart", "i1", "linux"], Value::U64(1));
        out.family(&Desc::gauge("depth", "D.", &["job", "instance", "queue"]).sparse());
        out.sample(&["shop/cart", "i1", "q"], Value::U64(3));
        out.sample(&["", "", "own"], Value::U64(4));
    });
    let all = only(&pass, Temporality::Cumulative);
    let attributes: Vec<_> = all.iter().map(|r| r.resource.clone().unwrap().attributes).collect();
    let application = vec![
        text("service.namespace", "shop"),
        text("service.name", "cart"),
        text("service.instance.id", "i1"),
        text("os_type", "linux"),
    ];
    assert_eq!(attributes, [application, vec![text("service.name", "headroom")]]);
    let Some(Data::Gauge(gauge)) = &metric(&all[0], "depth").data else { panic!() };
    assert_eq!(gauge.data_points[0].attributes, [text("queue", "q")]);
    assert_eq!(all[0].scope_metrics[0].metrics.len(), 1, "target_info is the resource");
}

#[test]
fn observations_are_counted_between_bounds_and_what_ends_says_so() {
    let mut history = History::default();
    let write = |out: &mut Recorder| {
        out.family(&Desc { name: "h", help: "H.", kind: Kind::Histogram, labels: &[], sparse: false });
        let buckets = vec![(1.0, 2), (2.0, 2), (f64::INFINITY, 5)];
        out.sample(&[], Value::Histogram(&Histogram { buckets, sum: Some(9.0), count: 5 }));
        out.family(&Desc { name: "s", help: "S.", kind: Kind::Summary, labels: &[], sparse: false });
        out.sample(&[], Value::Summary(&Summary { quantiles: vec![(0.5, 2.0)], sum: 9.0, count: 5 }));
        out.family(&Desc::untyped("u", "U.", &[]));
        out.sample(&[], Value::F64(1.5));
    };
    let all = only(&pass(&mut history, 1000, write), Temporality::Cumulative);
    let Some(Data::Histogram(histogram)) = &metric(&all[0], "h").data else { panic!() };
    let point = &histogram.data_points[0];
    assert_eq!((&point.bucket_counts[..], &point.explicit_bounds[..]), (&[2, 0, 3][..], &[1.0, 2.0][..]));
    assert_eq!((point.count, point.sum, point.flags), (5, Some(9.0), 0));
    assert_eq!(metric(&all[0], "u").metadata, [text("prometheus.type", "unknown")]);
    let all = only(&pass(&mut history, 2000, |_| ()), Temporality::Cumulative);
    for name in ["h", "s", "u"] {
        let flags = match metric(&all[0], name).data.as_ref().unwrap() {
            Data::Histogram(h) => (h.data_points[0].flags, h.data_points[0].count == 0),
            Data::Summary(s) => (s.data_points[0].flags, s.data_points[0].quantile_values.is_empty()),
            Data::Gauge(g) => (g.data_points[0].flags, g.data_points[0].value.is_none()),
            other => panic!("{other:?}"),
        };
        assert_eq!(flags, (GONE, true), "{name}");
    }
}

#[test]
fn no_request_has_more_points_than_it_may() {
    let pass = pass(&mut History::default(), 1000, |out| {
        for name in ["a", "b"] {
            out.family(&Desc::gauge(name, "N.", &["n"]));
            for n in 0..7 {
                out.sample(&[&n.to_string()], Value::U64(n));
            }
        }
    });
    let all = requests(&pass, Temporality::Cumulative, 4);
    let points: Vec<usize> = all.iter().map(|(_, points)| *points).collect();
    assert_eq!(points, [4, 4, 4, 2]);
    for (request, points) in all {
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        let held: usize = metrics
            .iter()
            .map(|metric| match metric.data.as_ref().unwrap() {
                Data::Gauge(gauge) => gauge.data_points.len(),
                other => panic!("{other:?}"),
            })
            .sum();
        assert_eq!(held, points);
        assert!(request.resource_metrics[0].resource.is_some());
    }
}
