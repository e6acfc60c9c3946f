"""Loads the service, and watches from outside how its objective is missed and met again: loop.py SERVICE PROMETHEUS OPTIMIZER
HEADROOM CONFIG. It prints what it sees, with times, and ends with an error if a step does not come."""

import http.client
import json
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

SECONDS = 120
TARGET = 0.075
P95 = 'histogram_quantile(0.95, sum by (le) (rate(http_server_request_duration_seconds_bucket{job="shop"}[5s])))'
RECORDED = 'service:slo_latency:seconds5m{service="shop",objective="p95"}'
BURN = 'service:slo_bad:ratio_rate5m{service="shop",objective="p95"} / 0.05'
HELD = 'headroom_kit_held_bytes{job="shop",part="documents"}'
BEGUN = time.monotonic()


def load(service):
    """One request after the other, for documents that all ask for."""
    number = 0
    while True:
        try:
            connection = http.client.HTTPConnection(service, timeout=60)
            while True:
                connection.request("GET", f"/{number % 20}")
                answer = connection.getresponse()
                assert answer.status == 200, answer.status
                answer.read()
                number += 1
        except OSError:
            time.sleep(0.05)


def get(url, token=None):
    request = urllib.request.Request(url)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


class Watch:
    """Prometheus, Headroom's record, and `headroom slo`."""

    def __init__(self, prometheus, optimizer, headroom, config):
        self.prometheus, self.optimizer = prometheus, optimizer
        self.headroom, self.config = headroom, config

    def value(self, query):
        """What Prometheus says; None while it says nothing."""
        url = f"http://{self.prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": query})
        result = get(url)["data"]["result"]
        return float(result[0]["value"][1]) if result else None

    def alerts(self):
        alerts = get(f"http://{self.prometheus}/api/v1/alerts")["data"]["alerts"]
        return [a["labels"] for a in alerts if a["state"] == "firing" and a["labels"].get("service") == "shop"]

    def record(self):
        """The run that ended well."""
        entries = get(f"http://{self.optimizer}/api/v1/actions?limit=50", "let-me-in")["entries"]
        return next((e for e in entries if e["state"] == "ended" and e["result"] == "effective"), None)

    def slo(self):
        """What `headroom slo` says of the p95."""
        command = [self.headroom, "slo", "--config", self.config, "--prometheus", f"http://{self.prometheus}", "--json"]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        assert said.returncode in (0, 1), said.stderr
        standings = json.loads(said.stdout)["standings"]
        return next(o for o in standings if o["objective"] == "p95")


def until(what, ask):
    """Asks until there is an answer, and says when that was."""
    deadline = time.monotonic() + SECONDS
    last = None
    while time.monotonic() < deadline:
        try:
            answer = ask()
        except (OSError, ValueError, KeyError) as error:
            answer, last = None, error
        if answer:
            told = f": {answer}" if isinstance(answer, str) else ""
            print(f"{time.monotonic() - BEGUN:6.1f} s  {what}{told}", flush=True)
            return answer
        time.sleep(0.2)
    sys.exit(f"not within {SECONDS} s: {what} (last: {last})")


def main():
    service, prometheus, optimizer, headroom, config = sys.argv[1:]
    watch = Watch(prometheus, optimizer, headroom, config)
    threading.Thread(target=load, args=(service,), daemon=True).start()

    def shown(query, holds, form):
        def ask():
            value = watch.value(query)
            return form.format(value) if value is not None and holds(value) else None

        return ask

    until("the p95 is above its target", shown(P95, lambda v: v > TARGET, "{:.3f} s"))
    until("the cache is in Prometheus, too", shown(HELD, lambda v: v > 100e6, "{:.3e} bytes"))
    until("the budget burns", shown(BURN, lambda v: v > 14.4, "{:.1f} times as fast as it may"))
    slo = watch.slo()
    assert slo["state"] == "critical" and slo["current"] > TARGET, slo
    alert = until("an alert fires", lambda: next((a["alertname"] for a in watch.alerts()), None))
    entry = until("the optimizer gave memory back", watch.record)
    step = entry["steps"][0]
    # What the machine has more depends on what all others take at the same time.
    lost = step["before"]["target"]["bytes"] - step["after"]["target"]["bytes"]
    print(f"          {entry['alertname']}: {step['detail']}; it lost {lost / 1e6:.0f} MB, ", end="")
    print(f"the machine has {step['freed_bytes'] / 1e6:.0f} MB more")
    assert entry["alertname"].startswith("ServiceLatency"), entry
    assert step["action"] == "app_hook" and lost > 100e6 and step["freed_bytes"] > 8e6, entry
    until("the cache is small", shown(HELD, lambda v: v < 10e6, "{:.3e} bytes"))
    until("the p95 is below its target again", shown(P95, lambda v: v < TARGET, "{:.3f} s"))
    until("also over five minutes, as the objective has it", shown(RECORDED, lambda v: v < TARGET, "{:.3f} s"))
    slo = watch.slo()
    assert slo["current"] < TARGET, slo
    print(f"          {alert}; `headroom slo` has {slo['current']:.3f} s")


if __name__ == "__main__":
    main()
