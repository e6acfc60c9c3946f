//! Telemetry of this process by OTLP: begun where somebody names a receiver, and given its last seconds at the end.

use crate::config::Config;
use crate::export::Around;
use crate::export::logs::{Lines, Logs};
use crate::exporter::trace::Traces as ScrapeTraces;
use crate::optimize::trace::Traces;
use crate::otlp::{Metrics, TRACES};
use anyhow::{Context, Result};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::Registry;
use std::time::Duration;

/// The time for what is still in the queue when the process ends.
const GRACE: Duration = Duration::from_secs(2);

/// What sends; without a receiver there is nothing of it.
#[derive(Default)]
pub(super) struct Telemetry {
    metrics: Option<Metrics>,
    traces: Option<SdkTracerProvider>,
    logs: Option<Logs>,
}

impl Telemetry {
    /// What makes the traces of runs, if configuration or environment say where to send.
    pub(super) fn runs(&mut self, config: &Config, registry: &Registry) -> Result<Traces> {
        let traces = self.traces(config, registry)?;
        Ok(traces.map_or_else(Traces::default, |p| Traces::new(p.tracer("headroom"))))
    }

    /// What makes the traces of scrapes, if they are wanted besides.
    pub(super) fn scrapes(&mut self, config: &Config, registry: &Registry) -> Result<ScrapeTraces> {
        let Some(ratio) = config.exporter.trace_ratio else { return Ok(ScrapeTraces::default()) };
        let traces = self.traces(config, registry)?;
        if traces.is_none() {
            tracing::warn!("exporter.trace_ratio has no effect: nobody says where traces go (otlp.endpoint)");
        }
        Ok(traces.map_or_else(ScrapeTraces::default, |p| ScrapeTraces::new(p.tracer("headroom"), ratio)))
    }

    fn traces(&mut self, config: &Config, registry: &Registry) -> Result<Option<&SdkTracerProvider>> {
        let variable = |name: &str| std::env::var(name).ok();
        if self.traces.is_none() && config.otlp.is_on(TRACES, &variable) {
            let metrics = self.metrics(registry)?;
            let traces = config.otlp.traces(&variable, &metrics, env!("CARGO_PKG_VERSION"))?;
            tracing::info!(
                endpoint = config.otlp.endpoint.as_deref().unwrap_or("OTEL_EXPORTER_OTLP_ENDPOINT"),
                "traces go out by OTLP"
            );
            self.traces = Some(traces);
        }
        Ok(self.traces.as_ref())
    }

    /// Sends what is logged.
    pub(super) fn logs(
        &mut self,
        config: &Config,
        around: &Around<'_>,
        to: (Lines, &Registry),
    ) -> Result<()> {
        let (lines, registry) = to;
        let metrics = self.metrics(registry)?;
        let options = (&config.log.otlp, &config.export.otlp.attributes);
        self.logs = Some(Logs::start(options, around, (lines, &metrics)).context("log.otlp")?);
        Ok(())
    }

    fn metrics(&mut self, registry: &Registry) -> Result<Metrics> {
        Ok(match &self.metrics {
            Some(metrics) => metrics.clone(),
            None => self.metrics.insert(Metrics::new(registry)?).clone(),
        })
    }

    /// Sends what is in the queue, if that does not take long; what is logged last.
    pub(super) fn stop(self) {
        if let Some(Err(e)) = self.traces.map(|p| p.shutdown_with_timeout(GRACE)) {
            tracing::warn!(error = %e, "not all traces were sent before the end");
        }
        if let Some(logs) = self.logs {
            logs.stop(GRACE / 2);
        }
    }
}
