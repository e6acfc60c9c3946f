"""Looks at what an SDK's metrics became: shown.py ADDRESS PREFIX JOB."""

import sys
import urllib.request

address, prefix, job = sys.argv[1:]
page = urllib.request.urlopen(f"http://{address}/metrics", timeout=10).read().decode()
lines = page.splitlines()


def sample(name, *labels):
    """The value of the series with these labels, in whatever order they stand."""
    found = [
        line
        for line in lines
        if line.startswith(f"{prefix}_{name}{{") and all(f'{label}"' in line for label in (f'job="{job}', *labels))
    ]
    if len(found) != 1:
        own = "\n".join(line for line in lines if f'job="{job}"' in line or "refused" in line)
        sys.exit(f"{own}\n{len(found)} series of {prefix}_{name} {labels} for {job}")
    return float(found[0].rsplit(" ", 1)[1])


scoped = ('instance="one', 'otel_scope_name="shop', 'otel_scope_version="1.2')
for want, name, *labels in [
    (6, "requests_total", *scoped, 'http_method="GET', 'http_status_code="200'),
    (9, "items"),
    (0.25, "load_ratio", 'core="1'),
    (3, "duration_seconds_count"),
    (3, "duration_seconds_bucket", 'le="+Inf'),
    (6, "exponential_bytes_count"),
    (3, "exponential_bytes_bucket", 'le="0'),
    (300, "exponential_bytes_sum"),
]:
    got = sample(name, *labels)
    if got != want:
        sys.exit(f"{prefix}_{name} {labels} of {job} is {got}, not {want}")
if abs(sample("duration_seconds_sum") - 0.9) > 1e-9:
    sys.exit("the sum of the durations is wrong")
if not any(line.startswith("target_info{") and f'job="{job}"' in line and 'deployment_environment="lab"' in line for line in lines):
    sys.exit(f"no target_info of {job}")
if prefix == "py":
    # The SDK for JavaScript has no exemplars yet.
    request = urllib.request.Request(
        f"http://{address}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )
    openmetrics = urllib.request.urlopen(request, timeout=10).read().decode()
    buckets = [l for l in openmetrics.splitlines() if l.startswith("py_duration_seconds_bucket{") and f'job="{job}"' in l]
    if sum("# {" in line and 'trace_id="' in line for line in buckets) != 1:
        sys.exit("no bucket has an exemplar, or more than one:\n" + "\n".join(buckets))
