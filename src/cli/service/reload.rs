//! What a reload does not reach, and what the page says of the last one.

use super::seconds_now;
use crate::config::Config;
use anyhow::Result;
use prometheus::{Gauge, IntGauge, IntGaugeVec, Opts, Registry};

/// The gauges of reloads, registered and set for the first configuration.
pub(super) fn gauges(registry: &Registry) -> Result<(IntGauge, Gauge)> {
    let reloaded = IntGauge::new(
        "headroom_config_last_reload_successful",
        "Whether the last reload of the configuration succeeded.",
    )?;
    let at = Gauge::new(
        "headroom_config_last_reload_success_timestamp_seconds",
        "When the configuration was last read successfully.",
    )?;
    let opts = Opts::new("headroom_build_info", "A constant 1 with the version of Headroom.");
    let build = IntGaugeVec::new(opts, &["version"])?;
    registry.register(Box::new(reloaded.clone()))?;
    registry.register(Box::new(at.clone()))?;
    registry.register(Box::new(build.clone()))?;
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    reloaded.set(1);
    at.set(seconds_now());
    Ok((reloaded, at))
}

/// The keys that a reload does not use and that differ, but for the state directory.
pub(super) fn only_at_start(old: &Config, new: &Config) -> impl Iterator<Item = &'static str> {
    let ((e, f), (o, p)) = ((&old.exporter, &new.exporter), (&old.optimizer, &new.optimizer));
    [
        ("exporter.listen", e.listen != f.listen),
        ("exporter.systemd_socket", e.systemd_socket != f.systemd_socket),
        ("exporter.web_config_file", e.web_config_file != f.web_config_file),
        ("exporter.telemetry_path", e.telemetry_path != f.telemetry_path),
        ("exporter.max_requests", e.max_requests != f.max_requests),
        ("exporter.trace_ratio", e.trace_ratio != f.trace_ratio),
        ("applications.otlp", old.applications.otlp != new.applications.otlp),
        ("applications.statsd.udp", old.applications.statsd.udp != new.applications.statsd.udp),
        ("applications.statsd.unix", old.applications.statsd.unix != new.applications.statsd.unix),
        (
            "applications.statsd.receive_buffer",
            old.applications.statsd.receive_buffer != new.applications.statsd.receive_buffer,
        ),
        // Other targets are taken; the first ones are not.
        ("applications.scrape", old.applications.scrape.is_empty() && !new.applications.scrape.is_empty()),
        ("optimizer.listen", o.listen != p.listen),
        ("optimizer.web_config_file", o.web_config_file != p.web_config_file),
        ("optimizer.grafana", o.grafana != p.grafana),
        ("reload_endpoint", old.reload_endpoint != new.reload_endpoint),
        ("log", old.log != new.log),
        // What is exported takes the new one.
        ("otlp", old.otlp != new.otlp),
        ("up", old.up != new.up),
        ("monitor", old.monitor != new.monitor),
    ]
    .into_iter()
    .filter_map(|(key, changed)| changed.then_some(key))
}
