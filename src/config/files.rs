//! Where files are that the configuration names: beside it, unless a path is absolute.

use super::Config;
use crate::{apps, export};
use std::path::Path;

impl Config {
    /// Makes the paths of all files those below the configuration's directory.
    pub(super) fn place_files(&mut self, base: Option<&Path>) {
        self.optimizer.place_files(base.unwrap_or_else(|| Path::new("")));
        let received = &mut self.applications.otlp;
        let statsd = &mut self.applications.statsd;
        let web = [
            &mut self.exporter.web_config_file,
            &mut self.optimizer.web_config_file,
            &mut received.web_config_file,
        ];
        let tokens =
            [&mut self.optimizer.token_file, &mut self.optimizer.read_token_file, &mut received.token_file];
        let otlp = &mut self.otlp;
        let otlp = [&mut otlp.headers_file, &mut otlp.ca_file, &mut otlp.cert_file, &mut otlp.key_file];
        let statsd = [&mut statsd.mapping_file, &mut statsd.unix];
        let exports = self.export.remote_write.iter_mut().flat_map(export::remote_write::Options::files);
        let exports = exports.chain(&mut self.export.queue.dir);
        let probes = self.applications.probes.iter_mut().flat_map(apps::probe::Probe::files);
        let files = tokens.into_iter().chain(web).chain(otlp).chain(statsd);
        let grafana = self.optimizer.grafana.as_mut().map(|g| (&mut g.token_file, g.ca_file.as_mut()));
        let grafana = grafana.into_iter().flat_map(|(token, ca)| [Some(token), ca]).flatten();
        let hooks = self.optimizer.targets.iter_mut().flat_map(|t| t.hook.iter_mut().chain(&mut t.hooks));
        let hooks = hooks.map(|h| &mut h.token_file);
        let scraped = self.applications.scrape.iter_mut().flat_map(apps::scrape::Target::files);
        for file in files.chain(hooks).flatten().chain(grafana).chain(scraped).chain(probes).chain(exports) {
            if let Some(base) = base.filter(|_| file.is_relative()) {
                *file = base.join(&*file);
            }
        }
        if let Some((base, file)) = base.zip(self.exporter.collectors.process_groups.config_file.as_mut()) {
            *file = base.join(&*file);
        }
    }
}
