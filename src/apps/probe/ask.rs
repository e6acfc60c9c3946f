//! One try of a probe: a request, a connection or a command, and by what it failed.

use super::{Http, Probe, command};
use crate::client::apart::Apart;
use crate::client::names::Names;
use crate::client::trust::{Files, Kept, plain};
use crate::client::{self, Call, ClientError};
use crate::host::Host;
use crate::host::group::login_of;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use regex_lite::Regex;
use std::path::Path;
use std::time::Duration;

/// So much of an answer is read where an expression is to be found in it: every probe may be at it at once.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// The largest file of headers that is read, in bytes.
const HEADERS_BYTES_MAX: u64 = 16 << 10;
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
    /// The beginning of what a command said, which may be a secret: not for pages that anybody can read.
    pub(super) said: String,
}

impl Failure {
    /// A failure, with a text of bounded length and no control characters.
    pub(super) fn new(reason: Reason, why: &str) -> Self {
        Self { reason, why: short(why), said: String::new() }
    }

    /// The same of a command that said something.
    pub(super) fn with_words(self, said: &str) -> Self {
        Self { said: short(said), ..self }
    }
}

fn short(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(WHY_CHARS_MAX).map(clean).collect()
}

/// A probe whose files were read.
#[derive(Clone, Debug)]
pub struct Ready {
    /// What was configured.
    pub(super) probe: Probe,
    way: Way,
    /// For what may block: one piece of work of this probe at once.
    apart: Apart,
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
            let call = http_call(http).map_err(|(key, why)| (format!("http.{key}"), why))?;
            let body = http.body.as_deref().map(Regex::new).transpose();
            Way::Http(Box::new(call), body.map_err(|e| ("http.body".to_owned(), e.to_string()))?)
        } else if let Some(to) = &probe.tcp {
            Way::Tcp(to.clone())
        } else {
            Way::Command(login(probe, host).map_err(|why| ("user".to_owned(), why))?)
        };
        Ok(Self { probe: probe.clone(), way, apart: Apart::new(1) })
    }

    /// Whether a process is started for it.
    pub(super) fn is_command(&self) -> bool {
        matches!(self.way, Way::Command(_))
    }

    /// Asks once.
    pub(super) async fn ask(&self, names: &Names) -> Result<(), Failure> {
        let timeout = self.probe.timeout;
        let asking = async {
            match &self.way {
                Way::Http(call, body) => {
                    let call = Call { names: Some(names.clone()), ..(**call).clone() };
                    self.ask_http(call, body.as_ref()).await
                }
                Way::Tcp(to) => match names.connect(to).await {
                    Ok(_) => Ok(()),
                    Err(e) => Err(Failure::new(Reason::Connect, &format!("{to}: {e}"))),
                },
                Way::Command(login) => command::run(&self.probe.command, *login, timeout, &self.apart).await,
            }
        };
        let late = |_| Err(Failure::new(Reason::Timeout, &late(timeout)));
        tokio::time::timeout(timeout, asking).await.unwrap_or_else(late)
    }

    async fn ask_http(&self, call: Call, body: Option<&Regex>) -> Result<(), Failure> {
        let mut answer = client::open(call).await.map_err(|e| failure(&e))?;
        let good = self.probe.http.iter().flat_map(|http| &http.status);
        if !good.copied().any(|good| good.holds(answer.head.status.as_u16())) {
            return Err(Failure::new(Reason::Status, &format!("the answer is {}", answer.head.status)));
        }
        let Some(want) = body.cloned() else { return Ok(()) };
        let mut text = Vec::new();
        while text.len() < ANSWER_BYTES_MAX
            && let Some(part) = answer.next().await.map_err(|e| failure(&e))?
        {
            text.extend(part.iter().take(ANSWER_BYTES_MAX - text.len()));
        }
        drop(answer);
        let said = format!("`{want}` is not found in the answer");
        // An expression may take seconds for what is short; nobody else waits for it.
        let found = self.apart.run(move |_place| want.is_match(&String::from_utf8_lossy(&text))).await;
        // The answer's text is not told: it may be anything.
        if found.unwrap_or(false) { Ok(()) } else { Err(Failure::new(Reason::Body, &said)) }
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

fn http_call(http: &Http) -> Result<Call, (&'static str, String)> {
    let Http { ca_file, cert_file, key_file, .. } = http.clone();
    let key = if ca_file.is_some() { "ca_file" } else { "url" };
    // A try reads none of them; a pipe among them must not stop a reload either.
    let trust = || Kept::default().get(&Files { ca_file, cert_file, key_file });
    let trust = http.url.starts_with("https://").then(trust);
    let method = hyper::Method::from_bytes(http.method.as_bytes());
    Ok(Call {
        method: method.map_err(|e| ("method", e.to_string()))?,
        headers: http.headers_file.as_deref().map_or_else(|| Ok(HeaderMap::new()), headers)?,
        trust: trust.transpose().map_err(|e| (key, e.to_string()))?,
        ..Call::get(&http.url)
    })
}

/// The headers in a file. No message shows a line: it holds a secret.
fn headers(file: &Path) -> Result<HeaderMap, (&'static str, String)> {
    let error = |why: &str| ("headers_file", format!("{}: {why}", file.display()));
    plain(file, HEADERS_BYTES_MAX).map_err(|e| ("headers_file", e.to_string()))?;
    let text = std::fs::read_to_string(file).map_err(|e| error(&e.to_string()))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// What a probe of a server finds that gives this answer to each request.
    fn found(answer: &str, probe: &Probe) -> (Result<(), Reason>, Duration) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let http = probe.http.clone().map(|http| Http { url, ..http });
        let ready = Ready::new(&Probe { http, ..probe.clone() }, &Host::default()).unwrap();
        let answer = answer.to_owned();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _read = stream.read(&mut [0; 4096]);
            let _gone = stream.write_all(answer.as_bytes());
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut longest = Duration::ZERO;
        let result = runtime.block_on(async {
            let asking = tokio::spawn(async move { ready.ask(&Names::default()).await });
            while !asking.is_finished() {
                let begun = std::time::Instant::now();
                tokio::time::sleep(Duration::from_millis(1)).await;
                longest = longest.max(begun.elapsed());
            }
            asking.await.unwrap().map_err(|failure| failure.reason)
        });
        server.join().unwrap();
        (result, longest)
    }

    fn probe(body: Option<&str>, timeout: Duration) -> Probe {
        let http = Http { body: body.map(str::to_owned), ..Http::default() };
        Probe { http: Some(http), timeout, ..Probe::default() }
    }

    fn answer(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn of_a_long_answer_the_beginning_is_judged() {
        let long = "it is up ".to_owned() + &"x".repeat(3 << 20);
        assert_eq!(found(&answer(&long), &probe(None, LONG)).0, Ok(()));
        assert_eq!(found(&answer(&long), &probe(Some("is up"), LONG)).0, Ok(()));
        assert_eq!(found(&answer(&long), &probe(Some("is down"), LONG)).0, Err(Reason::Body));
        let late = "x".repeat(ANSWER_BYTES_MAX) + "up";
        assert_eq!(found(&answer(&late), &probe(Some("up"), LONG)).0, Err(Reason::Body));
    }

    #[test]
    fn an_expression_that_takes_long_holds_up_nobody_and_has_the_tries_time() {
        let (result, longest) = found(
            &answer(&"x a b c ".repeat(ANSWER_BYTES_MAX / 8)),
            &probe(Some("(x[a-z ]{0,100}){10}up"), Duration::from_millis(300)),
        );
        assert_eq!(result, Err(Reason::Timeout));
        assert!(longest < Duration::from_secs(20), "the thread that serves waited {longest:?}");
    }
}
