"""systemd's memory pressure protocol, over each kind of file."""

from __future__ import annotations

import base64
import contextlib
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Optional

import pytest
from conftest import Eventually

from headroom_kit import PressureWatch, Reclaimer, pressure, watch_pressure

WRITE = base64.b64encode(b"some 200000 2000000\0").decode()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pressure, "RETRY_SECONDS_MIN", 0.01)
    monkeypatch.setattr(pressure, "RETRY_SECONDS_MAX", 0.05)
    monkeypatch.setattr(pressure, "REST_SECONDS", 0.0)


class Asked:
    """A registry that holds 1000 bytes, and how it was asked."""

    def __init__(self, reclaimer: Reclaimer) -> None:
        self.targets: list[int] = []
        self.reclaimer = reclaimer
        reclaimer.register("p", self._reclaim, lambda: 1000)

    def _reclaim(self, target_bytes: int, urgency: object) -> int:
        assert urgency == "low"
        self.targets.append(target_bytes)
        return target_bytes

    def times(self, count: int) -> Callable[[], bool]:
        return lambda: len(self.targets) == count


@pytest.fixture
def asked(reclaimer: Reclaimer) -> Asked:
    return Asked(reclaimer)


def watch(asked: Asked, path: Path, write: str = "", share: float = 0.5) -> PressureWatch:
    environ = {"MEMORY_PRESSURE_WATCH": str(path), "MEMORY_PRESSURE_WRITE": write}
    found = watch_pressure(asked.reclaimer, share=share, environ=environ)
    assert found is not None
    return found


def listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.settimeout(30)
    listener.bind(str(path))
    listener.listen()
    return listener


def test_a_socket_that_comes_later_and_goes_and_comes_again(
    asked: Asked, tmp_path: Path, eventually: Eventually
) -> None:
    path = tmp_path / "pressure.sock"
    watched = watch(asked, path, WRITE)
    eventually("it says why it does not watch", lambda: "No such file" in (watched.error or ""))
    for turn in (1, 2):
        with listen(path) as listener:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(30)
                assert connection.recv(100) == b"some 200000 2000000\0"
                eventually("it watches", lambda: watched.error is None)
                # However much is written is one sign.
                connection.sendall(b"x" * 9999)
                eventually("memory is asked for", asked.times(turn))
        path.unlink()
    watched.close()
    assert asked.targets == [500, 500]
    assert asked.reclaimer.requests() == {"pressure": 2}


def test_each_word_is_heard(asked: Asked, tmp_path: Path, eventually: Eventually) -> None:
    path = tmp_path / "pressure.sock"
    with listen(path) as listener:
        watched = watch(asked, path, share=0.1)
        connection, _ = listener.accept()
        with connection:
            for count in (1, 2, 3):
                connection.sendall(b"\n")
                eventually("memory is asked for", asked.times(count))
            watched.close()
    assert asked.targets == [100] * 3


def test_a_fifo_whose_writers_come_and_go(asked: Asked, tmp_path: Path, eventually: Eventually) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    watched = watch(asked, path, WRITE)
    eventually("it watches", lambda: watched.error is None)
    for count in (1, 2):
        with open(path, "wb") as fifo:
            fifo.write(b"pressure\n")
        eventually("memory is asked for", asked.times(count))
    # Neither what it should write itself, nor the end of a writer, is a sign.
    time.sleep(0.2)
    watched.close()
    assert asked.targets == [500, 500]


def psi(name: str) -> Optional[Path]:
    path = Path("/proc/pressure") / name
    return path if path.exists() and os.access(path, os.W_OK) else None


@pytest.fixture
def busy() -> Iterator[None]:
    """Two processes for one processor: each stalls half of the time."""
    here = min(os.sched_getaffinity(0))
    script = f"import os\nos.sched_setaffinity(0, [{here}])\nwhile True: pass"
    children = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]
    yield
    for child in children:
        child.kill()
        child.wait()


def test_the_kernels_own_file_tells_by_an_event(asked: Asked, busy: None, eventually: Eventually) -> None:
    assert busy is None
    # Memory pressure cannot be made without harm to everybody here; processors have files of the same make.
    path = psi("cpu")
    if path is None:
        pytest.skip("no writable /proc/pressure/cpu")
    threshold = base64.b64encode(b"some 100000 2000000\0").decode()
    watched = watch(asked, path, threshold)
    try:
        eventually("it watches", lambda: watched.error is None)
        eventually("the kernel tells of pressure", lambda: asked.targets, seconds=60.0)
    finally:
        watched.close()


