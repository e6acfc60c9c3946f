"""Everything of the kit started with one call, and ended with another."""

from __future__ import annotations

import contextlib
from typing import Optional

from . import otel as opentelemetry
from . import reclaim
from .on_signal import SignalHook
from .pressure import PressureWatch, watch_pressure
from .reclaim import TIMEOUT_SECONDS, Reclaimer
from .serve import Server


class Kit:
    """What :func:`start` started."""

    def __init__(
        self, server: Optional[Server], pressure: Optional[PressureWatch], on_signal: Optional[SignalHook]
    ) -> None:
        """The parts that were wanted."""
        self.server = server
        self.pressure = pressure
        self.on_signal = on_signal

    def close(self) -> None:
        """Ends all of it; caches and models stay."""
        with contextlib.ExitStack() as closing:
            # All of them, also if one cannot be.
            for part in (self.on_signal, self.pressure, self.server):
                if part is not None:
                    closing.callback(part.close)

    def __enter__(self) -> Kit:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self.close()


def start(
    listen: Optional[str] = None,
    *,
    token: Optional[str] = None,
    token_file: Optional[str] = None,
    path: str = "/headroom/reclaim",
    mode: int = 0o600,
    timeout: float = TIMEOUT_SECONDS,
    pressure: bool = True,
    on_signal: Optional[int] = None,
    share: float = 0.5,
    otel: bool = True,
    reclaimer: Optional[Reclaimer] = None,
) -> Kit:
    """Has this process give memory back: over HTTP at `listen`, under systemd's pressure protocol, on a signal.

    Call it after `fork`, in the process that is to take part: threads do not survive one. `share` is how much of what
    is held goes when nobody says how much.
    """
    reclaimer = reclaim.default if reclaimer is None else reclaimer
    if otel:
        opentelemetry.export(reclaimer)
    kit = Kit(None, None, None)
    try:
        if on_signal is not None:
            kit.on_signal = SignalHook(reclaimer, on_signal, share=share)
        if listen is not None:
            kit.server = Server(
                reclaimer, listen, token=token, token_file=token_file, path=path, mode=mode, timeout=timeout
            )
        if pressure:
            kit.pressure = watch_pressure(reclaimer, share=share)
    except BaseException:
        kit.close()
        raise
    return kit
