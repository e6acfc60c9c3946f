"""systemd's memory pressure protocol (https://systemd.io/PRESSURE/), the side of the service."""

from __future__ import annotations

import base64
import binascii
import contextlib
import logging
import math
import os
import select
import socket
import stat
import threading
import time
from collections.abc import Callable, Mapping
from typing import Optional

from . import forked
from .reclaim import BusyError, Reclaimer

log = logging.getLogger("headroom_kit")

#: Whoever tells of pressure may be away for a while: between two tries, at first and at last.
RETRY_SECONDS_MIN = 1.0
RETRY_SECONDS_MAX = 30.0
#: Time between two requests: word that comes earlier is heard then.
REST_SECONDS = 1.0
#: For a connection, and what is written to it.
CONNECT_SECONDS = 10.0


class PressureWatch:
    """Watches a PSI file, a FIFO or a socket on a daemon thread, and calls a function for each sign of pressure.

    What cannot be opened, or ends, is opened again after a while: the other side may start later, or anew.
    """

    def __init__(self, path: str, write: bytes, on_pressure: Callable[[], None]) -> None:
        """`write` is told to the other side right after opening."""
        self._path = path
        self._write = write
        self._on_pressure = on_pressure
        self._closed = False
        self._wake_read, self._wake_write = os.pipe()
        self._error: Optional[str] = None
        self._source: Optional[_Source] = None
        forked.renew(self)
        self._thread = threading.Thread(target=self._run, name="headroom-kit-pressure", daemon=True)
        self._thread.start()

    @property
    def error(self) -> Optional[str]:
        """Why it does not watch at present; None if it does."""
        return self._error

    def _after_fork(self) -> None:
        # Who watches is the parent. Its pipe and its source are not to be kept open here.
        if self._closed:
            return
        self._closed = True
        self._error = "it is watched in the process that began it"
        os.close(self._wake_read)
        os.close(self._wake_write)
        source, self._source = self._source, None
        if source is not None:
            source.close()

    def close(self) -> None:
        """Ends it; a function that runs is waited for."""
        if self._closed:
            return
        self._closed = True
        os.write(self._wake_write, b".")
        self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _run(self) -> None:
        wait = RETRY_SECONDS_MIN
        self._error = "not opened yet"
        while not self._closed:
            try:
                with _Source(self._path, self._write) as source:
                    self._source = source
                    self._say(None)
                    wait = RETRY_SECONDS_MIN
                    try:
                        self._follow(source)
                    finally:
                        self._source = None
                self._say("the other side has gone")
            except Exception as error:  # noqa: BLE001 - without this thread nothing is watched, and nobody is told
                self._say(str(error) or type(error).__name__)
            self._rest(wait)
            wait = min(wait * 2, RETRY_SECONDS_MAX)

    def _follow(self, source: _Source) -> None:
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        poll.register(source.descriptor, source.events)
        while not self._closed:
            ready = dict(poll.poll())
            if self._wake_read in ready or source.descriptor not in ready:
                continue
            if not source.take(ready[source.descriptor]):
                return
            try:
                self._on_pressure()
            except Exception:
                log.exception("memory could not be given back under pressure")
            self._rest(REST_SECONDS)

    def _rest(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        left = seconds
        # Not select(), which knows no descriptor above 1023: services have many files.
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        while left > 0 and not self._closed:
            poll.poll(math.ceil(left * 1000))
            left = deadline - time.monotonic()

    def _say(self, error: Optional[str]) -> None:
        if error is not None and error != self._error:
            log.warning("memory pressure is not watched at %s: %s; it will be tried again", self._path, error)
        self._error = error


class _Source:
    """What is watched: how it is opened, which event counts, and what becomes of data."""

    def __init__(self, path: str, write: bytes) -> None:
        mode = os.stat(path).st_mode
        self._socket: Optional[socket.socket] = None
        self._reads = True
        self.events = select.POLLIN
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.descriptor = self._socket.fileno()
        elif stat.S_ISFIFO(mode):
            # Open for writing too, so that it does not end with its last writer. Nothing is written: we would be the
            # first to read it, as a sign of pressure.
            self.descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            return
        elif stat.S_ISREG(mode):
            # The kernel's: it tells by POLLPRI, and there is nothing to read.
            flags = os.O_RDWR if write else os.O_RDONLY
            self.descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
            self.events = select.POLLPRI
            self._reads = False
        else:
            raise ValueError(f"{path} is neither a file, nor a FIFO, nor a socket")
        try:
            self._begin(path, write)
        except BaseException:
            self.close()
            raise

    def _begin(self, path: str, write: bytes) -> None:
        if self._socket is not None:
            self._socket.settimeout(CONNECT_SECONDS)
            self._socket.connect(path)
            self._socket.sendall(write)
            self._socket.setblocking(False)
        elif write:
            # In one piece, or the kernel takes half of a threshold for a whole one.
            os.write(self.descriptor, write)

    def take(self, events: int) -> bool:
        """Takes the sign, so that it is seen once; false if there will be no more."""
        if not self._reads:
            # POLLERR: the control group is gone, or the kernel did not take the threshold.
            return not events & (select.POLLERR | select.POLLHUP | select.POLLNVAL)
        # As much as there is, within reason: whoever writes without end has been heard as well.
        for _ in range(64):
            try:
                data = os.read(self.descriptor, 4096)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
        return True

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        else:
            os.close(self.descriptor)

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.close()


def watch_pressure(
    reclaimer: Reclaimer, *, share: float = 0.5, environ: Optional[Mapping[str, str]] = None
) -> Optional[PressureWatch]:
    """Watches what ``$MEMORY_PRESSURE_WATCH`` names; None if it names nothing, or ``/dev/null``.

    The protocol says neither how much is wanted nor how urgently: each time it is this share of what is held.
    """
    if not 0 < share <= 1:
        raise ValueError(f"a share of {share:g}: wanted more than 0 and at most 1")
    environ = os.environ if environ is None else environ
    path = environ.get("MEMORY_PRESSURE_WATCH", "")
    if path in ("", "/dev/null"):
        return None
    if not path.startswith("/"):
        log.error("$MEMORY_PRESSURE_WATCH is ignored, for it is no absolute path: %r", path)
        return None
    try:
        write = base64.b64decode(environ.get("MEMORY_PRESSURE_WRITE", ""), validate=True)
    except (binascii.Error, ValueError) as error:
        log.error("$MEMORY_PRESSURE_WRITE is no Base64, and memory pressure is not watched: %s", error)
        return None

    def on_pressure() -> None:
        try:
            reclaimer.reclaim_share(share, origin="pressure")
        except BusyError:
            log.info("under pressure, while memory is being given back already")

    return PressureWatch(path, write, on_pressure)
