"""A process that was forked while other threads were at work with all of it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headroom_kit import Cache, LazyModel, PressureWatch, Reclaimer, Server, SignalHook, Urgency

#: A child that hangs is ended, and counts as failed.
CHILD_SECONDS = 30


def fork(work: Callable[[], None]) -> int:
    """Runs it in a child; its number."""
    with warnings.catch_warnings():
        # Python 3.12 says that a process with threads should not be forked. That is what this is about.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(CHILD_SECONDS)
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - nothing of the child may go on in the tests
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def end(child: int) -> None:
    """Fails if the child fails or hangs."""
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the child ended with {status}"


def in_child(work: Callable[[], None]) -> None:
    """Runs it in a child, and fails if it fails or hangs there."""
    end(fork(work))


@contextlib.contextmanager
def elsewhere(hold: Callable[[threading.Event, threading.Event], None]) -> Iterator[None]:
    """Another thread is in the midst of something."""
    begun, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=hold, args=(begun, over))
    thread.start()
    assert begun.wait(30)
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_locks_that_other_threads_held_are_free(reclaimer: Reclaimer) -> None:
    cache: Cache[int, bytes] = Cache("c", max_entries=9, ttl_seconds=60, size_of=len, reclaimer=reclaimer)
    cache[1] = b"x" * 100
    model = LazyModel(lambda: "m", name="m", size=10, reclaimer=reclaimer)

    def hold(begun: threading.Event, over: threading.Event) -> None:
        with cache._lock, reclaimer._lock, reclaimer._turn, model._loading, model._changed:
            # In the midst of a change.
            cache._held_bytes += 7
            begun.set()
            over.wait(30)
            cache._held_bytes -= 7

    def work() -> None:
        held = cache.held_bytes()
        assert held == sum(entry.size for entry in cache._entries.values()), held
        cache[2] = b"y"
        with model.use() as value:
            assert value == "m"
        assert reclaimer.reclaim(1, "high").released_bytes >= 100
        assert not model.is_loaded

    with elsewhere(hold):
        in_child(work)


def test_who_was_away_or_used_a_model_in_another_thread_is_not_waited_for(reclaimer: Reclaimer) -> None:
    model = LazyModel(lambda: "m", name="m", size=10, idle_seconds=0.05, reclaimer=reclaimer)
    answer = threading.Event()
    parent = os.getpid()

    def give(_target: int, _urgency: Urgency) -> int:
        if os.getpid() == parent:
            answer.wait(30)
        return 5

    reclaimer.register("slow", give)
    assert reclaimer.reclaim(1, "high", timeout=0.1).parts[0].ending == "late"

    def hold(begun: threading.Event, over: threading.Event) -> None:
        with model.use():
            begun.set()
            over.wait(30)

    def work() -> None:
        assert model.is_loaded
        assert [p.ending for p in reclaimer.reclaim(1, "high").parts] == ["ok", "ok"]
        assert not model.is_loaded
        with model.use():
            assert model.reclaim(1, "high") == 0, "it is in use here"
        # And it is watched here, too.
        with model._changed:
            assert model._changed.wait_for(lambda: not model.is_loaded, 20)

    with elsewhere(hold):
        in_child(work)
        with model.use():
            # The block of the thread that forks goes on in the child.
            in_child(lambda: _assert_in_use(model))
    answer.set()


def _assert_in_use(model: LazyModel[str]) -> None:
    assert model.reclaim(1, "high") == 0
    assert model.is_loaded


def test_the_address_is_the_parent_s(reclaimer: Reclaimer, tmp_path: Path) -> None:
    path = tmp_path / "hook.sock"
    server = Server(reclaimer, "127.0.0.1:0")
    local = Server(reclaimer, f"unix:{path}")
    host, port = server.address.rsplit(":", 1)
    ready_read, ready_write = os.pipe()
    go_read, go_write = os.pipe()

    def work() -> None:
        # Neither waits for a thread that is not here, nor takes the parent's socket away.
        server.close()
        local.close()
        os.write(ready_write, b".")
        assert select.select([go_read], [], [], 20)[0], "told to end"

    child = fork(work)
    os.read(ready_read, 1)
    assert path.exists()
    server.close()
    local.close()
    # The child keeps nothing of it: once the parent has closed it, nobody listens, and the address is free.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)
    with Server(reclaimer, f"{host}:{port}"):
        os.write(go_write, b".")
        end(child)
    for descriptor in (ready_read, ready_write, go_read, go_write):
        os.close(descriptor)


def test_pressure_and_signals_are_the_parent_s(reclaimer: Reclaimer, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    watch = PressureWatch(str(path), b"", lambda: None)
    hook = SignalHook(reclaimer, signal.SIGUSR2)

    def work() -> None:
        os.kill(os.getpid(), signal.SIGUSR2)
        assert hook._words.empty()
        watch.close()
        assert watch.error is not None
        hook.close()

    try:
        in_child(work)
    finally:
        watch.close()
        hook.close()
