//! The OTLP receiver as a process: what it takes, what it refuses and counts, and that nothing else is harmed by it.

use crate::stack::{HEADROOM, Running, eventually, free_address, get, metric};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

struct Exporter {
    running: Running,
    page: SocketAddr,
    http: SocketAddr,
    grpc: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Exporter {
    fn start(more: &str) -> Self {
        let (page, http, grpc) = (free_address(), free_address(), free_address());
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "s3cret\n").unwrap();
        let file = dir.path().join("headroom.yaml");
        let text = format!(
            "exporter: {{listen: '{page}', page_age_max: 0s, collectors: {{disable_defaults: true, enabled: [time]}}}}\n\
             applications:\n  otlp: {{http: '{http}', grpc: '{grpc}'{more}}}\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(HEADROOM);
        command.arg("exporter").arg("--config").arg(&file);
        let running = Running::start(&mut command, &dir.path().join("log"));
        eventually("the exporter", 20, || get(&format!("http://{page}/-/ready")));
        Self { running, page, http, grpc, _dir: dir }
    }

    fn page(&self) -> String {
        let (status, page) = get(&format!("http://{}/metrics", self.page)).unwrap();
        assert_eq!(status, 200, "{page}");
        page
    }

    fn refused(&self, reason: &str) -> f64 {
        let page = self.page();
        let series = format!("headroom_apps_points_refused_total{{input=\"otlp\",reason=\"{reason}\"}}");
        crate::page::value(&page, &series).unwrap_or(0.0)
    }

    /// What is resident, in MiB.
    fn resident(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.running.pid())).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }
}

/// Sends a request; status, head and body of the answer.
fn post(to: SocketAddr, headers: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let length = body.len();
    let head = format!(
        "POST /v1/metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // A body that is too long may be refused before its end.
    _ = stream.write_all(body);
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), answer[end + 4..].to_vec())
}

const JSON: &str = "Content-Type: application/json\r\n";
const PROTOBUF: &str = "Content-Type: application/x-protobuf\r\n";

/// A request of one application with these metrics.
fn request(job: &str, metrics: &str) -> String {
    format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"{job}"}}}}]}},
        "scopeMetrics":[{{"metrics":[{metrics}]}}]}}]}}"#
    )
}

