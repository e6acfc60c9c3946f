//! Sockets of the file system (AF_UNIX) that are listened on: made whole before they have their name, and taken away with
//! their listener.

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use rustix::process::{Gid, Uid, geteuid};
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
        let path = &in_safe_place(path)?;
        is_free(path)?;
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let unnamed = PathBuf::from(name);
        let made = open(&unnamed).and_then(|socket| {
            give(&unnamed, access)?;
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

/// The path without links on its way, if nobody but root and this process's own user could put another file in its place.
fn in_safe_place(path: &Path) -> io::Result<PathBuf> {
    const OTHERS_WRITE: u32 = 0o002;
    const STICKY: u32 = 0o1000;
    let (parent, name) = path.parent().zip(path.file_name()).ok_or(io::ErrorKind::InvalidInput)?;
    let parent = parent.canonicalize()?;
    let own = geteuid().as_raw();
    for place in parent.ancestors() {
        let found = symlink_metadata(place)?;
        let refuse = |why: String| {
            let why = format!("{} {why}, who could put something else there", place.display());
            io::Error::new(io::ErrorKind::PermissionDenied, why)
        };
        if ![0, own].contains(&found.uid()) {
            return Err(refuse(format!("belongs to user {}", found.uid())));
        }
        // In a directory like /tmp each may take away only his own.
        if found.mode() & OTHERS_WRITE != 0 && found.mode() & STICKY == 0 {
            return Err(refuse("may be written by every user".to_owned()));
        }
    }
    Ok(parent.join(name))
}

/// Gives the socket its mode and its owner. The group of its directory may have put something else there since it was made:
/// a link is not followed, and only a socket of this user's own, with one name, is changed. The mode first, since afterwards
/// it may be another user's.
#[cfg(target_os = "linux")]
fn give(path: &Path, access: Access) -> io::Result<()> {
    use rustix::fs::{AtFlags, FileType, Mode, OFlags};
    use std::os::fd::AsRawFd;
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let found = rustix::fs::fstat(&file)?;
    let is_socket = FileType::from_raw_mode(found.st_mode) == FileType::Socket;
    if !is_socket || found.st_uid != geteuid().as_raw() || found.st_nlink != 1 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "somebody has put something else in its place",
        ));
    }
    // Of this very file, whatever its name means by now.
    let held = format!("/proc/self/fd/{}", file.as_raw_fd());
    std::fs::set_permissions(held, Permissions::from_mode(access.mode))?;
    if access.user.is_some() || access.group.is_some() {
        let (user, group) = (access.user.map(Uid::from_raw), access.group.map(Gid::from_raw));
        rustix::fs::chownat(&file, "", user, group, AtFlags::EMPTY_PATH)?;
    }
    Ok(())
}

/// The same, by name.
#[cfg(not(target_os = "linux"))]
fn give(path: &Path, access: Access) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Mode};
    let mode = Mode::from_bits_truncate(access.mode.try_into().unwrap_or_default());
    rustix::fs::chmodat(CWD, path, mode, AtFlags::SYMLINK_NOFOLLOW)?;
    if access.user.is_some() || access.group.is_some() {
        let (user, group) = (access.user.map(Uid::from_raw), access.group.map(Gid::from_raw));
        rustix::fs::chownat(CWD, path, user, group, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
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
    fn a_link_in_the_place_of_the_socket_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join("s"), dir.path().join("victim"));
        std::fs::write(&victim, "").unwrap();
        std::fs::set_permissions(&victim, Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        assert!(give(&path, Access { mode: 0o666, group: Some(geteuid().as_raw()), ..ACCESS }).is_err());
        assert_eq!(victim.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        // Nor is the file itself changed, or a second name of it, which a socket that was just made has not.
        std::fs::remove_file(&path).unwrap();
        std::fs::hard_link(&victim, &path).unwrap();
        assert!(give(&path, Access { mode: 0o666, ..ACCESS }).is_err());
        let socket = dir.path().join("t");
        let _listens = UnixListener::bind(&socket).unwrap();
        std::fs::hard_link(&socket, dir.path().join("u")).unwrap();
        assert!(give(&socket, Access { mode: 0o666, ..ACCESS }).is_err());
        assert_eq!(victim.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_directory_in_which_others_can_replace_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("below");
        std::fs::create_dir(&below).unwrap();
        let set = |place: &Path, mode| std::fs::set_permissions(place, Permissions::from_mode(mode)).unwrap();
        let said =
            |path: &Path| Local::bind(path, ACCESS).map_or_else(|e| e.to_string(), |_| "made".to_owned());
        // As /tmp, and as a directory of a group that may make files in it.
        for (mode, want) in
            [(0o777, "written by every user"), (0o1777, "made"), (0o775, "made"), (0o755, "made")]
        {
            set(dir.path(), mode);
            assert!(said(&dir.path().join("s")).contains(want), "{mode:o}: {}", said(&dir.path().join("s")));
            assert!(said(&below.join("s")).contains(want), "{mode:o}: the way there");
        }
        std::os::unix::fs::symlink(&below, dir.path().join("link")).unwrap();
        set(&below, 0o777);
        assert!(said(&dir.path().join("link/s")).contains("written by every user"));
        if geteuid().is_root() {
            set(&below, 0o755);
            std::os::unix::fs::chown(&below, Some(12345), None).unwrap();
            assert!(said(&below.join("s")).contains("belongs to user 12345"), "{}", said(&below.join("s")));
        }
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
