"""What tests share: a registry of their own, and waiting for conditions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import pytest

from headroom_kit import Reclaimer


class Eventually(Protocol):
    def __call__(self, what: str, condition: Callable[[], object], seconds: float = 30.0) -> None: ...


@pytest.fixture
def reclaimer() -> Reclaimer:
    """Without the garbage collector and the allocator, whose figures depend on everything else."""
    return Reclaimer(allocator=False)


@pytest.fixture
def eventually() -> Eventually:
    def wait(what: str, condition: Callable[[], object], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
            time.sleep(0.005)

    return wait
