//! `headroom check health`: how the probed components are, found out now or asked of a running exporter.

use crate::apps::probe::page::Health;
use crate::apps::probe::prober::once;
use crate::cli::over::{Over, User};
use crate::cli::service::{block_on, now_millis, probes};
use crate::cli::{Common, load};
use crate::client::{Call, send_blocking};
use anyhow::{Context, Result, ensure};
use hyper::header::{ACCEPT, HeaderValue};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// The exit code where a component does not serve.
const FINDING: u8 = 1;

/// Flags of `headroom check health`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Ask this exporter what it knows, http://127.0.0.1:9177 for example, rather than the components themselves
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    over: Over,
    #[command(flatten)]
    user: User,
    /// How long to wait for the exporter's answer
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Args {
    /// Finds out, prints it, and says by the exit code whether all components serve.
    pub(super) fn run(self, common: &Common) -> Result<u8> {
        let health = match &self.url {
            Some(url) => self.asked(url)?,
            None => probed(common)?,
        };
        let mut text = if self.json { serde_json::to_string(&health)? } else { health.text() };
        if self.json {
            text.push('\n');
        }
        io::stdout().write_all(text.as_bytes())?;
        Ok(if health.serves() { 0 } else { FINDING })
    }

    fn asked(&self, url: &str) -> Result<Health> {
        let url = url.trim_end_matches('/');
        let url = if url.ends_with("/-/health") { url.to_owned() } else { format!("{url}/-/health") };
        let (trust, authorization) = (self.over.trust(&url)?, self.user.header()?);
        let mut call = Call { deadline: self.timeout, trust, authorization, ..Call::get(&url) };
        call.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let (status, body) = send_blocking(call)?;
        // Whoever has too much to do answers 503 as well, and says nothing of components.
        serde_json::from_slice(&body)
            .with_context(|| format!("{url} answered {status}: {}", String::from_utf8_lossy(&body).trim()))
    }
}

fn probed(common: &Common) -> Result<Health> {
    let config = load(common, &|_| ())?;
    ensure!(!config.applications.probes.is_empty(), "no components are probed (applications.probes)");
    let probes = probes::ready(&config)?;
    let board = block_on(async { Ok(once(probes, now_millis).await) })?;
    board.health(Instant::now()).context("nothing was probed")
}
