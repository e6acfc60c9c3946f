"""A cache that forgets what was not used for longest, counts its bytes, and gives them back when it is asked to."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, NamedTuple, Optional, TypeVar, Union, cast, overload

from . import forked, reclaim
from .part import Part, Sample, Urgency
from .sizes import size_of as size_of_value

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
D = TypeVar("D")


class CacheStats(NamedTuple):
    """Counts since the cache was made, and what it holds now."""

    hits: int
    misses: int
    #: For want of room.
    evictions: int
    expirations: int
    #: Entries that were given back on request.
    reclaimed: int
    entries: int
    held_bytes: int


class _Entry(Generic[V]):
    __slots__ = ("expires", "size", "value")

    def __init__(self, value: V, size: int, expires: float) -> None:
        self.value = value
        self.size = size
        self.expires = expires


class Cache(Part, Generic[K, V]):
    """Keeps values by key, within bounds of bytes, entries and time. Registered by being made; safe for threads.

    At urgency ``low`` it gives back what is asked for, expired entries first and then those unused for longest; at
    ``high`` everything. Values that others still use stay in memory all the same.
    """

    def __init__(
        self,
        name: str,
        *,
        max_bytes: Optional[int] = None,
        max_entries: Optional[int] = None,
        ttl_seconds: Optional[float] = None,
        size_of: Callable[[V], int] = size_of_value,
        kind: str = "drop_caches",
        cost: float = 20.0,
        reclaimer: Optional[reclaim.Reclaimer] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """At least one of ``max_bytes`` and ``max_entries`` is needed: a cache without a bound is a leak."""
        super().__init__(name, kind, cost)
        if max_bytes is None and max_entries is None:
            raise ValueError(f"cache {name!r}: give max_bytes or max_entries")
        for bound in (max_bytes, max_entries, ttl_seconds):
            if bound is not None and bound <= 0:
                raise ValueError(f"cache {name!r}: a bound of {bound} leaves room for nothing")
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._ttl_seconds = ttl_seconds
        self._size_of = size_of
        self._clock = clock
        # Reentrant: the garbage collector may run anybody's code while it is held.
        self._lock = threading.RLock()
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        # By the time of writing, which is the order in which they expire; empty without a `ttl_seconds`.
        self._written: OrderedDict[K, None] = OrderedDict()
        self._held_bytes = 0
        self._hits = self._misses = self._evictions = self._expirations = self._reclaimed = 0
        forked.renew(self)
        (reclaim.default if reclaimer is None else reclaimer).add(self, weak=True)

    @overload
    def get(self, key: K) -> Optional[V]: ...
    @overload
    def get(self, key: K, default: D) -> Union[V, D]: ...
    def get(self, key: K, default: Optional[D] = None) -> Union[V, D, None]:
        """The value, or the default."""
        try:
            return self[key]
        except KeyError:
            return default

    def get_or(self, key: K, make: Callable[[], V]) -> V:
        """The value; if there is none, a new one, which is kept. Two threads may make it at the same time."""
        try:
            return self[key]
        except KeyError:
            value = make()
            self.put(key, value)
            return value

    def put(self, key: K, value: V, size: Optional[int] = None) -> bool:
        """Keeps a value; false if it is too large to be kept. An older one of that key is gone either way."""
        size = self._size_of(value) if size is None else size
        if size < 0:
            raise ValueError(f"cache {self.name!r}: a value of {size} bytes")
        size += size_of_value(key)
        # What is dropped goes after the lock is released: a destructor may use this cache.
        dropped: list[_Entry[V]] = []
        with self._lock:
            now = self._clock()
            self._drop(key, dropped)
            if self._max_bytes is not None and size > self._max_bytes:
                return False
            self._expire(now, dropped)
            expires = float("inf") if self._ttl_seconds is None else now + self._ttl_seconds
            self._entries[key] = _Entry(value, size, expires)
            if self._ttl_seconds is not None:
                self._written[key] = None
            self._held_bytes += size
            while self._is_over():
                self._evictions += 1
                self._drop(next(iter(self._entries)), dropped)
        return True

    def pop(self, key: K, default: Optional[V] = None) -> Optional[V]:
        """Takes a value out; it counts neither as a hit nor as a miss."""
        dropped: list[_Entry[V]] = []
        with self._lock:
            self._expire(self._clock(), dropped)
            return self._drop(key, dropped).value if key in self._entries else default

    def clear(self) -> int:
        """Drops all; how many bytes that were."""
        with self._lock:
            held, self._held_bytes = self._held_bytes, 0
            dropped = self._entries
            self._entries = OrderedDict()
            self._written = OrderedDict()
        del dropped
        return held

    def __getitem__(self, key: K) -> V:
        """The value, which is now the one that was used last."""
        dropped: list[_Entry[V]] = []
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry.expires <= self._clock():
                self._expirations += 1
                self._drop(key, dropped)
                entry = None
            if entry is None:
                self._misses += 1
                raise KeyError(key)
            self._hits += 1
            self._entries.move_to_end(key)
            return entry.value

    def __setitem__(self, key: K, value: V) -> None:
        """Keeps a value, if it is not too large."""
        self.put(key, value)

    def __delitem__(self, key: K) -> None:
        """Drops a value."""
        dropped: list[_Entry[V]] = []
        with self._lock:
            if key not in self._entries:
                raise KeyError(key)
            self._expire(self._clock(), dropped)
            self._drop(key, dropped)

    def __contains__(self, key: object) -> bool:
        """Whether there is a value; asking does not count as using it."""
        with self._lock:
            entry = self._entries.get(cast("K", key))
            return entry is not None and entry.expires > self._clock()

    def __len__(self) -> int:
        """How many entries there are, expired ones among them."""
        return len(self._entries)

    def __bool__(self) -> bool:
        """True: an empty cache is a cache."""
        return True

    @property
    def stats(self) -> CacheStats:
        """Its counts."""
        with self._lock:
            return CacheStats(
                self._hits,
                self._misses,
                self._evictions,
                self._expirations,
                self._reclaimed,
                len(self._entries),
                self._held_bytes,
            )

    def held_bytes(self) -> int:
        """Bytes of all keys and values, as `size_of` says."""
        return self._held_bytes

    def reclaim(self, target_bytes: int, urgency: Urgency) -> int:
        """Drops entries."""
        dropped: list[_Entry[V]] = []
        with self._lock:
            before = self._held_bytes
            self._expire(self._clock(), dropped)
            while self._entries and (urgency == "high" or before - self._held_bytes < target_bytes):
                self._reclaimed += 1
                self._drop(next(iter(self._entries)), dropped)
            return before - self._held_bytes

    def samples(self) -> Iterable[Sample]:
        """Hits, misses and the rest."""
        stats = self.stats
        yield Sample("cache_hits_total", "Look-ups that found a value.", stats.hits)
        yield Sample("cache_misses_total", "Look-ups that found none.", stats.misses)
        yield Sample("cache_evictions_total", "Entries dropped for want of room.", stats.evictions)
        yield Sample("cache_expirations_total", "Entries dropped for their age.", stats.expirations)
        yield Sample("cache_reclaimed_total", "Entries given back on request.", stats.reclaimed)
        yield Sample("cache_entries", "Entries.", stats.entries)

    def _after_fork(self) -> None:
        self._lock = threading.RLock()
        # Another thread may have been in the midst of a change.
        self._held_bytes = sum(entry.size for entry in self._entries.values())
        for key in [key for key in self._written if key not in self._entries]:
            del self._written[key]

    def _is_over(self) -> bool:
        bytes_over = self._max_bytes is not None and self._held_bytes > self._max_bytes
        return bytes_over or (self._max_entries is not None and len(self._entries) > self._max_entries)

    def _expire(self, now: float, dropped: list[_Entry[V]]) -> None:
        while self._written:
            oldest = next(iter(self._written))
            if self._entries[oldest].expires > now:
                return
            self._expirations += 1
            self._drop(oldest, dropped)

    def _drop(self, key: K, dropped: list[_Entry[V]]) -> _Entry[V]:
        entry = self._entries.pop(key, None)
        if entry is None:
            return _Entry(None, 0, 0.0)  # type: ignore[arg-type]
        self._written.pop(key, None)
        self._held_bytes -= entry.size
        dropped.append(entry)
        return entry
