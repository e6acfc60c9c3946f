"""Sends metrics of every kind with OpenTelemetry's SDK: client.py grpc|http ENDPOINT cumulative|delta TOKEN."""

import sys

from opentelemetry import metrics, trace
from opentelemetry.metrics import Observation
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider


def exporter(way, endpoint, temporality, token):
    preferred = {
        kind: getattr(AggregationTemporality, temporality.upper())
        for kind in (sdk.Counter, sdk.Histogram, sdk.ObservableCounter)
    }
    if way == "grpc":
        import grpc
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

        return OTLPMetricExporter(
            endpoint=endpoint,
            insecure=True,
            compression=grpc.Compression.Gzip,
            headers=(("authorization", f"Bearer {token}"),),
            preferred_temporality=preferred,
        )
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    return OTLPMetricExporter(
        endpoint=f"{endpoint}/v1/metrics",
        compression=Compression.Gzip,
        headers={"authorization": f"Bearer {token}"},
        preferred_temporality=preferred,
    )


def main():
    way, endpoint, temporality, token = sys.argv[1:]
    resource = Resource.create(
        {
            "service.name": f"python-{way}-{temporality}",
            "service.namespace": "tests",
            "service.instance.id": "one",
            "deployment.environment": "lab",
        }
    )
    reader = PeriodicExportingMetricReader(
        exporter(way, endpoint, temporality, token), export_interval_millis=3_600_000
    )
    view = View(instrument_name="*.exponential", aggregation=ExponentialBucketHistogramAggregation())
    provider = sdk.MeterProvider([reader], resource, views=[view])
    metrics.set_meter_provider(provider)
    meter = metrics.get_meter("shop", "1.2")
    requests = meter.create_counter("py.requests", unit="{request}", description="Requests served.")
    items = meter.create_up_down_counter("py.items")
    duration = meter.create_histogram("py.duration", unit="s")
    exponential = meter.create_histogram("py.exponential", unit="By")
    meter.create_observable_gauge("py.load", [lambda _: [Observation(0.25, {"core": 1})]], unit="1")
    tracer = TracerProvider().get_tracer("shop")
    for _ in range(3):
        requests.add(2, {"http.method": "GET", "http.status_code": 200})
        items.add(5)
        items.add(-2)
        with trace.use_span(tracer.start_span("request")):
            duration.record(0.3)
        exponential.record(100)
        exponential.record(0)
        # Three exports: a delta must add up, a cumulative one must not.
        if not provider.force_flush():
            sys.exit("not sent")
    provider.shutdown()


main()
