//! The live page of a serving command: when it starts, and whose alerts it shows.

use super::{Service, now_millis};
use crate::exporter::Exporter;
use crate::live::{Front, Live, Sources};
use crate::optimize::api::Api;
use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::sync::Arc;

impl Service {
    /// The exporter's pages with the live page, which shows the optimizer's too.
    pub(super) fn with_live_page(&mut self, pages: Exporter, api: Option<Arc<Api>>) -> Result<Front> {
        let options = &self.config.exporter;
        // The optimizer's token is not for other machines' networks, unless its own address is said to be.
        let api = api.filter(|_| options.listen.iter().all(|address| address.ip().is_loopback()));
        if api.is_some() {
            self.http.show_refusals("exporter");
        }
        let path = options.telemetry_path.clone();
        let live = Live::start(Sources {
            scrapes: self.scrapes.clone().context("there is no scrape thread")?,
            optimizer: api.as_ref().map(|api| Arc::clone(&api.shared)),
            telemetry_path: path.clone(),
            now_millis,
            stopped: self.stopped(),
        })?;
        self.live = Some(live.clone());
        Ok(Front::new(pages, path, live, api))
    }

    /// Says at whose API the live page finds the alerts.
    pub(in crate::cli) fn alerts_at(&self, address: SocketAddr) {
        if let Some(live) = &self.live {
            live.told_by(format!("http://{address}"));
        }
    }
}
