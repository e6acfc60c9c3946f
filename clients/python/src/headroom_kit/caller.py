"""Calls functions that may never return, and waits for each only so long."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Optional


class Job:
    """A call that was begun."""

    def __init__(self, function: Callable[[], Any]) -> None:
        """A call that is not begun."""
        self._function = function
        self._over = threading.Event()
        self.result: Any = None
        self.error: Optional[BaseException] = None

    @property
    def over(self) -> bool:
        """Whether the function has come back."""
        return self._over.is_set()

    def wait(self, seconds: float) -> bool:
        """Whether it comes back in time."""
        return self._over.wait(max(seconds, 0.0))

    def run(self) -> None:
        """Calls the function."""
        try:
            self.result = self._function()
        except BaseException as error:  # noqa: BLE001 - also SystemExit: it must not be lost with the thread
            self.error = error
        self._over.set()


class Caller:
    """One thread for calls one after the other, replaced if a call does not come back. Used by one thread."""

    def __init__(self) -> None:
        """Without a thread until there is something to call."""
        self._jobs: Optional[queue.SimpleQueue[Optional[Job]]] = None

    def __enter__(self) -> Caller:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Lets the thread end, once it is back."""
        if self._jobs is not None:
            self._jobs.put(None)
            self._jobs = None

    def call(self, function: Callable[[], Any], seconds: float) -> Job:
        """Begins a call and waits for its end, at most so long."""
        job = Job(function)
        if self._jobs is None:
            self._jobs = queue.SimpleQueue()
            worker = threading.Thread(target=_work, args=(self._jobs,), name="headroom-kit-part", daemon=True)
            worker.start()
        self._jobs.put(job)
        if not job.wait(seconds):
            # That thread is away for who knows how long; the next call gets another one.
            self._jobs.put(None)
            self._jobs = None
        return job


def _work(jobs: queue.SimpleQueue[Optional[Job]]) -> None:
    job = jobs.get()
    while job is not None:
        job.run()
        # Not kept while it waits: the result may be large.
        del job
        job = jobs.get()
