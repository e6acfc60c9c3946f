"""Receives what Headroom sends, with gRPC's own server and OpenTelemetry's own messages: receiver.py HEADROOM WAY TEMPORALITY."""

import gzip
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as log_messages
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as log_service
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as messages
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as service
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

binary, way, temporality = sys.argv[1:]
came = queue.Queue()
logged = queue.Queue()


class Grpc(service.MetricsServiceServicer):
    def Export(self, request, context):
        sent = dict(context.invocation_metadata())
        # Which packing it was, gRPC keeps to itself; without one that it knows there is no request.
        came.put((request, sent.get("x-key"), "gzip"))
        return messages.ExportMetricsServiceResponse(
            partial_success=messages.ExportMetricsPartialSuccess(rejected_data_points=2)
        )


class Logs(log_service.LogsServiceServicer):
    def Export(self, request, context):
        logged.put((request, dict(context.invocation_metadata()).get("x-key")))
        return log_messages.ExportLogsServiceResponse()


class Http(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        assert self.headers["content-type"] == "application/x-protobuf"
        if self.path == "/v1/logs":
            logs = log_messages.ExportLogsServiceRequest.FromString(gzip.decompress(body))
            logged.put((logs, self.headers["x-key"]))
            self.answer(log_messages.ExportLogsServiceResponse())
            return
        assert self.path == "/v1/metrics"
        request = messages.ExportMetricsServiceRequest.FromString(gzip.decompress(body))
        came.put((request, self.headers["x-key"], self.headers["content-encoding"]))
        partial = messages.ExportMetricsPartialSuccess(rejected_data_points=2)
        self.answer(messages.ExportMetricsServiceResponse(partial_success=partial))

    def answer(self, message):
        answer = message.SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def listen():
    if way == "grpc":
        server = grpc.server(futures.ThreadPoolExecutor(2))
        service.add_MetricsServiceServicer_to_server(Grpc(), server)
        log_service.add_LogsServiceServicer_to_server(Logs(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        return port, server
    server = ThreadingHTTPServer(("127.0.0.1", 0), Http)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1], server


def metrics(request):
    """All metrics of this machine's resource, by name; and the resource."""
    resource = request.resource_metrics[0]
    facts = {a.key: a.value.string_value for a in resource.resource.attributes}
    return {m.name: m for m in resource.scope_metrics[0].metrics}, facts


def look(first, second):
    """What two requests, one after the other, must say."""
    (request, key, packing), (later, _, _) = first, second
    assert (key, packing) == ("s3cret", "gzip"), (key, packing)
    (now, facts), (then, _) = metrics(later), metrics(request)
    assert facts["service.name"] == "headroom" and facts["host.name"] and facts["os.type"] == "linux", facts
    assert facts["deployment.environment"] == "test", facts
    memory = {p.attributes[0].value.string_value: p.as_int or p.as_double for p in now["system.memory.usage"].sum.data_points}
    assert set(memory) == {"free", "buffers", "cached", "used"}, memory
    limit = now["system.memory.limit"].sum.data_points[0].as_int
    assert sum(memory.values()) == limit and not now["system.memory.usage"].sum.is_monotonic
    with open("/proc/meminfo") as file:
        assert limit == int(file.readline().split()[1]) * 1024
    assert now["node_load1"].gauge.data_points[0].as_double >= 0
    cpu = now["system.cpu.time"]
    assert cpu.unit == "s" and cpu.sum.is_monotonic
    point = cpu.sum.data_points[0]
    keys = {a.key: a.value for a in point.attributes}
    assert keys["cpu.logical_number"].int_value == 0 and keys["cpu.mode"].string_value, keys
    if temporality == "delta":
        assert cpu.sum.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
        before = then["node_load1"].gauge.data_points[0].time_unix_nano
        assert point.start_time_unix_nano == before and 0 <= point.as_double < 60, point
    else:
        assert cpu.sum.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        with open("/proc/stat") as file:
            boot = next(int(line.split()[1]) for line in file if line.startswith("btime"))
        assert abs(point.start_time_unix_nano - boot * 10**9) < 2 * 10**9, point


def look_at_logs():
    """What is logged comes too: who says it, how bad it is, and its fields."""
    while True:
        request, key = logged.get(timeout=60)
        assert key == "s3cret", key
        of = request.resource_logs[0]
        facts = {a.key: a.value.string_value for a in of.resource.attributes}
        assert facts["service.name"] == "headroom" and facts["deployment.environment"] == "test", facts
        for record in of.scope_logs[0].log_records:
            if record.body.string_value == "listening":
                fields = {a.key: a.value.string_value for a in record.attributes}
                assert fields["listener"] == "exporter" and fields["url"] == f"http://127.0.0.1:{page}/", fields
                assert record.severity_text == "INFO" and record.severity_number == 9, record
                assert abs(record.time_unix_nano / 1e9 - time.time()) < 120, record
                return


port, server = listen()
with socket.create_server(("127.0.0.1", 0)) as free:
    page = free.getsockname()[1]
with tempfile.TemporaryDirectory() as work:
    with open(f"{work}/headers", "w") as file:
        file.write("x-key: s3cret\n")
    with open(f"{work}/headroom.yaml", "w") as file:
        file.write(
            f"exporter: {{listen: '127.0.0.1:{page}', collectors: {{disable_defaults: true, enabled: [cpu, loadavg, meminfo, stat]}}}}\n"
            f"log: {{otlp: {{enabled: true, protocol: {way}}}}}\n"
            f"otlp: {{endpoint: 'http://127.0.0.1:{port}', headers_file: headers}}\n"
            f"export: {{interval: 1s, otlp: {{enabled: true, protocol: {way}, temporality: {temporality}, names: otel}}}}\n"
        )
    environment = {**os.environ, "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test"}
    headroom = subprocess.Popen([binary, "exporter", "--config", f"{work}/headroom.yaml"], env=environment)
    try:
        requests = [came.get(timeout=60) for _ in range(3)]
        look(requests[1], requests[2])
        look_at_logs()
        line = 'headroom_export_points_dropped_total{reason="partial",to="otlp"} '
        deadline = time.time() + 30
        while True:
            text = urllib.request.urlopen(f"http://127.0.0.1:{page}/metrics", timeout=10).read().decode()
            if any(l.startswith(line) and float(l[len(line):]) >= 4 for l in text.splitlines()):
                break
            assert time.time() < deadline, "the partial success was not counted"
            time.sleep(0.2)
    finally:
        headroom.terminate()
        headroom.wait(20)
