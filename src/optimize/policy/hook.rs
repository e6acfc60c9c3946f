//! Where an application takes requests to give memory back; `docs/app-hook.md` describes the protocol.

use super::Target;
use crate::client;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// What is called where only a socket is given.
const URL_DEFAULT: &str = "http://localhost/headroom/reclaim";
/// The longest that an application may take.
pub const TIMEOUT_MAX: Duration = Duration::from_mins(1);
/// What may be sent: what programs take for requests.
const SIGNALS: [&str; 4] = ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH"];
/// The longest word for a kind.
const KIND_BYTES_MAX: usize = 64;

/// An application's hook.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hook {
    /// What it gives back: a word that ladders name, such as `gc` or `drop_caches`.
    pub kind: Option<String>,
    /// The address, `http://127.0.0.1:8080/headroom/reclaim` for example.
    pub url: Option<String>,
    /// The socket (AF_UNIX) that is called in place of the address's host and port.
    pub unix: Option<PathBuf>,
    /// The file with the bearer token that the application wants.
    pub token_file: Option<PathBuf>,
    /// A signal that the application has a handler for, in place of an address: `SIGUSR1` for example.
    pub signal: Option<String>,
    /// Only so many of the target's processes get the signal, the largest; all without it.
    pub largest: Option<usize>,
    /// A command, in place of an address: the program's path and its arguments, without a shell.
    pub command: Vec<String>,
    /// How long the application may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

impl Default for Hook {
    fn default() -> Self {
        Self {
            kind: None,
            url: None,
            unix: None,
            token_file: None,
            signal: None,
            largest: None,
            command: Vec::new(),
            timeout: Duration::from_secs(5),
        }
    }
}

/// How the application is reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// An HTTP request, over TCP or over a socket of the file system.
    Http {
        /// The address.
        url: String,
        /// The socket, if it is not the address's host and port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unix: Option<PathBuf>,
        /// The file with the token.
        token_file: Option<PathBuf>,
    },
    /// A signal.
    Signal {
        /// Its name.
        name: String,
        /// To so many of the largest processes; to all without.
        largest: Option<usize>,
    },
    /// A command.
    Command(Vec<String>),
}

impl Hook {
    /// How the application is reached; or which key is wrong, and why.
    pub fn way(&self) -> Result<Way, (&'static str, String)> {
        let http = self.url.is_some() || self.unix.is_some() || self.token_file.is_some();
        let signal = self.signal.is_some() || self.largest.is_some();
        match (http, signal, !self.command.is_empty()) {
            (true, false, false) => self.http(),
            (false, true, false) => self.by_signal(),
            (false, false, true) => self.by_command(),
            (false, false, false) => Err(("url", "give `url`, `unix`, `signal` or `command`".into())),
            _ => Err(("url", "one way for a hook: an address with its token, `signal` or `command`".into())),
        }
    }

    fn http(&self) -> Result<Way, (&'static str, String)> {
        let url = match (&self.url, &self.unix) {
            (None, None) => return Err(("token_file", "a token is for `url` or `unix`".into())),
            (Some(url), _) => url.clone(),
            (None, Some(_)) => URL_DEFAULT.to_owned(),
        };
        client::check(&url).map_err(|e| ("url", e.to_string()))?;
        if self.unix.as_ref().is_some_and(|p| !p.is_absolute()) {
            return Err(("unix", "an absolute path, such as /run/cache/hook.sock".into()));
        }
        Ok(Way::Http { url, unix: self.unix.clone(), token_file: self.token_file.clone() })
    }

    fn by_signal(&self) -> Result<Way, (&'static str, String)> {
        let name = self.signal.as_deref().filter(|n| SIGNALS.contains(n));
        let name = name.ok_or_else(|| ("signal", format!("one of {}", SIGNALS.join(", "))))?;
        if self.largest == Some(0) {
            return Err(("largest", "at least 1".into()));
        }
        Ok(Way::Signal { name: name.to_owned(), largest: self.largest })
    }

    fn by_command(&self) -> Result<Way, (&'static str, String)> {
        if !self.command.first().is_some_and(|p| p.starts_with('/')) {
            return Err(("command", "a list that begins with a program's absolute path".into()));
        }
        if self.command.iter().any(|part| part.contains('\0')) {
            return Err(("command", "no part of it may hold a zero byte".into()));
        }
        Ok(Way::Command(self.command.clone()))
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let word = |k: &str| {
            let letters = k.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            letters && (1..=KIND_BYTES_MAX).contains(&k.len())
        };
        if self.kind.as_deref().is_some_and(|k| !word(k)) {
            return Err(("kind", "a word of a-z, 0-9 and _, such as drop_caches".into()));
        }
        if !(Duration::from_millis(1)..=TIMEOUT_MAX).contains(&self.timeout) {
            return Err(("timeout", "from 1ms to 1m".into()));
        }
        self.way().map(|_| ())
    }
}

impl Target {
    /// Its hooks, in the order of the configuration.
    pub fn all_hooks(&self) -> impl Iterator<Item = &Hook> {
        self.hook.iter().chain(&self.hooks)
    }

    /// The hook of a kind; without a kind the first.
    pub fn hook_of(&self, kind: Option<&str>) -> Option<&Hook> {
        self.all_hooks().find(|h| kind.is_none() || h.kind.as_deref() == kind)
    }

    /// Whether its hooks are good; or the key that is wrong, and why.
    pub fn check_hooks(&self) -> Result<(), (String, String)> {
        let one = self.hook.iter().map(|h| ("hook".to_owned(), h));
        let more = self.hooks.iter().enumerate().map(|(i, h)| (format!("hooks[{i}]"), h));
        let mut kinds = std::collections::HashSet::new();
        for (place, hook) in one.chain(more) {
            hook.check().map_err(|(key, why)| (format!("{place}.{key}"), why))?;
            if !kinds.insert(&hook.kind) {
                let why = "another hook of this target has this kind, or none either; a rung could not tell them apart";
                return Err((format!("{place}.kind"), why.into()));
            }
        }
        Ok(())
    }
}
