//! The sockets of StatsD, and the tasks that empty them.

use super::Options;
use super::engine::{Engine, PACKET_BYTES_MAX};
use crate::apps::Applications;
use crate::serve::addresses::Addresses;
use crate::serve::local::{Access, Local};
use prometheus::IntCounter;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{UdpSocket, UnixDatagram};
use tokio::sync::watch;

/// So many datagrams are taken at once, before others may use the thread.
const BATCH: usize = 200;
/// The time between two looks at what time brings.
const TICK: Duration = Duration::from_secs(1);

/// A socket that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {on} (applications.statsd.{key}): {source}")]
pub struct BindError {
    on: String,
    key: &'static str,
    source: io::Error,
}

/// Bound sockets.
#[derive(Debug, Default)]
pub struct Sockets {
    udp: Vec<UdpSocket>,
    unix: Option<(UnixDatagram, Local<std::os::unix::net::UnixDatagram>, PathBuf)>,
}

impl Sockets {
    /// Binds what is configured; to be called on the runtime that serves it.
    pub async fn bind(options: &Options) -> Result<Self, BindError> {
        let mut out = Self::default();
        for address in options.udp.iter().flat_map(Addresses::iter) {
            let socket = UdpSocket::bind(address).await;
            let error = |source| BindError { on: address.to_string(), key: "udp", source };
            out.udp.push(socket.map_err(error)?);
        }
        if let Some(path) = &options.unix {
            let error = |source| BindError { on: path.display().to_string(), key: "unix", source };
            let access = Access { mode: options.mode().unwrap_or(0o660), user: None, group: None };
            let file = Local::bind_datagrams(path, access).map_err(error)?;
            let socket = file.datagrams().try_clone().and_then(UnixDatagram::from_std).map_err(error)?;
            out.unix = Some((socket, file, path.clone()));
        }
        Ok(out)
    }

    /// The addresses of UDP.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.udp.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }
}

/// The engine with its store, for all sockets.
#[derive(Clone, Debug)]
pub struct Statsd {
    engine: Arc<Mutex<Engine>>,
    applications: Applications,
}

impl Statsd {
    /// What comes goes through the engine into the store.
    pub fn new(engine: Engine, applications: Applications) -> Self {
        Self { engine: Arc::new(Mutex::new(engine)), applications }
    }

    /// Uses other options from now on. Sockets are not among them.
    pub fn replace(&self, options: &Options, stale_after: Duration) {
        self.lock().replace(options, stale_after);
    }

    fn lock(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tasks that empty the sockets, until `stopped` says so.
    pub fn tasks(
        &self,
        sockets: Sockets,
        stopped: &watch::Receiver<bool>,
    ) -> Vec<tokio::task::JoinHandle<()>> {
        let mut out = vec![tokio::spawn(self.clone().tick(stopped.clone()))];
        for socket in sockets.udp {
            if let Ok(address) = socket.local_addr() {
                tracing::info!(listener = "statsd", %address, "listening");
            }
            let packets = self.lock().metrics().packets("udp");
            out.push(tokio::spawn(self.clone().empty(Socket::Udp(socket), packets, stopped.clone())));
        }
        if let Some((socket, file, path)) = sockets.unix {
            tracing::info!(listener = "statsd", path = %path.display(), "listening");
            let packets = self.lock().metrics().packets("unixgram");
            let socket = Socket::Unix(socket, file);
            out.push(tokio::spawn(self.clone().empty(socket, packets, stopped.clone())));
        }
        out
    }

    async fn tick(self, mut stopped: watch::Receiver<bool>) {
        while tokio::time::timeout(TICK, stopped.changed()).await.is_err() {
            let (mut engine, mut store) = (self.lock(), self.applications.lock());
            engine.tick(&mut store, Instant::now());
        }
    }

    async fn empty(self, socket: Socket, packets: IntCounter, mut stopped: watch::Receiver<bool>) {
        let mut buffer = vec![0; PACKET_BYTES_MAX + 1];
        loop {
            let flush_at = self.lock().flush_at(Instant::now());
            let flush = async {
                match flush_at {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = stopped.changed() => return,
                () = flush => {}
                ready = socket.readable() => if let Err(error) = ready {
                    tracing::error!(listener = "statsd", %error, "the socket cannot be read any more");
                    return;
                }
            }
            self.batch(&socket, &packets, &mut buffer);
            // A flood must not keep the pages waiting.
            tokio::task::yield_now().await;
        }
    }

    /// Takes what is there, but no more than a batch.
    fn batch(&self, socket: &Socket, packets: &IntCounter, buffer: &mut [u8]) {
        let now = Instant::now();
        let (mut engine, mut store) = (self.lock(), self.applications.lock());
        for _ in 0..BATCH {
            let Ok(length) = socket.try_recv(buffer) else { break };
            packets.inc();
            engine.packet(buffer.get(..length).unwrap_or_default(), &mut store, now);
        }
        if engine.flush_at(now).is_some_and(|at| at <= now) {
            engine.flush(&mut store, now);
        }
    }
}

/// A socket of either kind; the file of the one goes with it.
enum Socket {
    Udp(UdpSocket),
    Unix(
        UnixDatagram,
        #[expect(dead_code, reason = "held for its end")] Local<std::os::unix::net::UnixDatagram>,
    ),
}

impl Socket {
    async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.readable().await,
            Self::Unix(socket, _) => socket.readable().await,
        }
    }

    fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Udp(socket) => socket.try_recv(buffer),
            Self::Unix(socket, _) => socket.try_recv(buffer),
        }
    }
}
