//! Where requests go by configuration and environment, and what answers mean.

use super::*;

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
    assert!(on(false, Some("http://a"), &[("OTEL_METRICS_EXPORTER", "prometheus, otlp")]));
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
        Ok::<_, String>((post.url, form.packing == GZIP, form.temporality, post.deadline.as_secs()))
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
    assert_eq!(of(&plain, None, &[all[0], own, grpc]).unwrap().0, format!("http://c:3{}", METRICS.method()));
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
