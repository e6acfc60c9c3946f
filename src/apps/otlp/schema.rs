//! The messages of OTLP metrics: which field has which number, name in JSON and kind.
//!
//! Source: <https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/metrics/v1/metrics.proto>.

use super::wire::{Fields, Malformed, Wire};

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Message(&'static Message),
    Text,
    /// Bytes that JSON has as hexadecimal digits: the ids of traces and spans.
    Hex,
    /// Bytes that JSON has in base 64.
    Base64,
    Bool,
    /// An unsigned or signed number of any size, as a varint.
    Integer,
    Signed32,
    Fixed64,
    Double,
    /// A number that has names in JSON, in their order from zero.
    Named(&'static [&'static str]),
}

/// A field.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Whether numbers of it may stand in one field together.
    pub(super) packed: bool,
}

/// A message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) fields: &'static [Field],
}

const fn one(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, packed: false }
}

const fn many(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, packed: true }
}

const TEMPORALITY: Kind = Kind::Named(&[
    "AGGREGATION_TEMPORALITY_UNSPECIFIED",
    "AGGREGATION_TEMPORALITY_DELTA",
    "AGGREGATION_TEMPORALITY_CUMULATIVE",
]);

/// The whole request.
pub(super) static REQUEST: Message =
    Message { fields: &[one(1, "resourceMetrics", Kind::Message(&RESOURCE_METRICS))] };

static RESOURCE_METRICS: Message = Message {
    fields: &[
        one(1, "resource", Kind::Message(&RESOURCE)),
        one(2, "scopeMetrics", Kind::Message(&SCOPE_METRICS)),
        one(3, "schemaUrl", Kind::Text),
    ],
};

static RESOURCE: Message = Message { fields: &[one(1, "attributes", Kind::Message(&KEY_VALUE))] };

static SCOPE_METRICS: Message = Message {
    fields: &[
        one(1, "scope", Kind::Message(&SCOPE)),
        one(2, "metrics", Kind::Message(&METRIC)),
        one(3, "schemaUrl", Kind::Text),
    ],
};

static SCOPE: Message = Message {
    fields: &[
        one(1, "name", Kind::Text),
        one(2, "version", Kind::Text),
        one(3, "attributes", Kind::Message(&KEY_VALUE)),
    ],
};

static METRIC: Message = Message {
    fields: &[
        one(1, "name", Kind::Text),
        one(2, "description", Kind::Text),
        one(3, "unit", Kind::Text),
        one(5, "gauge", Kind::Message(&GAUGE)),
        one(7, "sum", Kind::Message(&SUM)),
        one(9, "histogram", Kind::Message(&HISTOGRAM)),
        one(10, "exponentialHistogram", Kind::Message(&EXPONENTIAL)),
        one(11, "summary", Kind::Message(&SUMMARY)),
    ],
};

static GAUGE: Message = Message { fields: &[one(1, "dataPoints", Kind::Message(&NUMBER_POINT))] };

static SUM: Message = Message {
    fields: &[
        one(1, "dataPoints", Kind::Message(&NUMBER_POINT)),
        one(2, "aggregationTemporality", TEMPORALITY),
        one(3, "isMonotonic", Kind::Bool),
    ],
};

static HISTOGRAM: Message = Message {
    fields: &[
        one(1, "dataPoints", Kind::Message(&HISTOGRAM_POINT)),
        one(2, "aggregationTemporality", TEMPORALITY),
    ],
};

static EXPONENTIAL: Message = Message {
    fields: &[
        one(1, "dataPoints", Kind::Message(&EXPONENTIAL_POINT)),
        one(2, "aggregationTemporality", TEMPORALITY),
    ],
};

static SUMMARY: Message = Message { fields: &[one(1, "dataPoints", Kind::Message(&SUMMARY_POINT))] };

static NUMBER_POINT: Message = Message {
    fields: &[
        one(2, "startTimeUnixNano", Kind::Fixed64),
        one(3, "timeUnixNano", Kind::Fixed64),
        one(4, "asDouble", Kind::Double),
        one(5, "exemplars", Kind::Message(&EXEMPLAR)),
        one(6, "asInt", Kind::Fixed64),
        one(7, "attributes", Kind::Message(&KEY_VALUE)),
        one(8, "flags", Kind::Integer),
    ],
};

static HISTOGRAM_POINT: Message = Message {
    fields: &[
        one(2, "startTimeUnixNano", Kind::Fixed64),
        one(3, "timeUnixNano", Kind::Fixed64),
        one(4, "count", Kind::Fixed64),
        one(5, "sum", Kind::Double),
        many(6, "bucketCounts", Kind::Fixed64),
        many(7, "explicitBounds", Kind::Double),
        one(8, "exemplars", Kind::Message(&EXEMPLAR)),
        one(9, "attributes", Kind::Message(&KEY_VALUE)),
        one(10, "flags", Kind::Integer),
    ],
};

