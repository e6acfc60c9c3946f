//! Metrics that are sent: to Headroom's own receiver, to a real Prometheus, and to destinations that are dead, slow or busy.

use crate::page::value;
use crate::receiver::{Receiver, Value, fields};
use crate::stack::{HEADROOM, Running, eventually, free_address, get, program};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// An exporter that sends each second.
pub(crate) struct Exporter {
    running: Running,
    page: SocketAddr,
    dir: tempfile::TempDir,
}

impl Exporter {
    pub(crate) fn start(export: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("text")).unwrap();
        let page = free_address();
        let running = Self::run(dir.path(), page, export);
        Self { running, page, dir }
    }

    fn run(dir: &Path, page: SocketAddr, export: &str) -> Running {
        let file = Self::configure(dir, page, export);
        let mut command = Command::new(HEADROOM);
        command.arg("exporter").arg("--config").arg(&file);
        command.env("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=web1");
        let running = Running::start(&mut command, &dir.join("log"));
        eventually("the exporter", 30, || get(&format!("http://{page}/-/ready")));
        running
    }

    fn configure(dir: &Path, page: SocketAddr, export: &str) -> PathBuf {
        let file = dir.join("headroom.yaml");
        let text = dir.join("text").display().to_string();
        let config = format!(
            "exporter: {{listen: '{page}', collectors: {{disable_defaults: true, enabled: [loadavg, time, stat, textfile], \
             textfile: {{directories: ['{text}']}}}}}}\nexport:\n  interval: 1s\n{export}"
        );
        std::fs::write(&file, config).unwrap();
        file
    }

    /// Has the running exporter read this.
    fn reload(&self, export: &str) {
        Self::configure(self.dir.path(), self.page, export);
        self.running.signal(rustix::process::Signal::HUP);
    }

    fn again(&mut self, export: &str) {
        self.running.kill();
        self.running = Self::run(self.dir.path(), self.page, export);
    }

    pub(crate) fn write(&self, text: &str) {
        let new = self.dir.path().join("text/new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, self.dir.path().join("text/a.prom")).unwrap();
    }

    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let (status, page) = get(&format!("http://{}/metrics", self.page))?;
        assert_eq!(status, 200, "{page}");
        value(&page, &format!("headroom_export_{series}"))
    }
}

