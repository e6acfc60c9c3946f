"""What holds memory and can give it back: the contract between the registry and those whom it asks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Literal, Optional

#: How much is wanted: ``low`` drops what is cheap to build again, ``high`` all that can be dropped.
Urgency = Literal["low", "high"]
#: The longest name of a part or a kind; both are labels of metrics.
NAME_CHARS_MAX = 64


@dataclasses.dataclass(frozen=True)
class Sample:
    """A measurement that a part makes of itself beside what the registry knows of it."""

    #: Without the prefix, with the unit last: ``cache_hits_total``.
    name: str
    help: str
    value: float


class Part:
    """Something that holds memory. Subclasses say how much, and give it back.

    Calls come from threads of the registry, one at a time for each reclaim, and may raise what they like.
    """

    #: Whether it runs after all others, on what they left behind (the garbage collector, the allocator).
    finishes = False

    def __init__(self, name: str, kind: str = "drop_caches", cost: float = 50.0) -> None:
        """Name and kind are labels of metrics; those with the lowest cost are asked first."""
        for word, what in ((name, "name"), (kind, "kind")):
            if not word or len(word) > NAME_CHARS_MAX or not word.isprintable():
                raise ValueError(f"{what} {word!r}: wanted 1 to {NAME_CHARS_MAX} printable characters")
        self.name = name
        self.kind = kind
        self.cost = cost

    def held_bytes(self) -> Optional[int]:
        """What it holds; None if that is not known."""
        return None

    def reclaim(self, target_bytes: int, urgency: Urgency) -> int:
        """Gives back at least so much if it can, and says how much that was."""
        raise NotImplementedError

    def samples(self) -> Iterable[Sample]:
        """What else is worth measuring."""
        return ()


class FunctionPart(Part):
    """A part made of two functions."""

    def __init__(
        self,
        name: str,
        reclaim: Callable[[int, Urgency], int],
        held_bytes: Optional[Callable[[], int]],
        kind: str,
        cost: float,
    ) -> None:
        """See :meth:`headroom_kit.Reclaimer.register`."""
        super().__init__(name, kind, cost)
        self._reclaim = reclaim
        self._held_bytes = held_bytes

    def held_bytes(self) -> Optional[int]:
        """What the function says."""
        return None if self._held_bytes is None else self._held_bytes()

    def reclaim(self, target_bytes: int, urgency: Urgency) -> int:
        """Calls the function."""
        return self._reclaim(target_bytes, urgency)
