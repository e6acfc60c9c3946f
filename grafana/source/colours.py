"""What a colour means: the same on every dashboard, on light ground and on dark."""

import re
from dataclasses import dataclass

GOOD, PENDING, WARNING, CRITICAL, NEUTRAL = "green", "yellow", "orange", "red", "text"


@dataclass(frozen=True)
class Meaning:
    """Series whose name has one of these words are drawn so."""

    words: str
    colour: str
    dashed: bool = False

    def pattern(self) -> str:
        return rf"/(^|\W)({self.words})($|\W)/"

    def fits(self, legend: str) -> bool:
        """Whether the legend has one of the words, or may have by the label that it shows."""
        if not self.dashed and re.search(r"\{\{(result|status|state|failure)\}\}", legend):
            return True
        return re.search(self.pattern().strip("/"), legend) is not None


MEANINGS = [
    # Lines to hold others against.
    Meaning("warning|budget", WARNING, dashed=True),
    Meaning("critical", CRITICAL, dashed=True),
    Meaning("total|limit", NEUTRAL, dashed=True),
    # How something ended.
    Meaning("effective|freed|accepted|resolved|applied", GOOD),
    Meaning("no_gain|unauthorized|firing|exhausted|refused|throttled|waiting", WARNING),
    Meaning("failed|unavailable|harmful|interrupted|stalled|errors", CRITICAL),
    # Kinds of memory, from what cannot be taken to what is free.
    Meaning("anonymous", "blue"),
    Meaning("shared memory", "purple"),
    Meaning("page cache", "semi-dark-green"),
    Meaning("slab, reclaimable", "light-green"),
    Meaning("slab, fixed", "semi-dark-orange"),
    Meaning("kernel", "brown"),
    Meaning("swapped", "dark-yellow"),
    Meaning("free", "#808080"),
]
