//! `headroom reclaim`: a run by hand, through the running optimizer.

use super::service::token_path;
use crate::client::{Call, send_blocking};
use crate::config::Config;
use crate::optimize::api::by_hand::{Queued, Reclaim};
use crate::serve::token::Token;
use anyhow::{Context, Result, anyhow, bail};
use bytesize::ByteSize;
use hyper::{Method, StatusCode};
use serde_json::Value;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// What follows the options.
pub(super) const HELP: &str = "Exit status: 0 effective (or a dry run), 1 not, or not in time, 2 it could not be done.\n\
    Guards hold for this run as for all others: it may have to wait for a cool-down.";

/// How often the record is asked.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Flags of `headroom reclaim`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The target, one of optimizer.targets
    target: String,
    /// How much to free, 500MiB for example
    #[arg(long, value_name = "N")]
    bytes: ByteSize,
    /// The actions to try, mildest first [default: the ladder of the policy that leads to the target]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    ladder: Vec<String>,
    /// Decide and record, but do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the run's number and end, instead of waiting for its outcome
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for the outcome; the run goes on after that
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Args {
    /// Asks, and follows the run in the record.
    pub(super) fn run(&self, config: &Config) -> Result<u8> {
        let optimizer = Optimizer::of(config)?;
        let asked = Reclaim {
            target: self.target.clone(),
            bytes: self.bytes.as_u64(),
            ladder: self.ladder.clone(),
            dry_run: self.dry_run,
        };
        let body = serde_json::to_vec(&asked)?;
        let Queued { run } = serde_json::from_slice(&optimizer.call(Method::POST, "reclaim", Some(body))?)?;
        let mut out = io::stdout();
        if self.no_wait {
            writeln!(out, "{run}")?;
            return Ok(0);
        }
        let mut progress = Progress::default();
        let until = Instant::now() + self.timeout;
        loop {
            let entry = optimizer.entry(run)?;
            progress.print(&entry, &mut out)?;
            if text(&entry, "state") == "ended" {
                return Ok(code(text(&entry, "result")));
            }
            if Instant::now() > until {
                writeln!(out, "run {run} has not ended yet; the record will have its outcome")?;
                return Ok(1);
            }
            std::thread::sleep(ASK_EVERY);
        }
    }
}

/// The exit code of a run's result.
fn code(result: &str) -> u8 {
    match result {
        "effective" | "dry_run" => 0,
        "failed" | "no_policy" | "interrupted" => 2,
        _ => 1,
    }
}

/// What was printed of a run so far.
#[derive(Default)]
struct Progress {
    reason: String,
    steps_begun: usize,
    steps_ended: usize,
}

impl Progress {
    /// Prints what is new in the run's entry.
    fn print(&mut self, entry: &Value, out: &mut impl Write) -> io::Result<()> {
        let freed = |of: &Value| {
            let bytes = of.get("freed_bytes").and_then(Value::as_u64).unwrap_or_default();
            ByteSize::b(bytes).display().iec().to_string()
        };
        for (number, step) in entry.get("steps").and_then(Value::as_array).into_iter().flatten().enumerate() {
            let (action, state) = (text(step, "action"), text(step, "state"));
            if number >= self.steps_begun {
                writeln!(out, "{action}: begins")?;
                self.steps_begun = number + 1;
            }
            if number >= self.steps_ended && state != "begun" {
                let verdict = Some(text(step, "verdict")).filter(|v| !v.is_empty()).unwrap_or(state);
                writeln!(out, "{action}: {verdict}, {} freed: {}", freed(step), text(step, "detail"))?;
                self.steps_ended = number + 1;
            }
        }
        let reason = text(entry, "reason");
        if text(entry, "state") == "ended" {
            let run = entry.get("id").and_then(Value::as_i64).unwrap_or_default();
            return writeln!(out, "run {run}: {}, {} freed: {reason}", text(entry, "result"), freed(entry));
        }
        if !reason.is_empty() && reason != self.reason {
            writeln!(out, "waiting: {reason}")?;
            reason.clone_into(&mut self.reason);
        }
        Ok(())
    }
}

/// A text of an entry or a step; empty if there is none.
fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The running optimizer of a configuration.
pub(super) struct Optimizer {
    url: String,
    token: Token,
}

impl Optimizer {
    pub(super) fn of(config: &Config) -> Result<Self> {
        if config.optimizer.web_config_file.is_some() {
            let web =
                config.optimizer.web_config_file.as_deref().map(crate::serve::web::Web::load).transpose()?;
            if web.is_some_and(|w| w.scheme() != "http") {
                bail!(
                    "the optimizer speaks TLS (optimizer.web_config_file), and this command does not; use curl with \
                     POST /api/v1/reclaim"
                );
            }
        }
        let token = Token::from_file(&token_path(config))?;
        Ok(Self { url: format!("http://{}/api/v1/", reachable(config.optimizer.listen)), token })
    }

    pub(super) fn call(&self, method: Method, page: &str, body: Option<Vec<u8>>) -> Result<Vec<u8>> {
        let authorization = self.token.header();
        let url = format!("{}{page}", self.url);
        let (status, body) = send_blocking(Call { method, authorization, body, ..Call::get(url) })
            .context("is the optimizer running? (its address is optimizer.listen)")?;
        if status.is_success() {
            return Ok(body.to_vec());
        }
        let said = String::from_utf8_lossy(&body);
        if status == StatusCode::UNAUTHORIZED {
            bail!("the optimizer does not take this token: {}", said.trim());
        }
        bail!("the optimizer says {status}: {}", said.trim())
    }

    fn entry(&self, run: i64) -> Result<Value> {
        let page = format!("actions?limit=1&before={}", run.saturating_add(1));
        let page: Value = serde_json::from_slice(&self.call(Method::GET, &page, None)?)?;
        let entry = page.pointer("/entries/0").filter(|e| e.get("id").and_then(Value::as_i64) == Some(run));
        entry.cloned().ok_or_else(|| anyhow!("the record has no run {run}"))
    }
}

/// Where to call what listens there: an address that means all of a machine's is its loopback from here.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
