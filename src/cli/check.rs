//! `headroom check`: answers with an exit code.

mod health;

use super::Common;
use super::over::{Over, User};
use crate::client::{Call, send_blocking};
use crate::config::Config;
use crate::optimize::policy::Target;
use crate::serve::token::Token;
use crate::serve::web::Web;
use anyhow::{Result, bail};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

/// What to check.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Check {
    /// Read a configuration file, and say what is wrong with it
    Config {
        /// The file
        file: PathBuf,
    },
    /// Ask all components of `applications.probes` once how they are, or a running exporter what it knows of them
    Health(health::Args),
    /// Ask a server whether it is ready (a container's health check)
    Ready {
        /// The page to ask, such as http://127.0.0.1:9177/-/ready
        url: String,
        #[command(flatten)]
        over: Over,
        #[command(flatten)]
        user: User,
        /// How long to wait for the answer
        #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
        timeout: Duration,
    },
}

impl Check {
    /// Checks, and prints what was found.
    pub(super) fn run(self, common: &Common) -> Result<u8> {
        match self {
            Self::Health(args) => return args.run(common),
            Self::Config { file } => {
                let config = Config::load(Some(&file))?;
                let rehearsal = crate::collect::Scraper::new(config.host(), &config.exporter.collectors);
                rehearsal.map_err(|e| anyhow::anyhow!("{}: exporter.collectors.{e}", file.display()))?;
                let hooks = config.optimizer.targets.iter().flat_map(Target::all_hooks);
                for token in hooks
                    .filter_map(|h| h.token_file.as_ref())
                    .chain(&config.optimizer.token_file)
                    .chain(&config.optimizer.read_token_file)
                {
                    Token::from_file(token)?;
                }
                super::service::probes::ready(&config)?;
                for file in [&config.exporter.web_config_file, &config.optimizer.web_config_file]
                    .into_iter()
                    .flatten()
                {
                    for warning in Web::load(file)?.warnings() {
                        writeln!(io::stderr(), "{}: {warning}", file.display())?;
                    }
                }
                let (groups, targets) = (config.process_groups.len(), config.optimizer.targets.len());
                let policies = config.optimizer.policies.len();
                let name = file.display();
                writeln!(
                    io::stdout(),
                    "{name}: good ({groups} process groups, {targets} targets, {policies} policies)"
                )?;
            }
            Self::Ready { url, over, user, timeout } => {
                let trust = over.trust(&url)?;
                let authorization = user.header()?;
                let call = Call { deadline: timeout, trust, authorization, ..Call::get(&url) };
                let (status, body) = send_blocking(call)?;
                if !status.is_success() {
                    bail!("{url} answered {status}: {}", String::from_utf8_lossy(&body).trim());
                }
                writeln!(io::stdout(), "ready")?;
            }
        }
        Ok(0)
    }
}
