"""What becomes of the kit in a process that was forked: of all threads, only the one that forked is there."""

from __future__ import annotations

import logging
import os
import weakref
from typing import Protocol

log = logging.getLogger("headroom_kit")


class Renewed(Protocol):
    """What has locks that a thread of the parent may have held, or files that are the parent's."""

    def _after_fork(self) -> None: ...


#: By which they are: not all have a hash.
_known: dict[int, weakref.ref[Renewed]] = {}


def renew(owner: Renewed) -> None:
    """Has it renewed in each child, for as long as it lives."""
    key = id(owner)
    _known[key] = weakref.ref(owner, lambda _gone: _forget(key))


def _forget(key: int) -> None:
    # The same number may be another one's by now.
    there = _known.get(key)
    if there is not None and there() is None:
        _known.pop(key, None)


def _renew_all() -> None:
    for there in list(_known.values()):
        owner = there()
        if owner is None:
            continue
        try:
            owner._after_fork()
        except Exception:
            log.exception("%r could not be renewed after a fork", type(owner).__name__)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
