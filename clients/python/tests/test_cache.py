"""The cache: bounds of bytes, entries and time, and what it gives back."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from headroom_kit import Cache, Reclaimer, size_of


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make(reclaimer: Reclaimer, **options: Any) -> Cache[int, bytes]:
    return Cache("c", reclaimer=reclaimer, **options)


KEY = size_of(1)


def test_what_was_not_used_for_longest_goes_first(reclaimer: Reclaimer) -> None:
    cache = make(reclaimer, max_bytes=3 * (100 + KEY), size_of=len)
    for key in (1, 2, 3):
        cache[key] = b"x" * 100
    assert cache[1]
    cache[4] = b"x" * 100
    assert [key for key in range(5) if key in cache] == [1, 3, 4]
    assert cache.held_bytes() == 3 * (100 + KEY)
    assert (cache.stats.hits, cache.stats.misses, cache.stats.evictions) == (1, 0, 1)
    assert (cache.get(2), cache.get(2, b"none")) == (None, b"none")
    assert cache.stats.misses == 2


def test_an_entry_that_is_written_anew_counts_once(reclaimer: Reclaimer) -> None:
    cache = make(reclaimer, max_entries=2, size_of=len)
    cache[1] = b"x" * 100
    cache[1] = b"x" * 10
    cache[2] = b"x" * 10
    assert (len(cache), cache.held_bytes(), cache.stats.evictions) == (2, 2 * (10 + KEY), 0)
    del cache[1]
    with pytest.raises(KeyError):
        del cache[1]
    assert cache.pop(2) == b"x" * 10
    assert cache.pop(2) is None
    assert cache.held_bytes() == 0


def test_what_is_too_large_is_not_kept_and_its_older_value_is_gone(reclaimer: Reclaimer) -> None:
    cache = make(reclaimer, max_bytes=1000, size_of=len)
    cache[1] = b"old"
    cache[2] = b"other"
    assert not cache.put(1, b"x" * 1001)
    assert 1 not in cache
    assert cache[2] == b"other"
    with pytest.raises(ValueError, match="-1 bytes"):
        cache.put(3, b"", size=-1)


def test_entries_expire_and_expired_ones_go_first(reclaimer: Reclaimer) -> None:
    clock = Clock()
    cache = make(reclaimer, max_entries=10, ttl_seconds=10.0, size_of=len, clock=clock)
    cache[1] = b"x" * 100
    clock.now += 6
    cache[2] = b"x" * 100
    assert cache[1]
    clock.now += 4
    # Used last, and too old.
    assert 1 not in cache
    with pytest.raises(KeyError):
        cache[1]
    assert cache.stats.expirations == 1
    cache[3] = b"x" * 100
    clock.now += 7
    assert cache.reclaim(1, "low") == 100 + KEY
    assert 3 in cache
    clock.now += 10
    cache[4] = b""
    assert (len(cache), cache.stats.expirations) == (1, 3)


def test_it_gives_back_what_is_asked_and_all_when_it_is_urgent(reclaimer: Reclaimer) -> None:
    cache = make(reclaimer, max_entries=100, size_of=len)
    for key in range(1, 101):
        cache[key] = b"x" * (1000 - KEY)
    outcome = reclaimer.reclaim(2500)
    assert outcome.released_bytes == 3000
    assert [key for key in range(1, 101) if key in cache] == list(range(4, 101))
    assert reclaimer.reclaim(1, "high").released_bytes == 97_000
    assert (len(cache), cache.held_bytes(), cache.stats.reclaimed) == (0, 0, 100)
    assert cache.get_or(1, lambda: b"new") == b"new"
    assert cache.get_or(1, lambda: b"newer") == b"new"
    assert cache.clear() == 3 + KEY
    assert cache.held_bytes() == 0


def test_an_empty_cache_is_true_and_a_bound_is_needed(reclaimer: Reclaimer) -> None:
    assert make(reclaimer, max_entries=1)
    for options in ({}, {"max_bytes": 0}, {"max_entries": 1, "ttl_seconds": 0.0}):
        with pytest.raises(ValueError, match=r"bound|give"):
            make(reclaimer, **options)


def test_it_is_registered_by_being_made_and_goes_with_its_owner(reclaimer: Reclaimer) -> None:
    cache = make(reclaimer, max_entries=1)
    assert reclaimer.parts() == [cache]
    del cache
    gc.collect()
    assert reclaimer.parts() == []


def test_a_destructor_may_use_the_cache(reclaimer: Reclaimer) -> None:
    cache: Cache[str, Any] = Cache("c", max_entries=1, size_of=lambda _v: 1, reclaimer=reclaimer)

    class Speaks:
        def __del__(self) -> None:
            cache.get("x")
            cache.pop("y")

    cache["a"] = Speaks()
    cache["b"] = Speaks()
    cache.reclaim(10, "high")
    assert cache.stats.misses == 2


def test_threads_do_not_lose_count(reclaimer: Reclaimer) -> None:
    cache = make(reclaimer, max_entries=50, ttl_seconds=1000.0, size_of=len)

    def work(seed: int) -> None:
        for turn in range(2000):
            key = (turn * 7 + seed) % 90
            cache.get_or(key, lambda: b"x" * 10)
            if turn % 50 == 0:
                cache.reclaim(100, "low")
            if turn % 30 == 0:
                cache.pop(key)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    stats = cache.stats
    assert stats.hits + stats.misses == 6 * 2000
    assert stats.entries == len(cache) <= 50
    entries = list(cache._entries.items())
    assert stats.held_bytes == sum(entry.size for _, entry in entries)
    assert list(cache._written) != [] or entries == []
    assert set(cache._written) == {key for key, _ in entries}


def test_sizes_of_values_follow_containers_attributes_and_buffers() -> None:
    class Thing:
        def __init__(self) -> None:
            self.payload = b"x" * 5000

    class Array:
        nbytes = 123_456

    assert size_of({"a": [b"x" * 10_000], "b": (b"y" * 10_000,)}) > 20_000
    same = b"z" * 10_000
    assert size_of([same, same]) < 11_000
    assert 5000 < size_of(Thing()) < 7000
    assert size_of([Array(), Array()]) > 2 * 123_456
    assert size_of(size_of) < 1000
    knot: list[Any] = []
    knot.append(knot)
    assert size_of(knot) < 200
    # More objects than are looked at: an estimate.
    many = [bytes([n % 256, n // 256 % 256, n // 65536]) for n in range(100_000)]
    assert 0.8 < size_of(many) / (100_000 * (8 + 36)) < 1.3


def test_a_destructor_may_wait_for_a_thread_that_uses_the_cache(reclaimer: Reclaimer) -> None:
    cache: Cache[str, object] = Cache("c", max_entries=2, size_of=lambda _v: 1, reclaimer=reclaimer)
    waited: list[bool] = []

    class Slow:
        def __del__(self) -> None:
            other = threading.Thread(target=cache.get, args=("x",))
            other.start()
            other.join(20)
            waited.append(not other.is_alive())

    def over() -> None:
        for key in ("a", "b", "c"):
            cache[key] = Slow()

    def delete() -> None:
        del cache["b"]

    ways: list[Callable[[], object]] = [
        over,
        delete,
        lambda: cache.put("c", None),
        lambda: (cache.put("a", Slow()), cache.pop("a")),
        lambda: (cache.put("a", Slow()), cache.clear()),
        lambda: (cache.put("a", Slow()), cache.reclaim(1, "high")),
    ]
    for count, way in enumerate(ways, 1):
        way()
        assert waited == [True] * count
