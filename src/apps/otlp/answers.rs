//! What a sender is told: by HTTP in protocol buffers or JSON as it asked, by gRPC in its frames and trailers.

use super::request::Outcome;
use super::wire::{put_bytes, put_key, put_varint};
use crate::serve::Answer;
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use serde_json::json;
use std::fmt::Write;

/// The `handler` label of all answers.
pub(super) const NAME: &str = "otlp";
/// How long somebody is to wait who came when there was no room.
const RETRY_SECONDS: u64 = 5;

/// What a body is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Protobuf,
    Json,
}

impl Form {
    /// By the header `Content-Type`.
    pub(super) fn named(content_type: &str) -> Option<Self> {
        match content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "application/x-protobuf" => Some(Self::Protobuf),
            "application/json" => Some(Self::Json),
            _ => None,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

/// Why a request was not taken at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is no request; to send it again is in vain.
    Malformed(String),
    /// It is longer than it may be.
    TooLong(usize),
    /// It did not come to its end in time.
    TooSlow,
    /// There is no room for it now.
    Busy,
    /// It is packed in a way that nobody here knows.
    Packing,
}

impl Fault {
    /// The status of HTTP and that of gRPC.
    fn codes(&self) -> (StatusCode, u8) {
        match self {
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, 3),
            Self::TooLong(_) => (StatusCode::PAYLOAD_TOO_LARGE, 8),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, 4),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, 14),
            Self::Packing => (StatusCode::UNSUPPORTED_MEDIA_TYPE, 12),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Malformed(why) => format!("this is no request for metrics: {why}"),
            Self::TooLong(most) => {
                format!("the request is longer than {most} bytes (applications.otlp.body_max)")
            }
            Self::TooSlow => "the body took too long".into(),
            Self::Busy => {
                "there is no room for more requests at once (applications.otlp.in_flight_max)".into()
            }
            Self::Packing => {
                format!("the body is packed in an unknown way; known are {}", super::unpack::KNOWN)
            }
        }
    }
}

/// The message `ExportMetricsServiceResponse`: empty if all was taken.
fn response(outcome: &Outcome) -> Vec<u8> {
    let mut out = Vec::new();
    let rejected = outcome.rejected();
    if !outcome.is_whole() {
        let mut partial = Vec::new();
        // A text without a number is a warning.
        if rejected > 0 {
            put_key(&mut partial, 1, 0);
            put_varint(&mut partial, rejected);
        }
        put_bytes(&mut partial, 2, outcome.to_string().as_bytes());
        put_bytes(&mut out, 1, &partial);
    }
    out
}

/// The answer by HTTP.
pub(super) fn http(form: Form, result: &Result<Outcome, Fault>) -> Answer {
    let fault = match result {
        Ok(outcome) => {
            let body = match form {
                Form::Protobuf => response(outcome),
                Form::Json if outcome.is_whole() => b"{}".to_vec(),
                Form::Json => {
                    // 64-bit numbers are texts in the JSON of protocol buffers.
                    let (rejected, why) = (outcome.rejected().to_string(), outcome.to_string());
                    json!({"partialSuccess": {"rejectedDataPoints": rejected, "errorMessage": why}})
                        .to_string()
                        .into_bytes()
                }
            };
            return Answer::page(NAME, form.content_type(), body);
        }
        Err(fault) => fault,
    };
    let (status, code) = fault.codes();
    let mut answer = refusal(form, (status, code), &fault.text());
    if *fault == Fault::Busy {
        answer = answer.with(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
    }
    answer
}

/// An answer with a `google.rpc.Status`.
pub(super) fn refusal(form: Form, (status, code): (StatusCode, u8), why: &str) -> Answer {
    let body = match form {
        Form::Protobuf => {
            let mut out = Vec::new();
            put_key(&mut out, 1, 0);
            put_varint(&mut out, code.into());
            put_bytes(&mut out, 2, why.as_bytes());
            out
        }
        Form::Json => json!({"code": code, "message": why}).to_string().into_bytes(),
    };
    let mut answer = Answer::page(NAME, form.content_type(), body);
    answer.status = status;
    answer
}

const GRPC: &str = "application/grpc";
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The answer by gRPC.
pub(super) fn grpc(result: &Result<Outcome, Fault>) -> Answer {
    match result {
        Ok(outcome) => {
            let message = response(outcome);
            let mut body = vec![0];
            body.extend_from_slice(&u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
            body.extend_from_slice(&message);
            let mut answer = Answer::page(NAME, GRPC, body);
            answer.trailers = Some(Box::new(HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))])));
            answer
        }
        Err(fault) => grpc_refusal(fault.codes().1, &fault.text()),
    }
}

