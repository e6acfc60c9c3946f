//! How a target is started again, and how it is seen to serve after that.

use super::endpoint::Endpoint;
use super::kubernetes::{Pod, word};
use crate::client;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Where Docker's and Podman's engines listen.
const DOCKER_SOCKET: &str = "/run/docker.sock";
const PODMAN_SOCKET: &str = "/run/podman/podman.sock";
/// The longest for each part of a restart: the end, the new start, and the check after it.
pub const PART_MAX: Duration = Duration::from_mins(2);

/// A wrong key, and why it is wrong.
type Wrong = (String, String);

/// How a target is started again.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Restart {
    /// The unit of systemd that it is.
    pub systemd_unit: Option<String>,
    /// The container of Docker that it is, by name or number.
    pub docker: Option<String>,
    /// The same, of Podman.
    pub podman: Option<String>,
    /// The pod that it is.
    pub kubernetes: Option<Pod>,
    /// A program and its arguments that start it again, without a shell.
    pub command: Vec<String>,
    /// Where systemd or the engine listens, if not at the usual place.
    pub socket: Option<PathBuf>,
    /// How long containers and pods may take to end by themselves, before they are killed.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
    /// How long the new start may take.
    #[serde(with = "humantime_serde")]
    pub within: Duration,
    /// How it is seen to serve again.
    pub health: Option<Health>,
    /// The shortest time between two restarts. It doubles with each that did not help.
    #[serde(with = "humantime_serde")]
    pub at_most_every: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            systemd_unit: None,
            docker: None,
            podman: None,
            kubernetes: None,
            command: Vec::new(),
            socket: None,
            grace: Duration::from_secs(10),
            within: Duration::from_mins(1),
            health: None,
            at_most_every: Duration::from_hours(1),
        }
    }
}

/// Who starts it again. It can be written into a record and not read from one: addresses are not in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// systemd.
    Systemd {
        /// The unit.
        unit: String,
        /// Where it listens, if not at the usual place.
        socket: Option<PathBuf>,
    },
    /// An engine that speaks Docker's API.
    Container {
        /// The container.
        name: String,
        /// Where the engine listens.
        socket: PathBuf,
    },
    /// Kubernetes.
    Kubernetes(Box<Pod>),
    /// A program.
    Command(Vec<String>),
}

/// How a target is seen to serve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// An address that answers 2xx to a GET.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shown")]
    pub http: Option<String>,
    /// Host and port that take connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<String>,
    /// A program that ends with 0.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// How long that may take.
    #[serde(with = "humantime_serde")]
    pub within: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self { http: None, tcp: None, command: Vec::new(), within: Duration::from_mins(1) }
    }
}

impl Restart {
    /// Who starts it again; or which key is wrong, and why.
    pub fn way(&self) -> Result<Way, Wrong> {
        let mut ways = Vec::new();
        if let Some(unit) = &self.systemd_unit {
            ways.push(Way::Systemd { unit: unit.clone(), socket: self.socket.clone() });
        }
        for (name, usual) in [(&self.docker, DOCKER_SOCKET), (&self.podman, PODMAN_SOCKET)] {
            let socket = || self.socket.clone().unwrap_or_else(|| usual.into());
            ways.extend(name.clone().map(|name| Way::Container { name, socket: socket() }));
        }
        ways.extend(self.kubernetes.clone().map(|pod| Way::Kubernetes(Box::new(pod))));
        if !self.command.is_empty() {
            ways.push(Way::Command(self.command.clone()));
        }
        match (ways.pop(), ways.is_empty()) {
            (Some(way), true) => Ok(way),
            _ => Err(wrong(
                "systemd_unit",
                "give one of `systemd_unit`, `docker`, `podman`, `kubernetes` and `command`",
            )),
        }
    }

    /// Whether it can be done so; or the key that is wrong, and why.
    pub fn check(&self) -> Result<(), Wrong> {
        match self.way()? {
            Way::Systemd { unit, .. } if !is_unit(&unit) => {
                return Err(wrong("systemd_unit", "a unit's whole name, such as cache.service"));
            }
            Way::Container { name, .. } if !word(&name, "_.-") => {
                let key = if self.docker.is_some() { "docker" } else { "podman" };
                return Err(wrong(key, "a container's name: letters, digits, `_`, `.` and `-`"));
            }
            Way::Kubernetes(pod) => pod.check().map_err(|(key, why)| (format!("kubernetes.{key}"), why))?,
            Way::Command(command) => check_command(&command).map_err(|why| wrong("command", why))?,
            _ => {}
        }
        if self.socket.as_ref().is_some_and(|p| !p.is_absolute()) {
            return Err(wrong("socket", "an absolute path, such as /run/docker.sock"));
        }
        let parts = [("grace", self.grace), ("within", self.within)];
        if let Some((key, _)) = parts.into_iter().find(|(_, time)| *time > PART_MAX) {
            return Err(wrong(key, "at most 2m"));
        }
        match &self.health {
            Some(health) => health.check().map_err(|(key, why)| (format!("health.{key}"), why)),
            None => Ok(()),
        }
    }

    /// The server that it calls.
    pub fn server(&mut self) -> Option<&mut Endpoint> {
        self.kubernetes.as_mut()?.server.as_mut()
    }
}

impl Health {
    fn check(&self) -> Result<(), Wrong> {
        match (&self.http, &self.tcp, self.command.is_empty()) {
            (Some(url), None, true) => client::check(url).map_err(|e| wrong("http", e.to_string()))?,
            (None, Some(tcp), true) => {
                let port = tcp.rsplit_once(':').filter(|(host, _)| !host.is_empty());
                if port.is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
                    return Err(wrong("tcp", "host and port, such as 127.0.0.1:6379"));
                }
            }
            (None, None, false) => check_command(&self.command).map_err(|why| wrong("command", why))?,
            _ => return Err(wrong("http", "give one of `http`, `tcp` and `command`")),
        }
        if self.within > PART_MAX { Err(wrong("within", "at most 2m")) } else { Ok(()) }
    }
}

/// An address, as a record may have it.
#[expect(clippy::ref_option, reason = "serde gives the field as it is")]
fn shown<S: serde::Serializer>(url: &Option<String>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_some(&url.as_deref().map(client::shown))
}

fn wrong(key: &str, why: impl Into<String>) -> Wrong {
    (key.to_owned(), why.into())
}

fn is_unit(name: &str) -> bool {
    let kinds = [".service", ".scope", ".slice"];
    word(name, ":_.\\@-") && kinds.iter().any(|kind| name.ends_with(kind)) && name.len() <= 255
}

fn check_command(command: &[String]) -> Result<(), &'static str> {
    if !command.first().is_some_and(|p| p.starts_with('/')) {
        return Err("a list that begins with a program's absolute path");
    }
    if command.iter().any(|part| part.contains('\0')) {
        return Err("no part of it may hold a zero byte");
    }
    Ok(())
}
