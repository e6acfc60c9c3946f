"""A service whose latency is that of its garbage collector, and so of its cache: service.py LISTEN HOOK TOKEN_FILE OTLP_URL.

Each request parses a document into a tree whose nodes know their parents. Such trees are cycles, which only the collector
frees, so it runs at the end of each request, as services do that would otherwise pile up megabytes of them. What it costs is
to walk all objects that live, and nearly all of them are in the cache: documents of which nobody asks for most any more.
"""

import gc
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import headroom_kit as kit
from opentelemetry import metrics
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

#: Documents that were asked for once, and the rows of each; a row is four objects that the collector walks.
COLD, COLD_ROWS = 400, 1000
#: Documents that are asked for all the time.
HOT, HOT_ROWS = 20, 50
#: What a row takes, as measured.
ROW_BYTES = 600
BOUNDS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.5, 1.0, 2.0, 5.0]


def provider(url):
    """Sends each second what was measured; names, buckets and units are those of OpenTelemetry's conventions."""
    exporter = OTLPMetricExporter(endpoint=f"{url}/v1/metrics")
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=1000)
    view = View(
        instrument_name="http.server.request.duration", aggregation=ExplicitBucketHistogramAggregation(BOUNDS)
    )
    resource = Resource.create({"service.name": "shop", "service.instance.id": "one"})
    return MeterProvider([reader], resource, views=[view])


def document(number, rows):
    """What is cached: rows of a document."""
    return [{"row": row, "cells": [[number, row], [row, number]]} for row in range(rows)]


class Node:
    """A node of a tree that knows its parent."""

    def __init__(self, parent, row):
        self.parent = parent
        self.row = row
        self.children = []
        if parent is not None:
            parent.children.append(self)


def total(rows):
    """Makes a tree of the rows, sums it up, and forgets it."""
    root = Node(None, None)
    for row in rows:
        Node(root, row)
    return sum(node.row["row"] for node in root.children)


class Handler(BaseHTTPRequestHandler):
    """`GET /NUMBER`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        begun = time.perf_counter()
        number = int(self.path.strip("/"))
        rows = self.server.cache.get_or(number, lambda: document(number, HOT_ROWS))
        body = json.dumps({"total": total(rows)}).encode()
        gc.collect()
        self.server.duration.record(time.perf_counter() - begun, {"http.request.method": "GET"})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    """Serves until it is killed."""
    listen, hook, token_file, otlp = sys.argv[1:]
    metrics.set_meter_provider(provider(otlp))
    duration = metrics.get_meter("shop").create_histogram("http.server.request.duration", unit="s")
    # Its own code is not to be walked each time.
    gc.freeze()
    cache = kit.Cache("documents", max_bytes=1 << 30, size_of=lambda rows: len(rows) * ROW_BYTES)
    gc.disable()
    for number in range(COLD):
        cache[HOT + number] = document(number, COLD_ROWS)
    gc.enable()
    host, port = listen.rsplit(":", 1)
    server = ThreadingHTTPServer((host, int(port)), Handler)
    server.cache, server.duration = cache, duration
    # Shorter than the time that the optimizer gives it; on a busy machine a walk takes seconds.
    with kit.start(hook, token_file=token_file, timeout=20):
        server.serve_forever()


if __name__ == "__main__":
    main()
