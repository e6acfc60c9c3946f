//! Sockets of the file system (AF_UNIX) that are listened on: made whole before they have their name, and taken away with
//! their listener.

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use std::fs::{Permissions, symlink_metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

/// Who may connect, by the permissions of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Its mode.
    pub mode: u32,
    /// Its owner's number; this process's user if not given.
    pub user: Option<u32>,
    /// Its group's number; this process's group if not given.
    pub group: Option<u32>,
}

/// A socket that is listened on. Its file goes with it.
#[derive(Debug)]
pub struct Local<S = UnixListener> {
    socket: S,
    path: PathBuf,
    /// Device and number of the file.
    file: (u64, u64),
}

impl Local {
    /// Listens at `path`, without ever waiting for a connection. What a process that has ended left there is replaced;
    /// whatever else is there stays.
    pub fn bind(path: &Path, access: Access) -> io::Result<Self> {
        Self::named(path, access, |path| {
            let listener = UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
    }

    /// The listener.
    pub fn listener(&self) -> &UnixListener {
        &self.socket
    }
}

impl Local<UnixDatagram> {
    /// The same for datagrams.
    pub fn bind_datagrams(path: &Path, access: Access) -> io::Result<Self> {
        Self::named(path, access, |path| {
            let socket = UnixDatagram::bind(path)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })
    }

    /// The socket.
    pub fn datagrams(&self) -> &UnixDatagram {
        &self.socket
    }
}

impl<S> Local<S> {
    fn named(path: &Path, access: Access, open: impl FnOnce(&Path) -> io::Result<S>) -> io::Result<Self> {
        is_free(path)?;
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let unnamed = PathBuf::from(name);
        let made = open(&unnamed).and_then(|socket| {
            if access.user.is_some() || access.group.is_some() {
                std::os::unix::fs::chown(&unnamed, access.user, access.group)?;
            }
            std::fs::set_permissions(&unnamed, Permissions::from_mode(access.mode))?;
            // The number of a file that has its name already could be looked up too late.
            let file = number(&unnamed)?;
            std::fs::rename(&unnamed, path)?;
            Ok(Self { socket, path: path.to_owned(), file })
        });
        if made.is_err() {
            let _not_made = std::fs::remove_file(&unnamed);
        }
        made
    }

    /// Whether its file still has its name.
    pub fn is_there(&self) -> bool {
        number(&self.path).is_ok_and(|n| n == self.file)
    }
}

impl<S> Drop for Local<S> {
    fn drop(&mut self) {
        // Somebody else may have put a socket of his own there.
        if self.is_there() {
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}

fn number(path: &Path) -> io::Result<(u64, u64)> {
    symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// An error if there is something at `path` that must stay.
fn is_free(path: &Path) -> io::Result<()> {
    let file = match symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if !file.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something that is no socket"));
    }
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    // Whoever listens and is busy would be waited for.
    rustix::io::ioctl_fionbio(&socket, true)?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    const ACCESS: Access = Access { mode: 0o640, user: None, group: None };

    #[test]
    fn only_what_an_ended_process_left_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let names = || std::fs::read_dir(dir.path()).unwrap().count();
        let first = Local::bind(&path, ACCESS).unwrap();
        assert_eq!(symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        UnixStream::connect(&path).unwrap();
        assert_eq!(Local::bind(&path, ACCESS).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(names(), 1, "nothing half made is left behind");
        drop(first);
        assert_eq!(names(), 0);
        drop(UnixListener::bind(&path).unwrap());
        let second = Local::bind(&path, ACCESS).unwrap();
        assert!(second.is_there());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "mine").unwrap();
        assert!(!second.is_there());
        assert_eq!(Local::bind(&path, ACCESS).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        drop(second);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        assert!(Local::bind(&dir.path().join("no/such"), ACCESS).is_err());
    }

    #[test]
    fn an_owner_that_it_may_not_have_is_an_error_and_leaves_nothing() {
        if rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let access = Access { user: Some(0), ..ACCESS };
        assert!(Local::bind(&dir.path().join("s"), access).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
