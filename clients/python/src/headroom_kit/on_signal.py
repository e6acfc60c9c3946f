"""Memory given back on a signal: for people, and for hooks by a signal."""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
from typing import Any, Optional

from .reclaim import BusyError, Reclaimer

log = logging.getLogger("headroom_kit")


class SignalHook:
    """Gives back a share of what is held, on a daemon thread, each time that a signal arrives."""

    def __init__(self, reclaimer: Reclaimer, number: int = signal.SIGUSR1, *, share: float = 0.5) -> None:
        """Sets the handler, which only the main thread may do. The one before it is set again by :meth:`close`."""
        if not 0 < share <= 1:
            raise ValueError(f"a share of {share:g}: wanted more than 0 and at most 1")
        self._reclaimer = reclaimer
        self._share = share
        self._number = number
        # The one queue that may be used in a handler, which can interrupt anything.
        self._words: queue.SimpleQueue[Optional[int]] = queue.SimpleQueue()
        self._process = os.getpid()
        self._before: Any = signal.signal(number, self._handle)
        self._thread = threading.Thread(target=self._run, name="headroom-kit-signal", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Sets the handler of before."""
        signal.signal(self._number, signal.SIG_DFL if self._before is None else self._before)
        self._words.put(None)
        self._thread.join()

    def _handle(self, number: int, _frame: object) -> None:
        # A child that was forked inherits the handler, and has nobody who reads its words.
        if os.getpid() == self._process:
            self._words.put(number)

    def _run(self) -> None:
        while self._words.get() is not None:
            # Signals that came meanwhile are one wish.
            more: Optional[int] = 0
            while more is not None and not self._words.empty():
                more = self._words.get()
            try:
                self._reclaimer.reclaim_share(self._share, origin="signal")
            except BusyError:
                log.info("a signal, while memory is being given back already")
            except Exception:
                log.exception("memory could not be given back on a signal")
            if more is None:
                return
