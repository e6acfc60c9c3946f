//! One socket of a target: who may connect to it, and the connections that it has.

use crate::host::Host;
use crate::host::group::number_of;
use crate::host::hand::{Audience, peer};
use crate::optimize::observe::Observer;
use crate::optimize::policy::Target;
use crate::optimize::policy::hook::PressureSocket;
use crate::serve::local::{Access, Local};
use rustix::event::{PollFd, PollFlags};
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections of one socket at once.
const CONNECTIONS_MAX: usize = 64;
/// Connections that are taken at once, before others have their turn.
const ACCEPTED_MAX: usize = 16;
/// What one program may write in all: a line of settings is expected.
const WRITTEN_BYTES_MAX: usize = 64 << 10;
/// What the kernel keeps of words that a program has not read; it makes a few words of it.
const SEND_BUFFER_BYTES: usize = 4096;
/// How long nobody can connect after somebody who may not has, so that he cannot keep this busy.
const REST: Duration = Duration::from_millis(100);
/// Time between two lines in the log about those who may not connect.
const REFUSALS_LOGGED_EVERY: Duration = Duration::from_mins(1);

/// A socket to serve.
pub(super) struct Socket {
    pub(super) place: PressureSocket,
    target: Target,
    /// With the place as it was made; none while it cannot be made.
    bound: Option<(Local, PressureSocket)>,
    /// Why it could not be made, if that has been said.
    said: Option<String>,
    connections: Vec<Connection>,
    rests_until: Option<Instant>,
    refusal_logged: Option<Instant>,
}

struct Connection {
    stream: Arc<UnixStream>,
    written_bytes: usize,
}

impl Socket {
    /// A socket that is not there yet.
    pub(super) fn new(target: Target, place: PressureSocket) -> Self {
        Self {
            place,
            target,
            bound: None,
            said: None,
            connections: Vec::new(),
            rests_until: None,
            refusal_logged: None,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.place.path
    }

    pub(super) fn target_name(&self) -> &str {
        &self.target.name
    }

    /// How many programs are connected.
    pub(super) fn connected(&self) -> usize {
        self.connections.len()
    }

    /// Whether this is the socket for that place of that target, so that its connections are good there.
    pub(super) fn is_for(&self, target: &Target, place: &PressureSocket) -> bool {
        let of = |t: &Target| (t.name.clone(), t.process_group.clone(), t.cgroup.clone());
        of(&self.target) == of(target) && self.place.path == place.path
    }

    /// Makes it, if it is not there as it is wanted. Connections stay: they do not need the file.
    pub(super) fn bind(&mut self, host: &Host) {
        if self.bound.as_ref().is_some_and(|(local, place)| *place == self.place && local.is_there()) {
            return;
        }
        self.bound = None;
        let (path, target) = (self.place.path.display(), &self.target.name);
        match listen(&self.place, host) {
            Ok(local) => {
                tracing::info!(%path, target, "serves systemd's memory pressure protocol");
                (self.bound, self.said) = (Some((local, self.place.clone())), None);
            }
            Err(why) if self.said.as_ref() != Some(&why) => {
                tracing::error!(%path, target, error = why, "cannot make the pressure_socket; it will be tried again");
                self.said = Some(why);
            }
            Err(_) => {}
        }
    }

    /// How long nobody can connect, if that is so.
    pub(super) fn rests(&self) -> Option<Duration> {
        let until = self.rests_until?;
        Some(until.saturating_duration_since(Instant::now())).filter(|rest| !rest.is_zero())
    }

    /// What is to be polled; [`Socket::serve`] takes the answers in the same order.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = PollFd<'_>> {
        let listens = self.bound.iter().map(|(local, _)| {
            // Polled all the same while it rests, so that the order stays; for nothing.
            let wanted = if self.rests().is_some() { PollFlags::empty() } else { PollFlags::IN };
            PollFd::new(local.listener(), wanted)
        });
        listens.chain(self.connections.iter().map(|c| PollFd::new(&*c.stream, PollFlags::IN)))
    }

