//! The hook over HTTP: where it listens, who may ask, and the thread that serves it (docs/app-hook.md).

mod address;
mod answer;
mod token;

use crate::Kit;
use crate::reclaim::TIMEOUT;
use address::{Address, Socket};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use token::Token;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, oneshot};

pub use token::TokenError;

/// Who is served at one time; others are turned away.
pub const CONNECTIONS_MAX: usize = 16;
/// The time for a request's head to arrive; its body has as much again.
const ARRIVAL: Duration = Duration::from_secs(10);
/// The longest request head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// A connection lives no longer than a request, the longest reclaim and an answer.
const CONNECTION: Duration = Duration::from_mins(2);

/// Why the hook cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// What stands there is no address.
    #[error("{0:?} is no address: wanted 127.0.0.1:8089, [::1]:8089 or unix:/run/app/hook.sock")]
    Address(String),
    /// The path cannot be.
    #[error("the path {0:?}: wanted one that begins with / and is none of /metrics, /health and /debug/…")]
    Path(String),
    /// Whoever reaches it can empty all caches.
    #[error("{0} can be reached from other machines: a token is needed there")]
    Open(String),
    /// The token cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It cannot listen there.
    #[error("cannot listen at {place}: {source}")]
    Listen {
        /// Where.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// There is no thread, or no runtime, for it.
    #[error("the hook's thread cannot be started: {0}")]
    Thread(io::Error),
}

/// Where the hook listens, and who may ask.
#[derive(Clone, Debug)]
pub struct Hook {
    listen: String,
    token: Token,
    path: String,
    mode: u32,
    timeout: Duration,
}

impl Hook {
    /// At an address on loopback (`127.0.0.1:8089`; port 0 is any that is free), or a socket of the file system
    /// (`unix:/run/app/hook.sock`).
    pub fn new(listen: &str) -> Self {
        Self {
            listen: listen.into(),
            token: Token::None,
            path: "/headroom/reclaim".into(),
            mode: 0o600,
            timeout: TIMEOUT,
        }
    }

    /// Wants this token. Beyond loopback there must be one.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        Self { token: Token::Given(token.into()), ..self }
    }

    /// Wants the token that stands in a file, which is read for each request, so that it can be changed.
    #[must_use]
    pub fn token_file(self, path: impl Into<PathBuf>) -> Self {
        Self { token: Token::File(path.into()), ..self }
    }

    /// Another path than `/headroom/reclaim`.
    #[must_use]
    pub fn path(self, path: &str) -> Self {
        Self { path: path.into(), ..self }
    }

    /// Who may connect to a socket of the file system; its owner alone (0600) unless this is said.
    #[must_use]
    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// The time for one reclaim: less than the target's `timeout` in Headroom's configuration (4 s, and 5 s there).
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

/// A hook that is served; dropped, it ends.
#[derive(Debug)]
#[must_use = "the hook ends when this is dropped"]
pub struct Serving {
    address: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Serving {
    /// Where it listens, with the port that a 0 became.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // The sender's end is the word.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Begins to serve, on a thread of its own.
pub(crate) fn serve(kit: Kit, hook: Hook) -> Result<Serving, HookError> {
    let address = Address::parse(&hook.listen).ok_or_else(|| HookError::Address(hook.listen.clone()))?;
    let reserved = ["/metrics", "/health"].contains(&hook.path.as_str()) || hook.path.starts_with("/debug/");
    if !hook.path.starts_with('/') || reserved {
        return Err(HookError::Path(hook.path));
    }
    // Here, not with the first request: a token that is not there is a slip of whoever starts this.
    if hook.token.wanted()?.is_none() && !address.is_local() {
        return Err(HookError::Open(hook.listen));
    }
    let listen = |source| HookError::Listen { place: hook.listen.clone(), source };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(HookError::Thread)?;
    let socket = {
        let _inside = runtime.enter();
        Socket::bind(&address, hook.mode).map_err(listen)?
    };
    let place = socket.place().map_err(listen)?;
    let (stop, stopped) = oneshot::channel();
    let desk = Arc::new(answer::Desk { kit, token: hook.token, path: hook.path, timeout: hook.timeout });
    let thread = std::thread::Builder::new().name("headroom-kit-http".into());
    let thread = thread.spawn(move || {
        runtime.block_on(accept(socket, desk, stopped));
        // A reclaim that goes on ends by itself.
        runtime.shutdown_background();
    });
    Ok(Serving { address: place, stop: Some(stop), thread: Some(thread.map_err(HookError::Thread)?) })
}

async fn accept(socket: Socket, desk: Arc<answer::Desk>, mut stopped: oneshot::Receiver<()>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let mut next = std::pin::pin!(socket.accept());
        let accepted = std::future::poll_fn(|context| match std::pin::Pin::new(&mut stopped).poll(context) {
            std::task::Poll::Ready(_) => std::task::Poll::Ready(None),
            std::task::Poll::Pending => next.as_mut().poll(context).map(Some),
        })
        .await;
        match accepted {
            None => return,
            Some(Ok(stream)) => {
                // Who finds no room finds the connection closed.
                if let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
                    let desk = Arc::clone(&desk);
                    tokio::spawn(async move {
                        converse(stream, desk).await;
                        drop(permit);
                    });
                }
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "the hook cannot take a connection");
                // Descriptors that are used up are not there again at once.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, desk: Arc<answer::Desk>) {
    let service = service_fn(|request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, std::convert::Infallible>(desk.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .timer(TokioTimer::new())
        .header_read_timeout(ARRIVAL)
        .serve_connection(TokioIo::new(stream), service);
    // Connections that break are the rule, not news.
    let _ended = tokio::time::timeout(CONNECTION, connection).await;
}

#[cfg(test)]
mod tests;
