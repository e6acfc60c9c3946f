//! The exposition formats: a page of each that was looked at, and each read by a real Prometheus.

use crate::stack::{HEADROOM, Running, eventually, free_address, get, program};
use headroom::encode::Syntax;
use headroom::encode::name::Scheme;
use headroom::metric::{Desc, Histogram, Kind, Sink, Summary, Value, single};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// Every kind, every special number, every letter that is escaped.
fn write(out: &mut dyn Sink) {
    out.family(&Desc::counter("made_seconds_total", "Time \"spent\" \\ making\nit.", &["mode", "path"]));
    out.sample(&["user", "C:\\x \"y\"\nz"], Value::F64(12.25));
    out.sample(&["idle", "ü"], Value::U64(u64::MAX));
    single(out, &Desc::counter("made_without", "A counter that is not called one.", &[]), 7_u64);
    out.family(&Desc::gauge("made_bytes", "A gauge.", &["of"]));
    for (of, value) in [
        ("nan", f64::NAN),
        ("inf", f64::INFINITY),
        ("-inf", f64::NEG_INFINITY),
        ("small", 5e-324),
        ("", -0.5),
    ] {
        out.sample(&[of], Value::F64(value));
    }
    single(out, &Desc::untyped("made_unknown", "Of no kind.", &[]), 1e300);
    out.family(&Desc {
        name: "made_wait_seconds",
        help: "Waits.",
        kind: Kind::Histogram,
        labels: &["queue"],
        sparse: false,
    });
    let buckets = vec![(0.5, 1), (1.0, 2), (2.5e6, 300), (f64::INFINITY, 301)];
    out.sample(&["a"], Value::Histogram(&Histogram { buckets, sum: Some(4.5), count: 301 }));
    out.sample(&["b"], Value::Histogram(&Histogram { sum: Some(0.0), ..Histogram::default() }));
    out.family(&Desc {
        name: "made_size_bytes",
        help: "Sizes.",
        kind: Kind::Summary,
        labels: &[],
        sparse: false,
    });
    let quantiles = vec![(0.5, 1.0), (1.0, f64::NAN)];
    out.sample(&[], Value::Summary(&Summary { quantiles, sum: 8.0, count: 2 }));
    out.family(&Desc::counter("made.elsewhere_total", "A name of new readers.", &["the.label", "other"]));
    out.sample(&["1", "2"], Value::U64(3));
    out.family(&Desc::gauge("made_nothing", "A family without samples.", &[]));
}

#[test]
fn each_format_has_the_page_that_was_looked_at() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/formats");
    for (file, syntax, scheme) in [
        ("text.txt", Syntax::Text, Scheme::Underscores),
        ("text-utf8.txt", Syntax::Text, Scheme::AllowUtf8),
        ("openmetrics.txt", Syntax::OpenMetrics, Scheme::Underscores),
        ("openmetrics-utf8.txt", Syntax::OpenMetrics, Scheme::AllowUtf8),
        ("openmetrics-values.txt", Syntax::OpenMetrics, Scheme::Values),
        ("protobuf.bin", Syntax::Protobuf, Scheme::Dots),
    ] {
        let mut encoder = syntax.encoder();
        // The second page of an encoder is like its first, and what was taken back is not on it.
        for _ in 0..2 {
            encoder.clear(scheme);
            write(&mut *encoder);
            let mark = encoder.mark();
            single(&mut *encoder, &Desc::gauge("taken_back", "T.", &[]), 1_u64);
            assert!(encoder.has_family("taken_back"));
            encoder.rewind(mark);
            assert!(encoder.has_family("made_bytes") && !encoder.has_family("taken_back"));
            let page = encoder.finish().clone();
            if std::env::var_os("UPDATE").is_some() {
                std::fs::write(dir.join(file), &page).unwrap();
            }
            let expected = std::fs::read(dir.join(file)).unwrap_or_default();
            assert!(expected == page, "{file} differs; see `UPDATE=1`");
        }
    }
}

/// What a form of the page is called, the `Accept` that asks for it (Prometheus's own if empty), and its content type.
const FORMS: [(&str, &str, &str); 4] = [
    ("text", "text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"),
    (
        "text1",
        "text/plain;version=1.0.0;escaping=values",
        "text/plain; version=1.0.0; charset=utf-8; escaping=values",
    ),
    ("openmetrics", "", "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"),
    (
        "protobuf",
        "",
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=underscores",
    ),
];

