//! `headroom optimizer`: its flags.

use super::service::{Command, Parts};
use crate::config::Config;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Flags of `headroom optimizer`; each stands over its key in the configuration file.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Args {
    /// Where to listen (optimizer.listen) [default: 127.0.0.1:9178]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The file with the bearer token of webhook and record (optimizer.token_file)
    /// [default: webhook-token in the state directory, made if missing]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// exporter-toolkit's web configuration file: TLS, users, certificates (optimizer.web_config_file)
    #[arg(long, alias = "web.config.file", value_name = "FILE")]
    web_config_file: Option<PathBuf>,
    /// Decide and record, but do nothing (optimizer.dry_run)
    #[arg(long)]
    dry_run: bool,
}

impl Command for Args {
    const PARTS: Parts = Parts { exporter: false, optimizer: true };

    fn apply(&self, config: &mut Config) {
        if let Some(listen) = self.listen {
            config.optimizer.listen = listen;
        }
        if let Some(file) = &self.web_config_file {
            config.optimizer.web_config_file = Some(file.clone());
        }
        if let Some(file) = &self.token_file {
            config.optimizer.token_file = Some(file.clone());
        }
        config.optimizer.dry_run |= self.dry_run;
    }
}
