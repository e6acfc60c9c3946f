//! The probes of a process that serves: their files are read, and they are asked.

use super::{Service, now_millis};
use crate::apps::probe::ask::Ready;
use crate::apps::probe::prober::{self, Prober};
use crate::config::Config;
use anyhow::Result;

/// The probes, with the files that they name.
pub(in crate::cli) fn ready(config: &Config) -> Result<Vec<Ready>> {
    let error = |(key, why): (String, String)| anyhow::anyhow!("applications.{key}: {why}");
    prober::ready(&config.applications.probes, &config.host()).map_err(error)
}

impl Service {
    /// Asks these components from now on, and no others. What is known of those that did not change stays.
    pub(super) fn probe(&mut self, probes: Vec<Ready>) {
        self.health.show(&self.config.applications.probes);
        self.prober = Prober::start(probes, &self.health, self.names.clone(), now_millis);
    }
}