/// A proxy between Prometheus and the exporter, which asks for another form and tells what came.
struct Proxy {
    address: SocketAddr,
    seen: Arc<Mutex<String>>,
}

impl Proxy {
    fn start(exporter: SocketAddr, accept: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let seen = Arc::clone(&proxy.seen);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Prometheus may be ended while it asks.
                let _ended = pass_on(client, exporter, accept, &seen);
            }
        });
        proxy
    }

    /// The heads of the last request and its answer.
    fn seen(&self) -> String {
        self.seen.lock().unwrap().clone()
    }
}

fn pass_on(
    mut client: TcpStream,
    exporter: SocketAddr,
    accept: &str,
    seen: &Mutex<String>,
) -> std::io::Result<()> {
    let mut head = String::new();
    for line in BufReader::new(client.try_clone()?).lines() {
        let line = line?;
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        if line.is_empty() {
            break;
        } else if name == "accept" && !accept.is_empty() {
            head.extend(["Accept: ", accept, "\r\n"]);
        } else if name != "connection" {
            head.extend([&line, "\r\n"]);
        }
    }
    let mut server = TcpStream::connect(exporter)?;
    server.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(answer.len());
    *seen.lock().unwrap() = format!("{head}\n{}", String::from_utf8_lossy(&answer[..end]));
    client.write_all(&answer)
}