fn gauge(name: &str, points: &str) -> String {
    format!(r#"{{"name":"{name}","gauge":{{"dataPoints":[{points}]}}}}"#)
}

fn send(to: SocketAddr, json: &str) -> serde_json::Value {
    let (status, _, body) = post(to, JSON, json.as_bytes());
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

fn rejected(answer: &serde_json::Value) -> u64 {
    let text = answer["partialSuccess"]["rejectedDataPoints"].as_str().unwrap_or("0");
    text.parse().unwrap()
}

#[test]
fn what_is_no_request_is_refused_with_the_status_that_says_so() {
    let exporter = Exporter::start(", body_max: 64KiB");
    let good = request("a", &gauge("g", r#"{"asInt":"1"}"#));
    assert_eq!(send(exporter.http, &good), serde_json::json!({}));
    let long = format!("{{\"later\":\"{}\"}}", "x".repeat(70_000));
    let bomb = {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(&vec![0; 50 << 20]).unwrap();
        packed.finish().unwrap()
    };
    let gzip = format!("{PROTOBUF}Content-Encoding: gzip\r\n");
    let deep = [
        r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"a","value":"#,
        &r#"{"arrayValue":{"values":["#.repeat(40),
        &"]}}".repeat(40),
        "}]}}]}",
    ]
    .concat();
    for (headers, body, status, said) in [
        ("", good.as_bytes(), 415, "content type"),
        ("Content-Type: text/plain\r\n", good.as_bytes(), 415, "content type"),
        (&format!("{JSON}Content-Encoding: br\r\n"), good.as_bytes(), 415, "packed in an unknown way"),
        (JSON, b"{\"resourceMetrics\":[", 400, "EOF"),
        (JSON, b"{\"resourceMetrics\":[{\"schemaUrl\":\"\xff\"}]}", 400, "no request"),
        (JSON, long.as_bytes(), 413, "longer than 65536"),
        (JSON, deep.as_bytes(), 400, "no request"),
        (PROTOBUF, b"\x0a\xff\xff\xff\xff\x0f", 400, "ends too soon"),
        (PROTOBUF, good.as_bytes(), 400, "no request"),
        (&gzip, b"this is not gzip", 400, "no request"),
        (&gzip, &bomb, 413, "longer than 65536"),
    ] {
        let (got, head, answer) = post(exporter.http, headers, body);
        let text = String::from_utf8_lossy(&answer);
        assert!(got == status && text.contains(said), "{headers:?}: {got} {text}, not {status} {said}");
        // A google.rpc.Status in the form of the request.
        let form = if headers.contains("protobuf") { "application/x-protobuf" } else { "application/json" };
        assert!(head.contains(&format!("content-type: {form}")), "{head}");
        assert!(form.contains("protobuf") == (answer[0] == 0x08), "{text}");
    }
    let page = exporter.page();
    assert_eq!(metric(&page, "g{job=\"a\"}"), 1.0);
    assert!(
        page.contains(
            "headroom_http_requests_total{code=\"413\",handler=\"otlp\",listener=\"otlp_http\"} 2\n"
        )
    );
    assert!(exporter.resident() < 128, "{} MiB", exporter.resident());
}

#[test]
fn a_token_is_asked_for_and_grpc_is_spoken_without_tls() {
    let exporter = Exporter::start(", token_file: token");
    let good = request("a", &gauge("g", r#"{"asInt":"1"}"#));
    assert_eq!(post(exporter.http, JSON, good.as_bytes()).0, 401);
    assert_eq!(post(exporter.http, &format!("{JSON}Authorization: Bearer no\r\n"), good.as_bytes()).0, 401);
    assert_eq!(
        post(exporter.http, &format!("{JSON}Authorization: Bearer s3cret\r\n"), good.as_bytes()).0,
        200
    );
    // The preface of HTTP/2 is answered with the server's settings.
    let mut stream = TcpStream::connect(exporter.grpc).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut frame = [0; 9];
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.read_exact(&mut frame).unwrap();
    assert_eq!(frame[3], 4, "{frame:?}");
}

#[test]
fn label_bombs_skewed_clocks_and_odd_numbers_are_capped_and_counted() {
    let exporter = Exporter::start("");
    let attribute =
        |key: &str, value: &str| format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#);
    let point = |attributes: &str| format!(r#"{{"asInt":"1","attributes":[{attributes}]}}"#);
    let many: Vec<String> = (0..100).map(|i| attribute(&format!("k{i}"), "v")).collect();
    let counter = |value: &str, time: &str| {
        format!(
            r#"{{"name":"c","sum":{{"aggregationTemporality":1,"isMonotonic":true,"dataPoints":[{{{value},"timeUnixNano":"{time}"}}]}}}}"#
        )
    };
    let far = "18446744073709551615";
    for (reason, metric) in [
        ("labels", gauge("g", &point(&many.join(",")))),
        ("label_value", gauge("g", &point(&attribute("k", &"v".repeat(2000))))),
        ("name", gauge("g", &point(&attribute(&"k".repeat(300), "v")))),
        ("name", gauge(&"g".repeat(300), r#"{"asInt":"1"}"#)),
        ("name", gauge("", r#"{"asInt":"1"}"#)),
        ("number", counter(r#""asDouble":"NaN""#, "1")),
        ("number", counter(r#""asDouble":"Infinity""#, "1")),
        ("malformed", gauge("g", "{}")),
    ] {
        let before = exporter.refused(reason);
        assert_eq!(rejected(&send(exporter.http, &request("bad", &metric))), 1, "{reason} {metric}");
        assert_eq!(exporter.refused(reason), before + 1.0, "{reason} {metric}");
    }
    for (value, time) in [("1", "1"), ("2", far), ("3", "1700000000000000000")] {
        let metric = gauge("skewed", &format!(r#"{{"asInt":"{value}","timeUnixNano":"{time}"}}"#));
        assert_eq!(rejected(&send(exporter.http, &request("skewed", &metric))), 0, "{time}");
    }
    send(
        exporter.http,
        &request(
            "good",
            &gauge(
                "odd",
                r#"{"asDouble":"NaN"},{"asDouble":"-Infinity","attributes":[{"key":"a","value":{"boolValue":true}}]}"#,
            ),
        ),
    );
    let page = exporter.page();
    assert_eq!(metric(&page, "skewed{job=\"skewed\"}"), 3.0);
    assert!(
        page.contains("odd{job=\"good\"} NaN\n") && page.contains("odd{job=\"good\",a=\"true\"} -Inf\n"),
        "{page}"
    );
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(0x80 | u8::try_from(value & 0x7f).unwrap());
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
}

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    varint(&mut out, content.len());
    out.extend_from_slice(content);
    out
}

#[test]
fn a_million_series_are_capped_while_all_else_goes_on() {
    const BATCH: usize = 20_000;
    let exporter = Exporter::start("");
    let begin = Instant::now();
    let (mut taken, mut batches) = (0, 0);
    for batch in 0..1_000_000 / BATCH {
        let points: Vec<u8> = (0..BATCH)
            .flat_map(|i| {
                let value = field(1, format!("series {}", batch * BATCH + i).as_bytes());
                let attribute = [field(1, b"id"), field(2, &value)].concat();
                let point = [&[0x31][..], &7_u64.to_le_bytes(), &field(7, &attribute)].concat();
                field(1, &point)
            })
            .collect();
        // Each batch is an application of its own, so that the limit of all of them is met as well.
        let name = field(1, format!("bomb{}", batch % 10).as_bytes());
        let resource = field(1, &field(1, &[field(1, b"service.name"), field(2, &name)].concat()));
        let metric = [field(1, b"bomb"), field(5, &points)].concat();
        let body = field(1, &[resource, field(2, &field(2, &metric))].concat());
        let (status, _, answer) = post(exporter.http, PROTOBUF, &body);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        taken += usize::from(answer.is_empty()) * BATCH;
        batches += 1;
        if batch % 10 == 5 {
            assert_eq!(get(&format!("http://{}/-/healthy", exporter.page)).unwrap().0, 200);
        }
    }
    eprintln!("a million points took {:?}, and {} MiB", begin.elapsed(), exporter.resident());
    assert_eq!(batches, 50);
    let page = exporter.page();
    let held = metric(&page, "headroom_apps_series");
    assert!(held <= 100_000.0 && taken <= 100_000, "{held} {taken}");
    let total = metric(&page, "headroom_apps_points_total{input=\"otlp\"}");
    let refused: f64 = ["series", "application_series", "application_memory", "memory"]
        .iter()
        .map(|reason| exporter.refused(reason))
        .sum();
    assert_eq!(total + refused, 1_000_000.0, "{total} {refused}");
    assert!(metric(&page, "headroom_apps_held_bytes") <= f64::from(32 << 20));
    // What others send that is known already is taken as before.
    let (status, _, answer) = post(
        exporter.http,
        JSON,
        request(
            "bomb0",
            &gauge("bomb", r#"{"asInt":"1","attributes":[{"key":"id","value":{"stringValue":"series 7"}}]}"#),
        )
        .as_bytes(),
    );
    assert_eq!((status, answer.as_slice()), (200, &b"{}"[..]));
    assert!(page.contains("node_scrape_collector_success{collector=\"time\"} 1\n"));
    assert!(exporter.resident() < 160, "{} MiB", exporter.resident());
}

#[test]
fn small_bodies_that_become_large_ones_hold_no_more_than_their_bytes() {
    // What fits into a body of 4 MiB; packed it is a few thousand bytes. Less where it is time that it would take.
    let many = |one: &[u8]| one.repeat((4 << 20) / one.len() - 100);
    let gauge = |points: &[u8]| field(2, &[field(1, b"g"), field(5, points)].concat());
    let point = |content: &[u8]| field(2, &gauge(&field(1, content)));
    let value = [&[0x31][..], &7_u64.to_le_bytes()].concat();
    let exemplar = field(5, &[&[0x19][..], &7_u64.to_le_bytes(), &field(4, b"a"), &field(5, b"a")].concat());
    let part = |one: &[u8]| one.repeat((1 << 20) / one.len() - 100);
    let exporter = Exporter::start("");
    let begin = exporter.resident();
    for (what, resource_metrics, said) in [
        ("attributes of a resource", field(1, &many(&field(1, b""))), ""),
        (
            "attributes of a scope for each of many points",
            field(2, &[field(1, &part(&field(3, b""))), gauge(&part(&field(1, b"")))].concat()),
            "could not be read",
        ),
        ("attributes of a point", point(&[many(&field(7, b"")), value.clone()].concat()), ""),
        ("exemplars", point(&[many(&exemplar), value.clone()].concat()), ""),
        ("ids of an exemplar", point(&[field(5, &many(&field(4, b"a"))), value.clone()].concat()), ""),
        (
            "values of a list",
            field(1, &field(1, &[field(1, b"k"), field(2, &field(5, &many(&field(1, b""))))].concat())),
            "value of a label is too long",
        ),
        ("metrics", field(2, &part(&field(2, b""))), ""),
        ("resources without anything", Vec::new(), ""),
    ] {
        let whole =
            if resource_metrics.is_empty() { part(&field(1, b"")) } else { field(1, &resource_metrics) };
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(&whole).unwrap();
        let packed = packed.finish().unwrap();
        assert!(packed.len() < 20_000, "{what}: {} bytes", packed.len());
        let headers = format!("{PROTOBUF}Content-Encoding: gzip\r\n");
        let (status, _, answer) = post(exporter.http, &headers, &packed);
        let answer = String::from_utf8_lossy(&answer);
        assert!(status == 200 && answer.contains(said), "{what}: {status} {answer}");
        assert!(!said.is_empty() || answer.is_empty(), "{what}: {answer}");
        let more = exporter.resident() - begin;
        eprintln!("{what}: {} bytes, {more} MiB more", packed.len());
        // The body, what it was while it grew, and what is held of the rest.
        assert!(more < 32, "{what}: {more} MiB more");
    }
}

#[test]
fn who_comes_when_bodies_hold_all_that_they_may_is_told_to_come_again() {
    let exporter = Exporter::start(", body_max: 64KiB, in_flight_max: 64KiB");
    let padded = |length: usize| {
        let good = request("a", &gauge("g", r#"{"asInt":"1"}"#));
        format!("{good}{}", " ".repeat(length - good.len()))
    };
    let head = format!("POST /v1/metrics HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: 60000\r\n\r\n");
    // Whichever of the two is read first keeps its room, so it may take more than one try.
    let (head, slow) = eventually("a refusal", 30, || {
        // Most of a body, and then nothing.
        let mut slow = TcpStream::connect(exporter.http).unwrap();
        slow.write_all(head.as_bytes()).unwrap();
        slow.write_all(&padded(60_000).as_bytes()[..50_000]).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let (status, head, _) = post(exporter.http, JSON, padded(40_000).as_bytes());
        (status == 503).then_some((head, slow))
    });
    assert!(head.contains("retry-after: 5"), "{head}");
    // What it held is given back when it goes.
    drop(slow);
    eventually("room again", 30, || {
        (post(exporter.http, JSON, padded(40_000).as_bytes()).0 == 200).then_some(())
    });
}
