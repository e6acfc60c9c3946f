"""Lazily loaded models: loaded once, kept while in use, unloaded when idle or asked."""

from __future__ import annotations

import threading
import time

import pytest
from conftest import Eventually

from headroom_kit import LazyModel, Reclaimer, lazy_model


class Loader:
    def __init__(self) -> None:
        self.loads = 0

    def __call__(self) -> bytes:
        self.loads += 1
        return b"x" * 1000


def test_it_is_loaded_on_first_use_and_once_for_all_threads(reclaimer: Reclaimer) -> None:
    loads = []
    ready = threading.Barrier(8)

    @lazy_model(size=1000, reclaimer=reclaimer)
    def model() -> bytes:
        """A model."""
        loads.append(1)
        time.sleep(0.05)
        return b"x" * 1000

    assert (model.name, model.__doc__, model.kind) == ("model", "A model.", "unload_models")
    assert not model.is_loaded
    assert model.held_bytes() == 0
    seen = []

    def use() -> None:
        ready.wait(30)
        with model.use() as value:
            seen.append(len(value))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (seen, len(loads)) == ([1000] * 8, 1)
    assert reclaimer.held_bytes() == 1000


def test_it_is_never_unloaded_while_in_use(reclaimer: Reclaimer) -> None:
    gone: list[bytes] = []
    tries = []

    class Counting(LazyModel[bytes]):
        def unload(self) -> int:
            tries.append(1)
            return super().unload()

    model = Counting(Loader(), name="m", size=len, unload=gone.append, idle_seconds=0.01, reclaimer=reclaimer)
    with model.use() as value:
        with model.use():
            assert reclaimer.reclaim(1, "high").released_bytes == 0
        time.sleep(0.1)
        assert model.is_loaded
        assert reclaimer.reclaim(1, "high").released_bytes == 0
        # Nobody waits for its end by asking again and again.
        assert len(tries) == 0
        assert model.unload() == 0
        assert (value, gone) == (b"x" * 1000, [])


def test_it_is_given_back_on_request_and_loaded_again(reclaimer: Reclaimer) -> None:
    load = Loader()
    gone: list[bytes] = []
    model = LazyModel(load, name="m", size=len, unload=gone.append, idle_seconds=None, reclaimer=reclaimer)
    with model.use():
        pass
    assert reclaimer.reclaim(1, kind="unload_models").released_bytes == 1000
    assert (model.is_loaded, model.held_bytes(), gone) == (False, 0, [b"x" * 1000])
    assert model.unload() == 0
    with model.use() as value:
        assert value == b"x" * 1000
    assert load.loads == 2
    samples = {sample.name: sample.value for sample in model.samples()}
    assert (samples["model_loads_total"], samples["model_unloads_total"], samples["model_users"]) == (2, 1, 0)


def test_it_is_unloaded_when_idle_and_each_use_begins_the_time_anew(
    reclaimer: Reclaimer, eventually: Eventually
) -> None:
    before = threading.active_count()
    model = LazyModel(Loader(), name="m", size=len, idle_seconds=0.3, reclaimer=reclaimer)
    for _ in range(10):
        with model.use():
            time.sleep(0.05)
        last = time.monotonic()
    eventually("it is unloaded", lambda: not model.is_loaded)
    assert time.monotonic() - last >= 0.3
    with model.use():
        pass
    eventually("it is unloaded again", lambda: not model.is_loaded)
    eventually("no thread waits for it", lambda: threading.active_count() <= before)


def test_a_loader_that_fails_is_tried_again(reclaimer: Reclaimer) -> None:
    tries = []

    @lazy_model(size=1, idle_seconds=None, reclaimer=reclaimer)
    def model() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("no such file")
        return 7

    with pytest.raises(OSError, match="no such file"), model.use():
        pass
    with model.use() as value:
        assert value == 7
    assert model.unload() == 1


def test_an_unloader_that_fails_costs_neither_the_others_nor_the_next_load(reclaimer: Reclaimer) -> None:
    def fails(_value: bytes) -> None:
        raise RuntimeError("out of order")

    model = LazyModel(Loader(), name="m", size=len, unload=fails, idle_seconds=None, reclaimer=reclaimer)
    with model.use():
        pass
    assert reclaimer.reclaim(1).parts[0].ending == "failed"
    assert not model.is_loaded
    with model.use() as value:
        assert value


def test_without_a_size_the_growth_of_the_process_is_taken(reclaimer: Reclaimer) -> None:
    @lazy_model(idle_seconds=None, reclaimer=reclaimer)
    def model() -> bytearray:
        return bytearray(b"\xa5") * (64 << 20)

    with model.use():
        assert 60 << 20 < model.held_bytes() < 80 << 20
    assert reclaimer.reclaim(1).released_bytes > 60 << 20
