//! Answers in the form of Prometheus's API.

use crate::promql::{Error, Labels, Point, Series, Value};
use crate::serve::Answer;
use hyper::StatusCode;
use serde_json::{Map, Value as Json, json};

/// Why there is no answer, in Prometheus's words.
pub(super) struct Failure {
    status: StatusCode,
    kind: &'static str,
    why: String,
}

impl Failure {
    /// A parameter that cannot be used.
    pub(super) fn bad(parameter: &str, why: &str) -> Self {
        let why = format!("invalid parameter {parameter:?}: {why}");
        Self { status: StatusCode::BAD_REQUEST, kind: "bad_data", why }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, kind: "execution", why: error.to_string() }
    }
}

/// The answer that says what was asked for.
pub(super) fn succeeded(page: &'static str, data: &Json) -> Answer {
    Answer::json(page, &json!({ "status": "success", "data": data }))
}

/// The answer that says why there is none.
pub(super) fn failed(page: &'static str, failure: &Failure) -> Answer {
    let body = json!({ "status": "error", "errorType": failure.kind, "error": failure.why });
    Answer { status: failure.status, ..Answer::json(page, &body) }
}

/// What an expression says at one time.
pub(super) fn value(value: &Value, at: i64) -> Json {
    let (kind, result) = match value {
        Value::Scalar(value) => ("scalar", point(Point { at, value: *value })),
        Value::Text(text) => ("string", json!([seconds(at), text])),
        Value::Matrix(all) => return matrix(all),
        Value::Vector(samples) => {
            let one = |sample: &crate::promql::Sample| json!({ "metric": labels(&sample.labels), "value": point(Point { at, value: sample.value }) });
            ("vector", samples.iter().map(one).collect())
        }
    };
    json!({ "resultType": kind, "result": result })
}

/// Series over a time.
pub(super) fn matrix(all: &[Series]) -> Json {
    let one = |series: &Series| json!({ "metric": labels(&series.labels), "values": series.points.iter().copied().map(point).collect::<Json>() });
    json!({ "resultType": "matrix", "result": all.iter().map(one).collect::<Json>() })
}

/// Labels as an object.
pub(super) fn labels(labels: &Labels) -> Json {
    labels.iter().map(|(name, value)| (name.to_owned(), Json::from(value))).collect::<Map<_, _>>().into()
}

/// A time in seconds, whole where it is.
pub(super) fn seconds(at: i64) -> Json {
    if at % 1000 == 0 { json!(at / 1000) } else { json!(at as f64 / 1000.0) }
}

/// A number as Prometheus writes it: all its digits, and never an exponent.
pub(super) fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => value.to_string(),
    }
}

fn point(point: Point) -> Json {
    json!([seconds(point.at), number(point.value)])
}
