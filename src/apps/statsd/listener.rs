//! The sockets of StatsD, and the tasks that empty them.

use super::Options;
use super::engine::{Engine, PACKET_BYTES_MAX};
use super::metrics::Metrics;
use crate::apps::Applications;
use crate::serve::addresses::Addresses;
use crate::serve::local::{Access, Local};
use crate::sys;
use prometheus::IntCounter;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{UdpSocket, UnixDatagram};
use tokio::sync::watch;

/// So many datagrams are taken at once, before others may use the thread; and so many bytes, but for the last of them.
const BATCH: usize = 200;
const BATCH_BYTES: usize = 64 << 10;
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
            let socket = socket.map_err(error)?;
            widen(&socket, options).map_err(error)?;
            out.udp.push(socket);
        }
        if let Some(path) = &options.unix {
            let error = |source| BindError { on: path.display().to_string(), key: "unix", source };
            let access = Access { mode: options.mode().unwrap_or(0o660), user: None, group: None };
            let file = Local::bind_datagrams(path, access).map_err(error)?;
            let socket = file.datagrams().try_clone().and_then(UnixDatagram::from_std).map_err(error)?;
            widen(&socket, options).map_err(error)?;
            out.unix = Some((socket, file, path.clone()));
        }
        Ok(out)
    }

    /// The addresses of UDP.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.udp.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }
}

/// Gives a socket the buffer that is wanted; the kernel has a limit of its own (net.core.rmem_max), and says nothing of it.
fn widen(socket: impl AsFd, options: &Options) -> io::Result<()> {
    let Some(bytes) = options.receive_buffer else { return Ok(()) };
    let bytes = usize::try_from(bytes.as_u64()).unwrap_or(usize::MAX);
    Ok(rustix::net::sockopt::set_socket_recv_buffer_size(socket, bytes)?)
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
            let counts = Counts::new(self.lock().metrics(), "udp");
            out.push(tokio::spawn(self.clone().empty(Socket::Udp(socket), counts, stopped.clone())));
        }
        if let Some((socket, file, path)) = sockets.unix {
            tracing::info!(listener = "statsd", path = %path.display(), "listening");
            let counts = Counts::new(self.lock().metrics(), "unixgram");
            let socket = Socket::Unix(socket, file);
            out.push(tokio::spawn(self.clone().empty(socket, counts, stopped.clone())));
        }
        out
    }

    async fn tick(self, mut stopped: watch::Receiver<bool>) {
        while tokio::time::timeout(TICK, stopped.changed()).await.is_err() {
            let (mut engine, mut store) = (self.lock(), self.applications.lock());
            engine.tick(&mut store, Instant::now());
        }
    }

    async fn empty(self, socket: Socket, mut counts: Counts, mut stopped: watch::Receiver<bool>) {
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
            self.batch(&socket, &counts, &mut buffer);
            counts.lose(sys::dropped(socket.as_fd()));
            // A flood must not keep the pages waiting.
            tokio::task::yield_now().await;
        }
    }

    /// Takes what is there, but no more than a batch.
    fn batch(&self, socket: &Socket, counts: &Counts, buffer: &mut [u8]) {
        let now = Instant::now();
        let (mut engine, mut store) = (self.lock(), self.applications.lock());
        let mut bytes = 0;
        for _ in 0..BATCH {
            let Ok(length) = socket.try_recv(buffer) else { break };
            counts.packets.inc();
            engine.packet(buffer.get(..length).unwrap_or_default(), &mut store, now);
            bytes += length;
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        if engine.flush_at(now).is_some_and(|at| at <= now) {
            engine.flush(&mut store, now);
        }
    }
}

/// What is counted of a socket.
struct Counts {
    packets: IntCounter,
    lost: IntCounter,
    lost_before: u32,
}

impl Counts {
    fn new(metrics: &Metrics, transport: &str) -> Self {
        Self { packets: metrics.packets(transport), lost: metrics.lost(transport), lost_before: 0 }
    }

    /// Takes the kernel's count, which begins again behind its largest number.
    fn lose(&mut self, count: Option<u32>) {
        if let Some(count) = count {
            self.lost.inc_by(count.wrapping_sub(self.lost_before).into());
            self.lost_before = count;
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

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp(socket) => socket.as_fd(),
            Self::Unix(socket, _) => socket.as_fd(),
        }
    }

    fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Udp(socket) => socket.try_recv(buffer),
            Self::Unix(socket, _) => socket.try_recv(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apps;
    use prometheus::Registry;

    #[test]
    fn a_batch_is_bounded_in_bytes_and_what_the_kernel_drops_is_counted() {
        let options = Options {
            udp: Some(serde_yaml::from_str("'127.0.0.1:0'").unwrap()),
            receive_buffer: Some(bytesize::ByteSize::kib(400)),
            ..Options::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let sockets = Sockets::bind(&options).await.unwrap();
            let to = sockets.addresses()[0];
            let size = rustix::net::sockopt::socket_recv_buffer_size(&sockets.udp[0]).unwrap();
            // The kernel doubles it, up to a limit that some machines have below.
            assert!(size >= 200 << 10, "{size}");
            let metrics = Metrics::new(&Registry::new()).unwrap();
            let engine = Engine::new(&options, Duration::from_mins(5), metrics.clone());
            let statsd = Statsd::new(engine, apps::Applications::new(&apps::Options::default()));
            let from = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let sent: u64 = 64;
            (0..sent).for_each(|_| assert!(from.send_to(&vec![b'\n'; 60_000], to).is_ok()));
            let socket = Socket::Udp(sockets.udp.into_iter().next().unwrap());
            let mut counts = Counts::new(&metrics, "udp");
            let mut buffer = vec![0; PACKET_BYTES_MAX + 1];
            socket.readable().await.unwrap();
            statsd.batch(&socket, &counts, &mut buffer);
            assert_eq!(counts.packets.get(), 2, "more than 64 KiB with the second");
            for _ in 0..sent {
                statsd.batch(&socket, &counts, &mut buffer);
            }
            counts.lose(sys::dropped(socket.as_fd()));
            assert!(counts.lost.get() > 0);
            assert_eq!(counts.packets.get() + counts.lost.get(), sent);
            counts.lose(None);
            counts.lost_before = u32::MAX;
            counts.lose(Some(1));
            assert_eq!(counts.packets.get() + counts.lost.get(), sent + 2, "it began again");
        });
    }
}