/// The value of a series of the sender on another page, whatever its other labels are.
pub(crate) fn received(page: &str, name: &str) -> Option<f64> {
    let line = page.lines().find(|line| {
        let labels = line.strip_prefix(name).and_then(|rest| rest.strip_prefix('{'));
        labels.is_some_and(|l| l.contains("job=\"headroom\"") && l.contains("instance=\"web1\""))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn metrics_go_by_otlp_over_both_ways_and_end_when_they_vanish() {
    let (page, http, grpc) = (free_address(), free_address(), free_address());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("headroom.yaml");
    let collectors = "collectors: {disable_defaults: true}, disable_exporter_metrics: true";
    let config = format!(
        "exporter: {{listen: '{page}', {collectors}}}\napplications: {{otlp: {{http: '{http}', grpc: '{grpc}'}}}}\n"
    );
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(HEADROOM);
    let _receiver =
        Running::start(command.arg("exporter").arg("--config").arg(&file), &dir.path().join("log"));
    let shown = |name: &str| received(&get(&format!("http://{page}/metrics"))?.1, name);
    for (way, to, temporality) in [
        ("http/protobuf", http, "cumulative"),
        ("grpc", grpc, "delta"),
        ("grpc", grpc, "cumulative"),
        ("http/protobuf", http, "delta"),
    ] {
        let named = format!("{}_{temporality}", if to == http { "http" } else { "grpc" });
        let (counter, gauge) = (format!("{named}_orders_total"), format!("{named}_depth"));
        let sender = Exporter::start(&format!(
            "  otlp: {{enabled: true, endpoint: 'http://{to}', protocol: {way}, temporality: {temporality}}}\n"
        ));
        let write = |orders| {
            sender.write(&format!(
                "# TYPE {counter} counter\n{counter} {orders}\n# TYPE {gauge} gauge\n{gauge} {orders}\n"
            ));
        };
        write(5);
        eventually("the gauge", 60, || shown(&gauge).filter(|value| *value == 5.0));
        write(8);
        // What was there before the first pass is no difference.
        let all = if temporality == "delta" { 3.0 } else { 8.0 };
        eventually("the counter", 60, || shown(&counter).filter(|value| *value == all));
        std::fs::remove_file(sender.dir.path().join("text/a.prom")).unwrap();
        eventually("its end", 60, || shown(&counter).is_none().then_some(()));
        assert!(
            shown("node_load1").is_some() && sender.metric("points_sent_total{to=\"otlp\"}").unwrap() > 0.0
        );
        for reason in ["refused", "partial", "queue_full"] {
            let dropped = format!("points_dropped_total{{reason=\"{reason}\",to=\"otlp\"}}");
            assert_eq!(sender.metric(&dropped), Some(0.0), "{way} {temporality}: {reason}");
        }
    }
}

#[test]
fn a_real_prometheus_takes_series_by_remote_write_and_knows_when_they_end() {
    let Some(prometheus) = program(&["prometheus"]) else { return };
    let (dir, address) = (tempfile::tempdir().unwrap(), free_address());
    std::fs::write(dir.path().join("prometheus.yml"), "{}\n").unwrap();
    let mut command = Command::new(prometheus);
    command.arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()));
    command.arg(format!("--storage.tsdb.path={}", dir.path().join("tsdb").display()));
    command.arg(format!("--web.listen-address={address}")).arg("--web.enable-remote-write-receiver");
    let _prometheus = Running::start(&mut command, &dir.path().join("log"));
    eventually("Prometheus", 60, || {
        get(&format!("http://{address}/-/ready")).filter(|(code, _)| *code == 200)
    });
    let sender = Exporter::start(&format!(
        "  remote_write:\n    - {{url: 'http://{address}/api/v1/write', external_labels: {{site: x}}}}\n"
    ));
    let query = |series: &str| -> Option<f64> {
        let series = format!("{series}{{job=\"headroom\",instance=\"web1\",site=\"x\"}}");
        let encoded = series.bytes().fold(String::new(), |all, byte| format!("{all}%{byte:02x}"));
        let (_, body) = get(&format!("http://{address}/api/v1/query?query={encoded}"))?;
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    };
    sender.write("# TYPE orders_total counter\norders_total 5\n# TYPE odd gauge\nodd NaN\n");
    eventually("the counter", 60, || query("orders_total").filter(|value| *value == 5.0));
    assert!(query("odd").unwrap().is_nan());
    sender.write("# TYPE orders_total counter\norders_total 8.5\n");
    eventually("the next value", 60, || query("orders_total").filter(|value| *value == 8.5));
    // Prometheus looks back five minutes; only a mark ends a series sooner.
    eventually("the end of the other", 30, || query("odd").is_none().then_some(()));
    let page = get(&format!("http://{}/metrics", sender.page)).unwrap().1;
    let boot = value(&page, "node_boot_time_seconds").unwrap();
    assert!((query("node_boot_time_seconds").unwrap() - boot).abs() < 2.0);
    assert_eq!(sender.metric("points_dropped_total{reason=\"refused\",to=\"remote_write_0\"}"), Some(0.0));
    assert!(sender.metric("last_success_timestamp_seconds{to=\"remote_write_0\"}").unwrap() > 1e9);
}

/// The answer of a receiver of version 2.0 that wrote all.
const WROTE: &str = "204 No Content\r\nX-Prometheus-Remote-Write-Samples-Written: 100000";

/// A series of version 2.0: labels, value, kind.
type Series = (Vec<(String, String)>, f64, u64);

/// The series of a request of version 2.0, read by a decoder of its own.
fn series_of_two(body: &[u8]) -> Vec<Series> {
    let body = snap::raw::Decoder::new().decompress_vec(body).unwrap();
    let inner = |bytes: &[u8], number: u64| -> Vec<Vec<u8>> {
        let all = fields(bytes).into_iter().filter(|(at, _)| *at == number);
        all.filter_map(|(_, value)| if let Value::Bytes(b) = value { Some(b.to_vec()) } else { None })
            .collect()
    };
    let number = |bytes: &[u8], wanted: u64| {
        fields(bytes).into_iter().find_map(|(at, value)| match value {
            Value::Number(number) if at == wanted => Some(number),
            _ => None,
        })
    };
    let symbols: Vec<String> =
        inner(&body, 4).into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect();
    let series = |bytes: Vec<u8>| {
        let packed = inner(&bytes, 1).concat();
        let (mut places, mut at) = (Vec::new(), 0_usize);
        let mut shift = 0;
        for byte in packed {
            at |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                places.push(std::mem::take(&mut at));
                shift = 0;
            }
        }
        let labels = places.chunks(2).map(|pair| (symbols[pair[0]].clone(), symbols[pair[1]].clone()));
        let sample = inner(&bytes, 2).remove(0);
        let metadata = inner(&bytes, 5).remove(0);
        (labels.collect(), f64::from_bits(number(&sample, 1).unwrap_or(0)), number(&metadata, 1).unwrap_or(0))
    };
    inner(&body, 5).into_iter().map(series).collect()
}

