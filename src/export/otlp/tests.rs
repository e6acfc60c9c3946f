//! Where requests go by configuration and environment, and what answers mean.

use super::*;
use hyper::body::Bytes;

fn connection(endpoint: Option<&str>) -> Connection {
    Connection { endpoint: endpoint.map(str::to_owned), ..Connection::default() }
}

fn environment<'a>(set: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
    |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
}

#[test]
fn nothing_is_sent_unless_somebody_asks_for_metrics() {
    let on = |enabled, endpoint, set: &[(&str, &str)]| {
        Options { enabled, ..Options::default() }.is_on(&connection(endpoint), &environment(set))
    };
    assert!(on(true, Some("http://a"), &[]));
    assert!(!on(false, Some("http://a"), &[]), "traces alone");
    assert!(!on(false, None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a")]));
    assert!(on(false, None, &[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://a")]));
    let asked = [("OTEL_METRICS_EXPORTER", "otlp"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a")];
    assert!(
        on(false, None, &asked) && !on(false, None, &asked[..1]) && on(false, Some("http://b"), &asked[..1])
    );
    assert!(!on(true, Some("http://a"), &[("OTEL_METRICS_EXPORTER", "none")]));
    assert!(!on(true, Some("http://a"), &[("OTEL_SDK_DISABLED", "true")]));
}

#[test]
fn the_configuration_stands_over_the_environment() {
    let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let of = |options: &Options, endpoint, set: &[(&str, &str)]| {
        let (form, post) = options
            .start(&connection(endpoint), &environment(set), Attributes::new())
            .map_err(|e| e.to_string())?;
        Ok::<_, String>((post.url, form.gzip, form.temporality, post.deadline.as_secs()))
    };
    let plain = Options::default();
    let (cumulative, delta) = (Temporality::Cumulative, Temporality::Delta);
    assert_eq!(
        of(&plain, Some("http://a:1/"), &[]),
        Ok(("http://a:1/v1/metrics".into(), true, cumulative, 10))
    );
    let all = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://b:2/x"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "3000"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "Delta"),
    ];
    assert_eq!(of(&plain, None, &all), Ok(("http://b:2/x/v1/metrics".into(), false, delta, 3)));
    let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://c:3/y");
    assert_eq!(of(&plain, None, &[all[0], own]).unwrap().0, "http://c:3/y");
    assert_eq!(of(&plain, None, &[all[0], own, grpc]).unwrap().0, format!("http://c:3{METHOD}"));
    let said = Options {
        endpoint: Some("http://d:4".into()),
        protocol: Some(Protocol::HttpProtobuf),
        compression: Some(Compression::Gzip),
        temporality: Some(cumulative),
        ..Options::default()
    };
    let [first, packed, timeout, preference] = all;
    let got = of(&said, Some("http://a:1"), &[first, packed, timeout, preference, own, grpc]);
    assert_eq!(got, Ok(("http://d:4/v1/metrics".into(), true, cumulative, 3)));
    assert!(of(&plain, None, &[]).unwrap_err().contains("export.otlp.endpoint"));
    assert!(of(&plain, Some("ftp://a"), &[]).is_err());
}

#[test]
fn headers_come_from_the_environment_and_the_file_which_is_read_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("headers");
    std::fs::write(&file, "x-key: one\n").unwrap();
    let connection = Connection { headers_file: Some(file.clone()), ..connection(Some("http://a")) };
    let set = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-all=a%20b,x-both=all"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x-both=metrics"),
    ];
    let (_, post) = Options::default().start(&connection, &environment(&set), Attributes::new()).unwrap();
    let of = |name: &str| post.all_headers().unwrap().get(name).map(|v| v.to_str().unwrap().to_owned());
    assert_eq!((of("x-all").as_deref(), of("x-both").as_deref()), (Some("a b"), Some("metrics")));
    assert_eq!(of("x-key").as_deref(), Some("one"));
    std::fs::write(&file, "x-key: two\n").unwrap();
    assert_eq!(of("x-key").as_deref(), Some("two"));
    std::fs::write(&file, "s3cret").unwrap();
    let Outcome::Later { reason, why, .. } = post.send(b"", &|| None) else { panic!() };
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
        Outcome::Later { reason, after, .. } => format!("{reason} {:?}", after.map(|a| a.as_secs())),
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
    let when = [("grpc-status", "8"), ("grpc-status-details-bin", details)];
    assert_eq!(reason(grpc(&answer(200, &when, b""))), "busy None");
    assert_eq!(reason(grpc(&answer(200, &[], b"<html>"))), "error None", "no gRPC");
    assert_eq!(reason(grpc(&answer(503, &[], b""))), "busy None");
    assert_eq!(reason(http(&answer(200, &[], b"\xff\xff no protobuf"))), "taken but 0");
}
