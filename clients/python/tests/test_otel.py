"""OpenTelemetry's metrics, with the real SDK; and without any."""

from __future__ import annotations

import builtins
from typing import Any

import pytest

from headroom_kit import Cache, Reclaimer, otel


def test_without_opentelemetry_nothing_is_exported_and_nothing_fails(
    reclaimer: Reclaimer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert not otel.export(reclaimer)


def test_the_sdk_collects_what_the_registry_counts(reclaimer: Reclaimer) -> None:
    metrics = pytest.importorskip("opentelemetry.sdk.metrics")
    export = pytest.importorskip("opentelemetry.sdk.metrics.export")
    reader = export.InMemoryMetricReader()
    provider = metrics.MeterProvider(metric_readers=[reader])
    cache: Cache[int, bytes] = Cache("c", max_entries=9, size_of=lambda _v: 100, reclaimer=reclaimer)
    twin: Cache[int, bytes] = Cache("c", max_entries=9, size_of=lambda _v: 100, reclaimer=reclaimer)
    for key in range(1, 6):
        cache.put(key, b"")
        twin.put(key, b"")
    cache.get(1)
    cache.get(9)
    assert otel.export(reclaimer, provider)
    each = cache.held_bytes() // 5
    reclaimer.reclaim(each * 2)
    found: dict[str, list[tuple[dict[str, str], Any, str]]] = {}
    for resource in reader.get_metrics_data().resource_metrics:
        for scope in resource.scope_metrics:
            assert scope.scope.name == "headroom_kit"
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    value = getattr(point, "value", None)
                    value = (point.count, point.sum) if value is None else value
                    found.setdefault(metric.name, []).append((dict(point.attributes), value, metric.unit))
    provider.shutdown()
    part = {"part": "c", "kind": "drop_caches"}
    # What two parts of one name say is added up, not overwritten.
    assert found["headroom.kit.held"] == [(part, each * 8, "By")]
    assert found["headroom.kit.released"] == [(part, each * 2, "By")]
    assert found["headroom.kit.requests"] == [({"origin": "call"}, 1, "{request}")]
    assert found["headroom.kit.cache.hits"] == [(part, 1, "{event}")]
    assert found["headroom.kit.cache.misses"] == [(part, 1, "{event}")]
    (labels, (count, seconds), unit) = found["headroom.kit.reclaim.duration"][0]
    assert (labels, count, unit) == (part | {"outcome": "ok"}, 1, "s")
    assert seconds > 0


def test_what_is_exported_again_is_not_counted_twice(reclaimer: Reclaimer) -> None:
    metrics = pytest.importorskip("opentelemetry.sdk.metrics")
    export = pytest.importorskip("opentelemetry.sdk.metrics.export")
    readers = [export.InMemoryMetricReader() for _ in range(2)]
    providers = [metrics.MeterProvider(metric_readers=[reader]) for reader in readers]
    for provider in (*providers, *providers):
        assert otel.export(reclaimer, provider)
    reclaimer.register("p", lambda _target, _urgency: 7, lambda: 100)
    reclaimer.reclaim(1)
    for reader in readers:
        data = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
        assert len({metric.name for metric in data}) == len(data)
        points = {metric.name: metric.data.data_points for metric in data}
        assert [point.value for point in points["headroom.kit.released"]] == [7]
        assert [point.count for point in points["headroom.kit.reclaim.duration"]] == [1]
    for provider in providers:
        provider.shutdown()
