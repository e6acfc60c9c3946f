//! Answers in the form of Prometheus's API, written without a tree of values in between: they may be long.

use crate::promql::{self, Error, Labels, Point, Series};
use crate::serve::Answer;
use hyper::StatusCode;
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};
use serde_json::json;

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

    /// A mistake of ours.
    pub(super) fn internal() -> Self {
        let why = "the query ended badly; see the log".to_owned();
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, kind: "internal", why }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (status, kind) = match error {
            Error::Late => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            _ => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
        };
        Self { status, kind, why: error.to_string() }
    }
}

/// The answer that says what was asked for.
pub(super) fn succeeded(data: &impl Serialize) -> Result<Vec<u8>, Failure> {
    #[derive(Serialize)]
    struct Whole<'a, T> {
        status: &'static str,
        data: &'a T,
    }
    serde_json::to_vec(&Whole { status: "success", data }).map_err(|_| Failure::internal())
}

/// The answer that says why there is none.
pub(super) fn failed(page: &'static str, failure: &Failure) -> Answer {
    let body = json!({ "status": "error", "errorType": failure.kind, "error": failure.why });
    Answer { status: failure.status, ..Answer::json(page, &body) }
}

/// What an expression says at one time, or over a time.
pub(super) struct Value<'a> {
    pub(super) value: &'a promql::Value,
    pub(super) at: i64,
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut out = to.serialize_struct("data", 2)?;
        match self.value {
            promql::Value::Scalar(value) => {
                out.serialize_field("resultType", "scalar")?;
                out.serialize_field("result", &Pair(Point { at: self.at, value: *value }))?;
            }
            promql::Value::Text(text) => {
                out.serialize_field("resultType", "string")?;
                out.serialize_field("result", &(Seconds(self.at), text))?;
            }
            promql::Value::Vector(samples) => {
                let one = |sample: &promql::Sample| Sample(sample.clone(), self.at);
                out.serialize_field("resultType", "vector")?;
                out.serialize_field("result", &samples.iter().map(one).collect::<Vec<_>>())?;
            }
            promql::Value::Matrix(all) => {
                out.serialize_field("resultType", "matrix")?;
                out.serialize_field("result", &all.iter().map(Line).collect::<Vec<_>>())?;
            }
        }
        out.end()
    }
}

/// Labels as an object.
pub(super) struct Metric<'a>(pub(super) &'a Labels);

impl Serialize for Metric<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut out = to.serialize_map(None)?;
        for (name, value) in self.0.iter() {
            out.serialize_entry(name, value)?;
        }
        out.end()
    }
}

struct Sample(promql::Sample, i64);

impl Serialize for Sample {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut out = to.serialize_struct("sample", 2)?;
        out.serialize_field("metric", &Metric(&self.0.labels))?;
        out.serialize_field("value", &Pair(Point { at: self.1, value: self.0.value }))?;
        out.end()
    }
}

struct Line<'a>(&'a Series);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        struct Points<'a>(&'a [Point]);
        impl Serialize for Points<'_> {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_seq(self.0.iter().copied().map(Pair))
            }
        }
        let mut out = to.serialize_struct("series", 2)?;
        out.serialize_field("metric", &Metric(&self.0.labels))?;
        out.serialize_field("values", &Points(&self.0.points))?;
        out.end()
    }
}

struct Pair(Point);

impl Serialize for Pair {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (Seconds(self.0.at), number(self.0.value)).serialize(to)
    }
}

/// A time in seconds, whole where it is.
struct Seconds(i64);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.0 % 1000 == 0 {
            to.serialize_i64(self.0 / 1000)
        } else {
            to.serialize_f64(self.0 as f64 / 1000.0)
        }
    }
}

/// A number as Prometheus writes it: all its digits, and never an exponent.
pub(super) fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => value.to_string(),
    }
}
