"""Waits until Prometheus holds exponential histograms as native ones: native.py ADDRESS."""

import json
import sys
import time
import urllib.parse
import urllib.request

address = sys.argv[1]


def query(text):
    url = f"http://{address}/api/v1/query?" + urllib.parse.urlencode({"query": text})
    try:
        return json.load(urllib.request.urlopen(url, timeout=5))["data"]["result"]
    except OSError:
        return []


deadline = time.time() + 60
while time.time() < deadline:
    # A native histogram has no `_count` series; its count is a function.
    counts = query('histogram_count(py_exponential_bytes{job="tests/python-grpc-cumulative"})')
    middle = query('histogram_quantile(0.9, py_exponential_bytes{job="tests/python-grpc-cumulative"})')
    if counts and middle:
        count, value = float(counts[0]["value"][1]), float(middle[0]["value"][1])
        if count != 6 or not 85 <= value <= 115:
            sys.exit(f"{count} observations, 0.9 of them below {value}")
        if query("py_exponential_bytes_count"):
            sys.exit("there are series of the classic form besides")
        sys.exit(0)
    time.sleep(0.5)
sys.exit("no native histogram within a minute: " + json.dumps(query('{__name__=~"py_.*"}')))
