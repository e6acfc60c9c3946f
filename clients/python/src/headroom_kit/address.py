"""Where a hook listens: an address on loopback, or a socket of the file system that is made whole before it has its name."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import stat
from typing import Optional, Union

#: A path, or host and port.
Address = Union[str, tuple[str, int]]

BACKLOG = 32


def parse(text: str) -> Address:
    """``127.0.0.1:8089``, ``[::1]:8089``, ``unix:/run/app/hook.sock`` or ``/run/app/hook.sock``."""
    path = text[len("unix:") :] if text.startswith("unix:") else text
    if path.startswith("/"):
        return path
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(
            f"{text!r} is no address: wanted 127.0.0.1:8089, [::1]:8089 or unix:/run/app/hook.sock"
        )
    return host, int(port)


def is_local(address: Address) -> bool:
    """Whether only this machine can reach it."""
    if isinstance(address, str) or address[0] == "localhost":
        return True
    try:
        return ipaddress.ip_address(address[0]).is_loopback
    except ValueError:
        return False


def listen(address: Address, mode: int) -> socket.socket:
    """A listening socket. A socket that an ended process left in the file system is replaced; anything else stays."""
    if not isinstance(address, str):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        return socket.create_server(address, family=family, backlog=BACKLOG)
    _check_free(address)
    # Nobody can connect before the mode is set, for nobody listens; and no umask is changed under other threads.
    unnamed = f"{address}.{os.getpid()}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(unnamed)
        os.chmod(unnamed, mode)
        listener.listen(BACKLOG)
        os.rename(unnamed, address)
    except BaseException:
        listener.close()
        with contextlib.suppress(OSError):
            os.unlink(unnamed)
        raise
    return listener


def identity(path: str) -> Optional[tuple[int, int]]:
    """Device and number of a file, so that only one's own is removed."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _check_free(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "there is something that is no socket", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        refused = probe.connect_ex(path)
    if refused not in (errno.ECONNREFUSED, errno.ENOENT):
        raise OSError(errno.EADDRINUSE, "another process listens there", path)
