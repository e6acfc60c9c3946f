"""The registry's numbers through OpenTelemetry's metrics API, where that is installed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Optional

from .reclaim import PartOutcome, PartState, Reclaimer

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation


def export(reclaimer: Reclaimer, meter_provider: Optional[MeterProvider] = None) -> bool:
    """Registers instruments with a provider, or the global one; false if OpenTelemetry is not installed.

    Instruments cannot be taken back, so a registry has them once with each provider, however often it is asked.
    """
    try:
        from opentelemetry.metrics import Observation, get_meter  # noqa: PLC0415 - it may not be there
    except ImportError:
        return False
    if not reclaimer.first_export(meter_provider):
        return True
    meter = get_meter("headroom_kit", meter_provider=meter_provider)

    def observe(
        values: Callable[[], Iterator[tuple[float, dict[str, str]]]],
    ) -> list[Callable[[CallbackOptions], Iterable[Observation]]]:
        return [lambda _options: [Observation(value, labels) for value, labels in values()]]

    meter.create_observable_gauge(
        "headroom.kit.held",
        observe(lambda: _held(reclaimer.state())),
        unit="By",
        description="Memory that a part says it holds.",
    )
    meter.create_observable_counter(
        "headroom.kit.released",
        observe(lambda: _released(reclaimer)),
        unit="By",
        description="Memory that a part says it gave back.",
    )
    meter.create_observable_counter(
        "headroom.kit.requests",
        observe(lambda: ((n, {"origin": origin}) for origin, n in reclaimer.requests().items())),
        unit="{request}",
        description="Requests for memory, by who asked.",
    )
    for event in ("hits", "misses", "evictions"):
        meter.create_observable_counter(
            f"headroom.kit.cache.{event}",
            observe(functools.partial(_samples, reclaimer, f"cache_{event}_total")),
            unit="{event}",
            description=f"A cache's {event}.",
        )
    duration = meter.create_histogram(
        "headroom.kit.reclaim.duration", unit="s", description="Time that a part took to give memory back."
    )

    def record(outcome: PartOutcome) -> None:
        labels = {"part": outcome.name, "kind": outcome.kind, "outcome": outcome.ending}
        duration.record(outcome.seconds, labels)

    reclaimer.listen(record)
    return True


def _held(states: Iterable[PartState]) -> Iterator[tuple[float, dict[str, str]]]:
    totals: dict[tuple[str, str], int] = {}
    for state in states:
        if state.held_bytes is not None:
            key = (state.name, state.kind)
            totals[key] = totals.get(key, 0) + state.held_bytes
    return ((held, {"part": name, "kind": kind}) for (name, kind), held in totals.items())


def _released(reclaimer: Reclaimer) -> Iterator[tuple[float, dict[str, str]]]:
    for (name, kind), totals in reclaimer.totals().items():
        yield totals.released_bytes, {"part": name, "kind": kind}


def _samples(reclaimer: Reclaimer, wanted: str) -> Iterator[tuple[float, dict[str, str]]]:
    totals: dict[tuple[str, str], float] = {}
    for state in reclaimer.state():
        for sample in state.samples:
            if sample.name == wanted:
                key = (state.name, state.kind)
                totals[key] = totals.get(key, 0.0) + sample.value
    return ((value, {"part": name, "kind": kind}) for (name, kind), value in totals.items())