/// All series of a job with their values, without the labels that Prometheus adds.
fn series(prometheus: SocketAddr, job: &str, match_name: &str) -> BTreeMap<String, String> {
    let query = format!("{{job=\"{job}\",__name__=~\"{match_name}\"}}");
    let encoded = query.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02X}"));
    let Some((200, body)) = get(&format!("http://{prometheus}/api/v1/query?query={encoded}")) else {
        return BTreeMap::new();
    };
    let body: Json = serde_json::from_str(&body).unwrap();
    let of = |entry: &Json| {
        let mut labels = entry["metric"].as_object().unwrap().clone();
        labels.remove("job");
        labels.remove("instance");
        (serde_json::to_string(&labels).unwrap(), entry["value"][1].as_str().unwrap().to_owned())
    };
    body["data"]["result"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn a_real_prometheus_reads_the_same_from_every_form() {
    let Some(program) = program(&["prometheus"]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let mut encoder = Syntax::Text.encoder();
    encoder.clear(Scheme::AllowUtf8);
    write(&mut *encoder);
    std::fs::write(path("made.prom"), encoder.finish()).unwrap();
    let exporter = free_address();
    let mut command = Command::new(HEADROOM);
    command.args(["exporter", "--web.listen-address", &exporter.to_string()]);
    command.arg("--collector.textfile.directory").arg(dir.path());
    let _exporter = Running::start(&mut command, &path("exporter.log"));
    eventually("the exporter answers", 20, || get(&format!("http://{exporter}/-/healthy")));

    let proxies = FORMS.map(|(job, accept, _)| (job, Proxy::start(exporter, accept)));
    let servers = ["", "--enable-feature=native-histograms"].map(|feature| {
        let (config, address) = (path(&format!("prometheus{feature}.yml")), free_address());
        let jobs = proxies.iter().filter(|(job, _)| (*job == "protobuf") != feature.is_empty());
        let jobs = jobs.map(|(job, proxy)| {
            serde_json::json!({"job_name": job, "static_configs": [{"targets": [proxy.address.to_string()]}]})
        });
        // JSON is YAML.
        let text = serde_json::json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": jobs.collect::<Vec<_>>()
        });
        std::fs::write(&config, text.to_string()).unwrap();
        let mut command = Command::new(&program);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", path(&format!("data{feature}")).display()));
        command.arg(format!("--web.listen-address={address}"));
        if !feature.is_empty() {
            command.arg(feature);
        }
        (address, Running::start(&mut command, &path(&format!("prometheus{feature}.log"))))
    });
    let of = |job: &str| servers[usize::from(job == "protobuf")].0;

    let read: Vec<BTreeMap<String, String>> = FORMS
        .iter()
        .map(|(job, _, content_type)| {
            let read = eventually(&format!("Prometheus reads {job}"), 60, || {
                let read = series(of(job), job, ".*made_.*");
                (!read.is_empty()).then_some(read)
            });
            let seen = proxies.iter().find(|(name, _)| name == job).unwrap().1.seen();
            assert!(seen.contains(&format!("content-type: {content_type}")), "{job}: {seen}");
            assert!(seen.contains("content-encoding: gzip"), "{job}: {seen}");
            read
        })
        .collect();
    let [text, text1, openmetrics, protobuf] = &read[..] else { panic!("four forms") };
    assert_eq!(text.len(), 2 + 1 + 5 + 1 + (4 + 2) + (1 + 2) + (2 + 2) + 1, "{text:#?}");
    assert_eq!(text[r#"{"__name__":"made_seconds_total","mode":"user","path":"C:\\x \"y\"\nz"}"#], "12.25");
    assert_eq!(text[r#"{"__name__":"made_wait_seconds_bucket","le":"2.5e+06","queue":"a"}"#], "300");
    let text = canonical(text);
    assert_eq!(numbers(&text), numbers(&canonical(&on_the_golden_page())));
    assert_eq!(text, canonical(openmetrics));
    assert_eq!(text, canonical(protobuf));
    let is_escaped = |labels: &str| labels.contains("elsewhere");
    let escaped = r#"{"U__the_2e_label":"1","__name__":"U__made_2e_elsewhere__total","other":"2"}"#;
    assert_eq!(text1[escaped], "3");
    let rest = |of: &BTreeMap<String, String>| {
        canonical(of).into_iter().filter(|(labels, _)| !is_escaped(labels)).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(rest(&read[0]), rest(text1));

    // And the whole machine: the series are the same ones, whatever their values are at the moment.
    let names = |job: &str| -> Vec<String> { series(of(job), job, "node_.*").into_keys().collect() };
    let first = names("text");
    assert!(first.len() > 100, "{first:#?}");
    for (job, ..) in FORMS {
        eventually(&format!("{job} has all series of the machine"), 20, || {
            let (job, first) = (names(job), names("text"));
            (job == first).then_some(())
        });
    }
}

/// The series of the page that was looked at.
fn on_the_golden_page() -> BTreeMap<String, String> {
    let page = include_str!("../golden/formats/text.txt");
    let of = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, mut rest) = series.split_once('{').unwrap_or((series, ""));
        let mut labels = BTreeMap::from([("__name__".to_owned(), name.to_owned())]);
        while let Some((label, behind)) = rest.split_once("=\"") {
            let end = behind.match_indices('"').find(|(at, _)| !behind[..*at].ends_with('\\')).unwrap().0;
            let value = behind[..end].replace("\\n", "\n").replace("\\\"", "\"").replace("\\\\", "\\");
            // A label without a value is none.
            if !value.is_empty() {
                labels.insert(label.trim_start_matches(',').to_owned(), value);
            }
            rest = &behind[end + 1..];
        }
        (serde_json::to_string(&labels).unwrap(), value.to_owned())
    };
    page.lines().filter(|line| !line.starts_with('#')).map(of).collect()
}

/// The series with their values as the same text for the same number.
fn numbers(series: &BTreeMap<String, String>) -> BTreeMap<&str, String> {
    series.iter().map(|(labels, value)| (&**labels, format!("{:?}", value.parse::<f64>().unwrap()))).collect()
}

#[test]
fn promtool_understands_the_page_that_was_looked_at() {
    let Some(program) = program(&["promtool"]) else { return };
    let page = include_str!("../golden/formats/text.txt");
    for (page, understood) in [(page.to_owned(), true), (page.replace("of=\"inf\"", "of=inf"), false)] {
        let mut child = Command::new(&program)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
        let said = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        // It has its taste in names; what it cannot read is an error.
        assert_eq!(!said.contains("error while linting"), understood, "{said}");
    }
}

/// The series with bounds as numbers: new readers write "1.0" where old ones write "1".
fn canonical(series: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let of = |(labels, value): (&String, &String)| {
        let mut labels: BTreeMap<String, String> = serde_json::from_str(labels).unwrap();
        for (_, bound) in labels.iter_mut().filter(|(name, _)| ["le", "quantile"].contains(&name.as_str())) {
            *bound = bound.parse::<f64>().unwrap().to_string();
        }
        (serde_json::to_string(&labels).unwrap(), value.clone())
    };
    series.iter().map(of).collect()
}
