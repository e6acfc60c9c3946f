//! Where a hook listens: an address, or a socket of the file system that is made whole before it has its name.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A path, or host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    /// `127.0.0.1:8089`, `[::1]:8089`, `localhost:8089`, `unix:/run/app/hook.sock` or `/run/app/hook.sock`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let path = text.strip_prefix("unix:").unwrap_or(text);
        if path.starts_with('/') {
            return Some(Self::Unix(path.into()));
        }
        let local = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        local.as_deref().unwrap_or(text).parse().ok().map(Self::Tcp)
    }

    /// Whether only this machine can reach it.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(address) => match address.ip() {
                IpAddr::V4(ip) => ip.is_loopback(),
                IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
            },
        }
    }
}

/// A listening socket; one of the file system is taken away when it is dropped.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, Own),
}

/// A name in the file system, and what it had when it was given.
#[derive(Debug)]
pub(super) struct Own {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Drop for Own {
    fn drop(&mut self) {
        // Another process may have taken its place.
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}

impl Socket {
    /// Listens. A socket that an ended process left is replaced; anything else stays, and is an error.
    pub(super) fn bind(address: &Address, mode: u32) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let listener = std::net::TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Ok(Self::Tcp(TcpListener::from_std(listener)?))
            }
            Address::Unix(path) => {
                check_free(path)?;
                let listener = bind_unix(path, mode)?;
                let own = Own { path: path.clone(), identity: identity(path) };
                Ok(Self::Unix(listener, own))
            }
        }
    }

    /// Where it listens, as [`Address::parse`] takes it.
    pub(super) fn place(&self) -> io::Result<String> {
        match self {
            Self::Tcp(listener) => Ok(listener.local_addr()?.to_string()),
            Self::Unix(_, own) => Ok(format!("unix:{}", own.path.display())),
        }
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => Ok(Stream::Tcp(listener.accept().await?.0)),
            Self::Unix(listener, _) => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }
}

/// Binds in a directory that nobody else may enter, and moves what has its mode: so nobody connects before, and no umask is
/// changed under other threads.
fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let directory = PathBuf::from(format!("{}.{}", path.display(), std::process::id()));
    std::fs::DirBuilder::new().mode(0o700).create(&directory)?;
    let inside = directory.join("s");
    let bound = || {
        let listener = UnixListener::bind(&inside)?;
        std::fs::set_permissions(&inside, std::fs::Permissions::from_mode(mode))?;
        std::fs::rename(&inside, path)?;
        Ok(listener)
    };
    let listener = bound();
    let _moved = std::fs::remove_file(&inside);
    let _gone = std::fs::remove_dir(&directory);
    listener
}

fn check_free(path: &Path) -> io::Result<()> {
    let Ok(there) = path.symlink_metadata() else { return Ok(()) };
    if !there.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something that is no socket"));
    }
    match StdUnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
    }
}

/// Device and number of a file, so that only one's own is removed.
fn identity(path: &Path) -> Option<(u64, u64)> {
    path.symlink_metadata().ok().map(|m| (m.dev(), m.ino()))
}

/// A connection of either kind.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_path_or_a_host_and_a_port() {
        assert_eq!(Address::parse("unix:/run/a"), Some(Address::Unix("/run/a".into())));
        assert_eq!(Address::parse("/run/a"), Address::parse("unix:/run/a"));
        for (text, local) in [
            ("127.0.0.1:0", true),
            ("[::1]:80", true),
            ("localhost:80", true),
            ("0.0.0.0:80", false),
            ("[::]:80", false),
            ("192.0.2.1:80", false),
        ] {
            assert_eq!(Address::parse(text).map(|a| a.is_local()), Some(local), "{text}");
        }
        for bad in ["", "unix:run/a", "127.0.0.1", "127.0.0.1:99999", "::1:80", "host:80"] {
            assert_eq!(Address::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_left_socket_is_replaced_and_nothing_else() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hook.sock");
        let address = Address::Unix(path.clone());
        // Dropped by std it stays in the file system, as that of an ended process.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let socket = Socket::bind(&address, 0o640).unwrap();
        assert_eq!(path.symlink_metadata().unwrap().mode() & 0o777, 0o640);
        assert_eq!(Socket::bind(&address, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(socket);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
        std::fs::write(&path, "precious").unwrap();
        assert!(Socket::bind(&address, 0o600).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
