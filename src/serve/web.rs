//! A web configuration file in use: read again when it, a certificate or a key changes, and kept when the new one is bad.

use super::attempts::Rate;
use super::tls::{self, Reading, Tls};
use super::users::Users;
use super::web_config::{WebConfig, WebError};
use hyper::header::{HeaderName, HeaderValue};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What a web configuration file asks for.
pub(super) struct Loaded {
    /// None: plain HTTP.
    pub(super) tls: Option<Tls>,
    /// Whether HTTP/2 is spoken over TLS.
    pub(super) http2: bool,
    /// Headers of every answer.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Who may come in; nobody is asked if there is none.
    pub(super) users: Users,
    /// The limit of all requests.
    pub(super) rate: Option<Rate>,
}

/// A web configuration file in use.
pub struct Web {
    path: PathBuf,
    state: Mutex<State>,
    warnings: Vec<String>,
}

struct State {
    loaded: Arc<Loaded>,
    /// The file and those that it names, as they were before they were read.
    stamps: Vec<(PathBuf, Option<Stamp>)>,
}

/// By what a changed file is known: device, inode, length, and both times in nanoseconds.
type Stamp = (u64, u64, u64, [i64; 4]);

/// What became of a look at the files.
pub(super) enum Change {
    /// They are what they were.
    None,
    /// They changed, and what they say is in use.
    Used,
    /// They changed, and cannot be used.
    Refused(WebError),
}

impl Web {
    /// Reads a file, its certificates and its keys.
    pub fn load(path: &Path) -> Result<Self, WebError> {
        let (state, warnings) = read(path)?;
        Ok(Self { path: path.to_owned(), state: Mutex::new(state), warnings })
    }

    /// What the file asked for at the start that is accepted and does not do what it says.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `https` or `http`.
    pub fn scheme(&self) -> &'static str {
        if self.now().tls.is_some() { "https" } else { "http" }
    }

    /// What is in use, without a look at the files.
    pub(super) fn now(&self) -> Arc<Loaded> {
        Arc::clone(&self.state.lock().unwrap_or_else(PoisonError::into_inner).loaded)
    }

    /// Looks whether the files changed: a question to the kernel for each, at most four.
    pub(super) fn refresh(&self) -> Change {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.stamps.iter().all(|(path, before)| stamp(path) == *before) {
            return Change::None;
        }
        match read(&self.path) {
            Ok((next, _)) if next.loaded.is_weaker_than(&state.loaded) => {
                state.stamps = next.stamps;
                let why = "it no longer asks for TLS, users, certificates of clients or names in them; only a restart takes those away";
                Change::Refused(WebError::new(&self.path, why))
            }
            Ok((next, _)) => {
                *state = next;
                Change::Used
            }
            Err(e) => {
                // Until something changes again, the answer would be the same.
                for (path, seen) in &mut state.stamps {
                    *seen = stamp(path);
                }
                Change::Refused(e)
            }
        }
    }
}

impl Loaded {
    /// An editor may empty a file before it writes it: that must not open what was closed.
    fn is_weaker_than(&self, old: &Self) -> bool {
        let policy = |loaded: &Self| loaded.tls.as_ref().map(|tls| tls.policy);
        let names = |loaded: &Self| loaded.tls.as_ref().is_some_and(|tls| tls.names);
        policy(self) < policy(old)
            || (names(old) && !names(self))
            || (self.users.is_empty() && !old.users.is_empty())
    }
}

fn read(path: &Path) -> Result<(State, Vec<String>), WebError> {
    let own = stamp(path);
    let bytes = tls::read_bounded(path).map_err(|e| WebError::new(path, e.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| WebError::new(path, "not UTF-8"))?;
    let config = WebConfig::parse(&text, path)?;
    let http = config.http_server_config.unwrap_or_default();
    let headers = http.headers.unwrap_or_default().list();
    let headers =
        headers.map_err(|name| WebError::new(path, format!("{name}: not the value of a header")))?;
    let tls_config = config.tls_server_config.unwrap_or_default();
    // Before they are read, so that a change in between is seen the next time.
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    let stamps: Vec<_> = [&tls_config.cert_file, &tls_config.key_file, &tls_config.client_ca_file]
        .into_iter()
        .filter(|file| !file.as_os_str().is_empty())
        .map(|file| base.join(file))
        .map(|file| (file.clone(), stamp(&file)))
        .chain([(path.to_owned(), own)])
        .collect();
    let mut reading = Reading { path, warnings: Vec::new() };
    let tls = tls::make(&tls_config, http.http2, &mut reading)?;
    let users = config.basic_auth_users.unwrap_or_default();
    let rate = config.rate_limit.and_then(super::web_config::RateLimit::rate);
    let loaded = Arc::new(Loaded { tls, http2: http.http2, headers, users, rate });
    Ok((State { loaded, stamps }, reading.warnings))
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
    Some((meta.dev(), meta.ino(), meta.len(), times))
}

#[cfg(test)]
mod tests;
