"""What Python and the C library keep of memory that nobody uses any more, and how the kernel gets it back."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable
from typing import Optional

from .part import Part, Urgency


def resident_bytes() -> Optional[int]:
    """This process's memory in RAM; None where there is no /proc."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def find_malloc_trim() -> Optional[Callable[[int], int]]:
    """glibc's function, or None: musl and macOS have none."""
    try:
        function = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    function.argtypes = [ctypes.c_size_t]
    function.restype = ctypes.c_int
    return lambda pad: int(function(pad))


class _Finisher(Part):
    """What it gives back is measured: how far the process's memory fell."""

    finishes = True

    def reclaim(self, target_bytes: int, urgency: Urgency) -> int:  # noqa: ARG002 - all or nothing
        before = resident_bytes()
        self._run()
        after = resident_bytes()
        return 0 if before is None or after is None else max(before - after, 0)

    def _run(self) -> None:
        raise NotImplementedError


class GarbageCollector(_Finisher):
    """Collects cycles of objects, all generations. It stops Python while it runs."""

    def __init__(self) -> None:
        """The part ``gc``."""
        super().__init__("python", "gc", 0.0)

    def _run(self) -> None:
        gc.collect()


class MallocTrim(_Finisher):
    """Has glibc give freed memory back to the kernel."""

    def __init__(self, malloc_trim: Callable[[int], int]) -> None:
        """The part ``trim``; see :func:`find_malloc_trim`."""
        super().__init__("malloc", "trim", 1.0)
        self._malloc_trim = malloc_trim

    def _run(self) -> None:
        self._malloc_trim(0)
