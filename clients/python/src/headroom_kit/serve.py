"""The hook over HTTP: who may ask, what is asked, and how it is answered (docs/app-hook.md)."""

from __future__ import annotations

import contextlib
import hmac
import json
import logging
import os
import socket
import socketserver
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Optional, cast

from . import address as addresses
from . import exposition, forked
from .reclaim import TIMEOUT_SECONDS, BusyError, Reclaimer, UnknownKindError

log = logging.getLogger("headroom_kit")

#: What a request may say; a few dozen bytes are expected.
BODY_BYTES_MAX = 64 << 10
#: Who is served at one time; others are turned away.
CONNECTIONS_MAX = 16
#: The time for a request to arrive, whole.
REQUEST_SECONDS = 10.0

#: What is read and forgotten of a request that was refused.
LINGER_SECONDS = 1.0
LINGER_BYTES_MAX = 1 << 20


class RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        """The status, and a sentence for a person."""
        super().__init__(why)
        self.status = status
        self.why = why


class Server:
    """Serves a registry on a daemon thread until it is closed.

    ``POST path`` gives memory back, ``GET path`` says what is held, ``GET /metrics`` is for Prometheus. A `token`, or
    a `token_file` (read for each request, so that it can be changed), is wanted for all but the metrics.
    """

    def __init__(
        self,
        reclaimer: Reclaimer,
        listen: str,
        *,
        token: Optional[str] = None,
        token_file: Optional[str] = None,
        path: str = "/headroom/reclaim",
        mode: int = 0o600,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        """Listens at once. Beyond loopback only with a token: whoever reaches it can empty all caches."""
        address = addresses.parse(listen)
        if not path.startswith("/") or path == "/metrics":
            raise ValueError(f"the path {path!r}: wanted one that begins with / and is not /metrics")
        if token is not None and token_file is not None:
            raise ValueError("give a token or a token_file")
        self.reclaimer = reclaimer
        self.path = path
        self.timeout = timeout
        self._token = token
        self._token_file = token_file
        # Here, not with the first request: a token that is not there is a slip of whoever starts this.
        if self.token() is None and not addresses.is_local(address):
            raise ValueError(f"{listen} can be reached from other machines: a token is needed there")
        self._http = _Http(self, addresses.listen(address, mode))
        self._socket_path = address if isinstance(address, str) else None
        self._identity = None if self._socket_path is None else addresses.identity(self._socket_path)
        self._thread = threading.Thread(
            target=self._http.serve_forever,
            kwargs={"poll_interval": 0.5},
            name="headroom-kit-http",
            daemon=True,
        )
        self._is_closed = False
        forked.renew(self)
        self._thread.start()

    def _after_fork(self) -> None:
        # It is the parent's: a child that kept it would keep the address, too, and answer nobody.
        self._is_closed = True
        self._http.abandon()

    @property
    def address(self) -> str:
        """Where it listens, as `listen` takes it; with the port that a 0 became."""
        if self._socket_path is not None:
            return f"unix:{self._socket_path}"
        host, port = self._http.socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def token(self) -> Optional[bytes]:
        """The token that is wanted now."""
        token = self._token
        if self._token_file is not None:
            with open(self._token_file, encoding="utf-8") as file:
                token = file.read(4096).strip()
        if token == "":
            raise ValueError(f"the token is empty ({self._token_file or 'given'})")
        return None if token is None else token.encode()

    def close(self) -> None:
        """Ends it, and takes its socket away; in a child that was forked there is nothing to end."""
        if self._is_closed:
            return
        self._is_closed = True
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        if self._socket_path is not None and addresses.identity(self._socket_path) == self._identity:
            with contextlib.suppress(OSError):
                os.unlink(self._socket_path)

    def __enter__(self) -> Server:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self.close()


class _Http(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Connections: how many, and for how long."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, hook: Server, listener: socket.socket) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.hook = hook
        self._lock = threading.Lock()
        # Requests that are still on their way, and since when.
        self._arriving: dict[socket.socket, float] = {}
        self._connections: set[socket.socket] = set()

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - as the base class has it
        with self._lock:
            return len(self._connections) < CONNECTIONS_MAX

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
            self._arriving[request] = time.monotonic()
        try:
            super().process_request(request, client_address)
        except BaseException:
            # No thread could be started.
            self._gone(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._gone(request)

    def _gone(self, request: Any) -> None:
        self.arrived(request)
        with self._lock:
            self._connections.discard(request)

    def abandon(self) -> None:
        self._lock = threading.Lock()
        for connection in (self.socket, *self._connections):
            connection.close()
        self._connections.clear()
        self._arriving.clear()

    def arrived(self, request: Any) -> None:
        with self._lock:
            self._arriving.pop(request, None)

    def service_actions(self) -> None:
        # A time-out for each read would let a client that drips stay for ever.
        late = time.monotonic() - REQUEST_SECONDS
        with self._lock:
            slow = [request for request, since in self._arriving.items() if since < late]
        for request in slow:
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as the base class has it
        # Connections that break are the rule, not news.
        log.debug("a connection ended with an error", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server_version = "headroom-kit"
    sys_version = ""
    timeout = REQUEST_SECONDS
    server: _Http

    def do_GET(self) -> None:
        self._answer_with(self._get)

    def do_POST(self) -> None:
        self._answer_with(self._post)

    def _answer_with(self, work: Any) -> None:
        self.close_connection = True
        try:
            content_type, text = cast("tuple[str, str]", work())
            status = HTTPStatus.OK
        except RefusedError as refused:
            status, content_type, text = (
                refused.status,
                "application/json",
                json.dumps({"error": refused.why}),
            )
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        if status is HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        self.wfile.write(body)
        if status is not HTTPStatus.OK:
            self._linger()

    def _linger(self) -> None:
        # A connection that is closed with unread bytes is reset, and the answer may be lost with it.
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(LINGER_SECONDS)
        left = LINGER_BYTES_MAX
        deadline = time.monotonic() + LINGER_SECONDS
        while left > 0 and time.monotonic() < deadline:
            try:
                read = len(self.connection.recv(65536))
            except OSError:
                return
            if read == 0:
                return
            left -= read

    def _get(self) -> tuple[str, str]:
        self.server.arrived(self.connection)
        path = self.path.partition("?")[0]
        reclaimer = self.server.hook.reclaimer
        if path == "/metrics":
            return exposition.CONTENT_TYPE, exposition.page(reclaimer)
        if path != self.server.hook.path:
            raise RefusedError(HTTPStatus.NOT_FOUND, f"there are /metrics and {self.server.hook.path}")
        self._authorize()
        parts = [
            {"name": s.name, "kind": s.kind, "cost": s.cost}
            | ({} if s.held_bytes is None else {"held_bytes": s.held_bytes})
            for s in reclaimer.state()
        ]
        held = sum(cast(int, part.get("held_bytes", 0)) for part in parts)
        return "application/json", json.dumps({"held_bytes": held, "parts": parts})

    def _post(self) -> tuple[str, str]:
        kind_of_path = self._kind_of_path()
        self._authorize()
        asked = self._body()
        self.server.arrived(self.connection)
        bytes_wanted, urgency = asked.get("bytes"), asked.get("urgency", "low")
        kind = asked.get("kind", kind_of_path)
        if not isinstance(bytes_wanted, int) or isinstance(bytes_wanted, bool) or bytes_wanted < 0:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "`bytes`: wanted a number of bytes")
        if urgency not in ("low", "high"):
            raise RefusedError(HTTPStatus.BAD_REQUEST, '`urgency`: wanted "low" or "high"')
        if kind is not None and not isinstance(kind, str):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "`kind`: wanted a word")
        hook = self.server.hook
        try:
            outcome = hook.reclaimer.reclaim(
                bytes_wanted, urgency, kind=kind, timeout=hook.timeout, origin="http"
            )
        except UnknownKindError as error:
            raise RefusedError(HTTPStatus.NOT_FOUND, str(error)) from error
        except BusyError as error:
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error
        parts = [
            {"name": o.name, "kind": o.kind, "outcome": o.ending, "released_bytes": o.released_bytes}
            | ({"error": o.error} if o.error else {})
            for o in outcome.parts
        ]
        return "application/json", json.dumps({"released_bytes": outcome.released_bytes, "parts": parts})

    def _kind_of_path(self) -> Optional[str]:
        path = self.path.partition("?")[0]
        hook = self.server.hook
        if path == hook.path:
            return None
        # `/headroom/gc` beside `/headroom/reclaim`.
        siblings = hook.path.rpartition("/")[0] + "/"
        kind = path[len(siblings) :]
        if path.startswith(siblings) and kind and "/" not in kind and path != "/metrics":
            return kind
        raise RefusedError(HTTPStatus.NOT_FOUND, f"memory is asked for at {hook.path}")

    def _authorize(self) -> None:
        try:
            wanted = self.server.hook.token()
        except (OSError, ValueError) as error:
            log.error("the token cannot be read: %s", error)
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "the token cannot be read") from error
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        # Headers are Latin-1 on the wire.
        presented = given.strip().encode("latin-1", "replace")
        if wanted is not None and (scheme.lower() != "bearer" or not hmac.compare_digest(presented, wanted)):
            raise RefusedError(HTTPStatus.UNAUTHORIZED, "the token is missing or wrong")

    def _body(self) -> dict[str, Any]:
        # A page in a browser can send other types to loopback without asking anybody.
        content_type = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "wanted Content-Type: application/json")
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "wanted a Content-Length")
        if len(length) > 9 or int(length) > BODY_BYTES_MAX:
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {BODY_BYTES_MAX} bytes")
        try:
            asked = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"the body is no JSON: {error}") from error
        if not isinstance(asked, dict):
            raise RefusedError(HTTPStatus.BAD_REQUEST, 'wanted {"bytes": number, "urgency": "low" or "high"}')
        return asked

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base class has it
        log.debug(format, *args)
