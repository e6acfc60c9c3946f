"""Lets an application give memory back when Headroom, systemd or a person asks for it."""

from .cache import Cache, CacheStats
from .kit import Kit, start
from .lazy import LazyModel, lazy_model
from .on_signal import SignalHook
from .part import Part, Sample, Urgency
from .pressure import PressureWatch, watch_pressure
from .reclaim import BusyError, Outcome, PartOutcome, PartState, Reclaimer, UnknownKindError, default
from .serve import Server
from .sizes import size_of

__version__ = "0.1.0"
__all__ = [
    "BusyError",
    "Cache",
    "CacheStats",
    "Kit",
    "LazyModel",
    "Outcome",
    "Part",
    "PartOutcome",
    "PartState",
    "PressureWatch",
    "Reclaimer",
    "Sample",
    "Server",
    "SignalHook",
    "UnknownKindError",
    "Urgency",
    "default",
    "lazy_model",
    "size_of",
    "start",
    "watch_pressure",
]
