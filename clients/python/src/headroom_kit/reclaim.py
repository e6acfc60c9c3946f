"""Who holds memory in this process, in which order they are asked for it, and what came of it."""

from __future__ import annotations

import dataclasses
import logging
import operator
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Literal, Optional

from . import forked
from .allocator import GarbageCollector, MallocTrim, find_malloc_trim
from .caller import Caller, Job
from .part import FunctionPart, Part, Sample, Urgency

log = logging.getLogger("headroom_kit")

#: Parts at one time, and sets of labels of all times: what is over is refused, or counted as ``other``.
PARTS_MAX = 1000
#: The time for one reclaim; less than the 5 s that Headroom waits for the answer.
TIMEOUT_SECONDS = 4.0
#: The time that all parts together have to say what they hold.
LOOK_SECONDS = 1.0

Ending = Literal["ok", "failed", "late", "busy", "no_time"]


class UnknownKindError(ValueError):
    """No part is of the kind that was asked for."""


class BusyError(RuntimeError):
    """Another reclaim did not end in time."""


@dataclasses.dataclass(frozen=True)
class PartOutcome:
    """What came of asking one part."""

    name: str
    kind: str
    ending: Ending
    released_bytes: int
    seconds: float
    error: str = ""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a reclaim."""

    #: What the parts believe to have released.
    released_bytes: int
    seconds: float
    parts: tuple[PartOutcome, ...]


@dataclasses.dataclass
class Totals:
    """Counts of a part since the start; parts of the same name and kind share them."""

    released_bytes: int = 0
    seconds: float = 0.0
    calls: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class PartState:
    """A part as it is now."""

    name: str
    kind: str
    cost: float
    #: None if it is not known, or could not be told.
    held_bytes: Optional[int]
    samples: tuple[Sample, ...]


class _Away:
    """Calls that have not come back, by part: by which one it is, whatever it says that it equals."""

    def __init__(self) -> None:
        self._jobs: dict[int, tuple[weakref.ref[Part], Job]] = {}

    def __contains__(self, part: Part) -> bool:
        there, job = self._jobs.get(id(part), (None, None))
        return there is not None and there() is part and job is not None and not job.over

    def add(self, part: Part, job: Job) -> None:
        for key, (there, former) in list(self._jobs.items()):
            if former.over or there() is None:
                self._jobs.pop(key, None)
        self._jobs[id(part)] = (weakref.ref(part), job)


class Reclaimer:
    """A registry of parts that hold memory, which gives memory back on request. Safe for threads."""

    def __init__(self, *, allocator: bool = True) -> None:
        """With parts for the garbage collector and, on glibc, the allocator, unless told otherwise."""
        # Reentrant: whatever runs under it may set off the garbage collector, and so anybody's code.
        self._lock = threading.RLock()
        self._turn = threading.Lock()
        self._parts: list[Callable[[], Optional[Part]]] = []
        self._away = _Away()
        self._mute = _Away()
        self._totals: dict[tuple[str, str], Totals] = {}
        self._requests: dict[str, int] = {}
        self._listeners: list[Callable[[PartOutcome], None]] = []
        self._exported: list[object] = []
        forked.renew(self)
        if allocator:
            self.add(GarbageCollector())
            malloc_trim = find_malloc_trim()
            if malloc_trim is not None:
                self.add(MallocTrim(malloc_trim))

    def _after_fork(self) -> None:
        self._lock = threading.RLock()
        self._turn = threading.Lock()
        # Threads that were away are not here, and would never come back.
        self._away = _Away()
        self._mute = _Away()

    def add(self, part: Part, *, weak: bool = False) -> None:
        """Registers a part; weakly if nobody should keep it for this registry's sake."""
        with self._lock:
            if len(self.parts()) >= PARTS_MAX:
                raise ValueError(f"{part.name}: there are {PARTS_MAX} parts already")
            self._parts.append(weakref.ref(part) if weak else lambda: part)

    def remove(self, part: Part) -> None:
        """Forgets a part, if it is known. Its counts stay."""
        with self._lock:
            there = [(ref, ref()) for ref in self._parts]
            self._parts = [ref for ref, known in there if known is not None and known is not part]

    def register(
        self,
        name: str,
        reclaim: Callable[[int, Urgency], int],
        held_bytes: Optional[Callable[[], int]] = None,
        *,
        kind: str = "drop_caches",
        cost: float = 50.0,
    ) -> Part:
        """Registers a pair of functions: one gives back, the other says what is held."""
        part = FunctionPart(name, reclaim, held_bytes, kind, cost)
        self.add(part)
        return part

    def parts(self) -> list[Part]:
        """All parts, in the order in which they are asked."""
        with self._lock:
            there = [(ref, ref()) for ref in self._parts]
            self._parts = [ref for ref, part in there if part is not None]
        return sorted((p for _, p in there if p is not None), key=lambda p: (p.finishes, p.cost))

    def listen(self, listener: Callable[[PartOutcome], None]) -> None:
        """Calls a function with what came of each part that was asked."""
        with self._lock:
            self._listeners.append(listener)

    def first_export(self, provider: object) -> bool:
        """Whether these numbers are exported to that provider for the first time."""
        with self._lock:
            if any(known is provider for known in self._exported):
                return False
            self._exported.append(provider)
            return True

    def reclaim(
        self,
        target_bytes: int,
        urgency: Urgency = "low",
        *,
        kind: Optional[str] = None,
        timeout: float = TIMEOUT_SECONDS,
        origin: str = "call",
    ) -> Outcome:
        """Asks one part after the other, the cheapest first, until so much is released; at ``high`` all of them.

        With a kind, only parts of that kind, and the allocator, without which the kernel sees nothing of it.
        """
        begun = time.monotonic()
        if urgency not in ("low", "high"):
            raise ValueError(f"urgency {urgency!r}: wanted low or high")
        target_bytes = max(operator.index(target_bytes), 0)
        chosen = self._choose(kind)
        with self._lock:
            self._requests[origin] = self._requests.get(origin, 0) + 1
        if not self._turn.acquire(timeout=max(timeout, 0.0)):
            raise BusyError(f"another reclaim did not end within {timeout:g} s")
        try:
            outcomes = list(self._ask(chosen, target_bytes, urgency, begun + timeout))
        finally:
            self._turn.release()
        holders = sum(o.released_bytes for o, part in outcomes if not part.finishes)
        finishers = sum(o.released_bytes for o, part in outcomes if part.finishes)
        # What holders let go and what the process then lost may be the same bytes: they are not counted twice.
        released = max(holders, finishers)
        return Outcome(released, time.monotonic() - begun, tuple(o for o, _ in outcomes))

    def reclaim_share(self, share: float, *, origin: str = "call") -> Outcome:
        """The same for whoever does not know how much is wanted: a share of what is held, at urgency ``low``."""
        # Something, so that those are asked, too, who do not know what they hold.
        return self.reclaim(max(int(self.held_bytes() * share), 1), "low", origin=origin)

    def _choose(self, kind: Optional[str]) -> list[Part]:
        parts = self.parts()
        if kind is None:
            return parts
        if not any(part.kind == kind for part in parts):
            known = ", ".join(sorted({part.kind for part in parts})) or "none"
            raise UnknownKindError(f"nothing of the kind {kind!r} is registered; there are: {known}")
        return [part for part in parts if part.kind in (kind, "trim")]

    def _ask(
        self, parts: list[Part], target_bytes: int, urgency: Urgency, deadline: float
    ) -> Iterator[tuple[PartOutcome, Part]]:
        released = 0
        with Caller() as caller:
            for number, part in enumerate(parts):
                if not part.finishes and urgency == "low" and released >= target_bytes:
                    continue
                left = deadline - time.monotonic()
                # Who hangs costs half of the time, and the others have the rest.
                limit = left if number + 1 == len(parts) else left / 2
                outcome = self._ask_one(caller, part, max(target_bytes - released, 0), urgency, limit)
                released += 0 if part.finishes else outcome.released_bytes
                self._note(outcome)
                yield outcome, part

    def _ask_one(
        self, caller: Caller, part: Part, target: int, urgency: Urgency, limit: float
    ) -> PartOutcome:
        if part in self._away:
            return PartOutcome(part.name, part.kind, "busy", 0, 0.0, "an earlier call has not come back")
        if limit <= 0:
            return PartOutcome(part.name, part.kind, "no_time", 0, 0.0, "the time was over")
        begun = time.monotonic()
        job = caller.call(lambda: part.reclaim(target, urgency), limit)
        seconds = time.monotonic() - begun
        if not job.over:
            self._away.add(part, job)
            return PartOutcome(part.name, part.kind, "late", 0, seconds, f"not back within {limit:.3g} s")
        try:
            if job.error is not None:
                raise job.error
            released = operator.index(job.result)
            if released < 0 or isinstance(job.result, bool):
                raise ValueError(f"it says that it released {released!r}")
        except BaseException as error:
            log.warning("%s (%s) could not give memory back", part.name, part.kind, exc_info=error)
            return PartOutcome(part.name, part.kind, "failed", 0, seconds, f"{type(error).__name__}: {error}")
        return PartOutcome(part.name, part.kind, "ok", released, seconds)

    def _note(self, outcome: PartOutcome) -> None:
        with self._lock:
            key = (outcome.name, outcome.kind)
            if key not in self._totals and len(self._totals) >= PARTS_MAX:
                key = ("other", "other")
            totals = self._totals.setdefault(key, Totals())
            totals.released_bytes += outcome.released_bytes
            totals.seconds += outcome.seconds
            totals.calls[outcome.ending] = totals.calls.get(outcome.ending, 0) + 1
            listeners = list(self._listeners)
        for listener in listeners:
            try:
                listener(outcome)
            except Exception:
                log.exception("a listener failed")

    def state(self) -> list[PartState]:
        """All parts as they are now. One that does not answer is without its numbers."""
        deadline = time.monotonic() + LOOK_SECONDS
        states = []
        with Caller() as caller:
            for part in self.parts():
                held, samples = self._look(caller, part, deadline)
                states.append(PartState(part.name, part.kind, part.cost, held, samples))
        return states

    def _look(self, caller: Caller, part: Part, deadline: float) -> tuple[Optional[int], tuple[Sample, ...]]:
        left = (deadline - time.monotonic()) / 2
        if left <= 0 or part in self._mute:
            return None, ()
        job = caller.call(lambda: (part.held_bytes(), tuple(part.samples())), left)
        if not job.over:
            self._mute.add(part, job)
            return None, ()
        try:
            if job.error is not None:
                raise job.error
            held, samples = job.result
            return None if held is None else operator.index(held), samples
        except BaseException as error:
            log.warning("%s (%s) does not say what it holds", part.name, part.kind, exc_info=error)
            return None, ()

    def held_bytes(self) -> int:
        """What all parts hold that say so."""
        return sum(state.held_bytes or 0 for state in self.state())

    def totals(self) -> dict[tuple[str, str], Totals]:
        """Counts by name and kind."""
        with self._lock:
            return {k: dataclasses.replace(t, calls=dict(t.calls)) for k, t in self._totals.items()}

    def requests(self) -> dict[str, int]:
        """How often memory was asked for, by where the wish came from."""
        with self._lock:
            return dict(self._requests)


#: The registry of whoever does not name another one.
default = Reclaimer()