#[test]
fn version_two_of_remote_write_says_what_a_decoder_of_its_own_reads() {
    let receiver = Receiver::start(WROTE);
    let sender = Exporter::start(&format!(
        "  remote_write:\n    - {{name: two, url: 'http://{}/write', version: '2.0', job: j, instance: i}}\n",
        receiver.address
    ));
    sender.write("# TYPE orders_total counter\norders_total{a=\"b\"} 8.5\n");
    let found = eventually("the counter", 60, || {
        let all = receiver.requests().iter().flat_map(|r| series_of_two(&r.body)).collect::<Vec<_>>();
        all.into_iter().find(|(labels, ..)| labels.iter().any(|(_, value)| value == "orders_total"))
    });
    let labels = [("__name__", "orders_total"), ("a", "b"), ("instance", "i"), ("job", "j")];
    assert_eq!(found, (labels.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec(), 8.5, 1));
    let head = &receiver.requests()[0].head;
    for line in [
        "post /write http/1.1",
        "content-type: application/x-protobuf;proto=io.prometheus.write.v2.request",
        "content-encoding: snappy",
        "x-prometheus-remote-write-version: 2.0.0",
    ] {
        assert!(head.contains(line), "{head}");
    }
    std::fs::remove_file(sender.dir.path().join("text/a.prom")).unwrap();
    eventually("the mark", 60, || {
        let all = receiver.requests().iter().flat_map(|r| series_of_two(&r.body)).collect::<Vec<_>>();
        all.into_iter().find(|(labels, value, _)| {
            value.to_bits() == 0x7ff0_0000_0000_0002
                && labels.iter().any(|(_, value)| value == "orders_total")
        })
    });
}

/// When the passes were made that came by OTLP, unpacked.
fn times(receiver: &Receiver) -> Vec<u64> {
    let requests = receiver.requests();
    let all = requests.iter().filter_map(|r| ExportMetricsServiceRequest::decode(&r.body[..]).ok());
    let metrics = all.flat_map(|r| r.resource_metrics).flat_map(|r| r.scope_metrics).flat_map(|s| s.metrics);
    let load = metrics.filter(|metric| metric.name == "node_load1").filter_map(|metric| match metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.first().map(|point| point.time_unix_nano),
        _ => None,
    });
    load.collect()
}

