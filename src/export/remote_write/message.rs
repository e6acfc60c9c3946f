//! The messages of remote write, as protocol buffers have them.
//!
//! Source: `prompb/remote.proto` and `prompb/io/prometheus/write/v2/types.proto` of github.com/prometheus/prometheus.

use super::series::Series;
use crate::encode::unit;
use crate::metric::Kind;
use prost::Message;
use std::collections::HashMap;

/// `prometheus.WriteRequest`.
#[derive(Clone, PartialEq, Message)]
pub(in crate::export) struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub(in crate::export) timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    pub(in crate::export) metadata: Vec<MetricMetadata>,
}

/// `prometheus.TimeSeries`.
#[derive(Clone, PartialEq, Message)]
pub(in crate::export) struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub(in crate::export) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(in crate::export) samples: Vec<Sample>,
}

/// `prometheus.Label`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(in crate::export) struct Label {
    #[prost(string, tag = "1")]
    pub(in crate::export) name: String,
    #[prost(string, tag = "2")]
    pub(in crate::export) value: String,
}

/// `prometheus.Sample`, and that of version 2.0, which has the start besides.
#[derive(Clone, PartialEq, Message)]
pub(in crate::export) struct Sample {
    #[prost(double, tag = "1")]
    pub(in crate::export) value: f64,
    #[prost(int64, tag = "2")]
    pub(in crate::export) timestamp: i64,
    #[prost(int64, tag = "3")]
    pub(in crate::export) start_timestamp: i64,
}

/// `prometheus.MetricMetadata`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(in crate::export) struct MetricMetadata {
    #[prost(int32, tag = "1")]
    pub(in crate::export) kind: i32,
    #[prost(string, tag = "2")]
    pub(in crate::export) family: String,
    #[prost(string, tag = "4")]
    pub(in crate::export) help: String,
}

/// `io.prometheus.write.v2.Request`.
#[derive(Clone, PartialEq, Message)]
pub(in crate::export) struct Request {
    #[prost(string, repeated, tag = "4")]
    pub(in crate::export) symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    pub(in crate::export) timeseries: Vec<TimeSeriesTwo>,
}

/// `io.prometheus.write.v2.TimeSeries`.
#[derive(Clone, PartialEq, Message)]
pub(in crate::export) struct TimeSeriesTwo {
    #[prost(uint32, repeated, tag = "1")]
    pub(in crate::export) labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    pub(in crate::export) samples: Vec<Sample>,
    #[prost(message, optional, tag = "5")]
    pub(in crate::export) metadata: Option<Metadata>,
    /// Where the start stood until it went to the sample; Prometheus 3.0 and its kin look here.
    #[prost(int64, tag = "6")]
    pub(in crate::export) created_timestamp: i64,
}

/// `io.prometheus.write.v2.Metadata`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(in crate::export) struct Metadata {
    #[prost(int32, tag = "1")]
    pub(in crate::export) kind: i32,
    #[prost(uint32, tag = "3")]
    pub(in crate::export) help_ref: u32,
    #[prost(uint32, tag = "4")]
    pub(in crate::export) unit_ref: u32,
}

/// The number of a kind, the same in both versions.
fn number(kind: Kind) -> i32 {
    match kind {
        Kind::Untyped => 0,
        Kind::Counter => 1,
        Kind::Gauge => 2,
        Kind::Histogram => 3,
        Kind::Summary => 5,
    }
}

/// Series as a request of version 1.0. What a family is stands there once for each that begins in this request.
pub(super) fn one(series: &[Series<'_>]) -> Vec<u8> {
    let mut out = WriteRequest::default();
    let mut last = String::new();
    for series in series {
        let labels = series.labels.iter().map(|(name, value)| Label {
            name: name.clone().into_owned(),
            value: value.clone().into_owned(),
        });
        let sample = Sample { value: series.value, timestamp: series.at_millis, start_timestamp: 0 };
        let family = family(series);
        if family != last {
            let (kind, help) = (number(series.kind), series.help.to_owned());
            out.metadata.push(MetricMetadata { kind, family: family.to_owned(), help });
            family.clone_into(&mut last);
        }
        out.timeseries.push(TimeSeries { labels: labels.collect(), samples: vec![sample] });
    }
    out.encode_to_vec()
}

/// The family of a series: its name without what observations add to it.
fn family<'a>(series: &'a Series<'_>) -> &'a str {
    let name = series.labels.iter().find(|(key, _)| key == "__name__").map_or("", |(_, name)| name);
    if matches!(series.kind, Kind::Histogram | Kind::Summary) {
        let suffixes = ["_bucket", "_sum", "_count"];
        return suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    }
    name
}

/// Series as a request of version 2.0.
pub(super) fn two(series: &[Series<'_>]) -> Vec<u8> {
    let mut symbols = Symbols::default();
    // The first symbol is the empty one.
    symbols.place("");
    let timeseries = series.iter().map(|series| {
        let mut labels_refs = Vec::with_capacity(series.labels.len() * 2);
        for (name, value) in &series.labels {
            labels_refs.push(symbols.place(name));
            labels_refs.push(symbols.place(value));
        }
        let start_timestamp = series.start_millis.unwrap_or(0);
        TimeSeriesTwo {
            labels_refs,
            samples: vec![Sample { value: series.value, timestamp: series.at_millis, start_timestamp }],
            metadata: Some(Metadata {
                kind: number(series.kind),
                help_ref: symbols.place(series.help),
                unit_ref: symbols.place(unit(counted(family(series))).unwrap_or("")),
            }),
            created_timestamp: start_timestamp,
        }
    });
    let timeseries = timeseries.collect();
    Request { symbols: symbols.list, timeseries }.encode_to_vec()
}

/// A name without the end that says that it counts: a unit stands before that.
fn counted(name: &str) -> &str {
    name.strip_suffix("_total").unwrap_or(name)
}

/// Each text once.
#[derive(Default)]
struct Symbols {
    list: Vec<String>,
    places: HashMap<String, u32>,
}

impl Symbols {
    fn place(&mut self, text: &str) -> u32 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        self.list.push(text.to_owned());
        self.places.insert(text.to_owned(), place);
        place
    }
}
