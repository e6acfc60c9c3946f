//! The listeners for what applications send.

use super::super::sockets::bind_all;
use super::{Service, now_millis, web};
use crate::apps::Applications;
use crate::apps::otlp::receiver::{Grpc, Http, Receiver};
use crate::apps::scrape::fetch::Scraping;
use crate::apps::scrape::metrics::Metrics as ScrapeMetrics;
use crate::apps::statsd::engine::Engine;
use crate::apps::statsd::listener::{Sockets, Statsd};
use crate::apps::statsd::metrics::Metrics as StatsdMetrics;
use crate::serve::listener::Listener;
use crate::serve::metrics::Metrics;
use crate::serve::token::Token;
use anyhow::Result;
use std::sync::Arc;

/// Bound listeners: they serve once there is a store to fill.
#[derive(Default)]
pub(super) struct Receivers {
    grpc: Option<Listener>,
    http: Option<Listener>,
    token: Option<Token>,
    statsd: Option<Sockets>,
}

impl Service {
    /// Binds what is configured.
    pub(super) async fn bind_receivers(&self, metrics: &Metrics) -> Result<Receivers> {
        let options = &self.config.applications.otlp;
        let mut out = Receivers::default();
        for (addresses, key, name) in [
            (&options.grpc, "applications.otlp.grpc", "otlp_grpc"),
            (&options.http, "applications.otlp.http", "otlp_http"),
        ] {
            let Some(addresses) = addresses else { continue };
            if options.token_file.is_some() {
                metrics.show_refusals(name);
            }
            let listener = Listener {
                sockets: bind_all(addresses, key).await?,
                name,
                limits: Receiver::limits(options),
                metrics: metrics.clone(),
                web: web(options.web_config_file.as_deref())?,
                http2_plain: name == "otlp_grpc",
            };
            if listener.http2_plain {
                out.grpc = Some(listener);
            } else {
                out.http = Some(listener);
            }
        }
        out.token = options.token_file.as_deref().map(Token::from_file).transpose()?;
        let statsd = &self.config.applications.statsd;
        if statsd.any() {
            out.statsd = Some(Sockets::bind(statsd).await?);
        }
        Ok(out)
    }

    /// Serves what was bound.
    pub(super) fn start_receivers(&mut self, receivers: Receivers) -> Result<()> {
        let Some(applications) = self.applications.clone() else { return Ok(()) };
        let targets = &self.config.applications.scrape;
        if !targets.is_empty() {
            let metrics = ScrapeMetrics::new(&self.registry)?;
            self.scraping = Some(Scraping::start(targets, applications.clone(), metrics, self.names.clone()));
        }
        let Receivers { grpc, http, token, statsd } = receivers;
        if let Some(sockets) = statsd {
            self.start_statsd(sockets, &applications)?;
        }
        let receiver = Receiver::new(applications, &self.config.applications.otlp, token, now_millis);
        let stopped = self.stopped();
        if let Some(listener) = grpc {
            self.spawn(listener, &stopped, Arc::new(Grpc(receiver.clone())))?;
        }
        if let Some(listener) = http {
            self.spawn(listener, &stopped, Arc::new(Http(receiver)))?;
        }
        Ok(())
    }

    fn start_statsd(&mut self, sockets: Sockets, applications: &Applications) -> Result<()> {
        let options = &self.config.applications;
        let metrics = StatsdMetrics::new(&self.registry)?;
        let engine = Engine::new(&options.statsd, options.stale_after, metrics);
        let statsd = Statsd::new(engine, applications.clone());
        let stopped = self.stopped();
        self.tasks.extend(statsd.tasks(sockets, &stopped));
        self.statsd = Some(statsd);
        Ok(())
    }
}
