//! A pass as requests of OTLP: resources, metrics and points, in no more than so many points a request.

use super::super::line::{Attribute, Line, Sort};
use super::super::resource::Attributes;
use super::Temporality;
use crate::metric::batch::Held;
use crate::metric::{Exemplar, Exponential, Histogram, Run, Summary};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1 as proto;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::resource::v1::Resource;
use std::collections::HashMap;

/// "No recorded value": the series has ended.
const GONE: u32 = 1;
const DELTA: i32 = proto::AggregationTemporality::Delta as i32;
const CUMULATIVE: i32 = proto::AggregationTemporality::Cumulative as i32;

/// Makes requests, and gives each away, with the number of its points, as soon as it is whole.
pub(super) struct Builder<'a, F> {
    own: &'a Attributes,
    /// What applications say of themselves, by name and instance.
    targets: HashMap<(&'a str, &'a str), Vec<KeyValue>>,
    temporality: Temporality,
    schema: &'static str,
    before_millis: Option<i64>,
    points_max: usize,
    points: usize,
    /// Where each resource stands in the open request.
    places: HashMap<Option<(&'a str, &'a str)>, usize>,
    open: Vec<proto::ResourceMetrics>,
    done: F,
}

impl<'a, F: FnMut(&ExportMetricsServiceRequest, usize)> Builder<'a, F> {
    /// For a pass; `own` says who this machine is, `before_millis` when the pass before was.
    pub(super) fn new(
        own: &'a Attributes,
        (temporality, schema): (Temporality, &'static str),
        before_millis: Option<i64>,
        (points_max, done): (usize, F),
    ) -> Self {
        Self {
            own,
            targets: HashMap::new(),
            temporality,
            schema,
            before_millis,
            points_max,
            points: 0,
            places: HashMap::new(),
            open: Vec::new(),
            done,
        }
    }

    /// Makes all requests for these points.
    pub(super) fn build(mut self, lines: &'a [Line<'a>]) {
        let is_target = |line: &&Line<'_>| line.name == "target_info" && line.origin.is_some();
        for line in lines.iter().filter(is_target).filter(|line| !line.gone) {
            if let Some(origin) = line.origin {
                let known = line.attributes.iter().map(|(key, value)| key_value(key, value));
                self.targets.entry(origin).or_default().extend(known);
            }
        }
        for line in lines.iter().filter(|line| !is_target(line)) {
            self.add(line);
        }
        self.flush();
    }

    fn flush(&mut self) {
        self.places.clear();
        let resource_metrics = std::mem::take(&mut self.open);
        if !resource_metrics.is_empty() {
            (self.done)(&ExportMetricsServiceRequest { resource_metrics }, self.points);
        }
        self.points = 0;
    }

    fn add(&mut self, line: &'a Line<'a>) {
        let Some(data) = self.data(line) else { return };
        if self.points >= self.points_max {
            self.flush();
        }
        self.points += 1;
        let place = self.place(line.origin);
        let metrics = self.open.get_mut(place).and_then(|resource| resource.scope_metrics.first_mut());
        let Some(metrics) = metrics.map(|scope| &mut scope.metrics) else { return };
        let same = metrics.last_mut().filter(|metric| metric.name == line.name);
        let left = match same.and_then(|metric| metric.data.as_mut()) {
            Some(open) => join(open, data),
            None => Some(data),
        };
        if left.is_some() {
            metrics.push(proto::Metric {
                name: line.name.to_owned(),
                description: line.help.to_owned(),
                unit: line.unit.to_owned(),
                metadata: match line.sort {
                    Sort::Unknown => vec![text("prometheus.type", "unknown")],
                    _ => Vec::new(),
                },
                data: left,
            });
        }
    }

    /// Where the resource stands in the open request; it is put there if it is not.
    fn place(&mut self, origin: Option<(&'a str, &'a str)>) -> usize {
        let next = self.open.len();
        let place = *self.places.entry(origin).or_insert(next);
        if place == next {
            let attributes = match origin {
                None => self.own.iter().map(|(key, value)| text(key, value)).collect(),
                Some(origin) => application(origin, self.targets.get(&origin)),
            };
            let scope = InstrumentationScope {
                name: "headroom".into(),
                version: env!("CARGO_PKG_VERSION").into(),
                ..InstrumentationScope::default()
            };
            self.open.push(proto::ResourceMetrics {
                resource: Some(Resource { attributes, ..Resource::default() }),
                scope_metrics: vec![proto::ScopeMetrics {
                    scope: Some(scope),
                    metrics: Vec::new(),
                    schema_url: self.schema.to_owned(),
                }],
                schema_url: self.schema.to_owned(),
            });
        }
        place
    }