#[test]
fn an_outage_and_a_crash_lose_nothing_of_what_is_on_disk() {
    let to = free_address();
    let queue = tempfile::tempdir().unwrap();
    let export = format!(
        "  queue: {{dir: '{}', retry_min: 100ms, retry_max: 300ms}}\n\
         \x20 otlp: {{enabled: true, endpoint: 'http://{to}', compression: none}}\n",
        queue.path().display()
    );
    let mut sender = Exporter::start(&export);
    let records = "queue_records{to=\"otlp\"}";
    eventually("some wait", 60, || sender.metric(records).filter(|records| *records >= 3.0));
    sender.again(&export);
    let before = sender.metric(records).unwrap();
    assert!(before >= 3.0, "{before} records after the crash");
    eventually("more wait", 60, || sender.metric(records).filter(|records| *records >= before + 2.0));
    let receiver = Receiver::at(to, "200 OK");
    let sent = "points_sent_total{to=\"otlp\"}";
    eventually("all are sent", 60, || sender.metric(records).filter(|records| *records <= 1.0));
    assert!(sender.metric(sent).unwrap() > 0.0);
    let times = times(&receiver);
    assert!(times.len() as f64 >= before + 2.0, "{} passes of {before}", times.len());
    assert!(times.is_sorted(), "the oldest first: {times:?}");
    for reason in ["queue_full", "refused", "damaged"] {
        let dropped = format!("points_dropped_total{{reason=\"{reason}\",to=\"otlp\"}}");
        assert_eq!(sender.metric(&dropped), Some(0.0), "{reason}");
    }
    eventually("the files are gone", 60, || {
        let left = std::fs::read_dir(queue.path().join("otlp")).unwrap().count();
        (left <= 2).then_some(())
    });
}

#[test]
fn destinations_that_are_dead_slow_busy_or_refuse_cost_bounded_memory_and_no_scrape() {
    // It accepts, and says nothing.
    let slow = TcpListener::bind("127.0.0.1:0").unwrap();
    let (busy, refusing) =
        (Receiver::start("429 Too Many Requests\r\nretry-after: 1"), Receiver::start("400 Bad Request"));
    let remote = |name: &str, to: SocketAddr| {
        format!("    - {{name: {name}, url: 'http://{to}/w', timeout: 300ms}}\n")
    };
    let all = [
        remote("dead", free_address()),
        remote("slow", slow.local_addr().unwrap()),
        remote("busy", busy.address),
        remote("refusing", refusing.address),
    ];
    let queue = "  queue: {records_max: 3, retry_min: 50ms, retry_max: 100ms}\n";
    let mut sender = Exporter::start(&format!("{queue}  remote_write:\n{}", all.concat()));
    let dropped = |to: &str, reason: &str| {
        sender.metric(&format!("points_dropped_total{{reason=\"{reason}\",to=\"{to}\"}}")).unwrap()
    };
    let failed = |to: &str, reason: &str| {
        sender.metric(&format!("requests_failed_total{{reason=\"{reason}\",to=\"{to}\"}}")).unwrap()
    };
    for (to, reason) in [("dead", "unreachable"), ("slow", "unreachable"), ("busy", "busy")] {
        eventually(to, 90, || (failed(to, reason) > 0.0 && dropped(to, "queue_full") > 0.0).then_some(()));
        let begun = Instant::now();
        assert!(sender.metric(&format!("queue_records{{to=\"{to}\"}}")).unwrap() <= 3.0, "{to}");
        assert!(begun.elapsed() < Duration::from_secs(10), "a scrape waits for nobody");
        assert!(sender.metric(&format!("queue_bytes{{to=\"{to}\"}}")).unwrap() > 0.0, "{to}");
    }
    eventually("what is refused", 60, || (dropped("refusing", "refused") > 0.0).then_some(()));
    assert_eq!(failed("refusing", "error") + dropped("refusing", "queue_full"), 0.0);
    // A line for each change, not for each request.
    let log = sender.running.output();
    assert_eq!(log.matches("it cannot be sent, and waits").count(), 3, "{log}");
    assert_eq!(log.matches("it is refused, and dropped").count(), 1, "{log}");
    sender.running.signal(rustix::process::Signal::TERM);
    assert!(sender.running.end(20).success());
}

