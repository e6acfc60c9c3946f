"""What the kernel really gets back."""

from __future__ import annotations

import ctypes
import gc

import pytest

from headroom_kit import Cache, Reclaimer, allocator


def test_memory_that_the_allocator_kept_goes_back_to_the_kernel() -> None:
    if allocator.find_malloc_trim() is None:
        pytest.skip("this C library has no malloc_trim")
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    # Too small for mappings of their own, and the last of them stays, so that the heap's end cannot move.
    blocks = [libc.malloc(60_000) for _ in range(1200)]
    for block in blocks:
        ctypes.memset(block, 0xA5, 60_000)
    for block in blocks[:-1]:
        libc.free(block)
    full = allocator.resident_bytes()
    outcome = Reclaimer().reclaim(1, kind="trim")
    after = allocator.resident_bytes()
    libc.free(blocks[-1])
    assert full is not None
    assert after is not None
    assert full - after > 50 << 20
    assert outcome.released_bytes > 50 << 20


def test_cycles_are_collected() -> None:
    class Knot:
        def __init__(self) -> None:
            self.me = self
            self.payload = b"x" * (32 << 20)

    gc.disable()
    try:
        Knot()
        outcome = Reclaimer().reclaim(1, kind="gc")
    finally:
        gc.enable()
    assert outcome.parts[0].kind == "gc"
    assert outcome.released_bytes > 30 << 20


def test_a_cache_that_is_given_back_makes_the_process_smaller() -> None:
    reclaimer = Reclaimer()
    cache: Cache[int, bytes] = Cache("c", max_bytes=256 << 20, size_of=len, reclaimer=reclaimer)
    for key in range(64):
        cache[key] = b"\xa5" * (1 << 20)
    before = allocator.resident_bytes()
    outcome = reclaimer.reclaim(1, "high")
    after = allocator.resident_bytes()
    assert before is not None
    assert after is not None
    assert before - after > 56 << 20
    # Told once, not as the cache's and as the allocator's.
    assert outcome.released_bytes < 80 << 20


def test_where_there_is_no_malloc_trim_the_part_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    assert allocator.find_malloc_trim() is None
    reclaimer = Reclaimer()
    assert [part.kind for part in reclaimer.parts()] == ["gc"]
    assert [p.ending for p in reclaimer.reclaim(1).parts] == ["ok"]
