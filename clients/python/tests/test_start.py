"""Everything started with one call; and memory given back on a signal."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path

import pytest
from conftest import Eventually

from headroom_kit import Reclaimer, Server, SignalHook, start


def test_all_of_it_starts_and_ends(
    reclaimer: Reclaimer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    monkeypatch.setenv("MEMORY_PRESSURE_WATCH", str(fifo))
    before = threading.active_count()
    reclaimer.register("p", lambda target, _u: target, lambda: 1000)
    with start("127.0.0.1:0", on_signal=signal.SIGUSR1, share=0.1, reclaimer=reclaimer) as kit:
        assert kit.server is not None
        assert kit.pressure is not None
        assert kit.on_signal is not None
        os.kill(os.getpid(), signal.SIGUSR1)
        eventually("by the signal", lambda: reclaimer.requests().get("signal") == 1)
        fifo.write_bytes(b"x")
        eventually("under pressure", lambda: reclaimer.requests().get("pressure") == 1)
        given = reclaimer.totals
        eventually("both have given back", lambda: [t.released_bytes for t in given().values()] == [200])
    assert threading.active_count() == before
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_a_slip_leaves_nothing_behind(reclaimer: Reclaimer) -> None:
    before = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        start(f"127.0.0.1:{taken.getsockname()[1]}", on_signal=signal.SIGUSR2, reclaimer=reclaimer)
    assert threading.active_count() == before
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL
    with start(pressure=False, reclaimer=reclaimer) as kit:
        assert (kit.server, kit.pressure, kit.on_signal) == (None, None, None)


def test_signals_in_quick_succession_are_one_wish_and_the_handler_of_before_comes_back(
    reclaimer: Reclaimer, eventually: Eventually
) -> None:
    inside, free, heard = threading.Event(), threading.Event(), []

    def slow(_target: int, _urgency: object) -> int:
        inside.set()
        free.wait(30)
        return 1

    def other(number: int, _frame: object) -> None:
        heard.append(number)

    reclaimer.register("slow", slow)
    signal.signal(signal.SIGUSR1, other)
    try:
        hook = SignalHook(reclaimer)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert inside.wait(30)
        for _ in range(5):
            os.kill(os.getpid(), signal.SIGUSR1)
        free.set()
        eventually("once more for all", lambda: reclaimer.requests() == {"signal": 2})
        hook.close()
        assert reclaimer.requests() == {"signal": 2}
        os.kill(os.getpid(), signal.SIGUSR1)
        eventually("the handler of before is back", lambda: heard == [signal.SIGUSR1])
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def test_what_could_not_be_started_whole_leaves_nothing_behind(reclaimer: Reclaimer) -> None:
    with Server(reclaimer, "127.0.0.1:0") as server:
        address = server.address
    before = signal.getsignal(signal.SIGUSR2)
    with pytest.raises(ValueError, match="share"):
        start(address, on_signal=None, share=7.0, otel=False, reclaimer=reclaimer)
    # The address is free again.
    with start(address, on_signal=signal.SIGUSR2, otel=False, reclaimer=reclaimer):
        pass
    assert signal.getsignal(signal.SIGUSR2) == before