#[test]
fn a_reload_changes_what_is_sent_and_loses_nothing_of_what_waits() {
    // Nothing is sent at first.
    let mut sender = Exporter::start("");
    let dropped = |sender: &Exporter, to: &str, reason: &str| {
        sender.metric(&format!("points_dropped_total{{reason=\"{reason}\",to=\"{to}\"}}"))
    };
    let records = |to: &str| format!("queue_records{{to=\"{to}\"}}");
    let queue = "  queue: {retry_min: 100ms, retry_max: 10m}\n  remote_write:\n";
    let to = |name: &str, address: SocketAddr, more: &str| {
        format!("    - {{name: {name}, url: 'http://{address}/write', instance: i{more}}}\n")
    };
    let (dead, other) = (free_address(), free_address());
    sender.reload(&format!("{queue}{}{}", to("a", dead, ""), to("b", other, "")));
    eventually("some wait", 60, || sender.metric(&records("a")).filter(|waiting| *waiting >= 3.0));
    // Another address and version, a directory for what comes later, one destination more and one less.
    let (receiver, more) = (Receiver::start(WROTE), Receiver::start("200 OK"));
    let dir = tempfile::tempdir().unwrap();
    let changed = queue.replace("queue: {", &format!("queue: {{dir: '{}', ", dir.path().display()));
    sender.reload(&format!(
        "{changed}{}{}",
        to("a", receiver.address, ", version: '2.0'"),
        to("c", more.address, "")
    ));
    let kinds = || -> Vec<bool> {
        receiver.requests().iter().map(|request| request.head.contains("proto=io.prometheus")).collect()
    };
    eventually("requests of both forms", 60, || kinds().contains(&true).then_some(()));
    let before = kinds().iter().take_while(|two| !**two).count();
    assert!(before >= 3 && kinds()[before..].iter().all(|two| *two), "first what waited: {:?}", kinds());
    eventually("the new destination", 60, || (!more.requests().is_empty()).then_some(()));
    for reason in ["queue_full", "refused", "damaged", "removed"] {
        assert_eq!(dropped(&sender, "a", reason), Some(0.0), "{reason}");
    }
    assert!(dropped(&sender, "b", "removed").unwrap() > 0.0, "what was for the destination that is gone");
    assert!(dir.path().join("a").is_dir() && !dir.path().join("b").exists());
    // A mistake changes nothing.
    sender.reload(&format!("{queue}{}", to("A!", dead, "")));
    let failed = |page: &str| value(page, "headroom_config_last_reload_successful") == Some(0.0);
    eventually("the refusal", 60, || {
        get(&format!("http://{}/metrics", sender.page)).filter(|(_, page)| failed(page))
    });
    let count = more.requests().len();
    eventually("it goes on", 60, || (more.requests().len() > count + 1).then_some(()));
    sender.running.signal(rustix::process::Signal::TERM);
    assert!(sender.running.end(20).success());
}

#[test]
fn logs_go_by_otlp_and_none_of_them_is_about_its_own_way() {
    let receiver = Receiver::start("200 OK");
    let otlp = format!("{{enabled: true, endpoint: 'http://{}', compression: none}}", receiver.address);
    // At this level the sending itself would have much to say.
    let sender = Exporter::start(&format!("log: {{level: trace, otlp: {otlp}}}\n"));
    let records = || -> Vec<(String, LogRecord)> {
        let requests = receiver.requests();
        let all = requests.iter().filter_map(|r| ExportLogsServiceRequest::decode(&r.body[..]).ok());
        let records = all.flat_map(|r| r.resource_logs).flat_map(|resource| {
            let facts = resource.resource.map(|r| format!("{:?}", r.attributes)).unwrap_or_default();
            resource.scope_logs.into_iter().flat_map(|s| s.log_records).map(move |r| (facts.clone(), r))
        });
        records.collect()
    };
    let said = |record: &LogRecord| format!("{:?} {:?}", record.body, record.attributes);
    let (facts, listening) = eventually("the first line", 60, || {
        records().into_iter().find(|(_, record)| said(record).contains("listening"))
    });
    assert!(facts.contains("service.name") && facts.contains("web1"), "{facts}");
    assert_eq!((listening.severity_number, listening.severity_text.as_str()), (9, "INFO"));
    assert!(said(&listening).contains(&format!("http://{}/", sender.page)), "{listening:?}");
    assert!(listening.time_unix_nano > 1_000_000_000_000_000_000 && listening.trace_id.is_empty());
    // What is sent leads to no line, so it becomes quiet.
    eventually("no more lines", 60, || {
        let count = receiver.requests().len();
        std::thread::sleep(Duration::from_millis(2500));
        (receiver.requests().len() == count).then_some(())
    });
    assert!(receiver.requests()[0].head.starts_with("post /v1/logs http/1.1"));
}
