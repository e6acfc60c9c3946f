//! Whose headers a request has, how its body is packed, and what answers mean.

use super::*;
use crate::otlp::{LOGS, METRICS, TRACES};
use hyper::body::Bytes;

fn connection() -> Connection {
    Connection { endpoint: Some("http://a".into()), ..Connection::default() }
}

fn how(signal: Signal) -> How<'static> {
    How { signal, key: "x.endpoint", endpoint: None, protocol: None, compression: None }
}

#[test]
fn each_signal_has_its_own_paths() {
    let of = |signal, protocol| {
        let how = How { protocol: Some(protocol), ..how(signal) };
        how.start(&connection(), &|_| None).unwrap().0.url
    };
    let service = "http://a/opentelemetry.proto.collector";
    for (signal, path, name) in [
        (METRICS, "metrics", "metrics.v1.Metrics"),
        (LOGS, "logs", "logs.v1.Logs"),
        (TRACES, "traces", "trace.v1.Trace"),
    ] {
        assert_eq!(of(signal, Protocol::HttpProtobuf), format!("http://a/v1/{path}"));
        assert_eq!(of(signal, Protocol::Grpc), format!("{service}.{name}Service/Export"));
    }
}

#[test]
fn a_record_is_sent_packed_as_it_was_made() {
    let (post, form) = how(METRICS).start(&connection(), &|_| None).unwrap();
    assert_eq!(form, GZIP);
    let coding = |form| {
        let call = post.call(&Record { body: vec![1, 2], points: 1, form }).unwrap();
        call.headers.get(CONTENT_ENCODING).map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!((coding(GZIP).as_deref(), coding(PLAIN)), (Some("gzip"), None));
    let grpc = How { protocol: Some(Protocol::Grpc), ..how(METRICS) };
    let (post, _) = grpc.start(&connection(), &|_| None).unwrap();
    let body = |form| post.call(&Record { body: vec![1, 2], points: 1, form }).unwrap().body.unwrap();
    assert_eq!((body(GZIP), body(PLAIN)), (vec![1, 0, 0, 0, 2, 1, 2], vec![0, 0, 0, 0, 2, 1, 2]));
}

#[test]
fn headers_come_from_the_environment_and_the_file_which_is_read_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("headers");
    std::fs::write(&file, "x-key: one\n").unwrap();
    let connection = Connection { headers_file: Some(file.clone()), ..connection() };
    let set = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-all=a%20b,x-both=all"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x-both=metrics"),
    ];
    let variable =
        |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let (post, _) = how(METRICS).start(&connection, &variable).unwrap();
    let of = |name: &str| post.all_headers().unwrap().get(name).map(|v| v.to_str().unwrap().to_owned());
    assert_eq!((of("x-all").as_deref(), of("x-both").as_deref()), (Some("a b"), Some("metrics")));
    assert_eq!(of("x-key").as_deref(), Some("one"));
    std::fs::write(&file, "x-key: two\n").unwrap();
    assert_eq!(of("x-key").as_deref(), Some("two"));
    std::fs::write(&file, "s3cret").unwrap();
    let Outcome::Later { reason, why, .. } =
        post.send(&Record { body: vec![], points: 0, form: PLAIN }, &|| None)
    else {
        panic!()
    };
    assert!(reason == "error" && !why.contains("s3cret"), "{why}");
}

#[test]
fn answers_say_whether_to_come_again() {
    let answer = |status: u16, headers: &[(&'static str, &'static str)], body: &'static [u8]| {
        let mut answer = Response::new(Bytes::from_static(body));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in headers {
            answer.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        answer
    };
    let reason = |outcome: Outcome| match outcome {
        Outcome::Taken { refused } => format!("taken but {refused}"),
        Outcome::Later { reason, after, .. } => {
            format!("{reason} {:?}", after.map(|after| after.from(0).as_secs()))
        }
        Outcome::Never { .. } => "never".into(),
    };
    // A partial success: three points refused.
    let partial = b"\x0a\x02\x08\x03";
    for (status, said) in [
        (200, "taken but 3"),
        (429, "busy Some(7)"),
        (503, "busy Some(7)"),
        (502, "error Some(7)"),
        (504, "error Some(7)"),
        (400, "never"),
        (401, "never"),
        (404, "never"),
        (413, "never"),
        (500, "never"),
    ] {
        assert_eq!(reason(http(&answer(status, &[("retry-after", "7")], partial))), said, "{status}");
    }
    let framed = b"\0\0\0\0\x04\x0a\x02\x08\x03";
    for (code, said) in [
        ("0", "taken but 3"),
        ("3", "never"),
        ("16", "never"),
        ("8", "never"),
        ("14", "busy None"),
        ("4", "error None"),
    ] {
        assert_eq!(reason(grpc(&answer(200, &[("grpc-status", code)], framed))), said, "{code}");
    }
    // A google.rpc.Status with a RetryInfo, as receivers send it that have no room for now.
    let details = "CAgSBGJ1c3kaLAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIA";
    let in_nine = "CAgSBGJ1c3kaMAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIECgIICQ==";
    let when = [("grpc-status", "8"), ("grpc-status-details-bin", details)];
    assert_eq!(reason(grpc(&answer(200, &when, b""))), "busy Some(0)");
    for code in ["8", "14"] {
        let when = [("grpc-status", code), ("grpc-status-details-bin", in_nine)];
        assert_eq!(reason(grpc(&answer(200, &when, b""))), "busy Some(9)", "{code}");
    }
    let date = [("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), ("date", "Sun, 06 Nov 1994 08:49:07 GMT")];
    assert_eq!(reason(http(&answer(429, &date, b""))), "busy Some(30)");
    assert_eq!(reason(grpc(&answer(200, &[], b"<html>"))), "error None", "no gRPC");
    assert_eq!(reason(grpc(&answer(503, &[], b""))), "busy None");
    assert_eq!(reason(http(&answer(200, &[], b"\xff\xff no protobuf"))), "taken but 0");
}