    /// The point with what it is a part of; none where there is no difference to tell.
    fn data(&self, line: &Line<'_>) -> Option<Data> {
        let delta = self.temporality == Temporality::Delta && line.sort == Sort::Total;
        let summary = matches!(*line.value, Held::Summary(_));
        let (value, start) = if delta && !summary && !line.gone {
            (line.seen?.more.as_ref()?, self.before_millis)
        } else {
            (&*line.value, line.seen.and_then(|seen| seen.start_millis))
        };
        let temporality = if delta { DELTA } else { CUMULATIVE };
        let point = Point { line, start: start.filter(|_| line.sort == Sort::Total) };
        Some(match value {
            Held::U64(_) | Held::F64(_) => {
                let data_points = vec![point.number(value)];
                match line.sort {
                    Sort::Total | Sort::Amount => {
                        let is_monotonic = line.sort == Sort::Total;
                        let aggregation_temporality = if is_monotonic { temporality } else { CUMULATIVE };
                        Data::Sum(proto::Sum { data_points, aggregation_temporality, is_monotonic })
                    }
                    Sort::Gauge | Sort::Unknown => Data::Gauge(proto::Gauge { data_points }),
                }
            }
            Held::Histogram(value) => Data::Histogram(proto::Histogram {
                data_points: vec![point.histogram(value)],
                aggregation_temporality: temporality,
            }),
            Held::Exponential(value) => Data::ExponentialHistogram(proto::ExponentialHistogram {
                data_points: vec![point.exponential(value)],
                aggregation_temporality: temporality,
            }),
            Held::Summary(value) => Data::Summary(proto::Summary { data_points: vec![point.summary(value)] }),
        })
    }
}

/// Puts the points of the second behind those of the first; gives them back if they are of another kind.
fn join(open: &mut Data, data: Data) -> Option<Data> {
    match (open, data) {
        (Data::Sum(a), Data::Sum(b)) => a.data_points.extend(b.data_points),
        (Data::Gauge(a), Data::Gauge(b)) => a.data_points.extend(b.data_points),
        (Data::Histogram(a), Data::Histogram(b)) => a.data_points.extend(b.data_points),
        (Data::ExponentialHistogram(a), Data::ExponentialHistogram(b)) => a.data_points.extend(b.data_points),
        (Data::Summary(a), Data::Summary(b)) => a.data_points.extend(b.data_points),
        (_, other) => return Some(other),
    }
    None
}

/// An application's resource: what Prometheus calls job and instance, and what it said of itself.
fn application((job, instance): (&str, &str), target: Option<&Vec<KeyValue>>) -> Vec<KeyValue> {
    let mut out = match job.split_once('/') {
        Some((namespace, name)) => vec![text("service.namespace", namespace), text("service.name", name)],
        None => vec![text("service.name", job)],
    };
    if !instance.is_empty() {
        out.push(text("service.instance.id", instance));
    }
    out.extend(target.into_iter().flatten().cloned());
    out
}

struct Point<'l, 'a> {
    line: &'l Line<'a>,
    start: Option<i64>,
}

impl Point<'_, '_> {
    fn attributes(&self) -> Vec<KeyValue> {
        self.line.attributes.iter().map(|(key, value)| key_value(key, value)).collect()
    }

    fn times(&self) -> (u64, u64) {
        (self.start.map_or(0, nanos), nanos(self.line.at_millis))
    }

    fn flags(&self) -> u32 {
        if self.line.gone { GONE } else { 0 }
    }

