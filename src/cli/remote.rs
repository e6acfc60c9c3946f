//! The running optimizer, called by its API: where it is, with which token, and what its refusals mean.

use super::over::{Over, User};
use super::service::token_path;
use crate::client::{Call, send_blocking};
use crate::config::Config;
use crate::serve::token::Token;
use crate::serve::web::Web;
use anyhow::{Context, Result, anyhow, bail};
use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};
use serde_json::Value;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

/// How long it is looked for.
const CONNECT: Duration = Duration::from_secs(2);

/// Flags of commands that call it.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "The optimizer's API")]
pub(super) struct Args {
    /// Where the optimizer is, https://host:9178 for example [default: optimizer.listen]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The file with its token [default: optimizer.token_file]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    over: Over,
    #[command(flatten)]
    user: User,
}

/// The running optimizer.
pub(super) struct Optimizer {
    url: String,
    /// A token or a user; none where a certificate is to do.
    authorization: Option<HeaderValue>,
    call: Call,
}

impl Args {
    /// Whether an optimizer is meant that may be another than the configuration's.
    pub(super) fn elsewhere(&self) -> bool {
        self.url.is_some()
    }

    /// Whether nobody listens where the configuration's optimizer would.
    pub(super) fn nobody_listens(&self, config: &Config) -> bool {
        let tried = || TcpStream::connect_timeout(&reachable(config.optimizer.listen), CONNECT);
        self.url.is_none() && tried().is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused)
    }

    /// The optimizer that is meant.
    pub(super) fn optimizer(&self, config: &Config) -> Result<Optimizer> {
        let url = if let Some(url) = &self.url {
            url.trim_end_matches('/').to_owned()
        } else {
            let web = config.optimizer.web_config_file.as_deref().map(Web::load).transpose()?;
            let scheme = web.as_ref().map_or("http", Web::scheme);
            format!("{scheme}://{}", reachable(config.optimizer.listen))
        };
        let authorization = self.authorization(config)?;
        let call = Call { trust: self.over.trust(&url)?, ..Call::get("") };
        Ok(Optimizer { url: format!("{url}/api/v1/"), authorization, call })
    }

    /// As a user, if one is given; else with the token. Who shows a certificate needs none, and sends what there is.
    fn authorization(&self, config: &Config) -> Result<Option<HeaderValue>> {
        if let Some(user) = self.user.header()? {
            return Ok(Some(user));
        }
        match (&self.token_file, Token::from_file(&token_path(config))) {
            (Some(file), _) => Ok(Token::from_file(file)?.header()),
            (None, Ok(token)) => Ok(token.header()),
            (None, Err(_)) if self.over.shows_certificate() => Ok(None),
            (None, Err(e)) => Err(e.into()),
        }
    }
}

impl Optimizer {
    /// What a page answers.
    pub(super) fn call(&self, method: Method, page: &str, body: Option<Vec<u8>>) -> Result<Vec<u8>> {
        let (authorization, url) = (self.authorization.clone(), format!("{}{page}", self.url));
        let (status, body) = send_blocking(Call { method, url, authorization, body, ..self.call.clone() })
            .context("is the optimizer running? (its address is optimizer.listen, or --url)")?;
        let said = String::from_utf8_lossy(&body);
        match status {
            _ if status.is_success() => Ok(body.to_vec()),
            StatusCode::UNAUTHORIZED => {
                bail!("the optimizer does not take this token, user or certificate: {}", said.trim())
            }
            _ => bail!("the optimizer says {status}: {}", said.trim()),
        }
    }

    /// The record's entry of a run.
    pub(super) fn entry(&self, run: i64) -> Result<Value> {
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
