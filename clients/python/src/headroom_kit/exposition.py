"""The registry's numbers as a page for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from .reclaim import Reclaimer

#: The text format that every Prometheus understands.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "headroom_kit_"

Labels = tuple[tuple[str, str], ...]


def page(reclaimer: Reclaimer) -> str:
    """All metrics. What parts of the same name and kind say is added up; what is not known is absent."""
    sheet = _Sheet()
    for state in reclaimer.state():
        labels = (("part", state.name), ("kind", state.kind))
        if state.held_bytes is not None:
            sheet.add("held_bytes", "Memory that a part says it holds.", state.held_bytes, labels)
        for sample in state.samples:
            sheet.add(sample.name, sample.help, sample.value, labels)
    for (name, kind), totals in reclaimer.totals().items():
        labels = (("part", name), ("kind", kind))
        help_text = "Memory that a part says it gave back."
        sheet.add("released_bytes_total", help_text, totals.released_bytes, labels)
        sheet.add("reclaim_seconds_total", "Time spent on asking a part.", totals.seconds, labels)
        for ending, count in totals.calls.items():
            help_text = "How often a part was asked, by what came of it."
            sheet.add("reclaims_total", help_text, count, (*labels, ("outcome", ending)))
    for origin, count in reclaimer.requests().items():
        sheet.add("requests_total", "Requests for memory, by who asked.", count, (("origin", origin),))
    return sheet.text()


class _Sheet:
    """Families in the order of their first sample."""

    def __init__(self) -> None:
        self._families: dict[str, tuple[str, dict[Labels, float]]] = {}

    def add(self, name: str, help_text: str, value: float, labels: Labels) -> None:
        _, samples = self._families.setdefault(PREFIX + name, (help_text, {}))
        samples[labels] = samples.get(labels, 0) + value

    def text(self) -> str:
        return "".join(line + "\n" for line in self._lines())

    def _lines(self) -> Iterable[str]:
        for name, (help_text, samples) in self._families.items():
            yield f"# HELP {name} {help_text}"
            yield f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}"
            for labels, value in samples.items():
                pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
                yield f"{name}{{{pairs}}} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
