//! The flags `--web.*` of `headroom exporter`, which are node_exporter's.

use crate::config::Config;
use crate::serve::addresses::Addresses;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// How the exporter's pages are served.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Web {
    /// Where to listen; may be given more than once (exporter.listen) [default: 127.0.0.1:9177]
    #[arg(long = "web.listen-address", alias = "listen", value_name = "ADDRESS", value_parser = address)]
    listen: Vec<SocketAddr>,
    /// Listen on the sockets of a systemd .socket unit instead (exporter.systemd_socket)
    #[arg(long = "web.systemd-socket")]
    systemd_socket: bool,
    /// exporter-toolkit's web configuration file: TLS, users, certificates (exporter.web_config_file)
    #[arg(long = "web.config.file", value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// The page with the samples (exporter.telemetry_path) [default: /metrics]
    #[arg(long = "web.telemetry-path", value_name = "PATH", value_parser = telemetry_path)]
    telemetry_path: Option<String>,
    /// Scrapes at once, 0 for any number; more are answered 503 (exporter.max_requests) [default: 40]
    #[arg(long = "web.max-requests", value_name = "NUMBER")]
    max_requests: Option<usize>,
    /// Leave out what is about the exporter itself: process_*, headroom_http_*, headroom_collector_* (exporter.disable_exporter_metrics)
    #[arg(long = "web.disable-exporter-metrics")]
    disable_exporter_metrics: bool,
}

impl Web {
    /// Puts the flags over the configuration.
    pub(super) fn apply(&self, config: &mut Config) {
        let options = &mut config.exporter;
        if let Some(addresses) = Addresses::new(&self.listen) {
            options.listen = addresses;
        }
        options.systemd_socket |= self.systemd_socket;
        options.disable_exporter_metrics |= self.disable_exporter_metrics;
        if let Some(file) = self.config_file.as_ref().filter(|file| !file.as_os_str().is_empty()) {
            options.web_config_file = Some(file.clone());
        }
        if let Some(path) = &self.telemetry_path {
            options.telemetry_path.clone_from(path);
        }
        if let Some(number) = self.max_requests {
            options.max_requests = number;
        }
    }
}

/// `:9100` means every address, and `localhost:9100` the first of that name, as in node_exporter.
fn address(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    let named = || whole.to_socket_addrs().ok()?.next();
    whole.parse().ok().or_else(named).ok_or_else(|| {
        "not an address; give HOST:PORT such as 127.0.0.1:9177, or :PORT for every address".to_owned()
    })
}

fn telemetry_path(path: &str) -> Result<String, String> {
    crate::exporter::bad_telemetry_path(path).map_or_else(|| Ok(path.to_owned()), |why| Err(why.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_means_every_address() {
        assert_eq!(address(":9100"), Ok(SocketAddr::from(([0, 0, 0, 0], 9100))));
        assert_eq!(address("127.0.0.1:1"), Ok(SocketAddr::from(([127, 0, 0, 1], 1))));
        assert!(address("localhost:1").unwrap().ip().is_loopback());
        for wrong in ["x", "", "127.0.0.1", "127.0.0.1:99999"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
