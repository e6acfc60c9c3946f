"""How much memory a value takes, as nearly as that can be told in a short time."""

from __future__ import annotations

import itertools
import sys
from collections import deque
from collections.abc import Iterable
from typing import Any

#: Objects that are looked at for one value.
OBJECTS_MAX = 10_000
#: Children of one container that are looked at; the others are taken to be like them.
CHILDREN_MAX = 1000


def size_of(value: object) -> int:
    """Bytes of a value and what is only reachable through it: containers, attributes, buffers (``nbytes``).

    Classes, functions and modules are not followed. Of what is very large, only a part is looked at.
    """
    seen = {id(value)}
    # With how many objects each stands for.
    waiting: deque[tuple[Any, float]] = deque([(value, 1.0)])
    total = 0.0
    looked = 0
    while waiting and looked < OBJECTS_MAX:
        item, weight = waiting.popleft()
        looked += 1
        total += _own_size(item) * weight
        count, children = _children(item)
        weight *= max(count / CHILDREN_MAX, 1.0)
        for child in itertools.islice(children, CHILDREN_MAX):
            if id(child) not in seen:
                seen.add(id(child))
                waiting.append((child, weight))
    rest = sum(_own_size(item) * weight for item, weight in waiting)
    return round(total + rest)


def _own_size(item: object) -> int:
    # Arrays of NumPy, pandas and PyTorch, and memoryviews, know their buffer. A view is counted with it, too.
    nbytes = None if isinstance(item, type) else getattr(item, "nbytes", None)
    own = sys.getsizeof(item, 64)
    if isinstance(nbytes, int) and not isinstance(nbytes, bool):
        return max(own, nbytes)
    return own


def _children(item: object) -> tuple[int, Iterable[Any]]:
    if isinstance(item, (str, bytes, bytearray, int, float, complex, type, memoryview)):
        return 0, ()
    if isinstance(item, dict):
        return 2 * len(item), itertools.chain.from_iterable(item.items())
    if isinstance(item, (list, tuple, set, frozenset, deque)):
        return len(item), item
    attributes = getattr(item, "__dict__", None)
    if isinstance(attributes, dict) and not callable(item) and type(item).__name__ != "module":
        return 1, (attributes,)
    return 0, ()
