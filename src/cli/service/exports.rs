//! What sends by itself what the page shows.

use super::{Service, now_millis};
use crate::export::{Around, Exports};
use anyhow::{Context, Result};
use std::time::Duration;

/// The time for what waits when the process ends.
pub(super) const GRACE: Duration = Duration::from_secs(2);

impl Service {
    /// Begins to send, if configuration or environment say where to.
    pub(super) fn start_exports(&mut self) -> Result<()> {
        let Some(scrapes) = &self.scrapes else { return Ok(()) };
        let config = &self.config;
        let around = Around {
            host: &config.host(),
            connection: &config.otlp,
            variable: &|name: &str| std::env::var(name).ok(),
            port: config.exporter.listen.first().port(),
            now_millis,
        };
        self.exports = Exports::start(&config.export, &around, scrapes, &self.registry).context("export")?;
        Ok(())
    }
}
