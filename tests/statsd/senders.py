"""Sends with the clients that people use, and looks at what Headroom shows: senders.py UDP PAGE SOCKET."""

import sys
import time
import urllib.request

import statsd
from datadog.dogstatsd import DogStatsd


def ordered(series):
    """A series with its labels in order."""
    name, _, labels = series.rstrip("}").partition("{")
    return name, tuple(sorted(labels.split(",")))


def main():
    udp, page, path = sys.argv[1:]
    host, port = udp.rsplit(":", 1)
    plain = statsd.StatsClient(host, int(port), prefix="py")
    plain.incr("hits", 3)
    plain.incr("sampled", 1, rate=1)
    plain.gauge("free", 7)
    plain.gauge("free", -2, delta=True)
    plain.timing("timer", 250)
    plain.set("users", "ann")
    plain.set("users", "bob")
    with plain.pipeline() as pipe:
        pipe.incr("piped")
        pipe.incr("piped")
    want = {
        'py_hits{job="statsd"}': 3,
        'py_sampled{job="statsd"}': 1,
        'py_free{job="statsd"}': 5,
        'py_timer_sum{job="statsd"}': 0.25,
        'py_users{job="statsd"}': 2,
        'py_piped{job="statsd"}': 2,
    }
    for transport, options in {"udp": {"host": host, "port": int(port)}, "unix": {"socket_path": path}}.items():
        tags = [f"via:{transport}", "env:test"]
        dog = DogStatsd(constant_tags=tags, disable_telemetry=True, **options)
        dog.increment("dog.hits", 2)
        dog.gauge("dog.free", 1.5)
        dog.histogram("dog.sizes", 4)
        dog.distribution("dog.sizes.all", 6)
        dog.timing("dog.timer", 500)
        dog.set("dog.users", "ann")
        dog.event("title", "text")
        dog.service_check("check", DogStatsd.OK)
        dog.flush()
        labels = f'{{job="statsd",via="{transport}",env="test"}}'
        for name, value in [("hits", 2), ("free", 1.5), ("sizes_sum", 4), ("sizes_all_sum", 6), ("timer_sum", 0.5), ("users", 1)]:
            want[f"dog_{name}{labels}"] = value
    want['headroom_statsd_refused_total{reason="no_metric"}'] = 4
    missing = {ordered(series): value for series, value in want.items()}
    deadline = time.monotonic() + 60
    while missing and time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://{page}/metrics", timeout=20) as answer:
            lines = answer.read().decode().splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        shown = {ordered(series): float(value) for series, value in samples}
        # A set begins anew with each interval: what was shown once was there.
        missing = {series: value for series, value in missing.items() if shown.get(series) != value}
        time.sleep(0.1)
    if missing:
        print("\n".join(line for line in lines if "py_" in line or "dog_" in line or "statsd" in line))
        sys.exit(f"not shown: {missing}")


main()