    fn number(&self, value: &Held) -> proto::NumberDataPoint {
        use proto::number_data_point::Value;
        let whole = |value: u64| i64::try_from(value).map_or(Value::AsDouble(value as f64), Value::AsInt);
        let value = match value {
            Held::U64(value) => Some(whole(*value)),
            other => other.number().map(Value::AsDouble),
        };
        let (start_time_unix_nano, time_unix_nano) = self.times();
        proto::NumberDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano,
            time_unix_nano,
            exemplars: exemplars(self.line.exemplars),
            flags: self.flags(),
            value: value.filter(|_| !self.line.gone),
        }
    }

    fn histogram(&self, value: &Histogram) -> proto::HistogramDataPoint {
        let finite: Vec<(f64, u64)> = value.buckets.iter().copied().filter(|(b, _)| b.is_finite()).collect();
        // Prometheus counts what is at or below a bound, OpenTelemetry what is between two.
        let mut below = 0;
        let mut counts = Vec::with_capacity(finite.len() + 1);
        for count in finite.iter().map(|(_, count)| *count).chain([value.count]) {
            counts.push(count.saturating_sub(below));
            below = count;
        }
        let (start_time_unix_nano, time_unix_nano) = self.times();
        let mut out = proto::HistogramDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano,
            time_unix_nano,
            flags: self.flags(),
            ..proto::HistogramDataPoint::default()
        };
        if !self.line.gone {
            (out.count, out.sum, out.bucket_counts) = (value.count, value.sum, counts);
            out.explicit_bounds = finite.iter().map(|(bound, _)| *bound).collect();
            out.exemplars = exemplars(self.line.exemplars);
        }
        out
    }

    fn exponential(&self, value: &Exponential) -> proto::ExponentialHistogramDataPoint {
        let (start_time_unix_nano, time_unix_nano) = self.times();
        let mut out = proto::ExponentialHistogramDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano,
            time_unix_nano,
            flags: self.flags(),
            ..proto::ExponentialHistogramDataPoint::default()
        };
        if !self.line.gone {
            (out.count, out.sum, out.scale) = (value.count, value.sum, value.scale);
            (out.zero_count, out.zero_threshold) = (value.zero_count, value.zero_threshold);
            let buckets = |run: &Run| {
                let (offset, bucket_counts) = (run.first, run.counts.clone());
                Some(proto::exponential_histogram_data_point::Buckets { offset, bucket_counts })
            };
            (out.positive, out.negative) = (buckets(&value.positive), buckets(&value.negative));
            out.exemplars = exemplars(self.line.exemplars);
        }
        out
    }

    fn summary(&self, value: &Summary) -> proto::SummaryDataPoint {
        let (start_time_unix_nano, time_unix_nano) = self.times();
        let mut out = proto::SummaryDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano,
            time_unix_nano,
            flags: self.flags(),
            ..proto::SummaryDataPoint::default()
        };
        if !self.line.gone {
            (out.count, out.sum) = (value.count, value.sum);
            let at = |&(quantile, value): &(f64, f64)| proto::summary_data_point::ValueAtQuantile {
                quantile,
                value,
            };
            out.quantile_values = value.quantiles.iter().map(at).collect();
        }
        out
    }
}

fn exemplars(all: &[Exemplar]) -> Vec<proto::Exemplar> {
    let id = |exemplar: &Exemplar, wanted: &str, digits: usize| {
        let found = exemplar.labels.iter().find(|(key, text)| key == wanted && text.len() == digits);
        found.and_then(|(_, text)| bytes(text)).unwrap_or_default()
    };
    let make = |exemplar: &Exemplar| {
        let other = |(key, _): &&(String, String)| key != "trace_id" && key != "span_id";
        proto::Exemplar {
            filtered_attributes: exemplar.labels.iter().filter(other).map(|(k, v)| text(k, v)).collect(),
            time_unix_nano: exemplar.at_millis.map_or(0, nanos),
            span_id: id(exemplar, "span_id", 16),
            trace_id: id(exemplar, "trace_id", 32),
            value: Some(proto::exemplar::Value::AsDouble(exemplar.value)),
        }
    };
    all.iter().map(make).collect()
}

/// Hexadecimal digits as bytes.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let (pairs, _) = digits.as_bytes().as_chunks::<2>();
    pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn nanos(millis: i64) -> u64 {
    u64::try_from(millis).unwrap_or(0).saturating_mul(1_000_000)
}

fn text(key: &str, value: &str) -> KeyValue {
    pair(key, any_value::Value::StringValue(value.to_owned()))
}

fn pair(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn key_value(key: &str, value: &Attribute<'_>) -> KeyValue {
    match value {
        Attribute::Text(value) => text(key, value),
        Attribute::Whole(value) => pair(key, any_value::Value::IntValue(*value)),
    }
}

#[cfg(test)]
mod tests;