/// An answer that is nothing but a status.
pub(super) fn grpc_refusal(code: u8, why: &str) -> Answer {
    let mut answer = Answer::page(NAME, GRPC, Vec::new()).with(STATUS, HeaderValue::from(u16::from(code)));
    if let Ok(why) = HeaderValue::try_from(percent(why)) {
        answer = answer.with(MESSAGE, why);
    }
    if code == 12 {
        let known = HeaderValue::from_static("identity,gzip,zstd");
        answer = answer.with(HeaderName::from_static("grpc-accept-encoding"), known);
    }
    answer
}

/// A text as the header `grpc-message` has it.
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apps::limits::Refusal;

    #[test]
    fn all_taken_is_an_empty_answer_and_some_refused_says_how_many_and_why() {
        let all = Outcome { taken: 5, ..Outcome::default() };
        assert!(http(Form::Protobuf, &Ok(all.clone())).body.is_empty());
        assert_eq!(&*http(Form::Json, &Ok(all.clone())).body, b"{}");
        let some = Outcome { refused: [(Refusal::Series, 2), (Refusal::Labels, 1)].into(), ..all };
        let json = http(Form::Json, &Ok(some.clone())).body;
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["partialSuccess"]["rejectedDataPoints"], "3");
        let text = json["partialSuccess"]["errorMessage"].as_str().unwrap();
        assert!(
            text.contains("2 not taken: there are too many series") && text.contains("; 1 not taken"),
            "{text}"
        );
        let bytes = http(Form::Protobuf, &Ok(some.clone())).body;
        assert_eq!(bytes[..1], [0x0a]);
        assert_eq!(bytes[3..5], [0x08, 3], "behind a length of two bytes: {bytes:?}");
        let warned = Outcome { unshown: [(Refusal::Labels, 1)].into(), ..Outcome::default() };
        assert_eq!(http(Form::Protobuf, &Ok(warned.clone())).body[2], 0x12, "a text alone");
        let json = http(Form::Json, &Ok(warned)).body;
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["partialSuccess"]["rejectedDataPoints"], "0");
        let text = json["partialSuccess"]["errorMessage"].as_str().unwrap();
        assert!(text.starts_with("1 without target_info: there are too many labels"), "{text}");
        let framed = grpc(&Ok(some));
        assert_eq!(usize::from(framed.body[4]), framed.body.len() - 5);
        assert_eq!((framed.body[0], &framed.body[5..]), (0, &bytes[..]));
        assert_eq!(framed.trailers.unwrap().get(STATUS).unwrap(), "0");
    }

    #[test]
    fn faults_have_the_status_that_says_whether_to_come_again() {
        for (fault, status, code) in [
            (Fault::Malformed("x".into()), 400, 3),
            (Fault::TooLong(7), 413, 8),
            (Fault::TooSlow, 408, 4),
            (Fault::Busy, 503, 14),
            (Fault::Packing, 415, 12),
        ] {
            let answer = http(Form::Protobuf, &Err(fault.clone()));
            assert_eq!((answer.status.as_u16(), &answer.body[..2]), (status, &[0x08, code][..]), "{fault:?}");
            assert_eq!(answer.headers.iter().any(|(name, _)| name == RETRY_AFTER), fault == Fault::Busy);
            let answer = grpc(&Err(fault));
            let header =
                |wanted: &HeaderName| answer.headers.iter().find(|(n, _)| n == wanted).map(|(_, v)| v);
            assert_eq!(header(&STATUS), Some(&HeaderValue::from(u16::from(code))));
            assert!(header(&MESSAGE).is_some() && answer.body.is_empty() && answer.trailers.is_none());
        }
        assert_eq!(percent("a%\nü"), "a%25%0A%C3%BC");
    }
}