def test_a_file_that_can_be_read_is_no_sign_of_pressure(
    asked: Asked, tmp_path: Path, eventually: Eventually
) -> None:
    # As the kernel's can, at any time.
    path = tmp_path / "memory.pressure"
    path.write_text("some avg10=0.00\n")
    watched = watch(asked, path)
    eventually("it watches", lambda: watched.error is None)
    time.sleep(0.2)
    watched.close()
    assert asked.targets == []
    assert path.read_text() == "some avg10=0.00\n"


def test_a_threshold_that_the_kernel_does_not_take_is_told(
    asked: Asked, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    path = psi("memory")
    if path is None:
        pytest.skip("no writable /proc/pressure/memory")
    watched = watch(asked, path, base64.b64encode(b"nonsense\0").decode())
    eventually("it says so", lambda: "Invalid argument" in (watched.error or ""))
    time.sleep(0.1)
    watched.close()
    assert asked.targets == []
    # Once, however often it is tried.
    assert len([r for r in caplog.records if "is not watched" in r.message]) == 1


def test_the_kernels_file_without_a_threshold_is_an_error_and_no_pressure(
    asked: Asked, eventually: Eventually
) -> None:
    path = psi("memory")
    if path is None:
        pytest.skip("no writable /proc/pressure/memory")
    watched = watch(asked, path)
    eventually("it says so", lambda: watched.error == "the other side has gone")
    watched.close()
    assert asked.targets == []


def test_what_means_that_nothing_is_to_be_watched(
    reclaimer: Reclaimer, caplog: pytest.LogCaptureFixture
) -> None:
    before = threading.active_count()
    nothing: list[dict[str, str]] = [
        {},
        {"MEMORY_PRESSURE_WATCH": ""},
        {"MEMORY_PRESSURE_WATCH": "/dev/null"},
    ]
    for environ in nothing:
        assert watch_pressure(reclaimer, environ=environ) is None
    assert caplog.records == []
    slips = [
        {"MEMORY_PRESSURE_WATCH": "relative"},
        {"MEMORY_PRESSURE_WATCH": "/x", "MEMORY_PRESSURE_WRITE": "no base 64!"},
    ]
    for environ in slips:
        assert watch_pressure(reclaimer, environ=environ) is None
    assert len(caplog.records) == 2
    assert threading.active_count() == before
    with pytest.raises(ValueError, match="a share of 0"):
        watch_pressure(reclaimer, share=0.0)


def test_a_directory_or_device_is_no_place_to_watch(
    asked: Asked, tmp_path: Path, eventually: Eventually
) -> None:
    watched = watch(asked, tmp_path)
    eventually("it says so", lambda: "neither a file" in (watched.error or ""))
    watched.close()
    watched.close()


def test_a_reclaim_that_fails_does_not_end_the_watch(
    asked: Asked, tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> int:
        raise RuntimeError("out of order")

    path = tmp_path / "fifo"
    os.mkfifo(path)
    monkeypatch.setattr(asked.reclaimer, "held_bytes", fails)
    watched = watch(asked, path)
    eventually("it watches", lambda: watched.error is None)
    path.write_bytes(b"x")
    eventually("the word is taken", lambda: watched.error is None)
    time.sleep(0.1)
    monkeypatch.undo()
    path.write_bytes(b"x")
    eventually("memory is asked for", lambda: asked.targets == [500])
    watched.close()


def test_a_process_with_many_files_is_told_as_well(
    asked: Asked, tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pressure, "REST_SECONDS", 0.001)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip("no more than 2000 files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    files: list[int] = []
    try:
        while not files or files[-1] < 1100:
            files.append(os.open(os.devnull, os.O_RDONLY))
        path = tmp_path / "fifo"
        with contextlib.closing(watch(asked, path)) as watching:
            # It has to be tried again, too.
            eventually("that it is missed", lambda: "No such file" in (watching.error or ""))
            os.mkfifo(path)
            eventually("that it is watched", lambda: watching.error is None)
            for times in (1, 2):
                path.write_bytes(b"x")
                eventually("a request", asked.times(times))
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_error_of_any_kind_does_not_end_the_watch(
    asked: Asked, tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pressure._Source
    faults = [RuntimeError("odd"), MemoryError()]

    def faulty(path: str, write: bytes) -> pressure._Source:
        if faults:
            raise faults.pop(0)
        return real(path, write)

    monkeypatch.setattr(pressure, "_Source", faulty)
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with contextlib.closing(watch(asked, path)) as watching:
        eventually("that it is watched", lambda: not faults and watching.error is None)
        path.write_bytes(b"x")
        eventually("a request", asked.times(1))
