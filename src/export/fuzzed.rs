//! What holds of what is sent and of what is answered, whatever applications, disks and receivers do: for tests and fuzzers alone.

use super::Form as _;
use super::otlp::post::{self, FORMS, GZIP};
use super::otlp::{Options as OtlpOptions, Temporality};
use super::pass::History;
use super::queue::{Record, file};
use super::remote_write::message::{Request, WriteRequest};
use super::remote_write::{self, Options as RemoteOptions, Version};
use super::resource::Attributes;
use super::sender::Outcome;
use crate::exporter::scrapes::Recorded;
use crate::metric::batch::Batch;
use crate::otlp::Options as Connection;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// An answer whose first line is its status, whose next lines are headers, and whose body comes after an empty line: no answer
/// says that more was taken than was sent.
pub(crate) fn answer(bytes: &[u8]) {
    let end = bytes.windows(2).position(|two| two == b"\n\n").unwrap_or(bytes.len());
    let (head, body) = bytes.split_at(end);
    let mut answer = Response::new(body.get(2..).unwrap_or_default());
    let mut lines = head.split(|byte| *byte == b'\n');
    let status = lines.next().and_then(|line| StatusCode::from_bytes(line).ok());
    *answer.status_mut() = status.unwrap_or(StatusCode::OK);
    for line in lines.take(50) {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(at);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            answer.headers_mut().append(name, value);
        }
    }
    let outcomes = remote_write::FORMS.iter().map(|form| {
        let record = Record { body: Vec::new(), points: 10, form };
        remote_write::outcome(&answer, &record)
    });
    for outcome in outcomes.chain([post::http(&answer), post::grpc(&answer)]) {
        if let Outcome::Later { after: Some(after), .. } = outcome {
            _ = after.from(0) + after.from(i64::MAX) / 2;
        }
    }
}

/// A file of a queue: what is taken for a record is written as that file again.
pub(crate) fn record(bytes: &[u8]) {
    if let Some(record) = file::record(bytes, FORMS) {
        assert!(file::bytes(&record) == bytes, "{record:?}");
    }
}

/// The decoders of remote write: what they take they write, and take again.
pub(crate) fn decoded(bytes: &[u8]) {
    if let Ok(request) = WriteRequest::decode(bytes) {
        let again = request.encode_to_vec();
        assert!(WriteRequest::decode(&*again).is_ok_and(|read| read.encode_to_vec() == again));
    }
    if let Ok(request) = Request::decode(bytes) {
        let again = request.encode_to_vec();
        assert!(Request::decode(&*again).is_ok_and(|read| read.encode_to_vec() == again));
    }
}

/// Samples that are sent by each way, as what they are and as what has vanished: each request is one that its receiver can take.
pub(crate) fn sent(batch: &Batch) {
    let connection = Connection { endpoint: Some("http://127.0.0.1:1".into()), ..Connection::default() };
    for temporality in [Temporality::Cumulative, Temporality::Delta] {
        let options = OtlpOptions { temporality: Some(temporality), ..OtlpOptions::default() };
        let started = options.start(&connection, &|_| None, Attributes::new());
        let Ok((mut form, _)) = started else { panic!("no form") };
        in_passes(batch, &mut |pass| {
            for record in form.records(pass) {
                assert!(record.form == GZIP);
                let mut body = Vec::new();
                let mut unpacked = flate2::read::GzDecoder::new(&*record.body);
                std::io::Read::read_to_end(&mut unpacked, &mut body).unwrap_or_default();
                otlp(&body);
            }
        });
    }
    for version in [Version::One, Version::Two] {
        let options = RemoteOptions { url: "http://127.0.0.1:1".into(), version, ..RemoteOptions::default() };
        let Ok((mut form, _)) = options.start(&Attributes::new()) else { panic!("no form") };
        in_passes(batch, &mut |pass| {
            for record in form.records(pass) {
                let body = snap::raw::Decoder::new().decompress_vec(&record.body).unwrap_or_default();
                for labels in labels(version, &body) {
                    series(&labels);
                }
            }
        });
    }
}

/// Twice there, and then gone.
fn in_passes(batch: &Batch, with: &mut dyn FnMut(&super::Pass)) {
    let mut history = History::default();
    for (n, batch) in [batch.clone(), batch.clone(), Batch::default()].into_iter().enumerate() {
        let now = i64::try_from(n).unwrap_or(0) * 1000;
        with(&history.next(Recorded { batch, begun: Instant::now() + Duration::from_hours(1) }, now));
    }
}

fn otlp(body: &[u8]) {
    let request = ExportMetricsServiceRequest::decode(body).unwrap_or_else(|e| panic!("no request: {e}"));
    let metrics = request.resource_metrics.iter().flat_map(|r| &r.scope_metrics).flat_map(|s| &s.metrics);
    for metric in metrics {
        assert!(!metric.name.is_empty() && metric.data.is_some(), "{metric:?}");
        if let Some(Data::Histogram(histogram)) = &metric.data {
            for point in histogram.data_points.iter().filter(|point| point.flags == 0) {
                assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1, "{point:?}");
                assert!(point.explicit_bounds.is_sorted(), "{point:?}");
            }
        }
    }
}

/// The labels of all series of a request.
fn labels(version: Version, body: &[u8]) -> Vec<Vec<(String, String)>> {
    if version == Version::One {
        let request = WriteRequest::decode(body).unwrap_or_else(|e| panic!("no request: {e}"));
        let labels = |series: super::remote_write::message::TimeSeries| {
            series.labels.into_iter().map(|label| (label.name, label.value)).collect()
        };
        return request.timeseries.into_iter().map(labels).collect();
    }
    let request = Request::decode(body).unwrap_or_else(|e| panic!("no request: {e}"));
    assert_eq!(request.symbols.first().map(String::as_str), Some(""));
    assert_eq!(request.symbols.iter().collect::<HashSet<_>>().len(), request.symbols.len());
    let symbol = |at: u32| {
        let symbol = usize::try_from(at).ok().and_then(|at| request.symbols.get(at));
        symbol.cloned().unwrap_or_else(|| panic!("no symbol {at}"))
    };
    let labels = |series: &super::remote_write::message::TimeSeriesTwo| {
        let (pairs, rest) = series.labels_refs.as_chunks::<2>();
        assert!(rest.is_empty() && series.metadata.is_some(), "{series:?}");
        pairs.iter().map(|[name, value]| (symbol(*name), symbol(*value))).collect()
    };
    request.timeseries.iter().map(labels).collect()
}

/// What receivers demand of a series.
fn series(labels: &[(String, String)]) {
    assert!(labels.is_sorted_by(|a, b| a.0 < b.0), "in order, and no name twice: {labels:?}");
    assert!(labels.iter().any(|(name, _)| name == "__name__"), "{labels:?}");
    for (name, value) in labels {
        let metric = name == "__name__";
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || (c == ':' && metric);
        let word = if metric { value } else { name };
        let begins = word.starts_with(|c: char| !c.is_ascii_digit());
        assert!(begins && word.chars().all(good) && !value.is_empty(), "{labels:?}");
    }
}
