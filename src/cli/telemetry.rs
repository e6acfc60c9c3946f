//! Telemetry of this process by OTLP: begun where somebody names a receiver, and given its last seconds at the end.

use crate::config::Config;
use crate::optimize::trace::Traces;
use crate::otlp::{Metrics, TRACES};
use anyhow::Result;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::Registry;
use std::time::Duration;

/// The time for what is still in the queue when the process ends.
const GRACE: Duration = Duration::from_secs(2);

/// What sends; without a receiver there is nothing of it.
#[derive(Default)]
pub(super) struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Begins, if configuration or environment say where to send.
    pub(super) fn start(config: &Config, registry: &Registry) -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        if !config.otlp.is_on(TRACES, &variable) {
            return Ok(Self::default());
        }
        let metrics = Metrics::new(registry)?;
        let traces = config.otlp.traces(&variable, &metrics, env!("CARGO_PKG_VERSION"))?;
        tracing::info!(
            endpoint = config.otlp.endpoint.as_deref().unwrap_or("OTEL_EXPORTER_OTLP_ENDPOINT"),
            "traces go out by OTLP"
        );
        Ok(Self { traces: Some(traces) })
    }

    /// What makes the traces of runs.
    pub(super) fn traces(&self) -> Traces {
        self.traces.as_ref().map_or_else(Traces::default, |p| Traces::new(p.tracer("headroom")))
    }

    /// Sends what is in the queue, if that does not take long.
    pub(super) fn stop(self) {
        if let Some(Err(e)) = self.traces.map(|p| p.shutdown_with_timeout(GRACE)) {
            tracing::warn!(error = %e, "not all traces were sent before the end");
        }
    }
}
