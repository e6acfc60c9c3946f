"""Values that are loaded when they are first used, and unloaded when nobody uses them: models, indexes, dictionaries."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, Optional, Protocol, TypeVar, Union, cast

from . import forked, reclaim
from .allocator import resident_bytes
from .part import Part, Sample, Urgency

T = TypeVar("T")

log = logging.getLogger("headroom_kit")

#: Bytes of a loaded value: a number, a function of the value, or None to measure by how much the process grows.
Size = Union[int, Callable[[T], int], None]


class LazyModel(Part, Generic[T]):
    """A value with a loader. ``with model.use() as value`` loads it if need be, and keeps it for as long as it is used."""

    def __init__(
        self,
        load: Callable[[], T],
        *,
        name: Optional[str] = None,
        idle_seconds: Optional[float] = 600.0,
        size: Size[T] = None,
        unload: Optional[Callable[[T], None]] = None,
        kind: str = "unload_models",
        cost: float = 80.0,
        reclaimer: Optional[reclaim.Reclaimer] = None,
    ) -> None:
        """Unloaded after so long without use, or only on request (None). `unload` is called first, with the value."""
        super().__init__(name or str(getattr(load, "__name__", "model")), kind, cost)
        self._load = load
        self._idle_seconds = idle_seconds
        self._size = size
        self._unload = unload
        # One thread loads or unloads at a time; the others wait for it, and nobody waits for `_changed` meanwhile.
        self._loading = threading.Lock()
        self._changed = threading.Condition()
        self._value: Optional[tuple[T]] = None
        self._held_bytes = 0
        # Blocks that use it, by the thread that entered them.
        self._users: dict[int, int] = {}
        self._used_at = 0.0
        # The load whose idleness is watched.
        self._watched = 0
        self._loads = self._unloads = 0
        self._load_seconds = 0.0
        self.__doc__ = getattr(load, "__doc__", None) or self.__doc__
        forked.renew(self)
        (reclaim.default if reclaimer is None else reclaimer).add(self, weak=True)

    @contextlib.contextmanager
    def use(self) -> Iterator[T]:
        """The value, which stays loaded until the end of the block."""
        thread = threading.get_ident()
        with self._changed:
            self._users[thread] = self._users.get(thread, 0) + 1
        try:
            yield self._loaded()
        finally:
            with self._changed:
                self._users[thread] = self._users.get(thread, 1) - 1
                if self._users[thread] <= 0:
                    del self._users[thread]
                self._used_at = time.monotonic()
            self._watch()

    @property
    def is_loaded(self) -> bool:
        """Whether it is in memory now."""
        return self._value is not None

    def unload(self) -> int:
        """Unloads it unless it is in use; how many bytes that were."""
        # While it is being loaded it has a user; so nobody is waited for here for long.
        with self._loading:
            with self._changed:
                if self._users or self._value is None:
                    return 0
                (value,) = self._value
                self._value = None
                released, self._held_bytes = self._held_bytes, 0
                self._unloads += 1
                self._changed.notify_all()
            if self._unload is not None:
                self._unload(value)
            return released

    def held_bytes(self) -> int:
        """What the loaded value takes; 0 if it is not loaded."""
        return self._held_bytes

    def reclaim(self, target_bytes: int, urgency: Urgency) -> int:  # noqa: ARG002 - it cannot be unloaded by halves
        """Unloads it unless it is in use."""
        return 0 if self._users else self.unload()

    def samples(self) -> Iterable[Sample]:
        """Loads, unloads, time, users."""
        yield Sample("model_loads_total", "How often it was loaded.", self._loads)
        yield Sample("model_unloads_total", "How often it was unloaded.", self._unloads)
        yield Sample("model_load_seconds_total", "Time spent on loading.", self._load_seconds)
        yield Sample("model_users", "Blocks that use it now.", sum(self._users.copy().values()))

    def _after_fork(self) -> None:
        self._loading = threading.Lock()
        self._changed = threading.Condition()
        # Blocks of other threads are never left here; and who watched is not here: the next use sees to that.
        here = threading.get_ident()
        self._users = {thread: count for thread, count in self._users.items() if thread == here}
        self._watched = 0

    def _loaded(self) -> T:
        value = self._value
        if value is None:
            with self._loading:
                value = self._value
                if value is None:
                    value = self._load_now()
        return value[0]

    def _load_now(self) -> tuple[T]:
        before, begun = resident_bytes(), time.monotonic()
        loaded = self._load()
        after = resident_bytes()
        if self._size is None:
            held = 0 if before is None or after is None else max(after - before, 0)
        elif callable(self._size):
            held = self._size(loaded)
        else:
            held = self._size
        value = (loaded,)
        with self._changed:
            self._value = value
            self._held_bytes = held
            self._loads += 1
            self._load_seconds += time.monotonic() - begun
        self._watch()
        return value

    def _watch(self) -> None:
        if self._idle_seconds is None:
            return
        with self._changed:
            if self._watched == self._loads or self._value is None:
                return
            self._watched = self._loads
            watch = threading.Thread(
                target=self._unload_when_idle, args=(self._loads,), name="headroom-kit-idle", daemon=True
            )
        watch.start()

    def _unload_when_idle(self, loads: int) -> None:
        idle_seconds = cast(float, self._idle_seconds)
        # Whatever is loaded later has a thread of its own.
        while self._loads == loads and self._value is not None:
            with self._changed:
                now = time.monotonic()
                left = idle_seconds if self._users else self._used_at + idle_seconds - now
                if left > 0:
                    self._changed.wait(left)
                    continue
            try:
                self.unload()
            except Exception:
                log.exception("%s could not be unloaded", self.name)


class _Decorate(Protocol):
    def __call__(self, load: Callable[[], T], /) -> LazyModel[T]: ...


def lazy_model(
    *,
    name: Optional[str] = None,
    idle_seconds: Optional[float] = 600.0,
    size: Size[Any] = None,
    unload: Optional[Callable[[Any], None]] = None,
    kind: str = "unload_models",
    cost: float = 80.0,
    reclaimer: Optional[reclaim.Reclaimer] = None,
) -> _Decorate:
    """Makes a :class:`LazyModel` of a function that loads something."""

    def decorate(load: Callable[[], T], /) -> LazyModel[T]:
        return LazyModel(
            load,
            name=name,
            idle_seconds=idle_seconds,
            size=size,
            unload=unload,
            kind=kind,
            cost=cost,
            reclaimer=reclaimer,
        )

    return decorate
