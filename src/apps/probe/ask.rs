//! One try of a probe: a request, a connection or a command, and by what it failed.

use super::{Http, Probe, command};
use crate::client::trust::{Files, Trust};
use crate::client::{self, Call, ClientError};
use crate::host::Host;
use crate::host::group::login_of;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use regex_lite::Regex;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpStream;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The largest file of headers that is read, in bytes.
const HEADERS_BYTES_MAX: usize = 16 << 10;
/// The longest text that says why a try failed, in characters.
const WHY_CHARS_MAX: usize = 200;
/// User and group of `nobody`, where the host does not say otherwise.
const NOBODY: (u32, u32) = (65534, 65534);

/// By what a try failed. Each is a value of the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    Connect,
    Tls,
    Timeout,
    Protocol,
    Status,
    Body,
    Start,
    Exit,
}

impl Reason {
    /// The value of the label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Status => "status",
            Self::Body => "body",
            Self::Start => "start",
            Self::Exit => "exit",
        }
    }

    /// Those by which a probe can fail.
    pub(super) fn of(probe: &Probe) -> &'static [Self] {
        match &probe.http {
            Some(_) => &[Self::Connect, Self::Tls, Self::Timeout, Self::Protocol, Self::Status, Self::Body],
            None if probe.tcp.is_some() => &[Self::Connect, Self::Timeout],
            None => &[Self::Timeout, Self::Start, Self::Exit],
        }
    }
}

/// A try that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    pub(super) why: String,
}

impl Failure {
    /// A failure, with a text of bounded length and no control characters.
    pub(super) fn new(reason: Reason, why: &str) -> Self {
        let clean = |c: char| if c.is_control() { ' ' } else { c };
        Self { reason, why: why.chars().take(WHY_CHARS_MAX).map(clean).collect() }
    }
}

/// A probe whose files were read.
#[derive(Clone, Debug)]
pub struct Ready {
    /// What was configured.
    pub(super) probe: Probe,
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    Http(Box<Call>, Option<Regex>),
    Tcp(String),
    Command(Option<(u32, u32)>),
}

impl Ready {
    /// Reads the files that a probe names; or says which key is wrong, and why.
    pub fn new(probe: &Probe, host: &Host) -> Result<Self, (String, String)> {
        let way = if let Some(http) = &probe.http {
            let call = http_call(http, probe.timeout).map_err(|(key, why)| (format!("http.{key}"), why))?;
            let body = http.body.as_deref().map(Regex::new).transpose();
            Way::Http(Box::new(call), body.map_err(|e| ("http.body".to_owned(), e.to_string()))?)
        } else if let Some(to) = &probe.tcp {
            Way::Tcp(to.clone())
        } else {
            Way::Command(login(probe, host).map_err(|why| ("user".to_owned(), why))?)
        };
        Ok(Self { probe: probe.clone(), way })
    }

    /// Asks once.
    pub(super) async fn ask(&self) -> Result<(), Failure> {
        let timeout = self.probe.timeout;
        match &self.way {
            Way::Http(call, body) => self.ask_http((**call).clone(), body.as_ref()).await,
            Way::Tcp(to) => match tokio::time::timeout(timeout, TcpStream::connect(to)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(e)) => Err(Failure::new(Reason::Connect, &format!("{to}: {e}"))),
                Err(_) => Err(Failure::new(Reason::Timeout, &format!("{to}: {}", late(timeout)))),
            },
            Way::Command(login) => command::run(&self.probe.command, *login, timeout).await,
        }
    }

    async fn ask_http(&self, call: Call, body: Option<&Regex>) -> Result<(), Failure> {
        let (status, answer) = client::send(call).await.map_err(|e| failure(&e))?;
        let good = self.probe.http.iter().flat_map(|http| &http.status);
        if !good.copied().any(|good| good.holds(status.as_u16())) {
            return Err(Failure::new(Reason::Status, &format!("the answer is {status}")));
        }
        // The answer's text is not told: it may be anything.
        match body {
            Some(want) if !want.is_match(&String::from_utf8_lossy(&answer)) => {
                Err(Failure::new(Reason::Body, &format!("`{want}` is not found in the answer")))
            }
            _ => Ok(()),
        }
    }
}

/// What is said of a try that took too long.
pub(super) fn late(timeout: Duration) -> String {
    format!("not done within {}", humantime::format_duration(timeout))
}

fn failure(e: &ClientError) -> Failure {
    let reason = match e {
        ClientError::Url { .. } | ClientError::Connect { .. } => Reason::Connect,
        ClientError::Tls { .. } => Reason::Tls,
        ClientError::Answer { .. } => Reason::Protocol,
        ClientError::Deadline { .. } | ClientError::Stopped { .. } => Reason::Timeout,
    };
    Failure::new(reason, &e.to_string())
}

fn http_call(http: &Http, deadline: Duration) -> Result<Call, (&'static str, String)> {
    let Http { ca_file, cert_file, key_file, .. } = http.clone();
    let key = if ca_file.is_some() { "ca_file" } else { "url" };
    let trust = http.url.starts_with("https://").then(|| Trust::new(&Files { ca_file, cert_file, key_file }));
    let method = hyper::Method::from_bytes(http.method.as_bytes());
    Ok(Call {
        method: method.map_err(|e| ("method", e.to_string()))?,
        headers: http.headers_file.as_deref().map_or_else(|| Ok(HeaderMap::new()), headers)?,
        trust: trust.transpose().map_err(|e| (key, e.to_string()))?,
        deadline,
        answer_bytes_max: ANSWER_BYTES_MAX,
        ..Call::get(&http.url)
    })
}

/// The headers in a file. No message shows a line: it holds a secret.
fn headers(file: &Path) -> Result<HeaderMap, (&'static str, String)> {
    let error = |why: &str| ("headers_file", format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|e| error(&e.to_string()))?;
    if text.len() > HEADERS_BYTES_MAX {
        return Err(error("too long"));
    }
    let mut out = HeaderMap::new();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let header = line.split_once(':').and_then(|(name, value)| {
            Some((HeaderName::try_from(name.trim()).ok()?, HeaderValue::try_from(value.trim()).ok()?))
        });
        let (name, mut value) = header.ok_or_else(|| error("a line is not of the form `name: value`"))?;
        value.set_sensitive(true);
        out.insert(name, value);
    }
    Ok(out)
}

/// As whom the command runs: nobody, or who was named, where Headroom is root; else as whom Headroom runs.
fn login(probe: &Probe, host: &Host) -> Result<Option<(u32, u32)>, String> {
    let find = |user: &str| login_of(host, user).map_err(|e| e.to_string());
    let own = rustix::process::geteuid();
    match &probe.user {
        None if own.is_root() => Ok(Some(find("nobody")?.unwrap_or(NOBODY))),
        None => Ok(None),
        Some(user) => {
            let login = find(user)?.ok_or_else(|| format!("there is no user {user:?} on this machine"))?;
            if own.is_root() {
                Ok(Some(login))
            } else if login.0 == own.as_raw() {
                Ok(None)
            } else {
                Err(format!("only root can run a command as {user:?}"))
            }
        }
    }
}
