"""The page for Prometheus."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from headroom_kit import Cache, LazyModel, Part, Reclaimer, Sample
from headroom_kit.exposition import page


def test_the_page_has_what_is_known_and_nothing_else(reclaimer: Reclaimer) -> None:
    cache: Cache[int, bytes] = Cache("c", max_entries=9, size_of=lambda _v: 100, reclaimer=reclaimer)
    cache.put(1, b"x")
    cache.get(1)
    cache.get(2)
    reclaimer.register('s"\\', lambda _t, _u: 1 // 0, cost=99)
    reclaimer.reclaim(1000, origin="http")
    lines = [
        line
        for line in page(reclaimer).splitlines()
        if "seconds" not in line and not line.startswith("# HELP")
    ]
    assert lines == [
        "# TYPE headroom_kit_held_bytes gauge",
        'headroom_kit_held_bytes{part="c",kind="drop_caches"} 0',
        "# TYPE headroom_kit_cache_hits_total counter",
        'headroom_kit_cache_hits_total{part="c",kind="drop_caches"} 1',
        "# TYPE headroom_kit_cache_misses_total counter",
        'headroom_kit_cache_misses_total{part="c",kind="drop_caches"} 1',
        "# TYPE headroom_kit_cache_evictions_total counter",
        'headroom_kit_cache_evictions_total{part="c",kind="drop_caches"} 0',
        "# TYPE headroom_kit_cache_expirations_total counter",
        'headroom_kit_cache_expirations_total{part="c",kind="drop_caches"} 0',
        "# TYPE headroom_kit_cache_reclaimed_total counter",
        'headroom_kit_cache_reclaimed_total{part="c",kind="drop_caches"} 1',
        "# TYPE headroom_kit_cache_entries gauge",
        'headroom_kit_cache_entries{part="c",kind="drop_caches"} 0',
        "# TYPE headroom_kit_released_bytes_total counter",
        'headroom_kit_released_bytes_total{part="c",kind="drop_caches"} 128',
        'headroom_kit_released_bytes_total{part="s\\"\\\\",kind="drop_caches"} 0',
        "# TYPE headroom_kit_reclaims_total counter",
        'headroom_kit_reclaims_total{part="c",kind="drop_caches",outcome="ok"} 1',
        'headroom_kit_reclaims_total{part="s\\"\\\\",kind="drop_caches",outcome="failed"} 1',
        "# TYPE headroom_kit_requests_total counter",
        'headroom_kit_requests_total{origin="http"} 1',
    ]


def test_parts_of_the_same_name_and_kind_are_one_series(reclaimer: Reclaimer) -> None:
    class Two(Part):
        def held_bytes(self) -> int:
            return 2

        def samples(self) -> Iterator[Sample]:
            yield Sample("things_total", "Things.", 3)

    reclaimer.add(Two("a"))
    reclaimer.add(Two("a"))
    text = page(reclaimer)
    assert 'headroom_kit_held_bytes{part="a",kind="drop_caches"} 4\n' in text
    assert 'headroom_kit_things_total{part="a",kind="drop_caches"} 6\n' in text


def test_prometheus_own_linter_has_nothing_to_say() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    reclaimer = Reclaimer()
    cache: Cache[int, bytes] = Cache("c", max_entries=9, reclaimer=reclaimer)
    cache.put(1, b"x")
    model = LazyModel(lambda: 1, name="m", idle_seconds=None, reclaimer=reclaimer)
    with model.use():
        reclaimer.reclaim(1)
    text = page(reclaimer)
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, text=True, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, ""), text
