//! The loop that accepts connections of one or several sockets, each with a permit, until it is told to stop.

use super::connection::{Connection, Shared};
use super::door::Door;
use super::metrics::Metrics;
use super::web::Web;
use super::{Handler, Limits};
use hyper_util::server::graceful::GracefulShutdown;
use prometheus::IntCounter;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// A listener: where it listens, its name in metrics, and its rules.
pub struct Listener {
    /// The bound sockets; their connections are counted together.
    pub sockets: Vec<TcpListener>,
    /// The `listener` label.
    pub name: &'static str,
    /// What clients may do.
    pub limits: Limits,
    /// The counters.
    pub metrics: Metrics,
    /// TLS, users and headers; without it nobody is asked who they are.
    pub web: Option<Web>,
    /// Whether HTTP/2 is spoken from the first byte where there is no TLS: gRPC knows nothing else.
    pub http2_plain: bool,
}

/// A listener cannot begin.
#[derive(Debug, thiserror::Error)]
#[error("cannot begin to listen: {0}")]
pub struct ListenError(&'static str);

impl Listener {
    /// Serves until `stop` becomes true, then gives requests in flight their time to finish.
    pub fn run(
        self,
        handler: Arc<impl Handler>,
        stop: watch::Receiver<bool>,
    ) -> Result<impl Future<Output = ()> + Send, ListenError> {
        let Self { sockets, name, limits, metrics, web, http2_plain } = self;
        let door = Door::new(name, metrics.clone(), web).map_err(ListenError)?;
        let shared = Arc::new(Shared { name, limits, metrics, handler, door, http2_plain });
        Ok(accept_all(sockets, shared, stop))
    }
}

async fn accept_all<H: Handler>(
    sockets: Vec<TcpListener>,
    shared: Arc<Shared<H>>,
    mut stop: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(shared.limits.connections));
    let rejected = shared.metrics.rejected.with_label_values(&[shared.name]);
    let (mut next, stopped) = (0, stop.clone());
    loop {
        let accepted = tokio::select! {
            accepted = accept(&sockets, &mut next) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of descriptors, most likely: what is open must end first, so do not spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            refuse(&stream, &rejected);
            continue;
        };
        end_if_unread(&stream, shared.limits.unread);
        let connection = Connection::new(Arc::clone(&shared), peer);
        let (watcher, stopped) = (graceful.watcher(), stopped.clone());
        tokio::spawn(async move {
            connection.serve(stream, watcher, stopped).await;
            drop(permit);
        });
    }
    drop(sockets);
    if tokio::time::timeout(shared.limits.shutdown, graceful.shutdown()).await.is_err() {
        tracing::warn!(
            listener = shared.name,
            "requests were still in flight when the time to stop was over"
        );
    }
}

/// The next connection of any socket; the one behind the last that had one is looked at first.
async fn accept(sockets: &[TcpListener], next: &mut usize) -> io::Result<(TcpStream, SocketAddr)> {
    poll_fn(|context| {
        let (before, from) = sockets.split_at(*next % sockets.len().max(1));
        for (n, socket) in from.iter().chain(before).enumerate() {
            if let Poll::Ready(accepted) = socket.poll_accept(context) {
                *next = (*next + n + 1) % sockets.len();
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

/// Has the kernel end the connection if its peer is gone, or does not read, for so long: hyper waits for ever to write.
#[cfg(target_os = "linux")]
fn end_if_unread(stream: &TcpStream, limit: Duration) {
    let millis = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
    if let Err(e) = rustix::net::sockopt::set_tcp_user_timeout(stream, millis) {
        tracing::debug!(error = %e, "a connection has no limit on unread answers");
    }
}

/// Only Linux has such a limit.
#[cfg(not(target_os = "linux"))]
fn end_if_unread(_: &TcpStream, _: Duration) {}

/// Tells a client beyond the limit why it is not served; it must not cost more than that.
fn refuse(stream: &TcpStream, rejected: &IntCounter) {
    rejected.inc();
    let answer = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 21\r\n\r\ntoo many connections\n";
    if let Err(e) = stream.try_write(answer) {
        tracing::debug!(error = %e, "a refused client did not wait for its answer");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::Answer;
    use hyper::Request;
    use hyper::body::Incoming;
    use prometheus::Registry;

    struct Long;

    impl Handler for Long {
        async fn handle(&self, _: Request<Incoming>) -> Answer {
            Answer::page("long", "text/plain", vec![b'x'; 1 << 20])
        }
    }

    #[tokio::test]
    async fn a_client_that_never_reads_loses_its_connection() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let limits = Limits { connections: 1, unread: Duration::from_millis(500), ..Limits::default() };
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let (stop, stopped) = watch::channel(false);
        let listener =
            Listener { sockets: vec![socket], name: "test", limits, metrics, web: None, http2_plain: false };
        let served = tokio::spawn(listener.run(Arc::new(Long), stopped).unwrap());
        let get = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(&get.repeat(64)).await.unwrap();
        let answered = async {
            loop {
                let mut next = TcpStream::connect(address).await.unwrap();
                next.write_all(get).await.unwrap();
                let mut start = [0; 12];
                match next.read_exact(&mut start).await {
                    Ok(_) if start.ends_with(b"200") => break,
                    // The only place is still taken; a refused client may not even see its 503.
                    _ => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(15), answered).await.expect("the place becomes free");
        drop(idle);
        stop.send(true).unwrap();
        served.await.unwrap();
    }

    #[tokio::test]
    async fn who_says_nothing_where_tls_is_wanted_loses_the_connection_in_time() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let dir = tempfile::tempdir().unwrap();
        let own = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        std::fs::write(dir.path().join("a.crt"), own.cert.pem()).unwrap();
        std::fs::write(dir.path().join("a.key"), own.signing_key.serialize_pem()).unwrap();
        let path = dir.path().join("web.yml");
        std::fs::write(&path, "tls_server_config: {cert_file: a.crt, key_file: a.key}").unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let limits = Limits { connections: 3, head: Duration::from_millis(300), ..Limits::default() };
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let (stop, stopped) = watch::channel(false);
        let web = Some(Web::load(&path).unwrap());
        let listener = Listener {
            sockets: vec![socket],
            name: "test",
            limits,
            metrics: metrics.clone(),
            web,
            http2_plain: false,
        };
        let served = tokio::spawn(listener.run(Arc::new(Long), stopped).unwrap());
        // Nothing at all, half of a record, and a record of which never more comes.
        for begin in [&b""[..], &[0x16], &[0x16, 3, 1, 1, 0, 1]] {
            let mut silent = TcpStream::connect(address).await.unwrap();
            silent.write_all(begin).await.unwrap();
            let mut rest = Vec::new();
            let end = tokio::time::timeout(Duration::from_secs(10), silent.read_to_end(&mut rest)).await;
            assert!(end.is_ok(), "{begin:?} holds its place");
        }
        assert_eq!(metrics.tls_failures.with_label_values(&["test", "timeout"]).get(), 3);
        stop.send(true).unwrap();
        served.await.unwrap();
    }
}