static EXPONENTIAL_POINT: Message = Message {
    fields: &[
        one(1, "attributes", Kind::Message(&KEY_VALUE)),
        one(2, "startTimeUnixNano", Kind::Fixed64),
        one(3, "timeUnixNano", Kind::Fixed64),
        one(4, "count", Kind::Fixed64),
        one(5, "sum", Kind::Double),
        one(6, "scale", Kind::Signed32),
        one(7, "zeroCount", Kind::Fixed64),
        one(8, "positive", Kind::Message(&BUCKETS)),
        one(9, "negative", Kind::Message(&BUCKETS)),
        one(10, "flags", Kind::Integer),
        one(11, "exemplars", Kind::Message(&EXEMPLAR)),
        one(14, "zeroThreshold", Kind::Double),
    ],
};

static BUCKETS: Message =
    Message { fields: &[one(1, "offset", Kind::Signed32), many(2, "bucketCounts", Kind::Integer)] };

static SUMMARY_POINT: Message = Message {
    fields: &[
        one(2, "startTimeUnixNano", Kind::Fixed64),
        one(3, "timeUnixNano", Kind::Fixed64),
        one(4, "count", Kind::Fixed64),
        one(5, "sum", Kind::Double),
        one(6, "quantileValues", Kind::Message(&QUANTILE)),
        one(7, "attributes", Kind::Message(&KEY_VALUE)),
        one(8, "flags", Kind::Integer),
    ],
};

static QUANTILE: Message =
    Message { fields: &[one(1, "quantile", Kind::Double), one(2, "value", Kind::Double)] };

static EXEMPLAR: Message = Message {
    fields: &[
        one(2, "timeUnixNano", Kind::Fixed64),
        one(3, "asDouble", Kind::Double),
        one(4, "spanId", Kind::Hex),
        one(5, "traceId", Kind::Hex),
        one(6, "asInt", Kind::Fixed64),
        one(7, "filteredAttributes", Kind::Message(&KEY_VALUE)),
    ],
};

static KEY_VALUE: Message =
    Message { fields: &[one(1, "key", Kind::Text), one(2, "value", Kind::Message(&ANY_VALUE))] };

static ANY_VALUE: Message = Message {
    fields: &[
        one(1, "stringValue", Kind::Text),
        one(2, "boolValue", Kind::Bool),
        one(3, "intValue", Kind::Integer),
        one(4, "doubleValue", Kind::Double),
        one(5, "arrayValue", Kind::Message(&ARRAY)),
        one(6, "kvlistValue", Kind::Message(&KEY_VALUES)),
        one(7, "bytesValue", Kind::Base64),
    ],
};

static ARRAY: Message = Message { fields: &[one(1, "values", Kind::Message(&ANY_VALUE))] };

static KEY_VALUES: Message = Message { fields: &[one(1, "values", Kind::Message(&KEY_VALUE))] };

/// How deep messages may lie in each other; values of attributes may be lists of lists.
const DEPTH_MAX: usize = 32;

/// Whether the bytes are a request from the first to the last: nothing of one that is not is taken.
pub(super) fn check(bytes: &[u8]) -> Result<(), Malformed> {
    check_message(&REQUEST, bytes, DEPTH_MAX)
}

fn check_message(message: &Message, bytes: &[u8], depth: usize) -> Result<(), Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    for field in Fields(bytes) {
        let (number, wire) = field?;
        // Fields that nobody knows here may come with a later version.
        let Some(field) = message.fields.iter().find(|field| field.number == number) else { continue };
        match (field.kind, wire) {
            (Kind::Message(inner), Wire::Bytes(bytes)) => check_message(inner, bytes, depth)?,
            (Kind::Text, Wire::Bytes(bytes)) => {
                std::str::from_utf8(bytes).map_err(|_| Malformed)?;
            }
            (Kind::Fixed64 | Kind::Double, Wire::Bytes(bytes)) if field.packed && bytes.len() % 8 == 0 => {}
            (Kind::Integer, Wire::Bytes(bytes)) if field.packed => {
                super::wire::varints(bytes).try_for_each(|value| value.map(drop))?;
            }
            (Kind::Hex | Kind::Base64, Wire::Bytes(_))
            | (Kind::Fixed64 | Kind::Double, Wire::Fixed64(_))
            | (Kind::Bool | Kind::Integer | Kind::Signed32 | Kind::Named(_), Wire::Varint(_)) => {}
            _ => return Err(Malformed),
        }
    }
    Ok(())
}
