//! Whether logs are sent, and what a request of them is.

use super::*;

#[test]
fn nothing_is_sent_unless_somebody_asks_for_logs() {
    let on = |enabled, endpoint: Option<&str>, set: &[(&str, &str)]| {
        let connection = Connection { endpoint: endpoint.map(str::to_owned), ..Connection::default() };
        let variable = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned());
        Options { enabled, ..Options::default() }.is_on(&connection, &variable)
    };
    assert!(on(true, Some("http://a"), &[]));
    assert!(!on(false, Some("http://a"), &[]), "traces alone");
    assert!(on(false, None, &[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://a")]));
    assert!(!on(false, None, &[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://a")]));
    assert!(on(false, Some("http://a"), &[("OTEL_LOGS_EXPORTER", "otlp")]));
    assert!(!on(true, Some("http://a"), &[("OTEL_LOGS_EXPORTER", "none")]));
    assert!(!on(true, Some("http://a"), &[("OTEL_SDK_DISABLED", "true")]));
}

#[test]
fn what_becomes_of_records_is_counted_with_those_of_traces() {
    let registry = prometheus::Registry::new();
    let counted = Counted(Metrics::new(&registry).unwrap());
    counted.taken(3, 0);
    counted.failed("busy");
    for (reason, records) in [("queue_full", 4), ("refused", 5), ("partial", 6)] {
        counted.dropped(reason, records);
    }
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    for (result, records) in [("sent", 3), ("dropped", 4), ("failed", 11)] {
        let line = format!("headroom_otlp_records_total{{result=\"{result}\",signal=\"logs\"}} {records}\n");
        assert!(text.contains(&line), "{text}");
    }
}
