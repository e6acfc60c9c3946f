//! What sends by itself what the page shows.

use super::{Service, now_millis};
use crate::config::Config;
use crate::export::logs::Lines;
use crate::export::{Around, Prepared};
use anyhow::{Context, Result};
use std::time::Duration;

/// The time for what waits when the process ends.
pub(super) const GRACE: Duration = Duration::from_secs(2);

impl Service {
    /// What is to be sent, if configuration or environment say where to; nothing is changed yet.
    pub(super) fn prepare_exports(&self, config: &Config) -> Result<Prepared> {
        let around = Around {
            host: &config.host(),
            connection: &config.otlp,
            variable: &|name: &str| std::env::var(name).ok(),
            port: config.exporter.listen.first().port(),
            now_millis,
        };
        self.exports.prepare(&config.export, &around).context("export")
    }

    /// Sends what is logged, if it is kept for that.
    pub(in crate::cli) fn send_logs(&mut self, lines: Option<Lines>) -> Result<()> {
        let Some(lines) = lines else { return Ok(()) };
        let config = &self.config;
        // Several processes of one machine differ in their ports.
        let port =
            if self.scrapes.is_some() { config.exporter.listen.first() } else { config.optimizer.listen };
        let around = Around {
            host: &config.host(),
            connection: &config.otlp,
            variable: &|name: &str| std::env::var(name).ok(),
            port: port.port(),
            now_millis,
        };
        self.telemetry.logs(config, &around, (lines, &self.registry))
    }

    /// Sends it from now on.
    pub(super) fn send_exports(&mut self, prepared: Prepared) -> Result<()> {
        let Some(scrapes) = &self.scrapes else { return Ok(()) };
        self.exports.send(prepared, scrapes, &self.registry).context("export")
    }
}