    /// Takes who connects, and leaves out who has gone.
    pub(super) fn serve(
        &mut self,
        ready: &mut impl Iterator<Item = bool>,
        observer: &Observer,
        audience: &Audience,
    ) {
        let knocks = self.bound.is_some() && ready.next() == Some(true);
        let before = self.connections.len();
        self.connections.retain_mut(|c| ready.next() != Some(true) || c.read());
        let mut changed = self.connections.len() != before;
        if knocks {
            changed |= self.accept(observer);
        }
        if changed {
            let streams = self.connections.iter().map(|c| Arc::clone(&c.stream)).collect();
            audience.set(self.path(), streams);
        }
    }

    /// Takes new connections; true if there are any.
    fn accept(&mut self, observer: &Observer) -> bool {
        let before = self.connections.len();
        for _ in 0..ACCEPTED_MAX {
            let Some((local, _)) = &self.bound else { break };
            let stream = match local.listener().accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => {
                    // No descriptor is left, say.
                    self.refuse(&e.to_string());
                    break;
                }
            };
            match self.admit(stream, observer) {
                Ok(connection) => self.connections.push(connection),
                Err(why) => self.refuse(&why),
            }
        }
        self.connections.len() > before
    }

    /// The connection, if its program may have it; or why it may not.
    fn admit(&self, stream: UnixStream, observer: &Observer) -> Result<Connection, String> {
        if self.connections.len() >= CONNECTIONS_MAX {
            return Err(format!("{CONNECTIONS_MAX} programs are connected already"));
        }
        let failed = |e: io::Error| e.to_string();
        let pid = peer(&stream).map_err(failed)?;
        let pid = pid.ok_or("its process is in a name space that is not seen from here")?;
        if !observer.is_member(&self.target, pid).map_err(|e| e.to_string())? {
            return Err(format!("process {pid} is none of the target's"));
        }
        stream.set_nonblocking(true).map_err(failed)?;
        rustix::net::sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER_BYTES)
            .map_err(|e| failed(e.into()))?;
        tracing::info!(path = %self.path().display(), target = self.target.name, pid, "a program is connected");
        Ok(Connection { stream: Arc::new(stream), written_bytes: 0 })
    }

    fn refuse(&mut self, why: &str) {
        self.rests_until = Some(Instant::now() + REST);
        if self.refusal_logged.is_none_or(|at| at.elapsed() >= REFUSALS_LOGGED_EVERY) {
            self.refusal_logged = Some(Instant::now());
            tracing::warn!(path = %self.path().display(), target = self.target.name, why, "a connection is refused");
        }
    }
}

impl Connection {
    /// Reads what the program wrote, which means nothing; false if it has gone, or writes without end.
    fn read(&mut self) -> bool {
        let mut part = [0; 4096];
        loop {
            match (&*self.stream).read(&mut part) {
                Ok(0) => return false,
                Ok(n) => self.written_bytes = self.written_bytes.saturating_add(n),
                Err(e) => return matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
            }
            if self.written_bytes > WRITTEN_BYTES_MAX {
                return false;
            }
        }
    }
}

/// Listens at a place, as its owner and mode say.
fn listen(place: &PressureSocket, host: &Host) -> Result<Local, String> {
    let owner = place.owner.as_deref().unwrap_or_default();
    let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
    let number = |name: &str, file: &str| match name {
        "" => Ok(None),
        name => match number_of(host, file, name).map_err(|e| e.to_string())? {
            Some(number) => Ok(Some(number)),
            None => Err(format!("{name} is not in {file}")),
        },
    };
    let (user, group) = (number(user, "/etc/passwd")?, number(group, "/etc/group")?);
    Local::bind(&place.path, Access { mode: place.mode, user, group }).map_err(|e| e.to_string())
}
