//! What switches telemetry on, how long it takes, and that no secret is shown.

use super::*;

#[test]
fn nothing_is_sent_unless_somebody_names_an_endpoint() {
    let with = |options: &Options, set: &[(&str, &str)]| {
        let variable =
            |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        options.is_on(TRACES, &variable)
    };
    let (none, file) =
        (Options::default(), Options { endpoint: Some("http://a".into()), ..Options::default() });
    assert!(!with(&none, &[]) && with(&file, &[]));
    assert!(with(&none, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://b")]));
    assert!(with(&none, &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b/x")]));
    assert!(!with(&none, &[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://b/x")]));
    assert!(!with(&none, &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]));
    assert!(!with(&file, &[("OTEL_SDK_DISABLED", "TRUE")]));
    assert!(!with(&file, &[("OTEL_TRACES_EXPORTER", "none")]));
}

#[test]
fn the_environment_may_say_how_long_a_request_takes_and_the_file_says_it_last() {
    let deadline = |options: &Options, set: &[(&str, &str)]| {
        let variable =
            |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        options.caller(&variable).unwrap().deadline.as_millis()
    };
    let none = Options::default();
    let file = Options { timeout: Some(Duration::from_secs(3)), ..Options::default() };
    let (all, traces) = ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT");
    assert_eq!(deadline(&none, &[]), 10_000);
    assert_eq!(deadline(&none, &[(all, "700")]), 700);
    assert_eq!(deadline(&none, &[(all, "700"), (traces, "300")]), 300);
    assert_eq!(deadline(&none, &[(all, "700"), (traces, "soon")]), 700);
    assert_eq!(deadline(&file, &[(all, "700")]), 3000);
}

#[test]
fn a_full_queue_drops_and_counts() {
    let metrics = Metrics::new(&Registry::new()).unwrap();
    let gate = Gate::new(TRACES, &metrics);
    let count = |result: &str| metrics.0.with_label_values(&["traces", result]).get();
    assert!((0..QUEUE_MAX).all(|_| gate.enter()));
    assert!(!gate.enter() && !gate.enter());
    gate.leave(2, "failed");
    assert!(gate.enter() && gate.enter() && !gate.enter());
    gate.leave(QUEUE_MAX, "sent");
    assert_eq!((count("sent"), count("failed"), count("dropped")), (QUEUE_MAX as u64, 2, 3));
}

#[test]
fn a_file_of_headers_is_read_line_by_line_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("headers");
    let read = |text: &str| {
        std::fs::write(&file, text).unwrap();
        Options { headers_file: Some(file.clone()), ..Options::default() }.headers()
    };
    let good = read("# key\nauthorization: Bearer s3c:ret\n\n X-Scope : a b\n").unwrap();
    assert_eq!((good["authorization"].as_str(), good["x-scope"].as_str()), ("Bearer s3c:ret", "a b"));
    for bad in ["s3cret", "s3 cret: x", ": s3cret"] {
        let said = read(bad).unwrap_err().to_string();
        assert!(said.contains("otlp.headers_file") && !said.contains("s3"), "{said}");
    }
}
