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
/// What may stand in place of an address.
const WAYS: &str = "`signal`, `command`, `pressure_socket` or `pressure_fifo`";
/// The longest word for a kind.
const KIND_BYTES_MAX: usize = 64;
/// The longest path of a socket to serve: the kernel takes 107 bytes, and one that is being made has a longer name.
const SOCKET_PATH_BYTES_MAX: usize = 96;
/// Who may connect to a socket to serve, if the file does not say: its owner and its group.
const SOCKET_MODE: u32 = 0o660;

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
    /// A socket, in place of an address, that Headroom serves and programs of the target connect to by systemd's protocol
    /// (`$MEMORY_PRESSURE_WATCH`).
    pub pressure_socket: Option<PathBuf>,
    /// The mode of that socket, as chmod takes it; 0660 if not given.
    pub mode: Option<String>,
    /// Its owner, as chown takes it: `user`, `user:group` or `:group`; Headroom's own if not given.
    pub owner: Option<String>,
    /// A named pipe, in place of an address, that a program of the target reads by the same protocol.
    pub pressure_fifo: Option<PathBuf>,
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
            pressure_socket: None,
            mode: None,
            owner: None,
            pressure_fifo: None,
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
        /// The address; in a record only what may be shown of it.
        #[serde(serialize_with = "shown")]
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
    /// A word to the programs that are connected to a socket of Headroom's.
    PressureSocket(PressureSocket),
    /// A word into a named pipe.
    PressureFifo(PathBuf),
}

/// A socket that Headroom serves by systemd's memory pressure protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PressureSocket {
    /// Its path.
    pub path: PathBuf,
    /// Who may connect, by the permissions of the file.
    pub mode: u32,
    /// Whose it is, as chown takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// An address, as a record may have it: the whole may hold a secret.
fn shown<S: serde::Serializer>(url: &str, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&client::shown(url))
}

impl Hook {
    /// How the application is reached; or which key is wrong, and why.
    pub fn way(&self) -> Result<Way, (&'static str, String)> {
        let http = self.url.is_some() || self.unix.is_some() || self.token_file.is_some();
        let signal = self.signal.is_some() || self.largest.is_some();
        let socket = self.pressure_socket.is_some() || self.mode.is_some() || self.owner.is_some();
        match [http, signal, !self.command.is_empty(), socket, self.pressure_fifo.is_some()] {
            [true, false, false, false, false] => self.http(),
            [false, true, false, false, false] => self.by_signal(),
            [false, false, true, false, false] => self.by_command(),
            [false, false, false, true, false] => self.socket().map(Way::PressureSocket),
            [false, false, false, false, true] => self.fifo(),
            [false, false, false, false, false] => Err(("url", format!("give `url`, `unix`, {WAYS}"))),
            _ => Err(("url", format!("one way for a hook: an address with its token, {WAYS}"))),
        }
    }

    fn http(&self) -> Result<Way, (&'static str, String)> {
        let url = match (&self.url, &self.unix) {
            (None, None) => return Err(("token_file", "a token is for `url` or `unix`".into())),
            (Some(url), _) => url.clone(),
            (None, Some(_)) => URL_DEFAULT.to_owned(),
        };
        client::check_plain(&url).map_err(|e| ("url", e.to_string()))?;
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

    /// The socket to serve; or which key is wrong, and why.
    fn socket(&self) -> Result<PressureSocket, (&'static str, String)> {
        let path = self.pressure_socket.clone().filter(|p| p.is_absolute() && p.file_name().is_some());
        let path = path.filter(|p| p.as_os_str().len() <= SOCKET_PATH_BYTES_MAX);
        let path = path.ok_or_else(|| {
            let why = format!(
                "an absolute path of at most {SOCKET_PATH_BYTES_MAX} bytes, such as /run/headroom/cache"
            );
            ("pressure_socket", why)
        })?;
        let mode = self.mode.as_deref().map_or(Some(SOCKET_MODE), |text| {
            u32::from_str_radix(text, 8).ok().filter(|&m| m <= 0o777 && !text.starts_with('+'))
        });
        let mode = mode.ok_or_else(|| ("mode", "an octal number up to 0777, such as \"0660\"".to_owned()))?;
        let word = |part: &str| !part.contains([':', '/', ' ']) && part.len() <= KIND_BYTES_MAX;
        let good = |text: &str| match text.split_once(':') {
            Some((user, group)) => word(user) && word(group) && !group.is_empty(),
            None => word(text) && !text.is_empty(),
        };
        if self.owner.as_deref().is_some_and(|text| !good(text)) {
            return Err(("owner", "user, user:group or :group, by name or number".into()));
        }
        Ok(PressureSocket { path, mode, owner: self.owner.clone() })
    }

    fn fifo(&self) -> Result<Way, (&'static str, String)> {
        let path = self.pressure_fifo.clone().filter(|p| p.is_absolute());
        let path = path
            .ok_or_else(|| ("pressure_fifo", "an absolute path, such as /run/pressure/cache".to_owned()))?;
        Ok(Way::PressureFifo(path))
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

    /// The sockets to serve for it.
    pub fn pressure_sockets(&self) -> impl Iterator<Item = PressureSocket> {
        self.all_hooks().filter(|h| h.pressure_socket.is_some()).filter_map(|h| h.socket().ok())
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

/// Whether each socket is served for one hook alone; or the key of the second one, and why not.
pub fn check_sockets(targets: &[Target]) -> Result<(), (String, String)> {
    let mut paths = std::collections::HashSet::new();
    for (i, target) in targets.iter().enumerate() {
        for socket in target.pressure_sockets() {
            if !paths.insert(socket.path.clone()) {
                let why = format!("{} is the pressure_socket of another hook too", socket.path.display());
                return Err((format!("optimizer.targets[{i}].hooks"), why));
            }
        }
    }
    Ok(())
}
